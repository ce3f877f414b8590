use std::time::Duration;

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::arguments::duration;
use super::connection::{Address, Tls, connect, refused, wait_for};
use super::console::Console;
use super::failure::Failure;

#[derive(Args, Debug)]
#[command(after_help = "\
Services: liveness, readiness, superoffice.ticket.v1.TicketService. Exit code 0 means that it serves.

Examples:
  ticketd healthcheck
  ticketd healthcheck --address http://127.0.0.1:8081 --service readiness")]
pub(super) struct Healthcheck {
    /// Where grpc.health.v1 answers.
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8081")]
    address: Address,
    #[command(flatten)]
    tls: Tls,
    /// Whose health is asked for. The whole server's when it is left out.
    #[arg(long, default_value = "")]
    service: String,
    /// How long the answer may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

impl Healthcheck {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let status = wait_for(async {
            tokio::time::timeout(self.timeout, check(&self.address, &self.tls, self.service))
                .await
                .map_err(|_| Failure::failed(&format_args!("{} does not answer", self.address)))?
        })?;
        if status != ServingStatus::Serving {
            return Err(Failure::failed(&status.as_str_name()));
        }
        Ok(writeln!(console.output, "{}", status.as_str_name())?)
    }
}

async fn check(address: &Address, tls: &Tls, service: String) -> Result<ServingStatus, Failure> {
    let mut client = HealthClient::new(connect(address, tls).await?);
    let answer = client.check(HealthCheckRequest { service }).await.map_err(|status| refused(&status))?;
    Ok(answer.into_inner().status())
}
