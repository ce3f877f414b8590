-- The tenant status notices that were acted on, until their tokens expire. Times are milliseconds since 1970.
CREATE TABLE seen_notices (
    token_id    BLOB NOT NULL PRIMARY KEY CHECK (length(token_id) = 32),
    expire_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX seen_notices_by_expiry ON seen_notices (expire_time);
