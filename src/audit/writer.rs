use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, info};

use super::event::Sum;
use super::queue::{EntryId, Full, Queue};
use super::receipt::{NotWritten, Receipt};
use super::sink::{Opened, Sink};
use super::sums::{Refused, Sums};
use crate::clock::Clock;
use crate::metrics;

/// While nothing can be written it is tried so often.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// How often what was counted is told.
const SUM_INTERVAL: Duration = Duration::from_secs(1);
/// What waits for one write in a pipe is tried again after it; calls wait by their own clock.
const PIPE_PATIENCE: Duration = Duration::from_secs(1);

/// Gets events to the operating system, in their order.
///
/// Whoever puts an event into an idle queue writes it there and then if the kernel does that without waiting, as it does
/// for pipes: a cached call is too cheap to wake another thread for. Everything that may block is left to a thread of its
/// own, which takes all that waits at once. `busy` says that somebody writes; who does, goes on until the queue is empty.
#[derive(Debug)]
pub(super) struct Writer {
    state: Mutex<State>,
    work: Condvar,
    /// Held by whoever made `busy` true.
    sink: Mutex<Desk>,
    failing: AtomicBool,
    /// Whether the last sink that was opened writes without waiting.
    at_once: AtomicBool,
    fsync: bool,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) sums: Sums,
    /// Somebody writes.
    busy: bool,
    /// It is the thread.
    handed_over: bool,
    closed: bool,
    /// How many calls were refused since writing began to fail.
    refused: u64,
}

/// The sink, and what is needed to fill it, kept from one write to the next.
#[derive(Debug)]
struct Desk {
    sink: Sink,
    batch: Vec<u8>,
    settled: Vec<Arc<Receipt>>,
}

impl Writer {
    pub(super) fn new(sink: Sink, fsync: bool, clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            sink: Mutex::new(Desk { sink, batch: Vec::new(), settled: Vec::new() }),
            failing: AtomicBool::new(false),
            at_once: AtomicBool::new(false),
            fsync,
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

    /// Puts lines into the queue and sees to it that they are written.
    pub(super) fn put(&self, lines: Vec<u8>, receipt: Option<Arc<Receipt>>) -> Result<EntryId, Full> {
        let mut state = self.state();
        let id = state.queue.push(lines, receipt)?;
        if !mem::replace(&mut state.busy, true) {
            if self.at_once.load(Ordering::Relaxed) {
                drop(state);
                self.write_at_once();
            } else {
                self.hand_over(state);
            }
        }
        Ok(id)
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
        lines.map_or(Ok(()), |lines| self.put(lines, None).map(drop))
    }

    /// Takes what an event has come to when its call can wait no longer. If that is nothing, nothing is handed out until
    /// something has been written.
    pub(super) fn give_up(&self, receipt: &Receipt) -> Result<(), NotWritten> {
        // Receipts are settled, and failing ends, under this lock.
        let _state = self.state();
        receipt.outcome().unwrap_or_else(|| {
            self.begin_failing(&"the write does not return");
            Err(NotWritten)
        })
    }

    fn begin_failing(&self, cause: &dyn std::fmt::Display) {
        if !self.failing.swap(true, Ordering::AcqRel) {
            error!(%cause, "audit events cannot be written: nothing is handed out until they can");
        }
    }

    /// The queue was empty, and this thread has made `busy` true.
    fn write_at_once(&self) {
        let mut desk = self.desk();
        let Desk { sink, batch, settled } = &mut *desk;
        loop {
            let mut state = self.state();
            state.queue.take(batch);
            if batch.is_empty() {
                state.busy = false;
                return;
            }
            drop(state);
            let written = sink.write_at_once(batch, self.clock.elapsed());
            self.settle(written.unwrap_or_default(), None, settled);
            if written.is_none() {
                self.at_once.store(sink.writes_at_once(), Ordering::Relaxed);
                return self.hand_over(self.state());
            }
        }
    }

    fn hand_over(&self, mut state: MutexGuard<'_, State>) {
        state.handed_over = true;
        drop(state);
        self.work.notify_one();
    }

    /// The thread. `tell` makes events of what was counted. It ends when the writer is closed and nothing more can be
    /// written.
    pub(super) fn run(&self, tell: impl Fn(Vec<(Refused, Sum)>) -> Vec<u8>) {
        let mut told = self.clock.elapsed();
        while self.wait_for_work(&mut told, &tell) {
            let mut desk = self.desk();
            loop {
                match self.write(&mut desk) {
                    Progress::Done => break,
                    Progress::Made => {}
                    Progress::Failed => {
                        let state = self.state();
                        if state.closed {
                            return;
                        }
                        drop(self.work.wait_timeout_while(state, RETRY_INTERVAL, |state| !state.closed));
                    }
                }
            }
        }
    }

    /// Lets the thread end.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.work.notify_one();
    }

