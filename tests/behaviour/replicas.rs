//! Several servers on one PostgreSQL: one of them exchanges for all.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use superoffice_sandbox::{Behaviour, Endpoint};
use ticketd::credentials::Renewal;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use ticketd::grpc::proto::{GetSystemTicketRequest, SystemTicket};
use ticketd::identifiers::ClientSecret;
use tonic::Code;

use crate::cluster::Cluster;
use crate::world::{TENANT, World, WorldBuilder, eventually, reason, ticket_at, tickets_at, timestamp, within};

/// A world whose servers hear of each other.
async fn world(cluster: &Cluster) -> (WorldBuilder, String) {
    let url = cluster.create_database().await;
    let (listening, name) = (url.clone(), url.rsplit_once('/').unwrap().1.to_owned());
    let builder = World::builder().config(move |config| {
        config.store.url.clone_from(&listening);
        config.store.postgres.session_url = Some(listening.clone());
    });
    (builder, name)
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
    Instant::now()
}

fn fingerprints(tickets: &[SystemTicket]) -> Vec<&str> {
    let mut fingerprints: Vec<_> = tickets.iter().map(|ticket| ticket.fingerprint.as_str()).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    fingerprints
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_of_four_replicas_share_one_exchange_of_a_cold_tenant() {
    let Some(cluster) = Cluster::shared() else { return };
    let (callers, connections) = (2_500, 25);
    let (builder, _) = world(cluster).await;
    let first = builder.start().await;
    let replicas = [first.replica().await, first.replica().await, first.replica().await];
    // Each has a connection to the database: to get one takes longer than it may while this process is so busy.
    for replica in &replicas {
        replica.ticket("Cust1").await.unwrap_err();
    }
    first.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(500)).at(Endpoint::Exchange));
    let servers = [first.address(), replicas[0].address(), replicas[1].address(), replicas[2].address()];
    let start = now();
    let calls = servers.into_iter().flat_map(|address| {
        let clients: Vec<_> = (0..connections).map(|_| tickets_at(address)).collect();
        (0..callers).map(move |caller| {
            let mut client = clients[caller % connections].clone();
            let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
            tokio::spawn(async move { client.get_system_ticket(request).await })
        })
    });
    let answers = within(join_all(calls)).await;
    let (answers, failures): (Vec<_>, Vec<_>) = answers.into_iter().map(Result::unwrap).partition(Result::is_ok);
    let tickets: Vec<_> =
        answers.into_iter().flatten().filter_map(|answer| answer.into_inner().system_ticket).collect();
    println!(
        "{} of {} callers of 4 replicas answered by {} exchange in {:.1?}",
        tickets.len(),
        4 * callers,
        first.sandbox.exchanges(TENANT),
        start.elapsed()
    );
    assert_eq!(tickets.len(), 4 * callers, "{:?}", failures.first());
    assert_eq!(first.sandbox.exchanges(TENANT), 1);
    assert_eq!(fingerprints(&tickets).len(), 1);
}

#[tokio::test]
async fn a_restarted_server_and_a_new_one_take_the_ticket_that_is_there() {
    let Some(cluster) = Cluster::shared() else { return };
    let (builder, _) = world(cluster).await;
    let first = builder.start().await;
    let before = first.ticket(TENANT).await.unwrap();
    first.clock.advance(Duration::from_hours(3));
    let first = first.killed_and_restarted().await;
    let replica = first.replica().await;
    for ticket in [first.ticket(TENANT).await.unwrap(), replica.ticket(TENANT).await.unwrap()] {
        assert_eq!((&ticket.ticket, &ticket.fingerprint), (&before.ticket, &before.fingerprint));
        assert_eq!(timestamp(ticket.expire_time).as_millisecond(), timestamp(before.expire_time).as_millisecond());
        assert_eq!((&ticket.webapi_url, &ticket.netserver_url), (&before.webapi_url, &before.netserver_url));
    }
    assert_eq!(first.sandbox.exchanges(TENANT), 1);

    // Three hours are left of it, and a caller wants four: it is kept alive for all.
    let longer = first.ticket_for(TENANT, Some(Duration::from_hours(4))).await.unwrap();
    assert_eq!(longer.fingerprint, before.fingerprint);
    assert!(timestamp(longer.expire_time) > timestamp(before.expire_time) + Duration::from_hours(2));
    let longer = replica.ticket_for(TENANT, Some(Duration::from_hours(4))).await.unwrap();
    assert_eq!(longer.fingerprint, before.fingerprint);
    let (exchanges, uses) = (first.sandbox.exchanges(TENANT), first.sandbox.requests(Endpoint::WebApi));
    println!("after a restart and on another replica: {exchanges} exchange, {uses} keep-alive in all");
    assert_eq!((exchanges, uses), (1, 1));
}

