use rcgen::date_time_ymd;

use super::*;

type Spoil = fn(&mut Place);

#[test]
fn files_that_make_no_server_are_named_with_what_is_wrong() {
    let right = Place::new();
    right.read().unwrap();
    let spoiled: [(&str, Spoil); 13] = [
        ("tls.crt cannot be read", |place| fs::remove_file(&place.settings.certificate_file).unwrap()),
        ("tls.key cannot be read", |place| fs::remove_file(&place.settings.key_file).unwrap()),
        ("tls.crt holds no certificate", |place| drop(place.write("tls.crt", ""))),
        ("tls.crt holds no certificate", |place| drop(place.write("tls.crt", "garbage"))),
        ("tls.key holds no private key", |place| drop(place.write("tls.key", &place.corp.pem()))),
        ("tls.key is not that of the certificate", |place| drop(place.write("tls.key", &place.caller().key))),
        ("valid from 2020-01-01T00:00:00Z until 2026-11-22T00:00:00Z, and not now", |place| {
            let mut params = pki::server(&["localhost"]);
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2026, 11, 22));
            place.servers.issue(&params).write(place.directory.path(), "tls");
        }),
        ("corp.pem holds no certificate", |place| drop(place.write("corp.pem", "\n"))),
        ("corp.pem holds something that is no certificate", |place| {
            drop(place.write("corp.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
        }),
        ("corp.pem holds a certificate that is not a certificate authority's", |place| {
            drop(place.write("corp.pem", &(place.corp.pem() + &place.caller().chain)));
        }),
        ("corp.pem holds no certificate that is valid now", |place| {
            let mut params = pki::authority("corp");
            params.not_after = date_time_ymd(2026, 11, 22);
            let expired = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            drop(place.write("corp.pem", &expired.pem()));
        }),
        ("corp.crl holds no certificate revocation list", |place| {
            place.settings.crl_files = vec![place.write("corp.crl", &place.corp.pem())];
        }),
        ("corp.crl holds something that is no certificate revocation list", |place| {
            let list = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
            place.settings.crl_files = vec![place.write("corp.crl", list)];
        }),
    ];
    for (expected, spoil) in spoiled {
        let mut place = Place::new();
        spoil(&mut place);
        let error = place.read().unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
}

#[test]
fn an_authority_of_the_past_is_left_out_of_its_bundle() {
    let place = Place::new();
    let mut params = pki::authority("old");
    params.not_after = date_time_ymd(2026, 11, 22);
    let expired = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    place.write("corp.pem", &(expired.pem() + &place.corp.pem()));
    place.read().unwrap();
}

#[tokio::test]
async fn a_new_generation_takes_over_for_new_handshakes_and_one_under_way_keeps_its_own() {
    let mut place = Place::new();
    let current = Arc::new(ArcSwap::from_pointee(place.read().unwrap()));
    let tls = Tls::new(current.clone(), place.clock());
    let (old, successor) = (place.caller(), Authority::root("corp"));
    let new = successor.issue(&pki::client([pki::uri("spiffe://corp.example/new")]));
    assert!(outcome(&tls, place.client(Some(&old))).await.is_ok());
    assert!(outcome(&tls, place.client(Some(&new))).await.is_err());

    // Under way: the server has accepted, the client has not begun.
    let (listener, address) = listen().await;
    let socket = TcpStream::connect(address).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    let under_way = tls.clone();
    let under_way = tokio::spawn(async move { under_way.shake_hands(accepted, Peer::Tcp(peer)).await.map(drop) });
    tokio::task::yield_now().await;

    place.write("corp.pem", &successor.pem());
    current.store(Arc::new(place.read().unwrap()));
    assert!(outcome(&tls, place.client(Some(&old))).await.is_err());
    assert!(outcome(&tls, place.client(Some(&new))).await.is_ok());
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(place.client(Some(&old))));
    within(connector.connect(name, socket)).await.unwrap();
    within(under_way).await.unwrap().unwrap();

    let replacement = Authority::root("servers");
    replacement.issue(&pki::server(&["localhost"])).write(place.directory.path(), "tls");
    current.store(Arc::new(place.read().unwrap()));
    let refused = outcome(&tls, place.client(Some(&new))).await.unwrap_err();
    assert!(
        refused.contains("UnknownCA") || refused.contains("DecryptError"),
        "the client sees the new one: {refused}"
    );
    place.servers = replacement;
    assert!(outcome(&tls, place.client(Some(&new))).await.is_ok());
}
