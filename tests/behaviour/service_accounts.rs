//! Callers with tokens of Kubernetes service accounts: a real server over TLS, and an API server that behaves or not.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use ticketd::authorization::Policy;
use ticketd::clock::Clock;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{GetSystemTicketRequest, PutTenantRequest, SystemTicket};
use ticketd::identifiers::UnverifiedJwt;
use ticketd::identity::{BearerError, KeySource, ServiceAccounts};
use ticketd::random::SeededRandom;
use ticketd::server::{ClientCertificate, Process, Server, TlsSettings};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use crate::api_server::{ApiServer, Mood};
use crate::issuer::{self, Key};
use crate::world::{TENANT, World, eventually, reason, retry_delay, within};

const ACCOUNT: &str = "crm/sync";

const POLICY: &str = r#"
apiVersion: policy/v1
callers:
  - {serviceAccount: ops/admin, rpcs: [PutTenant], tenants: ["*"]}
  - {serviceAccount: crm/sync, rpcs: [GetSystemTicket], tenants: ["*"]}
  - {serviceAccount: crm/late, rpcs: [GetSystemTicket], tenants: ["*"]}
"#;

/// A server that lets nobody in unidentified, beside a world's.
struct Guarded {
    world: World,
    api: ApiServer,
    channel: Channel,
    _server: Server,
    _directory: TempDir,
}

impl Guarded {
    /// With tenants, and the cluster's keys read.
    async fn start(token_review: bool) -> Self {
        let guarded = Self::bare(token_review, Mood::Well).await;
        eventually("the cluster's keys are read", || guarded.api.key_requests() == 1).await;
        let system_user_token = guarded.world.sandbox.add_tenant(TENANT).system_user_token;
        let request =
            PutTenantRequest { context_identifier: TENANT.to_owned(), system_user_token, accept_serial: false };
        let token = guarded.token("ops/admin");
        let mut tenants = TenantServiceClient::new(guarded.channel.clone());
        within(tenants.put_tenant(with_bearer(request, &token))).await.unwrap();
        guarded
    }

    async fn bare(token_review: bool, mood: Mood) -> Self {
        let (world, api) = (World::start().await, ApiServer::start().await);
        api.set_mood(mood);
        let directory = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |name: &str, content: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let mut config = world.config();
        config.store.url = format!("sqlite://{}", directory.path().join("ticketd.db").display());
        config.server.allow_unidentified_callers = false;
        config.server.tls = Some(TlsSettings {
            certificate_file: file("tls.crt", cert.pem()),
            key_file: file("tls.key", signing_key.serialize_pem()),
            client_certificate: ClientCertificate::Optional,
            trust_bundles: [].into(),
            dns_ca_file: None,
            crl_files: Vec::new(),
        });
        config.identity = Some(api.settings(token_review));
        config.authorization.policy = Policy::parse(POLICY).unwrap();
        let process = Process { clock: Arc::new(world.clock.clone()), random: Arc::new(SeededRandom::new(7)) };
        let server = Server::bind_with(config, process).await.unwrap();
        let channel = channel(&server, cert.der());
        Self { world, api, channel, _server: server, _directory: directory }
    }

    fn now(&self) -> i64 {
        self.world.clock.now().as_second()
    }

    fn token(&self, account: &str) -> String {
        self.api.token(account, self.now())
    }

    async fn ticket(&self, token: &str) -> Result<SystemTicket, Status> {
        let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
        let mut tickets = TicketServiceClient::new(self.channel.clone());
        let answer = within(tickets.get_system_ticket(with_bearer(request, token))).await?;
        Ok(answer.into_inner().system_ticket.unwrap())
    }

    /// A claim set with something else in it, signed by the cluster.
    fn changed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = issuer::claims(ACCOUNT, self.now());
        change(&mut claims);
        self.api.sign(&claims)
    }
}

fn channel(server: &Server, root: &CertificateDer<'static>) -> Channel {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (tls, address) = (TlsConnector::from(Arc::new(config)), server.addresses().grpc.unwrap());
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let socket = TcpStream::connect(address).await?;
            let stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    }))
}

fn with_bearer<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn unknown() -> (Code, String) {
    (Code::Unauthenticated, "CALLER_UNKNOWN".to_owned())
}

fn unavailable() -> (Code, String) {
    (Code::Unavailable, "IDENTITY_UNAVAILABLE".to_owned())
}

