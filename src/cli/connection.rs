use std::future::Future;
use std::time::Duration;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use url::Url;

use super::failure::Failure;
use crate::telemetry::one_line;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes `http://HOST:PORT`.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && is_bare(url));
    url.ok_or_else(|| "expected an address like http://127.0.0.1:8443".to_owned())
}

/// Credentials in it would be shown with it.
fn is_bare(url: &Url) -> bool {
    let is_address = url.has_host() && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    is_address && url.username().is_empty() && url.password().is_none()
}

/// Connects to a running ticketd.
pub(super) async fn connect(address: &Url) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(address.to_string())
        .map_err(|error| Failure::Usage(format!("{address} is no address: {error}")))?;
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .connect()
        .await
        .map_err(|error| Failure::caused_by(format_args!("cannot connect to {address}"), &error))
}

/// Waits for a call's outcome on this thread.
pub(super) fn wait_for<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused_by("cannot start the runtime", &error))?;
    runtime.block_on(call)
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
