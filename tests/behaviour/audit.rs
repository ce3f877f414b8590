//! What the audit says of calls, pages and what happens by itself, and that nothing is done while it cannot say it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use superoffice_sandbox::{Behaviour, ChangeType, Endpoint, Webhook, WrongTenant};
use tempfile::TempDir;
use ticketd::audit::Output;
use ticketd::crypto::AuditKey;
use ticketd::grpc::proto::{GetSystemTicketRequest, PutTenantRequest};
use ticketd::identifiers::ClientSecret;
use tonic::{Code, Request};

use crate::visitor::{PUBLIC_URL, Visitor, target};
use crate::world::{TENANT, World, WorldBuilder, eventually, reason, retry_delay, within};

const NEWCOMER: &str = "Cust777";

/// A world whose events are in a file.
pub(crate) struct Audited {
    pub(crate) world: World,
    path: PathBuf,
    _directory: TempDir,
}

impl Audited {
    pub(crate) async fn start(builder: WorldBuilder) -> Self {
        Self::start_with(builder, |_| {}).await
    }

    /// With something done to the path first.
    pub(crate) async fn start_with(builder: WorldBuilder, prepare: impl FnOnce(&PathBuf)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        prepare(&path);
        let output = Output::File(path.clone());
        let world = builder.config(move |config| config.audit.output = output.clone()).start().await;
        Self { world, path, _directory: directory }
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).expect("each line is an event")).collect()
    }

    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["kind"] == kind).collect()
    }

    pub(crate) fn last_call(&self) -> Value {
        self.of_kind("call").pop().expect("there was a call")
    }
}

fn decision(event: &Value) -> (&str, &str, Option<&str>) {
    let text = |name: &str| event[name].as_str();
    (text("decision").unwrap(), text("outcome").unwrap(), text("reason"))
}

