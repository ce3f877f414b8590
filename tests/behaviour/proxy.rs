//! What stands between ticketd and its database: it can be slow, lead elsewhere, and counts what goes through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: Arc<AtomicU16>,
    delay_in_milliseconds: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Proxy {
    /// One that leads to a port of this machine.
    pub(crate) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            target: Arc::new(target.into()),
            delay_in_milliseconds: Arc::default(),
            bytes: Arc::default(),
        };
        let shared = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = shared.target.load(Ordering::Relaxed);
                tokio::spawn(shared.clone().carry(client, target));
            }
        });
        proxy
    }

    /// Where new connections lead.
    pub(crate) fn lead_to(&self, target: u16) {
        self.target.store(target, Ordering::Relaxed);
    }

    /// How long each piece is held back.
    pub(crate) fn delay(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).unwrap();
        self.delay_in_milliseconds.store(milliseconds, Ordering::Relaxed);
    }

    /// How much has gone through, in either direction.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    async fn carry(self, client: TcpStream, target: u16) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
        let ((client_reads, client_writes), (server_reads, server_writes)) = (client.into_split(), server.into_split());
        tokio::select! {
            () = self.pass_on(client_reads, server_writes) => {}
            () = self.pass_on(server_reads, client_writes) => {}
        }
    }

    async fn pass_on(&self, mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.bytes.fetch_add(read as u64, Ordering::Relaxed);
            let delay = Duration::from_millis(self.delay_in_milliseconds.load(Ordering::Relaxed));
            if !delay.is_zero() {
                #[expect(clippy::disallowed_methods, reason = "a slow network takes real time")]
                tokio::time::sleep(delay).await;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}
