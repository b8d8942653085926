"""Records that are gone with the agent."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

import anyio.lowlevel
import msgspec

from domain.audit import AuditEntry, Outcome
from domain.bundles import BundleRecord
from domain.environments import Environment
from domain.errors import StoreUnavailable
from domain.images import ImageRecord
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import Operation, OperationEvent
from domain.timeline import EntryKind, TimelineEntry

K = TypeVar("K", bound=str)
T = TypeVar("T")


class MemoryStore:
    """Twin of ``SqliteStore``; while ``fault`` is set, every call fails with it."""

    def __init__(self) -> None:
        self.fault: StoreUnavailable | None = None
        self._environments = MemoryEnvironments(self, lambda record: record.name)
        self._bundles = MemoryBundleRecords(self, lambda record: record.digest)
        self._images = MemoryImages(self, lambda record: record.tag)
        self._operations = MemoryOperations(self)
        self._timeline = MemoryTimeline(self)
        self._audit = MemoryAudit(self)

    @property
    def environments(self) -> "MemoryEnvironments":
        """Records of environments."""
        return self._environments

    @property
    def bundles(self) -> "MemoryBundleRecords":
        """Records of kept bundles."""
        return self._bundles

    @property
    def images(self) -> "MemoryImages":
        """Records of images."""
        return self._images

    @property
    def operations(self) -> "MemoryOperations":
        """Records of operations."""
        return self._operations

    @property
    def timeline(self) -> "MemoryTimeline":
        """What happened to environments."""
        return self._timeline

    @property
    def audit(self) -> "MemoryAudit":
        """Who asked for what."""
        return self._audit

    async def check(self) -> None:
        """Returns if no fault is set."""
        await anyio.lowlevel.checkpoint()
        if self.fault is not None:
            raise self.fault


class _Documents(Generic[K, T]):
    """Records, each under a key of its own."""

    def __init__(self, store: MemoryStore, key_of: Callable[[T], K]) -> None:
        self._store = store
        self._key_of = key_of
        self._records: dict[K, T] = {}

    async def get(self, key: K, /) -> T | None:
        """The record under a key."""
        await self._store.check()
        return self._records.get(key)

    async def list(self) -> Sequence[T]:
        """All records, sorted by key."""
        await self._store.check()
        return [self._records[key] for key in sorted(self._records)]

    async def put(self, record: T, /) -> None:
        """Writes a record."""
        await self._store.check()
        self._records[self._key_of(record)] = record

    async def remove(self, key: K, /) -> None:
        """Takes a record away."""
        await self._store.check()
        self._records.pop(key, None)


class MemoryEnvironments(_Documents[EnvironmentName, Environment]):
    """Records of environments."""

    async def update(
        self, name: EnvironmentName, change: Callable[[Environment], Environment]
    ) -> Environment | None:
        """Changes a record with nothing in between."""
        await self._store.check()
        if name not in self._records:
            return None
        self._records[name] = change(self._records[name])
        return self._records[name]


class MemoryBundleRecords(_Documents[BundleDigest, BundleRecord]):
    """Records of kept bundles."""


class MemoryImages(_Documents[str, ImageRecord]):
    """Records of images."""


class MemoryOperations:
    """Records of operations."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._records: dict[OperationId, Operation] = {}
        self._events: dict[OperationId, tuple[OperationEvent, ...]] = {}

    async def get(self, operation: OperationId) -> Operation | None:
        """The record of one operation."""
        await self._store.check()
        return self._records.get(operation)

    async def put(self, operation: Operation) -> None:
        """Writes a record."""
        await self._store.check()
        self._records[operation.id] = operation

    async def unended(self) -> Sequence[Operation]:
        """Operations that have not ended, oldest request first."""
        await self._store.check()
        return [o for o in self._sorted() if not o.state.ended]

    async def latest(self, subject: str | None, limit: int) -> Sequence[Operation]:
        """The newest operations, of one subject or of all, newest first."""
        await self._store.check()
        found = [o for o in reversed(self._sorted()) if subject in {None, o.subject}]
        return found[:limit]

    async def by_key(self, idempotency_key: str) -> Operation | None:
        """The newest operation that was asked for with this key."""
        await self._store.check()
        found = [o for o in self._sorted() if o.asked.idempotency_key == idempotency_key]
        return found[-1] if found else None

    async def put_events(self, operation: OperationId, events: Sequence[OperationEvent]) -> None:
        """Writes what happened in an operation."""
        await self._store.check()
        self._events[operation] = tuple(events)

    async def events(self, operation: OperationId) -> Sequence[OperationEvent]:
        """What happened in an operation."""
        await self._store.check()
        return list(self._events.get(operation, ()))

    async def prune(self, keep: int, *, before: datetime | None = None) -> None:
        """Takes away records of operations that have ended."""
        await self._store.check()
        ended = [o for o in self._sorted() if o.state.ended]
        surplus = ended[: max(0, len(ended) - keep)]
        old = [o for o in ended if before is not None and o.requested_at < before]
        for operation in {o.id for o in (*surplus, *old)}:
            del self._records[operation]
            self._events.pop(operation, None)

    def _sorted(self) -> list[Operation]:
        return sorted(self._records.values(), key=lambda o: (o.requested_at, o.id))


class MemoryTimeline:
    """What happened to environments."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._entries: list[TimelineEntry] = []

    async def append(self, entry: TimelineEntry) -> None:
        """Adds an entry."""
        await self._store.check()
        self._entries.append(entry)

    async def of(self, name: EnvironmentName, limit: int) -> Sequence[TimelineEntry]:
        """The newest entries of one environment, oldest first."""
        await self._store.check()
        found = [entry for entry in self._entries if entry.environment == name]
        return found[max(0, len(found) - limit) :]

    async def newest(self, kind: EntryKind) -> datetime | None:
        """Of when the newest entry of a kind is."""
        await self._store.check()
        return max((entry.at for entry in self._entries if entry.kind is kind), default=None)

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away old entries, and all but the newest of each name."""
        await self._store.check()
        self._entries = [entry for entry in self._entries if entry.at >= before]
        for name in {entry.environment for entry in self._entries}:
            own = [e for e in self._entries if e.environment == name]
            kept = {id(e) for e in own[max(0, len(own) - keep) :]}
            self._entries = [e for e in self._entries if e.environment != name or id(e) in kept]


class MemoryAudit:
    """Who asked for what."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._entries: list[AuditEntry] = []
        self._number = 0

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Adds entries, which are numbered by this."""
        await self._store.check()
        for entry in entries:
            self._number += 1
            self._entries.append(msgspec.structs.replace(entry, number=self._number))

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
        await self._store.check()
        found = [
            entry
            for entry in reversed(self._entries)
            if (before is None or entry.number < before)
            and subject in {None, entry.subject}
            and target in {None, entry.target}
            and outcome in {None, entry.outcome}
        ]
        return found[:limit]

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away old entries, and all but the newest."""
        await self._store.check()
        fresh = [entry for entry in self._entries if entry.at >= before]
        self._entries = fresh[max(0, len(fresh) - keep) :]
