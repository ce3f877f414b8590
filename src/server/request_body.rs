use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// A request that was waited for so long when its call ends was held back on purpose, or by a line that is gone.
const SLOW: Duration = Duration::from_secs(5);

/// A request's body, which says when the peer did not send all of it in time. A call that waits for it ends at its
/// deadline; its connection would stay, as good as any, for as many more.
#[derive(Debug)]
pub(super) struct RequestBody<B: Body = Incoming> {
    body: B,
    /// What was read of it before.
    read: Option<Bytes>,
    has_ended: bool,
    /// Since when the peer keeps us waiting. What takes time before anybody reads, such as finding out who calls, is no
    /// fault of the body's.
    waits_since: Option<Duration>,
    clock: Arc<dyn Clock>,
    held_back: CancellationToken,
}

/// What was done with a body before.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// What was read of it.
    pub(super) read: Option<Bytes>,
    /// Since when the peer keeps us waiting for the rest, by monotonic time.
    pub(super) waits_since: Option<Duration>,
}

impl<B: Body> RequestBody<B> {
    /// Cancels `held_back` when it is dropped late and unfinished.
    pub(super) fn new(body: B, begun: Begun, clock: Arc<dyn Clock>, held_back: CancellationToken) -> Self {
        let Begun { read, waits_since } = begun;
        Self { body, read, has_ended: false, waits_since, clock, held_back }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            // A byte now and then does not count as coming in time.
            self.waits_since = self.waits_since.or_else(|| Some(self.clock.elapsed()));
            return Poll::Pending;
        };
        // A caller that gives its call up has not held it back.
        self.has_ended |= !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.body.is_end_stream()
    }
}

impl<B: Body> Drop for RequestBody<B> {
    fn drop(&mut self) {
        let waited = self.waits_since.map(|since| self.clock.elapsed().saturating_sub(since));
        let is_whole = self.has_ended || self.body.is_end_stream();
        if !is_whole && waited.is_some_and(|waited| waited >= SLOW) {
            self.held_back.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Full};
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    /// A body whose peer sends nothing.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
            Poll::Pending
        }
    }

    fn parts() -> (ManualClock, CancellationToken) {
        (ManualClock::new(Timestamp::UNIX_EPOCH), CancellationToken::new())
    }

    #[test]
    fn what_nobody_has_read_is_not_held_back() {
        let (clock, held_back) = parts();
        let unread = RequestBody::new(Silent, Begun::default(), Arc::new(clock.clone()), held_back.clone());
        clock.advance(Duration::from_mins(1));
        drop(unread);
        let mut late = RequestBody::new(
            Full::new(Bytes::from("whole")),
            Begun::default(),
            Arc::new(clock.clone()),
            held_back.clone(),
        );
        clock.advance(Duration::from_mins(1));
        assert!(late.frame().now_or_never().is_some());
        drop(late);
        assert!(!held_back.is_cancelled());
    }

    #[test]
    fn what_was_waited_for_too_long_is_held_back() {
        let (clock, held_back) = parts();
        for (waits, is_held_back) in [(SLOW.saturating_sub(Duration::from_millis(1)), false), (SLOW, true)] {
            let mut body = RequestBody::new(Silent, Begun::default(), Arc::new(clock.clone()), held_back.clone());
            assert!(body.frame().now_or_never().is_none());
            clock.advance(waits);
            drop(body);
            assert_eq!(held_back.is_cancelled(), is_held_back, "{waits:?}");
        }
    }
}
