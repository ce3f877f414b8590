//! Tickets that are watched: sent as they are, and again when something about them changes.

use std::fs::{self, File};
use std::time::Duration;

use futures_util::future::join_all;
use superoffice_sandbox::{Behaviour, ChangeType, Endpoint, Refusal, Webhook, WrongTenant};
use ticketd::clock::Clock;
use ticketd::grpc::proto::invalidate_system_ticket_request::Cause;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::metrics;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Endpoint as ToServer;

use crate::audit::Audited;
use crate::cluster::Cluster;
use crate::own_process::is_own_process;
use crate::processor::processor_time;
use crate::several::{Told, Watch};
use crate::visitor::PUBLIC_URL;
use crate::world::{TENANT, World, WorldBuilder, eventually, reason, ticket_at, timestamp, within};

const SECOND: Duration = Duration::from_secs(1);

/// A world whose connections last as long as its tests.
fn lasting() -> WorldBuilder {
    World::builder().config(|config| config.server.max_connection_age = Duration::from_hours(10_000))
}

/// Lets much time pass, in steps: small ones while something is asked of SuperOffice, lest a time-out of this world's clock
/// cuts what takes a while on this machine.
async fn lapse(world: &World, duration: Duration, step: Duration) {
    let end = world.clock.now() + duration;
    while world.clock.now() < end {
        world.clock.advance(if is_loading() { SECOND } else { step });
        let mut turns = 0;
        while turns < 3 || is_loading() && turns < 30 {
            #[expect(clippy::disallowed_methods, reason = "a turn for the sockets, not a wait for time to pass")]
            tokio::time::sleep(Duration::from_millis(1)).await;
            turns += 1;
        }
    }
}

/// Whether any ticket is being got.
fn is_loading() -> bool {
    let families = metrics::read();
    let loading = families.iter().find(|family| family.about.name == "ticketd.flights_in_progress").unwrap();
    loading.series.iter().any(|series| matches!(series.value, metrics::Value::Number(number) if number > 0.0))
}

/// The next message, while some time passes: a change settles first.
async fn next(world: &World, watch: &mut Watch) -> Told {
    let next = async {
        loop {
            world.pass(SECOND / 2, SECOND / 10).await;
            // No faster than the machine's time: nothing is cut that is under way.
            if let Ok(told) = tokio::time::timeout(SECOND / 2, watch.next()).await {
                return told.unwrap();
            }
        }
    };
    within(next).await
}

/// Lets time pass until the ticket's renewal is due.
async fn pass_to_renewal(world: &World, refresh_time: Option<prost_types::Timestamp>) {
    let due = timestamp(refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due);
    world.pass(SECOND, SECOND).await;
}

#[tokio::test]
async fn the_ticket_comes_at_once_and_each_renewal_before_it_lapses() {
    for renewing_by_exchange in [true, false] {
        let builder = lasting();
        let builder = if renewing_by_exchange { builder.renewing_by_exchange() } else { builder };
        let world = builder.start().await;
        world.add_tenant("Cust1").await;
        let mut watch = Watch::begin(world.tickets(), &[TENANT, "Cust1", "cUST1"]).await.unwrap();
        let (first, second) = (watch.next().await.unwrap(), watch.next().await.unwrap());
        for (tenant, ticket) in [&first, &second] {
            assert_eq!(ticket.as_ref().unwrap().context_identifier, *tenant);
        }
        assert!(first.0 != second.0 && watch.is_silent().await, "each once");
        let mut before = if first.0 == TENANT { first.1.unwrap() } else { second.1.unwrap() };
        // From here on one alone, so that no renewal of the other is under way while time leaps.
        drop(watch);
        let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
        assert_eq!(watch.ticket().await.fingerprint, before.fingerprint);
        // Nobody asks by a call: what is watched counts as asked for.
        for _ in 0..3 {
            pass_to_renewal(&world, before.refresh_time).await;
            let renewed = watch.ticket().await;
            assert!(world.clock.now() < timestamp(before.expire_time));
            assert!(timestamp(renewed.expire_time) > timestamp(before.expire_time));
            assert_eq!(renewed.fingerprint == before.fingerprint, !renewing_by_exchange);
            assert!(renewed.refresh_warning.is_none());
            before = renewed;
        }
        assert_eq!(world.sandbox.exchanges(TENANT), if renewing_by_exchange { 4 } else { 1 });
    }
}

