//! Callers who hang up while what they asked for is being done: it is done to its end, takes effect and is told of.

use std::time::Duration;

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use superoffice_sandbox::{Behaviour, ChangeType, Endpoint, Webhook};
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::{DeleteTenantRequest, GetTenantRequest, PutTenantRequest, RevokeGrantRequest};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::audit::Audited;
use crate::browser::{administrator, to_tenant};
use crate::visitor::{PUBLIC_URL, Visitor, target};
use crate::world::{TENANT, World, eventually, reason, within};

const NEWCOMER: &str = "Cust777";

/// Another process that writes to the database: as long as it is at it, nothing of ours is committed.
struct OtherWriter(SqliteConnection);

impl OtherWriter {
    async fn begin(world: &World) -> Self {
        let url = world.config().store.url;
        let options = SqliteConnectOptions::new().filename(url.strip_prefix("sqlite://").unwrap());
        let mut connection = options.connect().await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        Self(connection)
    }

    async fn end(mut self) {
        self.0.execute("COMMIT").await.unwrap();
        self.0.close().await.unwrap();
    }
}

/// Makes the call and gives it up when it is under way: one on the same connection that came later is answered.
async fn give_up<F, T>(world: &World, call: impl FnOnce(TenantServiceClient<Channel>) -> F)
where
    F: Future<Output = Result<T, Status>> + Send + 'static,
    T: Send + 'static,
{
    let mut client = world.tenants();
    later(&mut client).await;
    let calling = tokio::spawn(call(client.clone()));
    later(&mut client).await;
    later(&mut client).await;
    calling.abort();
    assert!(within(calling).await.is_err_and(|end| end.is_cancelled()), "it was not done yet");
}

async fn later(client: &mut TenantServiceClient<Channel>) {
    within(client.get_tenant(GetTenantRequest { context_identifier: TENANT.to_owned() })).await.unwrap();
}

async fn told_of(audited: &Audited, change: &str) -> Value {
    let of_change =
        || audited.of_kind("change").into_iter().filter(|event| event["change"] == change).collect::<Vec<_>>();
    eventually("the change is told of", || !of_change().is_empty()).await;
    let [event] = &of_change()[..] else { panic!("it is told of once: {:?}", of_change()) };
    assert_eq!((&event["tenant"], &event["decision"]), (&TENANT.into(), &"allowed".into()));
    event.clone()
}

#[tokio::test]
async fn a_change_of_tenants_whose_caller_hangs_up_takes_effect_and_is_told_of() {
    let audited = Audited::start(World::builder()).await;
    let world = &audited.world;
    let first = world.ticket(TENANT).await.unwrap();

    let token = world.sandbox.add_tenant_with_token(TENANT, "Sandbox Application-changed000").system_user_token;
    let put =
        PutTenantRequest { context_identifier: TENANT.to_owned(), system_user_token: token, accept_serial: false };
    let other = OtherWriter::begin(world).await;
    give_up(world, |mut client| async move { client.put_tenant(put).await }).await;
    eventually("the call is told of as it ended", || audited.last_call()["decision"] == "cancelled").await;
    let call = audited.last_call();
    assert_eq!(call.get("change"), None);
    other.end().await;
    let change = told_of(&audited, "tenant_put").await;
    for member in ["request_id", "caller", "peer", "rpc", "rule_id"] {
        assert!(change[member].is_string() && change[member] == call[member], "{member}: {change} {call}");
    }
    let second = world.ticket(TENANT).await.unwrap();
    assert_ne!(second.ticket, first.ticket);

    let other = OtherWriter::begin(world).await;
    let delete = DeleteTenantRequest { context_identifier: TENANT.to_owned() };
    give_up(world, |mut client| async move { client.delete_tenant(delete).await }).await;
    other.end().await;
    told_of(&audited, "tenant_deleted").await;
    assert_eq!(reason(&world.ticket(TENANT).await.unwrap_err()), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()));
}

#[tokio::test]
async fn a_revocation_whose_caller_hangs_up_is_told_of() {
    let audited = Audited::start(World::builder()).await;
    let world = &audited.world;
    let administrator = administrator(TENANT);
    world.sign_in(to_tenant(), &administrator).await.unwrap();
    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Revoke));
    let revoke = RevokeGrantRequest { context_identifier: TENANT.to_owned(), user: administrator.clone() };
    give_up(world, |mut client| async move { client.revoke_grant(revoke).await }).await;
    world.sandbox.clear_behaviour(hanging);
    assert_eq!(told_of(&audited, "grant_revoked").await["user"], administrator);
    assert_eq!(world.granting_users(TENANT).await, [""; 0]);
}

#[tokio::test]
async fn a_notice_whose_sender_hangs_up_counts_and_is_told_of() {
    let audited = Audited::start(World::builder().pages(PUBLIC_URL)).await;
    let world = &audited.world;
    // The keys that verify it are known from here on.
    world.ticket(TENANT).await.unwrap();
    let notice = world.sandbox.webhook_payload(&Webhook::new(ChangeType::Suspend, TENANT)).unwrap().to_string();
    let head = format!(
        "POST /webhooks/tenant-status HTTP/1.1\r\nhost: ticketd.example\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{notice}",
        notice.len()
    );
    let other = OtherWriter::begin(world).await;
    let mut client = world.tenants();
    // Nothing says from outside how far one has come: of several at least one is being remembered.
    for _ in 0..5 {
        let mut socket = TcpStream::connect(world.pages()).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        later(&mut client).await;
        later(&mut client).await;
    }
    let cancelled = || audited.of_kind("page").iter().filter(|event| event["decision"] == "cancelled").count();
    eventually("each is told of as it ended", || cancelled() == 5).await;
    other.end().await;
    told_of(&audited, "tenant_suspended").await;
    assert_eq!(reason(&world.ticket(TENANT).await.unwrap_err()).1, "TENANT_NOT_RUNNING");
}

#[tokio::test]
async fn a_sign_in_that_took_too_long_is_told_of() {
    let limit = Duration::from_secs(1);
    let builder = World::builder().pages(PUBLIC_URL);
    let builder = builder.config(move |config| config.http.as_mut().unwrap().request_timeout = limit);
    let audited = Audited::start(builder).await;
    let world = &audited.world;
    world.sandbox.add_tenant(NEWCOMER);
    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Tokens));
    let mut visitor = Visitor::default();
    let begun = visitor.begin(world, "").await;
    let redirect = target(&world.sandbox.approve(&begun.authorization_url, &administrator(NEWCOMER)).unwrap());
    let (answer, ()) = tokio::join!(visitor.get(world, &redirect), async {
        within(world.sandbox.wait_for_requests(Endpoint::Tokens, 1)).await;
        world.clock.advance(limit);
    });
    assert_eq!((answer.status, answer.reason()), (503, Some("DEADLINE_EXCEEDED")));
    world.sandbox.clear_behaviour(hanging);
    eventually("the sign-in is told of", || !audited.of_kind("change").is_empty()).await;
    let [event] = &audited.of_kind("change")[..] else { panic!("it is told of once") };
    assert_eq!((&event["change"], &event["tenant"]), (&"tenant_registered,grant_kept".into(), &NEWCOMER.into()));
}