#[tokio::test]
async fn each_renewal_is_one_replicas_for_all() {
    let Some(cluster) = Cluster::shared() else { return };
    for renewal in [Renewal::Exchange, Renewal::KeepAlive] {
        let (builder, _) = world(cluster).await;
        let first = builder.config(move |config| config.tickets.renewal = renewal).start().await;
        let replicas = [first.replica().await, first.replica().await];
        let expiry = async || {
            let servers = [first.address(), replicas[0].address(), replicas[1].address()];
            let tickets = join_all(servers.map(|server| ticket_at(server, TENANT, None))).await;
            let tickets: Vec<_> = tickets.into_iter().map(Result::unwrap).collect();
            tickets.iter().map(|ticket| timestamp(ticket.expire_time)).min().unwrap()
        };
        within(expiry()).await;
        for _ in 0..3 {
            // Asked for once more, so that it is renewed; then all have come to the end of the window of renewal.
            let before = within(expiry()).await;
            let left = before.duration_since(first.clock_now()).unsigned_abs();
            first.clock.advance(left.saturating_sub(Duration::from_mins(39)));
            let renewed = async { while expiry().await <= before {} };
            within(renewed).await;
        }
        let (exchanges, uses) = (first.sandbox.exchanges(TENANT), first.sandbox.requests(Endpoint::WebApi));
        println!("3 replicas, three renewals by {renewal:?}: {exchanges} exchanges, {uses} keep-alives");
        let expected = if renewal == Renewal::Exchange { (4, 0) } else { (1, 3) };
        assert_eq!((exchanges, uses), expected);
    }
}

#[tokio::test]
async fn a_report_to_one_replica_takes_the_ticket_from_all_within_a_second() {
    let Some(cluster) = Cluster::shared() else { return };
    let (builder, _) = world(cluster).await;
    let first = builder.start().await;
    let (second, third) = (first.replica().await, first.replica().await);
    // The machine may have much else to do: one of a few has to be as fast.
    for round in 1.. {
        let before = first.ticket(TENANT).await.unwrap();
        second.ticket(TENANT).await.unwrap();
        first.clock.advance(Duration::from_mins(1));
        // The third has never had it, and hears of it from a caller of another's.
        assert_eq!(third.invalidate(TENANT, &"0".repeat(32)).await, Outcome::NotCurrent);
        let start = now();
        assert_eq!(third.invalidate(TENANT, &before.fingerprint).await, Outcome::Invalidated);
        let mut after = Vec::new();
        for server in [first.address(), second.address(), third.address()] {
            let another = async {
                loop {
                    let ticket = ticket_at(server, TENANT, None).await.unwrap();
                    if ticket.fingerprint != before.fingerprint {
                        return ticket;
                    }
                }
            };
            after.push(within(another).await);
        }
        let took = start.elapsed();
        println!("a refused ticket is gone from 3 replicas {took:?} after the report, with 1 exchange more");
        assert_eq!(fingerprints(&after).len(), 1);
        assert_eq!(first.sandbox.exchanges(TENANT), round + 1);
        assert_eq!(second.invalidate(TENANT, &before.fingerprint).await, Outcome::NotCurrent);
        assert_eq!(second.invalidate(TENANT, &after[0].fingerprint).await, Outcome::TooRecent);
        if took < Duration::from_secs(1) {
            break;
        }
        assert!(round < 5, "{took:?}");
    }
}

#[test]
fn when_the_holder_of_a_lease_is_killed_another_finishes_within_the_lease() {
    let Some(cluster) = Cluster::shared() else { return };
    // Its own, so that it can end with all its tasks at once.
    let holders = tokio::runtime::Runtime::new().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (builder, _) = world(cluster).await;
        let survivor = builder.start().await;
        let parts = survivor.parts_of_a_replica();
        let holder = within(holders.spawn(parts.start())).await.unwrap();
        let hanging = survivor.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
        let mut client = tickets_at(holder.address());
        let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
        tokio::spawn(async move { client.get_system_ticket(request).await });
        within(survivor.sandbox.wait_for_requests(Endpoint::Exchange, 1)).await;
        // Its lease is renewed for the last time at most so long before.
        let killed = now();
        holders.shutdown_background();
        survivor.sandbox.clear_behaviour(hanging);
        within(survivor.ticket(TENANT)).await.unwrap();
        let took = killed.elapsed();
        println!("another replica finished {took:?} after the holder's end");
        assert!(took < Duration::from_secs(16), "{took:?}");
        assert!(took > Duration::from_secs(5), "the lease was held: {took:?}");
        drop(holder);
    });
}

