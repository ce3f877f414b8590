//! Many tenants at once.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use superoffice_sandbox::{Behaviour, Endpoint};
use tempfile::TempDir;
use ticketd::clock::{Clock, ManualClock};
use ticketd::credentials::{Renewal, Settings};
use ticketd::grpc::proto::{GetSystemTicketRequest, SystemTicket, TenantState};
use tokio::time::Instant;
use tonic::Status;

use crate::world::{World, eventually, timestamp, within};

/// Callers share so many connections.
const CONNECTIONS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn cold_tenants_asked_for_all_at_once_are_all_answered() {
    let fleet = Fleet::start(if full() { 2_000 } else { 300 }, Renewal::KeepAlive).await;
    fleet.world.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(50)));
    let going_by = tokio::spawn(go_by(fleet.world.clock.clone()));
    let started = Instant::now();
    let answers = within(fleet.ask()).await;
    let took = started.elapsed();
    going_by.abort();

    let tenants = fleet.tenants.len();
    let failures: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    let stateless = answers.iter().flatten().filter(|ticket| ticket.tenant_state() == TenantState::Unspecified).count();
    println!(
        "{} of {tenants} cold tenants answered in {took:.1?}, {stateless} without their state; {} exchanges, {} at once",
        tenants - failures.len(),
        fleet.world.sandbox.total_exchanges(),
        fleet.world.sandbox.peak_concurrency_at(Endpoint::Exchange),
    );
    assert_eq!(stateless, 0);
    assert!(failures.is_empty(), "{} failed, the first: {:?}", failures.len(), failures[0]);
    assert_eq!(fleet.world.sandbox.total_exchanges(), tenants as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_issued_together_are_renewed_apart_and_a_few_at_once() {
    let fleet = Fleet::start(if full() { 10_000 } else { 1_000 }, Renewal::Exchange).await;
    let sandbox = &fleet.world.sandbox;
    let tickets: Vec<_> = within(fleet.ask()).await.into_iter().map(Result::unwrap).collect();
    let settings = Settings::default();
    let start = timestamp(tickets[0].issue_time) + settings.lifetime.saturating_sub(settings.renew_before_max);
    let slice = settings.renew_before_max.saturating_sub(settings.renew_before_min) / 100;
    let mut slices = [0_usize; 100];
    for ticket in &tickets {
        let after = timestamp(ticket.refresh_time).duration_since(start).unsigned_abs();
        slices[usize::try_from(after.as_micros() / slice.as_micros()).unwrap().min(99)] += 1;
    }
    let (fullest, tenants) = (*slices.iter().max().unwrap(), tickets.len());
    println!(
        "{tenants} tickets issued together: the fullest 1 % of the renewal window holds {fullest} of their renewals"
    );
    assert!(fullest * 100 <= tenants * 3, "{slices:?}");

    // Used once more, so that they are renewed; then all are due at the same moment, as after a machine's sleep.
    within(fleet.ask()).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    sandbox.reset_requests();
    sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(20)).at(Endpoint::Exchange));
    fleet.world.clock.advance(settings.lifetime.saturating_sub(settings.renew_before_min));
    eventually("all are renewed", || sandbox.total_exchanges() == 2 * tenants as u64).await;
    let at_once = sandbox.peak_concurrency_at(Endpoint::Exchange);
    println!("{tenants} renewals due at the same moment: {at_once} at once at most");
    assert!(at_once <= settings.renewals_in_flight as u64, "{at_once}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outage_of_their_hosts_makes_tenants_with_tickets_write_no_rows() {
    let fleet = Fleet::start(if full() { 2_000 } else { 100 }, Renewal::KeepAlive).await;
    let (sandbox, tenants) = (&fleet.world.sandbox, fleet.tenants.len() as u64);
    let settings = Settings::default();
    for _ in 0..2 {
        within(fleet.ask()).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    }
    // All are due before the first expires, and half an hour is left until exchanges are no longer put off.
    fleet.world.clock.advance(settings.lifetime.saturating_sub(settings.renew_before_min));
    let before = sandbox.requests(Endpoint::WebApi);
    let outage = sandbox.set_behaviour(Behaviour::Status(503).at(Endpoint::WebApi));
    for round in 1..=8 {
        within(fleet.each_has_failed(round)).await;
        fleet.world.clock.advance(Duration::from_mins(3));
    }
    let rows = sandbox.total_exchanges() - tenants;
    println!(
        "24 min of outage of the hosts of {tenants} tenants whose tickets were due: {} requests, {rows} rows",
        sandbox.requests(Endpoint::WebApi) - before
    );
    assert_eq!(rows, 0);
    sandbox.clear_behaviour(outage);
    let tickets: Vec<_> = within(async {
        loop {
            let tickets: Vec<_> = fleet.ask().await.into_iter().map(Result::unwrap).collect();
            if tickets.iter().all(|ticket| ticket.refresh_warning.is_none()) {
                return tickets;
            }
            fleet.world.clock.advance(Duration::from_secs(10));
        }
    })
    .await;
    let now = fleet.world.clock.now();
    assert!(tickets.iter().all(|ticket| timestamp(ticket.refresh_time) > now));
    assert_eq!(sandbox.total_exchanges(), tenants);
}

