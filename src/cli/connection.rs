mod address;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use tower::service_fn;
use url::Url;

use super::failure::Failure;
use crate::telemetry::one_line;

pub(super) use self::address::Address;
pub(super) use self::tls::Tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream whose connection is dead would look like one on which nothing happens. ticketd takes pings so often and no oftener.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Connects to a running ticketd.
pub(super) async fn connect(address: &Address, tls: &Tls) -> Result<Channel, Failure> {
    if tls.is_given() && !matches!(address, Address::Https(_)) {
        return Err(Failure::usage(&"--ca-file and --client-certificate-file are for an https address"));
    }
    let connected = match address {
        Address::Http(url) => endpoint(url)?.connect().await,
        Address::Https(url) => connect_over_tls(url, tls).await?,
        Address::Unix(path) => {
            let path = path.clone();
            let connector = service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            Endpoint::from_static("http://localhost")
                .connect_timeout(CONNECT_TIMEOUT)
                .connect_with_connector(connector)
                .await
        }
    };
    connected.map_err(|error| Failure::caused_by(format_args!("cannot connect to {address}"), &error))
}

/// The handshake is ours: the channel itself is told of a plaintext connection.
async fn connect_over_tls(url: &Url, tls: &Tls) -> Result<Result<Channel, tonic::transport::Error>, Failure> {
    let connector = TlsConnector::from(Arc::new(tls.client()?));
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name =
        ServerName::try_from(host.clone()).map_err(|_| Failure::usage(&format_args!("{url} names no server")))?;
    let port = url.port_or_known_default().unwrap_or(443);
    let connector = service_fn(move |_| {
        let (connector, name, host) = (connector.clone(), name.clone(), host.clone());
        async move {
            let socket = TcpStream::connect((host, port)).await?;
            socket.set_nodelay(true)?;
            connector.connect(name, socket).await.map(TokioIo::new)
        }
    });
    let plaintext = Endpoint::from_static("http://localhost").origin(endpoint(url)?.uri().clone());
    let plaintext = plaintext.connect_timeout(CONNECT_TIMEOUT).http2_keep_alive_interval(KEEP_ALIVE);
    Ok(plaintext.connect_with_connector(connector).await)
}

fn endpoint(url: &Url) -> Result<Endpoint, Failure> {
    let endpoint = Endpoint::from_shared(url.to_string());
    let endpoint = endpoint.map_err(|error| Failure::Usage(format!("{url} is no address: {error}")))?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).http2_keep_alive_interval(KEEP_ALIVE))
}

/// Waits for a call's outcome on this thread.
pub(super) fn wait_for<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused_by("cannot start the runtime", &error))?;
    let outcome = runtime.block_on(call);
    // A name that is still being looked up holds nobody up.
    runtime.shutdown_background();
    outcome
}

/// What a call was refused with, on one line: the reason that programs go by, the text for people, when to try again.
pub(super) fn refused(status: &Status) -> Failure {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| format!(" {}", one_line(&info.reason))).unwrap_or_default();
    let retry = details
        .retry_info()
        .and_then(|info| info.retry_delay)
        .map(|delay| format!(" (try again in {})", humantime::format_duration(in_milliseconds(delay))))
        .unwrap_or_default();
    Failure::Failed(format!("{:?}{reason}: {}{retry}", status.code(), one_line(status.message())))
}

/// Rounded up, for people to read.
fn in_milliseconds(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
