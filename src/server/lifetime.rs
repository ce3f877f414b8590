use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Process;
use super::stop::Phases;
use crate::clock::Clock;
use crate::random::Random;

/// A connection that was asked to close is cut after this.
const CLOSE_DEADLINE: Duration = Duration::from_mins(1);
/// A connection that was asked to close and has no call under way is cut after this: its peer does not answer. A live
/// one closes within a round trip.
const SILENCE: Duration = Duration::from_secs(1);

/// How long the connections of one listener last.
#[derive(Clone, Debug)]
pub(super) struct Lifetime {
    pub(super) max_age: Duration,
    pub(super) phases: Phases,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
}

/// What goes on on one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    /// Calls that are not answered yet.
    pub(super) under_way: TaskTracker,
    /// An answer was not read in time.
    pub(super) unread: CancellationToken,
    /// A request was not sent in time.
    pub(super) held_back: CancellationToken,
    /// The connection is asked to close: what would go on for as long as it does has to end.
    pub(super) closing: CancellationToken,
}

impl Lifetime {
    /// Until about this age, or the phases of a stop.
    pub(super) fn new(max_age: Duration, phases: Phases, process: &Process) -> Self {
        let Process { clock, random } = process.clone();
        Self { max_age, phases, clock, random }
    }

    /// Runs until the server cuts its connections.
    pub(super) async fn until_cut(&self, serving: impl Future<Output = ()>) {
        let mut cut = seldom(self.phases.cut.cancelled());
        tokio::select! {
            biased;
            Some(()) = cut.next() => {}
            () = serving => {}
        }
    }

    /// Sees a connection through until its peer leaves or holds a request back, or it is too old or the server stops: then
    /// `close` has it end with the calls that there are. Nothing a peer does, or leaves undone, makes it last longer.
    pub(super) async fn see_through<C>(&self, connection: C, close: impl FnOnce(Pin<&mut C>), activity: &Activity)
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = std::pin::pin!(connection);
        let age = self.random.between(self.max_age.mul_f64(0.9), self.max_age.mul_f64(1.1));
        let mut cut = seldom(activity.unread.cancelled());
        let mut due = seldom(async {
            tokio::select! {
                () = activity.held_back.cancelled() => debug!("connection closes: the peer does not finish its requests"),
                () = self.phases.closing.cancelled() => {}
                () = self.clock.sleep(age) => {}
            }
        });
        tokio::select! {
            end = connection.as_mut() => return log_end(end),
            Some(()) = cut.next() => return debug!("connection cut: the peer does not read its answers"),
            Some(()) = due.next() => {}
        }
        close(connection.as_mut());
        activity.closing.cancel();
        tokio::select! {
            // First what has arrived, then whether nothing has: both may be ready after a stall of the machine.
            biased;
            end = connection.as_mut() => log_end(end),
            () = self.clock.sleep(CLOSE_DEADLINE) => debug!("connection cut: calls did not end in time"),
            Some(()) = cut.next() => debug!("connection cut: the peer does not read its answers"),
            () = self.silent(&activity.under_way) => debug!("connection cut: the peer does not answer"),
        }
    }

    /// Ends when no call is under way, and none begins for a while.
    async fn silent(&self, under_way: &TaskTracker) {
        under_way.close();
        loop {
            under_way.wait().await;
            self.clock.sleep(SILENCE).await;
            if under_way.is_empty() {
                return;
            }
        }
    }
}

/// What is looked at only when it has something to say, however often its task is woken for other things: a connection is
/// for each of its calls, and what may end it would be asked each time, behind locks that all connections share.
fn seldom<F: Future>(end: F) -> FuturesUnordered<F> {
    FuturesUnordered::from_iter([end])
}

fn log_end(end: hyper::Result<()>) {
    if let Err(error) = end {
        debug!(%error, "connection ended");
    }
}
