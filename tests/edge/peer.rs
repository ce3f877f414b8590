//! A peer that speaks in frames and need not behave. It has a thread of its own: it blocks.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::time::Instant;

use crate::frames::{DATA, END_STREAM, GOAWAY, HEADERS, NO_FLAGS, PREFACE, SETTINGS, frame};

/// How long a peer waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Peer {
    socket: TcpStream,
    unread: Vec<u8>,
    closed: bool,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What comes next.
enum Next {
    Frame(Frame),
    End,
    Nothing,
}

/// How the server ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It said why.
    GoAway { last_stream: u32, code: u32, why: String },
    /// It cut it.
    Cut,
}

/// What came of a flood.
#[derive(Debug)]
pub(crate) struct Flood {
    /// How much was sent before the connection ended.
    pub(crate) bytes: usize,
    pub(crate) took: Duration,
    /// None when all of it was taken.
    pub(crate) end: Option<End>,
    /// How many frames of each kind the server sent.
    pub(crate) answers: BTreeMap<u8, usize>,
}

impl Peer {
    /// A connection that has said nothing.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, unread: Vec::new(), closed: false }
    }

    /// A connection that speaks HTTP/2.
    pub(crate) fn speaking(address: SocketAddr) -> Self {
        let mut peer = Self::silent(address);
        peer.send(&[PREFACE, &frame(SETTINGS, NO_FLAGS, 0, &[])].concat());
        peer
    }

    /// Sends as much as the server takes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// The next frame; none when the connection has ended.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        match self.next(PATIENCE) {
            Next::Frame(frame) => Some(frame),
            Next::End => None,
            Next::Nothing => panic!("no frame came"),
        }
    }

    /// The next frame of this kind.
    pub(crate) fn frame_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.frame()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// How the server ends the connection, which it must.
    pub(crate) fn end(&mut self) -> End {
        loop {
            match self.frame() {
                None => return End::Cut,
                Some(frame) => {
                    if let Some(end) = frame.end() {
                        return end;
                    }
                }
            }
        }
    }

    /// All bytes until the connection ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.read_within(PATIENCE).expect("the connection ends") {}
        std::mem::take(&mut self.unread)
    }

    /// Whether the server keeps the connection, as far as can be seen now.
    pub(crate) fn is_open(&mut self) -> bool {
        while self.read_within(Duration::from_millis(1)).is_some_and(|is_open| is_open) {}
        !self.closed
    }

    /// Sends one of `pieces` after another, with a moment for an answer after each, until the connection ends. How many
    /// the server let pass, and how it ended it.
    pub(crate) fn send_until_end(&mut self, pieces: impl Iterator<Item = Vec<u8>>) -> (usize, End) {
        let mut sent = 0;
        for piece in pieces {
            if !self.send(&piece) {
                return (sent, self.end());
            }
            sent += 1;
            loop {
                match self.next(Duration::from_millis(1)) {
                    Next::Nothing => break,
                    Next::End => return (sent, End::Cut),
                    Next::Frame(frame) => {
                        if let Some(end) = frame.end() {
                            return (sent, end);
                        }
                    }
                }
            }
        }
        (sent, self.end())
    }

    /// Sends `bytes` so many times, as fast as the server takes them, while all it answers is read.
    pub(crate) fn flood(self, bytes: &[u8], times: usize) -> Flood {
        let began = Instant::now();
        let mut writer = self.socket.try_clone().unwrap();
        let reading = std::thread::spawn(move || read_all(self));
        let sent = (0..times).take_while(|_| writer.write_all(bytes).is_ok()).count();
        // What is on its way is still answered.
        drop(writer.shutdown(Shutdown::Write));
        let (end, answers, is_cut) = reading.join().unwrap();
        let end = end.or((is_cut || sent < times).then_some(End::Cut));
        Flood { bytes: sent * bytes.len(), took: began.elapsed(), end, answers }
    }

    fn next(&mut self, patience: Duration) -> Next {
        loop {
            if let Some((frame, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                return Next::Frame(frame);
            }
            if self.closed {
                return Next::End;
            }
            if self.read_within(patience).is_none() {
                return Next::Nothing;
            }
        }
    }

    /// Reads what is there; false at the end of the connection, none when nothing comes.
    fn read_within(&mut self, patience: Duration) -> Option<bool> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(read) => self.unread.extend(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
            Err(_) => self.closed = true,
        }
        Some(!self.closed)
    }
}

impl Frame {
    /// Whether its stream ends with it.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    fn end(&self) -> Option<End> {
        (self.kind == GOAWAY).then(|| End::GoAway {
            last_stream: number(&self.payload[..4]),
            code: number(&self.payload[4..8]),
            why: String::from_utf8_lossy(&self.payload[8..]).into_owned(),
        })
    }
}

/// Until the end of the connection: what the server said of it, how many frames came of each kind, and whether it was
/// cut rather than closed.
fn read_all(mut peer: Peer) -> (Option<End>, BTreeMap<u8, usize>, bool) {
    let (mut end, mut answers) = (None, BTreeMap::new());
    peer.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 16 * 1024];
    let is_cut = loop {
        match peer.socket.read(&mut buffer) {
            Ok(0) => break false,
            Ok(read) => peer.unread.extend(&buffer[..read]),
            Err(_) => break true,
        }
        let mut at = 0;
        while let Some((frame, length)) = parse(&peer.unread[at..]) {
            at += length;
            *answers.entry(frame.kind).or_default() += 1;
            end = end.or(frame.end());
        }
        peer.unread.drain(..at);
    };
    (end, answers, is_cut)
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let head = bytes.get(..9)?;
    let length = 9 + usize::try_from(number(&[0, head[0], head[1], head[2]])).unwrap();
    let payload = bytes.get(9..length)?.to_vec();
    Some((Frame { kind: head[3], flags: head[4], stream: number(&head[5..]), payload }, length))
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}
