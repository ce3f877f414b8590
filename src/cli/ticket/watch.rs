use std::error::Error as _;
use std::time::Duration;

use clap::Args;
use prost::Message as _;
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::shown::{in_json, state, time, warning};
use crate::cli::connection::{Address, Tls, connect, refused, wait_for};
use crate::cli::console::Console;
use crate::cli::failure::{Failure, with_causes};
use crate::clock::{Clock, SystemClock};
use crate::grpc::WATCH_ENDED;
use crate::grpc::proto::system_ticket_outcome::Outcome;
use crate::grpc::proto::ticket_service_client::TicketServiceClient;
use crate::grpc::proto::{SystemTicket, SystemTicketOutcome, WatchSystemTicketsRequest};
use crate::identifiers::ContextIdentifier;
use crate::random::{Random, SystemRandom};
use crate::telemetry::one_line;

/// Between a watch that ended and the next: the first time, and at most. docs/clients.md tells callers the same.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Args, Debug)]
#[command(after_help = "\
There is a line for each ticket as it is, and for each change: a renewal, another state or address, a warning that
renewals fail, a refusal that takes the ticket away. A watch ends every five minutes or so, with its connection: it is
begun again, and every ticket comes anew. So it is when ticketd cannot be reached any more or asks to wait, which
stderr says. Any other refusal of the watch itself ends it.

The tickets themselves are left out unless --show-ticket asks for them: then a line is a tenant with its ticket, or
alone when it has none any more, and stderr says why.

Examples:
  ticketd ticket watch Cust12345 Cust67890
  ticketd ticket watch Cust12345 --json | jq -r 'select(.error) | .reason'
  ticketd ticket watch Cust12345 --address unix:/run/ticketd/ticketd.sock")]
pub(in crate::cli) struct Watch {
    /// The tenants, up to 100, for example Cust12345.
    #[arg(required = true, value_name = "CONTEXT_IDENTIFIER")]
    context_identifiers: Vec<ContextIdentifier>,
    /// Where ticketd serves.
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8443")]
    address: Address,
    #[command(flatten)]
    tls: Tls,
    /// Print a line of JSON for each message.
    #[arg(long)]
    json: bool,
    /// Print each tenant's ticket and nothing else: it opens the tenant's whole database.
    #[arg(long, conflicts_with = "json")]
    show_ticket: bool,
}

/// What came of a watch: it is over, or ends for now.
enum End {
    Refused(Status),
    Failed(Failure),
}

impl Watch {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        wait_for(self.watch_again_and_again(console))
    }

    /// Ends by a failure only.
    async fn watch_again_and_again(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        let mut client = TicketServiceClient::new(connect(&self.address, &self.tls).await?);
        let mut pause = FIRST_PAUSE;
        loop {
            let mut told = false;
            let end = match self.watch(&mut client, &mut told, console).await {
                End::Refused(status) => status,
                End::Failed(failure) => return Err(failure),
            };
            if told {
                pause = FIRST_PAUSE;
            }
            let details = end.get_error_details();
            if details.error_info().is_none_or(|info| info.reason != WATCH_ENDED) {
                if !may_pass(&end) {
                    return Err(refused(&end));
                }
                let cause = end.source().map_or_else(|| refused(&end).to_string(), with_causes);
                // When stderr is gone, nobody is left to tell.
                drop(writeln!(console.errors, "ticketd: {}: watching again", one_line(&cause)));
            }
            let asked = details.retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
            let drawn = SystemRandom.between(pause / 2, pause);
            SystemClock.sleep(drawn.max(asked)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // The files for TLS may be others by now. Where there is no new connection, the one of before tries by itself.
            if let Ok(channel) = connect(&self.address, &self.tls).await {
                client = TicketServiceClient::new(channel);
            }
        }
    }

    /// Prints messages until there are no more.
    async fn watch(
        &self,
        client: &mut TicketServiceClient<Channel>,
        told: &mut bool,
        console: &mut Console<'_>,
    ) -> End {
        let context_identifiers = self.context_identifiers.iter().map(ToString::to_string).collect();
        let mut messages = match client.watch_system_tickets(WatchSystemTicketsRequest { context_identifiers }).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return End::Refused(status),
        };
        loop {
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return End::Refused(Status::unavailable("the stream has ended")),
                Err(status) => return End::Refused(status),
            };
            *told = true;
            if let Some(outcome) = message.outcome
                && let Err(failure) = self.print(outcome, console)
            {
                return End::Failed(failure);
            }
        }
    }

    fn print(&self, outcome: SystemTicketOutcome, console: &mut Console<'_>) -> Result<(), Failure> {
        let SystemTicketOutcome { context_identifier, outcome } = outcome;
        let tenant = one_line(&context_identifier);
        let line = match outcome {
            Some(Outcome::SystemTicket(ticket)) if self.show_ticket => format!("{tenant} {}", ticket.ticket),
            Some(Outcome::SystemTicket(ticket)) if self.json => in_json(&ticket).to_string(),
            Some(Outcome::SystemTicket(ticket)) => in_text(&tenant, &ticket),
            Some(Outcome::Status(status)) => {
                let status = Status::with_details(
                    Code::from(status.code),
                    status.message.clone(),
                    status.encode_to_vec().into(),
                );
                let error = refused(&status).to_string();
                if self.show_ticket {
                    // When stderr is gone, nobody is left to tell.
                    drop(writeln!(console.errors, "ticketd: {tenant}: {error}"));
                    tenant.into_owned()
                } else if self.json {
                    let reason = status.get_details_error_info().map(|info| info.reason);
                    json!({ "context_identifier": context_identifier, "reason": reason, "error": error }).to_string()
                } else {
                    format!("{tenant}  {error}")
                }
            }
            // One of a later version's.
            None => return Ok(()),
        };
        // Whatever the server sends steers no terminal, and makes no other line.
        writeln!(console.output, "{}", one_line(&line))?;
        Ok(console.output.flush()?)
    }
}

fn in_text(tenant: &str, ticket: &SystemTicket) -> String {
    let expires = ticket.expire_time.and_then(time).map(|time| format!("expires {time}"));
    let warning = warning(ticket).map(|warning| format!("warning: {warning}"));
    let (state, fingerprint, webapi) = (state(ticket), ticket.fingerprint.clone(), ticket.webapi_url.clone());
    let parts = [Some(state), Some(fingerprint), expires, Some(webapi), warning].into_iter().flatten();
    let parts = parts.filter(|part| !part.is_empty()).map(|part| format!("  {}", one_line(&part)));
    format!("{tenant}{}", parts.collect::<String>())
}

/// Whether another watch may come of it later. What ticketd did not say itself comes of a connection that is lost.
fn may_pass(end: &Status) -> bool {
    matches!(end.code(), Code::Unavailable | Code::ResourceExhausted) || end.source().is_some()
}