#[tokio::test]
async fn a_pod_gets_tickets_by_its_token_and_nobody_without() {
    let guarded = Guarded::start(false).await;
    guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap();
    // The cluster's other key is of another kind.
    let by_rsa = Key::rsa("second").sign(&issuer::claims(ACCOUNT, guarded.now()));
    guarded.ticket(&by_rsa).await.unwrap();

    let refused = guarded.ticket("").await.unwrap_err();
    assert_eq!(reason(&refused), unknown());
    let check = HealthCheckRequest { service: String::new() };
    within(HealthClient::new(guarded.channel.clone()).check(check)).await.expect("health needs no caller");
    assert_eq!(guarded.api.reviews(), 0);
}

#[tokio::test]
async fn stolen_and_forged_tokens_are_worth_nothing() {
    let guarded = Guarded::start(false).await;
    let now = guarded.now();
    let stranger = Key::p256("first");
    for (what, token) in [
        ("made for another service", guarded.changed(|claims| claims["aud"] = json!(["vault"]))),
        ("made for the API server", guarded.changed(|claims| claims["aud"] = json!([issuer::ISSUER]))),
        ("expired", guarded.api.token(ACCOUNT, now - 631)),
        ("of another cluster", guarded.changed(|claims| claims["iss"] = json!("https://other.example"))),
        ("of two namespaces", guarded.changed(|claims| claims["sub"] = json!("system:serviceaccount:ops:sync"))),
        ("without an end", guarded.changed(|claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
        ("signed by a stranger", stranger.sign(&issuer::claims(ACCOUNT, now))),
        ("no token", "7T:AAAAAAAAAAAAAAAA".to_owned()),
        ("of 12 KiB", "A".repeat(12 * 1024)),
    ] {
        let refused = guarded.ticket(&token).await.unwrap_err();
        assert_eq!(reason(&refused), unknown(), "{what}: {}", refused.message());
    }
    // hyper refuses headers of that size before anybody looks at them.
    guarded.ticket(&"A".repeat(1 << 20)).await.unwrap_err();
    guarded.ticket(&guarded.token(ACCOUNT)).await.expect("the others change nothing for the good one");
    assert_eq!(guarded.api.key_requests(), 1);
}

#[tokio::test]
async fn keys_change_with_and_without_overlap() {
    let guarded = Guarded::start(false).await;
    guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap();
    guarded.world.clock.advance(Duration::from_mins(1));
    let old = guarded.token(ACCOUNT);
    guarded.api.change_key(Key::p256("third"), true);
    for token in [guarded.token(ACCOUNT), old] {
        guarded.ticket(&token).await.expect("both keys are published");
    }
    assert_eq!(guarded.api.key_requests(), 2, "the unknown key was looked for");

    let mut failed = 0;
    guarded.api.change_key(Key::p256("fourth"), false);
    for _second in 0..60 {
        if let Err(refused) = guarded.ticket(&guarded.token(ACCOUNT)).await {
            assert_eq!(reason(&refused), unknown());
            failed += 1;
        }
        guarded.world.clock.advance(Duration::from_secs(1));
    }
    guarded.ticket(&guarded.token(ACCOUNT)).await.expect("a minute later the new key is known");
    println!("keys changed with overlap: 0 calls failed; twice within a minute, without: {failed} s of them");
    assert_eq!(guarded.api.key_requests(), 3);

    // The old one is forgotten with that.
    let withdrawn = Key::rsa("second").sign(&issuer::claims(ACCOUNT, guarded.now()));
    assert_eq!(reason(&guarded.ticket(&withdrawn).await.unwrap_err()), unknown());
}

#[tokio::test]
async fn withdrawn_keys_are_forgotten_though_nobody_asks() {
    let guarded = Guarded::start(false).await;
    let withdrawn = |number: u32| {
        let mut claims = issuer::claims(ACCOUNT, guarded.now());
        claims["jti"] = json!(number);
        Key::rsa("second").sign(&claims)
    };
    guarded.ticket(&withdrawn(0)).await.unwrap();
    guarded.api.change_key(Key::p256("third"), false);
    guarded.world.clock.advance(Duration::from_mins(5));
    eventually("the keys are read again", || guarded.api.key_requests() == 2).await;
    // What was asked for still has to arrive. A token is believed once it was verified, so each is another.
    let refused = within(async {
        for number in 1.. {
            if let Err(refused) = guarded.ticket(&withdrawn(number)).await {
                return refused;
            }
        }
        unreachable!("numbers do not end")
    });
    assert_eq!(reason(&refused.await), unknown());
    guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap();
}

#[tokio::test]
async fn while_the_api_server_is_away_known_keys_go_on() {
    for mood in [Mood::Down, Mood::Says(503), Mood::Says(403)] {
        let guarded = Guarded::start(false).await;
        let known = guarded.token(ACCOUNT);
        guarded.ticket(&known).await.unwrap();
        guarded.api.set_mood(mood);
        for minute in 1..=30 {
            guarded.world.clock.advance(Duration::from_mins(1));
            guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap_or_else(|error| panic!("{minute}: {error}"));
        }
        let refused = guarded.ticket(&known).await.unwrap_err();
        assert_eq!(reason(&refused), unknown(), "it has expired meanwhile");

        guarded.api.change_key(Key::p256("third"), true);
        let refused = guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap_err();
        assert_eq!(reason(&refused), unavailable(), "{mood:?}: nobody can say whether this key is the cluster's");
        let wait = retry_delay(&refused).unwrap();
        assert!(wait <= Duration::from_mins(1), "{wait:?}");
        guarded.api.set_mood(Mood::Well);
        guarded.world.clock.advance(Duration::from_mins(1));
        guarded.ticket(&guarded.token(ACCOUNT)).await.expect("the new key is published");
    }
    println!("30 minutes without the API server, three ways: 0 calls with tokens of known keys failed");
}

#[tokio::test]
async fn an_api_server_that_hangs_holds_up_unknown_keys_for_five_seconds_and_no_others() {
    let guarded = Guarded::start(false).await;
    let known = guarded.token(ACCOUNT);
    guarded.world.clock.advance(Duration::from_mins(1));
    guarded.api.set_mood(Mood::Hanging);
    guarded.api.change_key(Key::p256("third"), true);
    let unknown_key = guarded.token(ACCOUNT);
    let (refused, ()) = tokio::join!(guarded.ticket(&unknown_key), async {
        eventually("the keys are asked for", || guarded.api.key_requests() == 2).await;
        guarded.ticket(&known).await.expect("a known key waits for nothing");
        guarded.world.clock.advance(Duration::from_secs(5));
    });
    assert_eq!(reason(&refused.unwrap_err()), unavailable());
    // Until the next attempt nobody waits.
    for _ in 0..10 {
        assert_eq!(reason(&guarded.ticket(&unknown_key).await.unwrap_err()), unavailable());
    }
    assert_eq!(guarded.api.key_requests(), 2);
}

#[tokio::test]
async fn a_start_without_the_api_server_waits_for_it() {
    let guarded = Guarded::bare(false, Mood::Down).await;
    let token = guarded.token(ACCOUNT);
    let refused = guarded.ticket(&token).await.unwrap_err();
    assert_eq!(reason(&refused), unavailable());
    assert!(retry_delay(&refused).unwrap() <= Duration::from_secs(5));
    guarded.api.set_mood(Mood::Well);
    guarded.world.clock.advance(Duration::from_secs(5));
    let refused = guarded.ticket(&token).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()), "the caller is known now");
}

