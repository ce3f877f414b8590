//! What of a Kubernetes API server ticketd speaks to, over real TLS: the cluster's key set, and token reviews. It
//! counts, changes its keys, and fails as it is told.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use ticketd::identity::{KeySource, Settings};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::issuer::{self, AUDIENCE, ISSUER, Key};

pub(crate) struct ApiServer {
    address: SocketAddr,
    directory: TempDir,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They are answered.
    Well,
    /// They are taken and never answered.
    Hanging,
    /// Connections are closed.
    Down,
    /// They are answered so, with all of the request in the answer.
    Says(u16),
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    mood: Mood,
    /// The first signs, all are published.
    keys: Vec<Key>,
    /// What ticketd's own token has to be.
    own_token: String,
    /// Accounts that are deleted.
    deleted: HashSet<String>,
    key_requests: usize,
    reviews: usize,
    /// What the answer to a review is given besides.
    review_answer: Option<Value>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        std::fs::write(directory.path().join("ca.crt"), ca_certificate.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], der.into()).unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));

        let own_token = "ticketds-own-token-8d1f".to_owned();
        std::fs::write(directory.path().join("token"), format!("{own_token}\n")).unwrap();
        let state = State {
            mood: Mood::Well,
            keys: vec![Key::p256("first"), Key::rsa("second")],
            own_token,
            deleted: HashSet::new(),
            key_requests: 0,
            reviews: 0,
            review_answer: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, directory, shared, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// How ticketd is told to verify this cluster's tokens.
    pub(crate) fn settings(&self, token_review: bool) -> Settings {
        let url = format!("https://localhost:{}/openid/v1/jwks", self.address.port()).parse().unwrap();
        let (ca_file, token_file) = (Some(self.path("ca.crt")), Some(self.path("token")));
        let keys = KeySource::Url { url, ca_file, token_file };
        Settings { issuer: ISSUER.to_owned(), audience: AUDIENCE.to_owned(), keys, token_review }
    }

    /// One of the files that a pod has mounted.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A token that the cluster signs.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.state().keys[0].sign(claims)
    }

    /// A good token for an account, `namespace/name`.
    pub(crate) fn token(&self, account: &str, now: i64) -> String {
        self.sign(&issuer::claims(account, now))
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
        self.shared.changed.notify_waiters();
    }

    /// From now on the cluster signs with another key. `overlap` says whether it goes on to publish the old ones.
    pub(crate) fn change_key(&self, key: Key, overlap: bool) {
        let mut state = self.state();
        if !overlap {
            state.keys.clear();
        }
        state.keys.insert(0, key);
    }

    /// Deletes an account: the cluster does not vouch for its tokens from then on.
    pub(crate) fn delete(&self, account: &str) {
        self.state().deleted.insert(account.to_owned());
    }

    /// From now on this process's own token is another.
    pub(crate) fn change_own_token(&self, token: &str) {
        token.clone_into(&mut self.state().own_token);
        std::fs::write(self.path("token"), token).unwrap();
    }

    /// Answers reviews with this status, whatever they ask.
    pub(crate) fn answer_reviews(&self, status: Value) {
        self.state().review_answer = Some(status);
    }

    /// How often the key set was asked for.
    pub(crate) fn key_requests(&self) -> usize {
        self.state().key_requests
    }

    /// How often it was asked about a token.
    pub(crate) fn reviews(&self) -> usize {
        self.state().reviews
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        if shared.state.lock().unwrap().mood != Mood::Down {
            tokio::spawn(serve(socket, tls.clone(), Arc::clone(&shared)));
        }
    }
}

async fn serve(socket: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = tls.accept(socket).await else { return };
    let answers = Arc::clone(&shared);
    let service = service_fn(move |request| answer(request, Arc::clone(&answers)));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let went_down = async {
        loop {
            let changed = shared.changed.notified();
            if shared.state.lock().unwrap().mood == Mood::Down {
                return;
            }
            changed.await;
        }
    };
    tokio::select! {
        _ = connection => {}
        () = went_down => {}
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mood = {
        let mut state = shared.state.lock().unwrap();
        match path.as_str() {
            "/openid/v1/jwks" => state.key_requests += 1,
            _ => state.reviews += 1,
        }
        state.mood
    };
    shared.changed.notify_waiters();
    let (status, answer) = match mood {
        Mood::Hanging => std::future::pending().await,
        Mood::Says(status) => {
            let echo = format!("{path} {authorization:?} {}", String::from_utf8_lossy(&body));
            (StatusCode::from_u16(status).unwrap(), echo)
        }
        Mood::Well | Mood::Down => {
            let state = shared.state.lock().unwrap();
            if authorization == Some(format!("Bearer {}", state.own_token)) {
                state.answer(&path, &body)
            } else {
                (StatusCode::UNAUTHORIZED, "{}".to_owned())
            }
        }
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(answer.into()).unwrap())
}

impl State {
    fn answer(&self, path: &str, body: &[u8]) -> (StatusCode, String) {
        match path {
            "/openid/v1/jwks" => (StatusCode::OK, issuer::jwks(&self.keys)),
            "/apis/authentication.k8s.io/v1/tokenreviews" => {
                let review: Value = serde_json::from_slice(body).unwrap();
                assert_eq!(review["spec"]["audiences"], json!([AUDIENCE]));
                let status = self.review_answer.clone().unwrap_or_else(|| self.review(&review["spec"]["token"]));
                (StatusCode::CREATED, json!({"kind": "TokenReview", "status": status}).to_string())
            }
            _ => (StatusCode::NOT_FOUND, "{}".to_owned()),
        }
    }

    /// It believes every token: whether they are signed is ticketd's to know before it asks.
    fn review(&self, token: &Value) -> Value {
        use base64::Engine as _;
        let claims = token.as_str().unwrap().split('.').nth(1).unwrap();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let own = &claims["kubernetes.io"];
        let account =
            format!("{}/{}", own["namespace"].as_str().unwrap(), own["serviceaccount"]["name"].as_str().unwrap());
        if self.deleted.contains(&account) {
            return json!({"user": {}, "error": "[invalid bearer token, serviceaccounts not found]"});
        }
        json!({"authenticated": true, "audiences": [AUDIENCE],
            "user": {"username": claims["sub"], "uid": "9a2c1f6e", "groups": ["system:serviceaccounts"]}})
    }
}
