-- Sign-ins that wait for their users. Times are milliseconds since 1970.
CREATE TABLE pending_sign_ins (
    state         BLOB NOT NULL PRIMARY KEY CHECK (length(state) = 32),
    browser       BLOB CHECK (length(browser) = 32),
    redirect_uri  TEXT NOT NULL,
    nonce         BLOB NOT NULL,
    code_verifier BLOB NOT NULL,
    tenant        TEXT,
    login_hint    BLOB,
    expire_time   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX pending_sign_ins_by_expiry ON pending_sign_ins (expire_time);

-- What users allowed the application to do in their names. Keyed by the lower-case ContextIdentifier and user, for
-- tenants registered here or in the mounted directory.
CREATE TABLE grants (
    tenant        TEXT NOT NULL CHECK (length(tenant) BETWEEN 1 AND 32),
    user          TEXT NOT NULL CHECK (length(user) BETWEEN 1 AND 1024),
    name          TEXT NOT NULL,
    refresh_token BLOB NOT NULL,
    associate_id  TEXT,
    create_time   TEXT NOT NULL,
    update_time   TEXT NOT NULL,
    PRIMARY KEY (tenant, user)
) STRICT, WITHOUT ROWID;
