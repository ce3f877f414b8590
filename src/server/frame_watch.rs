use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tracing::warn;

use super::frame_budget::{FrameBudget, TooManyFrames};
use super::frames::Frames;
use crate::clock::{Clock, Sleep};
use crate::identifiers::Peer;
use crate::log_pace::LogPace;

/// A peer has this long to finish a frame or a block of headers that it has begun.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// Watches over what h2 lets a peer do: send frames in great number that do nothing, and such as never end.
pub(super) struct FrameWatch {
    heard: Frames,
    said: Frames,
    budget: FrameBudget,
    /// The frame that we wait for, and until when.
    late: Option<(u64, Sleep)>,
    clock: Arc<dyn Clock>,
    peer: Peer,
    pace: Arc<LogPace>,
}

impl FrameWatch {
    /// For a connection with so many calls at once.
    pub(super) fn new(peer: Peer, max_calls: u32, clock: Arc<dyn Clock>, pace: Arc<LogPace>) -> Self {
        let budget = FrameBudget::new(max_calls, Arc::clone(&clock));
        Self { heard: Frames::default(), said: Frames::default(), budget, late: None, clock, peer, pace }
    }

    /// Something came. An error is the end of the connection.
    pub(super) fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut frames = 0;
        self.heard.pass(bytes, |_| frames += 1);
        if self.late.as_ref().is_some_and(|(awaited, _)| self.heard.unfinished() != Some(*awaited)) {
            self.late = None;
        }
        self.budget.spend(frames).map_err(|TooManyFrames| {
            self.warn("frames", "connection cut: it sends more frames than its calls need");
            io::Error::other(TooManyFrames)
        })
    }

    /// Something was sent.
    pub(super) fn said(&mut self, bytes: &[u8]) {
        self.said.pass(bytes, |head| self.budget.earn(head));
    }

    /// Nothing more is there. Ready when the peer has let us wait too long.
    pub(super) fn waits(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(awaited) = self.heard.unfinished() else { return Poll::Pending };
        let (_, end) = self.late.get_or_insert_with(|| (awaited, self.clock.sleep(FRAME_DEADLINE)));
        end.as_mut().poll(context).map(|()| {
            self.warn("slow", "connection cut: it did not finish a frame that it had begun");
            io::ErrorKind::TimedOut.into()
        })
    }

    fn warn(&self, reason: &str, message: &'static str) {
        if let Some(unlogged) = self.pace.admit(reason) {
            warn!(peer = %self.peer, unlogged, "{message}");
        }
    }
}

impl fmt::Debug for FrameWatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, peer, .. } = self;
        formatter.debug_struct("FrameWatch").field("budget", budget).field("peer", peer).finish_non_exhaustive()
    }
}
