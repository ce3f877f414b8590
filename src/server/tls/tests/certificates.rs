use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints, SerialNumber, date_time_ymd,
};

use super::authorities::{dns, raw_names};
use super::pki::{client, uri};
use super::*;

const SYNC: &str = "spiffe://corp.example/ns/crm/sa/sync";
const OTHER: &str = "spiffe://other.example/a";

/// Makes certificates, asks the server about each, and counts.
struct Table {
    place: Place,
    rows: usize,
    refused: usize,
}

impl Table {
    fn new() -> Self {
        Self { place: Place::new(), rows: 0, refused: 0 }
    }

    async fn accepts(&mut self, what: &str, identity: &Identity, caller: &str) {
        let outcome = outcome(&self.place.tls(), self.place.client(Some(identity))).await;
        println!("{what}: {}", shown(&outcome));
        let id = outcome.unwrap_or_else(|reason| panic!("{what} is refused: {reason}"));
        assert_eq!(id.expect(what).to_string(), caller, "{what}");
        self.rows += 1;
    }

    async fn refuses(&mut self, what: &str, identity: &Identity, reason: &str) {
        let outcome = outcome(&self.place.tls(), self.place.client(Some(identity))).await;
        println!("{what}: {}", shown(&outcome));
        let refused = outcome.map(|_| ()).expect_err(what);
        assert!(refused.contains(reason), "{what}: {refused}");
        assert!(!refused.contains("corp.example"), "nothing of the certificate is repeated: {refused}");
        self.rows += 1;
        self.refused += 1;
    }

    /// By the authority of the trust domain.
    async fn refuses_its_own(&mut self, what: &str, params: &CertificateParams, reason: &str) {
        let identity = self.place.corp.issue(params);
        self.refuses(what, &identity, reason).await;
    }

    fn add_bundle(&mut self, trust_domain: &str, authority: &Authority) {
        self.add_bundle_of(trust_domain, &authority.pem());
    }

    fn add_bundle_of(&mut self, trust_domain: &str, authorities: &str) {
        let file = self.place.write(&format!("{trust_domain}.pem"), authorities);
        self.place.settings.trust_bundles.insert(trust_domain.to_owned(), file);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        println!("{} certificates, {} refused", self.rows, self.refused);
    }
}

