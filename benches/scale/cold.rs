//! Tickets that are not in memory: what one costs, and what getting ten thousand costs the calls of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use superoffice_sandbox::{Behaviour, Endpoint};
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tonic::transport::Channel;

use crate::callers::{COLD_AT_ONCE, Callers, Connections, Pace, Seen, get_cold};
use crate::reference::Reference;
use crate::server::{Place, Server};
use crate::setup::Setup;
use crate::{Extent, check, median, micros, registered};

/// How long SuperOffice takes for an exchange while hits are measured. The real one takes longer, and then warming is slower.
const LATENCY: Duration = Duration::from_millis(20);

struct Bench<'a> {
    extent: Extent,
    server: Arc<Server>,
    callers: &'a Callers,
    connections: Arc<Connections>,
    live: Arc<[Arc<str>]>,
    cold: Vec<Arc<str>>,
    next: AtomicUsize,
    client: TicketServiceClient<Channel>,
}

/// Medians of all rounds, in microseconds.
#[derive(Default)]
struct Rounds {
    exchange: Vec<f64>,
    switches: Vec<f64>,
    signature: Vec<f64>,
    verification: Vec<f64>,
    slow_exchange: Vec<f64>,
    hit: [Vec<f64>; 2],
    p99: [Vec<f64>; 2],
    got: u32,
}

/// With `hits`, those of others too while tickets are got. Without them nearly all that the server does is exchanging, for
/// `perf record` to see.
pub(crate) async fn measure(extent: Extent, callers: &Callers, hits: bool) {
    let setup = Setup::new(extent.live + extent.cold).await;
    let reference = Reference::new(&setup).await;
    let place = Place::new(&setup, "cold");
    registered::fill(&setup, "cold").await;
    let mut bench = Bench::new(&setup, &place, extent, callers).await;
    let idle = bench.server.resident();
    let rounds = bench.rounds(&setup, &reference, hits).await;
    let grown = (bench.server.resident() - idle) * 1024.0 / f64::from(rounds.got.max(1));
    let first = rounds.report(extent, hits);
    println!("{grown:.1} KiB of the server's memory for each of the {} tickets got meanwhile", rounds.got);

    // The same tenants again, whose serials and addresses are known by now.
    drop(bench);
    bench = Bench::new(&setup, &place, extent, callers).await;
    let mut again = Rounds::default();
    while bench.next.load(Ordering::Relaxed) < bench.cold.len() {
        bench.exchange(&mut again).await;
    }
    let (again, switches) = (middle(&again.exchange), middle(&again.switches));
    println!(
        "after a restart: {again:.0} us of processor time ({:.2}), {switches:.1} changes of threads",
        again / first
    );
    check(extent, again < first, "a tenant that is known costs as much as a new one");
}

impl<'a> Bench<'a> {
    async fn new(setup: &Setup, place: &Place, extent: Extent, callers: &'a Callers) -> Self {
        let (live, cold) = setup.tenants.split_at(extent.live);
        let server = Arc::new(place.start().await);
        let connections = callers.connect(&server).await;
        let client = server.connect().await;
        get_cold(&client, live, &AtomicUsize::new(0), &AtomicBool::new(false)).await;
        let (live, cold, next) = (live.into(), cold.to_vec(), AtomicUsize::new(0));
        Self { extent, server, callers, connections, live, cold, next, client }
    }

    async fn rounds(&self, setup: &Setup, reference: &Reference, hits: bool) -> Rounds {
        let mut rounds = Rounds::default();
        while self.next.load(Ordering::Relaxed) < self.cold.len() {
            let (signature, verification) = reference.measure();
            rounds.signature.push(micros(signature));
            rounds.verification.push(micros(verification));
            self.exchange(&mut rounds).await;
            if !hits {
                continue;
            }
            let slow = setup.sandbox.set_behaviour(Behaviour::Slow(LATENCY).at(Endpoint::Exchange));
            let mut at_its_pace = Rounds::default();
            self.exchange(&mut at_its_pace).await;
            rounds.slow_exchange.append(&mut at_its_pace.exchange);
            for pace in [Pace::Full, Pace::Steady] {
                self.hits(&mut rounds, pace).await;
            }
            setup.sandbox.clear_behaviour(slow);
        }
        rounds.got = u32::try_from(self.cold.len()).unwrap();
        rounds
    }

