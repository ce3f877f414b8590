//! A sandbox, a server in front of it, and a clock that both go by.

mod calls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use superoffice_sandbox::{Builder, Sandbox, SandboxClock};
use tempfile::TempDir;
use ticketd::clock::{Clock, ManualClock};
use ticketd::config::Config;
use ticketd::crypto::PrivateKey;
use ticketd::grpc::proto::SystemTicket;
use ticketd::grpc::proto::invalidate_system_ticket_request::Cause;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use ticketd::random::SeededRandom;
use ticketd::server::{Process, Server};
use ticketd::superoffice::{Development, Settings};
use ticketd::{admin, credentials, http};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use self::calls::report_at;
use crate::configuration::configuration;
use crate::superoffice_settings::superoffice_settings;

pub(crate) use self::calls::{ticket_at, tickets_at};

/// The tenant of most tests. The sandbox knows it, and it is registered with ticketd.
pub(crate) const TENANT: &str = "Cust12345";
/// Where the sign-ins of callers may end, at the sandbox as well as here.
pub(crate) const CALLBACK: &str = "https://caller.example/signed-in";
/// When most tests begin.
pub(crate) const START: &str = "2026-11-22T12:00:00Z";
/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: ManualClock,
    server: Server,
    config: Remake,
    directory: TempDir,
}

/// Another server beside a world's, with the same configuration.
pub(crate) struct Replica {
    server: Server,
}

/// A replica that is not there yet.
pub(crate) struct ReplicaParts {
    config: Config,
    clock: ManualClock,
}

/// What a server is made of again after a restart.
type Remake = Box<dyn Fn(&Sandbox, &TempDir) -> Config + Send + Sync>;

/// A world that is not there yet.
pub(crate) struct WorldBuilder {
    sandbox: Builder,
    clock: ManualClock,
    change: Box<dyn Fn(&mut Config) + Send + Sync>,
}

impl World {
    /// A world with [`TENANT`], where nothing goes wrong.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    pub(crate) fn builder() -> WorldBuilder {
        let clock = ManualClock::new(START.parse().unwrap());
        let shared = clock.clone();
        let sandbox = Sandbox::builder().redirect_uri(CALLBACK).clock(SandboxClock::from_fn(move || shared.now()));
        WorldBuilder { sandbox, clock, change: Box::new(|_| {}) }
    }

    /// Where the pages are served.
    pub(crate) fn pages(&self) -> SocketAddr {
        self.server.addresses().http.expect("this world has pages")
    }

    /// Where the admin port is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.server.addresses().admin.expect("this world has an admin port")
    }

    /// Stops in order.
    pub(crate) async fn shutdown(self) {
        let Self { clock, server, .. } = self;
        let stopping = tokio::spawn(server.shutdown());
        while !stopping.is_finished() {
            clock.advance(Duration::from_secs(1));
            settle().await;
        }
        stopping.await.unwrap().unwrap();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses().grpc.expect("this world has a TCP listener")
    }

    /// What the server was made of.
    pub(crate) fn config(&self) -> Config {
        (self.config)(&self.sandbox, &self.directory)
    }

    /// The time of this world.
    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Another server on the same database.
    pub(crate) async fn replica(&self) -> Replica {
        self.parts_of_a_replica().start().await
    }

    /// What makes another server on the same database.
    pub(crate) fn parts_of_a_replica(&self) -> ReplicaParts {
        ReplicaParts { config: self.config(), clock: self.clock.clone() }
    }

    /// Ends the server at once, with nothing finished, and starts another on the same files.
    pub(crate) async fn killed_and_restarted(self) -> Self {
        let Self { sandbox, clock, server, config, directory } = self;
        drop(server);
        let server = bind(config(&sandbox, &directory), &clock).await;
        Self { sandbox, clock, server, config, directory }
    }

    /// Asks the server to stop, does something while it does, and starts another on the same files.
    pub(crate) async fn restarted_while(self, act: impl FnOnce(&Sandbox)) -> Self {
        let Self { sandbox, clock, server, config, directory } = self;
        server.stop().request();
        settle().await;
        act(&sandbox);
        within(server.join()).await.unwrap();
        let server = bind(config(&sandbox, &directory), &clock).await;
        Self { sandbox, clock, server, config, directory }
    }

    /// Stops the server and starts another on the same files.
    pub(crate) async fn restart(self) -> Self {
        let Self { sandbox, clock, server, config, directory } = self;
        within(server.shutdown()).await.unwrap();
        let server = bind(config(&sandbox, &directory), &clock).await;
        Self { sandbox, clock, server, config, directory }
    }

    /// Moves time on by `duration`, in steps, and lets everyone act at each.
    pub(crate) async fn pass(&self, duration: Duration, step: Duration) {
        let end = self.clock.now() + duration;
        while self.clock.now() < end {
            self.clock.advance(step);
            settle().await;
        }
    }
}

