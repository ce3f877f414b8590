use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::identifiers::Peer;

/// Gives each IP address a number of places, so that one peer cannot take everybody's. Clones give the same places.
#[derive(Clone, Debug)]
pub(super) struct PerIp {
    /// None when there is no limit.
    most: Option<usize>,
    /// Each address in these stands for many peers.
    proxies: Arc<[IpNet]>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// None where nothing is counted.
    ip: Option<IpAddr>,
    per_ip: PerIp,
}

impl PerIp {
    /// So many places for each address; as many as it likes when `most` is 0 or it is a proxy's.
    pub(super) fn new(most: usize, proxies: Arc<[IpNet]>) -> Self {
        Self { most: (most > 0).then_some(most), proxies, taken: Arc::default() }
    }

    /// A place for a peer, unless its address has all of its. A process on this machine has no address, and a place.
    pub(super) fn place(&self, peer: Peer) -> Option<Place> {
        let Peer::Tcp(address) = peer else { return Some(Place { ip: None, per_ip: self.clone() }) };
        // An IPv4 peer of a socket for both protocols is the same peer.
        let ip = address.ip().to_canonical();
        if self.proxies.iter().any(|network| network.contains(&ip)) {
            return Some(Place { ip: None, per_ip: self.clone() });
        }
        let mut taken = self.taken();
        let count = taken.entry(ip).or_default();
        if self.most.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        Some(Place { ip: Some(ip), per_ip: self.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // No code panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(ip) = self.ip else { return };
        if let Entry::Occupied(mut count) = self.per_ip.taken().entry(ip) {
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
        let per_ip = PerIp::new(2, Arc::default());
        let peer = |address: &str| Peer::Tcp(address.parse().unwrap());
        let (one, other) = (peer("192.0.2.1:1"), peer("192.0.2.2:1"));
        let first = per_ip.place(one).unwrap();
        let second = per_ip.place(peer("[::ffff:192.0.2.1]:2")).unwrap();
        assert!(per_ip.place(one).is_none());
        assert!(per_ip.place(other).is_some());
        drop(first);
        assert!(per_ip.place(one).is_some());
        drop(second);
        assert!(per_ip.taken().is_empty(), "addresses that left are forgotten");
    }

    #[test]
    fn zero_is_no_limit() {
        let per_ip = PerIp::new(0, Arc::default());
        let places: Vec<_> = (0..1_000).map(|_| per_ip.place(Peer::Tcp("[::1]:1".parse().unwrap()))).collect();
        assert!(places.iter().all(Option::is_some));
    }

    #[test]
    fn a_proxy_stands_for_many() {
        let per_ip = PerIp::new(1, ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()].into());
        let places = |address: &str| (0..3).map(|_| per_ip.place(Peer::Tcp(address.parse().unwrap()))).collect();
        for proxy in ["192.0.2.7:1", "[::ffff:192.0.2.255]:1", "[2001:db8:1::1]:1"] {
            let places: Vec<_> = places(proxy);
            assert!(places.iter().all(Option::is_some), "{proxy}");
        }
        for other in ["192.0.3.7:1", "[2001:db9::1]:1"] {
            let places: Vec<_> = places(other);
            assert_eq!(places.iter().flatten().count(), 1, "{other}");
        }
    }

    #[test]
    fn what_has_no_address_is_not_counted() {
        let per_ip = PerIp::new(1, Arc::default());
        let places: Vec<_> = (0..3).map(|_| per_ip.place(Peer::Unix { pid: None })).collect();
        assert!(places.iter().all(Option::is_some) && per_ip.taken().is_empty());
    }
}
