mod stalls;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::task::Waker;

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::identifiers::{Caller, CallerId, Peer};

/// A moment of real time.
struct Since(Duration);

impl Since {
    fn now() -> Self {
        Self(SystemClock.elapsed())
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed().saturating_sub(self.0)
    }
}

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    fn settings(&self) -> Settings {
        Settings { output: Output::File(self.path()), ..Settings::default() }
    }

    /// A named pipe in the file's place.
    fn pipe(&self) {
        rustix::fs::mknodat(rustix::fs::CWD, self.path(), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }

    async fn open(&self) -> Result<Audit, AuditError> {
        open(&self.settings()).await
    }

    fn events(&self) -> Vec<Value> {
        events(&fs::read(self.path()).unwrap())
    }
}

async fn open(settings: &Settings) -> Result<Audit, AuditError> {
    Audit::open(settings, Environment::Sod, &ClientSecret::new("secret"), Arc::new(SystemClock)).await
}

fn events(bytes: &[u8]) -> Vec<Value> {
    bytes.lines().map(|line| serde_json::from_str(&line.unwrap()).expect("each line is an event")).collect()
}

fn call(request_id: &str) -> Event<'_> {
    Event { request_id: Some(request_id), rpc: "Service/Method", ..Event::of_server(Kind::Call) }
}

fn refused(request_id: &str) -> Event<'_> {
    let reason = Some(AUDIT_UNAVAILABLE);
    Event { decision: Decision::Refused, outcome: "UNAVAILABLE", reason, ..call(request_id) }
}

async fn write(audit: &Audit, request_id: &str) -> Result<(), AuditUnavailable> {
    audit.write(&call(request_id), &refused(request_id)).await
}

/// Until the audit works again.
async fn recovered(audit: &Audit) {
    let recovered = async {
        while audit.check().is_err() {
            SystemClock.sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), recovered).await.expect("it recovers");
}

