use std::future::poll_fn;
use std::sync::Arc;

use http::HeaderValue;
use tonic::Status;

use super::{CallRecord, End, Part, with_event};
use crate::audit::{AuditUnavailable, Lines, Receipt};
use crate::credentials::TicketAnswer;
use crate::grpc::status;
use crate::identifiers::ContextIdentifier;

impl CallRecord {
    /// Notes that the call is answered by a stream, each of whose messages has an event of its own.
    pub fn stream(&self) {
        self.note(|noted| noted.is_stream = true);
    }

    /// Returns when the event of one message of the stream is written: the ticket that it hands out of the tenant, or why
    /// there is none. When that fails the message must not leave, and the stream has to end with the status.
    pub async fn message(
        &self,
        tenant: ContextIdentifier,
        rule_id: Option<&Arc<str>>,
        outcome: Result<&TicketAnswer, &Status>,
    ) -> Result<(), Status> {
        let Some(common) = self.common() else { return Ok(()) };
        let (audit, part) = (&common.audit, self.part_of(tenant, rule_id, outcome));
        let mut receipt = Receipt::default();
        let written = if audit.check().is_err() {
            Err(AuditUnavailable)
        } else {
            let since = common.clock.elapsed();
            poll_fn(|context| audit.poll_write(&mut receipt, since, |lines| self.add_message(&part, lines), context))
                .await
        };
        written.map_err(|AuditUnavailable| {
            let unavailable = status::audit_unavailable();
            let part = Part { refusal: Some(unavailable.clone()), issued: None, ..part };
            audit.amend(receipt, |lines| self.add_message(&part, lines));
            unavailable
        })
    }

    fn add_message(&self, part: &Part, lines: &mut Lines) {
        let Some(inner) = &self.0 else { return };
        let noted = inner.noted();
        let unnamed = HeaderValue::from_static("");
        let request_id = noted.request_id.as_ref().unwrap_or(&unnamed);
        let end = part.refusal.as_ref().map_or(End::Answered, End::Refused);
        let audit = &inner.head.common.audit;
        with_event(&inner.head, &noted, request_id, part, end, None, |event| audit.add(&event, lines));
    }
}