#[tokio::test]
async fn random_key_names_cause_one_request_a_minute() {
    let guarded = Guarded::start(false).await;
    let accounts = ServiceAccounts::new(
        guarded.api.settings(false),
        Arc::new(guarded.world.clock.clone()),
        Arc::new(SeededRandom::new(7)),
    );
    let (accounts, before) = (accounts.unwrap(), guarded.api.key_requests());
    let by_an_unknown_key = |name: &str| {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": name}).to_string());
        format!("{header}.e30.AAAA")
    };
    for minute in 1..=3 {
        for number in 0..10_000 {
            let token = UnverifiedJwt::new(by_an_unknown_key(&format!("{minute}-{number}")));
            assert!(matches!(accounts.identify(token).await, Err(BearerError::Rejected(_))));
        }
        assert_eq!(guarded.api.key_requests() - before, minute);
        guarded.world.clock.advance(Duration::from_mins(1));
    }
    for number in 0..300 {
        let refused = guarded.ticket(&by_an_unknown_key(&format!("wire-{number}"))).await.unwrap_err();
        assert_eq!(reason(&refused), unknown());
    }
    let requests = guarded.api.key_requests() - before;
    println!("10,000 random key names a minute for three minutes, and 300 over the wire: {requests} requests");
    assert_eq!(requests, 4);
}