fn decisions(events: &[Value]) -> Vec<(&str, &str)> {
    let calls = events.iter().filter(|event| event["kind"] == "call");
    calls.map(|event| (event["request_id"].as_str().unwrap(), event["decision"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn an_event_is_in_the_file_when_its_answer_may_leave() {
    let place = Place::new();
    let audit = place.open().await.unwrap();
    for number in 0..100 {
        write(&audit, &number.to_string()).await.unwrap();
        let events = place.events();
        assert_eq!(events.len(), 2 + number);
        assert_eq!(events[1 + number]["request_id"], number.to_string());
    }
    audit.close().await;
    let events = place.events();
    assert_eq!((&events[0]["kind"], &events[101]["kind"]), (&"start".into(), &"stop".into()));
    let ids: std::collections::HashSet<_> = events.iter().map(|event| event["event_id"].to_string()).collect();
    assert_eq!(ids.len(), events.len());
    assert!(events.iter().all(|event| event["stream"] == "audit" && event["environment"] == "sod"));
    assert_eq!(place.path().metadata().unwrap().permissions().mode() & 0o137, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_all_written() {
    for is_pipe in [false, true] {
        let place = Place::new();
        let mut reader = None;
        if is_pipe {
            place.pipe();
            let mut pipe = File::options().read(true).write(true).open(place.path()).unwrap();
            reader = Some(std::thread::spawn(move || {
                let mut all = Vec::new();
                let mut buffer = [0; 4096];
                while !all.ends_with(b"\"decision\":\"allowed\",\"outcome\":\"OK\"}\n") || !contains(&all, b"\"stop\"")
                {
                    let read = pipe.read(&mut buffer).unwrap();
                    all.extend_from_slice(&buffer[..read]);
                }
                all
            }));
        }
        let audit = place.open().await.unwrap();
        let calls: Vec<_> = (0..1_000)
            .map(|number| {
                let audit = audit.clone();
                tokio::spawn(async move { write(&audit, &number.to_string()).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        audit.close().await;
        let events = reader.map_or_else(|| place.events(), |reader| events(&reader.join().unwrap()));
        let mut numbers: Vec<u32> =
            events.iter().filter_map(|event| event["request_id"].as_str()).map(|id| id.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_call_that_goes_on_elsewhere_is_told_there() {
    let place = Place::new();
    let audit = place.open().await.unwrap();
    let mut writing = std::pin::pin!(write(&audit, "moved"));
    assert!(writing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    tokio::time::timeout(Duration::from_secs(10), writing).await.expect("it is woken").unwrap();
    assert_eq!(decisions(&place.events()), [("moved", "allowed")]);
}

#[test]
fn writing_goes_on_without_the_runtime_that_it_began_in() {
    for is_pipe in [false, true] {
        let place = Place::new();
        let _reader = is_pipe.then(|| {
            place.pipe();
            File::options().read(true).write(true).open(place.path()).unwrap()
        });
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let audit = runtime().block_on(place.open()).unwrap();
        runtime().block_on(write(&audit, "late")).unwrap();
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_full_disk_lets_nothing_out_and_nothing_is_lost_of_it() {
    let place = Place::new();
    let audit = place.open().await.unwrap();
    write(&audit, "before").await.unwrap();
    // The path leads to a full disk, as after a rotation to another volume.
    let aside = place.directory.path().join("aside");
    fs::rename(place.path(), &aside).unwrap();
    std::os::unix::fs::symlink("/dev/full", place.path()).unwrap();
    looked_again().await;
    let start = Since::now();
    let outcomes = [write(&audit, "a").await, write(&audit, "b").await];
    println!("two calls refused on a full disk in {:?}", start.elapsed());
    assert_eq!(outcomes, [Err(AuditUnavailable); 2]);
    assert_eq!(audit.check(), Err(AuditUnavailable));
    fs::remove_file(place.path()).unwrap();
    recovered(&audit).await;
    write(&audit, "after").await.unwrap();
    assert_eq!(decisions(&place.events()), [("a", "refused"), ("b", "refused"), ("after", "allowed")]);
    assert_eq!(decisions(&events(&fs::read(aside).unwrap())), [("before", "allowed")]);
}

/// The file is looked for once a second.
async fn looked_again() {
    SystemClock.sleep(Duration::from_millis(1_050)).await;
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_refuses_within_a_second_and_recovers() {
    let place = Place::new();
    place.pipe();
    assert!(matches!(place.open().await, Err(AuditError::Output { .. })), "nobody reads");
    let mut reader = File::options().read(true).write(true).open(place.path()).unwrap();
    let audit = place.open().await.unwrap();
    let mut taken = 0;
    let start = loop {
        let start = Since::now();
        if write(&audit, &taken.to_string()).await.is_err() {
            break start;
        }
        taken += 1;
    };
    let longest = start.elapsed();
    let start = Since::now();
    write(&audit, "next").await.unwrap_err();
    println!(
        "{taken} events fit into the pipe; the next call is refused after {longest:?}, one more after {:?}",
        start.elapsed()
    );
    assert!(longest < Duration::from_secs(1) && start.elapsed() < Duration::from_millis(100));

    let lines = std::thread::spawn(move || {
        let mut bytes = vec![0; 1024 * 1024];
        let mut length = 0;
        while !contains(&bytes[..length], b"\"after\"") || !bytes[..length].ends_with(b"\n") {
            length += reader.read(&mut bytes[length..]).unwrap();
        }
        bytes.truncate(length);
        bytes
    });
    recovered(&audit).await;
    write(&audit, "after").await.unwrap();
    let events = events(&lines.join().unwrap());
    let decisions = decisions(&events);
    // What was half in the pipe when its call was refused is completed, and what is true follows.
    let late = taken.to_string();
    let of_late: Vec<_> = decisions.iter().filter(|(id, _)| *id == late).map(|(_, decision)| *decision).collect();
    assert_eq!(of_late.last(), Some(&"refused"), "{of_late:?}");
    assert!(decisions.contains(&("next", "refused")) && decisions.contains(&("after", "allowed")));
    assert_eq!(decisions.iter().filter(|(_, decision)| *decision == "allowed").count(), taken + of_late.len());
}

#[tokio::test]
async fn a_pipe_whose_reader_goes_is_taken_up_by_the_next() {
    let place = Place::new();
    place.pipe();
    let reader = File::options().read(true).write(true).open(place.path()).unwrap();
    let audit = place.open().await.unwrap();
    write(&audit, "before").await.unwrap();
    drop(reader);
    let start = Since::now();
    write(&audit, "without").await.unwrap_err();
    println!("refused after {:?} without a reader", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1));
    let mut reader = BufReader::new(File::options().read(true).write(true).open(place.path()).unwrap());
    recovered(&audit).await;
    write(&audit, "after").await.unwrap();
    let mut lines = String::new();
    while !lines.contains("\"after\"") {
        reader.read_line(&mut lines).unwrap();
    }
    assert_eq!(decisions(&events(lines.as_bytes())), [("without", "refused"), ("after", "allowed")]);
}

#[tokio::test]
async fn a_rotated_file_is_left_for_a_new_one() {
    let place = Place::new();
    let audit = place.open().await.unwrap();
    write(&audit, "old").await.unwrap();
    let moved = place.directory.path().join("audit.jsonl.1");
    fs::rename(place.path(), &moved).unwrap();
    looked_again().await;
    write(&audit, "new").await.unwrap();
    assert_eq!(decisions(&events(&fs::read(moved).unwrap())), [("old", "allowed")]);
    assert_eq!(decisions(&place.events()), [("new", "allowed")]);
}

#[tokio::test]
async fn half_a_line_of_a_process_that_died_spoils_no_event() {
    let place = Place::new();
    fs::write(place.path(), b"{\"stream\":\"audit\",\"ts\":\"20").unwrap();
    let audit = place.open().await.unwrap();
    write(&audit, "first").await.unwrap();
    let content = fs::read_to_string(place.path()).unwrap();
    let lines: Vec<_> = content.lines().collect();
    assert_eq!(lines[0], "{\"stream\":\"audit\",\"ts\":\"20");
    assert_eq!(events(lines[1..].join("\n").as_bytes()).len(), 2);
}

#[tokio::test]
async fn a_flood_at_the_door_is_counted() {
    let place = Place::new();
    let audit = place.open().await.unwrap();
    for number in 0..10_000 {
        let id = number.to_string();
        let unknown = Event { outcome: "UNAUTHENTICATED", reason: Some("CALLER_UNKNOWN"), ..refused(&id) };
        audit.note_at_the_door(&unknown);
    }
    audit.close().await;
    let events = place.events();
    let told = events.iter().filter(|event| event["kind"] == "call").count() as u64;
    let counted: u64 =
        events.iter().filter(|event| event["kind"] == "refusals").map(|sum| sum["count"].as_u64().unwrap()).sum();
    println!("10,000 refusals: {told} events and {counted} counted");
    assert_eq!(told + counted, 10_000);
    assert!(told <= 1_000, "{told}");
}

#[test]
fn stdout_is_where_events_go_unless_something_else_is_said() {
    assert_eq!(Settings::default().output, Output::Stdout);
    assert!(Settings::default().write_timeout < Duration::from_secs(1));
}

proptest! {
    #[test]
    fn whatever_comes_from_outside_each_event_is_one_line(
        texts in prop::collection::vec("[\\PC\r\n\u{1b}\0\u{202e}\u{2028}\u{7f}\"\\\\]{0,20}", 6),
    ) {
        let caller = Caller {
            id: CallerId::Dns(texts[0].as_str().into()),
            pod_uid: Some(texts[1].as_str().into()),
            peer: Peer::Unix { pid: None },
        };
        let event = Event {
            request_id: Some(&texts[2]),
            caller: Some(&caller),
            user: Some(&texts[3]),
            rule_id: Some(&texts[4]),
            reason: Some(&texts[5]),
            ..call("")
        };
        let ids = Ids::new("random", Environment::Sod);
        let mut bytes = Vec::new();
        event.write(ids.stamp(Timestamp::UNIX_EPOCH), None, &mut bytes);
        prop_assert_eq!(bytes.iter().filter(|byte| !(b' '..=b'~').contains(*byte)).count(), 1);
        prop_assert_eq!(bytes.last(), Some(&b'\n'));
        let written: Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&written["caller"], &Value::from(format!("dns:{}", texts[0])));
        for (name, at) in [("pod_uid", 1), ("request_id", 2), ("user", 3), ("rule_id", 4), ("reason", 5)] {
            prop_assert_eq!(written[name].as_str(), Some(texts[at].as_str()));
        }
    }
}