#[tokio::test]
async fn a_tenant_that_goes_and_comes_back_is_told_of() {
    let world = lasting().start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT, "Cust777"]).await.unwrap();
    let mut told = [watch.next().await.unwrap(), watch.next().await.unwrap()];
    told.sort_by_key(|(tenant, _)| tenant.clone());
    let first = told[0].1.as_ref().unwrap().clone();
    assert_eq!(reason(told[1].1.as_ref().unwrap_err()), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()));

    world.delete_tenant(TENANT).await;
    assert_eq!(reason(&next(&world, &mut watch).await.1.unwrap_err()).1, "TENANT_NOT_REGISTERED");
    // And the other way: one that was not there.
    world.add_tenant("Cust777").await;
    assert_eq!(next(&world, &mut watch).await.1.unwrap().context_identifier, "Cust777");
    println!("a tenant that was put, watched: {} exchange", world.sandbox.exchanges("Cust777"));
    let token = world.sandbox.add_tenant(TENANT).system_user_token;
    world.put_tenant(TENANT, &token, true).await;
    let again = async {
        loop {
            match next(&world, &mut watch).await {
                (tenant, Ok(ticket)) if tenant == TENANT => return ticket,
                // The change is told twice: on a slow machine the other's may be too.
                (tenant, told) => assert!(tenant == "Cust777" && told.is_ok()),
            }
        }
    };
    assert_ne!(within(again).await.fingerprint, first.fingerprint);
}

#[tokio::test]
async fn what_changes_while_a_ticket_is_got_is_told_without_waiting_for_it() {
    let world = lasting().start().await;
    world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    eventually("its exchange is under way", || world.sandbox.requests(Endpoint::Exchange) == 1).await;
    let begun = world.clock.now();
    world.delete_tenant(TENANT).await;
    assert_eq!(reason(&next(&world, &mut watch).await.1.unwrap_err()).1, "TENANT_NOT_REGISTERED");
    let took = world.clock.now().duration_since(begun).unsigned_abs();
    assert!(took < SECOND * 4, "{took:?}");
}

#[tokio::test]
async fn many_cold_tenants_that_are_watched_are_got_a_few_at_a_time() {
    let world = lasting().start().await;
    let names: Vec<_> = (0..40).map(|number| format!("Cust{number}")).collect();
    for name in &names {
        world.add_tenant(name).await;
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    world.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(50)).at(Endpoint::Exchange));
    let mut watch = Watch::begin(world.tickets(), &names).await.unwrap();
    for _ in &names {
        watch.ticket().await;
    }
    let at_once = world.sandbox.peak_concurrency_at(Endpoint::Exchange);
    println!("{} cold tenants that are watched: at most {at_once} exchanges side by side", names.len());
    assert!((2..=16).contains(&at_once), "{at_once}");
}

#[tokio::test]
async fn a_refusal_takes_the_ticket_away_and_a_failure_does_not() {
    let world = lasting().start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let first = watch.ticket().await;
    world.clock.advance(Duration::from_mins(1));
    let refused = world.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(1)).at(Endpoint::Exchange));
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::Invalidated);
    let revoked = (Code::FailedPrecondition, "TENANT_AUTHORIZATION_REVOKED".to_owned());
    assert_eq!(reason(&next(&world, &mut watch).await.1.unwrap_err()), revoked);
    assert_eq!(reason(&world.ticket(TENANT).await.unwrap_err()), revoked);
    let asked = world.sandbox.requests(Endpoint::Exchange);
    lapse(&world, Duration::from_hours(1), Duration::from_mins(1)).await;
    let asked = world.sandbox.requests(Endpoint::Exchange) - asked;
    println!("a tenant that is refused and watched for an hour: {asked} exchanges tried");
    assert!((1..10).contains(&asked) && watch.is_silent().await, "the same refusal is no news");
    world.sandbox.clear_behaviour(refused);
    lapse(&world, Duration::from_mins(31), Duration::from_mins(1)).await;
    let second = watch.ticket().await;
    assert_ne!(second.fingerprint, first.fingerprint);

    // A renewal that fails is a warning, told once, and its end is told.
    let failing = world.sandbox.set_behaviour(Behaviour::Status(503));
    pass_to_renewal(&world, second.refresh_time).await;
    let warned = watch.ticket().await;
    assert_eq!(warned.fingerprint, second.fingerprint);
    assert_eq!(warned.refresh_warning.unwrap().reason, "UPSTREAM_UNAVAILABLE");
    lapse(&world, Duration::from_mins(5), Duration::from_secs(20)).await;
    assert!(watch.is_silent().await);
    world.sandbox.clear_behaviour(failing);
    lapse(&world, Duration::from_mins(5), Duration::from_secs(20)).await;
    let ticket = watch.ticket().await;
    assert!(ticket.refresh_warning.is_none() && timestamp(ticket.expire_time) > timestamp(second.expire_time));
    // And when it lapses nevertheless, that is told in time.
    world.sandbox.set_behaviour(Behaviour::Status(503));
    pass_to_renewal(&world, ticket.refresh_time).await;
    assert!(watch.ticket().await.refresh_warning.is_some());
    let left = timestamp(ticket.expire_time).duration_since(world.clock.now()).unsigned_abs();
    lapse(&world, left + Duration::from_mins(2), Duration::from_mins(1)).await;
    let lapsed = watch.refusal().await;
    assert_eq!(lapsed.code(), Code::Unavailable, "{lapsed:?}");
}

