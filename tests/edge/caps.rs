//! How many connections there may be.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use crate::frames::{NO_FLAGS, PREFACE, SETTINGS, frame};
use crate::rig::{Rig, ticket, within};

#[tokio::test]
async fn one_address_cannot_take_the_callers_places() {
    let rig = Rig::start_with(|settings| {
        settings.max_connections = 100;
        // All of this machine's addresses are proxies' by default.
        settings.proxy_networks.clear();
    })
    .await;
    for address in [rig.address(), rig.health_address()] {
        let mut open = Vec::new();
        for _ in 0..100 {
            open.push(from("127.0.0.2", address).await);
        }
        let (mut served, mut closed) = (0, 0);
        for peer in &mut open {
            if is_served(peer).await {
                served += 1;
            } else {
                closed += 1;
            }
        }
        println!("100 connections of one address: {served} served, {closed} closed at once");
        assert_eq!((served, closed), (64, 36));
        assert!(is_served(&mut from("127.0.0.3", address).await).await, "another address has places of its own");
    }
    ticket(&mut rig.tickets()).await.expect("who was connected is served");
}

#[tokio::test]
async fn a_listed_proxy_has_as_many_as_it_likes() {
    let rig = Rig::start_with(|settings| {
        settings.max_connections_per_ip = 1;
        settings.proxy_networks = ["127.0.0.1/32", "127.0.0.2/31"].map(|network| network.parse().unwrap()).into();
    })
    .await;
    for (ip, most) in [("127.0.0.2", 20), ("127.0.0.3", 20), ("127.0.0.4", 1)] {
        let mut open = Vec::new();
        for _ in 0..20 {
            open.push(from(ip, rig.address()).await);
        }
        let mut served = 0;
        for peer in &mut open {
            served += usize::from(is_served(peer).await);
        }
        assert_eq!(served, most, "{ip}");
    }
}

async fn from(ip: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ip.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    within(socket.connect(address)).await.unwrap()
}

/// Whether it is answered with SETTINGS rather than closed.
async fn is_served(peer: &mut TcpStream) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let hello = [PREFACE, &frame(SETTINGS, NO_FLAGS, 0, &[])].concat();
    peer.write_all(&hello).await.is_ok() && within(peer.read_exact(&mut [0; 9])).await.is_ok()
}
