use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use superoffice_sandbox::Sandbox;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::random::{Random, SeededRandom};
use tonic::Code;
use tonic::transport::Channel;

use crate::fleet::{put, ticket};
use crate::place::{Running, pass};

/// Callers ask for the tenants that were registered last.
const TENANTS_IN_USE: usize = 100;
/// From one tenant to the next of a writer.
const BETWEEN_PUTS: Duration = Duration::from_millis(80);
/// From one call to the next of a reader.
const BETWEEN_CALLS: Duration = Duration::from_millis(5);

type Clients = (TicketServiceClient<Channel>, TenantServiceClient<Channel>);

/// Writers that register tenants and readers that ask for their tickets, each at any replica.
pub(super) struct Load<'a> {
    sandbox: &'a Sandbox,
    random: SeededRandom,
    clients: Mutex<Vec<Clients>>,
    acknowledged: Mutex<Vec<(String, String)>>,
    failures: Mutex<BTreeMap<i32, u64>>,
    next: AtomicU64,
    answered: AtomicU64,
    is_over: AtomicBool,
}

impl<'a> Load<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, replicas: &[Running]) -> Self {
        Self {
            sandbox,
            random: SeededRandom::new(11),
            clients: Mutex::new(replicas.iter().map(clients).collect()),
            acknowledged: Mutex::default(),
            failures: Mutex::default(),
            next: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Any number below.
    pub(super) fn any(&self, below: usize) -> usize {
        let below = u64::try_from(below).unwrap();
        let drawn = self.random.between(Duration::ZERO, Duration::from_nanos(below * 1_000)).as_nanos() / 1_000;
        usize::try_from(drawn).unwrap().min(usize::try_from(below).unwrap() - 1)
    }

    /// Another process has come in a replica's place.
    pub(super) fn replace(&self, replica: usize, by: &Running) {
        lock(&self.clients)[replica] = clients(by);
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// The tenants that a replica acknowledged, with their tokens.
    pub(super) fn acknowledged(&self) -> Vec<(String, String)> {
        lock(&self.acknowledged).clone()
    }

    /// How often calls failed with each code.
    pub(super) fn failures(&self) -> BTreeMap<i32, u64> {
        lock(&self.failures).clone()
    }

    /// Registers tenants until the end.
    pub(super) async fn write(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let tenant = format!("Tenant{}", self.next.fetch_add(1, Ordering::Relaxed));
            let token = self.sandbox.add_tenant(&tenant).system_user_token;
            let (_, mut client) = self.any_client();
            match put(&mut client, &tenant, &token).await {
                Ok(()) => lock(&self.acknowledged).push((tenant, token)),
                Err(status) => self.note(status.code()),
            }
            pass(BETWEEN_PUTS).await;
        }
    }

    /// Asks for tickets until the end.
    pub(super) async fn read(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            pass(BETWEEN_CALLS).await;
            let Some(tenant) = self.any_tenant() else { continue };
            let (mut client, _) = self.any_client();
            match ticket(&mut client, &tenant).await {
                Ok(_) => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
                Err(status) => self.note(status.code()),
            }
        }
    }

    fn any_client(&self) -> Clients {
        let clients = lock(&self.clients);
        clients[self.any(clients.len())].clone()
    }

    fn any_tenant(&self) -> Option<String> {
        let acknowledged = lock(&self.acknowledged);
        let in_use = acknowledged.len().min(TENANTS_IN_USE);
        (in_use > 0).then(|| acknowledged[acknowledged.len() - 1 - self.any(in_use)].0.clone())
    }

    fn note(&self, code: Code) {
        *lock(&self.failures).entry(code.into()).or_default() += 1;
    }
}

impl fmt::Display for Load<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures: Vec<_> =
            self.failures().into_iter().map(|(code, times)| format!("{times} {:?}", Code::from(code))).collect();
        write!(
            formatter,
            "{} tenants acknowledged, {} calls answered, {} exchanges, failed calls: {failures:?}",
            lock(&self.acknowledged).len(),
            self.answered.load(Ordering::Relaxed),
            self.sandbox.total_exchanges(),
        )
    }
}

fn clients(of: &Running) -> Clients {
    (of.tickets(), of.tenants())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