#[tokio::test]
async fn a_holder_that_lost_its_lease_shares_nothing_and_answers_its_own_callers() {
    let Some(cluster) = Cluster::shared() else { return };
    let (builder, database) = world(cluster).await;
    let first = builder.start().await;
    let second = first.replica().await;
    let hanging = first.sandbox.set_behaviour(Behaviour::Slow(Duration::from_secs(2)).at(Endpoint::Exchange));
    let mut client = first.tickets();
    let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
    let stopped = tokio::spawn(async move { client.get_system_ticket(request).await });
    within(first.sandbox.wait_for_requests(Endpoint::Exchange, 1)).await;
    first.sandbox.clear_behaviour(hanging);
    // As if it were stopped for longer than its lease.
    cluster.execute(&database, "UPDATE leases SET expire_time = clock_timestamp()").await;
    let shared = second.ticket(TENANT).await.unwrap();
    let own = within(stopped).await.unwrap().unwrap().into_inner().system_ticket.unwrap();
    assert_ne!(own.fingerprint, shared.fingerprint);
    let third = first.replica().await;
    assert_eq!(third.ticket(TENANT).await.unwrap().fingerprint, shared.fingerprint);
    println!("the stale holder's ticket went to its own caller alone; {} exchanges", first.sandbox.exchanges(TENANT));
}

#[tokio::test]
async fn a_lease_whose_holder_does_not_finish_is_told_as_such_and_a_failure_frees_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let (builder, database) = world(cluster).await;
    let world = builder.start().await;
    let held = "INSERT INTO leases VALUES ('cust12345', 'somebody', nextval('lease_fences'), now() + interval '1 h')";
    cluster.execute(&database, held).await;
    let mut client = world.tickets();
    let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
    // The connection is there.
    client.get_system_ticket(GetSystemTicketRequest::default()).await.unwrap_err();
    let before = world.clock.sleepers();
    let mut call = tokio::spawn(async move { client.get_system_ticket(request).await });
    // Until its deadline, and for the holder. Time would move faster than the database answers.
    eventually("the holder is waited for", || world.clock.sleepers() >= before + 2).await;
    let refused = within(async {
        loop {
            tokio::select! {
                answer = &mut call => return answer.unwrap().unwrap_err(),
                () = world.pass(Duration::from_secs(1), Duration::from_secs(1)) => {}
            }
        }
    })
    .await;
    assert_eq!(reason(&refused), (Code::Unavailable, "LEASE_TIMEOUT".to_owned()), "{refused:?}");
    assert_eq!(world.sandbox.requests(Endpoint::Exchange), 0);

    cluster.execute(&database, "DELETE FROM leases").await;
    let failing = world.sandbox.set_behaviour(Behaviour::Status(500).at(Endpoint::Exchange));
    let replica = world.replica().await;
    let mut client = world.tickets();
    let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
    let mut call = tokio::spawn(async move { client.get_system_ticket(request).await });
    within(async {
        loop {
            tokio::select! {
                answer = &mut call => return drop(answer.unwrap().unwrap_err()),
                () = world.pass(Duration::from_secs(1), Duration::from_secs(1)) => {}
            }
        }
    })
    .await;
    world.sandbox.clear_behaviour(failing);
    let start = now();
    replica.ticket(TENANT).await.unwrap();
    println!("a failed holder's lease was free for another replica within {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(3));
    eventually("one exchange succeeds", || world.sandbox.exchanges(TENANT) == 1).await;
}

#[tokio::test]
async fn a_replica_that_starts_with_another_client_secret_takes_the_tickets_that_are_there() {
    let Some(cluster) = Cluster::shared() else { return };
    let (builder, _) = world(cluster).await;
    let first = builder.start().await;
    let ticket = first.ticket(TENANT).await.unwrap();
    let rotated = ClientSecret::new("another-secret-8d1f");
    let replica = first.parts_of_a_replica().config(|config| config.superoffice.client_secret = rotated.into());
    let replica = replica.start().await;
    let adopted = replica.ticket(TENANT).await.unwrap();
    assert_eq!((adopted.ticket, &adopted.fingerprint), (ticket.ticket, &ticket.fingerprint));
    assert_eq!(first.sandbox.exchanges(TENANT), 1);

    // One that was issued for another system user token is not taken, whatever the secret.
    let token = first.sandbox.add_tenant_with_token(TENANT, "Sandbox Application-changed000").system_user_token;
    first.put_tenant(TENANT, &token, false).await;
    let renewed = first.ticket(TENANT).await.unwrap();
    assert_ne!(renewed.fingerprint, adopted.fingerprint);
    eventually("the replica hears of it", || first.sandbox.exchanges(TENANT) == 2).await;
    within(async { while replica.ticket(TENANT).await.unwrap().fingerprint != renewed.fingerprint {} }).await;
}
