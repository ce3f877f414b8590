mod values;

use self::values::{
    EXCHANGE_OUTCOMES, HTTP_OUTCOMES, JWT_REJECTIONS, STATUSES, SUBJECTS, TENANT_STATES, TICKET_ERRORS,
};
use super::Unit::{None, Seconds};
use super::{Counter, Gauge, Histogram, Label, Metric, NamedGauge};

pub use self::values::{METHODS, OTHER, WITHIN};

/// Calls, by OpenTelemetry's conventions for RPC.
pub static RPC_SERVER_CALL_DURATION: Histogram = Histogram::new(
    "rpc.server.call.duration",
    "How long calls took, from their head to the end of their answer",
    &[Label::new("rpc.method", METHODS), Label::grpc_status(STATUSES), Label::new("rpc.system.name", &["grpc"])],
);
/// Requests to SuperOffice, by OpenTelemetry's conventions for HTTP.
pub static HTTP_CLIENT_REQUEST_DURATION: Histogram = Histogram::new(
    "http.client.request.duration",
    "How long requests to SuperOffice took until the head of their answer",
    &[
        Label::new("upstream", &["login", "state", "tenants"]),
        Label::new("http.request.method", &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", OTHER]),
        Label::http_outcome(HTTP_OUTCOMES),
    ],
);
/// The store's operations, by OpenTelemetry's conventions for databases.
pub static DB_CLIENT_OPERATION_DURATION: Histogram = Histogram::new(
    "db.client.operation.duration",
    "How long the store's operations took, each a transaction",
    &[
        Label::new("db.system.name", &["sqlite", "postgresql"]),
        Label::unless_empty("error.type", &["", "timeout", OTHER]),
    ],
);
/// Attempts at an exchange.
pub static UPSTREAM_EXCHANGE_DURATION: Histogram = Histogram::new(
    "ticketd.upstream_exchange_duration",
    "How long attempts at an exchange took",
    &[Label::new("result", &["ok", "failed"])],
);

/// Calls for a ticket.
pub static TICKET_REQUESTS: Counter = Counter::new(
    "ticketd.ticket_requests",
    "Calls for a ticket, by how they were answered",
    &[Label::new("result", &["hit", "stale_hit", "miss", "joined", "negative", "error"])],
);
/// Attempts at an exchange.
pub static UPSTREAM_EXCHANGES: Counter = Counter::new(
    "ticketd.upstream_exchanges",
    "Attempts at an exchange, by what SuperOffice answered",
    &[Label::new("outcome", EXCHANGE_OUTCOMES)],
);
/// Uses of tickets that were to keep them alive.
pub static KEEP_ALIVES: Counter = Counter::new(
    "ticketd.keep_alives",
    "Tickets used once to keep them alive, by what came of it",
    &[Label::new("outcome", &["taken", "refused", "nowhere", "failed"])],
);
/// Renewals that failed.
pub static REFRESH_FAILURES: Counter = Counter::new(
    "ticketd.refresh_failures",
    "Renewals that failed while the ticket was valid",
    &[Label::new("reason", TICKET_ERRORS)],
);
/// Tickets that made room for others.
pub static TICKETS_DISPLACED: Counter =
    Counter::new("ticketd.tickets_displaced", "Valid tickets that a full cache displaced", &[]);
/// Leases taken.
pub static LEASE_ACQUIRED: Counter = Counter::new("ticketd.lease_acquired", "Tenants' leases taken", &[]);
/// Leases lost.
pub static LEASE_LOST: Counter =
    Counter::new("ticketd.lease_lost", "Leases that could not be renewed in time, or whose tenant changed", &[]);
/// Leases taken from who had not given them back.
pub static LEASE_STOLEN: Counter =
    Counter::new("ticketd.lease_stolen", "Leases taken that another replica had let lapse", &[]);
/// Tickets held back.
pub static LEASE_FENCED: Counter =
    Counter::new("ticketd.lease_fenced", "Tickets that were not shared because their lease was lost", &[]);
/// Requests for the key set.
pub static JWKS_FETCH: Counter = Counter::new(
    "ticketd.jwks_fetch",
    "Requests for SuperOffice's key set",
    &[Label::new("outcome", &["ok", "failed"])],
);
/// JWTs that are not believed.
pub static JWT_REJECTED: Counter = Counter::new(
    "ticketd.jwt_rejected",
    "JWTs of SuperOffice's that were rejected",
    &[Label::new("reason", JWT_REJECTIONS)],
);
/// Calls that are not allowed.
pub static AUTHZ_DENIED: Counter = Counter::new(
    "ticketd.authz_denied",
    "Calls refused for who called",
    &[Label::new("rpc", METHODS), Label::new("reason", &["not_authorized", "caller_unknown", "rate_limited"])],
);
/// Changed files that are not used.
pub static CONFIG_RELOAD_FAILURES: Counter = Counter::new(
    "ticketd.config_reload_failures",
    "Looks at files that have changed and cannot be used",
    &[Label::new("subject", SUBJECTS)],
);
/// Audit events.
pub static AUDIT_EVENTS: Counter = Counter::new("ticketd.audit_events", "Audit events written", &[]);
/// Answers that were withheld.
pub static AUDIT_FAILURES: Counter = Counter::new(
    "ticketd.audit_failures",
    "Answers that were withheld because their audit event could not be written",
    &[],
);

/// Tickets in memory.
pub static TICKETS_CACHED: Gauge = Gauge::new("ticketd.tickets_cached", "Tickets in memory", None, &[]);
/// How many there may be.
pub static TICKET_CAPACITY: Gauge = Gauge::new("ticketd.ticket_capacity", "How many tickets find a place", None, &[]);
/// How much life tickets have left.
pub static TICKETS_EXPIRING: Gauge = Gauge::new(
    "ticketd.tickets_expiring",
    "Tickets in use that have no more than this left of their life",
    None,
    &[Label::new("within", &["10m", "30m", "1h", "2h", "4h", "6h"])],
);
/// How much life the ticket has left that expires first.
pub static TICKET_REMAINING_MIN: Gauge = Gauge::new(
    "ticketd.ticket_remaining_min",
    "What the ticket in use that expires first has left of its life",
    Seconds,
    &[],
);
/// Loads under way.
pub static FLIGHTS_IN_PROGRESS: Gauge =
    Gauge::new("ticketd.flights_in_progress", "Tenants whose ticket is being loaded", None, &[]);
/// Calls that wait for a load.
pub static FLIGHT_WAITERS: Gauge =
    Gauge::new("ticketd.flight_waiters", "Calls and renewals that wait for a load", None, &[]);
/// Streams that watch.
pub static WATCHES: Gauge = Gauge::new("ticketd.watches", "Streams that watch tickets", None, &[]);
/// Remembered refusals.
pub static NEGATIVE_CACHE_ENTRIES: Gauge =
    Gauge::new("ticketd.negative_cache_entries", "Tenants whose refusal is remembered", None, &[]);
/// Tenants by their state.
pub static TENANTS: Gauge = Gauge::new(
    "ticketd.tenants",
    "Tenants asked for lately, by the state that SuperOffice told",
    None,
    &[Label::new("state", TENANT_STATES)],
);
/// How old the key set is.
pub static JWKS_AGE: Gauge =
    Gauge::new("ticketd.jwks_age", "How long ago SuperOffice's key set was read, or this process began", Seconds, &[]);
/// How far apart the clocks are.
pub static CLOCK_SKEW: Gauge =
    Gauge::new("ticketd.clock_skew", "How far SuperOffice's clock is ahead of this machine's", Seconds, &[]);
/// When certificates begin to count.
pub static TLS_CERT_START: Gauge = Gauge::new(
    "ticketd.tls_cert_start_timestamp",
    "From when the certificate in use is valid",
    Seconds,
    &[Label::new("which", &["server"])],
);
/// When certificates end to count.
pub static TLS_CERT_EXPIRY: Gauge = Gauge::new(
    "ticketd.tls_cert_expiry_timestamp",
    "Until when the certificate in use is valid",
    Seconds,
    &[Label::new("which", &["server"])],
);
/// When files were last read well.
pub static CONFIG_RELOAD_SUCCESS: Gauge = Gauge::new(
    "ticketd.config_reload_success_timestamp",
    "When what is followed was last put in use: at the start, or as its files changed",
    Seconds,
    &[Label::new("subject", SUBJECTS)],
);
/// Circuits that are open.
pub static BREAKER_STATE: Gauge = Gauge::new(
    "ticketd.breaker_state",
    "Open circuits: 1 while the login or the state API is asked once in ten seconds only; of tenants' hosts, how many",
    None,
    &[Label::new("upstream", &["login", "state", "tenants"])],
);
/// Which program this is.
pub static BUILD_INFO: NamedGauge = NamedGauge::new("ticketd.build_info", "1, for the version that runs", "version");
/// How far a stop has come.
pub static DRAIN_STATE: Gauge = Gauge::new(
    "ticketd.drain_state",
    "0 while it serves, 1 while load balancers learn that it stops, 2 while it waits for calls under way",
    None,
    &[],
);
/// Whether health says SERVING.
pub static SERVING: Gauge = Gauge::new("ticketd.serving", "1 while health says SERVING, else 0", None, &[]);
/// Sealed records by key.
pub static SEALED_RECORDS: NamedGauge =
    NamedGauge::new("ticketd.sealed_records", "Secrets in the store, by the key that sealed them", "key_id");
/// When the process began.
pub static PROCESS_START_TIME: Gauge = Gauge::new("process.start_time", "When this process began", Seconds, &[]);

/// All of them.
pub static ALL: &[&dyn Metric] = &[
    &RPC_SERVER_CALL_DURATION,
    &HTTP_CLIENT_REQUEST_DURATION,
    &DB_CLIENT_OPERATION_DURATION,
    &UPSTREAM_EXCHANGE_DURATION,
    &TICKET_REQUESTS,
    &UPSTREAM_EXCHANGES,
    &KEEP_ALIVES,
    &REFRESH_FAILURES,
    &TICKETS_DISPLACED,
    &LEASE_ACQUIRED,
    &LEASE_LOST,
    &LEASE_STOLEN,
    &LEASE_FENCED,
    &JWKS_FETCH,
    &JWT_REJECTED,
    &AUTHZ_DENIED,
    &CONFIG_RELOAD_FAILURES,
    &AUDIT_EVENTS,
    &AUDIT_FAILURES,
    &TICKETS_CACHED,
    &TICKET_CAPACITY,
    &TICKETS_EXPIRING,
    &TICKET_REMAINING_MIN,
    &FLIGHTS_IN_PROGRESS,
    &FLIGHT_WAITERS,
    &WATCHES,
    &NEGATIVE_CACHE_ENTRIES,
    &TENANTS,
    &JWKS_AGE,
    &CLOCK_SKEW,
    &TLS_CERT_START,
    &TLS_CERT_EXPIRY,
    &CONFIG_RELOAD_SUCCESS,
    &BREAKER_STATE,
    &BUILD_INFO,
    &DRAIN_STATE,
    &SERVING,
    &SEALED_RECORDS,
    &PROCESS_START_TIME,
];
