//! A caller that costs nothing: it speaks in frames that lie ready, and takes no memory while it calls.

use std::net::SocketAddr;

use prost::Message;
use ticketd::grpc::proto::GetSystemTicketRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// So many calls go at once.
const AT_ONCE: u32 = 50;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) struct Caller {
    socket: TcpStream,
    /// A call, but for the number of its stream.
    headers: Vec<u8>,
    message: Vec<u8>,
    next_stream: u32,
    said: Vec<u8>,
    heard: Vec<u8>,
}

impl Caller {
    pub(crate) async fn new(address: SocketAddr, tenant: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut said, SETTINGS, 0, 0, &[]);
        // As many answers as there may be.
        frame(&mut said, WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
        socket.write_all(&said).await.unwrap();
        let request = GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None };
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let message = [&[0], &length[..], &message].concat();
        Self { socket, headers: headers(), message, next_stream: 1, said, heard: Vec::with_capacity(1 << 20) }
    }

    /// Calls so often, and hears every answer.
    pub(crate) async fn call(&mut self, mut number: u32) {
        while number > 0 {
            let now = number.min(AT_ONCE);
            self.said.clear();
            for _ in 0..now {
                frame(&mut self.said, HEADERS, END_HEADERS, self.next_stream, &self.headers);
                frame(&mut self.said, DATA, END_STREAM, self.next_stream, &self.message);
                self.next_stream += 2;
            }
            self.socket.write_all(&self.said).await.unwrap();
            self.hear(now).await;
            number -= now;
        }
    }

    /// Reads until so many streams have ended.
    async fn hear(&mut self, mut streams: u32) {
        let mut from = 0;
        self.heard.clear();
        while streams > 0 {
            assert!(self.socket.read_buf(&mut self.heard).await.unwrap() > 0, "the connection ended");
            while let Some(&[a, b, c, kind, flags, ..]) = self.heard.get(from..from + 9) {
                let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
                if self.heard.len() < from + 9 + length {
                    break;
                }
                // Trailers and nothing before them would be a refusal.
                assert!(kind != HEADERS || flags & END_STREAM == 0 || length < 40, "a call was refused");
                streams -= u32::from(kind == HEADERS && flags & END_STREAM != 0);
                from += 9 + length;
            }
        }
    }
}

fn frame(said: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    said.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    said.extend_from_slice(&[kind, flags]);
    said.extend_from_slice(&stream.to_be_bytes());
    said.extend_from_slice(payload);
}

/// POST, http, and the names of the static table (RFC 7541, A), each with a value in plain.
fn headers() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut text = |first: &[u8], text: &str| {
        block.extend_from_slice(first);
        block.push(u8::try_from(text.len()).unwrap());
        block.extend_from_slice(text.as_bytes());
    };
    text(&[4], "/superoffice.ticket.v1.TicketService/GetSystemTicket");
    text(&[1], "ticketd");
    text(&[0], "content-type");
    text(&[], "application/grpc");
    text(&[0], "te");
    text(&[], "trailers");
    block
}
