"""Records that are gone with the agent."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

import anyio.lowlevel
import msgspec

from domain.audit import AuditEntry, Outcome
from domain.bundles import BundleRecord
from domain.container_exec import OpenCommand
from domain.container_orders import OpenOrder
from domain.environments import Environment
from domain.errors import AgentError, StoreUnavailable
from domain.images import ImageRecord
from domain.moments import Shift, moved
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import Operation, OperationEvent
from domain.timeline import EntryKind, TimelineEntry

K = TypeVar("K", bound=str)
T = TypeVar("T")


class MemoryStore:
    """Twin of ``SqliteStore``; while ``fault`` is set, every call fails with it."""

    def __init__(self) -> None:
        self.fault: AgentError | None = None
        self.damaged = False
        """Whether every call fails until the records are mended."""
        self.short_of_room = ""
        """Why only removals should be asked for; as it is set."""
        self._environments = MemoryEnvironments(self, lambda record: record.name)
        self._bundles = MemoryBundleRecords(self, lambda record: record.digest)
        self._images = MemoryImages(self, lambda record: record.tag)
        self._open_commands = MemoryOpenCommands(self, lambda record: record.mark)
        self._open_orders = MemoryOpenOrders(self, lambda record: record.mark)
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
    def open_commands(self) -> "MemoryOpenCommands":
        """Records of commands that run in containers."""
        return self._open_commands

    @property
    def open_orders(self) -> "MemoryOpenOrders":
        """Records of containers that are being made."""
        return self._open_orders

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

    def damage(self) -> None:
        """Lets every call fail until the records are mended, which loses them."""
        self.damaged, self.fault = True, StoreUnavailable("The records are damaged.")

    async def mend(self) -> bool:
        """Begins anew after damage."""
        if not self.damaged:
            return False
        self.damaged, self.fault = False, None
        for document in (self._environments, self._bundles, self._images):
            document.forget()
        for open_ones in (self._open_commands, self._open_orders):
            open_ones.forget()
        for aged in (self._operations, self._timeline, self._audit):
            aged.forget()
        return True

    async def move(self, shift: Shift) -> None:
        """Moves what records age by, and when environments expire."""
        await self.check()
        self._environments.change(lambda record: record.moved(shift(record.created_at)))
        self._bundles.change(lambda record: _used(record, shift))
        self._images.change(lambda record: _used(record, shift))
        for aged in (self._operations, self._timeline, self._audit):
            aged.move(shift)

    async def compact(self) -> None:
        """Does nothing: what is removed takes no room."""
        await self.check()


Used = TypeVar("Used", BundleRecord, ImageRecord)


def _used(record: Used, shift: Shift) -> Used:
    moment = record.used_at
    return msgspec.structs.replace(record, used_at=moved(moment, shift(moment)))


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

    def forget(self) -> None:
        """Loses every record."""
        self._records.clear()

    def change(self, change: Callable[[T], T]) -> None:
        """Changes every record."""
        self._records = {key: change(record) for key, record in self._records.items()}


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


class MemoryOpenCommands(_Documents[str, OpenCommand]):
    """Records of commands that run in containers."""


class MemoryOpenOrders(_Documents[str, OpenOrder]):
    """Records of containers that are being made."""


class MemoryOperations:
    """Records of operations."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._records: dict[OperationId, Operation] = {}
        self._numbers: dict[OperationId, int] = {}
        self._ages_from: dict[OperationId, datetime] = {}
        self._events: dict[OperationId, tuple[OperationEvent, ...]] = {}

    def forget(self) -> None:
        """Loses every record."""
        for kept in (self._records, self._numbers, self._ages_from, self._events):
            kept.clear()

    async def get(self, operation: OperationId) -> Operation | None:
        """The record of one operation."""
        await self._store.check()
        return self._records.get(operation)

    async def put(self, operation: Operation) -> None:
        """Writes a record."""
        await self._store.check()
        self._records[operation.id] = operation
        self._numbers.setdefault(operation.id, operation.place)
        self._ages_from[operation.id] = operation.ages_from

    async def unended(self) -> Sequence[Operation]:
        """Operations that have not ended or were left open, in the order of their numbers."""
        await self._store.check()
        return [o for o in self._sorted() if not o.closed]

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

    async def prune(
        self, keep: int, *, before: datetime | None = None, event_bytes: int | None = None
    ) -> None:
        """Takes away records of operations that have ended."""
        await self._store.check()
        ended = [o for o in self._sorted() if o.closed]
        surplus = ended[: max(0, len(ended) - keep)]
        old = [o for o in ended if before is not None and self._ages_from[o.id] < before]
        for operation in {o.id for o in (*surplus, *old)}:
            for records in (self._records, self._numbers, self._ages_from):
                del records[operation]
            self._events.pop(operation, None)
        if event_bytes is not None:
            self._prune_events(event_bytes)

    def _prune_events(self, most: int) -> None:
        together = 0
        for operation in reversed(self._sorted()):
            if operation.id in self._events:
                together += len(msgspec.json.encode(self._events[operation.id]))
                if together > most:
                    del self._events[operation.id]

    def move(self, shift: Shift) -> None:
        """Moves what they age by."""
        for operation, moment in self._ages_from.items():
            self._ages_from[operation] = moved(moment, shift(moment))

    def _sorted(self) -> list[Operation]:
        return sorted(self._records.values(), key=lambda o: (self._numbers[o.id], o.id))


