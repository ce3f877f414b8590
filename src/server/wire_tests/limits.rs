use tokio::io::AsyncWriteExt;

use super::raw_peer::{RST_STREAM, RawPeer, SETTINGS, WINDOW_UPDATE, headers};
use super::rig::Rig;
use crate::server::settings::Settings;

#[tokio::test]
async fn the_settings_frame_says_what_we_hold_peers_to() {
    let rig = Rig::start(Settings::default()).await;
    let mut peer = RawPeer::connect(rig.address).await;
    let settings = peer.frame().await;
    assert_eq!(settings.kind, SETTINGS);
    let mut values: Vec<(u16, u32)> = settings
        .payload
        .chunks(6)
        .map(|it| (u16::from_be_bytes([it[0], it[1]]), u32::from_be_bytes([it[2], it[3], it[4], it[5]])))
        .collect();
    values.sort_unstable();
    let (concurrent_streams, window, frame_size, header_list) = ((3, 128), (4, 65_535), (5, 16_384), (6, 16_384));
    assert_eq!(values, [concurrent_streams, window, frame_size, header_list]);

    let window = loop {
        let frame = peer.frame().await;
        if frame.kind == WINDOW_UPDATE {
            break frame;
        }
    };
    assert_eq!(window.stream, 0);
    assert_eq!(65_535 + u32::from_be_bytes(window.payload.try_into().unwrap()), 262_144);
}

/// What becomes of others meanwhile, and of 100,000 in a burst, is in `tests/edge`.
#[tokio::test]
async fn a_flood_of_streams_reaches_no_more_handlers_than_a_connection_may_have() {
    let rig = Rig::start(Settings::default()).await;
    let mut peer = RawPeer::connect(rig.address).await;
    let streams = |from: u32, to: u32| (from..to).flat_map(|index| headers(index * 2 + 1)).collect::<Vec<_>>();
    peer.socket.write_all(&streams(0, 300)).await.unwrap();
    rig.handlers(128).await;
    let mut refused = 0;
    while refused < 300 - 128 {
        refused += usize::from(peer.frame().await.kind == RST_STREAM);
    }
    assert_eq!((rig.running(), rig.begun()), (128, 128));
    // Those that are refused count as resets of ours.
    peer.socket.write_all(&streams(300, 400)).await.unwrap();
    rig.handlers(0).await;
    assert_eq!(rig.begun(), 128);
}
