-- Tenants that somebody's SQL hands in, until ticketd takes them, within a second. The system user token is plain here.
CREATE TABLE tenant_intake (
    request            INTEGER PRIMARY KEY AUTOINCREMENT,
    context_identifier TEXT NOT NULL,
    system_user_token  TEXT NOT NULL,
    submit_time        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

-- What was handed in and could not be registered, and why. No secrets: a name that is no ContextIdentifier is left out, as it
-- may be a token in the wrong place.
CREATE TABLE tenant_refusals (
    number             INTEGER PRIMARY KEY AUTOINCREMENT,
    request            INTEGER NOT NULL,
    context_identifier TEXT,
    reason             TEXT NOT NULL,
    submit_time        TEXT NOT NULL,
    refuse_time        TEXT NOT NULL
) STRICT;
