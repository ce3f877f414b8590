-- Sign-ins that wait for their users. Times are milliseconds since 1970. Nonce, verifier and hint are sealed.
CREATE TABLE pending_sign_ins (
    state         BYTEA NOT NULL PRIMARY KEY CHECK (length(state) = 32),
    browser       BYTEA CHECK (length(browser) = 32),
    redirect_uri  TEXT NOT NULL,
    nonce         BYTEA NOT NULL,
    code_verifier BYTEA NOT NULL,
    tenant        TEXT,
    login_hint    BYTEA,
    expire_time   BIGINT NOT NULL
);

CREATE INDEX pending_sign_ins_by_expiry ON pending_sign_ins (expire_time);

-- What users allowed the application to do in their names, with the refresh token sealed. Keyed by the lower-case
-- ContextIdentifier and user, for tenants registered here or in the mounted directory.
CREATE TABLE grants (
    tenant        TEXT COLLATE "C" NOT NULL CHECK (length(tenant) BETWEEN 1 AND 32),
    "user"        TEXT COLLATE "C" NOT NULL CHECK (length("user") BETWEEN 1 AND 1024),
    name          TEXT NOT NULL,
    refresh_token BYTEA NOT NULL,
    associate_id  TEXT,
    create_time   TEXT NOT NULL,
    update_time   TEXT NOT NULL,
    PRIMARY KEY (tenant, "user")
);

CREATE INDEX grants_sealed_with ON grants (substr(refresh_token, 1, 5));
