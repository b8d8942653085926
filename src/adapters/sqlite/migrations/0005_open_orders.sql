-- Orders for single containers that are being carried out.
CREATE TABLE open_orders (
    mark TEXT PRIMARY KEY,
    document BLOB NOT NULL
) STRICT, WITHOUT ROWID;
