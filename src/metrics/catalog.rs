use super::Unit::{None, Seconds};
use super::{Counter, Gauge, Histogram, Label, Metric, NamedGauge};

/// What is none of the values that are listed.
pub const OTHER: &str = "_OTHER";

/// Every method that may be served. The one that is asked for most comes first: it is found first.
pub const METHODS: &[&str] = &[
    "superoffice.ticket.v1.TicketService/GetSystemTicket",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "superoffice.ticket.v1.TicketService/BatchGetSystemTickets",
    "superoffice.ticket.v1.TicketService/WatchSystemTickets",
    "superoffice.ticket.v1.TicketService/InvalidateSystemTicket",
    "superoffice.ticket.v1.TicketService/RefreshAccessToken",
    "superoffice.ticket.v1.AuthorizationService/CreateAuthorizationUrl",
    "superoffice.ticket.v1.AuthorizationService/ExchangeAuthorizationCode",
    "superoffice.ticket.v1.TenantService/PutTenant",
    "superoffice.ticket.v1.TenantService/GetTenant",
    "superoffice.ticket.v1.TenantService/ListTenants",
    "superoffice.ticket.v1.TenantService/DeleteTenant",
    "superoffice.ticket.v1.TenantService/ListGrants",
    "superoffice.ticket.v1.TenantService/RevokeGrant",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    OTHER,
];

const STATUSES: &[&str] = &[
    "OK",
    "CANCELLED",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
    "UNKNOWN",
];

/// What a request to SuperOffice ended with: an HTTP status, or what came in its place.
const HTTP_OUTCOMES: &[&str] = &[
    "200",
    "201",
    "202",
    "204",
    "301",
    "302",
    "303",
    "304",
    "307",
    "308",
    "400",
    "401",
    "403",
    "404",
    "405",
    "406",
    "408",
    "409",
    "410",
    "412",
    "413",
    "415",
    "421",
    "422",
    "429",
    "500",
    "501",
    "502",
    "503",
    "504",
    "connect",
    "timeout",
    "interrupted",
    OTHER,
];

/// Names of what went wrong at SuperOffice's side: `superoffice::UpstreamError::kind` and what an exchange adds.
const EXCHANGE_OUTCOMES: &[&str] = &[
    "ok",
    "authorization_revoked",
    "authorization_expired",
    "authorization_denied",
    "authorization_needs_reapproval",
    "invalid_redirect_url",
    "invalid_timestamp",
    "invalid_signature",
    "refused",
    "throttled",
    "unavailable",
    "circuit_open",
    "connect",
    "timeout",
    "interrupted",
    "busy",
    "status",
    "malformed",
    "fault",
    "not_sent",
];

/// Names of what a ticket's load failed with: `credentials::TicketError::kind`.
const TICKET_ERRORS: &[&str] = &[
    "not_registered",
    "authorization_revoked",
    "authorization_expired",
    "authorization_denied",
    "authorization_needs_reapproval",
    "refused",
    "signing_key_rejected",
    "clock_skew",
    "tenant_not_running",
    "tenant_maintenance",
    "throttled",
    "unavailable",
    "circuit_open",
    "token_invalid",
    "tenant_mismatch",
    "cache_full",
    "store_unavailable",
    "held_elsewhere",
    "tenant_unusable",
    "overloaded",
    "internal",
];

/// Names of what spoke against a JWT: `crypto::JwtRejection::reason`.
const JWT_REJECTIONS: &[&str] = &[
    "too_large",
    "not_three_parts",
    "encoding_malformed",
    "header_malformed",
    "algorithm_not_allowed",
    "type_not_allowed",
    "critical_extension",
    "unencoded_payload",
    "key_name_too_long",
    "key_not_named",
    "unknown_key",
    "signature_invalid",
    "claims_malformed",
    "member_repeated",
    "claim_missing",
    "claim_malformed",
    "expired",
    "not_yet_valid",
    "issued_in_future",
    "issuer_mismatch",
    "audience_mismatch",
    "context_identifier_mismatch",
    "system_user_token_mismatch",
    "serial_mismatch",
    "nonce_mismatch",
    "access_token_mismatch",
    "code_mismatch",
    "purpose_mismatch",
    "service_account_mismatch",
];

const TENANT_STATES: &[&str] = &[
    "running",
    "unknown",
    "provisioning",
    "deleted",
    "suspended",
    "online_maintenance",
    "offline_maintenance",
    "provisioning_failed",
    "deleting",
    "delete_failed",
    "migration_pending",
];

/// What is made of files and follows them.
const SUBJECTS: &[&str] =
    &["client secret and signing keys", "TLS certificates", "policy", "audit key", "log filter", OTHER];

/// How many seconds a ticket may have left to be counted, and what that is called.
pub const WITHIN: [(u64, &str); 6] =
    [(600, "10m"), (1_800, "30m"), (3_600, "1h"), (7_200, "2h"), (14_400, "4h"), (21_600, "6h")];

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
