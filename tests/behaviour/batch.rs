//! The tickets of several tenants by one call.

use std::time::Duration;

use superoffice_sandbox::{Behaviour, Endpoint, Refusal};
use ticketd::grpc::proto::BatchGetSystemTicketsRequest;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::audit::Audited;
use crate::mesh::Mesh;
use crate::several::{Told, batch, named};
use crate::world::{TENANT, World, eventually, reason, retry_delay, within};

fn summary(outcomes: &[Told]) -> Vec<(&str, String)> {
    let word = |told: &Told| told.1.as_ref().map_or_else(|status| reason(status).1, |_| "ticket".to_owned());
    outcomes.iter().map(|told| (told.0.as_str(), word(told))).collect()
}

#[tokio::test]
async fn each_tenant_has_its_own_outcome_in_the_order_asked_for() {
    let world = World::start().await;
    world.add_tenant("Cust1").await;
    world.add_tenant("Cust2").await;
    let revoked = Behaviour::Refused(Refusal::Code(1)).at(Endpoint::Exchange).for_tenant("Cust2");
    world.sandbox.set_behaviour(revoked);
    let tenants = ["Cust404", "Cust2", TENANT, "Cust1", "cUST1", TENANT];
    let outcomes = batch(world.tickets(), &tenants, None).await.unwrap();
    let expected = [
        ("Cust404", "TENANT_NOT_REGISTERED"),
        ("Cust2", "TENANT_AUTHORIZATION_REVOKED"),
        (TENANT, "ticket"),
        ("Cust1", "ticket"),
    ];
    assert_eq!(summary(&outcomes), expected.map(|(tenant, word)| (tenant, word.to_owned())));
    for (tenant, outcome) in &outcomes {
        // The same as by a call of its own, the bytes of a refusal included.
        match (outcome, world.ticket(tenant).await) {
            (Ok(ticket), Ok(alone)) => {
                assert_eq!((&ticket.context_identifier, &ticket.ticket), (tenant, &alone.ticket));
            }
            (Err(refusal), Err(alone)) => {
                assert_eq!((refusal.code(), refusal.message()), (alone.code(), alone.message()));
                assert_eq!(refusal.details(), alone.details());
            }
            (outcome, alone) => panic!("{outcome:?} {alone:?}"),
        }
    }
    assert_eq!((world.sandbox.exchanges(TENANT), world.sandbox.exchanges("Cust1")), (1, 1));
}

#[tokio::test]
async fn a_hundred_tenants_are_the_most_and_none_is_too_few() {
    let world = World::start().await;
    let names: Vec<_> = (0..101).map(|number| format!("Cust{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(batch(world.tickets(), &names[..100], None).await.unwrap().len(), 100);
    for (tenants, expected, field) in [
        (&[][..], "CONTEXT_IDENTIFIERS_INVALID", "context_identifiers"),
        (&names[..], "CONTEXT_IDENTIFIERS_INVALID", "context_identifiers"),
        (&[TENANT, "no identifier"], "CONTEXT_IDENTIFIER_INVALID", "context_identifiers[1]"),
    ] {
        let refused = batch(world.tickets(), tenants, None).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::InvalidArgument, expected.to_owned()));
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let refused = batch(world.tickets(), &[TENANT], Some(Duration::from_hours(6))).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::InvalidArgument, "MIN_VALIDITY_TOO_LARGE".to_owned()));
    assert_eq!(world.sandbox.exchanges(TENANT), 0);
}

