use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

const OPEN: u8 = 0;
const WRITTEN: u8 = 1;
const FAILED: u8 = 2;

/// What became of an event, for the call that waits for it.
#[derive(Debug, Default)]
pub(super) struct Receipt {
    state: AtomicU8,
    waker: AtomicWaker,
}

/// The event could not be handed to the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotWritten;

impl Receipt {
    /// The first one counts.
    pub(super) fn settle(&self, is_written: bool) {
        let outcome = if is_written { WRITTEN } else { FAILED };
        let _ = self.state.compare_exchange(OPEN, outcome, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Call it after it is settled.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn outcome(&self) -> Option<Result<(), NotWritten>> {
        match self.state.load(Ordering::Acquire) {
            OPEN => None,
            WRITTEN => Some(Ok(())),
            _ => Some(Err(NotWritten)),
        }
    }

    pub(super) async fn settled(&self) -> Result<(), NotWritten> {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            // After it is registered: what is settled in between is seen here.
            self.outcome().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
