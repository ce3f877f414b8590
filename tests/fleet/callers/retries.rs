//! As in docs/clients.md, letter for letter.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};

/// Calls again when the connection broke under a call, at most three times. Only for calls that may be made twice:
/// `GetSystemTicket`, `BatchGetSystemTickets` and `InvalidateSystemTicket`.
pub(crate) async fn with_retries<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    for _ in 0..3 {
        match call().await {
            Err(status) if is_of_the_connection(&status) => {
                #[expect(clippy::disallowed_methods, reason = "callers have no Clock")]
                tokio::time::sleep(Duration::from_millis(fastrand::u64(20..100))).await;
            }
            outcome => return outcome,
        }
    }
    call().await
}

/// What the server says of a call has no source; what the transport says of a connection has.
fn is_of_the_connection(status: &Status) -> bool {
    let codes = [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::Internal];
    codes.contains(&status.code()) && status.source().is_some()
}
