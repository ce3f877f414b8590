//! Frames in great number that do nothing.

use std::time::Duration;

use crate::frames::{
    CONTINUATION, DATA, HEADERS, NO_FLAGS, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, call, call_headers, frame, stream,
};
use crate::honest::while_attacked;
use crate::peer::{End, Peer};
use crate::rig::{Peak, Rig, blocking, memory};

const SECOND: Duration = Duration::from_secs(1);
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_is_cut() {
    let ping = frame(PING, NO_FLAGS, 0, &[7; 8]);
    cut_within_a_second("500,000 PINGs", &ping, 500_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_settings_is_cut() {
    let settings = frame(SETTINGS, NO_FLAGS, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    cut_within_a_second("200,000 SETTINGS", &settings, 200_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_window_updates_is_cut() {
    let update = frame(WINDOW_UPDATE, NO_FLAGS, 0, &1_u32.to_be_bytes());
    cut_within_a_second("200,000 WINDOW_UPDATEs", &update, 200_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_priorities_is_cut() {
    let priority = frame(PRIORITY, NO_FLAGS, 1, &[0, 0, 0, 0, 16]);
    cut_within_a_second("200,000 PRIORITYs", &priority, 200_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_that_nobody_knows_is_cut() {
    cut_within_a_second("200,000 unknown frames", &frame(0xbb, 0xff, 77, b"?"), 200_000).await;
}

/// A request of many small pieces.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_by_the_byte_is_cut() {
    let rig = Rig::start().await;
    let address = rig.address();
    let flood = blocking(move || {
        let mut peer = Peer::speaking(address);
        peer.send(&[call(1), frame(DATA, NO_FLAGS, 1, b"\0\0\0\xff\xff")].concat());
        peer.flood(&frame(DATA, NO_FLAGS, 1, b"x").repeat(1_000), 60)
    })
    .await;
    println!("a message of 60,000 bytes in as many frames: {:?} after {:.0?}", flood.end, flood.took);
    assert!(flood.end.is_some() && flood.took < SECOND, "{flood:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_ends_its_connection() {
    let rig = Rig::start().await;
    let address = rig.address();
    let (frames, end) = while_attacked(&rig, "empty DATA", move || {
        let mut peer = Peer::speaking(address);
        peer.send(&call(1));
        peer.send_until_end((0..10_000).map(|_| frame(DATA, NO_FLAGS, 1, &[])))
    })
    .await;
    println!("empty DATA: {end:?} after {frames} frames");
    assert!(matches!(end, End::GoAway { code: ENHANCE_YOUR_CALM, .. }), "{end:?}");
    assert!(frames <= 150, "{frames}");
}

/// RUSTSEC-2024-0332.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_go_on_and_on_end_their_connection() {
    let rig = Rig::start().await;
    let address = rig.address();
    let (frames, end) = while_attacked(&rig, "CONTINUATION", move || {
        let mut peer = Peer::speaking(address);
        peer.send(&frame(HEADERS, NO_FLAGS, 1, &call_headers(&[])));
        peer.send_until_end((0..10_000).map(|_| frame(CONTINUATION, NO_FLAGS, 1, &[])))
    })
    .await;
    println!("CONTINUATION: {end:?} after {frames} frames");
    assert!(matches!(end, End::GoAway { code: ENHANCE_YOUR_CALM, .. }), "{end:?}");
    assert!(frames <= 25, "{frames}");
}

/// How many of them reach a handler is counted in `server::wire_tests`.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_streams_is_cut_and_takes_no_memory() {
    let rig = Rig::start().await;
    let address = rig.address();
    let headers: Vec<u8> = (0..100_000).flat_map(|index| call(stream(index))).collect();
    let sending = memory();
    let (flood, peak) = while_attacked(&rig, "100,000 HEADERS", move || {
        let watching = Peak::watch();
        (Peer::speaking(address).flood(&headers, 1), watching.end())
    })
    .await;
    let grown = peak.saturating_sub(sending);
    println!("100,000 HEADERS: {:?} after {:.0?}, {grown} KiB more memory, {:?}", flood.end, flood.took, flood.answers);
    assert!(flood.end.is_some() && flood.took < SECOND, "{flood:?}");
    assert!(grown < 20 * 1024, "{grown} KiB");
}

/// A flood with one connection after the other.
async fn cut_within_a_second(name: &str, piece: &[u8], pieces: usize) {
    let rig = Rig::start().await;
    let address = rig.address();
    let before = memory();
    let (length, thousand) = (piece.len(), piece.repeat(1_000));
    let flood = while_attacked(&rig, name, move || Peer::speaking(address).flood(&thousand, pieces / 1_000)).await;
    let sent = flood.bytes / length;
    let grown = memory().saturating_sub(before);
    println!("{name}: {:?} after {:.0?}, when {sent} were on the way; {grown} KiB more memory", flood.end, flood.took);
    assert!(flood.end.is_some() && flood.took < SECOND, "{flood:?}");
    assert!(grown < 20 * 1024, "{grown} KiB");
}
