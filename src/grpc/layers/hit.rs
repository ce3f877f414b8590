use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::{Body as HttpBody, Frame};
use opentelemetry::trace::SpanContext;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

use super::audit::Common;
use super::call_record::{End, Head, Noted, REQUEST_ID, name_of_call};
use super::{Callers, Conditions, Place, Places, span, time_for};
use crate::audit::{Lines, Receipt};
use crate::authorization::{Decision, Method, Pace, PolicyInForce};
use crate::credentials::SystemTickets;
use crate::grpc::proto::GetSystemTicketRequest;
use crate::grpc::{convert, status};
use crate::identity::ConnectionIdentity;
use crate::log_pace::LogPace;
use crate::metrics;
use crate::superoffice::SuperOffice;
use crate::trace_context;

/// What is asked for here.
const PATH: &str = "/superoffice.ticket.v1.TicketService/GetSystemTicket";
const METHOD: &str = PATH.split_at(1).1;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");
/// Of so many hits that are in no trace one begins a trace, and goes through the layers for it.
const TRACED: u32 = 100;

/// The calls for tickets that lie ready in memory: they get their answer without the layers, in one go.
///
/// A hit is held to what the layers hold a call to, by the same parts: places, the audit, who calls, the policy, the
/// caller's pace. Whatever is not plainly a hit, whatever is refused and whatever belongs to a trace that is
/// kept goes through the layers as it came: they alone refuse, wait and log.
#[derive(Clone, Debug)]
pub struct Hits(Arc<Inner>);

/// What a hit is held to.
#[derive(Debug)]
struct Inner {
    places: Places,
    request_timeout: Duration,
    common: Arc<Common>,
    callers: Callers,
    policy: PolicyInForce,
    pace: Pace,
    system_tickets: SystemTickets,
    superoffice: Arc<SuperOffice>,
    log_pace: Arc<LogPace>,
    untraced: AtomicU32,
}

/// A request that may be one for what lies ready.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, the frame around the message included.
    pub body: &'a [u8],
    /// Whose connection it came by.
    pub connection: &'a ConnectionIdentity,
    /// When it came, by monotonic time, if its message came later.
    pub arrival: Option<Duration>,
}

/// A hit, whose answer leaves when its event is written.
pub struct Hit {
    // In a box, as it moves from here to the body, and hyper's room for a stream grows with it.
    call: Option<Box<Call>>,
    answer: Bytes,
    place: Option<Place>,
    request_id: HeaderValue,
    receipt: Receipt,
    /// When its answer was there, by monotonic time.
    closed: Option<Duration>,
}

/// A call under way. Dropped before it has ended, it was given up by the caller or cut with its connection.
#[derive(Debug)]
struct Call {
    hits: Hits,
    head: Head,
    noted: Noted,
    /// The caller's span.
    parent: Option<SpanContext>,
    ended: bool,
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// Of a hit.
    Ready(ReadyBody),
    /// Of a call that went through the layers.
    Layered(Body),
}

/// A message that lies ready in its frame, and the status after it.
pub struct ReadyBody {
    message: Option<Bytes>,
    call: Option<Box<Call>>,
    _place: Option<Place>,
}

impl Hits {
    /// Hits in `system_tickets`, held to the same as all other calls. There are none where callers are not looked at.
    pub fn new(
        conditions: &Conditions,
        policy: PolicyInForce,
        pace: Pace,
        system_tickets: SystemTickets,
        superoffice: Arc<SuperOffice>,
    ) -> Self {
        let Conditions { places, request_timeout, audit, callers, log_pace, clock } = conditions.clone();
        let callers = callers.unwrap_or_default();
        let common = Arc::new(Common { audit, clock });
        let untraced = AtomicU32::new(0);
        let held_to = Inner {
            places,
            request_timeout,
            common,
            callers,
            policy,
            pace,
            system_tickets,
            superoffice,
            log_pace,
            untraced,
        };
        Self(Arc::new(held_to))
    }

    /// Whether a request asks for what may lie ready: then its body is worth a look.
    pub fn may_be_one<B>(request: &Request<B>) -> bool {
        request.uri().path() == PATH
            && request.method() == http::Method::POST
            && request.headers().get(CONTENT_TYPE) == Some(&GRPC)
            && !request.headers().contains_key(GRPC_ENCODING)
    }

    /// A place, if one is free.
    pub fn place(&self) -> Option<Place> {
        self.0.places.take()
    }

    /// A place for a call that has yet to send its message, if one is free and it is known who calls.
    pub fn place_for(&self, headers: &HeaderMap, connection: &ConnectionIdentity) -> Option<Place> {
        let place = self.place()?;
        self.0.callers.known(headers, connection).map(|_| place)
    }

    /// How long a call with these headers may take.
    pub fn time_for(&self, headers: &HeaderMap) -> Duration {
        time_for(headers, self.0.request_timeout)
    }

    /// The answer to a request, if it is a hit.
    pub fn answer(&self, asked: &Asked<'_>, place: Place) -> Option<Hit> {
        // Whatever panics in here goes to the layers, which answer and tell of it.
        catch_unwind(AssertUnwindSafe(|| self.hit(asked, place))).ok().flatten()
    }

