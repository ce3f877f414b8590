//! Outcomes of several tenants, by batch and by watch: what tests ask for, and what they read.

use std::time::Duration;

use prost::Message;
use ticketd::grpc::proto::system_ticket_outcome::Outcome;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::grpc::proto::{
    BatchGetSystemTicketsRequest, SystemTicket, SystemTicketOutcome, WatchSystemTicketsRequest,
    WatchSystemTicketsResponse,
};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::world::within;

/// A tenant, and its ticket or why there is none.
pub(crate) type Told = (String, Result<SystemTicket, Status>);

pub(crate) fn told(outcome: SystemTicketOutcome) -> Told {
    let result = match outcome.outcome.expect("there is an outcome") {
        Outcome::SystemTicket(ticket) => Ok(ticket),
        Outcome::Status(status) => {
            Err(Status::with_details(Code::from(status.code), status.message.clone(), status.encode_to_vec().into()))
        }
    };
    (outcome.context_identifier, result)
}

pub(crate) fn named(tenants: &[&str]) -> Vec<String> {
    tenants.iter().map(ToString::to_string).collect()
}

pub(crate) async fn batch(
    mut client: TicketServiceClient<Channel>,
    tenants: &[&str],
    min_validity: Option<Duration>,
) -> Result<Vec<Told>, Status> {
    let request = BatchGetSystemTicketsRequest {
        context_identifiers: named(tenants),
        min_validity: min_validity.map(|duration| duration.try_into().unwrap()),
    };
    let response = within(client.batch_get_system_tickets(request)).await?.into_inner();
    Ok(response.outcomes.into_iter().map(told).collect())
}

/// A watch that has begun.
pub(crate) struct Watch(pub(crate) Streaming<WatchSystemTicketsResponse>);

impl Watch {
    pub(crate) async fn begin(mut client: TicketServiceClient<Channel>, tenants: &[&str]) -> Result<Self, Status> {
        let request = WatchSystemTicketsRequest { context_identifiers: named(tenants) };
        Ok(Self(within(client.watch_system_tickets(request)).await?.into_inner()))
    }

    /// The next message, or why there is none any more.
    pub(crate) async fn next(&mut self) -> Result<Told, Status> {
        let message = within(self.0.message()).await?.expect("a watch ends with a status");
        Ok(told(message.outcome.expect("a message has an outcome")))
    }

    /// The next ticket.
    pub(crate) async fn ticket(&mut self) -> SystemTicket {
        self.next().await.unwrap().1.unwrap()
    }

    /// The next refusal of a tenant.
    pub(crate) async fn refusal(&mut self) -> Status {
        self.next().await.unwrap().1.unwrap_err()
    }

    /// Whether there is nothing to read for a little while.
    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.0.message()).await.is_err()
    }
}
