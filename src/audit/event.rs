use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::id::Id;
use super::line::Line;
use crate::crypto::{AuditKeyId, AuditName};
use crate::identifiers::{Caller, ContextIdentifier, Environment, Peer};

/// What happened. Absent members are left out of the line.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// On which occasion.
    pub kind: Kind,
    /// What the caller, or ticketd for it, named the call.
    pub request_id: Option<&'a str>,
    /// The W3C trace that the call belongs to, in hexadecimal.
    pub trace_id: Option<&'a str>,
    /// Who asked, if that is known.
    pub caller: Option<&'a Caller>,
    /// From where, if the caller does not say it.
    pub peer: Option<Peer>,
    /// The method, or the page.
    pub rpc: &'a str,
    /// About whom.
    pub tenant: Option<ContextIdentifier>,
    /// About which user of the tenant.
    pub user: Option<&'a str>,
    /// What was decided.
    pub decision: Decision,
    /// The policy's rule that allowed it.
    pub rule_id: Option<&'a str>,
    /// The credential that is handed out.
    pub issued: Option<Issued>,
    /// What was changed, in snake case.
    pub change: Option<&'a str>,
    /// The gRPC code's name, or the HTTP status.
    pub outcome: &'a str,
    /// The refusal's reason.
    pub reason: Option<&'a str>,
    /// How long the answer took.
    pub latency: Option<Duration>,
}

/// The occasion of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call over gRPC.
    Call,
    /// A request of a browser, or a notice of SuperOffice's.
    Page,
    /// Something was changed whose call ended before it was done, or by itself.
    Change,
    /// Something that an attacker may be behind, seen outside of any call.
    Security,
    /// The server begins.
    Start,
    /// The server ends.
    Stop,
    /// Refusals of one reason that were too many to be told one by one.
    Refusals,
}

/// What was decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It got what it asked for.
    Allowed,
    /// It got nothing but the refusal.
    Refused,
    /// It ended before there was an answer, and got nothing.
    Cancelled,
}

/// A credential that is handed out. The credential itself is not in it.
#[derive(Clone, Copy, Debug)]
pub struct Issued {
    /// Its name.
    pub name: AuditName,
    /// The key that made the name.
    pub key: AuditKeyId,
    /// When it expires.
    pub expire_time: Timestamp,
    /// Where it came from, in snake case.
    pub source: &'static str,
}

/// How many refusals of one reason there were beside those that were told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

/// What every event of a process has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) time: Timestamp,
    pub(super) id: Id,
    pub(super) environment: Environment,
}

impl<'a> Event<'a> {
    /// An event of the server's own.
    pub(super) fn of_server(kind: Kind) -> Self {
        Self {
            kind,
            request_id: None,
            trace_id: None,
            caller: None,
            peer: None,
            rpc: "",
            tenant: None,
            user: None,
            decision: Decision::Allowed,
            rule_id: None,
            issued: None,
            change: None,
            outcome: "OK",
            reason: None,
            latency: None,
        }
    }

    /// A change that no call's event tells of.
    pub fn of_change(tenant: ContextIdentifier, user: &'a str, change: &'static str) -> Self {
        let (tenant, user, change) = (Some(tenant), Some(user), Some(change));
        Self { tenant, user, change, ..Self::of_server(Kind::Change) }
    }

    /// A token of SuperOffice's that is not for the tenant asked for, and why.
    pub fn of_security(tenant: ContextIdentifier, reason: &'static str) -> Self {
        let (tenant, reason) = (Some(tenant), Some(reason));
        Self { decision: Decision::Refused, tenant, outcome: "INTERNAL", reason, ..Self::of_server(Kind::Security) }
    }

    pub(super) fn write(&self, stamp: Stamp, sum: Option<Sum>, bytes: &mut Vec<u8>) {
        let mut line = Line::begin(bytes, "stream", "audit");
        line.time("ts", stamp.time);
        line.plain("event_id", stamp.id.as_bytes());
        line.plain("kind", self.kind.name().as_bytes());
        line.optional_text("request_id", self.request_id);
        line.optional_text("trace_id", self.trace_id);
        if let Some(caller) = self.caller {
            line.shown("caller", &caller.id);
            line.optional_text("pod_uid", caller.pod_uid.as_deref());
        }
        match self.caller.map(|caller| caller.peer).or(self.peer) {
            Some(Peer::Tcp(SocketAddr::V4(address))) => line.address("peer", address),
            Some(peer) => line.shown("peer", &peer),
            None => {}
        }
        line.optional_text("rpc", Some(self.rpc).filter(|rpc| !rpc.is_empty()));
        line.plain("environment", stamp.environment.as_str().as_bytes());
        line.optional_text("tenant", self.tenant.as_ref().map(ContextIdentifier::as_str));
        line.optional_text("user", self.user);
        line.plain("decision", self.decision.name().as_bytes());
        line.optional_text("rule_id", self.rule_id);
        if let Some(Issued { name, key, expire_time, source }) = self.issued {
            line.plain("source", source.as_bytes());
            line.hexadecimal("credential_hmac", name.number(), 32);
            line.hexadecimal("hmac_key_id", u128::from(key.number()), 8);
            line.time("expires_at", expire_time);
        }
        line.optional_text("change", self.change);
        line.plain("outcome", self.outcome.as_bytes());
        line.optional_text("reason", self.reason);
        if let Some(Sum { count, since, until }) = sum {
            line.number("count", count);
            line.time("since", since);
            line.time("until", until);
        }
        if let Some(latency) = self.latency {
            line.number("latency_us", u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
        line.end();
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Page => "page",
            Self::Change => "change",
            Self::Security => "security",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Refusals => "refusals",
        }
    }
}

impl Decision {
    fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}
