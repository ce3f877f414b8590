use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::super::event::Sum;
use super::super::sink::Opened;
use super::super::sums::Refused;
use super::{Desk, PIPE_PATIENCE, RETRY_INTERVAL, SUM_INTERVAL, Stage, State, Writer};

enum Progress {
    /// There was nothing more to write.
    Done,
    Made,
    Failed,
}

/// What the thread does.
impl Writer {
    /// The thread. `tell` makes events of what was counted. It ends when the writer is closed and nothing more can be
    /// written.
    pub(in crate::audit) fn run(&self, tell: impl Fn(&[(Refused, Sum)]) -> Vec<u8>) {
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

    /// Waits until something is to be written, which this thread then does. False at the end.
    fn wait_for_work(&self, told: &mut Duration, tell: &impl Fn(&[(Refused, Sum)]) -> Vec<u8>) -> bool {
        let mut state = self.state();
        let mut is_due = false;
        loop {
            let elapsed = self.clock.elapsed();
            if !state.sums.is_empty() && (is_due || state.closed || elapsed.saturating_sub(*told) >= SUM_INTERVAL) {
                *told = elapsed;
                let sums = state.sums.take();
                if state.queue.push(&tell(&sums), None).is_err() {
                    state.sums.put_back(sums);
                } else if state.stage == Stage::Idle {
                    state.stage = Stage::HandedOver;
                    // Nobody calls the scribe for what follows, and only it gives up a write that does not return.
                    self.called.notify_one();
                }
            }
            if state.stage == Stage::HandedOver {
                state.stage = Stage::Thread;
                return true;
            }
            if state.closed && state.stage == Stage::Idle {
                return false;
            }
            if state.sums.is_empty() {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                let is_over = |state: &State| state.closed && state.stage == Stage::Idle;
                let idle = |state: &mut State| state.stage != Stage::HandedOver && !is_over(state);
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
        let sent = state.queue.take(batch);
        // When all is written and not synced yet, nothing else may come to show that writing works again.
        if batch.is_empty() && !self.is_failing() {
            state.stage = Stage::Idle;
            return Progress::Done;
        }
        drop(state);
        let (written, outcome) = match opened {
            Ok(_) => sink.write(batch.get(sent..).unwrap_or_default(), PIPE_PATIENCE),
            Err(error) => (0, Err(error)),
        };
        let failure = outcome.err();
        self.settle(batch, written, failure.as_ref(), settled);
        self.leave_to_scribe(settled);
        if failure.is_some() { Progress::Failed } else { Progress::Made }
    }

    /// Has calls woken from within their runtime: from outside each takes a lock of the runtime's, and perhaps a system call.
    fn leave_to_scribe(&self, settled: &mut Vec<Waker>) {
        let mut state = self.state();
        if state.is_without_scribe {
            drop(state);
            settled.drain(..).for_each(Waker::wake);
        } else if !settled.is_empty() {
            state.settled.append(settled);
            drop(state);
            self.called.notify_one();
        }
    }
}
