//! Who calls, for which tenants, over how many connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tonic::transport::Channel;

/// So many calls are under way at any moment.
const CALLS_AT_ONCE: usize = 64;

pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) tenants: usize,
    pub(crate) connections: usize,
}

pub(crate) const LOADS: [Load; 4] = [
    Load { name: "one tenant, 1 connection", tenants: 1, connections: 1 },
    Load { name: "one tenant, 64 connections", tenants: 1, connections: 64 },
    Load { name: "10,000 tenants, 1 connection", tenants: 10_000, connections: 1 },
    Load { name: "10,000 tenants, 64 connections", tenants: 10_000, connections: 64 },
];

/// Tenants in the order in which they are asked for: by Zipf's law, the second half as often as the first, the third a
/// third as often.
pub(crate) struct Tenants(Arc<[Arc<str>]>);

/// What a round has seen of its calls.
pub(crate) struct Calls {
    pub(crate) number: usize,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl Tenants {
    pub(crate) fn new(names: &[Arc<str>]) -> Self {
        let sums: Vec<f64> = (1..=names.len())
            .scan(0.0, |sum, rank| {
                *sum += 1.0 / f64::from(u32::try_from(rank).unwrap());
                Some(*sum)
            })
            .collect();
        let total = sums.last().copied().unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let drawn = (0..65_536).map(|_| {
            let point = random.f64() * total;
            Arc::clone(&names[sums.partition_point(|sum| *sum <= point).min(names.len() - 1)])
        });
        Self(drawn.collect())
    }
}

/// Calls over these connections until the time is over, once each at least.
pub(crate) async fn call(connections: &[TicketServiceClient<Channel>], tenants: &Tenants, round: Duration) -> Calls {
    let start = Instant::now();
    let callers: Vec<_> = (0..CALLS_AT_ONCE)
        .map(|caller| {
            let connection = connections[caller % connections.len()].clone();
            let first = caller * tenants.0.len() / CALLS_AT_ONCE;
            tokio::spawn(call_again_and_again(connection, Arc::clone(&tenants.0), first, start, round))
        })
        .collect();
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.extend(caller.await.unwrap());
    }
    latencies.sort_unstable();
    Calls {
        number: latencies.len(),
        median: latencies[latencies.len() / 2],
        p99: latencies[latencies.len() * 99 / 100],
    }
}

async fn call_again_and_again(
    mut connection: TicketServiceClient<Channel>,
    tenants: Arc<[Arc<str>]>,
    first: usize,
    start: Instant,
    round: Duration,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for name in tenants.iter().cycle().skip(first) {
        let begun = Instant::now();
        connection.get_system_ticket(request(name)).await.unwrap();
        latencies.push(begun.elapsed());
        if start.elapsed() >= round {
            break;
        }
    }
    latencies
}

pub(crate) fn request(tenant: &str) -> GetSystemTicketRequest {
    GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None }
}
