CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    subject TEXT NOT NULL,
    target TEXT NOT NULL,
    status INTEGER NOT NULL,
    document BLOB NOT NULL
) STRICT;

CREATE INDEX audit_by_age ON audit (at);
CREATE INDEX audit_by_target ON audit (target, number);