    /// Tells the thread that something is counted.
    pub(super) fn counted(&self) {
        self.work.notify_one();
    }

    /// Waits until something is to be written, which this thread then does. False at the end.
    fn wait_for_work(&self, told: &mut Duration, tell: &impl Fn(Vec<(Refused, Sum)>) -> Vec<u8>) -> bool {
        let mut state = self.state();
        let mut is_due = false;
        loop {
            let elapsed = self.clock.elapsed();
            if !state.sums.is_empty() && (is_due || elapsed.saturating_sub(*told) >= SUM_INTERVAL) {
                *told = elapsed;
                let lines = tell(state.sums.take());
                if state.queue.push(lines, None).is_ok() && !mem::replace(&mut state.busy, true) {
                    state.handed_over = true;
                }
            }
            if mem::take(&mut state.handed_over) {
                return true;
            }
            if state.closed {
                return false;
            }
            if state.sums.is_empty() {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                let idle = |state: &mut State| !state.handed_over && !state.closed;
                let waited = self.work.wait_timeout_while(state, SUM_INTERVAL, idle);
                let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (state, is_due) = (next, timeout.timed_out());
            }
        }
    }

    /// Writes one batch, wherever it goes and however long it takes.
    fn write(&self, desk: &mut Desk) -> Progress {
        let Desk { sink, batch, settled } = desk;
        let opened = sink.open(self.clock.elapsed());
        self.at_once.store(sink.writes_at_once(), Ordering::Relaxed);
        let mut state = self.state();
        if opened.as_ref().is_ok_and(|opened| *opened == Opened::Anew) {
            state.queue.begin_anew();
        }
        state.queue.take(batch);
        if batch.is_empty() {
            state.busy = false;
            return Progress::Done;
        }
        drop(state);
        let (written, outcome) = match opened {
            Ok(_) => sink.write(batch, PIPE_PATIENCE),
            Err(error) => (0, Err(error)),
        };
        let failure = outcome.err();
        if let Some(error) = &failure {
            self.begin_failing(error);
        }
        self.settle(written, failure.as_ref(), settled);
        if failure.is_some() {
            return Progress::Failed;
        }
        Progress::Made
    }

    /// Notes how much is written, and tells those who wait.
    fn settle(&self, written: usize, failure: Option<&std::io::Error>, settled: &mut Vec<Arc<Receipt>>) {
        let mut state = self.state();
        if failure.is_some() && self.fsync {
            // It is written, and may not last.
            state.queue.failed(settled);
        }
        decide(settled, false);
        let entries = state.queue.written(written, settled);
        decide(settled, true);
        if failure.is_some() {
            state.queue.failed(settled);
            decide(settled, false);
        }
        let has_recovered = failure.is_none() && written > 0 && self.failing.swap(false, Ordering::AcqRel);
        let refused = if has_recovered { mem::take(&mut state.refused) } else { 0 };
        drop(state);
        for receipt in settled.drain(..) {
            receipt.wake();
        }
        if entries > 0 {
            metrics::AUDIT_EVENTS.add(entries, &[]);
        }
        if has_recovered {
            info!(refused, "audit events are written again");
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that are decided already stay so.
fn decide(receipts: &[Arc<Receipt>], is_written: bool) {
    for receipt in receipts {
        receipt.settle(is_written);
    }
}

enum Progress {
    /// There was nothing more to write.
    Done,
    Made,
    Failed,
}
