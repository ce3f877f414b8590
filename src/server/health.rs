use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tracing::info;

use crate::admin::Readiness;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::grpc::proto::ticket_service_server::TicketServiceServer;
use crate::grpc::{MAX_MESSAGE, TicketService};
use crate::metrics;

/// Says that the process runs, and nothing about what it depends on: a restart mends none of that.
const LIVENESS: &str = "liveness";

/// Say whether calls should come here: the overall name, kubelets' and that of the service.
const READINESS: [&str; 3] = ["", "readiness", <TicketServiceServer<TicketService> as NamedService>::NAME];

/// How often it is looked whether the audit can be written. Kubelets ask more seldom.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The statuses that `grpc.health.v1` answers: the same on both ports until a drain ends the callers' streams. The admin
/// port tells the same.
#[derive(Clone, Debug)]
pub(super) struct Health {
    readiness: watch::Sender<Readiness>,
    callers: HealthReporter,
    kubelets: HealthReporter,
    /// Held while the statuses change, so that they follow the last change.
    change: Arc<Mutex<()>>,
}

impl Health {
    /// Alive, and not ready yet.
    pub(super) async fn new() -> Self {
        let readiness = watch::Sender::new(Readiness::Starting);
        let (callers, kubelets) = (HealthReporter::new(), HealthReporter::new());
        let health = Self { readiness, callers, kubelets, change: Arc::default() };
        for reporter in [&health.callers, &health.kubelets] {
            reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        }
        health.set_readiness(|_| Some(Readiness::Starting)).await;
        health
    }

    /// The service for the port of callers.
    pub(super) fn for_callers(&self) -> HealthServer<HealthService> {
        service(&self.callers)
    }

    /// The service for the port of kubelets.
    pub(super) fn for_kubelets(&self) -> HealthServer<HealthService> {
        service(&self.kubelets)
    }

    /// What the admin port tells.
    pub(super) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Calls should come here from now on.
    pub(super) async fn ready(&self) {
        self.set_readiness(|_| Some(Readiness::Ready)).await;
    }

    /// Calls should go elsewhere from now on.
    pub(super) async fn draining(&self) {
        self.set_readiness(|_| Some(Readiness::Draining)).await;
    }

    /// From when this replica is ready until it drains: calls should come here while they can be audited. What every replica
    /// would miss alike, SuperOffice or the database, changes nothing here: it would take all of them away at once, with
    /// the tickets that are still good.
    pub(super) async fn follow(self, audit: Audit, clock: Arc<dyn Clock>) {
        loop {
            clock.sleep(LOOK_INTERVAL).await;
            let found = if audit.check().is_ok() { Readiness::Ready } else { Readiness::Unaudited };
            let is_new = |current| matches!(current, Readiness::Ready | Readiness::Unaudited) && current != found;
            if self.set_readiness(|current| is_new(current).then_some(found)).await {
                info!(readiness = found.name(), "readiness changes");
            }
        }
    }

    /// Ends the streams by which callers watch, which would hold their connections open for ever. Kubelets are answered
    /// as before: a drain waits for none of their connections.
    pub(super) async fn end_callers_watches(&self) {
        let mut reporter = self.callers.clone();
        for name in READINESS.into_iter().chain([LIVENESS]) {
            reporter.clear_service_status(name).await;
        }
    }

    /// Changes it, if the current one is to be changed.
    async fn set_readiness(&self, change: impl FnOnce(Readiness) -> Option<Readiness>) -> bool {
        let _changing = self.change.lock().await;
        let current = *self.readiness.borrow();
        let Some(readiness) = change(current) else { return false };
        metrics::SERVING.set(f64::from(u8::from(readiness.is_ready())), &[]);
        metrics::DRAIN_STATE.set(f64::from(u8::from(readiness == Readiness::Draining)), &[]);
        self.readiness.send_replace(readiness);
        let status = if readiness.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for reporter in [&self.callers, &self.kubelets] {
            for name in READINESS {
                reporter.set_service_status(name, status).await;
            }
        }
        true
    }
}

fn service(reporter: &HealthReporter) -> HealthServer<HealthService> {
    HealthServer::new(HealthService::from_health_reporter(reporter.clone())).max_decoding_message_size(MAX_MESSAGE)
}
