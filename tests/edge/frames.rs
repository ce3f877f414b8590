//! What goes over the wire (RFC 9113), right or wrong.

use prost::Message;
use ticketd::grpc::proto::GetSystemTicketRequest;

use crate::rig::TENANT;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const NO_FLAGS: u8 = 0;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The number of the stream that is opened as the `index`th.
pub(crate) fn stream(index: u32) -> u32 {
    index * 2 + 1
}

/// The head of a call for a ticket, whose message is still to come.
pub(crate) fn call(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call_headers(&[]))
}

/// The same with the message, complete.
pub(crate) fn whole_call(stream: u32) -> Vec<u8> {
    [call(stream), frame(DATA, END_STREAM, stream, &ticket_message())].concat()
}

/// The message of a call for a ticket, with the prefix of gRPC.
pub(crate) fn ticket_message() -> Vec<u8> {
    let request = GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
    let message = request.encode_to_vec();
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
}

/// The headers of a call for a ticket, and some more.
pub(crate) fn call_headers(more: &[(&str, &str)]) -> Vec<u8> {
    // POST, http, and the names of the static table (RFC 7541, A), each with a value in plain.
    let mut block = vec![0x83, 0x86];
    for (name, value) in [(4, "/superoffice.ticket.v1.TicketService/GetSystemTicket"), (1, "ticketd")] {
        block.push(name);
        text(&mut block, value);
    }
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(more) {
        literal(&mut block, name, value);
    }
    block
}

/// A header that no table knows, nor remembers.
pub(crate) fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    text(block, name);
    text(block, value);
}

/// A header that the table of the connection remembers as its newest, number 62.
pub(crate) fn remembered(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x40);
    text(block, name);
    text(block, value);
}

/// A text of HPACK, as it is: its length in a prefix of seven bits (RFC 7541, 5.1).
fn text(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend(text.bytes());
}
