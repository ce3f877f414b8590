//! SuperOffice's answers. The client asks a server in this process, which answers with the input:
//!
//! ```text
//! 200
//! Retry-After: 30
//!
//! the body
//! ```

use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread_local;
use std::time::Duration;

use jiff::Timestamp;
use ticketd::clock::ManualClock;
use ticketd::identifiers::{ContextIdentifier, RefreshToken, SignedSystemToken};
use ticketd::random::SeededRandom;
use ticketd::superoffice::{ExchangeError, ExchangeTransport, OAuthError, Settings, SuperOffice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::superoffice_settings::superoffice_settings;

const CLIENT_SECRET: &str = "fedcba98c4naryfedcba98c4naryfedc";
const SIGNED: &str = "App-8k8Q7DmBgo.202611221200.c4narySignature==";
const REFRESH_TOKEN: &str = "RefreshToken-c4nary-0123456789";
/// As long as any answer can make us wait, so that each input finds everything open.
const BETWEEN_INPUTS: Duration = Duration::from_mins(6);
/// What an answer may say beside its length.
const HEADERS: [&str; 4] = ["retry-after", "date", "content-type", "location"];

static TENANT: LazyLock<ContextIdentifier> = LazyLock::new(|| "Cust12345".parse().unwrap());

thread_local! {
    static REST: World = World::new(ExchangeTransport::Rest);
    static SOAP: World = World::new(ExchangeTransport::Soap);
}

/// The client, and the server that it asks.
struct World {
    runtime: Runtime,
    superoffice: SuperOffice,
    clock: ManualClock,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl World {
    fn new(exchange: ExchangeTransport) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let answer = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&answer);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&shared)));
            }
        });
        let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
        let settings = Settings { exchange, ..superoffice_settings(&base_url, "0123456789abcdef", CLIENT_SECRET) };
        let superoffice = SuperOffice::new(settings, Arc::new(clock.clone()), Arc::new(SeededRandom::new(7))).unwrap();
        Self { runtime, superoffice, clock, answer }
    }

    /// Has the client ask, and answers with the input.
    fn ask<T>(&self, input: &[u8], ask: impl AsyncFnOnce(&SuperOffice) -> T) -> T {
        *self.answer.lock().unwrap() = answer(input);
        self.clock.advance(BETWEEN_INPUTS);
        self.runtime.block_on(ask(&self.superoffice))
    }
}

/// An exchange over REST.
pub(crate) fn rest_exchange(input: &[u8]) {
    REST.with(|world| exchange(world, input));
}

/// An exchange over SOAP.
pub(crate) fn soap_exchange(input: &[u8]) {
    SOAP.with(|world| exchange(world, input));
}

fn exchange(world: &World, input: &[u8]) {
    let signed = SignedSystemToken::new(SIGNED);
    match world.ask(input, async |superoffice| superoffice.exchange(*TENANT, &signed).await) {
        Ok(jwt) => assert!(!jwt.expose().is_empty()),
        Err(error) => {
            check_error(&error, &[SIGNED]);
            if let ExchangeError::Refused { message, .. } = &error {
                assert!(message.len() <= 256, "{message}");
            }
            assert!(error.retry_after().is_none_or(|wait| wait <= Duration::from_mins(5)));
        }
    }
}

/// What a refresh token brings.
pub(crate) fn token_response(input: &[u8]) {
    let refresh_token = RefreshToken::new(REFRESH_TOKEN);
    REST.with(|world| {
        match world.ask(input, async |superoffice| superoffice.refresh_access_token(&refresh_token).await) {
            Ok(tokens) => {
                let is_token = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
                assert!(is_token(tokens.access_token.expose()), "it goes into a header");
                assert!(tokens.refresh_token.is_none_or(|token| is_token(token.expose())));
                assert!((Duration::from_secs(1)..=Duration::from_hours(24)).contains(&tokens.expires_in));
            }
            Err(error) => {
                check_error(&error, &[REFRESH_TOKEN]);
                assert!(!matches!(&error, OAuthError::Refused(code) if code.len() > 64));
            }
        }
    });
}

/// A tenant's state.
pub(crate) fn tenant_state(input: &[u8]) {
    REST.with(|world| {
        world.superoffice.forget_tenant_state(*TENANT);
        match world.ask(input, async |superoffice| superoffice.tenant_state(*TENANT).await) {
            Ok(status) => {
                assert!(status.webapi_url.is_none_or(|url| superoffice_owns(world, &url)));
                assert!(status.valid_until > Timestamp::UNIX_EPOCH);
            }
            Err(error) => check_error(&error, &[]),
        }
    });
}

/// Where a tenant's API is said to be. Tickets are sent to what comes out.
pub(crate) fn tenant_url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    REST.with(|world| {
        if let Some(url) = world.superoffice.checked_tenant_url(text) {
            assert!(superoffice_owns(world, &url), "{url}");
        }
    });
}

/// Read by the letter, by none of the libraries that ticketd reads URLs with.
fn superoffice_owns(world: &World, url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let (host, _port) = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).unwrap_or((authority, ""));
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let is_plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let is_superoffices = scheme == "https" && is_plain && host.ends_with(".superoffice.com");
    let again = world.superoffice.checked_tenant_url(url);
    (is_loopback || is_superoffices)
        && (path.is_empty() || path.ends_with('/'))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
        && again.as_deref() == Some(url)
}

/// Errors are logged and shown: one line, of bounded length, with none of our secrets in it, whatever the answer repeats.
fn check_error(error: &(impl std::error::Error + ?Sized), secrets: &[&str]) {
    let said = format!("{error} {error:?}");
    assert!(said.len() < 2_000 && !error.to_string().chars().any(char::is_control), "{said}");
    for secret in secrets.iter().chain([&CLIENT_SECRET]) {
        assert!(!said.contains(secret), "{said}");
    }
}

/// Answers each request on a connection with what there is at the time.
async fn serve(mut socket: TcpStream, answer: Arc<Mutex<Vec<u8>>>) {
    let mut request = Vec::new();
    loop {
        let Some(length) = length(&request) else {
            if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        request.drain(..length);
        let answer = answer.lock().unwrap().clone();
        if socket.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// How long the request is, once all of it is there.
fn length(request: &[u8]) -> Option<usize> {
    let head = request.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = head + body.map_or(0, |length| length.parse().unwrap());
    (length <= request.len()).then_some(length)
}

/// The input as an answer of HTTP.
fn answer(input: &[u8]) -> Vec<u8> {
    let mut lines = input.split_inclusive(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.trim().parse::<u16>().ok());
    // Those without a body would have the next answer begin with this one's.
    let status = status.filter(|status| (200..600).contains(status) && ![204, 304].contains(status)).unwrap_or(200);
    let mut answer = format!("HTTP/1.1 {status} X\r\n").into_bytes();
    let mut body = Vec::new();
    while let Some(line) = lines.next() {
        let line = line.trim_ascii();
        if line.is_empty() {
            body = lines.collect::<Vec<_>>().concat();
            break;
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
        let is_allowed = HEADERS.iter().any(|header| header.as_bytes() == name) && line.contains(&b':');
        if is_allowed && line.iter().all(|byte| *byte == b'\t' || (b' '..0x7f).contains(byte)) {
            answer.extend_from_slice(line);
            answer.extend_from_slice(b"\r\n");
        }
    }
    answer.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(&body);
    answer
}
