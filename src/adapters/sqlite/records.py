"""The tables of the store: documents as JSON, columns only for what they are looked up by."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from domain.bundles import BundleRecord
from domain.container_exec import OpenCommand
from domain.container_orders import OpenOrder
from domain.environments import Environment
from domain.images import ImageRecord
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import Operation, OperationEvent
from domain.timeline import EntryKind, TimelineEntry

T = TypeVar("T")
K = TypeVar("K", bound=str)


class Transactions(Protocol):
    """Runs work in transactions."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` gives, done in one transaction."""
        ...


class _Documents(Generic[K, T]):
    """One table of documents, each under a key of its own."""

    def __init__(
        self, store: Transactions, kind: type[T], table: str, key: str, key_of: Callable[[T], str]
    ) -> None:
        self._store = store
        self._kind = kind
        self._key_of = key_of
        # Names of tables cannot be parameters; these are our own.
        self._get = f"SELECT document FROM {table} WHERE {key} = ?"  # noqa: S608
        self._list = f"SELECT document FROM {table} ORDER BY {key}"  # noqa: S608
        self._put = f"INSERT OR REPLACE INTO {table} VALUES (?, ?)"  # noqa: S608
        self._remove = f"DELETE FROM {table} WHERE {key} = ?"  # noqa: S608

    async def get(self, key: K, /) -> T | None:
        """The record under a key."""
        found = await self._store.run(lambda c: self._decoded(c.execute(self._get, (key,))))
        return found[0] if found else None

    async def list(self) -> Sequence[T]:
        """All records, sorted by key."""
        return await self._store.run(lambda c: self._decoded(c.execute(self._list)))

    async def put(self, record: T, /) -> None:
        """Writes a record, in place of an earlier one of the key."""
        row = (self._key_of(record), msgspec.json.encode(record))
        await self._store.run(lambda c: c.execute(self._put, row))

    async def remove(self, key: K, /) -> None:
        """Takes a record away."""
        await self._store.run(lambda c: c.execute(self._remove, (key,)))

    def _decoded(self, rows: sqlite3.Cursor) -> Sequence[T]:
        return [msgspec.json.decode(row[0], type=self._kind) for row in rows]


class SqliteEnvironments(_Documents[EnvironmentName, Environment]):
    """Records of environments.

    All of them are asked for many times a minute, and at every list of containers: they are kept
    until one is written.
    """

    def __init__(self, store: Transactions) -> None:
        super().__init__(store, Environment, "environments", "name", lambda record: record.name)
        self._writes = 0
        self._kept: tuple[int, Sequence[Environment]] | None = None

    async def list(self) -> Sequence[Environment]:
        """All records, sorted by name."""
        if self._kept is None or self._kept[0] != self._writes:
            writes = self._writes
            self._kept = (writes, tuple(await super().list()))
        return self._kept[1]

    async def put(self, record: Environment, /) -> None:
        """Writes a record, in place of an earlier one of the name."""
        with self.writing():
            await super().put(record)

    async def remove(self, key: EnvironmentName, /) -> None:
        """Takes a record away."""
        with self.writing():
            await super().remove(key)

    async def update(
        self, name: EnvironmentName, change: Callable[[Environment], Environment]
    ) -> Environment | None:
        """Changes a record with nothing in between."""

        def work(connection: sqlite3.Connection) -> Environment | None:
            found = self._decoded(connection.execute(self._get, (name,)))
            if not found:
                return None
            changed = change(found[0])
            connection.execute(self._put, (changed.name, msgspec.json.encode(changed)))
            return changed

        with self.writing():
            return await self._store.run(work)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Is around each write: whoever reads meanwhile may read what was before, so what is kept
        counts no more.
        """
        try:
            yield
        finally:
            self._writes += 1


class SqliteBundles(_Documents[BundleDigest, BundleRecord]):
    """Records of kept bundles."""

    def __init__(self, store: Transactions) -> None:
        super().__init__(store, BundleRecord, "bundles", "digest", lambda record: record.digest)


class SqliteImages(_Documents[str, ImageRecord]):
    """Records of images."""

    def __init__(self, store: Transactions) -> None:
        super().__init__(store, ImageRecord, "images", "tag", lambda record: record.tag)


class SqliteOpenCommands(_Documents[str, OpenCommand]):
    """Records of commands that run in containers."""

    def __init__(self, store: Transactions) -> None:
        super().__init__(store, OpenCommand, "open_commands", "mark", lambda record: record.mark)


class SqliteOpenOrders(_Documents[str, OpenOrder]):
    """Records of containers that are being made."""

    def __init__(self, store: Transactions) -> None:
        super().__init__(store, OpenOrder, "open_orders", "mark", lambda record: record.mark)


_PUT_OPERATION = (
    "INSERT INTO operations (id, ended, ages_from, document, subject, idempotency_key, number) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, "
    "ages_from = excluded.ages_from, document = excluded.document"
)
_UNENDED = "SELECT document FROM operations WHERE ended = 0 ORDER BY number, id"
_LATEST = "SELECT document FROM operations ORDER BY number DESC, id DESC LIMIT ?"
_LATEST_OF = (
    "SELECT document FROM operations WHERE subject = ? ORDER BY number DESC, id DESC LIMIT ?"
)
_BY_KEY = (
    "SELECT document FROM operations WHERE idempotency_key = ? "
    "ORDER BY number DESC, id DESC LIMIT 1"
)
_PRUNE = (
    "DELETE FROM operations WHERE ended = 1 AND (ages_from < ? OR id NOT IN (SELECT id FROM "
    "operations WHERE ended = 1 ORDER BY number DESC, id DESC LIMIT ?))"
)
_PRUNE_EVENTS = "DELETE FROM operation_events WHERE operation NOT IN (SELECT id FROM operations)"
_TOO_MUCH = (
    "DELETE FROM operation_events WHERE operation IN (SELECT operation FROM (SELECT e.operation, "
    "sum(length(e.document)) OVER (ORDER BY o.number DESC, o.id DESC) AS together "
    "FROM operation_events AS e JOIN operations AS o ON o.id = e.operation) WHERE together > ?)"
)


class SqliteOperations:
    """Records of operations."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    async def get(self, operation: OperationId) -> Operation | None:
        """The record of one operation."""
        found = await self._select("SELECT document FROM operations WHERE id = ?", operation)
        return found[0] if found else None

    async def put(self, operation: Operation) -> None:
        """Writes a record, in place of an earlier one of the identifier."""
        row = (
            operation.id,
            operation.closed,
            sortable(operation.ages_from),
            msgspec.json.encode(operation),
            operation.subject,
            operation.asked.idempotency_key,
            operation.place,
        )
        await self._store.run(lambda c: c.execute(_PUT_OPERATION, row))

    async def unended(self) -> Sequence[Operation]:
        """Operations that have not ended or were left open, in the order of their numbers."""
        return await self._select(_UNENDED)

    async def latest(self, subject: str | None, limit: int) -> Sequence[Operation]:
        """The newest operations, of one subject or of all, newest first."""
        if subject is None:
            return await self._select(_LATEST, limit)
        return await self._select(_LATEST_OF, subject, limit)

    async def by_key(self, idempotency_key: str) -> Operation | None:
        """The newest operation that was asked for with this key."""
        found = await self._select(_BY_KEY, idempotency_key)
        return found[0] if found else None

    async def put_events(self, operation: OperationId, events: Sequence[OperationEvent]) -> None:
        """Writes what happened in an operation."""
        row = (operation, msgspec.json.encode(events))
        await self._store.run(
            lambda c: c.execute("INSERT OR REPLACE INTO operation_events VALUES (?, ?)", row)
        )

    async def events(self, operation: OperationId) -> Sequence[OperationEvent]:
        """What happened in an operation."""
        query = "SELECT document FROM operation_events WHERE operation = ?"
        found = await self._store.run(lambda c: list(c.execute(query, (operation,))))
        return msgspec.json.decode(found[0][0], type=list[OperationEvent]) if found else []

    async def prune(
        self, keep: int, *, before: datetime | None = None, event_bytes: int | None = None
    ) -> None:
        """Takes away records of operations that have ended."""
        row = (sortable(before) if before is not None else "", keep)

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute(_PRUNE, row).rowcount:
                connection.execute(_PRUNE_EVENTS)
            if event_bytes is not None:
                connection.execute(_TOO_MUCH, (event_bytes,))

        await self._store.run(work)

    async def _select(self, query: str, *values: Any) -> list[Operation]:
        return await self._store.run(lambda c: [_operation(r) for r in c.execute(query, values)])