#[tokio::test]
async fn cold_tenants_are_got_side_by_side_and_a_dropped_call_stops_nothing() {
    let world = World::start().await;
    let names: Vec<_> = (0..8).map(|number| format!("Cust{number}")).collect();
    for name in &names {
        world.add_tenant(name).await;
    }
    let tenants: Vec<_> = names.iter().map(String::as_str).collect();
    let slow = world.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(300)).at(Endpoint::Exchange));
    let (client, asked) = (world.tickets(), names.clone());
    let call = tokio::spawn(async move {
        let tenants: Vec<_> = asked.iter().map(String::as_str).collect();
        batch(client, &tenants, None).await
    });
    eventually("all exchanges are under way", || world.sandbox.requests(Endpoint::Exchange) == 8).await;
    call.abort();
    let at_once = world.sandbox.peak_concurrency_at(Endpoint::Exchange);
    println!("{} cold tenants: {at_once} exchanges side by side", tenants.len());
    assert_eq!(at_once, 8);
    let outcomes = batch(world.tickets(), &tenants, None).await.unwrap();
    assert!(outcomes.iter().all(|(tenant, outcome)| outcome.as_ref().unwrap().context_identifier == *tenant));
    assert_eq!(world.sandbox.total_exchanges(), 8, "those of the call that was dropped");
    world.sandbox.clear_behaviour(slow);
}