/// Whether the proofs run at the length that the figures are given for. See CONTRIBUTING.md.
fn full() -> bool {
    std::env::var("PROOFS").is_ok_and(|value| value == "full")
}

/// A world with many tenants.
struct Fleet {
    world: World,
    tenants: Vec<String>,
    _directory: TempDir,
}

impl Fleet {
    async fn start(tenants: usize, renewal: Renewal) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let tenants: Vec<_> =
            (0..tenants).map(|number| (format!("Fleet{number}"), format!("Fleet-{number:010}"))).collect();
        for (tenant, token) in &tenants {
            fs::write(path.join(tenant), token).unwrap();
        }
        let world = World::builder()
            .config(move |config| {
                config.store.tenants_directory = Some(path.clone());
                config.tickets.renewal = renewal;
            })
            .start()
            .await;
        for (tenant, token) in &tenants {
            world.sandbox.add_tenant_with_token(tenant, token);
        }
        Self { world, tenants: tenants.into_iter().map(|(tenant, _)| tenant).collect(), _directory: directory }
    }

    /// Waits until so many renewals of each tenant's ticket have failed. Nobody goes without a ticket meanwhile.
    async fn each_has_failed(&self, times: u32) {
        loop {
            let tickets = self.ask().await.into_iter().map(|answer| answer.expect("the ticket is valid"));
            let failed = |ticket: SystemTicket| ticket.refresh_warning.is_some_and(|it| it.failed_attempts >= times);
            if tickets.map(failed).collect::<Vec<_>>().into_iter().all(|failed| failed) {
                return;
            }
        }
    }

    /// Asks for the tickets of all tenants at once.
    async fn ask(&self) -> Vec<Result<SystemTicket, Status>> {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| self.world.tickets()).collect();
        let calls = self.tenants.iter().zip(clients.iter().cycle()).map(|(tenant, client)| {
            let mut client = client.clone();
            let request = GetSystemTicketRequest { context_identifier: tenant.clone(), min_validity: None };
            tokio::spawn(async move {
                let response = client.get_system_ticket(request).await?;
                Ok(response.into_inner().system_ticket.expect("a response holds a ticket"))
            })
        });
        join_all(calls).await.into_iter().map(Result::unwrap).collect()
    }
}

/// Lets the clock go by as the machine's does.
pub(crate) async fn go_by(clock: ManualClock) {
    let (start, started): (Timestamp, _) = (clock.now(), Instant::now());
    loop {
        #[expect(clippy::disallowed_methods, reason = "this is what moves the clock")]
        tokio::time::sleep(Duration::from_millis(5)).await;
        let behind = (start + started.elapsed()).duration_since(clock.now());
        clock.advance(behind.unsigned_abs());
    }
}
