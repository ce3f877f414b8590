//! Streams that are opened to be reset.

use std::time::Duration;

use ticketd::audit::Output;
use ticketd::authorization::Policy;

use crate::frames::{NO_FLAGS, PING, RST_STREAM, WINDOW_UPDATE, call, frame, stream, whole_call};
use crate::honest::while_attacked;
use crate::peer::{End, Peer};
use crate::rig::{Rig, blocking, ticket};

const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
const ENHANCE_YOUR_CALM: u32 = 11;

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_rapid_resets_ends_its_connection() {
    let rig = Rig::start().await;
    let address = rig.address();
    let resets: Vec<u8> = (0..1_000).flat_map(|index| [call(stream(index)), reset(stream(index))].concat()).collect();
    let flood = while_attacked(&rig, "rapid resets", move || Peer::speaking(address).flood(&resets, 1)).await;
    let Some(End::GoAway { last_stream, code, why }) = flood.end else { panic!("{flood:?}") };
    let frames = last_stream.div_ceil(2) * 2;
    println!("rapid resets: GOAWAY {why} after {frames} frames");
    assert_eq!((code, why.as_str()), (ENHANCE_YOUR_CALM, "too_many_resets"));
    assert!(frames <= 150, "{frames}");
}

/// The same a millisecond apart: each call has begun before it is reset, and h2 sees nothing wrong.
#[tokio::test(flavor = "multi_thread")]
async fn paced_resets_are_bounded_by_what_a_connection_may_send() {
    let rig = Rig::start().await;
    let (address, clock) = (rig.address(), rig.clock.clone());
    let (resets, end) = blocking(move || {
        let mut peer = Peer::speaking(address);
        for index in 0..10_000 {
            clock.advance(Duration::from_millis(1));
            peer.send(&[call(stream(index)), frame(PING, NO_FLAGS, 0, &[0; 8])].concat());
            // The call has begun when the PING after it is answered.
            if peer.frame_of(PING).is_none() {
                return (index, peer.end());
            }
            peer.send(&reset(stream(index)));
        }
        (10_000, peer.end())
    })
    .await;
    println!("resets paced at 1 ms: {end:?} after {resets} calls that were begun and given up");
    assert_eq!(end, End::Cut);
    // Three frames a millisecond, one of which the millisecond pays for.
    assert!((1_500..1_600).contains(&resets), "{resets}");
}

/// Whole calls, which a handler answers from the cache: those that are begun are the policy's business.
#[tokio::test(flavor = "multi_thread")]
async fn paced_resets_run_no_more_handlers_than_their_callers_rate() {
    const RATE: usize = 100;
    const BURST: usize = 50;
    const MILLISECONDS: u32 = 1_500;
    let audited = tempfile::tempdir().unwrap();
    let audit = audited.path().join("audit.jsonl");
    let rig = Rig::configured(|config, _| {
        config.authorization.policy = Policy::parse(&format!(
            "apiVersion: policy/v1\ncallers: [{{unidentified: true, rpcs: [PutTenant, GetSystemTicket], tenants: ['*'], \
             limits: {{rps: {RATE}, burst: {BURST}}}}}]"
        ))
        .unwrap();
        config.audit.output = Output::File(audit.clone());
    })
    .await;
    let (address, clock) = (rig.address(), rig.clock.clone());
    blocking(move || {
        let mut peer = Peer::speaking(address);
        for index in 0..MILLISECONDS {
            clock.advance(Duration::from_millis(1));
            peer.send(&[whole_call(stream(index)), frame(PING, NO_FLAGS, 0, &[0; 8])].concat());
            if peer.frame_of(PING).is_none() {
                // It has sent more frames than were answered.
                break;
            }
            peer.send(&reset(stream(index)));
        }
    })
    .await;
    // By then the bucket is full again, and events are written in their order.
    rig.clock.advance(Duration::from_secs(1));
    ticket(&mut rig.tickets()).await.unwrap();
    let events = std::fs::read_to_string(&audit).unwrap();
    let of_calls = events.lines().filter(|event| event.contains("GetSystemTicket"));
    let handled = of_calls.filter(|event| !event.contains("CALLER_RATE_LIMITED")).count();
    println!(
        "whole calls reset at 1 ms: {handled} of {MILLISECONDS} reached a handler, at {RATE} a second and {BURST} at once"
    );
    let seconds = usize::try_from(MILLISECONDS).unwrap().div_ceil(1_000);
    assert!((BURST..=BURST + RATE * seconds + 2).contains(&handled), "{handled}");
}

/// CVE-2025-8671, RUSTSEC-2024-0003: it is the server that resets.
#[tokio::test(flavor = "multi_thread")]
async fn resets_that_a_peer_provokes_end_its_connection() {
    let rig = Rig::start().await;
    let address = rig.address();
    let overflow = 0x7fff_ffff_u32.to_be_bytes();
    let provoked =
        move |index| [call(stream(index)), frame(WINDOW_UPDATE, NO_FLAGS, stream(index), &overflow)].concat();
    let (streams, end) =
        while_attacked(&rig, "MadeYouReset", move || Peer::speaking(address).send_until_end((0..1_000).map(provoked)))
            .await;
    println!("MadeYouReset: {end:?} after {streams} streams");
    assert!(matches!(&end, End::GoAway { code: ENHANCE_YOUR_CALM, why, .. } if why == "too_many_internal_resets"));
    assert!(streams <= 300, "{streams}");
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, NO_FLAGS, stream, &CANCEL)
}
