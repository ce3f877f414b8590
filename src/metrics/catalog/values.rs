//! The closed sets of labels' values.

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

pub(super) const STATUSES: &[&str] = &[
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
pub(super) const HTTP_OUTCOMES: &[&str] = &[
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
pub(super) const EXCHANGE_OUTCOMES: &[&str] = &[
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
pub(super) const TICKET_ERRORS: &[&str] = &[
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
pub(super) const JWT_REJECTIONS: &[&str] = &[
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

pub(super) const TENANT_STATES: &[&str] = &[
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
pub(super) const SUBJECTS: &[&str] =
    &["client secret and signing keys", "TLS certificates", "policy", "audit key", "log filter", OTHER];

/// How many seconds a ticket may have left to be counted, and what that is called.
pub const WITHIN: [(u64, &str); 6] =
    [(600, "10m"), (1_800, "30m"), (3_600, "1h"), (7_200, "2h"), (14_400, "4h"), (21_600, "6h")];
