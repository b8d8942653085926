-- Commands that run in containers, so that none runs on that was to be ended.
CREATE TABLE open_commands (
    mark TEXT PRIMARY KEY,
    document BLOB NOT NULL
) STRICT, WITHOUT ROWID;
