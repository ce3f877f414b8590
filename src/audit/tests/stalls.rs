//! Writes that do not return: nobody waits for longer than the settings say.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc;

use rustix::fs::OFlags;

use super::*;

/// Far below what a write to a full pipe takes until it fails by itself.
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);
/// The timeout, and as much as a busy machine takes longer.
const IN_TIME: Duration = Duration::from_millis(700);

fn impatient(place: &Place) -> Settings {
    Settings { write_timeout: WRITE_TIMEOUT, ..place.settings() }
}

/// A reader of a named pipe in the file's place, which keeps it open.
fn reader(place: &Place) -> File {
    place.pipe();
    File::options().read(true).write(true).open(place.path()).unwrap()
}

/// Leaves no room in the pipe.
fn stuff(place: &Place) {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let mut pipe = File::options().write(true).custom_flags(flags).open(place.path()).unwrap();
    let full = std::iter::repeat_with(|| pipe.write_all(&[b'\n'; 4096])).find_map(Result::err).unwrap();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            SystemClock.sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect(what);
}

/// How long a call takes to be refused.
async fn refusal(audit: &Audit) -> Duration {
    let start = Since::now();
    write(audit, "refused").await.unwrap_err();
    start.elapsed()
}

#[tokio::test]
async fn a_write_that_stalls_after_another_has_returned_is_given_up_too() {
    let place = Place::new();
    let mut reader = reader(&place);
    let audit = open(&impatient(&place)).await.unwrap();
    while write(&audit, "fits").await.is_ok() {}
    // More than one batch and the pipe hold.
    for _ in 0..2_000 {
        audit.note(&call("noted"));
    }
    while audit.check().is_err() {
        reader.read_exact(&mut [0; 4096]).unwrap();
        SystemClock.sleep(Duration::from_millis(5)).await;
    }
    let took = refusal(&audit).await;
    println!("the second stall refuses after {took:?}");
    assert!(took < IN_TIME, "{took:?}");
}

#[tokio::test]
async fn a_write_that_the_thread_begins_by_itself_is_given_up_too() {
    let place = Place::new();
    let _reader = reader(&place);
    let audit = open(&impatient(&place)).await.unwrap();
    stuff(&place);
    audit.count("UNAVAILABLE", "OVERLOADED");
    let writer = &audit.0.as_ref().unwrap().writer;
    until("the thread tells what was counted", || writer.state().sums.is_empty()).await;
    let took = refusal(&audit).await;
    println!("a stall of the thread's own refuses after {took:?}");
    assert!(took < IN_TIME, "{took:?}");
}

#[test]
fn closing_waits_no_longer_than_a_call() {
    let place = Place::new();
    let _reader = reader(&place);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The scribe ends with its runtime.
    let audit = runtime().block_on(open(&impatient(&place))).unwrap();
    stuff(&place);
    let start = Since::now();
    runtime().block_on(audit.close());
    println!("closed after {:?}", start.elapsed());
    assert!(start.elapsed() < IN_TIME);
}

#[tokio::test]
async fn a_sync_that_failed_is_tried_again_though_nothing_is_left_to_write() {
    let place = Place::new();
    let audit = open(&Settings { fsync: true, ..place.settings() }).await.unwrap();
    // A pipe takes what is written and cannot be synced.
    fs::remove_file(place.path()).unwrap();
    let mut reader = BufReader::new(reader(&place));
    looked_again().await;
    audit.note(&call("noted"));
    until("writing fails", || audit.check().is_err()).await;
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(decisions(&events(line.as_bytes())), [("noted", "allowed")]);
    SystemClock.sleep(Duration::from_millis(250)).await;
    audit.check().expect_err("nothing that was tried since has worked");
    fs::remove_file(place.path()).unwrap();
    recovered(&audit).await;
    write(&audit, "after").await.unwrap();
    assert_eq!(decisions(&place.events()), [("after", "allowed")]);
}

#[test]
fn what_is_counted_while_there_is_no_room_is_told_later() {
    let place = Place::new();
    let writer = Arc::new(Writer::new(Sink::new(Some(place.path()), false), Arc::new(SystemClock)));
    // The scribe is called and does not come.
    let lines = vec![b'\n'; 64 * 1024];
    while writer.put(&lines, None).is_ok() {}
    writer.state().sums.count("UNAVAILABLE", "OVERLOADED", Timestamp::UNIX_EPOCH, Duration::ZERO);
    let (tell, told) = mpsc::channel();
    let thread_writer = Arc::clone(&writer);
    let thread = std::thread::spawn(move || {
        thread_writer.run(|sums| {
            tell.send(sums.len()).unwrap();
            b"counted\n".to_vec()
        });
    });
    assert_eq!(told.recv().unwrap(), 1);
    writer.go_without_scribe();
    writer.close();
    thread.join().unwrap();
    assert!(fs::read(place.path()).unwrap().ends_with(b"counted\n"));
}
