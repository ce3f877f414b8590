//! Stands between one ticketd and what it speaks to, and lets so many of its messages through.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Open at first. Dropped, it cuts every connection through it, and what it holds never arrives.
pub(crate) struct Gate {
    passes: Arc<Passes>,
    listeners: JoinSet<()>,
}

/// Whose messages count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The client's: when one is held, the answer to the one before it has arrived.
    Requests,
    /// Those of both sides.
    RequestsAndAnswers,
}

/// Which messages get through, of all connections together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// So many, and none after them.
    Count(usize),
    /// Those before the one that begins with this.
    Before(&'static str),
    /// Those up to the one that begins with this.
    After(&'static str),
}

struct Passes {
    /// All get through if nothing is said.
    until: watch::Sender<Option<Until>>,
    /// The first message that was held.
    held: watch::Sender<Option<String>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let passes = Passes { until: watch::Sender::new(None), held: watch::Sender::new(None) };
        Self { passes: Arc::new(passes), listeners: JoinSet::new() }
    }

    /// An address that leads through the gate to `target`.
    pub(crate) async fn before(&mut self, target: SocketAddr, counted: Counted) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passes = Arc::clone(&self.passes);
        self.listeners.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connect(client, target, counted, Arc::clone(&passes)));
            }
        });
        address
    }

    /// Holds the messages from one on.
    pub(crate) fn shut(&self, until: Until) {
        self.passes.until.send_replace(Some(until));
    }

    /// Which messages still get through.
    pub(crate) fn until(&self) -> Option<Until> {
        *self.passes.until.borrow()
    }

    /// Lets everything through, also what is held.
    pub(crate) fn open(&self) {
        self.passes.until.send_replace(None);
    }

    /// Waits for the first message that is held, and tells what can be read of it.
    pub(crate) async fn held(&self) -> String {
        let mut held = self.passes.held.subscribe();
        held.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }
}

impl Passes {
    /// Waits until the gate lets this message through.
    async fn pass(&self, message: &[u8]) {
        let (mut until, text) = (self.until.subscribe(), readable(message));
        loop {
            let mut is_through = false;
            self.until.send_modify(|until| (is_through, *until) = judge(*until, &text));
            if is_through {
                return;
            }
            self.held.send_if_modified(|held| {
                let is_first = held.is_none();
                held.get_or_insert_with(|| text.clone());
                is_first
            });
            until.wait_for(|until| *until != Some(Until::Count(0))).await.unwrap();
        }
    }
}

/// Whether a message gets through, and which do after it.
fn judge(until: Option<Until>, message: &str) -> (bool, Option<Until>) {
    match until {
        Some(Until::Count(left)) => (left > 0, Some(Until::Count(left.saturating_sub(1)))),
        Some(Until::Before(beginning)) if message.starts_with(beginning) => (false, Some(Until::Count(0))),
        Some(Until::After(beginning)) if message.starts_with(beginning) => (true, Some(Until::Count(0))),
        open => (true, open),
    }
}

/// Ends when one side does, and lets the other know.
async fn connect(client: TcpStream, target: SocketAddr, counted: Counted, passes: Arc<Passes>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let answers = (counted == Counted::RequestsAndAnswers).then_some(&*passes);
    tokio::select! {
        () = relay(from_client, to_server, Some(&passes)) => {}
        () = relay(from_server, to_client, answers) => {}
    }
}

/// What arrives at once is one message: each side waits for the other's answer.
async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: Option<&Passes>) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(passes) = passes {
            passes.pass(&buffer[..length]).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// The beginning of the first text in the message.
fn readable(message: &[u8]) -> String {
    let mut texts = message.split(|byte| !(b' '..=b'~').contains(byte));
    let text = texts.find(|text| text.len() >= 5).unwrap_or_default();
    String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned()
}
