CREATE TABLE bundles (
    digest TEXT PRIMARY KEY,
    document BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE images (
    tag TEXT PRIMARY KEY,
    document BLOB NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE operations ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE operations ADD COLUMN idempotency_key TEXT;

-- A document that is damaged is left for the check that sets the whole file aside.
UPDATE operations SET subject = json_extract(CAST(document AS TEXT), '$.environment')
    WHERE json_valid(CAST(document AS TEXT))
    AND json_extract(CAST(document AS TEXT), '$.environment') IS NOT NULL;

CREATE INDEX operations_by_subject ON operations (subject, requested_at);
CREATE INDEX operations_by_key ON operations (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE operation_events (
    operation TEXT PRIMARY KEY,
    document BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE timeline (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL,
    at TEXT NOT NULL,
    document BLOB NOT NULL
) STRICT;

CREATE INDEX timeline_by_environment ON timeline (environment, number);
CREATE INDEX timeline_by_age ON timeline (at);
