use std::time::Duration;

use clap::Args;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::shown::{in_json, state, time, warning};
use crate::cli::arguments::duration;
use crate::cli::connection::{Address, Tls, connect, refused, wait_for};
use crate::cli::console::Console;
use crate::cli::failure::Failure;
use crate::grpc::proto::ticket_service_client::TicketServiceClient;
use crate::grpc::proto::{GetSystemTicketRequest, SystemTicket};
use crate::identifiers::ContextIdentifier;
use crate::telemetry::one_line;

#[derive(Args, Debug)]
#[command(after_help = "\
The ticket itself is left out unless --show-ticket asks for it; then it is all that is printed.

Examples:
  ticketd ticket get Cust12345
  ticketd ticket get Cust12345 --min-validity 1h --json
  ticketd ticket get Cust12345 --show-ticket | wc -c
  ticketd ticket get Cust12345 --address unix:/run/ticketd/ticketd.sock
  ticketd ticket get Cust12345 --address https://ticketd.example:8443 --ca-file ca.pem \\
    --client-certificate-file sync.crt --client-key-file sync.key
  ticketd ticket get Cust67890 --expect CALLER_NOT_AUTHORIZED")]
pub(in crate::cli) struct Get {
    /// The tenant, for example Cust12345.
    context_identifier: ContextIdentifier,
    /// Where ticketd serves.
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8443")]
    address: Address,
    #[command(flatten)]
    tls: Tls,
    /// How long the ticket must live at least.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    min_validity: Option<Duration>,
    /// How long the answer may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print the ticket and nothing else: it opens the tenant's whole database.
    #[arg(long, conflicts_with = "json")]
    show_ticket: bool,
    /// Succeed only if the call is refused for this reason, such as a denied call's in the example below.
    #[arg(long, value_name = "REASON", conflicts_with_all = ["json", "show_ticket"])]
    expect: Option<String>,
}

impl Get {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let answer = wait_for(self.ask())?;
        if let Some(expected) = &self.expect {
            return refused_as_expected(&answer, expected, console);
        }
        let ticket = answer.map_err(|status| refused(&status))?;
        let ticket = ticket.ok_or_else(|| Failure::failed(&"the answer holds no ticket"))?;
        if self.show_ticket {
            Ok(writeln!(console.output, "{}", ticket.ticket)?)
        } else if self.json {
            Ok(writeln!(console.output, "{:#}", in_json(&ticket))?)
        } else {
            print_text(&ticket, console)
        }
    }

    async fn ask(&self) -> Result<Result<Option<SystemTicket>, Status>, Failure> {
        let min_validity = self.min_validity.map(TryInto::try_into).transpose();
        let min_validity = min_validity.map_err(|_| Failure::usage(&"--min-validity is out of range"))?;
        let mut request = tonic::Request::new(GetSystemTicketRequest {
            context_identifier: self.context_identifier.to_string(),
            min_validity,
        });
        request.set_timeout(self.timeout);
        let mut client = TicketServiceClient::new(connect(&self.address, &self.tls).await?);
        Ok(client.get_system_ticket(request).await.map(|answer| answer.into_inner().system_ticket))
    }
}

fn refused_as_expected(
    answer: &Result<Option<SystemTicket>, Status>,
    expected: &str,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let Err(status) = answer else {
        return Err(Failure::failed(&format_args!("a ticket is handed out, which should be refused with {expected}")));
    };
    let details = status.get_error_details();
    if details.error_info().is_none_or(|info| info.reason != expected) {
        return Err(refused(status));
    }
    Ok(writeln!(console.output, "refused with {expected}")?)
}

fn print_text(ticket: &SystemTicket, console: &mut Console<'_>) -> Result<(), Failure> {
    let lines = [
        ("tenant", Some(ticket.context_identifier.clone())),
        ("state", Some(state(ticket))),
        ("fingerprint", Some(ticket.fingerprint.clone())),
        ("issued", ticket.issue_time.and_then(time)),
        ("renewed from", ticket.refresh_time.and_then(time)),
        ("expires", ticket.expire_time.and_then(time)),
        ("webapi", Some(ticket.webapi_url.clone())),
        ("netserver", Some(ticket.netserver_url.clone())),
        ("warning", warning(ticket)),
    ];
    for (name, value) in lines {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            writeln!(console.output, "{:<14}{}", format!("{name}:"), one_line(&value))?;
        }
    }
    Ok(())
}