fn shown(outcome: &Result<Option<CallerId>, String>) -> String {
    match outcome {
        Ok(Some(caller)) => caller.to_string(),
        Ok(None) => "accepted, proves nothing".to_owned(),
        Err(reason) => reason.clone(),
    }
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn sync() -> CertificateParams {
    client([uri(SYNC)])
}

#[tokio::test]
async fn a_caller_is_the_one_spiffe_id_that_the_authorities_of_its_domain_vouch_for() {
    let mut table = Table::new();
    let other = Authority::root("other");
    table.add_bundle("other.example", &other);
    let sync_by = |authority: &Authority| authority.issue(&sync());
    let below = table.place.corp.below("below");

    let identity = table.place.caller();
    table.accepts("an X509-SVID", &identity, SYNC).await;
    table.accepts("one by an authority below", &sync_by(&below).above(&below), SYNC).await;
    let identity = table.place.corp.issue(&client([dns("sync.crm.svc"), uri(SYNC), dns("sync")]));
    table.accepts("one with DNS names too", &identity, SYNC).await;
    let identity = other.issue(&client([uri("spiffe://other.example/a")]));
    table.accepts("one of the other domain", &identity, "spiffe://other.example/a").await;

    let nobody = outcome(&table.place.tls(), table.place.client(None)).await;
    assert_eq!(nobody, Err("the peer shows no client certificate".to_owned()));
    table.refuses("an authority nobody knows", &sync_by(&Authority::root("unknown")), "no authority").await;
    table.refuses("one that takes our authority's name", &sync_by(&Authority::root("corp")), "signature").await;
    table.refuses("the other domain's authority", &sync_by(&other), "no authority").await;
    let identity = sync_by(&below);
    table.refuses("one whose authority is left out", &identity, "no authority").await;
    let by_caller = Authority(
        rcgen::CertifiedIssuer::signed_by(sync(), KeyPair::generate().unwrap(), &table.place.corp.0).unwrap(),
    );
    table.refuses("one by a caller", &sync_by(&by_caller).above(&by_caller), "client certificate is refused").await;
    let constrained = table.place.corp.below_with(with(pki::authority("constrained"), |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("other.example".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    }));
    let identity = constrained.issue(&client([uri(SYNC), dns("sync.corp.example")])).above(&constrained);
    table.refuses("one beyond its authority's constraints", &identity, "chain cannot be verified").await;
    let key = KeyPair::generate().unwrap();
    let identity = Identity { chain: sync().self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
    table.refuses("one that vouches for itself", &identity, "no authority").await;
    let stolen = Identity { key: KeyPair::generate().unwrap().serialize_pem(), ..table.place.caller() };
    table.refuses("one with another key", &stolen, "signature").await;
    let unknown = client([uri("spiffe://unknown.example/a")]);
    table.refuses_its_own("a domain without a bundle", &unknown, "trust domain is not accepted").await;
    let identity = other.issue(&client([uri("spiffe://corp.example/ns/crm/sa/admin")]));
    table.refuses("another name of this domain by the other's authority", &identity, "no authority").await;
}

#[tokio::test]
async fn what_x509_svid_forbids_is_refused() {
    let mut table = Table::new();
    for (what, names) in [
        ("two SPIFFE IDs", [SYNC, "spiffe://corp.example/admin"]),
        ("a SPIFFE ID twice", [SYNC, SYNC]),
        ("a SPIFFE ID and another URI", [SYNC, "https://corp.example/"]),
    ] {
        table.refuses_its_own(what, &client(names.map(uri)), "more than one URI").await;
    }
    for tricky in [
        "https://corp.example/a",
        "spiffe://corp.example",
        "spiffe://corp.example/",
        "spiffe://corp.example/a/",
        "spiffe://corp.example//a",
        "spiffe://corp.example/a/../b",
        "spiffe://corp.example/a/./b",
        "spiffe://corp.example/%61",
        "spiffe://corp.example/a?b",
        "spiffe://corp.example/a#b",
        "spiffe://corp.example:8443/a",
        "spiffe://user@corp.example/a",
        "spiffe://CORP.example/a",
        "SPIFFE://corp.example/a",
        "spiffe://corp.example/a\0",
        "spiffe://corp.example\0.other/a",
        "spiffe://corp.example/a b",
    ] {
        table.refuses_its_own(&format!("{tricky:?}"), &client([uri(tricky)]), "is no SPIFFE ID").await;
    }
    let long = format!("spiffe://corp.example/{}", "a".repeat(2_048));
    table.refuses_its_own("a name of 2 KiB", &client([uri(&long)]), "is no SPIFFE ID").await;

    let dated = |from, until| with(sync(), |params| (params.not_before, params.not_after) = (from, until));
    let past = dated(date_time_ymd(2025, 1, 1), date_time_ymd(2026, 11, 22));
    table.refuses_its_own("one of the past", &past, "expired").await;
    let future = dated(date_time_ymd(2026, 11, 23), date_time_ymd(2027, 1, 1));
    table.refuses_its_own("one of the future", &future, "not valid yet").await;

    let authority = with(sync(), |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    table.refuses_its_own("an authority's own", &authority, "is a certificate authority's").await;
    for (what, usages) in [
        ("one that may sign certificates", vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign]),
        ("one that may sign revocation lists", vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign]),
        ("one that may not sign", vec![KeyUsagePurpose::KeyEncipherment]),
        ("one without key usage", Vec::new()),
    ] {
        table.refuses_its_own(what, &with(sync(), |params| params.key_usages = usages), "key usage").await;
    }
    for (what, usages) in [
        ("a server's", vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ("one for anything", vec![ExtendedKeyUsagePurpose::Any]),
        ("one without purpose", Vec::new()),
    ] {
        let params = with(sync(), |params| params.extended_key_usages = usages);
        table.refuses_its_own(what, &params, "extended key usage").await;
    }
}

#[tokio::test]
async fn certificates_that_readers_could_read_differently_are_refused() {
    let mut table = Table::new();
    // SEQUENCE { [6] "spiffe://corp.example/a" }, as its bytes.
    let names = |names: &[&[u8]]| {
        let content: Vec<u8> = names.iter().flat_map(|name| [&[0x86, length(name)], *name].concat()).collect();
        [&[0x30, length(&content)], content.as_slice()].concat()
    };
    let raw = |content: Vec<u8>| with(client([]), |params| params.custom_extensions = vec![raw_names(content)]);
    let right: &[u8] = b"spiffe://corp.example/a";
    let identity = table.place.corp.issue(&raw(names(&[right])));
    table.accepts("the same, by hand", &identity, "spiffe://corp.example/a").await;

    for (what, content) in [
        ("bytes after the names", [names(&[right]), vec![0]].concat()),
        ("a second list of names after the first", [names(&[right]), names(&[b"spiffe://corp.example/b"])].concat()),
        ("a name that is not ASCII", names(&[b"spiffe://corp.example/\xc3\xa4"])),
        ("a second URI that is not even UTF-8", names(&[right, b"spiffe://corp.example/\xff"])),
        ("a length beyond the end", vec![0x30, 0x20, 0x86, 0x01, b'a']),
        (
            "a length in two bytes for one",
            [&[0x30, 0x81, length(&names(&[right])) - 2][..], &names(&[right])[2..]].concat(),
        ),
        ("no DER", b"spiffe://corp.example/a".to_vec()),
    ] {
        table.refuses_its_own(what, &raw(content), "malformed").await;
    }
    let twice = with(sync(), |params| params.custom_extensions = vec![raw_names(names(&[b"spiffe://corp.example/b"]))]);
    table.refuses_its_own("names in two extensions", &twice, "malformed").await;

    // Bytes after the certificate, in the handshake's own list.
    let mut appended = certified(&table.place.caller());
    appended.cert[0] = CertificateDer::from([appended.cert[0].as_ref(), &[0]].concat());
    let client = client_that_shows(&[&rustls::version::TLS13], &table.place.servers, Some(appended));
    let refused = outcome(&table.place.tls(), client).await.unwrap_err();
    println!("bytes after the certificate: {refused}");
    assert!(refused.contains("malformed"), "{refused}");
}

#[tokio::test]
async fn a_dns_name_is_a_caller_only_where_they_are_accepted_and_by_their_own_authorities() {
    let mut table = Table::new();
    let named = client([dns("Sync.crm.Example")]);
    table.refuses_its_own("a DNS name, off", &named, "DNS names are not accepted").await;

    let authority = Authority::root("names");
    table.place.settings.dns_ca_file = Some(table.place.write("dns.pem", &authority.pem()));
    table.accepts("a DNS name", &authority.issue(&named), "dns:sync.crm.example").await;
    let identity = table.place.caller();
    table.accepts("a SPIFFE ID beside them", &identity, SYNC).await;
    table.refuses_its_own("a DNS name by the trust domain's authority", &named, "no authority").await;
    table.refuses("a SPIFFE ID by the DNS names' authority", &authority.issue(&sync()), "no authority").await;
    for (what, params, reason) in [
        ("two DNS names", client([dns("a.example"), dns("b.example")]), "more than one DNS name"),
        ("a wildcard", client([dns("*.example")]), "malformed or a wildcard"),
        ("a DNS name with NUL", client([dns("a.example\0.b.example")]), "malformed or a wildcard"),
        ("a DNS name with a dot at its end", client([dns("a.example.")]), "malformed or a wildcard"),
        ("an empty DNS name", client([dns("")]), "malformed or a wildcard"),
        ("a common name alone", with(client([]), common_name), "neither a URI nor"),
        ("another URI beside a DNS name", client([dns("a.example"), uri("https://a.example")]), "is no SPIFFE ID"),
        ("an authority's with a DNS name", with(client([dns("a.example")]), may_issue), "certificate authority's"),
    ] {
        table.refuses(what, &authority.issue(&params), reason).await;
    }
}

#[tokio::test]
async fn what_is_taken_back_is_refused() {
    let mut table = Table::new();
    let numbered = |serial: u64| with(sync(), |params| params.serial_number = Some(SerialNumber::from(serial)));
    let below = table.place.corp.below_with(with(pki::authority("below"), |params| {
        params.serial_number = Some(SerialNumber::from(77_u64));
    }));
    let other = Authority::root("other");
    table.add_bundle("other.example", &other);
    let (good, bad) = (table.place.corp.issue(&numbered(1)), table.place.corp.issue(&numbered(2)));
    let from_below = below.issue(&numbered(2)).above(&below);
    let elsewhere = other.issue(&client([uri("spiffe://other.example/a")]));

    let list = table.place.write("corp.crl", &table.place.corp.revoke(&[2], 2026));
    table.place.settings.crl_files = vec![list];
    table.accepts("one that is not on the list", &good, SYNC).await;
    table.accepts("one of a domain that has no list", &elsewhere, "spiffe://other.example/a").await;
    table.refuses("one that is on the list", &bad, "revoked").await;
    table.refuses("one whose authority has no list", &from_below, "no revocation list speaks of it").await;

    let both = [table.place.corp.revoke(&[2], 2026), below.revoke(&[3], 2026)].concat();
    table.place.write("corp.crl", &both);
    table.accepts("one whose authority has one now", &from_below, SYNC).await;
    table.place.write("corp.crl", &(table.place.corp.revoke(&[77], 2026) + &below.revoke(&[3], 2026)));
    table.refuses("one whose authority is on the list", &from_below, "revoked").await;

    table.place.write("corp.crl", &table.place.corp.revoke(&[2], 2025));
    table.refuses("one with a list of the past", &good, "revocation list is out of date").await;
    // The list takes its name from the authority, and its signature from somebody else.
    table.place.write("corp.crl", &Authority::root("corp").revoke(&[], 2026));
    table.refuses("one with a forged list", &bad, "revocation list cannot be verified").await;
}

#[tokio::test]
async fn of_an_authoritys_lists_the_latest_counts_wherever_it_is() {
    let mut table = Table::new();
    let corp = &table.place.corp;
    let [one, two, three] = [1, 2, 3]
        .map(|serial: u64| corp.issue(&with(sync(), |params| params.serial_number = Some(SerialNumber::from(serial)))));
    let (old, new) = (corp.revoke_in(2024, &[1], 2026), corp.revoke_in(2025, &[2], 2026));
    let part = corp.revoke_part(2026, &[3], "https://corp.example/part.crl");
    // What was forged for the name last is no later list of the authority.
    let forged = Authority::root("corp").revoke_in(2026, &[], 2026);
    let orders = [
        [&old, &new, &part, &forged].map(String::as_str).concat(),
        [&forged, &part, &new, &old].map(String::as_str).concat(),
        [&part, &old, &forged, &new].map(String::as_str).concat(),
    ];
    for lists in orders {
        table.place.settings.crl_files = vec![table.place.write("corp.crl", &lists)];
        table.refuses("one that is on the latest list", &two, "revoked").await;
        table.accepts("one that is on an earlier list", &one, SYNC).await;
        table.accepts("one that is on the list of a part", &three, SYNC).await;
    }
    // In files of their own.
    let files = [("old.crl", &old), ("new.crl", &new)].map(|(name, list)| table.place.write(name, list));
    table.place.settings.crl_files = files.into();
    table.refuses("one that is on the latest list, in the last file", &two, "revoked").await;
}

#[tokio::test]
async fn a_list_is_of_the_authority_that_signed_it_whoever_else_has_its_name() {
    let mut table = Table::new();
    let namesake = Authority::root("corp");
    table.add_bundle("other.example", &namesake);
    let numbered = |name: &str, serial: u64| {
        with(client([uri(name)]), |params| params.serial_number = Some(SerialNumber::from(serial)))
    };
    let ours = |serial| table.place.corp.issue(&numbered(SYNC, serial));
    let (one, two) = (ours(1), ours(2));
    let (other_one, other_two) = (namesake.issue(&numbered(OTHER, 1)), namesake.issue(&numbered(OTHER, 2)));

    let own = table.place.corp.revoke(&[1], 2026);
    table.place.settings.crl_files = vec![table.place.write("corp.crl", &own)];
    table.accepts("one of a namesake that has no list", &other_one, OTHER).await;
    for lists in [own.clone() + &namesake.revoke(&[2], 2026), namesake.revoke(&[2], 2026) + &own] {
        table.place.write("corp.crl", &lists);
        table.refuses("one that is on its authority's list", &one, "revoked").await;
        table.accepts("one that is on a namesake's list", &two, SYNC).await;
        table.accepts("a namesake's that is on the authority's list", &other_one, OTHER).await;
        table.refuses("a namesake's that is on its list", &other_two, "revoked").await;
    }

    // Both in one bundle: the authority has changed its key.
    let both = table.place.corp.pem() + &namesake.pem();
    table.add_bundle_of("corp.example", &both);
    let renewed = |serial| namesake.issue(&numbered(SYNC, serial));
    table.accepts("one by the new key", &renewed(1), SYNC).await;
    table.refuses("one by the new key on its list", &renewed(2), "revoked").await;
    table.accepts("one by the old key", &two, SYNC).await;
    table.refuses("one by the old key on its list", &one, "revoked").await;
    table.place.write("corp.crl", &own);
    table.refuses("one by the new key without a list", &renewed(1), "revocation list cannot be verified").await;
}

#[tokio::test]
async fn what_a_namesake_has_taken_back_does_not_come_in_by_the_certificate_between_them() {
    let mut table = Table::new();
    let numbered = |serial: u64| with(sync(), |params| params.serial_number = Some(SerialNumber::from(serial)));
    let renewed = Authority::root("corp");
    table.place.settings.dns_ca_file = Some(table.place.write("dns.pem", &renewed.pem()));
    let rollover = table.place.corp.rollover("corp", &renewed);
    let beside = |mut identity: Identity| {
        identity.chain.push_str(&rollover);
        identity
    };
    let (good, bad) = (beside(renewed.issue(&numbered(1))), beside(renewed.issue(&numbered(2))));
    let below = renewed.below("below");
    let from_below = beside(below.issue(&numbered(3)).above(&below));
    for identity in [&good, &bad, &from_below] {
        table.accepts("one by the new key, which the old one vouches for", identity, SYNC).await;
    }

    table.place.settings.crl_files = vec![table.place.write("corp.crl", &renewed.revoke(&[2], 2026))];
    table.refuses("one that is on the new key's list", &bad, "no revocation list speaks of it").await;
    table.refuses("one that is not, as the old key has no list", &good, "no revocation list speaks of it").await;
    table.refuses("one by an authority below", &from_below, "no revocation list speaks of it").await;
    let own = table.place.corp.issue(&numbered(2));
    table.accepts("one by the old key", &own, SYNC).await;
    table.accepts("one by the old key, shown with the new one's", &beside(own), SYNC).await;
    let own = table.place.caller().above(&table.place.corp);
    table.accepts("one by the old key, shown with its authority", &own, SYNC).await;
    let own_below = table.place.corp.below("another");
    let own = beside(own_below.issue(&numbered(2)).above(&own_below));
    table.accepts("one by an authority below the old key", &own, SYNC).await;

    let both = renewed.revoke(&[2], 2026) + &table.place.corp.revoke(&[], 2026);
    table.place.write("corp.crl", &both);
    table.refuses("one by the new key, where each has a list", &bad, "client certificate is refused").await;
}

fn common_name(params: &mut CertificateParams) {
    params.distinguished_name.push(rcgen::DnType::CommonName, "a.example");
}

fn may_issue(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn length(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).unwrap()
}
