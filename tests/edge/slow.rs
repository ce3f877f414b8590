//! Peers that let the server wait, in each phase of a connection: two hundred of each, and none is left when the
//! phase's time and a second more are over.

use std::time::Duration;

use tokio::time::Instant;

use crate::frames::{
    DATA, END_HEADERS, GOAWAY, HEADERS, NO_FLAGS, PREFACE, SETTINGS, call, call_headers, frame, whole_call,
};
use crate::peer::Peer;
use crate::rig::{Rig, pass, ticket, until};

const PEERS: usize = 200;
const NOW: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_and_says_nothing_is_gone() {
    gone("nothing said", b"", &[], 1, Duration::from_secs(5), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_the_handshake_is_gone() {
    let rig = Rig::with_tls().await;
    // A ClientHello of 512 bytes, a tenth of it.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[0x5a; 40]].concat();
    for (name, said) in [("nothing said to TLS", &[][..]), ("half a handshake", &hello)] {
        gone_from(&rig, name, said, &[], 1, Duration::from_secs(5), Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_the_preface_is_gone() {
    gone("half a preface", &PREFACE[..20], &[], 1, Duration::from_secs(5), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_frames_head_is_gone() {
    gone("half a frame's head", &spoken(&[0, 0]), &[SETTINGS], 2, Duration::from_secs(10), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_frame_of_headers_is_gone() {
    let headers = frame(HEADERS, END_HEADERS, 1, &call_headers(&[]));
    gone("half a HEADERS", &spoken(&headers[..30]), &[SETTINGS], 2, Duration::from_secs(10), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_block_of_headers_is_gone() {
    let headers = frame(HEADERS, NO_FLAGS, 1, &call_headers(&[]));
    gone("headers that do not end", &spoken(&headers), &[SETTINGS], 2, Duration::from_secs(10), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_frame_of_a_body_is_gone() {
    let body = [call(1), frame(DATA, NO_FLAGS, 1, &[0; 1_000])[..500].to_vec()].concat();
    gone("half a DATA", &spoken(&body), &[SETTINGS], 3, Duration::from_secs(10), Duration::ZERO).await;
}

/// The call is answered at its deadline. The connection is asked to close then, and its peer does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_request_is_gone() {
    for (name, said) in [("no body", vec![]), ("half a message", frame(DATA, NO_FLAGS, 1, b"\0\0\0\0\x09Cust"))] {
        let said = spoken(&[call(1), said].concat());
        gone(name, &said, &[SETTINGS], 2, Duration::from_secs(30), Duration::from_secs(1)).await;
    }
}

/// The head of the answer comes; the message would need a window.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_an_answer_is_gone() {
    let no_window = frame(SETTINGS, NO_FLAGS, 0, &[0, 4, 0, 0, 0, 0]);
    let said = [PREFACE, &no_window, &whole_call(1)].concat();
    gone("an answer unread", &said, &[HEADERS], 2, Duration::from_secs(30), Duration::ZERO).await;
}

/// 5 min, give or take a tenth.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_idle_is_gone_in_the_end() {
    gone("idle", &spoken(&[]), &[SETTINGS], 1, Duration::from_secs(330), Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_a_second_wins_no_time() {
    let rig = Rig::start().await;
    let ping = frame(6, NO_FLAGS, 0, &[0; 8]);
    let headers = frame(HEADERS, END_HEADERS, 1, &call_headers(&[]));
    for (said, dripped, seconds, sleepers) in
        [(&[][..], PREFACE, 5, 1), (&spoken(&[]), &ping[..], 10, 2), (&spoken(&[]), &headers[..], 10, 2)]
    {
        let before = rig.sleepers_at_rest().await;
        let mut peers: Vec<_> = (0..20).map(|_| Peer::silent(rig.address())).collect();
        for peer in &mut peers {
            peer.send(&[said, &dripped[..1]].concat());
        }
        until("they wait", || rig.clock.sleepers() >= before + peers.len() * sleepers).await;
        for byte in &dripped[1..seconds] {
            rig.clock.advance(Duration::from_secs(1));
            for peer in &mut peers {
                assert!(peer.is_open(), "within its time");
                peer.send(&[*byte]);
            }
            pass(Duration::from_millis(20)).await;
        }
        rig.clock.advance(Duration::from_secs(1));
        all_closed(&mut peers).await;
        until("nobody is left", || rig.clock.sleepers() <= before).await;
    }
}

/// `PEERS` peers that all say this much and no more, and hear these frames. Each makes the server wait for so many times:
/// its age, its deadlines. They are gone when the `limit` and `grace` are over, and not before the limit unless there is a grace.
async fn gone(name: &str, said: &[u8], heard: &[u8], sleepers: usize, limit: Duration, grace: Duration) {
    let rig = Rig::start().await;
    gone_from(&rig, name, said, heard, sleepers, limit, grace).await;
    ticket(&mut rig.tickets()).await.expect("others are served");
}

async fn gone_from(
    rig: &Rig,
    name: &str,
    said: &[u8],
    heard: &[u8],
    sleepers: usize,
    limit: Duration,
    grace: Duration,
) {
    let before = rig.sleepers_at_rest().await;
    let mut peers: Vec<_> = (0..PEERS).map(|_| Peer::silent(rig.address())).collect();
    for peer in &mut peers {
        peer.send(said);
    }
    for peer in &mut peers {
        for kind in heard {
            peer.frame_of(*kind).expect("it is listened to");
        }
    }
    until("all wait", || rig.clock.sleepers() >= before + PEERS * sleepers).await;
    // The last of them begins to read what its peer holds back.
    pass(Duration::from_millis(100)).await;
    if grace.is_zero() {
        rig.clock.advance(limit.saturating_sub(NOW));
        pass(Duration::from_millis(50)).await;
        assert!(peers.iter_mut().all(Peer::is_open), "within its time");
        rig.clock.advance(NOW);
    } else {
        rig.clock.advance(limit);
        for peer in &mut peers {
            peer.frame_of(GOAWAY).expect("it is asked to close");
        }
        pass(Duration::from_millis(50)).await;
        rig.clock.advance(grace);
    }
    let began = Instant::now();
    all_closed(&mut peers).await;
    until("nobody is left", || rig.clock.sleepers() <= before).await;
    println!(
        "{name}: {PEERS} connections gone after {:?}, {:.0?} of the machine's time",
        limit + grace,
        began.elapsed()
    );
}

async fn all_closed(peers: &mut [Peer]) {
    for peer in peers {
        until("the connection is closed", || !peer.is_open()).await;
    }
}

/// What is said after a preface and settings.
fn spoken(more: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, NO_FLAGS, 0, &[]), more].concat()
}
