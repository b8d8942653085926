-- Records are documents; columns beside them are what they are looked up by.
CREATE TABLE environments (
    name TEXT PRIMARY KEY,
    document BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    ended INTEGER NOT NULL,
    requested_at TEXT NOT NULL,
    document BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX operations_by_age ON operations (ended, requested_at);
