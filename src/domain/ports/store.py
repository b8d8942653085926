"""The agent's records, which outlive it.

Each call is one transaction, on disk when it returns. All may raise ``StoreUnavailable``, and
``HostExhausted`` where the host has no memory or thread to spare.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from domain.audit import AuditEntry, Outcome
from domain.bundles import BundleRecord
from domain.container_exec import OpenCommand
from domain.container_orders import OpenOrder
from domain.environments import Environment
from domain.images import ImageRecord
from domain.moments import Shift
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import Operation, OperationEvent
from domain.timeline import EntryKind, TimelineEntry


class Environments(Protocol):
    """Records of environments."""

    async def get(self, name: EnvironmentName) -> Environment | None:
        """The record of one environment."""
        ...

    async def list(self) -> Sequence[Environment]:
        """All records, sorted by name."""
        ...

    async def put(self, environment: Environment) -> None:
        """Writes a record, in place of an earlier one of the name."""
        ...

    async def update(
        self, name: EnvironmentName, change: Callable[[Environment], Environment]
    ) -> Environment | None:
        """Changes a record with nothing in between; None where there is none.

        ``change`` may be called in a thread, and again where the disk was full at first; what it
        raises leaves the record as it is.
        """
        ...

    async def remove(self, name: EnvironmentName) -> None:
        """Takes a record away. May be repeated."""
        ...


class BundleRecords(Protocol):
    """Records of kept bundles."""

    async def get(self, digest: BundleDigest) -> BundleRecord | None:
        """The record of one bundle."""
        ...

    async def list(self) -> Sequence[BundleRecord]:
        """All records, sorted by digest."""
        ...

    async def put(self, bundle: BundleRecord) -> None:
        """Writes a record, in place of an earlier one of the digest."""
        ...

    async def remove(self, digest: BundleDigest) -> None:
        """Takes a record away. May be repeated."""
        ...


class ImageRecords(Protocol):
    """Records of images that were built or pulled for environments."""

    async def get(self, tag: str) -> ImageRecord | None:
        """The record of one image."""
        ...

    async def list(self) -> Sequence[ImageRecord]:
        """All records, sorted by tag."""
        ...

    async def put(self, image: ImageRecord) -> None:
        """Writes a record, in place of an earlier one of the tag."""
        ...

    async def remove(self, tag: str) -> None:
        """Takes a record away. May be repeated."""
        ...


class OpenCommandRecords(Protocol):
    """Records of commands that run in containers."""

    async def get(self, mark: str) -> OpenCommand | None:
        """The record of one command."""
        ...

    async def list(self) -> Sequence[OpenCommand]:
        """All records, sorted by mark."""
        ...

    async def put(self, command: OpenCommand) -> None:
        """Writes a record, in place of an earlier one of the mark."""
        ...

    async def remove(self, mark: str) -> None:
        """Takes a record away. May be repeated."""
        ...


class OpenOrderRecords(Protocol):
    """Records of containers that are being made one by one."""

    async def get(self, mark: str) -> OpenOrder | None:
        """The record of one order."""
        ...

    async def list(self) -> Sequence[OpenOrder]:
        """All records, sorted by mark."""
        ...

    async def put(self, order: OpenOrder) -> None:
        """Writes a record, in place of an earlier one of the mark."""
        ...

    async def remove(self, mark: str) -> None:
        """Takes a record away. May be repeated."""
        ...


class OperationRecords(Protocol):
    """Records of operations."""

    async def get(self, operation: OperationId) -> Operation | None:
        """The record of one operation."""
        ...

    async def put(self, operation: Operation) -> None:
        """Writes a record, in place of an earlier one of the identifier, whose number stays."""
        ...

    async def unended(self) -> Sequence[Operation]:
        """Operations that have not ended or were left open, in the order of their numbers."""
        ...

    async def latest(self, subject: str | None, limit: int) -> Sequence[Operation]:
        """The ``limit`` newest operations by their numbers, of one subject or of all."""
        ...

    async def by_key(self, idempotency_key: str) -> Operation | None:
        """The newest operation that was asked for with this key."""
        ...

    async def put_events(self, operation: OperationId, events: Sequence[OperationEvent]) -> None:
        """Writes what happened in an operation, in place of what was written before.

        Goes with the operation's record.
        """
        ...

    async def events(self, operation: OperationId) -> Sequence[OperationEvent]:
        """What happened in an operation; empty where nothing was written."""
        ...

    async def prune(
        self, keep: int, *, before: datetime | None = None, event_bytes: int | None = None
    ) -> None:
        """Takes away records of operations that have ended.

        Args:
            keep: how many of the newest stay.
            before: those that ended before this moment go all the same.
            event_bytes: how much the events of all may take up; those of older operations go, while
                their records stay.
        """
        ...


class Timeline(Protocol):
    """What happened to environments."""

    async def append(self, entry: TimelineEntry) -> None:
        """Adds an entry."""
        ...

    async def of(self, name: EnvironmentName, limit: int) -> Sequence[TimelineEntry]:
        """The ``limit`` newest entries of one environment, oldest first."""
        ...

    async def newest(self, kind: EntryKind) -> datetime | None:
        """Of when the newest entry of a kind is; None if there is none."""
        ...

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away entries from before a moment, and all but the ``keep`` newest of each name."""
        ...


