//! Frames that no peer may send (RFC 9113, 6).

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, GOAWAY, HEADERS, NO_FLAGS, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, call_headers, frame,
};
use crate::peer::{End, Peer};
use crate::rig::{Rig, blocking, ticket};

#[tokio::test(flavor = "multi_thread")]
async fn what_no_peer_may_send_ends_its_connection() {
    let rig = Rig::start().await;
    let address = rig.address();
    let headers = call_headers(&[]);
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let forbidden: Vec<(&str, Vec<u8>)> = vec![
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &headers[..]].concat())),
        ("a stream of the server's", frame(HEADERS, END_HEADERS, 2, &headers)),
        ("HEADERS on no stream", frame(HEADERS, END_HEADERS, 0, &headers)),
        ("DATA on no stream", frame(DATA, NO_FLAGS, 0, b"x")),
        ("DATA before its stream", frame(DATA, NO_FLAGS, 1, b"x")),
        ("a reset before its stream", frame(RST_STREAM, NO_FLAGS, 1, &[0; 4])),
        ("a stream out of order", [call(5), call(3)].concat()),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &headers)),
        ("DATA amid headers", [frame(HEADERS, NO_FLAGS, 1, &headers), frame(DATA, NO_FLAGS, 1, b"x")].concat()),
        ("a frame longer than allowed", frame(DATA, NO_FLAGS, 1, &[0; 16_385])),
        ("a PING of seven bytes", frame(PING, NO_FLAGS, 0, &[0; 7])),
        ("SETTINGS of five bytes", frame(SETTINGS, NO_FLAGS, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, NO_FLAGS, 1, &[])),
        ("a window beyond bounds", frame(SETTINGS, NO_FLAGS, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("a window that overflows", frame(WINDOW_UPDATE, NO_FLAGS, 0, &most)),
        ("a window of nothing more", frame(WINDOW_UPDATE, NO_FLAGS, 0, &[0; 4])),
        ("a header of no table", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0x7f])),
        ("a table larger than allowed", frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xe1, 0xff, 0x03])),
        ("GOAWAY on a stream", frame(GOAWAY, NO_FLAGS, 1, &[0; 8])),
    ];
    let mut wrong = Vec::new();
    for (name, bytes) in forbidden {
        let end = blocking(move || {
            let mut peer = Peer::speaking(address);
            peer.send(&bytes);
            peer.end()
        })
        .await;
        println!("{name}: {end:?}");
        if end == End::Cut {
            wrong.push((name, end));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    ticket(&mut rig.tickets()).await.expect("others are served");
}