class _Aging(Generic[T]):
    """Entries in the order in which they came, each with the moment by which it ages."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._entries: list[tuple[datetime, T]] = []

    def forget(self) -> None:
        """Loses every entry."""
        self._entries.clear()

    def move(self, shift: Shift) -> None:
        """Moves what they age by."""
        self._entries = [(moved(at, shift(at)), entry) for at, entry in self._entries]

    def _younger(self, before: datetime) -> list[tuple[datetime, T]]:
        return [(at, entry) for at, entry in self._entries if at >= before]


class MemoryTimeline(_Aging[TimelineEntry]):
    """What happened to environments."""

    async def append(self, entry: TimelineEntry) -> None:
        """Adds an entry."""
        await self._store.check()
        self._entries.append((entry.at, entry))

    async def of(self, name: EnvironmentName, limit: int) -> Sequence[TimelineEntry]:
        """The newest entries of one environment, oldest first."""
        await self._store.check()
        found = [entry for _, entry in self._entries if entry.environment == name]
        return found[max(0, len(found) - limit) :]

    async def newest(self, kind: EntryKind) -> datetime | None:
        """Of when the newest entry of a kind is, by the clock as it is set now."""
        await self._store.check()
        return max((at for at, entry in self._entries if entry.kind is kind), default=None)

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away old entries, and all but the newest of each name."""
        await self._store.check()
        count: Counter[str] = Counter()
        kept = []
        for at, entry in reversed(self._younger(before)):
            count[entry.environment] += 1
            if count[entry.environment] <= keep:
                kept.append((at, entry))
        self._entries = kept[::-1]


class MemoryAudit(_Aging[AuditEntry]):
    """Who asked for what."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self._number = 0

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Adds entries, which are numbered by this."""
        await self._store.check()
        for entry in entries:
            self._number += 1
            numbered = msgspec.structs.replace(entry, number=self._number)
            self._entries.append((entry.at, numbered))

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
            for _, entry in reversed(self._entries)
            if (before is None or entry.number < before)
            and subject in {None, entry.subject}
            and target in {None, entry.target}
            and outcome in {None, entry.outcome}
        ]
        return found[:limit]

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away old entries, and all but the newest."""
        await self._store.check()
        fresh = self._younger(before)
        self._entries = fresh[max(0, len(fresh) - keep) :]