#[tokio::test]
async fn an_event_tells_who_got_which_ticket_and_where_it_came_from() {
    let audited = Audited::start(World::builder()).await;
    let world = &audited.world;
    let registered = audited.last_call();
    assert_eq!(registered["rpc"], "superoffice.ticket.v1.TenantService/PutTenant");
    assert_eq!((&registered["change"], &registered["tenant"]), (&"tenant_put".into(), &TENANT.into()));

    let key = AuditKey::of_client(&ClientSecret::new(world.sandbox.client_secret()));
    let mut seen = Vec::new();
    for passes in [Duration::ZERO, Duration::ZERO, Duration::from_mins(359) + Duration::from_secs(30)] {
        world.clock.advance(passes);
        let ticket = within(world.ticket(TENANT)).await.unwrap();
        let event = audited.last_call();
        assert_eq!(event["credential_hmac"], format!("{:032x}", key.name(&ticket.ticket).number()));
        assert_ne!(event["credential_hmac"], ticket.fingerprint);
        assert_eq!(event["hmac_key_id"], key.id().to_string());
        let expires: jiff::Timestamp = event["expires_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(expires, crate::world::timestamp(ticket.expire_time));
        assert_eq!(decision(&event), ("allowed", "OK", None));
        assert_eq!(event["caller"], "unidentified");
        assert!(event["rule_id"].is_string(), "{event}");
        assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.1:") && event["latency_us"].is_u64());
        assert!(!event.to_string().contains(&ticket.ticket));
        seen.push(event["source"].as_str().unwrap().to_owned());
    }
    println!("sources: {seen:?}");
    assert_eq!(seen, ["exchange", "cache", "keep_alive"]);

    assert_eq!(reason(&world.ticket("Cust404").await.unwrap_err()).1, "TENANT_NOT_REGISTERED");
    assert_eq!(decision(&audited.last_call()), ("refused", "NOT_FOUND", Some("TENANT_NOT_REGISTERED")));
    world.ticket("no identifier").await.unwrap_err();
    assert_eq!(decision(&audited.last_call()), ("refused", "INVALID_ARGUMENT", Some("CONTEXT_IDENTIFIER_INVALID")));
    world.delete_tenant(TENANT).await;
    assert_eq!(audited.last_call()["change"], "tenant_deleted");
}

#[tokio::test]
async fn a_call_has_its_callers_name_or_one_that_is_drawn() {
    let audited = Audited::start(World::builder()).await;
    let mut tickets = audited.world.tickets();
    let mut ask = async |request_id: &'static str| {
        let mut request =
            Request::new(GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None });
        if !request_id.is_empty() {
            request.metadata_mut().insert("x-request-id", request_id.parse().unwrap());
        }
        request
            .metadata_mut()
            .insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
        let answer = within(tickets.get_system_ticket(request)).await.unwrap();
        answer.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(ask("8b3f3f9e-6f0b-4f43-a2e3-8d2f4b1a9c11").await, "8b3f3f9e-6f0b-4f43-a2e3-8d2f4b1a9c11");
    assert_eq!(audited.last_call()["request_id"], "8b3f3f9e-6f0b-4f43-a2e3-8d2f4b1a9c11");
    assert_eq!(audited.last_call()["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let mut drawn = std::collections::HashSet::new();
    for strange in ["", "7T:secret", "a b"] {
        let answered = ask(strange).await;
        assert_eq!(audited.last_call()["request_id"], answered);
        assert!(answered != strange && drawn.insert(answered));
    }
}

#[tokio::test]
async fn another_tenants_token_is_told_of_by_itself() {
    let audited = Audited::start(World::builder()).await;
    let world = &audited.world;
    world.sandbox.add_tenant("Cust999");
    world.ticket(TENANT).await.unwrap();
    let mut mismatches = 0;
    for variant in WrongTenant::ALL {
        world.clock.advance(Duration::from_hours(6));
        let wrong = world.sandbox.set_behaviour(Behaviour::WrongTenant(variant).at(Endpoint::Exchange));
        let refusal = reason(&world.ticket(TENANT).await.unwrap_err()).1;
        assert_eq!(decision(&audited.last_call()), ("refused", "INTERNAL", Some(refusal.as_str())), "{variant:?}");
        // Some of them are no tokens of any tenant.
        mismatches += usize::from(refusal == "UPSTREAM_TENANT_MISMATCH");
        eventually("each is told of", || audited.of_kind("security").len() == mismatches).await;
        world.sandbox.clear_behaviour(wrong);
        world.clock.advance(Duration::from_mins(1));
        world.ticket(TENANT).await.unwrap();
    }
    let security = audited.of_kind("security");
    println!("{} variants refused, {} of them as another tenant's and told of", WrongTenant::ALL.len(), security.len());
    assert!(mismatches > 3);
    for event in security {
        assert_eq!((&event["decision"], &event["tenant"]), (&"refused".into(), &TENANT.into()));
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_is_told_of() {
    let audited = Audited::start(World::builder()).await;
    let world = &audited.world;
    world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let mut tickets = world.tickets();
    let calling = tokio::spawn(async move {
        tickets
            .get_system_ticket(GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None })
            .await
    });
    eventually("the exchange is under way", || world.sandbox.requests(Endpoint::Exchange) > 0).await;
    calling.abort();
    eventually("the event is there", || audited.last_call()["decision"] == "cancelled").await;
    assert_eq!(decision(&audited.last_call()), ("cancelled", "CANCELLED", None));
    assert_eq!(audited.last_call()["tenant"], TENANT);
}

#[tokio::test]
async fn pages_and_notices_that_change_something_are_told_of() {
    let audited = Audited::start(World::builder().pages(PUBLIC_URL)).await;
    let world = &audited.world;
    world.sandbox.add_tenant(NEWCOMER);
    let mut visitor = Visitor::default();
    let begun = visitor.begin(world, "").await;
    let redirect = world.sandbox.approve(&begun.authorization_url, "admin@cust777.example.com").unwrap();
    assert_eq!(visitor.get(world, &target(&redirect)).await.status, 303);
    let connected = audited.of_kind("page").pop().unwrap();
    assert_eq!((&connected["tenant"], &connected["user"]), (&NEWCOMER.into(), &"admin@cust777.example.com".into()));
    assert_eq!((&connected["change"], &connected["outcome"]), (&"tenant_registered,grant_kept".into(), &"303".into()));
    assert!(connected["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    // The redirect a second time.
    visitor.get(world, &target(&redirect)).await;
    eventually("the refusal is told of", || audited.of_kind("page").pop().unwrap()["decision"] == "refused").await;

    let url = format!("http://{}/webhooks/tenant-status", world.pages());
    let sent = within(world.sandbox.send_webhook(&url, &Webhook::new(ChangeType::Suspend, TENANT))).await;
    assert_eq!(sent.unwrap(), 202);
    let told = audited.of_kind("page").pop().unwrap();
    assert_eq!((&told["change"], &told["tenant"]), (&"tenant_suspended".into(), &TENANT.into()));
}

#[tokio::test]
async fn nothing_is_changed_or_handed_out_while_it_cannot_be_told_of() {
    let fifo = |path: &PathBuf| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    };
    let mut reader = None;
    let audited = Audited::start_with(World::builder().pages(PUBLIC_URL), |path| {
        fifo(path);
        reader = Some(File::options().read(true).write(true).open(path).unwrap());
    })
    .await;
    let world = &audited.world;
    world.ticket(TENANT).await.unwrap();
    drop(reader.take());
    let refused = world.ticket(TENANT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, "AUDIT_UNAVAILABLE".to_owned()));
    assert!(retry_delay(&refused).is_some());
    let request = PutTenantRequest {
        context_identifier: NEWCOMER.to_owned(),
        system_user_token: world.sandbox.add_tenant(NEWCOMER).system_user_token,
        accept_serial: false,
    };
    let refused = within(world.tenants().put_tenant(request)).await.unwrap_err();
    assert_eq!(reason(&refused).1, "AUDIT_UNAVAILABLE");
    let exchanges = world.sandbox.exchanges(TENANT);
    for _ in 0..10 {
        assert_eq!(reason(&world.ticket(TENANT).await.unwrap_err()).1, "AUDIT_UNAVAILABLE");
    }
    let page = Visitor::default().get(world, "/onboarding/callback?state=x&code=y").await;
    assert_eq!((page.status, page.heading()), (503, "This cannot be done at the moment"));

    let _reader = File::options().read(true).write(true).open(&audited.path).unwrap();
    let asking = async {
        while world.ticket(TENANT).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within(asking).await;
    assert_eq!(world.sandbox.exchanges(TENANT), exchanges);
    assert_eq!(reason(&world.find_tenant(NEWCOMER).await.unwrap_err()).1, "TENANT_NOT_REGISTERED");
}
