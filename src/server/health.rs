use tokio::sync::watch;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::admin::Readiness;
use crate::grpc::proto::ticket_service_server::TicketServiceServer;
use crate::grpc::{MAX_MESSAGE, TicketService};
use crate::metrics;

/// Says that the process runs, and nothing about what it depends on: a restart mends none of that.
const LIVENESS: &str = "liveness";

/// Say whether calls should come here: the overall name, kubelets' and that of the service.
const READINESS: [&str; 3] = ["", "readiness", <TicketServiceServer<TicketService> as NamedService>::NAME];

/// The statuses that `grpc.health.v1` answers: the same on both ports until a drain ends the callers' streams. The admin
/// port tells the same.
#[derive(Clone, Debug)]
pub(super) struct Health {
    readiness: watch::Sender<Readiness>,
    callers: HealthReporter,
    kubelets: HealthReporter,
}

impl Health {
    /// Alive, and not ready yet.
    pub(super) async fn new() -> Self {
        let readiness = watch::Sender::new(Readiness::Starting);
        let health = Self { readiness, callers: HealthReporter::new(), kubelets: HealthReporter::new() };
        for reporter in [&health.callers, &health.kubelets] {
            reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        }
        health.set_readiness(Readiness::Starting).await;
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
        self.set_readiness(Readiness::Ready).await;
    }

    /// Calls should go elsewhere from now on.
    pub(super) async fn draining(&self) {
        self.set_readiness(Readiness::Draining).await;
    }

    /// Ends the streams by which callers watch, which would hold their connections open for ever. Kubelets are answered
    /// as before: a drain waits for none of their connections.
    pub(super) async fn end_callers_watches(&self) {
        let mut reporter = self.callers.clone();
        for name in READINESS.into_iter().chain([LIVENESS]) {
            reporter.clear_service_status(name).await;
        }
    }

    async fn set_readiness(&self, readiness: Readiness) {
        metrics::SERVING.set(f64::from(u8::from(readiness.is_ready())), &[]);
        metrics::DRAIN_STATE.set(f64::from(u8::from(readiness == Readiness::Draining)), &[]);
        self.readiness.send_replace(readiness);
        let status = if readiness.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for reporter in [&self.callers, &self.kubelets] {
            for name in READINESS {
                reporter.set_service_status(name, status).await;
            }
        }
    }
}

fn service(reporter: &HealthReporter) -> HealthServer<HealthService> {
    HealthServer::new(HealthService::from_health_reporter(reporter.clone())).max_decoding_message_size(MAX_MESSAGE)
}
