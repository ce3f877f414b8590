//! The audit of the program itself: what has been answered is there, whatever becomes of its output or its process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use ticketd::clock::{Clock, SystemClock};
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

use crate::place::{Place, Running, TENANT, health, until, within};

const LIMIT: Duration = Duration::from_secs(1);

fn since(start: Duration) -> Duration {
    SystemClock.elapsed().saturating_sub(start)
}

/// The events of each call, in their order, by its request id.
fn by_request(text: &str) -> BTreeMap<String, Vec<Value>> {
    let mut calls: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(event["stream"], "audit");
        if let Some(id) = event["request_id"].as_str() {
            calls.entry(id.to_owned()).or_default().push(event.clone());
        }
    }
    calls
}

async fn ask(tickets: &mut TicketServiceClient<Channel>, tenant: &str, id: &str) -> Result<(), Status> {
    let mut request =
        Request::new(GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None });
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    within(tickets.get_system_ticket(request)).await.map(drop)
}

fn assert_unaudited(refused: &Status) {
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(refused.get_details_error_info().unwrap().reason, "AUDIT_UNAVAILABLE");
    assert!(refused.get_details_retry_info().is_some());
}

/// Asks until a call is refused: how many were answered, and how long the refusal took.
async fn ask_until_refused(server: &Running) -> (u32, Duration) {
    let mut tickets = server.tickets();
    for number in 0.. {
        let start = SystemClock.elapsed();
        if let Err(refused) = ask(&mut tickets, TENANT, &format!("call-{number}")).await {
            assert_unaudited(&refused);
            return (number, since(start));
        }
    }
    unreachable!("the pipe is endless")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_that_nobody_reads_lets_no_ticket_out_and_recovers() {
    let place = Place::new().await;
    place.put_tenant().await;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = place.ticketd(["serve"]);
    command.stdout(writer);
    let server = Running::start(command).await;
    let (answered, longest) = ask_until_refused(&server).await;
    let start = SystemClock.elapsed();
    let more = (0..64).map(|number| {
        let mut tickets = server.tickets();
        async move { ask(&mut tickets, TENANT, &format!("more-{number}")).await.unwrap_err() }
    });
    for refused in futures_util::future::join_all(more).await {
        assert_unaudited(&refused);
    }
    println!(
        "stdout blocked: {answered} answers before, then 0 tickets; refused after {longest:?}, 64 more at once after {:?}",
        since(start)
    );
    assert!(longest < LIMIT, "{longest:?}");
    let is = async |service, status| health(server.health_address, service).await.ok() == Some(status);
    until(async || is("readiness", ServingStatus::NotServing).await).await;
    println!("calls are sent elsewhere {:?} after the refusal", since(start));
    assert!(is("liveness", ServingStatus::Serving).await, "a restart would mend nothing");

    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let mut tickets = server.tickets();
    let start = SystemClock.elapsed();
    until(async || ask(&mut tickets, TENANT, "after").await.is_ok()).await;
    println!("tickets again {:?} after the reader came", since(start));
    until(async || is("readiness", ServingStatus::Serving).await).await;
    println!("calls are sent here again {:?} after it", since(start));
    server.stop_well().await;
    let events = by_request(&reading.join().unwrap());
    let last = |id: &str| events[id].last().unwrap()["decision"].as_str().unwrap().to_owned();
    for number in 0..answered {
        assert_eq!(events[&format!("call-{number}")].len(), 1);
        assert_eq!(last(&format!("call-{number}")), "allowed");
    }
    assert_eq!(last(&format!("call-{answered}")), "refused");
    assert!((0..64).all(|number| last(&format!("more-{number}")) == "refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_that_is_closed_lets_no_ticket_out() {
    let place = Place::new().await;
    place.put_tenant().await;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = place.ticketd(["serve"]);
    command.stdout(writer);
    let server = Running::start(command).await;
    ask(&mut server.tickets(), TENANT, "before").await.unwrap();
    drop(reader);
    let mut longest = Duration::ZERO;
    for number in 0..100 {
        let start = SystemClock.elapsed();
        let refused = ask(&mut server.tickets(), TENANT, &format!("call-{number}")).await.unwrap_err();
        assert_unaudited(&refused);
        longest = longest.max(since(start));
    }
    println!("stdout closed: 0 of 100 tickets, the longest refusal took {longest:?}");
    assert!(longest < LIMIT, "{longest:?}");
    assert!(server.log().contains("audit events cannot be written"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_in_the_middle_of_a_line_spoils_no_event() {
    let place = Place::new().await;
    place.put_tenant().await;
    let file = place.path("audit.jsonl");
    place.configure("audit.output", "\"file\"");
    place.configure("audit.path", &format!("{:?}", file.display().to_string()));
    // The shell's limit stands for the disk. Without the trap a process that reaches it ends.
    let server = Running::start(place.shell("trap '' XFSZ; ulimit -f 8192; exec ticketd serve")).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.process().as_raw_nonzero())).unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max file size")).unwrap();
    let limit: u64 = limit.split_whitespace().next().unwrap().parse().unwrap();
    let mut tickets = server.tickets();
    ask(&mut tickets, TENANT, "fits").await.unwrap();

    let room = 700;
    let filling = limit - file.metadata().unwrap().len() - room;
    let filler = format!("{{\"stream\":\"audit\",\"filler\":\"{}\"}}\n", "x".repeat(100_000));
    let mut append = OpenOptions::new().append(true).open(&file).unwrap();
    for _ in 0..filling / filler.len() as u64 {
        append.write_all(filler.as_bytes()).unwrap();
    }
    let rest = limit - file.metadata().unwrap().len() - room;
    append
        .write_all(
            format!("{{\"stream\":\"audit\",\"filler\":\"{}\"}}\n", "x".repeat(usize::try_from(rest).unwrap()))
                .as_bytes(),
        )
        .unwrap();
    let (answered, longest) = ask_until_refused(&server).await;
    println!("file full: {answered} more fit in, then refused after {longest:?}");
    assert!(longest < LIMIT && answered <= 2);
    let full = fs::read_to_string(&file).unwrap();
    assert_eq!(full.len() as u64, limit);

    let aside = place.path("audit.jsonl.1");
    fs::rename(&file, &aside).unwrap();
    until(async || ask(&mut tickets, TENANT, "after").await.is_ok()).await;
    server.stop_well().await;
    let (whole, torn) = full.rsplit_once('\n').unwrap();
    let before = by_request(whole);
    assert!(serde_json::from_str::<Value>(torn).is_err());
    assert!((0..answered).all(|number| before[&format!("call-{number}")].len() == 1));
    // The torn line is whole where it goes on.
    let after = by_request(&fs::read_to_string(&file).unwrap());
    assert_eq!(after[&format!("call-{answered}")].last().unwrap()["decision"], "refused");
    assert_eq!(after["after"].last().unwrap()["decision"], "allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_kill_is_in_the_file() {
    let place = Place::new().await;
    place.put_tenant().await;
    let file = place.path("audit.jsonl");
    place.configure("audit.output", "\"file\"");
    place.configure("audit.path", &format!("{:?}", file.display().to_string()));
    let mut answered = BTreeSet::new();
    for round in 0..3 {
        let server = place.serve().await;
        let (news, mut answers) = mpsc::unbounded_channel();
        for caller in 0..8 {
            let (mut tickets, news) = (server.tickets(), news.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    let id = format!("{round}-{caller}-{number}");
                    if ask(&mut tickets, TENANT, &id).await.is_err() {
                        return;
                    }
                    news.send(id).unwrap();
                }
            });
        }
        drop(news);
        for _ in 0..100 {
            answered.extend(within(answers.recv()).await);
        }
        server.kill().await;
        while let Some(id) = within(answers.recv()).await {
            answered.insert(id);
        }
    }
    let text = fs::read_to_string(&file).unwrap();
    // A process that is killed may leave its last line half written; nobody was answered by it.
    let whole: Vec<_> = text.lines().filter(|line| line.ends_with('}')).collect();
    let events = by_request(&whole.join("\n"));
    let lost = answered.iter().filter(|id| !events.contains_key(*id)).count();
    println!("3 kills: {} answers, {lost} without an event", answered.len());
    assert_eq!(lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_one_event() {
    let place = Place::new().await;
    place.put_tenant().await;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = place.ticketd(["serve"]);
    command.stdout(writer);
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let server = Running::start(command).await;
    let calls = (0..64).map(|caller| {
        let mut tickets = server.tickets();
        async move {
            let mut outcomes = Vec::new();
            for number in 0..20 {
                let tenant = [TENANT, "Cust404", TENANT, "strange", TENANT][number % 5];
                let id = format!("{caller}-{number}");
                let code = ask(&mut tickets, tenant, &id).await.map_or_else(|status| status.code(), |()| Code::Ok);
                outcomes.push((id, code));
            }
            outcomes
        }
    });
    let outcomes: Vec<_> = futures_util::future::join_all(calls).await.into_iter().flatten().collect();
    server.stop_well().await;
    let events = by_request(&reading.join().unwrap());
    println!("{} calls of 64 callers, {} events", outcomes.len(), events.values().map(Vec::len).sum::<usize>());
    assert_eq!(events.len(), outcomes.len());
    for (id, code) in outcomes {
        let [event] = events[&id].as_slice() else { panic!("{id}: {:?}", events[&id]) };
        let outcome = match code {
            Code::Ok => "OK",
            Code::NotFound => "NOT_FOUND",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            other => panic!("{other:?}"),
        };
        assert_eq!(event["outcome"], outcome);
        assert_eq!(event["decision"], if code == Code::Ok { "allowed" } else { "refused" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_takes_nothing_keeps_it_from_starting() {
    let place = Place::new().await;
    place.configure("audit.output", "\"file\"");
    place.configure("audit.path", "\"/dev/full\"");
    let mut command = place.ticketd(["serve"]);
    command.stdout(Stdio::null());
    let outcome = crate::place::finish(command).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.errors.contains("audit.path /dev/full does not take the first event"), "{}", outcome.errors);
}