impl ReplicaParts {
    /// With a configuration of its own.
    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) async fn start(self) -> Replica {
        Replica { server: bind(self.config, &self.clock).await }
    }
}

impl Replica {
    pub(crate) fn admin(&self) -> SocketAddr {
        self.server.addresses().admin.expect("this world has an admin port")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses().grpc.expect("this world has a TCP listener")
    }

    pub(crate) async fn ticket(&self, tenant: &str) -> Result<SystemTicket, Status> {
        self.ticket_for(tenant, None).await
    }

    pub(crate) async fn ticket_for(
        &self,
        tenant: &str,
        min_validity: Option<Duration>,
    ) -> Result<SystemTicket, Status> {
        ticket_at(self.address(), tenant, min_validity).await
    }

    pub(crate) async fn invalidate(&self, tenant: &str, fingerprint: &str) -> Outcome {
        report_at(self.address(), tenant, fingerprint, Cause::Refused).await
    }
}

impl WorldBuilder {
    /// Sets the sandbox up.
    pub(crate) fn sandbox(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.sandbox = change(self.sandbox);
        self
    }

    /// The clock of the world that is going to be.
    pub(crate) fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    /// Has pages, which browsers find at `public_url`.
    pub(crate) fn pages(self, public_url: &str) -> Self {
        let public_url: http::PublicUrl = public_url.parse().unwrap();
        let redirect_uri = public_url.redirect_uri();
        let pages = http::Settings::new("127.0.0.1:0".parse().unwrap(), public_url);
        let with_pages = self.sandbox(|sandbox| sandbox.redirect_uri(redirect_uri));
        with_pages.config(move |config| config.http = Some(pages.clone()))
    }

    /// Has an admin port.
    pub(crate) fn admin_port(self) -> Self {
        self.config(|config| config.admin = Some(admin::Settings { address: "127.0.0.1:0".parse().unwrap() }))
    }

    /// Changes the configuration of the server, also when it is started again, after what was changed before.
    pub(crate) fn config(mut self, change: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        let before = self.change;
        self.change = Box::new(move |config| {
            before(config);
            change(config);
        });
        self
    }

    /// Every renewal is an exchange: for a test of exchanges.
    pub(crate) fn renewing_by_exchange(self) -> Self {
        self.config(|config| config.tickets.renewal = credentials::Renewal::Exchange)
    }

    pub(crate) async fn start(self) -> World {
        let Self { sandbox, clock, change } = self;
        let sandbox = sandbox.start().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let config: Remake = Box::new(move |sandbox, directory| {
            let mut config = config(sandbox, directory);
            change(&mut config);
            config
        });
        let server = bind(config(&sandbox, &directory), &clock).await;
        let world = World { sandbox, clock, server, config, directory };
        world.add_tenant(TENANT).await;
        world
    }
}

/// Fails the test rather than hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

/// Waits until `holds`, while the tasks of this process and its sockets go on.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            settle().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The error's code and its `google.rpc.ErrorInfo` reason.
pub(crate) fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info().expect("every error carries ErrorInfo");
    assert_eq!(info.domain, "ticketd");
    (status.code(), info.reason)
}

/// When the error says to come again.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// A time of a response.
pub(crate) fn timestamp(time: Option<prost_types::Timestamp>) -> Timestamp {
    let time = time.expect("the time is there");
    Timestamp::new(time.seconds, time.nanos).unwrap()
}

/// Gives the other tasks and the sockets a turn.
async fn settle() {
    #[expect(clippy::disallowed_methods, reason = "a turn for the sockets, not a wait for time to pass")]
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn bind(config: Config, clock: &ManualClock) -> Server {
    let process = Process { clock: Arc::new(clock.clone()), random: Arc::new(SeededRandom::new(7)) };
    Server::bind_with(config, process).await.unwrap()
}

fn config(sandbox: &Sandbox, directory: &TempDir) -> Config {
    let private_key = sandbox.partner_private_key_pem().expect("the sandbox has a throwaway partner key");
    let extra_ca_file = sandbox.ca_pem().map(|pem| {
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        file
    });
    let superoffice = superoffice_settings(sandbox.base_url(), sandbox.client_id(), sandbox.client_secret());
    let development = superoffice.development.map(|development| Development { extra_ca_file, ..development });
    let superoffice = Settings { redirect_uris: vec![CALLBACK.to_owned()], development, ..superoffice };
    let signing_keys = vec![PrivateKey::read(private_key.as_bytes(), None).unwrap()];
    configuration(superoffice, signing_keys, directory.path())
}
