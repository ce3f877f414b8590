use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use superoffice_sandbox::{Behaviour, Endpoint};
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;

use crate::log::Log;
use crate::world::{TENANT, World, reason, retry_delay, within};

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_at_once_and_those_within_succeed() {
    let (limit, callers) = (8, 100);
    let log = Log::start();
    let world = World::builder().config(move |config| config.server.max_calls = limit).start().await;
    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let client = world.tickets();
    let mut calls: FuturesUnordered<_> = (0..limit + callers)
        .map(|_| {
            let mut client = client.clone();
            async move { client.get_system_ticket(request(TENANT)).await }
        })
        .collect();
    for _ in 0..callers {
        let refused = within(calls.next()).await.unwrap().unwrap_err();
        assert_eq!(reason(&refused), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
        assert_eq!(retry_delay(&refused), Some(Duration::from_secs(1)));
    }
    world.sandbox.clear_behaviour(hanging);
    let mut answered = 0;
    while let Some(answer) = within(calls.next()).await {
        answer.expect("an admitted call is answered");
        answered += 1;
    }
    assert_eq!(answered, limit);
    world.ticket(TENANT).await.expect("the places are free again");
    let lines = log.lines_with("OVERLOADED");
    println!("{answered} calls answered; {callers} refused as OVERLOADED, with {} line of the log", lines.len());
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_exchange_hangs_slows_no_other() {
    let world = World::start().await;
    let named = |name: &'static str, number| (0..number).map(move |number| format!("{name}{number}"));
    let (cached, slow): (Vec<_>, Vec<_>) = (named("Cust", 200).collect(), named("Slow", 5).collect());
    for tenant in cached.iter().chain(&slow) {
        world.add_tenant(tenant).await;
    }
    let clients: Vec<_> = (0..4).map(|_| world.tickets()).collect();
    ask_for_all(&clients, &cached).await;

    let (mut without, mut with) = (Vec::new(), Vec::new());
    // In turns, so that another load on the machine touches both alike.
    for slow in &slow {
        without.extend(ask_for_all(&clients, &cached).await);
        let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange).for_tenant(slow));
        let before = world.sandbox.requests(Endpoint::Exchange);
        let client = world.tickets();
        let waiting = (0..100).map(|_| {
            let (mut client, request) = (client.clone(), request(slow));
            tokio::spawn(async move { client.get_system_ticket(request).await })
        });
        let waiting: Vec<_> = waiting.collect();
        within(world.sandbox.wait_for_requests(Endpoint::Exchange, before + 1)).await;
        with.extend(ask_for_all(&clients, &cached).await);
        world.sandbox.clear_behaviour(hanging);
        for call in within(join_all(waiting)).await {
            call.unwrap().expect("the exchange is made in the end");
        }
    }
    without.sort_unstable();
    with.sort_unstable();
    let at = |took: &[Duration], part: usize| took[took.len() * part / 100];
    println!(
        "{} calls for 200 cached tenants: p50 {:.1?}, p99 {:.1?}",
        without.len(),
        at(&without, 50),
        at(&without, 99)
    );
    println!("while another tenant's exchange hangs: p50 {:.1?}, p99 {:.1?}", at(&with, 50), at(&with, 99));
    assert!(at(&with, 50) < at(&without, 50) * 2 + Duration::from_millis(20));
}

/// Asks for each tenant, over each connection one call at a time, and answers how long each call took.
async fn ask_for_all(clients: &[TicketServiceClient<Channel>], tenants: &[String]) -> Vec<Duration> {
    let callers = clients.iter().map(|client| async {
        let (mut client, mut took) = (client.clone(), Vec::new());
        for tenant in tenants {
            let started = Instant::now();
            within(client.get_system_ticket(request(tenant))).await.unwrap();
            took.push(started.elapsed());
        }
        took
    });
    join_all(callers).await.concat()
}

fn request(tenant: &str) -> GetSystemTicketRequest {
    GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None }
}
