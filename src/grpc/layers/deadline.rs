use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, Request, Response};
use tonic::body::Body;
use tower::Service;

use crate::clock::Clock;
use crate::grpc::status;

/// Our answer leaves this part of the caller's time-out early, so that it arrives before the caller's own clock ends
/// the call: then the caller reads what happened, and no library's word for it. Work that outlives the call goes on.
const EARLY_PART: u32 = 20;
/// A network that needs longer than this to carry the answer is not helped by waiting less.
const EARLIEST: Duration = Duration::from_millis(25);

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Answers `DEADLINE_EXCEEDED` when the caller's time-out, or the server's, passes before there is an answer, and drops
/// the call. The body of a request is read within it too. A stream that has begun to answer, such as a watch over
/// health, gets no `DEADLINE_EXCEEDED`: it ends with its connection.
///
/// A request's time counts from [`Arrival`], if that is in its extensions.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    longest: Duration,
    clock: Arc<dyn Clock>,
}

/// When a call came, by monotonic time, that comes to the layers later.
#[derive(Clone, Copy, Debug)]
pub struct Arrival(pub Duration);

/// How long a call with these headers may take, which may take so long at most.
pub fn time_for(headers: &HeaderMap, longest: Duration) -> Duration {
    grpc_timeout(headers).map_or(longest, |timeout| a_little_less(timeout).min(longest))
}

impl<S> Deadline<S> {
    pub(super) fn new(inner: S, longest: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { inner, longest, clock }
    }
}

impl<S> Service<Request<Body>> for Deadline<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let arrival: Option<&Arrival> = request.extensions().get();
        let spent = arrival.map_or(Duration::ZERO, |Arrival(time)| self.clock.elapsed().saturating_sub(*time));
        let end = self.clock.sleep(time_for(request.headers(), self.longest).saturating_sub(spent));
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                // An answer that is there when the time is up is an answer.
                biased;
                answer = answer => answer,
                () = end => Ok(status::deadline_exceeded().into_http()),
            }
        })
    }
}

fn a_little_less(timeout: Duration) -> Duration {
    timeout.saturating_sub((timeout / EARLY_PART).min(EARLIEST))
}

/// The caller's time-out: at most eight digits and a unit. A malformed one counts as absent, as the caller's library
/// would not have sent it and the server's own limit holds anyway.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 60 * 60)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, value.parse().unwrap());
        grpc_timeout(&headers)
    }

    #[test]
    fn every_unit_is_read_and_anything_malformed_counts_as_absent() {
        assert_eq!(parse("1H"), Some(Duration::from_hours(1)));
        assert_eq!(parse("2M"), Some(Duration::from_mins(2)));
        assert_eq!(parse("3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse("4m"), Some(Duration::from_millis(4)));
        assert_eq!(parse("5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse("0n"), Some(Duration::ZERO));
        assert_eq!(parse("99999999H"), Some(Duration::from_hours(99_999_999)));
        for malformed in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", " 1S", "1S ", "123456789S", "1SS", "1 S"] {
            assert_eq!(parse(malformed), None, "{malformed:?}");
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ -~]{0,20}") {
            let _ = parse(&value);
        }
    }
}
