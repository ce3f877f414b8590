use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::Status;

use super::convert;
use super::layers::{CallRecord, Closing, PartLog};
use super::permits::Permits;
use super::proto::{SystemTicketOutcome, WatchSystemTicketsResponse};
use super::status;
use super::watch_places::WatchPlace;
use crate::authorization::{Method, Permit};
use crate::credentials::TicketWatch;
use crate::identifiers::{CallerId, ContextIdentifier};
use crate::superoffice::SuperOffice;

/// The messages of a watch.
pub(super) type TicketStream = Pin<Box<dyn Stream<Item = Result<WatchSystemTicketsResponse, Status>> + Send>>;

/// A watch over several tenants for one caller. Nothing is made before its reader wants it: what changes meanwhile is
/// one bit a tenant.
pub(super) struct Watching {
    pub(super) watch: TicketWatch,
    pub(super) tenants: Vec<ContextIdentifier>,
    pub(super) caller: CallerId,
    pub(super) permits: Permits,
    pub(super) replaced: watch::Receiver<()>,
    pub(super) record: CallRecord,
    pub(super) log: Option<PartLog>,
    pub(super) superoffice: Arc<SuperOffice>,
    pub(super) closing: Closing,
}

/// A watch that has begun, and what the policy said of each tenant last.
struct Open {
    watching: Watching,
    permits: Vec<Option<Permit>>,
    _place: WatchPlace,
}

impl Watching {
    /// Begins to watch, and holds the place for as long as that goes on.
    pub(super) fn stream(self, place: WatchPlace) -> TicketStream {
        let permits = vec![None; self.tenants.len()];
        let mut open = Open { watching: self, permits, _place: place };
        for place in 0..open.permits.len() {
            // Whether it is allowed or refused, there is something to say.
            open.heed_policy(place);
            open.watching.watch.look_again(place);
        }
        // A failure is the last item.
        Box::pin(stream::unfold(Some(open), |open| async {
            let mut open = open?;
            match open.next().await {
                Ok(outcome) => Some((Ok(WatchSystemTicketsResponse { outcome: Some(outcome) }), Some(open))),
                Err(end) => Some((Err(end), None)),
            }
        }))
    }
}

impl Open {
    async fn next(&mut self) -> Result<SystemTicketOutcome, Status> {
        loop {
            let Watching { watch, replaced, closing, .. } = &mut self.watching;
            let place = tokio::select! {
                biased;
                () = closing.0.cancelled() => return Err(status::watch_ended()),
                Ok(()) = replaced.changed() => {
                    (0..self.permits.len()).for_each(|place| self.heed_policy(place));
                    continue;
                }
                place = watch.next() => place,
            };
            if let Some(outcome) = self.look(place).await? {
                return Ok(outcome);
            }
        }
    }

    /// What is new at this place, if anything is. It is written down by then.
    async fn look(&mut self, place: usize) -> Result<Option<SystemTicketOutcome>, Status> {
        let was_permitted = self.permits.get(place).is_some_and(Option::is_some);
        // The policy may be another one since it was heeded last.
        self.ask_policy(place);
        let Watching { watch, tenants, caller, record, log, superoffice, .. } = &self.watching;
        let Some((tenant, permit)) = tenants.get(place).copied().zip(self.permits.get(place)) else { return Ok(None) };
        let permit = permit.as_ref();
        let outcome = match permit {
            None => Err(Permits::denied_one(caller, Method::WatchSystemTickets, tenant)),
            // What there is has it looked at again.
            Some(_) if !was_permitted => return Ok(None),
            Some(_) => match watch.outcome(place) {
                Some(outcome) => outcome.map_err(Status::from),
                // Its keeper tells when there is something.
                None => return Ok(None),
            },
        };
        if let (Some(log), Err(refusal)) = (log, &outcome) {
            log.refused(tenant, refusal);
        }
        record.message(tenant, permit.map(|permit| &permit.rule), outcome.as_ref()).await?;
        Ok(Some(convert::system_ticket_outcome(tenant, permit, outcome.as_ref(), superoffice)))
    }

    /// Watches the tenant as long as the policy allows it, and has it looked at when that is new.
    fn heed_policy(&mut self, place: usize) {
        if self.ask_policy(place) {
            self.watching.watch.look_again(place);
        }
    }

    /// Watches the tenant as long as the policy allows it. Answers whether what its messages say is another now.
    fn ask_policy(&mut self, place: usize) -> bool {
        let Watching { watch, tenants, caller, permits, .. } = &mut self.watching;
        let (Some(tenant), Some(before)) = (tenants.get(place), self.permits.get_mut(place)) else { return false };
        let now = permits.decide(caller, Method::WatchSystemTickets, *tenant);
        if now.is_some() {
            watch.begin(place);
        } else {
            watch.end(place);
        }
        let has_headers = |permit: &Option<Permit>| permit.as_ref().map(|permit| permit.app_token);
        let is_new = has_headers(&now) != has_headers(before);
        *before = now;
        is_new
    }
}