#[tokio::test]
async fn another_state_or_address_is_told_as_it_is_learnt() {
    let world = lasting().pages(PUBLIC_URL).start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let first = watch.ticket().await;
    world.clock.advance(Duration::from_secs(10));
    world.sandbox.move_tenant(TENANT, 1).unwrap();
    assert_eq!(world.report(TENANT, &first.fingerprint, Cause::Misdirected).await, Outcome::Relocated);
    let moved = watch.ticket().await;
    assert_eq!(moved.fingerprint, first.fingerprint);
    assert_eq!(moved.webapi_url, format!("{}/{TENANT}/api/", world.sandbox.host_urls()[1]));
    let url = format!("http://{}/webhooks/tenant-status", world.pages());
    for (change, expected) in [(ChangeType::Suspend, Some("TENANT_NOT_RUNNING")), (ChangeType::Resume, None)] {
        assert_eq!(within(world.sandbox.send_webhook(&url, &Webhook::new(change, TENANT))).await.unwrap(), 202);
        match (watch.next().await.unwrap().1, expected) {
            (Ok(ticket), None) => assert_eq!(ticket.fingerprint, first.fingerprint),
            (Err(refusal), Some(expected)) => assert_eq!(reason(&refusal).1, expected),
            (told, _) => panic!("{change:?}: {told:?}"),
        }
    }
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test]
async fn a_watch_never_has_another_tenants_ticket() {
    let world = lasting().start().await;
    world.add_tenant("Cust1").await;
    let mut watch = Watch::begin(world.tickets(), &["Cust1", TENANT]).await.unwrap();
    let mut own = std::collections::HashMap::new();
    for _ in 0..2 {
        let (tenant, ticket) = watch.next().await.unwrap();
        own.insert(tenant, ticket.unwrap());
    }
    for variant in WrongTenant::ALL {
        world.clock.advance(Duration::from_mins(1));
        let wrong = Behaviour::WrongTenant(variant).at(Endpoint::Exchange).for_tenant("Cust1");
        let wrong = world.sandbox.set_behaviour(wrong);
        world.invalidate("Cust1", &own["Cust1"].fingerprint).await;
        let (tenant, told) = next(&world, &mut watch).await;
        assert_eq!((tenant.as_str(), told.unwrap_err().code()), ("Cust1", Code::Internal), "{variant:?}");
        world.sandbox.clear_behaviour(wrong);
        lapse(&world, Duration::from_mins(4), Duration::from_secs(30)).await;
        let ticket = watch.ticket().await;
        assert_eq!(ticket.context_identifier, "Cust1");
        assert!(ticket.fingerprint != own[TENANT].fingerprint && ticket.ticket != own[TENANT].ticket);
        own.insert("Cust1".to_owned(), ticket);
    }
    assert!(watch.is_silent().await);
}

const BOTH: &str = "apiVersion: policy/v1\ncallers:\n  - {unidentified: true, rpcs: [WatchSystemTickets, PutTenant], \
     tenants: [Cust12345, Cust1], limits: {rps: 1000, burst: 1000}}\n";

