//! Requests that are too large, or become so.

use h2::client::SendRequest;
use http::{HeaderMap, Response};
use hyper::body::Bytes;
use prost::Message;
use ticketd::grpc::proto::GetSystemTicketRequest;
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::frames::{
    CONTINUATION, END_HEADERS, GOAWAY, HEADERS, NO_FLAGS, call_headers, frame, literal, remembered, whole_call,
};
use crate::honest::while_attacked;
use crate::peer::Peer;
use crate::rig::{Rig, blocking, memory, within};

/// What a hundred bombs may leave and take, in KiB.
const MEMORY: usize = 1024;
const KIB: usize = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_64_kib_end_their_connection() {
    let rig = Rig::start().await;
    let address = rig.address();
    let mut block = call_headers(&[]);
    for number in 0..16 {
        literal(&mut block, &format!("x{number}"), &"x".repeat(4 * KIB));
    }
    let end = while_attacked(&rig, "headers of 64 KiB", move || {
        let mut peer = Peer::speaking(address);
        let mut pieces = block.chunks(16 * KIB);
        peer.send(&frame(HEADERS, NO_FLAGS, 1, pieces.next().unwrap()));
        for piece in pieces {
            peer.send(&frame(CONTINUATION, NO_FLAGS, 1, piece));
        }
        peer.end()
    })
    .await;
    println!("headers of 64 KiB: {end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_headers_are_refused_and_the_connection_lives_on() {
    let rig = Rig::start().await;
    let mut client = client(&rig).await;
    let mut headers = HeaderMap::new();
    for number in 0..600 {
        headers.insert(http::HeaderName::try_from(format!("x{number}")).unwrap(), "1".parse().unwrap());
    }
    assert_eq!(answer(&mut client, &headers, &[]).await.status(), 431);
    assert_eq!(status(&mut client, &[], b"\0\0\0\0\0").await.code(), Code::InvalidArgument);
}

/// A header that is sent once and then named thousands of times, a byte each.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_unfold_take_no_memory() {
    let rig = Rig::start().await;
    let address = rig.address();
    let mut block = call_headers(&[]);
    remembered(&mut block, "x", &"x".repeat(4_000));
    block.resize(16 * KIB, 0x80 | 0x3e);
    let unfolded = (block.len() - 4_200) * 4_033 / KIB / KIB;
    let bomb = frame(HEADERS, END_HEADERS, 1, &block);
    let grown = grown_by(move || {
        let mut peer = Peer::speaking(address);
        peer.send(&[&bomb[..], &whole_call(3)].concat());
        // Refused, and the next call answered: or the connection has ended.
        while peer.frame().is_some_and(|frame| frame.kind != GOAWAY && !(frame.stream == 3 && frame.is_last())) {}
    })
    .await;
    println!("100 blocks of headers of 16 KiB that unfold to {unfolded} MiB: {grown} KiB more memory");
    assert!(grown < MEMORY, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_too_long_are_refused_unread() {
    let rig = Rig::start().await;
    let mut client = client(&rig).await;
    let of = |length: usize| {
        let context_identifier = "1".repeat(length - 4);
        let message = GetSystemTicketRequest { context_identifier, min_validity: None }.encode_to_vec();
        assert_eq!(message.len(), length);
        [&[0], &u32::try_from(length).unwrap().to_be_bytes()[..], &message].concat()
    };
    let (most, more, endless) = (of(64 * KIB), of(65 * KIB), b"\0\xff\xff\xff\xffCust".to_vec());
    let mut before = 0;
    for round in 0..110 {
        for (message, reason) in
            [(&most, "CONTEXT_IDENTIFIER_INVALID"), (&more, "REQUEST_TOO_LARGE"), (&endless, "REQUEST_TOO_LARGE")]
        {
            let status = status(&mut client, &[], message).await;
            assert_eq!(status.get_details_error_info().unwrap().reason, reason, "{status}");
        }
        if round == 10 {
            before = memory();
        }
    }
    let grown = memory().saturating_sub(before);
    println!("100 messages each of 65 KiB, and of 4 GiB by their prefix: {grown} KiB more memory");
    assert!(grown < MEMORY, "{grown} KiB");
}

/// No compression is offered, so that nothing is unpacked.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_is_not_unpacked() {
    let rig = Rig::start().await;
    let mut client = client(&rig).await;
    // gzip's magic number, and more than enough to be of interest.
    let bomb = [&b"\x01\0\0\x28\0\x1f\x8b\x08\0"[..], &[0; 10_236]].concat();
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        let refused = status(&mut client, &[("grpc-encoding", encoding)], &bomb).await;
        assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
        assert_eq!(refused.metadata().get("grpc-accept-encoding").unwrap(), "identity");
    }
    let unsaid = status(&mut client, &[], &bomb).await;
    assert!(matches!(unsaid.code(), Code::InvalidArgument | Code::Unimplemented), "{unsaid}");
}

/// How much more memory the process has after a hundred bombs than after ten.
async fn grown_by(bomb: impl Fn() + Send + 'static) -> usize {
    blocking(move || {
        for _ in 0..10 {
            bomb();
        }
        let before = memory();
        for _ in 0..100 {
            bomb();
        }
        memory().saturating_sub(before)
    })
    .await
}

async fn client(rig: &Rig) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(rig.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn answer(client: &mut SendRequest<Bytes>, headers: &HeaderMap, body: &[u8]) -> Response<h2::RecvStream> {
    let mut request = http::Request::post("http://ticketd/superoffice.ticket.v1.TicketService/GetSystemTicket")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    request.headers_mut().extend(headers.clone());
    *client = within(client.clone().ready()).await.unwrap();
    let (answer, mut sending) = client.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        sending.send_data(Bytes::copy_from_slice(body), true).unwrap();
    }
    within(answer).await.unwrap()
}

/// Why a call is refused.
async fn status(client: &mut SendRequest<Bytes>, headers: &[(&'static str, &str)], body: &[u8]) -> Status {
    let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let answer = answer(client, &headers, body).await;
    assert_eq!(answer.status(), 200);
    Status::from_header_map(answer.headers()).expect("it is refused")
}
