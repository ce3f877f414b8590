-- Registered tenants. Keyed by the lower-case ContextIdentifier, in the order of its bytes. Times are RFC 3339 texts: they
-- keep nanoseconds. The system user token is sealed.
CREATE TABLE tenants (
    tenant             TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 32),
    context_identifier TEXT NOT NULL,
    system_user_token  BYTEA NOT NULL,
    create_time        TEXT NOT NULL,
    update_time        TEXT NOT NULL
);

-- The first five bytes of a sealed record tell which key sealed it: which keys are needed is told by such indices.
CREATE INDEX tenants_sealed_with ON tenants (substr(system_user_token, 1, 5));

-- What SuperOffice told about a tenant, whether it is registered here or in the mounted directory. No secrets.
CREATE TABLE tenant_observations (
    tenant     TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 32),
    serial     TEXT,
    webapi_url TEXT
);

-- The last change of each tenant that running processes have to hear of, also of tenants that are gone.
CREATE TABLE tenant_changes (
    tenant   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL UNIQUE
);

-- The number of the last change, in one row. Whoever changes a tenant locks it first and until the end, so that changes are
-- seen in the order of their numbers: a sequence's numbers are drawn in one order and committed in another.
CREATE TABLE tenant_revision (
    only_row BOOLEAN NOT NULL PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    revision BIGINT NOT NULL
);
INSERT INTO tenant_revision (revision) VALUES (0);
