use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{DeleteTenantRequest, InvalidateSystemTicketRequest};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fleet::{now, put, ticket};
use crate::place::{channel, pass};

/// A tenant that is registered and deleted all the time.
pub(super) const CHURNING: &str = "Churning";

const WORKERS: usize = 8;
/// How long it is measured what the server can bear.
const MEASURED: Duration = Duration::from_secs(2);
/// After so many calls a worker opens another connection.
const CALLS_PER_CHANNEL: u64 = 50;

/// What calls may be refused with while SuperOffice fails.
const OF_FAULTS: [Code; 3] = [Code::Unavailable, Code::ResourceExhausted, Code::NotFound];

type Client = TicketServiceClient<Channel>;

/// Callers of every kind.
pub(super) struct Load<'a> {
    address: SocketAddr,
    tenants: &'a [String],
    churning: &'a str,
    /// From one call of a worker to its next.
    interval: Duration,
    next: AtomicU64,
    cancelled: AtomicU64,
    connections: AtomicU64,
    answers: Mutex<BTreeMap<Answer, u64>>,
}

/// What a call ended with: a code, whether the connection broke rather than that the server said so, and what was said
/// when neither is to be expected.
type Answer = (i32, bool, String);

/// How the calls went.
pub(super) struct Calls {
    answers: BTreeMap<Answer, u64>,
    cancelled: u64,
    connections: u64,
}

/// How many calls a second are answered to as many callers as there will be.
#[expect(clippy::cast_precision_loss, reason = "there are thousands")]
pub(super) async fn capacity(address: SocketAddr, tenants: &[String]) -> f64 {
    let start = now();
    let calls = join_all((0..WORKERS).map(async |_| {
        let mut client = Client::new(channel(address));
        let mut calls = 0_u64;
        for tenant in tenants.iter().cycle().take_while(|_| start.elapsed() < MEASURED) {
            ticket(&mut client, tenant).await.unwrap();
            calls += 1;
        }
        calls
    }));
    calls.await.into_iter().sum::<u64>() as f64 / start.elapsed().as_secs_f64()
}

impl<'a> Load<'a> {
    pub(super) fn new(address: SocketAddr, tenants: &'a [String], churning: &'a str, calls_per_second: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let interval = Duration::from_secs_f64(WORKERS as f64 / calls_per_second.max(1.0));
        let (next, cancelled, connections) = <(AtomicU64, AtomicU64, AtomicU64)>::default();
        Self { address, tenants, churning, interval, next, cancelled, connections, answers: Mutex::default() }
    }

    /// Calls until it is over.
    pub(super) async fn run(&self, is_over: &AtomicBool) -> Calls {
        let working = join_all((0..WORKERS).map(|_| self.work(is_over)));
        tokio::join!(working, self.churn(is_over), self.knock(is_over));
        let answers = self.answers.lock().unwrap().clone();
        let [cancelled, connections] = [&self.cancelled, &self.connections].map(|count| count.load(Ordering::Relaxed));
        Calls { answers, cancelled, connections }
    }

    async fn work(&self, is_over: &AtomicBool) {
        let mut client = self.connect();
        let mut due = now();
        while !is_over.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number.is_multiple_of(CALLS_PER_CHANNEL) {
                client = self.connect();
            }
            self.call(&mut client, number).await;
            due += self.interval;
            pass(due.saturating_duration_since(now())).await;
        }
    }

    async fn call(&self, client: &mut Client, number: u64) {
        let tenant = &self.tenants[usize::try_from(number).unwrap() * 7 % self.tenants.len()];
        match number % 100 {
            // The caller gives up, at times before the call has begun.
            0..4 => {
                let patience = Duration::from_micros(number * 37 % 3_000);
                if tokio::time::timeout(patience, ticket(client, tenant)).await.is_err() {
                    self.cancelled.fetch_add(1, Ordering::Relaxed);
                }
            }
            4 => self.note(ticket(client, &format!("Unknown{}", number / 100 % 500)).await.map(drop)),
            5 => match ticket(client, tenant).await {
                Ok(refused) => {
                    let message = InvalidateSystemTicketRequest {
                        context_identifier: tenant.clone(),
                        fingerprint: refused.fingerprint,
                        ..InvalidateSystemTicketRequest::default()
                    };
                    self.note(client.invalidate_system_ticket(message).await.map(drop));
                }
                Err(status) => self.note(Err(status)),
            },
            6 => self.note(ticket(client, CHURNING).await.map(drop)),
            _ => self.note(ticket(client, tenant).await.map(drop)),
        }
    }

    /// Deletes a tenant and registers it anew.
    async fn churn(&self, is_over: &AtomicBool) {
        let mut client = TenantServiceClient::new(channel(self.address));
        while !is_over.load(Ordering::Relaxed) {
            let message = DeleteTenantRequest { context_identifier: CHURNING.to_owned() };
            self.note(client.delete_tenant(message).await.map(drop));
            self.note(put(&mut client, CHURNING, self.churning).await);
            pass(Duration::from_millis(200)).await;
        }
    }

    /// Connections that never become any.
    async fn knock(&self, is_over: &AtomicBool) {
        let mut open = Vec::new();
        for beginning in [&b""[..], b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\n\r\n", &[0; 24]].into_iter().cycle() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let mut connection = TcpStream::connect(self.address).await.unwrap();
            self.connections.fetch_add(1, Ordering::Relaxed);
            // The server may be quicker to close it.
            drop(connection.write_all(beginning).await);
            open.push(connection);
            if open.len() > 10 {
                open.remove(0);
            }
            pass(Duration::from_millis(50)).await;
        }
    }

    fn connect(&self) -> Client {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Client::new(channel(self.address))
    }

    fn note(&self, outcome: Result<(), Status>) {
        let answer = outcome.map_or_else(|status| answer(&status), |()| (Code::Ok.into(), false, String::new()));
        *self.answers.lock().unwrap().entry(answer).or_default() += 1;
    }
}

fn answer(status: &Status) -> Answer {
    let is_of_the_connection = status.source().is_some();
    let is_expected = is_of_the_connection || OF_FAULTS.contains(&status.code());
    let said = if is_expected { String::new() } else { status.message().to_owned() };
    (status.code().into(), is_of_the_connection, said)
}

impl Calls {
    /// What was asked was answered in nearly every case, and the rest was refused as it should be.
    pub(super) fn is_expected(&self) -> bool {
        let of = |is_counted: &dyn Fn(&Answer) -> bool| -> u64 {
            self.answers.iter().filter(|(answer, _)| is_counted(answer)).map(|(_, count)| count).sum()
        };
        let (all, answered) = (of(&|_| true), of(&|(code, ..)| *code == 0));
        // tonic gives calls up that come when an old connection closes.
        let (unexpected, broken) =
            (of(&|(.., said)| !said.is_empty()), of(&|(_, is_of_the_connection, _)| *is_of_the_connection));
        unexpected == 0 && answered * 10 > all * 8 && broken * 100 < all
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers = self.answers.iter().map(|((code, is_of_the_connection, said), count)| {
            let of = if *is_of_the_connection { " of the connection" } else { "" };
            format!("{count} {:?}{of} {said}", Code::from(*code)).trim_end().to_owned()
        });
        let answers: Vec<_> = answers.collect();
        let Self { cancelled, connections, .. } = self;
        write!(formatter, "{}, {cancelled} given up, over {connections} connections", answers.join(", "))
    }
}
