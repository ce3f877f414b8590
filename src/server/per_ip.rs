use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Gives each IP address a number of places, so that one peer cannot take everybody's. Clones give the same places.
#[derive(Clone, Debug)]
pub(super) struct PerIp {
    /// None when there is no limit.
    most: Option<usize>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    ip: IpAddr,
    per_ip: PerIp,
}

impl PerIp {
    /// So many places for each address; as many as it likes when `most` is 0.
    pub(super) fn new(most: usize) -> Self {
        Self { most: (most > 0).then_some(most), taken: Arc::default() }
    }

    /// A place for `ip`, unless it has all of its.
    pub(super) fn place(&self, ip: IpAddr) -> Option<Place> {
        // An IPv4 peer of a socket for both protocols is the same peer.
        let ip = ip.to_canonical();
        let mut taken = self.taken();
        let count = taken.entry(ip).or_default();
        if self.most.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        Some(Place { ip, per_ip: self.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // No code panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.per_ip.taken().entry(self.ip) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_places_and_gets_them_back() {
        let per_ip = PerIp::new(2);
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = per_ip.place(one).unwrap();
        let second = per_ip.place("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert!(per_ip.place(one).is_none());
        assert!(per_ip.place(other).is_some());
        drop(first);
        assert!(per_ip.place(one).is_some());
        drop(second);
        assert!(per_ip.taken().is_empty(), "addresses that left are forgotten");
    }

    #[test]
    fn zero_is_no_limit() {
        let per_ip = PerIp::new(0);
        let places: Vec<_> = (0..1_000).map(|_| per_ip.place("::1".parse().unwrap())).collect();
        assert!(places.iter().all(Option::is_some));
    }
}
