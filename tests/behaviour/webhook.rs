//! SuperOffice tells that a tenant changed, and somebody else pretends to.

use std::time::Duration;

use futures_util::future::join_all;
use superoffice_sandbox::Behaviour::{Hang, Status};
use superoffice_sandbox::Endpoint::{Exchange, TenantState as State};
use superoffice_sandbox::{ChangeType, JwtFlaw, TenantState, Webhook, WebhookFlaw, WrongTenant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::world::{TENANT, World, eventually, reason, within};

const TAKEN: u16 = 202;
const FORGED: u16 = 401;
const REPLAYED: u16 = 409;

async fn world() -> World {
    World::builder().pages("https://ticketd.example").start().await
}

fn url(world: &World) -> String {
    format!("http://{}/webhooks/tenant-status", world.pages())
}

async fn tell(world: &World, change: ChangeType) -> u16 {
    within(world.sandbox.send_webhook(&url(world), &Webhook::new(change, TENANT))).await.unwrap()
}

/// Posts a body as it is and answers the status.
async fn post(world: &World, content_type: &str, body: &[u8]) -> u16 {
    let mut socket = TcpStream::connect(world.pages()).await.unwrap();
    let head = format!(
        "POST /webhooks/tenant-status HTTP/1.1\r\nHost: ticketd.example\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let send = async {
        socket.write_all(head.as_bytes()).await?;
        // A body that is too large is not read to its end.
        let _ = socket.write_all(body).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = within(send).await.unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

async fn replay(world: &World, payload: &serde_json::Value) -> u16 {
    post(world, "application/json", payload.to_string().as_bytes()).await
}

#[tokio::test]
async fn a_restored_backup_drops_the_ticket() {
    let world = world().await;
    let first = world.ticket(TENANT).await.unwrap();
    assert_eq!(tell(&world, ChangeType::BackupRestored).await, TAKEN);
    eventually("the change is heard of", || world.sandbox.requests(Exchange) == 1).await;
    for _ in 0..100 {
        if world.ticket(TENANT).await.unwrap().fingerprint != first.fingerprint {
            assert_eq!(world.sandbox.exchanges(TENANT), 2);
            return;
        }
    }
    panic!("the ticket is still there");
}

#[tokio::test]
async fn suspension_deletion_and_return_count_at_once() {
    for change in [ChangeType::Suspend, ChangeType::Delete] {
        let world = world().await;
        assert_eq!(tell(&world, change).await, TAKEN);
        let refused = world.ticket(TENANT).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "TENANT_NOT_RUNNING".to_owned()), "{change:?}");
        assert_eq!(world.sandbox.requests(State), 0, "{change:?}: it is believed");
        assert_eq!(tell(&world, ChangeType::Resume).await, TAKEN);
        world.ticket(TENANT).await.unwrap_or_else(|error| panic!("{change:?}: {error}"));
    }
}

#[tokio::test]
async fn an_upgrade_and_a_move_have_the_state_looked_up_anew() {
    let world = world().await;
    let [_, second_host] = world.sandbox.host_urls() else { panic!("two hosts") };
    let second = format!("{second_host}/{TENANT}/api/");
    world.ticket(TENANT).await.unwrap();
    assert_eq!(tell(&world, ChangeType::Upgrade).await, TAKEN);
    eventually("the state is looked up", || world.sandbox.requests(State) == 2).await;
    world.sandbox.move_tenant(TENANT, 1).unwrap();
    assert_eq!(tell(&world, ChangeType::Move).await, TAKEN);
    eventually("the state is looked up", || world.sandbox.requests(State) == 3).await;
    // Its answer is on its way.
    world.pass(Duration::from_secs(1), Duration::from_millis(100)).await;
    world.clock.advance(Duration::from_hours(6));
    assert_eq!(world.ticket(TENANT).await.unwrap().webapi_url, second);
}

#[tokio::test]
async fn where_a_tenant_moved_to_is_never_taken_from_the_notice() {
    let world = world().await;
    let first = world.ticket(TENANT).await.unwrap().webapi_url;
    for host in
        ["evil.example", "evil.example/.superoffice.com", "superoffice.com@evil.example", "sod9.superoffice.com"]
    {
        let mut payload = world.sandbox.webhook_payload(&Webhook::new(ChangeType::Move, TENANT)).unwrap();
        payload["PublicEndpoint"] = host.into();
        assert_eq!(replay(&world, &payload).await, TAKEN);
        world.clock.advance(Duration::from_hours(6));
        assert_eq!(world.ticket(TENANT).await.unwrap().webapi_url, first, "{host}");
    }
}

#[tokio::test]
async fn it_is_answered_at_once_though_superoffice_hangs() {
    let world = world().await;
    world.sandbox.set_behaviour(Hang.at(State));
    for change in ChangeType::ALL {
        let began = tokio::time::Instant::now();
        assert_eq!(tell(&world, change).await, TAKEN);
        println!("{change:?} answered in {:.0?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn forgeries_are_refused_and_change_nothing() {
    let world = world().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.add_tenant("Cust2").await;
    let flaws: Vec<_> = JwtFlaw::ALL
        .into_iter()
        .map(WebhookFlaw::Jwt)
        .chain(WrongTenant::ALL.into_iter().map(WebhookFlaw::WrongTenant))
        .chain([WebhookFlaw::Missing])
        .collect();
    let mut refused = 0;
    for flaw in flaws.iter().filter(|flaw| !NOT_FORGED.contains(flaw)) {
        let webhook = Webhook::new(ChangeType::Delete, TENANT).flawed(*flaw);
        let status = within(world.sandbox.send_webhook(&url(&world), &webhook)).await.unwrap();
        // A token longer than any body is a body too large.
        assert!([FORGED, 413].contains(&status), "{flaw:?}: {status}");
        refused += 1;
    }
    assert_eq!(world.ticket(TENANT).await.unwrap().fingerprint, first.fingerprint);
    for flaw in NOT_FORGED {
        let webhook = Webhook::new(ChangeType::Upgrade, TENANT).flawed(flaw);
        assert_eq!(within(world.sandbox.send_webhook(&url(&world), &webhook)).await.unwrap(), TAKEN, "{flaw:?}");
    }
    println!("{refused} forgeries of {} refused, and {} that are none taken", flaws.len(), NOT_FORGED.len());
}

/// What is wrong with these is in claims that a system user's JWT has to have and a webhook's token not.
const NOT_FORGED: [WebhookFlaw; 6] = [
    WebhookFlaw::Jwt(JwtFlaw::WithoutTicket),
    WebhookFlaw::Jwt(JwtFlaw::WithoutSerial),
    WebhookFlaw::Jwt(JwtFlaw::ForeignWebapiUrl),
    WebhookFlaw::WrongTenant(WrongTenant::ContextMissing),
    WebhookFlaw::WrongTenant(WrongTenant::Replayed),
    WebhookFlaw::WrongTenant(WrongTenant::OtherSystemToken),
];

#[tokio::test]
async fn of_a_notice_that_is_sent_again_one_counts_also_after_a_restart() {
    let world = world().await;
    let payload = world.sandbox.webhook_payload(&Webhook::new(ChangeType::Suspend, TENANT)).unwrap();
    let statuses = join_all((0..20).map(|_| replay(&world, &payload))).await;
    let taken = statuses.iter().filter(|status| **status == TAKEN).count();
    println!("20 replays at once: {taken} taken");
    assert_eq!(taken, 1);
    assert!(statuses.iter().all(|status| [TAKEN, REPLAYED].contains(status)), "{statuses:?}");
    let world = world.restart().await;
    assert_eq!(replay(&world, &payload).await, REPLAYED);
    assert!(world.ticket(TENANT).await.is_ok(), "nothing is suspended by a replay");
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(replay(&world, &payload).await, FORGED, "it has expired");
}

#[tokio::test]
async fn a_notice_whose_sender_hangs_up_counts_wholly_or_not_at_all() {
    const ROUNDS: u32 = 60;
    let world = world().await;
    world.ticket(TENANT).await.unwrap();
    let mut at_once = 0;
    for round in 0..ROUNDS {
        let payload = world.sandbox.webhook_payload(&Webhook::new(ChangeType::Suspend, TENANT)).unwrap().to_string();
        let head = format!(
            "POST /webhooks/tenant-status HTTP/1.1\r\nHost: ticketd.example\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{payload}",
            payload.len()
        );
        let mut socket = TcpStream::connect(world.pages()).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        // At another moment of its way each time.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        drop(socket);
        let again = post(&world, "application/json", payload.as_bytes()).await;
        assert!([TAKEN, REPLAYED].contains(&again), "{again}");
        at_once += u32::from(again == REPLAYED);
        within(async { while world.ticket(TENANT).await.is_ok() {} }).await;
        assert_eq!(tell(&world, ChangeType::Resume).await, TAKEN);
        world.ticket(TENANT).await.unwrap();
    }
    println!("{at_once} of {ROUNDS} were taken though their senders had hung up");
}

#[tokio::test]
async fn a_tenant_that_is_not_ours_is_answered_alike() {
    let world = world().await;
    world.sandbox.add_tenant("Cust777");
    let webhook = Webhook::new(ChangeType::Delete, "Cust777");
    assert_eq!(within(world.sandbox.send_webhook(&url(&world), &webhook)).await.unwrap(), TAKEN);
    assert_eq!(world.sandbox.requests(State), 0);
}

#[tokio::test]
async fn what_is_no_notice_is_refused_at_once() {
    let world = world().await;
    let good = world.sandbox.webhook_payload(&Webhook::new(ChangeType::Suspend, TENANT)).unwrap();
    let with = |member: &str, value: serde_json::Value| {
        let mut payload = good.clone();
        payload[member] = value;
        payload.to_string().into_bytes()
    };
    let good = good.to_string();
    let json = "application/json";
    let deep = "[".repeat(50_000);
    for (content_type, body, status) in [
        ("text/plain", good.as_bytes(), 415),
        ("application/x-www-form-urlencoded", good.as_bytes(), 415),
        ("", good.as_bytes(), 415),
        (json, b"", 400),
        (json, b"null", 400),
        (json, b"{}", 400),
        (json, b"\xff\xfe\x00", 400),
        (json, deep.as_bytes(), 400),
        (json, &good.as_bytes()[..50], 400),
        (json, &with("ChangeType", 6.into()), 400),
        (json, &with("ChangeType", serde_json::json!({"a": 1})), 400),
        (json, &with("ContextIdentifier", "../Cust1".into()), 400),
        (json, &with("ContextIdentifier", 12.into()), 400),
        (json, &with("ContextIdentifier", "Cust2".into()), FORGED),
        (json, &with("Token", "".into()), FORGED),
        (json, &with("Token", "a.b.c".into()), FORGED),
        (json, &with("Token", "x".repeat(60_000).into()), FORGED),
        (json, &with("VersionName", "x".repeat(70_000).into()), 413),
        (json, &vec![b' '; 10 << 20], 413),
    ] {
        let told = post(&world, content_type, body).await;
        assert_eq!(told, status, "{content_type}: {}", String::from_utf8_lossy(&body[..body.len().min(80)]));
    }
    assert!(world.ticket(TENANT).await.is_ok(), "nothing was suspended");
    assert_eq!(post(&world, "application/json; charset=utf-8", good.as_bytes()).await, TAKEN, "and it is still good");
}

#[tokio::test]
async fn an_outage_of_the_state_api_does_not_undo_what_was_told() {
    let world = world().await;
    world.sandbox.set_behaviour(Status(503).at(State));
    world.sandbox.set_tenant_state(TENANT, TenantState::Suspended).unwrap();
    assert_eq!(tell(&world, ChangeType::Suspend).await, TAKEN);
    assert_eq!(reason(&world.ticket(TENANT).await.unwrap_err()).1, "TENANT_NOT_RUNNING");
}
