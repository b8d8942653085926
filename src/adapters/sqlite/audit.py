"""The table of the audit trail."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

import msgspec

from adapters.sqlite.records import Transactions, sortable
from domain.audit import AuditEntry, Outcome

_INSERT = "INSERT INTO audit (at, subject, target, status, document) VALUES (?, ?, ?, ?, ?)"
_LATEST = (
    "SELECT number, document FROM audit WHERE number < ? AND (? IS NULL OR subject = ?) "
    "AND (? IS NULL OR target = ?) AND status >= ? AND status < ? ORDER BY number DESC LIMIT ?"
)
_TOO_MANY = (
    "DELETE FROM audit WHERE number NOT IN (SELECT number FROM audit ORDER BY number DESC LIMIT ?)"
)
_STATUSES = {
    None: (0, 1000),
    Outcome.OK: (0, 400),
    Outcome.REFUSED: (400, 500),
    Outcome.FAILED: (500, 1000),
}
_HIGHEST = 2**63 - 1


class SqliteAudit:
    """Who asked for what."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Adds entries, which are numbered by this."""
        rows = [
            (sortable(e.at), e.subject, e.target, e.status, msgspec.json.encode(e)) for e in entries
        ]
        await self._store.run(lambda c: c.executemany(_INSERT, rows))

    async def latest(
        self,
        limit: int,
        *,
        before: int | None = None,
        subject: str | None = None,
        target: str | None = None,
        outcome: Outcome | None = None,
    ) -> Sequence[AuditEntry]:
        """The newest entries, newest first."""
        low, high = _STATUSES[outcome]
        highest = _HIGHEST if before is None else before
        row = (highest, subject, subject, target, target, low, high, limit)
        return await self._store.run(lambda c: [_entry(*r) for r in c.execute(_LATEST, row)])

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away old entries, and all but the newest."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM audit WHERE at < ?", (sortable(before),))
            connection.execute(_TOO_MANY, (keep,))

        await self._store.run(work)


def _entry(number: int, document: bytes) -> AuditEntry:
    entry = msgspec.json.decode(document, type=AuditEntry)
    return msgspec.structs.replace(entry, number=number)
