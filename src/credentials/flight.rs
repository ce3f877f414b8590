use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::oneshot;
use tracing::Instrument;

/// One load per key at a time, in a task of its own.
///
/// A load inside its first caller's future would end with that caller and be started again by the next: three thousand
/// impatient callers made 127 exchanges that way. Here callers only watch, and all share the outcome, failures included.
pub(super) struct Flights<K, T> {
    live: Arc<Mutex<HashMap<K, Live<T>>>>,
    next: AtomicU64,
    most: usize,
}

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoOutcome {
    /// The load panicked, or the process is shutting down.
    Crashed,
    /// As many loads as may be are under way: they outlive their callers, so those do not bound them.
    TooMany,
}

/// Identifies one flight among those of its key, so that a superseded one can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlightId(u64);

/// What a caller looks at.
enum Watch<T> {
    Live(Shared<oneshot::Receiver<T>>),
    Landed(T),
}

struct Live<T> {
    id: FlightId,
    outcome: Shared<oneshot::Receiver<T>>,
}

impl<K, T> Flights<K, T>
where
    K: Copy + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// `most` is how many loads may be under way at once.
    pub(super) fn new(most: usize) -> Self {
        Self { live: Arc::new(Mutex::new(HashMap::new())), next: AtomicU64::new(0), most }
    }

    /// How many loads are under way.
    pub(super) fn len(&self) -> usize {
        lock(&self.live).len()
    }

    /// Watches the key's flight and starts one when there is none.
    ///
    /// `landed` looks for the outcome of a flight that ended a moment ago: it runs when there is no live flight, while
    /// none can start, so between the caller's own look and this one no second load slips in.
    pub(super) fn join<S, L, F>(
        &self,
        key: K,
        landed: S,
        load: L,
    ) -> impl Future<Output = Result<T, NoOutcome>> + use<K, T, S, L, F>
    where
        S: FnOnce() -> Option<T>,
        L: FnOnce(FlightId) -> F,
        F: Future<Output = T> + Send + 'static,
    {
        let watch = self.watch(key, landed, load);
        async move {
            match watch {
                Ok(Watch::Live(outcome)) => outcome.await.map_err(|_| NoOutcome::Crashed),
                Ok(Watch::Landed(outcome)) => Ok(outcome),
                Err(none) => Err(none),
            }
        }
    }

    fn watch<L, F>(&self, key: K, landed: impl FnOnce() -> Option<T>, load: L) -> Result<Watch<T>, NoOutcome>
    where
        L: FnOnce(FlightId) -> F,
        F: Future<Output = T> + Send + 'static,
    {
        let mut live = lock(&self.live);
        if let Some(flight) = live.get(&key) {
            return Ok(Watch::Live(flight.outcome.clone()));
        }
        if let Some(outcome) = landed() {
            return Ok(Watch::Landed(outcome));
        }
        if live.len() >= self.most {
            return Err(NoOutcome::TooMany);
        }
        let id = FlightId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        let outcome = receiver.shared();
        live.insert(key, Live { id, outcome: outcome.clone() });
        self.take_off(key, id, sender, load(id));
        Ok(Watch::Live(outcome))
    }

    /// Runs `commit` if the flight is still its key's current one, and nothing supersedes it meanwhile.
    pub(super) fn commit<R>(&self, key: K, id: FlightId, commit: impl FnOnce() -> R) -> Option<R> {
        let live = lock(&self.live);
        live.get(&key).is_some_and(|flight| flight.id == id).then(commit)
    }

    /// Lets the key's flight, if any, end without effect: what it was asked to load is no longer wanted.
    pub(super) fn supersede(&self, key: K) {
        lock(&self.live).remove(&key);
    }

    /// [`Self::supersede`] for every key.
    pub(super) fn supersede_all(&self) {
        lock(&self.live).clear();
    }

    fn take_off(
        &self,
        key: K,
        id: FlightId,
        sender: oneshot::Sender<T>,
        load: impl Future<Output = T> + Send + 'static,
    ) {
        let landing = Landing { live: Arc::clone(&self.live), key, id };
        let flight = async move {
            let outcome = load.await;
            // Whoever asks from here on starts afresh; whoever asked before is told now.
            drop(landing);
            // All callers may have given up.
            drop(sender.send(outcome));
        };
        tokio::spawn(flight.in_current_span());
    }
}

impl<K, T> fmt::Debug for Flights<K, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Flights").field("live", &lock(&self.live).len()).finish_non_exhaustive()
    }
}