#[tokio::test]
async fn another_policy_counts_for_streams_that_are_open() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.yaml");
    fs::write(&file, BOTH).unwrap();
    let policy_file = file.clone();
    let world = lasting().config(move |config| {
        config.authorization.policy = ticketd::authorization::Policy::parse(BOTH).unwrap();
        config.authorization.policy_file = Some(policy_file.clone());
    });
    let world = world.start().await;
    world.add_tenant("Cust1").await;
    let refused = Watch::begin(world.tickets(), &["Cust2", "Cust404"]).await.err().expect("it may have neither");
    let not_authorized = (Code::PermissionDenied, "CALLER_NOT_AUTHORIZED".to_owned());
    assert_eq!(reason(&refused), not_authorized);
    let mut watch = Watch::begin(world.tickets(), &[TENANT, "Cust2", "Cust1"]).await.unwrap();
    let mut told = [watch.next().await.unwrap(), watch.next().await.unwrap(), watch.next().await.unwrap()];
    told.sort_by_key(|(tenant, _)| tenant.clone());
    assert!(told[0].1.is_ok() && told[1].1.is_ok());
    assert_eq!((told[2].0.as_str(), reason(told[2].1.as_ref().unwrap_err())), ("Cust2", not_authorized.clone()));

    fs::write(
        &file,
        BOTH.replace("Cust1]", "Cust2]").replace("WatchSystemTickets, ", "WatchSystemTickets, GetTenant, "),
    )
    .unwrap();
    let reloaded = async {
        let mut told = Vec::new();
        while told.len() < 2 {
            tokio::select! {
                next = watch.next() => told.push(next.unwrap()),
                () = world.pass(SECOND, SECOND) => {}
            }
        }
        told
    };
    let mut told = within(reloaded).await;
    told.sort_by_key(|(tenant, _)| tenant.clone());
    assert_eq!((told[0].0.as_str(), reason(told[0].1.as_ref().unwrap_err())), ("Cust1", not_authorized));
    assert_eq!(
        (told[1].0.as_str(), reason(told[1].1.as_ref().unwrap_err()).1),
        ("Cust2", "TENANT_NOT_REGISTERED".to_owned())
    );
    assert!(watch.is_silent().await, "each once");
    // What it lost is renewed no more for it, and told no more.
    let first = world.sandbox.exchanges("Cust1");
    lapse(&world, Duration::from_hours(7), Duration::from_mins(5)).await;
    assert_eq!(world.sandbox.exchanges("Cust1"), first);
    assert_eq!(watch.ticket().await.context_identifier, TENANT);
}

#[tokio::test]
async fn each_message_is_told_of_before_it_leaves_and_one_that_cannot_be_ends_the_stream() {
    let mut reader = None;
    let audited = Audited::start_with(lasting(), |path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        reader = Some(File::options().read(true).write(true).open(path).unwrap());
    })
    .await;
    let world = &audited.world;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let first = watch.ticket().await;
    drop(reader.take());
    pass_to_renewal(world, first.refresh_time).await;
    let withheld = watch.next().await.unwrap_err();
    assert_eq!(reason(&withheld), (Code::Unavailable, "AUDIT_UNAVAILABLE".to_owned()));
    assert!(within(watch.0.message()).await.unwrap_or(None).is_none(), "that was its end");
    let refused = Watch::begin(world.tickets(), &[TENANT]).await.err().expect("nothing is begun");
    assert_eq!(reason(&refused).1, "AUDIT_UNAVAILABLE");
}