    fn hit(&self, asked: &Asked<'_>, place: Place) -> Option<Hit> {
        let inner = &*self.0;
        let Asked { headers, body, connection, arrival } = *asked;
        let parent = trace_context::of_caller(headers);
        if self.is_traced(parent.as_ref()) {
            return None;
        }
        let Common { audit, clock } = &*inner.common;
        let begun = arrival.unwrap_or_else(|| clock.elapsed());
        audit.check().ok()?;
        let caller = inner.callers.known(headers, connection)?;
        let request = GetSystemTicketRequest::decode(message(body)?).ok()?;
        let tenant = convert::context_identifier(&request.context_identifier).ok()?;
        let policy = inner.policy.current();
        let Decision::Allowed(permit) = policy.decide(&caller.id, Method::GetSystemTicket, Some(tenant)) else {
            return None;
        };
        let min_validity = convert::min_validity(request.min_validity).ok()?;
        let at_hand = inner.system_tickets.at_hand(tenant, min_validity)?;
        // Last, as it counts: what is not let through here is counted by the layers.
        if let Some(limits) = policy.limits(&caller.id) {
            inner.pace.admit(&caller.id, limits, 1).ok()?;
        }
        inner.system_tickets.note_hit(&at_hand);
        let secret = permit.app_token.then(|| inner.superoffice.client_secret());
        let answer = at_hand.encoded(secret.as_ref(), |answer| {
            let headers = secret.as_ref().map(|_| inner.superoffice.ticket_headers(&answer.ticket.ticket));
            convert::framed_system_ticket(answer, headers.into_iter().flatten())
        });
        let ticket = at_hand.ticket();
        let issued = audit.issued(ticket.ticket.expose(), &ticket.audit_name, ticket.expire_time, "cache");
        let noted = Noted::of_a_hit(caller, permit.rule, tenant, issued);
        let head = Head::new(&inner.common, headers, METHOD, Some(connection.peer), begun);
        let call = Some(Box::new(Call { hits: self.clone(), head, noted, parent, ended: false }));
        let request_id = name_of_call(headers, audit);
        Some(Hit { call, answer, place: Some(place), request_id, receipt: Receipt::default(), closed: None })
    }

    /// Whether a call of this span of the caller's has to have one.
    fn is_traced(&self, parent: Option<&SpanContext>) -> bool {
        match parent {
            Some(caller) => caller.is_sampled(),
            None => self.0.untraced.fetch_add(1, Ordering::Relaxed) % TRACED == TRACED - 1,
        }
    }
}

/// The message in a body that is one frame, and not compressed.
fn message(body: &[u8]) -> Option<&[u8]> {
    let ([0, a, b, c, d], message) = body.split_first_chunk()? else { return None };
    let length = u32::from_be_bytes([*a, *b, *c, *d]);
    (usize::try_from(length) == Ok(message.len())).then_some(message)
}

impl Future for Hit {
    type Output = Response<AnswerBody>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { call, answer, place, request_id, receipt, closed } = &mut *self;
        // Polled again after its end.
        let Some(open) = call else { return Poll::Pending };
        let is_audited = open.head.common.audit.is_on();
        let elapsed = *closed.get_or_insert_with(|| open.head.common.clock.elapsed());
        let written = ready!(open.poll_write(receipt, request_id, elapsed, context));
        let mut response = match written {
            Ok(()) => {
                let body = ReadyBody { message: Some(std::mem::take(answer)), call: call.take(), _place: place.take() };
                let mut response = Response::new(AnswerBody::Ready(body));
                response.headers_mut().insert(CONTENT_TYPE, GRPC);
                response
            }
            Err(unavailable) => {
                open.end(&unavailable);
                *call = None;
                unavailable.into_http().map(AnswerBody::Layered)
            }
        };
        if is_audited {
            response.headers_mut().insert(REQUEST_ID, std::mem::replace(request_id, OK));
        }
        Poll::Ready(response)
    }
}

impl Call {
    /// Ready once the call's event is written, or why the answer is withheld is.
    fn poll_write(
        &mut self,
        receipt: &mut Receipt,
        request_id: &HeaderValue,
        elapsed: Duration,
        context: &Context<'_>,
    ) -> Poll<Result<(), Status>> {
        let Self { head, noted, .. } = self;
        let audit = &head.common.audit;
        let add = |lines: &mut Lines| noted.add_to(head, lines, request_id, End::Answered, elapsed);
        if ready!(audit.poll_write(receipt, elapsed, add, context)).is_ok() {
            return Poll::Ready(Ok(()));
        }
        let unavailable = status::audit_unavailable();
        let end = End::Refused(&unavailable);
        audit.amend(*receipt, |lines: &mut Lines| noted.add_to(head, lines, request_id, end, elapsed));
        Poll::Ready(Err(unavailable))
    }

    fn end_well(&mut self) {
        self.ended = true;
        let took = self.head.common.clock.elapsed().saturating_sub(self.head.begun);
        metrics::RPC_SERVER_CALL_DURATION.record(took, &[METHOD, super::code_name(Code::Ok), "grpc"], None);
    }

    /// Counts and logs an end that is none of a hit's.
    fn end(&mut self, status: &Status) {
        self.ended = true;
        let Inner { common, log_pace, .. } = &*self.hits.0;
        let late = span::Call::begin(METHOD, self.parent.take(), Arc::clone(&common.clock), Arc::clone(log_pace));
        late.end_since(self.head.begun, || self.noted.tell_span(), status);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            let is_broken = std::thread::panicking();
            self.end(&if is_broken { status::panicked() } else { span::given_up() });
        }
    }
}

impl fmt::Debug for Hit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hit").field("call", &self.call).finish_non_exhaustive()
    }
}

impl fmt::Debug for ReadyBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReadyBody").field("call", &self.call).finish_non_exhaustive()
    }
}

impl HttpBody for ReadyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        let Some(mut call) = self.call.take() else { return Poll::Ready(None) };
        call.end_well();
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(GRPC_STATUS, OK);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Ready(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Layered(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(body) => body.call.is_none(),
            Self::Layered(body) => body.is_end_stream(),
        }
    }
}
