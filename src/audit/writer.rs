mod thread;

use std::fmt::Display;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{error, info};

use super::queue::{EntryId, Full, Queue, Waits};
use super::sink::Sink;
use super::sums::Sums;
use crate::clock::Clock;
use crate::metrics;

/// While nothing can be written it is tried so often.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// How often what was counted is told.
const SUM_INTERVAL: Duration = Duration::from_secs(1);
/// What waits for one write in a pipe is tried again after it; calls wait by their own clock.
const PIPE_PATIENCE: Duration = Duration::from_secs(1);

/// Gets events to the operating system, in their order and many at once.
///
/// Who puts an event into an idle queue calls the [scribe](super::scribe), which writes all that is there by then if the
/// kernel does that without waiting, as it does for pipes. Everything that may block is left to a thread of its own.
/// Whoever writes goes on until the queue is empty.
#[derive(Debug)]
pub(super) struct Writer {
    state: Mutex<State>,
    /// Calls the scribe, to write or to watch.
    pub(super) called: Notify,
    /// Calls the thread.
    work: Condvar,
    /// Held by whoever writes.
    desk: Mutex<Desk>,
    /// Entries before this one are written, but for those that were refused.
    written: AtomicU64,
    /// Entries before this one that were not known to be written when writing failed are refused.
    refused: AtomicU64,
    failing: AtomicBool,
    /// Whether the last sink that was opened writes without waiting.
    at_once: AtomicBool,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) sums: Sums,
    /// Calls that the scribe has yet to wake, as it is known what became of their entries.
    settled: Vec<Waker>,
    stage: Stage,
    /// When the current turn to write began, by monotonic time.
    begun: Duration,
    /// There is nobody but the thread.
    is_without_scribe: bool,
    closed: bool,
    /// How many calls were refused since writing began to fail.
    refused: u64,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nobody's: the queue is empty.
    #[default]
    Idle,
    /// The scribe's.
    Called,
    /// The thread's, which has yet to begin.
    HandedOver,
    /// The thread's.
    Thread,
}

/// The sink, and what is needed to fill it, kept from one write to the next.
#[derive(Debug)]
struct Desk {
    sink: Sink,
    batch: Vec<u8>,
    settled: Vec<Waker>,
}

/// The event could not be handed to the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotWritten;