/// Takes the flight off the list however it ends, by a panic too, so that no key is ever stuck.
struct Landing<K: Copy + Eq + Hash, T> {
    live: Arc<Mutex<HashMap<K, Live<T>>>>,
    key: K,
    id: FlightId,
}

impl<K: Copy + Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        if let Entry::Occupied(flight) = lock(&self.live).entry(self.key)
            && flight.get().id == self.id
        {
            flight.remove();
        }
    }
}

/// No code of ours panics while it holds the lock, and the map is whole after every single operation.
fn lock<K, T>(live: &Mutex<HashMap<K, Live<T>>>) -> MutexGuard<'_, HashMap<K, Live<T>>> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    fn flights() -> Flights<u8, u32> {
        Flights::new(100)
    }

    #[tokio::test]
    async fn everyone_shares_one_load() {
        let flights = flights();
        let gate = Arc::new(Semaphore::new(0));
        let loads = Arc::new(AtomicUsize::new(0));
        let watchers: Vec<_> = (0..100)
            .map(|_| {
                let (gate, loads) = (Arc::clone(&gate), Arc::clone(&loads));
                flights.join(
                    1,
                    || None,
                    |_| async move {
                        loads.fetch_add(1, Ordering::SeqCst);
                        drop(gate.acquire().await);
                        7
                    },
                )
            })
            .collect();
        gate.add_permits(1);
        assert!(join_all(watchers).await.into_iter().all(|outcome| outcome == Ok(7)));
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert!(lock(&flights.live).is_empty());
    }

    #[tokio::test]
    async fn a_load_goes_on_when_every_caller_has_given_up() {
        let flights = flights();
        let gate = Arc::new(Semaphore::new(0));
        let landed = Arc::new(Semaphore::new(0));
        let (inner_gate, inner_landed) = (Arc::clone(&gate), Arc::clone(&landed));
        drop(flights.join(
            1,
            || None,
            |_| async move {
                drop(inner_gate.acquire().await);
                inner_landed.add_permits(1);
                7
            },
        ));
        gate.add_permits(1);
        assert!(landed.acquire().await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_is_told_and_leaves_no_stuck_key() {
        let flights = flights();
        let crashed = flights.join(1, || None, |_| async { panic!("a hostile answer") });
        assert_eq!(crashed.await, Err(NoOutcome::Crashed));
        assert_eq!(flights.join(1, || None, |_| async { 8 }).await, Ok(8));
    }

    #[tokio::test]
    async fn a_superseded_flight_commits_nothing_and_the_next_one_is_its_own() {
        let flights = Arc::new(flights());
        let gate = Arc::new(Semaphore::new(0));
        let (inner, inner_gate) = (Arc::clone(&flights), Arc::clone(&gate));
        let first = flights.join(
            1,
            || None,
            |id| async move {
                drop(inner_gate.acquire().await);
                inner.commit(1, id, || 1).unwrap_or(0)
            },
        );
        flights.supersede(1);
        let inner = Arc::clone(&flights);
        let second = flights.join(1, || None, |id| async move { inner.commit(1, id, || 2).unwrap_or(0) });
        assert_eq!(second.await, Ok(2));
        gate.add_permits(1);
        assert_eq!(first.await, Ok(0));
    }

    #[tokio::test]
    async fn what_has_just_landed_is_not_loaded_again() {
        let outcome = flights().join(1, || Some(5), |_| async { panic!("a second load") }).await;
        assert_eq!(outcome, Ok(5));
    }

    #[tokio::test]
    async fn loads_are_bounded_and_joining_one_is_not_another() {
        let flights: Flights<u8, u32> = Flights::new(2);
        let gate = Arc::new(Semaphore::new(0));
        let load = |gate: &Arc<Semaphore>| {
            let gate = Arc::clone(gate);
            |_| async move {
                drop(gate.acquire().await);
                7
            }
        };
        let first = flights.join(1, || None, load(&gate));
        drop(flights.join(2, || None, load(&gate)));
        assert_eq!(flights.join(3, || None, load(&gate)).await, Err(NoOutcome::TooMany));
        assert_eq!(flights.join(3, || Some(5), load(&gate)).await, Ok(5));
        let joined = flights.join(1, || None, load(&gate));
        gate.add_permits(2);
        assert_eq!((first.await, joined.await), (Ok(7), Ok(7)));
    }
}