class Audit(Protocol):
    """Who asked for what."""

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Adds entries, which are numbered by this."""
        ...

    async def latest(
        self,
        limit: int,
        *,
        before: int | None = None,
        subject: str | None = None,
        target: str | None = None,
        outcome: Outcome | None = None,
    ) -> Sequence[AuditEntry]:
        """The ``limit`` newest entries that all the filters let through, newest first.

        Args:
            limit: how many.
            before: only those with a lower number.
            subject: only of this one.
            target: only about this one.
            outcome: only with this one.
        """
        ...

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away entries from before a moment, and all but the ``keep`` newest."""
        ...


class Store(Protocol):
    """All records, and whether they can be had."""

    @property
    def environments(self) -> Environments:
        """Records of environments."""
        ...

    @property
    def bundles(self) -> BundleRecords:
        """Records of kept bundles."""
        ...

    @property
    def images(self) -> ImageRecords:
        """Records of images."""
        ...

    @property
    def open_commands(self) -> OpenCommandRecords:
        """Records of commands that run in containers."""
        ...

    @property
    def open_orders(self) -> OpenOrderRecords:
        """Records of containers that are being made."""
        ...

    @property
    def operations(self) -> OperationRecords:
        """Records of operations."""
        ...

    @property
    def timeline(self) -> Timeline:
        """What happened to environments."""
        ...

    @property
    def audit(self) -> Audit:
        """Who asked for what."""
        ...

    @property
    def short_of_room(self) -> str:
        """Why nothing should be asked for but what makes room; empty while there is enough.

        What is left then is held for removals, and for the ends of what is under way.
        """
        ...

    async def check(self) -> None:
        """Returns if records can be read and written.

        Raises:
            StoreUnavailable: they cannot.
        """
        ...

    async def mend(self) -> bool:
        """Sees to what others did to the records meanwhile: damaged, changed or removed them.

        What is damaged is set aside and begun anew; what runs is found again from Docker and disk
        by the next look at consistency.

        Returns:
            Whether records may be others than those that the agent wrote.

        Raises:
            StoreUnavailable: it cannot be done now.
        """
        ...

    async def move(self, shift: Shift) -> None:
        """Moves what records age by: ends, uses, entries; and of environments when they expire.

        What is history stays as it was told: when things were asked for, done and seen.

        Args:
            shift: by how much; given the moment at which the record was written, or the environment
                made. May be called in a thread.
        """
        ...

    async def compact(self) -> None:
        """Gives room back to the disk that records no longer take; some of it at each call."""
        ...