    /// The processor time of an exchange, with the call that it is for, and how often a thread gave up its processor for
    /// it.
    async fn exchange(&self, rounds: &mut Rounds) {
        let first = self.next.fetch_add(self.extent.chunk, Ordering::Relaxed);
        let tenants = self.cold.iter().skip(first).take(self.extent.chunk).cloned().collect::<Vec<_>>();
        if tenants.is_empty() {
            return;
        }
        let before = (self.server.process.processor_time(), self.server.switches());
        let got = get_cold(&self.client, &tenants, &AtomicUsize::new(0), &AtomicBool::new(false)).await;
        let spent = self.server.process.processor_time().saturating_sub(before.0);
        rounds.exchange.push(micros(spent) / f64::from(got));
        rounds.switches.push((self.server.switches() - before.1) / f64::from(got));
    }

    /// Hits without anything else, then while others' tickets are got.
    async fn hits(&self, rounds: &mut Rounds, pace: Pace) {
        let call = || self.callers.call(&self.connections, &self.live, pace, self.extent.window);
        let before = self.server.process.processor_time();
        let seen = call().await;
        let between = self.server.process.processor_time();
        rounds.add(0, pace, &seen, micros(between.saturating_sub(before)));
        let stop = AtomicBool::new(false);
        let calls = async {
            let seen = call().await;
            stop.store(true, Ordering::Relaxed);
            seen
        };
        let (seen, got) = tokio::join!(calls, get_cold(&self.client, &self.cold, &self.next, &stop));
        let spent = micros(self.server.process.processor_time().saturating_sub(between));
        let exchanges = f64::from(got) * middle(&rounds.slow_exchange);
        rounds.add(1, pace, &seen, spent - exchanges);
    }
}

impl Rounds {
    fn add(&mut self, during: usize, pace: Pace, seen: &Seen, spent: f64) {
        match pace {
            Pace::Full => self.hit[during].push(spent / f64::from(seen.number)),
            Pace::Steady => self.p99[during].push(micros(seen.p99)),
        }
    }

    /// Answers what an exchange costs.
    fn report(&self, extent: Extent, hits: bool) -> f64 {
        let (exchange, switches) = (middle(&self.exchange), middle(&self.switches));
        let (signature, verification) = (middle(&self.signature), middle(&self.verification));
        let ratio = exchange / (signature + verification);
        println!(
            "an exchange: {exchange:.0} us of processor time, {switches:.1} changes of threads; a signature {signature:.0} us and a \
             verification {verification:.0} us: {ratio:.2} times these"
        );
        check(extent, ratio < 5.5, "an exchange costs more than its signature and its verification allow for");
        check(extent, switches < 16.0, "an exchange changes threads more often");
        if !hits {
            return exchange;
        }
        let [[hit, hit_during], [p99, p99_during]] = [&self.hit, &self.p99].map(|of| [middle(&of[0]), middle(&of[1])]);
        println!(
            "while {} tenants warm up, {COLD_AT_ONCE} at once and {LATENCY:?} an exchange, which is {:.0} us then: a hit \
             {hit:.1} us before, {hit_during:.1} us during ({:.2}); p99 {p99:.0} us before, {p99_during:.0} us during \
             ({:.2})",
            self.got,
            middle(&self.slow_exchange),
            hit_during / hit,
            p99_during / p99
        );
        check(extent, hit_during < hit * 1.15, "hits cost more while tenants warm up");
        check(extent, p99_during < p99 * 1.5 + 1_000.0, "hits wait while tenants warm up");
        exchange
    }
}

fn middle(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { median(&mut values.to_vec()) }
}