impl Writer {
    pub(super) fn new(sink: Sink, clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::default(),
            called: Notify::new(),
            work: Condvar::new(),
            desk: Mutex::new(Desk { sink, batch: Vec::new(), settled: Vec::new() }),
            written: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            at_once: AtomicBool::new(false),
            clock,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and every operation leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Puts lines into the queue and sees to it that they are written. Whoever waits for that is woken when it is decided;
    /// nobody does while writing fails.
    pub(super) fn put(&self, lines: &[u8], waits: Option<Waits>) -> Result<EntryId, Full> {
        let mut state = self.state();
        if waits.is_some() && self.is_failing() {
            return Err(Full);
        }
        let id = state.queue.push(lines, waits)?;
        if state.stage != Stage::Idle {
            return Ok(id);
        }
        if state.is_without_scribe {
            self.hand_over(state);
        } else {
            state.stage = Stage::Called;
            drop(state);
            self.called.notify_one();
        }
        Ok(id)
    }

    /// Whether an entry is written, for a call that waits for it.
    pub(super) fn poll(&self, id: EntryId, context: &Context<'_>) -> Poll<Result<(), NotWritten>> {
        if let Some(outcome) = self.outcome(id) {
            return Poll::Ready(outcome);
        }
        let mut state = self.state();
        // Entries are decided under this lock.
        self.outcome(id).map_or_else(
            || {
                state.queue.wake(id, context.waker());
                Poll::Pending
            },
            Poll::Ready,
        )
    }

    fn outcome(&self, id: EntryId) -> Option<Result<(), NotWritten>> {
        // In this order: what is refused is so before it is written, and stays so.
        let is_written = id.is_before(self.written.load(Ordering::Acquire));
        if id.is_before(self.refused.load(Ordering::Acquire)) {
            return Some(Err(NotWritten));
        }
        is_written.then_some(Ok(()))
    }

    /// Notes that an answer was withheld. Without an entry there was no room for its event.
    pub(super) fn refused(&self, entry: Option<EntryId>, lines: Vec<u8>) -> Result<(), Full> {
        metrics::AUDIT_FAILURES.count(&[]);
        let mut state = self.state();
        state.refused += 1;
        // An entry that is gone was written after all, and what is true has to follow it.
        let lines = match entry {
            Some(id) => state.queue.amend(id, lines),
            None => Some(lines),
        };
        drop(state);
        lines.map_or(Ok(()), |lines| self.put(&lines, None).map(drop))
    }

    /// Refuses all who wait if one has waited for so long. Else, in how long it makes sense to look again, if anything is
    /// being written.
    pub(super) fn give_up(&self, patience: Duration) -> Option<Duration> {
        let mut state = self.state();
        if state.stage == Stage::Idle || self.is_failing() {
            return None;
        }
        let Some(since) = state.queue.waited_for_since() else { return Some(patience) };
        // A machine that is slow to come to the write has no sink that hangs: refusing would make it slower still.
        let left = (since.max(state.begun) + patience).saturating_sub(self.clock.elapsed());
        if !left.is_zero() {
            return Some(left);
        }
        let has_begun = self.begin_failing();
        let mut refused = Vec::new();
        self.refuse(&mut state.queue, &mut refused);
        drop(state);
        if has_begun {
            log_failing(&"the write does not return");
        }
        refused.into_iter().for_each(Waker::wake);
        None
    }

    /// Whether it did not fail before. That is logged without the lock, as the log may block.
    fn begin_failing(&self) -> bool {
        !self.failing.swap(true, Ordering::AcqRel)
    }

    fn refuse(&self, queue: &mut Queue, waiting: &mut Vec<Waker>) {
        self.refused.store(queue.end(), Ordering::Release);
        queue.dismiss(waiting);
    }

    /// Wakes the calls that the thread has left to the scribe.
    pub(super) fn wake_settled(&self) {
        let settled = mem::take(&mut self.state().settled);
        settled.into_iter().for_each(Waker::wake);
    }

    /// The scribe's turn, if it is.
    pub(super) fn write_what_waits(&self) {
        let mut state = self.state();
        if state.stage != Stage::Called {
            return;
        }
        state.begun = self.clock.elapsed();
        if !self.at_once.load(Ordering::Relaxed) {
            return self.hand_over(state);
        }
        drop(state);
        let mut desk = self.desk();
        let Desk { sink, batch, settled } = &mut *desk;
        loop {
            let mut state = self.state();
            let sent = state.queue.take(batch);
            if batch.is_empty() {
                state.stage = Stage::Idle;
                return;
            }
            drop(state);
            let written = sink.write_at_once(batch.get(sent..).unwrap_or_default(), self.clock.elapsed());
            self.settle(batch, written.unwrap_or_default(), None, settled);
            settled.drain(..).for_each(Waker::wake);
            if written.is_none() {
                self.at_once.store(sink.writes_at_once(), Ordering::Relaxed);
                return self.hand_over(self.state());
            }
        }
    }

    /// There is no scribe any more.
    pub(super) fn go_without_scribe(&self) {
        let mut state = self.state();
        state.is_without_scribe = true;
        let settled = mem::take(&mut state.settled);
        if state.stage == Stage::Called {
            state.stage = Stage::HandedOver;
        }
        drop(state);
        settled.into_iter().for_each(Waker::wake);
        // It may have waited for the scribe to end.
        self.work.notify_one();
    }

    fn hand_over(&self, mut state: MutexGuard<'_, State>) {
        state.stage = Stage::HandedOver;
        state.begun = self.clock.elapsed();
        drop(state);
        self.work.notify_one();
    }

    /// Lets the scribe and the thread end.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.work.notify_one();
        self.called.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Tells the thread that something is counted.
    pub(super) fn counted(&self) {
        self.work.notify_one();
    }

    /// Notes how much is written, and who waited for that.
    fn settle(&self, batch: &[u8], written: usize, failure: Option<&io::Error>, settled: &mut Vec<Waker>) {
        let mut state = self.state();
        let has_begun_failing = failure.is_some() && self.begin_failing();
        if failure.is_some() {
            // All of them: what is written may not last, where that matters.
            self.refuse(&mut state.queue, settled);
        }
        let entries = state.queue.written(batch, written, settled);
        self.written.store(state.queue.first(), Ordering::Release);
        let is_progress = written > 0 || batch.is_empty();
        let has_recovered = failure.is_none() && is_progress && self.failing.swap(false, Ordering::AcqRel);
        let refused = if has_recovered { mem::take(&mut state.refused) } else { 0 };
        drop(state);
        if let Some(error) = failure.filter(|_| has_begun_failing) {
            log_failing(error);
        }
        if entries > 0 {
            metrics::AUDIT_EVENTS.add(entries, &[]);
        }
        if has_recovered {
            // It watched nothing while all was refused, and the next write has begun without it, perhaps.
            self.called.notify_one();
            info!(refused, "audit events are written again");
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_failing(cause: &dyn Display) {
    error!(%cause, "audit events cannot be written: nothing is handed out until they can");
}
