//! What does not speak gRPC, or HTTP/2 at all, with secrets in it.

use h2::client::SendRequest;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Process, Rig, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NO_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const GET_SYSTEM_TICKET: &str = "/superoffice.ticket.v1.TicketService/GetSystemTicket";

/// Bytes of every kind to the ports.
pub(crate) async fn to_the_ports(rig: &Rig, process: &Process) {
    for (_, secret) in rig.secrets() {
        let secret = secret.as_bytes();
        let first = &secret[..secret.len().min(200)];
        let goodbye = frame(7, 0, &[&[0; 8], first].concat());
        let headers = frame(1, 5, first);
        for garbage in [
            secret.to_vec(),
            [b"GET /", first, b" HTTP/1.1\r\nAuthorization: Bearer ", first, b"\r\n\r\n"].concat(),
            [b"\x16\x03\x01\x02\x00\x01", secret].concat(),
            [PREFACE, secret].concat(),
            [PREFACE, NO_SETTINGS, goodbye.as_slice()].concat(),
            [PREFACE, NO_SETTINGS, headers.as_slice()].concat(),
            PREFACE[..10].iter().chain(secret).copied().collect(),
        ] {
            for address in [&process.grpc, &process.health].into_iter().chain(&process.admin) {
                let mut socket = TcpStream::connect(address).await.unwrap();
                socket.write_all(&garbage).await.unwrap();
                socket.shutdown().await.unwrap();
                let mut answer = Vec::new();
                drop(within(socket.read_to_end(&mut answer)).await);
                rig.channels.note("raw sockets", answer);
            }
        }
    }
}

/// HTTP/2 that is no call, or a bad one.
pub(crate) async fn in_calls(rig: &Rig, process: &Process) {
    for address in [&process.grpc, &process.health] {
        let socket = TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        let connection = tokio::spawn(connection);
        for (_, secret) in rig.secrets() {
            let line: String = secret.chars().filter(char::is_ascii_graphic).take(1_000).collect();
            let path: String = line.chars().filter(char::is_ascii_alphanumeric).collect();
            let post = |path: &str| Request::post(format!("http://{address}{path}")).header("te", "trailers");
            let grpc = |path: &str| post(path).header(CONTENT_TYPE, "application/grpc");
            // A string field with the secret in it, and a byte that is no UTF-8.
            let malformed = message(&[&[0x0a, 0x7f], secret.as_bytes(), b"\xff"].concat());
            for (request, body) in [
                (grpc(&format!("/{path}/{path}")), message(b"")),
                (grpc(&format!("{GET_SYSTEM_TICKET}?token={path}")), message(b"")),
                (post(GET_SYSTEM_TICKET).header(CONTENT_TYPE, format!("text/{path}")), secret.clone().into_bytes()),
                (grpc(GET_SYSTEM_TICKET).header("grpc-timeout", &line), message(b"")),
                (grpc(GET_SYSTEM_TICKET).header("grpc-encoding", &line), vec![1, 0, 0, 0, 1, 0]),
                (grpc(GET_SYSTEM_TICKET).header("grpc-accept-encoding", &line), message(b"")),
                (grpc(GET_SYSTEM_TICKET).header("traceparent", &line).header("tracestate", &line), message(b"")),
                (grpc(GET_SYSTEM_TICKET).header("baggage", &line).header(AUTHORIZATION, &line), message(b"")),
                (grpc(GET_SYSTEM_TICKET).header(AUTHORIZATION, format!("Bearer {line}")), message(b"")),
                (grpc(GET_SYSTEM_TICKET).header("x-token-bin", &line).header("user-agent", &line), message(b"")),
                (grpc(GET_SYSTEM_TICKET), malformed),
                (grpc(GET_SYSTEM_TICKET), secret.clone().into_bytes()),
                (grpc(GET_SYSTEM_TICKET), message(&secret.as_bytes().repeat(70_000 / secret.len()))),
                (grpc(GET_SYSTEM_TICKET).header("x-long", line.repeat(20_000 / line.len())), message(b"")),
            ] {
                let request = request.body(()).unwrap();
                rig.channels.note("gRPC errors", within(call(client.clone(), request, body)).await);
            }
        }
        connection.abort();
    }
}

/// All that is answered.
async fn call(client: SendRequest<Bytes>, request: Request<()>, body: Vec<u8>) -> String {
    let mut client = match client.ready().await {
        Ok(client) => client,
        Err(error) => return format!("{error:?}"),
    };
    let (response, mut stream) = match client.send_request(request, false) {
        Ok(sent) => sent,
        Err(error) => return format!("{error:?}"),
    };
    // A call may be answered, and its stream closed, before its body is sent.
    drop(stream.send_data(body.into(), true));
    let response = match response.await {
        Ok(response) => response,
        Err(error) => return format!("{error:?}"),
    };
    let mut said = format!("{} {:?}", response.status(), response.headers());
    let mut body = response.into_body();
    while let Some(Ok(data)) = body.data().await {
        said += &String::from_utf8_lossy(&data);
    }
    format!("{said} {:?}", body.trailers().await)
}

/// A gRPC message around `content`.
fn message(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), content].concat()
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = u8::from(kind == 1);
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}
