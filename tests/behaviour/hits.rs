//! A ticket in memory is handed out without the layers. Nobody can tell, but by the time that it takes, and its span.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use serde_json::Value;
use superoffice_sandbox::{Behaviour, Endpoint, TenantState};
use ticketd::grpc::proto::{GetSystemTicketRequest, GetSystemTicketResponse};
use tokio::net::TcpStream;
use tracing_subscriber::layer::SubscriberExt as _;

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

/// Counts the spans of calls: each call has one that goes through the layers, and no hit.
#[derive(Clone, Default)]
struct Spans(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        let is_call = attributes.metadata().name() == "call" && attributes.metadata().target().starts_with("ticketd");
        self.0.fetch_add(usize::from(is_call), Ordering::Relaxed);
    }
}

impl Spans {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
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
    let spans = Spans::default();
    // The server runs on this thread.
    let _counted = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
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
        assert!(spans.take() > 0);
        let event = said(audited.last_call());
        for pieces in [1, 1, 2, 3] {
            let hit = wire.call(NOT_KEPT, &request(), pieces).await;
            assert_eq!(hit, layered, "step {step} in {pieces} pieces");
            assert_eq!(said(audited.last_call()), event, "step {step} in {pieces} pieces");
            assert_eq!(spans.take(), 0, "it did not go through the layers");
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

/// Who waits for a message has looked at who calls, and whether there is room.
#[tokio::test]
async fn nobody_waits_for_the_message_of_a_call_that_is_refused_by_its_headers() {
    let world = World::builder().config(|config| config.server.max_calls = 3).start().await;
    within(world.ticket(TENANT)).await.unwrap();
    let mut wire = Wire::connect(&world).await;
    let head = || {
        let request = http::Request::post(format!("http://ticketd{PATH}")).header("content-type", "application/grpc");
        request.body(()).unwrap()
    };
    let waiting: Vec<_> = (0..3).map(|_| wire.0.send_request(head(), false).unwrap()).collect();
    let (answer, _body) = wire.0.send_request(head(), false).unwrap();
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "8", "there is no place: {answer:?}");
    drop(waiting);

    let world = World::start().await;
    within(world.ticket(TENANT)).await.unwrap();
    let mut wire = Wire::connect(&world).await;
    let mut request = head();
    request.headers_mut().insert(http::header::AUTHORIZATION, "Bearer token".parse().unwrap());
    let (answer, _body) = wire.0.send_request(request, false).unwrap();
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "16", "a token over plaintext proves nothing: {answer:?}");
}
