//! A ticket in memory is handed out without the layers. Nobody can tell, but by the time that it takes.

use std::time::Duration;

use prost::Message;
use serde_json::Value;
use superoffice_sandbox::{Behaviour, Endpoint, TenantState};
use ticketd::grpc::proto::{GetSystemTicketRequest, GetSystemTicketResponse};
use tokio::net::TcpStream;

use crate::audit::Audited;
use crate::world::{TENANT, World, within};

const PATH: &str = "/superoffice.ticket.v1.TicketService/GetSystemTicket";
/// Whose trace is kept goes through the layers.
const KEPT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_KEPT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// An answer as it comes over the wire.
#[derive(Debug, PartialEq)]
struct Answer {
    head: Vec<(String, String)>,
    message: GetSystemTicketResponse,
    trailers: Vec<(String, String)>,
}

struct Wire(h2::client::SendRequest<bytes::Bytes>);

impl Wire {
    async fn connect(world: &World) -> Self {
        let socket = TcpStream::connect(world.address()).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Calls with this message in so many pieces.
    async fn call(&mut self, traceparent: &str, message: &GetSystemTicketRequest, pieces: usize) -> Answer {
        let request = http::Request::post(format!("http://ticketd{PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("x-request-id", "mine")
            .header("traceparent", traceparent);
        let message = message.encode_to_vec();
        let framed = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
        let (answer, mut body) = self.0.send_request(request.body(()).unwrap(), false).unwrap();
        for piece in framed.chunks(framed.len().div_ceil(pieces)) {
            body.send_data(piece.to_vec().into(), false).unwrap();
            // Time for it to leave alone, most times.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        body.send_data(bytes::Bytes::new(), true).unwrap();
        let (head, mut body) = within(answer).await.unwrap().into_parts();
        let mut read = Vec::new();
        while let Some(data) = within(body.data()).await {
            read.extend_from_slice(&data.unwrap());
        }
        let trailers = body.trailers().await.unwrap().unwrap_or_default();
        let message = GetSystemTicketResponse::decode(&read[5..]).unwrap();
        assert_eq!(u32::from_be_bytes(read[1..5].try_into().unwrap()) as usize, read.len() - 5);
        Answer { head: text(&head.headers), message, trailers: text(&trailers) }
    }
}

fn text(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let mut text: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    text.sort();
    text
}

fn request() -> GetSystemTicketRequest {
    GetSystemTicketRequest { context_identifier: TENANT.to_lowercase(), min_validity: None }
}

/// What an event says of a call, whenever it was and however long it took.
fn said(mut event: Value) -> Value {
    for own in ["ts", "event_id", "latency_us"] {
        event.as_object_mut().unwrap().remove(own).unwrap();
    }
    event
}

#[tokio::test]
async fn a_hit_is_what_the_layers_answer_whatever_became_of_the_tenant() {
    let audited = Audited::start(World::builder().renewing_by_exchange()).await;
    let world = &audited.world;
    let first = Wire::connect(world).await.call(KEPT, &request(), 1).await.message.system_ticket.unwrap();

    let mut warned = 0;
    let mut states = Vec::new();
    for step in 0..5 {
        match step {
            1 => world.sandbox.set_tenant_state(TENANT, TenantState::OnlineMaintenance).unwrap(),
            2 => drop(world.sandbox.set_behaviour(Behaviour::Status(503).at(Endpoint::Exchange))),
            3 => world.sandbox.clear_behaviours(),
            _ => {}
        }
        if step > 0 {
            world.pass(Duration::from_mins(if step == 2 { 295 } else { 61 }), Duration::from_mins(1)).await;
        }
        // The connection before may be too old.
        let mut wire = Wire::connect(world).await;
        // Whatever is due is asked for and told by the first.
        wire.call(KEPT, &request(), 1).await;
        world.pass(Duration::from_secs(1), Duration::from_secs(1)).await;
        let layered = wire.call(KEPT, &request(), 1).await;
        let event = said(audited.last_call());
        for pieces in [1, 1, 2, 3] {
            let hit = wire.call(NOT_KEPT, &request(), pieces).await;
            assert_eq!(hit, layered, "step {step} in {pieces} pieces");
            assert_eq!(said(audited.last_call()), event, "step {step} in {pieces} pieces");
        }
        let ticket = layered.message.system_ticket.unwrap();
        warned += u32::from(ticket.refresh_warning.is_some());
        states.push(ticket.tenant_state);
        if step == 4 {
            assert_ne!(ticket.fingerprint, first.fingerprint, "it was renewed at last");
        }
    }
    assert!(warned > 0 && states.iter().any(|state| *state != states[0]), "{warned} warnings, states {states:?}");
}