#[tokio::test]
async fn events_of_a_stream_tell_which_ticket_left_and_when_there_was_none() {
    let audited = Audited::start(lasting()).await;
    let world = &audited.world;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let first = watch.ticket().await;
    pass_to_renewal(world, first.refresh_time).await;
    let second = watch.ticket().await;
    world.delete_tenant(TENANT).await;
    next(world, &mut watch).await.1.unwrap_err();
    let rpc = "superoffice.ticket.v1.TicketService/WatchSystemTickets";
    let events: Vec<_> = audited.of_kind("call").into_iter().filter(|event| event["rpc"] == rpc).collect();
    let [begun, given, renewed, refused] = events.as_slice() else { panic!("{events:#?}") };
    assert!(begun["tenant"].is_null() && begun["credential_hmac"].is_null() && begun["outcome"] == "OK");
    for (event, ticket) in [(given, &first), (renewed, &second)] {
        assert_eq!((&event["tenant"], &event["decision"]), (&TENANT.into(), &"allowed".into()));
        let expires: jiff::Timestamp = event["expires_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(expires.as_microsecond(), timestamp(ticket.expire_time).as_microsecond());
        assert!(event["rule_id"].is_string() && event["credential_hmac"].is_string() && event["caller"].is_string());
        assert_eq!(event["request_id"], begun["request_id"]);
    }
    assert_eq!((&refused["outcome"], &refused["reason"]), (&"NOT_FOUND".into(), &"TENANT_NOT_REGISTERED".into()));
}

#[tokio::test]
async fn a_watch_that_is_denied_every_tenant_has_an_event_of_each() {
    let builder = lasting().config(|config| {
        config.authorization.policy = ticketd::authorization::Policy::parse(BOTH).unwrap();
    });
    let audited = Audited::start(builder).await;
    let refused =
        Watch::begin(audited.world.tickets(), &["Cust2", "Cust404"]).await.err().expect("it may have neither");
    let denied = audited.of_kind("call").split_off(audited.of_kind("call").len() - 2);
    for (event, tenant) in denied.iter().zip(["Cust2", "Cust404"]) {
        assert_eq!((&event["tenant"], &event["decision"]), (&tenant.into(), &"refused".into()), "{event}");
        assert_eq!(event["reason"], reason(&refused).1);
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_connection_and_with_the_server_so_that_its_caller_comes_again() {
    let ended = (Code::Unavailable, "WATCH_ENDED".to_owned());
    let world = World::start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    watch.ticket().await;
    // By age: give or take a tenth.
    world.clock.advance(world.config().server.max_connection_age * 2);
    assert_eq!(reason(&watch.next().await.unwrap_err()), ended);

    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    watch.ticket().await;
    let started = Instant::now();
    let reading = tokio::spawn(async move { watch.next().await });
    within(world.shutdown()).await;
    assert_eq!(reason(&reading.await.unwrap().unwrap_err()), ended);
    println!("a drain with an open watch took {:.1?}", started.elapsed());
}

#[tokio::test]
async fn a_reader_that_is_slow_gets_the_latest_and_not_all_that_came_before() {
    let world = lasting().renewing_by_exchange().start().await;
    let first = world.ticket(TENANT).await.unwrap();
    // It lets the server send so many bytes: about one message.
    let slow = ToServer::from_shared(format!("http://{}", world.address())).unwrap();
    let slow = slow.initial_stream_window_size(512).initial_connection_window_size(512).connect_lazy();
    let mut slow = Watch::begin(TicketServiceClient::new(slow), &[TENANT]).await.unwrap();
    let mut quick = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let mut latest = quick.ticket().await;
    assert_eq!(latest.fingerprint, first.fingerprint);
    let renewals = 30;
    for _ in 0..renewals {
        pass_to_renewal(&world, latest.refresh_time).await;
        latest = quick.ticket().await;
    }
    let mut read = 1;
    while slow.ticket().await.fingerprint != latest.fingerprint {
        read += 1;
    }
    println!("{renewals} renewals, of which one that reads slowly was sent {read}, the last among them");
    assert!(read <= 6 && slow.is_silent().await, "{read}");
}

#[tokio::test]
async fn nothing_is_renewed_for_one_who_has_left_and_nobody_has_more_than_so_many() {
    let world = lasting().renewing_by_exchange().start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let ticket = watch.ticket().await;
    let sleepers = world.clock.sleepers();
    drop(watch);
    eventually("its keeper is gone", || world.clock.sleepers() < sleepers).await;
    pass_to_renewal(&world, ticket.refresh_time).await;
    lapse(&world, Duration::from_hours(2), Duration::from_mins(5)).await;
    // The keeper asked for the ticket once, as a call would: that is one renewal at most.
    assert!(world.sandbox.exchanges(TENANT) <= 2);
    lapse(&world, Duration::from_hours(12), Duration::from_mins(5)).await;
    assert!(world.sandbox.exchanges(TENANT) <= 2, "{}", world.sandbox.exchanges(TENANT));

    let names: Vec<_> = (0..100).map(|number| format!("Cust{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut watches = Vec::new();
    for _ in 0..2 {
        let (client, other) = (world.tickets(), world.tickets());
        for client in (0..50).map(|_| client.clone()).chain((0..50).map(|_| other.clone())) {
            watches.push(Watch::begin(client, &names).await.unwrap());
        }
    }
    let refused = Watch::begin(world.tickets(), &[TENANT]).await.err().expect("20,000 tenants are the most");
    assert_eq!(reason(&refused), (Code::ResourceExhausted, "TOO_MANY_WATCHES".to_owned()));
    drop(watches);
    let again = async { while Watch::begin(world.tickets(), &[TENANT]).await.is_err() {} };
    within(again).await;
}

#[tokio::test]
async fn a_thousand_watchers_cost_nothing_between_renewals_and_are_told_of_one() {
    if !is_own_process("watch::a_thousand_watchers_cost_nothing_between_renewals_and_are_told_of_one") {
        return;
    }
    let (watchers, connections) = (1_000, 10);
    let world = lasting().renewing_by_exchange().start().await;
    let clients: Vec<_> = (0..connections).map(|_| world.tickets()).collect();
    let begin = (0..watchers).map(|watcher| Watch::begin(clients[watcher % connections].clone(), &[TENANT]));
    let mut open: Vec<_> = join_all(begin).await.into_iter().map(Result::unwrap).collect();
    let first = join_all(open.iter_mut().map(Watch::ticket)).await;
    assert!(first.iter().all(|ticket| ticket.fingerprint == first[0].fingerprint));
    assert_eq!(world.sandbox.exchanges(TENANT), 1);

    let (spent, started) = (processor_time(), Instant::now());
    let quiet = if std::env::var("PROOFS").is_ok_and(|value| value == "full") { 20 } else { 2 };
    #[expect(clippy::disallowed_methods, reason = "what is spent meanwhile is what is measured")]
    tokio::time::sleep(Duration::from_secs(quiet)).await;
    let spent = processor_time().saturating_sub(spent);
    println!(
        "{watchers} watchers for {:.1?} without a renewal: {spent:?} of processor time, client and sandbox included",
        started.elapsed()
    );
    assert!(spent < Duration::from_millis(50) * u32::try_from(quiet).unwrap(), "{spent:?}");

    let (spent, started) = (processor_time(), Instant::now());
    let due = timestamp(first[0].refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due);
    let renewed = within(join_all(open.iter_mut().map(Watch::ticket))).await;
    println!(
        "one renewal reached {watchers} watchers in {:.1?}: {:?} of processor time, client and sandbox included",
        started.elapsed(),
        processor_time().saturating_sub(spent)
    );
    assert!(renewed.iter().all(|ticket| ticket.fingerprint == renewed[0].fingerprint));
    assert_ne!(renewed[0].fingerprint, first[0].fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 2, "one for all");
}

#[tokio::test]
async fn what_another_replica_did_reaches_those_who_watch_here() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let builder = lasting().renewing_by_exchange().config(move |config| {
        config.store.url.clone_from(&url);
        config.store.postgres.session_url = Some(url.clone());
    });
    let world = builder.start().await;
    let replica = world.replica().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let mut before = watch.ticket().await;
    for _ in 0..2 {
        // The other renews it first, for one who asks for a long life.
        world.clock.advance(Duration::from_hours(3));
        let long = ticket_at(replica.address(), TENANT, Some(Duration::from_hours(4))).await.unwrap();
        assert!(timestamp(long.expire_time) > timestamp(before.expire_time));
        let watching = async {
            loop {
                tokio::select! {
                    // A renewal that failed, on a slow machine, is told of by the ticket that is there.
                    ticket = watch.ticket() => if ticket.fingerprint != before.fingerprint { return ticket },
                    () = lapse(&world, Duration::from_mins(1), Duration::from_mins(1)) => {}
                }
            }
        };
        let renewed = within(watching).await;
        assert!(world.clock.now() < timestamp(before.expire_time));
        // The other may have renewed it once more by now.
        let others = [long.fingerprint, replica.ticket(TENANT).await.unwrap().fingerprint];
        assert!(others.contains(&renewed.fingerprint), "it is one that the other got: {renewed:?}, {others:?}");
        before = renewed;
    }
    // One that a caller of the other reports is taken away here too.
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(replica.invalidate(TENANT, &before.fingerprint).await, Outcome::Invalidated);
    // A renewal that failed meanwhile, on a slow machine, may have been told of first.
    let another = async { while next(&world, &mut watch).await.1.unwrap().fingerprint == before.fingerprint {} };
    within(another).await;
}
