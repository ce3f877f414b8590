use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use superoffice_sandbox::{Behaviour, Endpoint};
use ticketd::grpc::proto::GetSystemTicketRequest;
use tonic::Request;

use crate::world::{TENANT, World, eventually, within};

/// Callers share this many connections.
const CONNECTIONS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_of_a_cold_tenant_share_one_exchange() {
    let callers = 10_000;
    let world = World::start().await;
    world.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(500)).at(Endpoint::Exchange));
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| world.tickets()).collect();
    let calls: FuturesUnordered<_> = (0..callers)
        .map(|caller| {
            let mut client = clients[caller % CONNECTIONS].clone();
            tokio::spawn(async move { client.get_system_ticket(request()).await })
        })
        .collect();
    let answers: Vec<_> = within(calls.collect::<Vec<_>>()).await;
    let answered = answers.iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
    println!("{answered} of {callers} callers answered by {} exchange", world.sandbox.exchanges(TENANT));
    assert_eq!(answered, callers);
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn impatient_callers_neither_stop_nor_repeat_the_exchange() {
    let callers = 3_000;
    let world = World::start().await;
    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| world.tickets()).collect();
    let calls: FuturesUnordered<_> = (0..callers)
        .map(|caller| {
            let mut client = clients[caller % CONNECTIONS].clone();
            // Their patience ends at any time between at once and half a second, all before the exchange does.
            let patience = Duration::from_millis(u64::try_from(caller % 500).unwrap());
            tokio::spawn(async move { tokio::time::timeout(patience, client.get_system_ticket(request())).await })
        })
        .collect();
    let answers: Vec<_> = within(calls.collect::<Vec<_>>()).await;
    assert!(!answers.iter().any(|answer| matches!(answer, Ok(Ok(Ok(_))))), "every caller gave up");
    within(world.sandbox.wait_for_requests(Endpoint::Exchange, 1)).await;
    world.sandbox.clear_behaviour(hanging);
    eventually("the exchange nobody waits for is made", || world.sandbox.exchanges(TENANT) == 1).await;
    world.ticket(TENANT).await.expect("the next caller gets the ticket");
    let starts = world.sandbox.requests(Endpoint::Exchange);
    println!("{callers} callers gave up; {starts} exchange was started, and the next caller got its ticket");
    assert_eq!(starts, 1);
}

fn request() -> Request<GetSystemTicketRequest> {
    Request::new(GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None })
}
