//! Callers' tokens and ticketd's own, used well, used badly, and repeated by an API server in whatever it says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use ticketd::clock::{Clock as _, SystemClock};
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::identity::KeySource;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tower::service_fn;

use crate::api_server::{ApiServer, Mood};
use crate::calls::Caller;
use crate::canaries::letters;
use crate::issuer::{self, Key};
use crate::rig::{Rig, within};

/// Answers the tokens: of each what nothing may show. (What else is in a token, names and times, may be shown.)
pub(crate) async fn used_well_and_badly(rig: &Rig) -> Vec<String> {
    let api = ApiServer::start().await;
    let own = letters(40);
    api.change_own_token(&own);
    api.set_mood(Mood::Says(403));
    let root = write_config(rig, &api);
    let process = rig.start_with("callers.toml").await;
    let over_tls = Caller::over(rig, channel(&process.grpc, &root));
    let mut secrets = vec![own];
    let now = SystemClock.now().as_second();
    let mut mint = |account: &str, now: i64| {
        let token = api.token(account, now);
        secrets.push(token.rsplit_once('.').unwrap().1.to_owned());
        token
    };

    let good = mint("crm/sync", now);
    process.logged("the cluster's keys cannot be read").await;
    assert_eq!(call(&over_tls, &[&format!("Bearer {good}")]).await, Code::Unavailable, "there are no keys yet");
    api.set_mood(Mood::Well);
    process.logged("the cluster's keys were read").await;
    assert_eq!(call(&over_tls, &[&format!("Bearer {good}")]).await, Code::NotFound, "the caller is known");
    assert_eq!(call(&over_tls, &[&format!("bearer {good}")]).await, Code::NotFound);
    let stranger = Key::p256("first").sign(&issuer::claims("crm/sync", now));
    let stale = mint("crm/sync", now - 10_000);
    for authorization in [
        vec![format!("Bearer {stale}")],
        vec![format!("Bearer {stranger}")],
        vec![format!("Bearer {good}"), format!("Bearer {stale}")],
        vec![format!("Bearer  {good}")],
        vec![format!("Basic {good}")],
        vec![format!("{good} Bearer")],
        vec![good.clone()],
        vec![format!("Bearer {good}.{good}")],
        vec![format!("Bearer {}", good.repeat(10))],
        vec![format!("Bearer {}", good.replacen("ey", "", 1))],
        vec![format!("Bearer {}", good.replace('.', "_"))],
    ] {
        let authorization: Vec<_> = authorization.iter().map(String::as_str).collect();
        assert_eq!(call(&over_tls, &authorization).await, Code::Unauthenticated);
    }
    api.delete("crm/gone");
    assert_eq!(call(&over_tls, &[&format!("Bearer {}", mint("crm/gone", now))]).await, Code::Unauthenticated);
    api.answer_reviews(json!({"error": format!("no {good}"), "user": {"username": good}, "audiences": [good]}));
    assert_eq!(call(&over_tls, &[&format!("Bearer {}", mint("crm/one", now))]).await, Code::Unauthenticated);
    api.answer_reviews(json!(good));
    assert_eq!(call(&over_tls, &[&format!("Bearer {}", mint("crm/two", now))]).await, Code::Unavailable);
    // An API server that repeats all it is told. After a failure ticketd asks nothing for a second.
    let moods = [Mood::Says(200), Mood::Says(403), Mood::Says(500), Mood::Down, Mood::Hanging];
    for (number, mood) in moods.into_iter().enumerate() {
        api.set_mood(mood);
        let token = mint(&format!("crm/job-{number}"), now);
        let (reviews, mut pause) = (api.reviews(), tokio::time::interval(Duration::from_millis(100)));
        for _ in 0..50 {
            pause.tick().await;
            assert_eq!(call(&over_tls, &[&format!("Bearer {token}")]).await, Code::Unavailable, "{mood:?}");
            if mood == Mood::Down || api.reviews() > reviews {
                break;
            }
        }
    }
    api.change_key(Key::p256("new"), false);
    call(&over_tls, &[&format!("Bearer {}", mint("crm/late", now))]).await;
    assert!(api.key_requests() >= 2 && api.reviews() >= 8);
    println!("asked for keys {} times, about tokens {} times", api.key_requests(), api.reviews());
    process.stop(&rig.channels).await;
    secrets.push(stranger.rsplit_once('.').unwrap().1.to_owned());

    // The same where tokens are not taken: over plaintext.
    let process = rig.start().await;
    let in_plaintext = Caller::new(rig, &process.grpc);
    assert_eq!(call(&in_plaintext, &[&format!("Bearer {good}")]).await, Code::Unauthenticated);
    process.stop(&rig.channels).await;
    secrets
}

async fn call(caller: &Caller, authorization: &[&str]) -> Code {
    let message = GetSystemTicketRequest { context_identifier: "Cust404".to_owned(), min_validity: None };
    let mut request = Request::new(message);
    for value in authorization {
        request.metadata_mut().append("authorization", value.parse().unwrap());
    }
    let answer = within(TicketServiceClient::new(caller.channel.clone()).get_system_ticket(request)).await;
    caller.note(answer).map_or_else(|status| status.code(), |_| Code::Ok)
}

/// The configuration that takes tokens. Answers the certificate that callers trust.
fn write_config(rig: &Rig, api: &ApiServer) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = rig.write("tls.crt", cert.pem());
    let key = rig.write("tls.key", signing_key.serialize_pem());
    let KeySource::Url { url, ca_file, token_file } = api.settings(true).keys else { panic!("a URL") };
    let config = rig.config().replace("allow_unidentified_callers = true", "allow_unidentified_callers = false");
    let (issuer, audience) = (issuer::ISSUER, issuer::AUDIENCE);
    let text = |path: Option<PathBuf>| path.unwrap().to_str().unwrap().to_owned();
    let (ca_file, token_file) = (text(ca_file), text(token_file));
    let callers = format!(
        r#"
[tls]
certificate_file = {certificate:?}
key_file = {key:?}
[identity]
issuer = {issuer:?}
audience = {audience:?}
jwks_url = "{url}"
ca_file = "{ca_file}"
token_file = "{token_file}"
token_review = true
"#
    );
    let policy =
        "apiVersion: policy/v1\ncallers:\n  - {serviceAccount: crm/sync, rpcs: [GetSystemTicket], tenants: [\"*\"]}\n";
    let policy = rig.write("callers-policy.yaml", policy);
    let config = config.replace("\"./policy.yaml\"", &format!("{policy:?}"));
    rig.write("callers.toml", config + &callers);
    cert.der().clone()
}

fn channel(address: &str, root: &CertificateDer<'static>) -> Channel {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (tls, address) = (TlsConnector::from(Arc::new(config)), address.to_owned());
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(move |_| {
        let (tls, address) = (tls.clone(), address.clone());
        async move {
            let socket = TcpStream::connect(address).await?;
            let stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    }))
}
