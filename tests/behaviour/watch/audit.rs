//! What the audit has of streams.

use std::fs::File;

use tonic::Code;

use super::policy::BOTH;
use super::{lasting, next, pass_to_renewal};
use crate::audit::Audited;
use crate::several::Watch;
use crate::world::{TENANT, reason, timestamp, within};

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
