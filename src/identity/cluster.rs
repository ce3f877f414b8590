use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Client, Method, Request, Response, StatusCode, redirect};
use thiserror::Error;
use tracing::Instrument;
use url::Url;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::regular_file;

/// For the whole of a request: files, connection, answer.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const POOL_IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// A key set and the answer to a review have a few KiB.
const MAX_BODY: usize = 64 * 1024;
/// A file of root certificates, and our own token.
const MAX_FILE: usize = 1024 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why no client can be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The TLS client cannot be built: most often the machine has no root certificates.
    #[error("the HTTPS client cannot be built: are the system's root certificates (ca-certificates) installed?")]
    Client(#[source] reqwest::Error),
    /// No key can be drawn for the hashes of tokens.
    #[error("no key can be drawn")]
    Randomness(#[from] crate::crypto::RandomnessError),
}

/// Why a server of the cluster's gave no usable answer. The texts are ours: nothing of the answer is in them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum ClusterError {
    #[error("{file} cannot be read: {cause}", file = file.display())]
    File { file: PathBuf, cause: String },
    #[error("{file} {problem}", file = file.display())]
    Content { file: PathBuf, problem: &'static str },
    #[error("the HTTPS client cannot be built")]
    Client,
    #[error("no connection: {cause}")]
    Connect { cause: String },
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection broke")]
    Interrupted,
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("the answer is larger than 64 KiB")]
    TooLarge,
}

/// The one client for a server of the cluster's. It goes nowhere by itself, neither after a redirect nor over a proxy.
/// Root certificates and our own token are read anew for each request: both change while we run.
#[derive(Debug)]
pub(super) struct Cluster {
    url: Url,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// Made of these root certificates.
    client: Mutex<(Vec<u8>, Client)>,
}

impl Cluster {
    /// A client that sends to this URL's host, and nowhere else.
    pub(super) fn new(
        url: Url,
        ca_file: Option<PathBuf>,
        token_file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        // With a file, the real client is built when the file is first read.
        let trust = ca_file.as_ref().map(|_| Vec::new());
        let client = client(trust).map_err(SetupError::Client)?;
        Ok(Self { url, ca_file, token_file, clock, client: Mutex::new((Vec::new(), client)) })
    }

    /// Asks for the document at the URL itself.
    pub(super) async fn get(&self) -> Result<Vec<u8>, ClusterError> {
        self.ask(Request::new(Method::GET, self.url.clone())).await
    }

    /// Sends JSON to a path of the same host.
    pub(super) async fn post(&self, path: &str, json: Vec<u8>) -> Result<Vec<u8>, ClusterError> {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        let mut request = Request::new(Method::POST, url);
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        *request.body_mut() = Some(json.into());
        self.ask(request).await
    }

    /// Sends a request, once, and reads its answer within the time there is for it.
    async fn ask(&self, request: Request) -> Result<Vec<u8>, ClusterError> {
        let span = tracing::info_span!(
            "cluster.request",
            otel.kind = "client",
            http.request.method = %request.method(),
            server.address = request.url().host_str(),
            url.path = request.url().path(),
        );
        let asking = async {
            tokio::select! {
                answer = self.send(request) => answer,
                () = self.clock.sleep(TIMEOUT) => Err(ClusterError::TimedOut),
            }
        };
        asking.instrument(span).await
    }

    async fn send(&self, mut request: Request) -> Result<Vec<u8>, ClusterError> {
        let client = self.client().await?;
        request.headers_mut().insert(ACCEPT, JSON);
        if let Some(file) = &self.token_file {
            request.headers_mut().insert(AUTHORIZATION, bearer(file).await?);
        }
        let response = client.execute(request).await.map_err(|error| unanswered(&error))?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => body(response).await,
            status => Err(ClusterError::Status(status.as_u16())),
        }
    }

    async fn client(&self) -> Result<Client, ClusterError> {
        let Some(file) = &self.ca_file else { return Ok(self.kept().1.clone()) };
        let pem = read(file).await?;
        {
            let kept = self.kept();
            if kept.0 == *pem {
                return Ok(kept.1.clone());
            }
        }
        let malformed = || ClusterError::Content { file: file.clone(), problem: "holds no certificate in PEM form" };
        let roots = Certificate::from_pem_bundle(&pem).map_err(|_| malformed())?;
        if roots.is_empty() {
            return Err(malformed());
        }
        let client = client(Some(roots)).map_err(|_| ClusterError::Client)?;
        *self.kept() = (pem.to_vec(), client.clone());
        Ok(client)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, (Vec<u8>, Client)> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that trusts these roots only, or the system's.
fn client(roots: Option<Vec<Certificate>>) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .user_agent(concat!("ticketd/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .retry(reqwest::retry::never())
        // An attempt that is given up closes its connection, so the next one never waits on the same dead one.
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tls_backend_rustls()
        .https_only(true);
    match roots {
        Some(roots) => builder.tls_certs_only(roots).build(),
        None => builder.build(),
    }
}

/// Our own token, as it goes into a request.
async fn bearer(file: &Path) -> Result<HeaderValue, ClusterError> {
    let token = read(file).await?;
    let unusable = || ClusterError::Content { file: file.to_owned(), problem: "holds no token" };
    let token = token.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(unusable());
    }
    let header = Zeroizing::new([b"Bearer ", token].concat());
    let mut header = HeaderValue::from_bytes(&header).map_err(|_| unusable())?;
    header.set_sensitive(true);
    Ok(header)
}

/// A small file, as it is now.
pub(super) async fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, ClusterError> {
    let path = file.to_owned();
    // A mounted file that hangs must not hold the thread.
    let read = tokio::task::spawn_blocking(move || regular_file::read(&path, MAX_FILE)).await;
    let content = read.unwrap_or_else(|crash| Err(std::io::Error::other(crash)));
    let failed = |cause: std::io::Error| ClusterError::File { file: file.to_owned(), cause: cause.to_string() };
    Ok(content.map_err(failed)?.bytes)
}

/// Reads a body as it comes, and no more of it than is allowed.
async fn body(mut response: Response) -> Result<Vec<u8>, ClusterError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| ClusterError::Interrupted)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(ClusterError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why there is no head of an answer. reqwest's own text is left out, since it repeats the URL.
fn unanswered(error: &reqwest::Error) -> ClusterError {
    if error.is_connect() {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        // What the operating system or TLS said, with what the peer said in it shown as it is written.
        let cause = cause.to_string().chars().take(200).flat_map(char::escape_debug).collect();
        return ClusterError::Connect { cause };
    }
    if error.is_timeout() { ClusterError::TimedOut } else { ClusterError::Interrupted }
}
