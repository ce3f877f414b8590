use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// A request that is so far behind when its call ends was held back on purpose, or by a line that is gone.
const SLOW: Duration = Duration::from_secs(5);

/// A request's body, which says when the peer did not send all of it in time. A call that waits for it ends at its
/// deadline; its connection would stay, as good as any, for as many more.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Incoming,
    has_ended: bool,
    began: Duration,
    clock: Arc<dyn Clock>,
    held_back: CancellationToken,
}

impl RequestBody {
    /// Cancels `held_back` when it is dropped late and unfinished.
    pub(super) fn new(body: Incoming, clock: Arc<dyn Clock>, held_back: CancellationToken) -> Self {
        Self { body, has_ended: false, began: clock.elapsed(), clock, held_back }
    }
}

impl Body for RequestBody {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // A caller that gives its call up has not held it back.
        self.has_ended |= !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let is_whole = self.has_ended || self.body.is_end_stream();
        if !is_whole && self.clock.elapsed().saturating_sub(self.began) >= SLOW {
            self.held_back.cancel();
        }
    }
}
