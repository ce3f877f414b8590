-- Each tenant's ticket, for all processes. Keyed by the lower-case ContextIdentifier. Times are milliseconds since 1970 by
-- the processes' clocks. The ticket is sealed; both fingerprints are keyed.
CREATE TABLE shared_tickets (
    tenant        TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 32),
    ticket        BYTEA NOT NULL,
    fingerprint   TEXT NOT NULL,
    issued_for    TEXT NOT NULL,
    issue_time    BIGINT NOT NULL,
    expire_time   BIGINT NOT NULL,
    webapi_url    TEXT,
    netserver_url TEXT,
    fence         BIGINT NOT NULL
);

CREATE INDEX shared_tickets_sealed_with ON shared_tickets (substr(ticket, 1, 5));
CREATE INDEX shared_tickets_by_expiry ON shared_tickets (expire_time);

-- Who gets or renews a tenant's ticket at this moment, until when by this server's clock.
CREATE TABLE leases (
    tenant      TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 32),
    owner       TEXT NOT NULL,
    fence       BIGINT NOT NULL,
    expire_time TIMESTAMPTZ NOT NULL
);

CREATE INDEX leases_by_expiry ON leases (expire_time);

-- Tells each lease from all before it.
CREATE SEQUENCE lease_fences;
