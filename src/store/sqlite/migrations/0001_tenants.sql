-- 'TKTD': tells our database from another program's.
PRAGMA application_id = 1414222916;

-- Registered tenants. Keyed by the lower-case ContextIdentifier.
CREATE TABLE tenants (
    tenant             TEXT NOT NULL PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 32),
    context_identifier TEXT NOT NULL,
    system_user_token  BLOB NOT NULL,
    create_time        TEXT NOT NULL,
    update_time        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What SuperOffice told about a tenant, whether it is registered here or in the mounted directory. No secrets.
CREATE TABLE tenant_observations (
    tenant     TEXT NOT NULL PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 32),
    serial     TEXT,
    webapi_url TEXT
) STRICT, WITHOUT ROWID;

-- The last change of each tenant that running processes have to hear of, also of tenants that are gone.
CREATE TABLE tenant_changes (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT NOT NULL UNIQUE
) STRICT;
