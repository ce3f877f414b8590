//! Stands before replicas as a Kubernetes Service does: it sends each new connection to one of those that it knows of,
//! and leaves connections where they are.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::fleet::now;
use crate::place::{Running, health, pass};

/// Dropped, it cuts what goes through it.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    endpoints: Arc<Endpoints>,
    _connections: JoinSet<()>,
}

/// Where new connections go.
#[derive(Default)]
struct Endpoints {
    known: Mutex<Vec<Endpoint>>,
    next: AtomicUsize,
    refused: AtomicU64,
    late: AtomicU64,
}

#[derive(Clone, Copy)]
struct Endpoint {
    address: SocketAddr,
    is_ending: bool,
}

/// How a replica ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) took: Duration,
}

impl Balancer {
    pub(crate) async fn new() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, endpoints) = (listener.local_addr().unwrap(), Arc::<Endpoints>::default());
        let mut connections = JoinSet::new();
        let known = Arc::clone(&endpoints);
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(relay(client, Arc::clone(&known)));
                while open.try_join_next().is_some() {}
            }
        });
        Arc::new(Self { address, endpoints, _connections: connections })
    }

    /// A replica that is ready gets connections from now on.
    pub(crate) fn add(&self, replica: &Running) {
        self.endpoints.known().push(Endpoint { address: replica.address, is_ending: false });
    }

    /// Ends a replica as a kubelet does. It goes on getting connections until so long after it said that it should not.
    pub(crate) async fn end(self: Arc<Self>, mut replica: Running, lag: Duration) -> End {
        let start = now();
        replica.signal(Signal::TERM);
        while health(replica.health_address, "readiness").await.ok() == Some(ServingStatus::Serving) {
            pass(Duration::from_millis(10)).await;
        }
        self.endpoints.ending(replica.address);
        pass(lag).await;
        self.endpoints.known().retain(|endpoint| endpoint.address != replica.address);
        let status = replica.exit().await;
        End { code: status.code(), took: start.elapsed() }
    }

    /// How many connections went to a replica that was ending, and how many of all were refused.
    pub(crate) fn late_and_refused(&self) -> (u64, u64) {
        (self.endpoints.late.load(Ordering::Relaxed), self.endpoints.refused.load(Ordering::Relaxed))
    }
}

impl Endpoints {
    fn known(&self) -> MutexGuard<'_, Vec<Endpoint>> {
        self.known.lock().unwrap()
    }

    fn ending(&self, address: SocketAddr) {
        for endpoint in self.known().iter_mut() {
            endpoint.is_ending |= endpoint.address == address;
        }
    }

    /// One after the other.
    fn next(&self) -> Option<Endpoint> {
        let known = self.known();
        known.get(self.next.fetch_add(1, Ordering::Relaxed) % known.len().max(1)).copied()
    }
}

/// Lasts until both sides have ended.
async fn relay(mut client: TcpStream, endpoints: Arc<Endpoints>) {
    let Some(endpoint) = endpoints.next() else { return };
    endpoints.late.fetch_add(u64::from(endpoint.is_ending), Ordering::Relaxed);
    match TcpStream::connect(endpoint.address).await {
        Ok(mut server) => {
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            // Its end is all that there is to know.
            drop(copy_bidirectional(&mut client, &mut server).await);
        }
        Err(_) => drop(endpoints.refused.fetch_add(1, Ordering::Relaxed)),
    }
}
