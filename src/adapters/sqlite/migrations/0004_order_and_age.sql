-- A number orders operations, since the time of day does not where the clock is set back.
ALTER TABLE operations ADD COLUMN number INTEGER NOT NULL DEFAULT 0;

UPDATE operations SET number = CAST(strftime('%s', requested_at) AS INTEGER) * 1000000
    + CAST(substr(requested_at, 21, 6) AS INTEGER);

-- What a record ages by moves along when the clock is set; what its document tells does not.
ALTER TABLE operations RENAME COLUMN requested_at TO ages_from;

DROP INDEX operations_by_subject;
CREATE INDEX operations_by_number ON operations (number);
CREATE INDEX operations_by_subject ON operations (subject, number);
