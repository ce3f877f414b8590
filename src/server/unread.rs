use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Sleep};

/// A peer that has not read an answer so long after that was waited for is cut: the answer and the call's place are its
/// only use of us. (hyper offers no way to give up one answer that its peer does not read.)
const READ_DEADLINE: Duration = Duration::from_secs(30);

/// The answers of one connection that its peer has yet to read. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<Generations>);

/// Answers that came before the watch over them began, and after. The two take turns.
#[derive(Debug, Default)]
struct Generations {
    answers: [AtomicUsize; 2],
    /// Which of them the next answer is of.
    next: AtomicUsize,
}

/// An answer that is not read, until it is dropped.
#[derive(Debug)]
pub(super) struct UnreadAnswer {
    unread: Unread,
    generation: usize,
}

/// Cuts the connection when an answer is not read. There is no timer while nothing is unread, which is nearly always: an
/// answer counts as read when it is on its way.
pub(super) struct UnreadWatch {
    unread: Unread,
    /// Which generation it waits for, and until when.
    late: Option<(usize, Sleep)>,
    cut: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl Unread {
    /// Notes an answer.
    pub(super) fn answer(&self) -> UnreadAnswer {
        let generation = self.0.next.load(Ordering::Relaxed) % 2;
        self.count(generation).fetch_add(1, Ordering::Relaxed);
        UnreadAnswer { unread: self.clone(), generation }
    }

    fn count(&self, generation: usize) -> &AtomicUsize {
        let [even, odd] = &self.0.answers;
        if generation == 0 { even } else { odd }
    }

    fn is_none(&self) -> bool {
        self.0.answers.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

impl Drop for UnreadAnswer {
    fn drop(&mut self) {
        self.unread.count(self.generation).fetch_sub(1, Ordering::Relaxed);
    }
}

impl UnreadWatch {
    /// Cancels `cut`.
    pub(super) fn new(unread: Unread, cut: CancellationToken, clock: Arc<dyn Clock>) -> Self {
        Self { unread, late: None, cut, clock }
    }

    /// Looks whether anything is unread now, and for how long. Called by the task in which answers are made and sent.
    pub(super) fn look(&mut self, context: &mut Context<'_>) {
        while !self.unread.is_none() {
            let (awaited, end) = self.late.get_or_insert_with(|| {
                let awaited = self.unread.0.next.fetch_add(1, Ordering::Relaxed) % 2;
                (awaited, self.clock.sleep(READ_DEADLINE))
            });
            if end.as_mut().poll(context).is_pending() {
                return;
            }
            if self.unread.count(*awaited).load(Ordering::Relaxed) > 0 {
                return self.cut.cancel();
            }
            self.late = None;
        }
        self.late = None;
    }
}

impl fmt::Debug for UnreadWatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UnreadWatch").field("unread", &self.unread).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    fn watch() -> (Unread, UnreadWatch, CancellationToken, ManualClock) {
        let (unread, cut) = (Unread::default(), CancellationToken::new());
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        (unread.clone(), UnreadWatch::new(unread, cut.clone(), Arc::new(clock.clone())), cut, clock)
    }

    fn look(watch: &mut UnreadWatch) {
        watch.look(&mut Context::from_waker(std::task::Waker::noop()));
    }

    #[tokio::test]
    async fn what_is_read_at_once_needs_no_timer() {
        let (unread, mut watch, cut, clock) = watch();
        for _ in 0..1_000 {
            drop(unread.answer());
            look(&mut watch);
        }
        assert_eq!((clock.sleepers(), cut.is_cancelled()), (0, false));
    }

    #[tokio::test]
    async fn one_answer_that_stays_unread_cuts_the_connection_whatever_else_is_read() {
        let (unread, mut watch, cut, clock) = watch();
        let old = unread.answer();
        look(&mut watch);
        let young = unread.answer();
        clock.advance(READ_DEADLINE.saturating_sub(Duration::from_secs(1)));
        look(&mut watch);
        drop(old);
        clock.advance(Duration::from_secs(1));
        look(&mut watch);
        assert!(!cut.is_cancelled(), "the young one has not been watched for so long");
        for _ in 0..30 {
            assert!(!cut.is_cancelled());
            let others: Vec<_> = (0..5).map(|_| unread.answer()).collect();
            clock.advance(Duration::from_secs(1));
            look(&mut watch);
            drop(others);
        }
        assert!(cut.is_cancelled());
        drop(young);
    }

    #[tokio::test]
    async fn nobody_is_watched_any_more_once_all_is_read() {
        let (unread, mut watch, cut, clock) = watch();
        let answer = unread.answer();
        look(&mut watch);
        assert_eq!(clock.sleepers(), 1);
        drop(answer);
        look(&mut watch);
        assert_eq!(clock.sleepers(), 0);
        clock.advance(READ_DEADLINE);
        look(&mut watch);
        assert!(!cut.is_cancelled());
    }
}