#[tokio::test]
async fn tickets_own_token_and_the_clusters_authorities_are_read_anew() {
    let guarded = Guarded::start(false).await;
    guarded.api.change_own_token("another-own-token");
    guarded.api.change_key(Key::p256("third"), true);
    guarded.world.clock.advance(Duration::from_mins(1));
    guarded.ticket(&guarded.token(ACCOUNT)).await.expect("ticketd's new token was sent");

    let ca = std::fs::read(guarded.api.path("ca.crt")).unwrap();
    let stranger = generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    for bad in [stranger.as_str(), "", "no certificate"] {
        std::fs::write(guarded.api.path("ca.crt"), bad).unwrap();
        guarded.api.change_key(Key::p256(&format!("after {bad:.20}")), true);
        guarded.world.clock.advance(Duration::from_mins(1));
        let requests = guarded.api.key_requests();
        let refused = guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap_err();
        assert_eq!(reason(&refused), unavailable(), "{bad}");
        assert_eq!(guarded.api.key_requests(), requests, "nothing was said to a server that proved nothing");
    }
    std::fs::write(guarded.api.path("ca.crt"), ca).unwrap();
    guarded.world.clock.advance(Duration::from_mins(1));
    guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap();
}

#[tokio::test]
async fn keys_from_a_file_follow_it() {
    let guarded = Guarded::start(false).await;
    let file = guarded.api.path("jwks.json");
    let (old, new) = (Key::p256("old"), Key::p256("new"));
    std::fs::write(&file, issuer::jwks([&old])).unwrap();
    let settings = ticketd::identity::Settings { keys: KeySource::File(file.clone()), ..guarded.api.settings(false) };
    let clock = guarded.world.clock.clone();
    let accounts = ServiceAccounts::new(settings, Arc::new(clock.clone()), Arc::new(SeededRandom::new(7))).unwrap();
    let identify = |key: &Key| {
        let token = UnverifiedJwt::new(key.sign(&issuer::claims(ACCOUNT, guarded.now())));
        let accounts = accounts.clone();
        async move { accounts.identify(token).await }
    };
    assert_eq!(identify(&old).await.unwrap().account.as_str(), ACCOUNT);
    std::fs::write(&file, issuer::jwks([&new])).unwrap();
    clock.advance(Duration::from_mins(1));
    identify(&new).await.unwrap();
    std::fs::write(&file, "{").unwrap();
    clock.advance(Duration::from_mins(1));
    assert!(matches!(identify(&old).await, Err(BearerError::Unavailable { .. })));
    identify(&new).await.expect("the last good keys stay");
}

#[tokio::test]
async fn a_review_is_believed_for_a_minute_and_a_deleted_account_is_refused_then() {
    let guarded = Guarded::start(true).await;
    let token = guarded.token(ACCOUNT);
    for _ in 0..50 {
        guarded.ticket(&token).await.unwrap();
    }
    assert_eq!(guarded.api.reviews(), 2, "one for who put the tenant, one for this");
    guarded.api.delete(ACCOUNT);
    guarded.world.clock.advance(Duration::from_secs(59));
    guarded.ticket(&token).await.unwrap();
    guarded.world.clock.advance(Duration::from_secs(1));
    for _ in 0..50 {
        let refused = guarded.ticket(&token).await.unwrap_err();
        assert_eq!(reason(&refused), unknown());
    }
    assert_eq!(guarded.api.reviews(), 3, "a refusal is remembered as well");
    guarded.world.clock.advance(Duration::from_secs(10));
    guarded.ticket(&token).await.unwrap_err();
    assert_eq!(guarded.api.reviews(), 4);
    println!("reviews for 102 calls by one token in 70 s: {}", guarded.api.reviews() - 1);

    // What is not signed by the cluster is no question to it.
    for _ in 0..50 {
        guarded.ticket(&Key::p256("first").sign(&issuer::claims(ACCOUNT, guarded.now()))).await.unwrap_err();
    }
    assert_eq!(guarded.api.reviews(), 4);
}

#[tokio::test]
async fn callers_with_one_token_share_a_review() {
    let guarded = Guarded::start(true).await;
    let token = guarded.token(ACCOUNT);
    let tickets = (0..100).map(|_| guarded.ticket(&token));
    assert!(futures_util::future::join_all(tickets).await.iter().all(Result::is_ok));
    assert_eq!(guarded.api.reviews(), 2);
}