_TIMELINE_OF = (
    "SELECT document FROM (SELECT number, document FROM timeline WHERE environment = ? "
    "ORDER BY number DESC LIMIT ?) ORDER BY number"
)
_NEWEST = (
    "SELECT at FROM timeline WHERE json_extract(CAST(document AS TEXT), '$.kind') = ? "
    "ORDER BY at DESC LIMIT 1"
)
_TOO_MANY = (
    "DELETE FROM timeline WHERE number IN (SELECT number FROM (SELECT number, row_number() OVER "
    "(PARTITION BY environment ORDER BY number DESC) AS place FROM timeline) WHERE place > ?)"
)


class SqliteTimeline:
    """What happened to environments."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    async def append(self, entry: TimelineEntry) -> None:
        """Adds an entry."""
        statement = "INSERT INTO timeline (environment, at, document) VALUES (?, ?, ?)"
        row = (entry.environment, sortable(entry.at), msgspec.json.encode(entry))
        await self._store.run(lambda c: c.execute(statement, row))

    async def of(self, name: EnvironmentName, limit: int) -> Sequence[TimelineEntry]:
        """The newest entries of one environment, oldest first."""
        return await self._store.run(
            lambda c: [
                msgspec.json.decode(row[0], type=TimelineEntry)
                for row in c.execute(_TIMELINE_OF, (name, limit))
            ]
        )

    async def newest(self, kind: EntryKind) -> datetime | None:
        """Of when the newest entry of a kind is, by the clock as it is set now."""
        row = await self._store.run(lambda c: c.execute(_NEWEST, (kind.value,)).fetchone())
        return datetime.fromisoformat(row[0]) if row is not None else None

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away old entries, and all but the newest of each name."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM timeline WHERE at < ?", (sortable(before),))
            connection.execute(_TOO_MANY, (keep,))

        await self._store.run(work)


def sortable(moment: datetime) -> str:
    """A moment as text that sorts by time, for which all must be written alike."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _operation(row: Sequence[bytes]) -> Operation:
    return msgspec.json.decode(row[0], type=Operation)


DOCUMENTS = (
    ("environments", Environment),
    ("bundles", BundleRecord),
    ("images", ImageRecord),
    ("open_commands", OpenCommand),
    ("open_orders", OpenOrder),
    ("operations", Operation),
)
"""Tables whose documents are read at the start, to know that they can be."""