const POLICY: &str = r#"
apiVersion: policy/v1
callers:
  - {name: admin, id: spiffe://corp/admin, rpcs: [PutTenant], tenants: ["*"]}
  - {name: first, id: spiffe://corp/sync, rpcs: [BatchGetSystemTickets], tenants: [Cust12345, Cust404], appToken: true}
  - {name: second, id: spiffe://corp/sync, rpcs: [BatchGetSystemTickets], tenants: [Cust1]}
  - {name: single, id: spiffe://corp/single, rpcs: [GetSystemTicket], tenants: ["*"]}
  - name: slow
    id: spiffe://corp/slow
    rpcs: [BatchGetSystemTickets]
    tenants: ["*"]
    limits: {rps: 10, burst: 20}
  - {name: paced, id: spiffe://corp/paced, rpcs: [GetSystemTicket], tenants: ["*"], limits: {rps: 1, burst: 10}}
"#;

#[tokio::test]
async fn a_tenant_that_the_caller_may_not_have_is_an_outcome_and_is_not_looked_up() {
    let mesh = Mesh::under(POLICY).await;
    let admin = mesh.member("admin");
    for tenant in [TENANT, "Cust1", "Cust2"] {
        mesh.register(&admin, tenant).await;
    }
    let tenants = [TENANT, "Cust2", "Cust1", "Cust999", "Cust404"];
    let outcomes = batch(mesh.member("sync").tickets(), &tenants, None).await.unwrap();
    let words: Vec<_> = summary(&outcomes).into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["ticket", "CALLER_NOT_AUTHORIZED", "ticket", "CALLER_NOT_AUTHORIZED", "TENANT_NOT_REGISTERED"]);
    let [first, denied, second, denied_too, _] = outcomes.as_slice() else { panic!("five") };
    let headers = |told: &Told| told.1.as_ref().unwrap().request_headers.len();
    assert_eq!((headers(first), headers(second)), (2, 0), "each by the entry that allows it");
    let seen = |told: &Told| told.1.as_ref().unwrap_err().details().to_vec();
    assert_eq!(seen(denied), seen(denied_too), "registered or not");
    assert_eq!(mesh.world.sandbox.exchanges("Cust2"), 0);
    // One ticket at a time is another RPC.
    let outcomes = batch(mesh.member("single").tickets(), &tenants, None).await.unwrap();
    assert!(summary(&outcomes).iter().all(|(_, word)| word == "CALLER_NOT_AUTHORIZED"));
}

#[tokio::test]
async fn each_tenant_counts_against_the_rate_limit() {
    let mesh = Mesh::under(POLICY).await;
    let slow = mesh.member("slow");
    let names: Vec<_> = (0..100).map(|number| format!("Cust{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(batch(slow.tickets(), &names[..15], None).await.unwrap().len(), 15);
    let refused = batch(slow.tickets(), &names[..15], None).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::ResourceExhausted, "CALLER_RATE_LIMITED".to_owned()));
    mesh.clock.advance(retry_delay(&refused).unwrap());
    assert_eq!(batch(slow.tickets(), &names[..15], None).await.unwrap().len(), 15);
    // More than the burst pass when nothing was asked for.
    mesh.clock.advance(Duration::from_secs(10));
    assert_eq!(batch(slow.tickets(), &names, None).await.unwrap().len(), 100);
    let refused = batch(slow.tickets(), &names[..1], None).await.unwrap_err();
    assert!(retry_delay(&refused).unwrap() > Duration::from_secs(7), "{refused:?}");
}

#[tokio::test]
async fn who_calls_comes_first_then_what_is_asked_for_then_how_often_and_the_policy_for_each_tenant() {
    let mesh = Mesh::under(POLICY).await;
    let paced = mesh.member("paced").tickets();
    let ask = async |tenants: &[&str], min_validity, bearer: Option<&str>| {
        let context_identifiers = named(tenants);
        let mut request = Request::new(BatchGetSystemTicketsRequest { context_identifiers, min_validity });
        if let Some(bearer) = bearer {
            request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        }
        let refused = within(paced.clone().batch_get_system_tickets(request)).await.unwrap_err();
        reason(&refused).1
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    assert_eq!(ask(&[], None, Some("Bearer of-nobody")).await, "CALLER_UNKNOWN");
    // It may have none of them.
    assert_eq!(ask(&[], seconds(-1), None).await, "CONTEXT_IDENTIFIERS_INVALID");
    assert_eq!(ask(&[TENANT, "Cust1"], seconds(-1), None).await, "MIN_VALIDITY_INVALID");
    assert_eq!(ask(&[TENANT, "Cust1"], seconds(100_000), None).await, "MIN_VALIDITY_TOO_LARGE");
    // Each of these was one call of its ten, but for the one of nobody.
    let names: Vec<_> = (0..8).map(|number| format!("Cust{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(ask(&names, None, None).await, "CALLER_RATE_LIMITED");
    let outcomes = batch(paced.clone(), &names[..7], None).await.unwrap();
    assert!(summary(&outcomes).iter().all(|(_, word)| word == "CALLER_NOT_AUTHORIZED"), "{outcomes:?}");
    // Not even one is left: nothing is read of it.
    assert_eq!(ask(&[], None, None).await, "CALLER_RATE_LIMITED");
}

#[tokio::test]
async fn each_tenant_has_an_event_of_its_own() {
    let audited = Audited::start(World::builder()).await;
    let outcomes = batch(audited.world.tickets(), &[TENANT, "Cust404"], None).await.unwrap();
    let events = audited.of_kind("call");
    let [.., given, refused] = events.as_slice() else { panic!("{events:?}") };
    for event in [given, refused] {
        assert_eq!(event["rpc"], "superoffice.ticket.v1.TicketService/BatchGetSystemTickets");
        assert!(event["rule_id"].is_string(), "{event}");
    }
    assert_eq!((&given["tenant"], &given["decision"]), (&TENANT.into(), &"allowed".into()));
    assert!(given["credential_hmac"].is_string() && outcomes[0].1.is_ok());
    assert_eq!((&refused["tenant"], &refused["reason"]), (&"Cust404".into(), &"TENANT_NOT_REGISTERED".into()));
    assert_eq!(given["request_id"], refused["request_id"]);
}

#[tokio::test]
async fn a_call_that_is_given_up_has_an_event_of_each_tenant() {
    let audited = Audited::start(World::builder()).await;
    let world = &audited.world;
    world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let client = world.tickets();
    let call = tokio::spawn(async move { batch(client, &[TENANT, "Cust404"], None).await });
    eventually("its exchange is under way", || world.sandbox.requests(Endpoint::Exchange) == 1).await;
    call.abort();
    let cancelled = || {
        let calls = audited.of_kind("call").into_iter();
        calls.filter(|event| event["outcome"] == "CANCELLED").collect::<Vec<_>>()
    };
    eventually("it is told of", || cancelled().len() == 2).await;
    let tenants: Vec<_> = cancelled().iter().map(|event| event["tenant"].clone()).collect();
    assert_eq!(tenants, [TENANT, "Cust404"]);
    assert!(cancelled().iter().all(|event| event["decision"] == "cancelled" && event["credential_hmac"].is_null()));
}