#[tokio::test]
async fn without_the_clusters_word_nobody_new_is_let_in() {
    let guarded = Guarded::start(true).await;
    let known = guarded.token(ACCOUNT);
    guarded.ticket(&known).await.unwrap();
    let mut asked = guarded.api.reviews();
    for mood in [Mood::Down, Mood::Says(403), Mood::Says(429), Mood::Says(500)] {
        guarded.api.set_mood(mood);
        let strangers = (0..20).map(|number| guarded.token(&format!("crm/job-{number}")));
        for token in strangers {
            let refused = guarded.ticket(&token).await.unwrap_err();
            assert_eq!(reason(&refused), unavailable(), "{mood:?}");
            assert_eq!(retry_delay(&refused), Some(Duration::from_secs(1)));
        }
        let questions = guarded.api.reviews() - asked;
        assert!(questions <= 1, "{mood:?}: {questions}");
        asked = guarded.api.reviews();
        guarded.ticket(&known).await.expect("what was reviewed within the minute goes on");
        guarded.world.clock.advance(Duration::from_secs(1));
    }
    guarded.api.set_mood(Mood::Hanging);
    let token = guarded.token("crm/late");
    let (refused, ()) = tokio::join!(guarded.ticket(&token), async {
        eventually("the cluster is asked", || guarded.api.reviews() > asked).await;
        guarded.ticket(&known).await.unwrap();
        guarded.world.clock.advance(Duration::from_secs(5));
    });
    assert_eq!(reason(&refused.unwrap_err()), unavailable());
    guarded.world.clock.advance(Duration::from_mins(1));
    guarded.api.set_mood(Mood::Down);
    assert_eq!(reason(&guarded.ticket(&known).await.unwrap_err()), unavailable(), "the minute is over");
    guarded.api.set_mood(Mood::Well);
    guarded.world.clock.advance(Duration::from_secs(1));
    guarded.ticket(&known).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_others_reviews_is_told_so_and_nothing_of_the_api_server() {
    let guarded = Guarded::start(true).await;
    let asked = guarded.api.reviews();
    guarded.api.set_mood(Mood::Hanging);
    let tokens: Vec<_> = (0..20).map(|number| guarded.token(&format!("crm/job-{number}"))).collect();
    let strangers = futures_util::future::join_all(tokens.iter().map(|token| guarded.ticket(token)));
    let late = guarded.token("crm/late");
    let (answers, late) = tokio::join!(strangers, async {
        // Each waits for its turn, an answer, and its deadline.
        eventually("as many are asked about as may be", || guarded.api.reviews() == asked + 16).await;
        let sleepers = guarded.world.clock.sleepers();
        guarded.world.clock.advance(Duration::from_secs(2));
        eventually("the rest is told", || guarded.world.clock.sleepers() <= sleepers - 8).await;
        let late = async { guarded.ticket(&late).await.unwrap_err() };
        let (late, ()) = tokio::join!(late, async {
            // For its turn, and for its deadline.
            eventually("it waits", || guarded.world.clock.sleepers() >= sleepers - 8 + 2).await;
            guarded.world.clock.advance(Duration::from_secs(2));
        });
        guarded.world.clock.advance(Duration::from_secs(1));
        late
    });
    let overloaded = (Code::ResourceExhausted, "OVERLOADED".to_owned());
    assert_eq!(reason(&late), overloaded, "it was not said meanwhile that the API server is away");
    let told = |what| answers.iter().filter(|answer| reason(answer.as_ref().unwrap_err()) == what).count();
    assert_eq!((told(overloaded), told(unavailable())), (4, 16));
}

#[tokio::test]
async fn a_review_of_somebody_else_is_no_review() {
    let guarded = Guarded::start(true).await;
    let user = json!({"username": "system:serviceaccount:crm:sync"});
    for (number, status) in [
        json!({"authenticated": true, "user": user}),
        json!({"authenticated": true, "user": user, "audiences": ["vault"]}),
        json!({"authenticated": true, "user": user, "audiences": []}),
        json!({"authenticated": false, "user": user, "audiences": ["ticketd"]}),
        json!({"user": user, "audiences": ["ticketd"]}),
        json!({"authenticated": true, "audiences": ["ticketd"]}),
        json!({"authenticated": true, "user": {"username": "system:serviceaccount:ops:sync"}, "audiences": ["ticketd"]}),
        json!({"authenticated": true, "user": {"username": "crm:sync"}, "audiences": ["ticketd"]}),
        json!({}),
    ]
    .into_iter()
    .enumerate()
    {
        guarded.api.answer_reviews(status.clone());
        let token = guarded.changed(|claims| claims["jti"] = json!(number.to_string()));
        assert_eq!(reason(&guarded.ticket(&token).await.unwrap_err()), unknown(), "{status}");
    }
    for status in [json!(7), json!("authenticated"), json!({"authenticated": "true"}), json!({"audiences": "ticketd"})]
    {
        guarded.api.answer_reviews(status.clone());
        guarded.world.clock.advance(Duration::from_secs(1));
        let token = guarded.changed(|claims| claims["jti"] = status.clone());
        assert_eq!(reason(&guarded.ticket(&token).await.unwrap_err()), unavailable(), "{status}");
    }
}
