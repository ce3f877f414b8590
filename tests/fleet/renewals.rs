//! Replicas renew many tenants' tickets, each once for all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use ticketd::grpc::proto::SystemTicket;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fleet::{Fleet, now, ticket};
use crate::place::{Running, pass, until};
use crate::{MACHINE, full};

const REPLICAS: usize = 3;
const RENEWALS: u64 = 3;
/// So many callers at once ask each replica.
const CALLERS: usize = 16;

/// How many tenants there are, how long their tickets live, and when they are renewed.
///
/// A renewal takes some 20 ms of processor time in the test profile with all that it causes: the sandbox's signatures, three
/// replicas' transactions, the calls that ask for it. All tenants' renewals have to fit the window on two cores. The
/// window is shorter than the time before it: an exchange within that time of another one is a second one for the same
/// renewal.
struct Pace {
    tenants: usize,
    lifetime: Duration,
    renew_before: (Duration, Duration),
    /// How long after a round of calls the next begins.
    pause: Duration,
}

impl Pace {
    fn new() -> Self {
        let seconds = Duration::from_secs;
        if full() {
            Self {
                tenants: 1_000,
                lifetime: seconds(120),
                renew_before: (seconds(40), seconds(75)),
                pause: seconds(15),
            }
        } else {
            Self { tenants: 60, lifetime: seconds(8), renew_before: (seconds(3), seconds(5)), pause: seconds(1) }
        }
    }

    /// No ticket is renewed younger.
    fn least_age(&self) -> Duration {
        self.lifetime.saturating_sub(self.renew_before.1)
    }
}

/// A tenant's tickets by their fingerprints: when each was issued, and which replicas handed it out.
type Tickets = BTreeMap<String, (Timestamp, BTreeSet<usize>)>;

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_tenants_is_exchanged_once_a_renewal_for_all_replicas() {
    let _alone = MACHINE.write().await;
    let Some(fleet) = Fleet::new().await else { return };
    let pace = Pace::new();
    let replicas = serve(&fleet, &pace).await;
    let tenants: Vec<_> = (0..pace.tenants).map(|number| format!("Tenant{number}")).collect();
    fleet.register(&replicas[0], &tenants).await;

    let start = now();
    let is_enough = AtomicBool::new(false);
    let clients: Vec<_> = replicas.iter().map(Running::tickets).collect();
    let asking = clients.iter().map(|client| ask(client.clone(), &tenants, pace.pause, &is_enough));
    let watching = async {
        while tenants.iter().any(|tenant| fleet.place.sandbox.exchanges(tenant) <= RENEWALS) {
            pass(Duration::from_millis(200)).await;
        }
        is_enough.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = tokio::join!(join_all(asking), watching);
    let took = start.elapsed();
    let mut seen: BTreeMap<&str, Tickets> = tenants.iter().map(|tenant| (tenant.as_str(), Tickets::new())).collect();
    let (mut calls, mut failures) = (0, 0);
    for (replica, answers) in answers.into_iter().enumerate() {
        for (tenant, answer) in answers {
            calls += 1;
            failures += u64::from(answer.is_err());
            note(seen.get_mut(tenant).unwrap(), replica, answer);
        }
    }
    let (mut exchanges, mut everywhere) = (0, 0);
    let caught_up = stream::iter(seen).map(|(tenant, tickets)| catch_up(&fleet, clients.clone(), tenant, tickets));
    let seen: Vec<_> = caught_up.buffer_unordered(CALLERS).collect().await;
    for (tenant, tickets) in &seen {
        exchanges += tickets.len() as u64;
        everywhere += tickets.values().filter(|(_, replicas)| replicas.len() == REPLICAS).count();
        let times: BTreeSet<_> = tickets.values().map(|(issue_time, _)| *issue_time).collect();
        let mut gaps = times.iter().zip(times.iter().skip(1)).map(|(one, next)| next.duration_since(*one));
        assert!(
            gaps.all(|gap| gap.unsigned_abs() >= pace.least_age()),
            "{tenant} was renewed twice at once: {times:?}"
        );
        assert_eq!(times.len(), tickets.len());
    }
    println!(
        "{REPLICAS} replicas, {} tenants, {RENEWALS} renewals and more in {took:.0?}: {exchanges} exchanges for \
         {exchanges} tickets, {everywhere} of them handed out by all replicas; {failures} of \
         {calls} calls failed",
        tenants.len(),
    );
    assert!(exchanges >= (1 + RENEWALS) * tenants.len() as u64);
}

/// Replicas whose tickets live as short as at SuperOffice.
async fn serve(fleet: &Fleet, pace: &Pace) -> Vec<Running> {
    let (latest, earliest) = pace.renew_before;
    for (key, duration) in [
        ("lifetime", pace.lifetime),
        ("renew_before_min", latest),
        ("renew_before_max", earliest),
        ("wait_before_expiry", Duration::from_secs(1)),
    ] {
        fleet.place.configure(key, &format!("\"{}s\"", duration.as_secs()));
    }
    fleet.place.configure("renewal", "\"exchange\"");
    fleet.place.sandbox.change_settings(|settings| settings.ticket_life = pace.lifetime);
    fleet.serve(REPLICAS).await
}

/// Asks a replica for all tenants' tickets again and again.
async fn ask<'a>(
    client: TicketServiceClient<Channel>,
    tenants: &'a [String],
    pause: Duration,
    is_enough: &AtomicBool,
) -> Vec<(&'a str, Result<SystemTicket, Status>)> {
    let mut answers = Vec::new();
    while !is_enough.load(Ordering::Relaxed) {
        let round = stream::iter(tenants).map(|tenant| {
            let mut client = client.clone();
            async move { (tenant.as_str(), ticket(&mut client, tenant).await) }
        });
        answers.extend(round.buffer_unordered(CALLERS).collect::<Vec<_>>().await);
        pass(pause).await;
    }
    answers
}

/// Asks until every ticket that SuperOffice made of the tenant was handed out, and no other.
async fn catch_up<'a>(
    fleet: &Fleet,
    mut clients: Vec<TicketServiceClient<Channel>>,
    tenant: &'a str,
    mut tickets: Tickets,
) -> (&'a str, Tickets) {
    until(async || {
        let exchanges = fleet.place.sandbox.exchanges(tenant);
        for (replica, client) in clients.iter_mut().enumerate() {
            note(&mut tickets, replica, ticket(client, tenant).await);
        }
        tickets.len() as u64 == exchanges && exchanges == fleet.place.sandbox.exchanges(tenant)
    })
    .await;
    (tenant, tickets)
}

/// Notes what a replica answered. On a machine that stalls it may say to ask again.
fn note(tickets: &mut Tickets, replica: usize, answer: Result<SystemTicket, Status>) {
    let ticket = match answer {
        Ok(ticket) => ticket,
        Err(status) => return assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
    };
    let time = ticket.issue_time.expect("a ticket has it");
    let issue_time = Timestamp::new(time.seconds, time.nanos).unwrap();
    let (_, replicas) = tickets.entry(ticket.fingerprint).or_insert_with(|| (issue_time, BTreeSet::new()));
    replicas.insert(replica);
}
