//! Who calls: those who ask for tickets in memory, from a thread of their own, and those who ask for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;
use tonic::transport::Channel;

use crate::server::Server;

/// So many tickets at once are got that are not in memory, as `tickets.warm_in_flight` is by default.
pub(crate) const COLD_AT_ONCE: usize = 4;

/// How hits are called for.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// As many as the machine bears, 64 at once: shows their processor time.
    Full,
    /// Some two thousand a second: shows how long they take on a machine that has room.
    Steady,
}

/// A thread that calls, and nothing else: what else this process does delays no call.
pub(crate) struct Callers(Runtime);

pub(crate) struct Connections(Vec<TicketServiceClient<Channel>>);

/// What a window has seen of its calls.
pub(crate) struct Seen {
    pub(crate) number: u32,
    pub(crate) p99: Duration,
}

impl Callers {
    pub(crate) fn new() -> Self {
        Self(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
    }

    /// Some connections to the server, driven by this thread.
    pub(crate) async fn connect(&self, server: &Arc<Server>) -> Arc<Connections> {
        let server = Arc::clone(server);
        let connect = async move {
            let mut connections = Vec::new();
            for _ in 0..8 {
                connections.push(server.connect().await);
            }
            Arc::new(Connections(connections))
        };
        self.0.spawn(connect).await.unwrap()
    }

    /// Calls for these tenants in turn until the window is over.
    pub(crate) async fn call(
        &self,
        connections: &Arc<Connections>,
        tenants: &Arc<[Arc<str>]>,
        pace: Pace,
        window: Duration,
    ) -> Seen {
        let (connections, tenants) = (Arc::clone(connections), Arc::clone(tenants));
        let (callers, pause) = match pace {
            Pace::Full => (64, None),
            Pace::Steady => (8, Some(Duration::from_millis(4))),
        };
        let calls = async move {
            let callers: Vec<_> = (0..callers)
                .map(|caller| {
                    let connection = connections.0[caller % connections.0.len()].clone();
                    tokio::spawn(call_again_and_again(connection, Arc::clone(&tenants), caller * 97, pause, window))
                })
                .collect();
            let mut latencies = Vec::new();
            for caller in callers {
                latencies.extend(caller.await.unwrap());
            }
            latencies
        };
        let mut latencies = self.0.spawn(calls).await.unwrap();
        latencies.sort_unstable();
        Seen { number: u32::try_from(latencies.len()).unwrap(), p99: latencies[latencies.len() * 99 / 100] }
    }
}

async fn call_again_and_again(
    mut connection: TicketServiceClient<Channel>,
    tenants: Arc<[Arc<str>]>,
    first: usize,
    pause: Option<Duration>,
    window: Duration,
) -> Vec<Duration> {
    let mut beat = tokio::time::interval(pause.unwrap_or(window.max(Duration::from_nanos(1))));
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (start, mut latencies) = (Instant::now(), Vec::new());
    for tenant in tenants.iter().cycle().skip(first % tenants.len()) {
        if pause.is_some() {
            beat.tick().await;
        }
        let begun = Instant::now();
        connection.get_system_ticket(request(tenant)).await.unwrap();
        latencies.push(begun.elapsed());
        if start.elapsed() >= window {
            break;
        }
    }
    latencies
}

/// Gets tickets of these tenants, from the `next` one on, until told to stop or none is left. Answers how many.
pub(crate) async fn get_cold(
    connection: &TicketServiceClient<Channel>,
    tenants: &[Arc<str>],
    next: &AtomicUsize,
    stop: &AtomicBool,
) -> u32 {
    let got = AtomicUsize::new(0);
    let worker = || async {
        let mut connection = connection.clone();
        while !stop.load(Ordering::Relaxed)
            && let Some(tenant) = tenants.get(next.fetch_add(1, Ordering::Relaxed))
        {
            connection.get_system_ticket(request(tenant)).await.unwrap();
            got.fetch_add(1, Ordering::Relaxed);
        }
    };
    futures_util::future::join_all((0..COLD_AT_ONCE).map(|_| worker())).await;
    u32::try_from(got.into_inner()).unwrap()
}

pub(crate) fn request(tenant: &str) -> GetSystemTicketRequest {
    GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None }
}
