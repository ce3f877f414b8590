//! Callers at full load never meet the limit on frames. Time stands still in these tests: nothing but the answers pays for
//! what they send.

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::frames::{
    DATA, END_STREAM, NO_FLAGS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, call, frame, stream, ticket_message,
};
use crate::peer::Peer;
use crate::rig::{Rig, blocking, ticket};

/// As many at once as a connection may have.
const AT_ONCE: usize = 128;
const CALLS: usize = 5_120;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_at_full_load_is_never_cut() {
    let rig = Rig::start().await;
    let caller = rig.tickets();
    let began = Instant::now();
    let callers = (0..AT_ONCE).map(|_| {
        let mut caller = caller.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS / AT_ONCE {
                ticket(&mut caller).await.expect("a call at full load is answered");
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    println!("{CALLS} calls on one connection, {AT_ONCE} at once, in {:.1?}: all answered", began.elapsed());
}

/// A client that measures the line with each answer, gives back each window, ends each request by a frame of its own and
/// resets the stream in the end: more than any known one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_fussy_client_is_never_cut() {
    const CALLS: u32 = 1_000;
    let rig = Rig::start().await;
    let address = rig.address();
    let frames = blocking(move || {
        let mut peer = Peer::speaking(address);
        let mut frames = 0;
        for stream in (0..CALLS).map(stream) {
            let request = [
                call(stream),
                frame(DATA, NO_FLAGS, stream, &ticket_message()),
                frame(DATA, END_STREAM, stream, &[]),
                frame(PING, NO_FLAGS, 0, &[1; 8]),
            ];
            peer.send(&request.concat());
            let mut read = 0;
            loop {
                let answer = peer.frame().expect("the call is answered");
                if answer.kind == DATA {
                    read += u32::try_from(answer.payload.len()).unwrap();
                }
                if answer.is_last() {
                    break;
                }
            }
            let thanks = [
                frame(WINDOW_UPDATE, NO_FLAGS, 0, &read.to_be_bytes()),
                frame(WINDOW_UPDATE, NO_FLAGS, stream, &read.to_be_bytes()),
                frame(PING, NO_FLAGS, 0, &[2; 8]),
                frame(RST_STREAM, NO_FLAGS, stream, &[0; 4]),
            ];
            peer.send(&thanks.concat());
            frames += request.len() + thanks.len();
        }
        frames
    })
    .await;
    println!("{CALLS} calls of {frames} frames by a fussy client: all answered");
}

/// Each answer is fetched through a window a fraction of its size.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_small_window_is_never_cut() {
    const CALLS: u32 = 1_000;
    const WINDOW: u32 = 256;
    let rig = Rig::start().await;
    let address = rig.address();
    blocking(move || {
        let mut peer = Peer::silent(address);
        let window = [&[0, 4], &WINDOW.to_be_bytes()[..]].concat();
        peer.send(&[PREFACE, &frame(SETTINGS, NO_FLAGS, 0, &window)].concat());
        for stream in (0..CALLS).map(stream) {
            peer.send(&[call(stream), frame(DATA, END_STREAM, stream, &ticket_message())].concat());
            loop {
                let answer = peer.frame().expect("the call is answered");
                if answer.stream == stream && answer.is_last() {
                    break;
                }
                if answer.kind == DATA && !answer.payload.is_empty() {
                    let read = u32::try_from(answer.payload.len()).unwrap().to_be_bytes();
                    let updates =
                        [frame(WINDOW_UPDATE, NO_FLAGS, 0, &read), frame(WINDOW_UPDATE, NO_FLAGS, stream, &read)];
                    peer.send(&updates.concat());
                }
            }
        }
    })
    .await;
}
