//! A ticketd whose messages to the database and to SuperOffice pass a gate.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ticketd::grpc::proto::SystemTicket;
use tonic::{Code, Status};

use crate::fleet::{Fleet, ticket};
use crate::gate::{Counted, Gate, Until};
use crate::place::{Running, until, within};

pub(crate) struct Holder {
    pub(crate) process: Running,
    pub(crate) gate: Gate,
}

/// How far a load came.
pub(crate) enum Reached {
    /// To this message, which is held.
    Held(String),
    /// To its end: no message was left to hold.
    Answered,
}

/// The steps of a load by their names. At each the holder has the lease but at the first and the last.
pub(crate) const STEPS: [(&str, Until); 9] = [
    ("before the lease", Until::Before("INSERT INTO leases")),
    ("after taking it", Until::Before("GET /api/state/")),
    ("after signing", Until::Before("POST ")),
    ("while the exchange is sent", Until::After("POST ")),
    ("while verifying", Until::After("GET /login/.well-known/jwks")),
    ("while pinning the serial", Until::Before("INSERT INTO tenant_observations AS observed")),
    ("before the ticket is put", Until::Before("INSERT INTO shared_tickets")),
    ("after it is put, before the lease is free", Until::After("ticketd_tickets")),
    ("after the lease is free", Until::Count(MOST_MESSAGES)),
];
/// No load sends and gets more messages.
pub(crate) const MOST_MESSAGES: usize = 200;

/// A caller that waits for the holder's answer.
pub(crate) type Caller = BoxFuture<'static, Result<SystemTicket, Status>>;

impl Holder {
    /// Starts one that has a connection to the database and does not listen for changes: what it says next is about the
    /// tenant that it is asked for.
    pub(crate) async fn start(fleet: &Fleet) -> Self {
        let mut gate = Gate::new();
        let database = gate.before(fleet.database, Counted::Requests).await;
        let superoffice = gate.before(fleet.place.sandbox.login_address(), Counted::RequestsAndAnswers).await;
        let mut command = fleet.place.ticketd(["serve"]);
        command.env("TICKETD_STORE_URL", format!("postgres://postgres@{database}/{}", fleet.database_name));
        command.env("TICKETD_SUPEROFFICE_BASE_URL", format!("http://{superoffice}"));
        let process = Running::start(command).await;
        let mut client = process.tickets();
        until(async || ticket(&mut client, "Nobody").await.is_err_and(|refusal| refusal.code() == Code::NotFound))
            .await;
        Self { process, gate }
    }

    /// Lets a load of the tenant's ticket come so far and no farther.
    pub(crate) async fn load(&self, tenant: &str, until: Until) -> (Reached, Caller) {
        self.gate.shut(until);
        let (mut client, tenant) = (self.process.tickets(), tenant.to_owned());
        let call = tokio::spawn(async move { ticket(&mut client, &tenant).await });
        let mut call: Caller = call.map(Result::unwrap).boxed();
        let reached = within(async {
            tokio::select! {
                held = self.gate.held() => (Reached::Held(held), None),
                outcome = &mut call => (Reached::Answered, Some(outcome)),
            }
        });
        match reached.await {
            (reached, Some(outcome)) => (reached, std::future::ready(outcome).boxed()),
            (reached, None) => (reached, call),
        }
    }

    /// How many messages a load sends and gets.
    pub(crate) async fn count_messages(fleet: &Fleet, tenant: &str) -> usize {
        let holder = Self::start(fleet).await;
        let (reached, caller) = holder.load(tenant, Until::Count(MOST_MESSAGES)).await;
        assert!(matches!(reached, Reached::Answered));
        caller.await.unwrap();
        let Some(Until::Count(left)) = holder.gate.until() else { panic!("it counts") };
        MOST_MESSAGES - left
    }

    /// Takes its life, and its connections with it as the kernel does.
    pub(crate) async fn kill(self) {
        self.process.kill().await;
        drop(self.gate);
    }
}
