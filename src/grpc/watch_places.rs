use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::identifiers::CallerId;
use crate::metrics;

/// How many streams may watch, of all callers together, and how many tenants they may name. A stream holds some kilobytes.
const ALL: Load = Load { streams: 10_000, tenants: 100_000 };
/// The same of one caller, which may be many processes.
const EACH: Load = Load { streams: 2_000, tenants: 20_000 };

/// Bounds the streams that watch: they leave their places among the calls when they begin, and last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchPlaces(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: Load,
    each: HashMap<CallerId, Load>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    streams: usize,
    tenants: usize,
}

/// A stream's place. Dropped, it is free.
#[derive(Debug)]
pub(super) struct WatchPlace {
    places: WatchPlaces,
    caller: CallerId,
    tenants: usize,
}

impl WatchPlaces {
    pub(super) fn new() -> Self {
        Load::default().tell();
        Self::default()
    }

    /// A place for one more stream of the caller that names so many tenants, if there is one.
    pub(super) fn take(&self, caller: &CallerId, tenants: usize) -> Option<WatchPlace> {
        let mut taken = self.lock();
        let all = taken.all.and(tenants).filter(|load| load.is_within(ALL))?;
        let each = taken.each.get(caller).copied().unwrap_or_default();
        let each = each.and(tenants).filter(|load| load.is_within(EACH))?;
        taken.all = all;
        all.tell();
        taken.each.insert(caller.clone(), each);
        drop(taken);
        Some(WatchPlace { places: self.clone(), caller: caller.clone(), tenants })
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    fn and(self, tenants: usize) -> Option<Self> {
        Some(Self { streams: self.streams.checked_add(1)?, tenants: self.tenants.checked_add(tenants)? })
    }

    fn without(self, tenants: usize) -> Self {
        Self { streams: self.streams.saturating_sub(1), tenants: self.tenants.saturating_sub(tenants) }
    }

    /// As what all callers hold.
    fn tell(self) {
        metrics::WATCHES.set_count(self.streams, &[]);
    }

    fn is_within(self, bound: Self) -> bool {
        self.streams <= bound.streams && self.tenants <= bound.tenants
    }
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.without(self.tenants);
        taken.all.tell();
        let left = taken.each.get(&self.caller).copied().unwrap_or_default().without(self.tenants);
        if left == Load::default() {
            taken.each.remove(&self.caller);
        } else {
            taken.each.insert(self.caller.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_so_many_and_what_it_leaves_is_free() {
        let places = WatchPlaces::default();
        let one = CallerId::UnixUser(1);
        let mut held: Vec<_> = (0..200).map(|_| places.take(&one, 100).unwrap()).collect();
        assert!(places.take(&one, 1).is_none(), "as many tenants as a caller may name");
        held.pop();
        assert!(places.take(&one, 100).is_some() && places.take(&one, 101).is_none());
        held.clear();
        held.extend((0..2_000).map(|_| places.take(&one, 1).unwrap()));
        assert!(places.take(&one, 1).is_none(), "as many streams");
        let others = (2..6).flat_map(|user| (0..2_000).map(move |_| user));
        held.extend(others.map(|user| places.take(&CallerId::UnixUser(user), 1).unwrap()));
        assert!(places.take(&CallerId::UnixUser(7), 1).is_none(), "as many as all may have");
        drop(held);
        let taken = places.lock();
        assert_eq!((taken.all, taken.each.len()), (Load::default(), 0));
    }
}
