//! Peers that speak something else.

use crate::frames::PREFACE;
use crate::peer::Peer;
use crate::rig::{Rig, blocking, ticket};

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_another_protocol_is_dropped_unanswered() {
    let rig = Rig::start().await;
    let garbage: Vec<u8> = (0..64 * 1024_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    client_hello.resize(517, 0x5a);
    let said: [(&str, Vec<u8>); 7] = [
        ("HTTP/1.1", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        (
            "an upgrade to h2c",
            b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\
              http2-settings: AAMAAABkAAQAAP__\r\n\r\n"
                .to_vec(),
        ),
        ("TLS", client_hello),
        ("garbage", garbage.clone()),
        ("an older preface", b"PRI * HTTP/1.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n\r\n".to_vec()),
        ("garbage after a preface", [PREFACE, &garbage].concat()),
    ];
    for address in [rig.address(), rig.health_address()] {
        for (name, said) in said.clone() {
            let answer = blocking(move || {
                let mut peer = Peer::silent(address);
                peer.send(&said);
                peer.rest()
            })
            .await;
            assert!(!answer.windows(4).any(|window| window == b"HTTP"), "{name}: {answer:?}");
            assert!(answer.is_empty() || name == "garbage after a preface", "{name}: {answer:?}");
        }
    }
    ticket(&mut rig.tickets()).await.expect("others are served");
}
