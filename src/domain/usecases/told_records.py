"""The agent's records, which tell the journal of what is written into them."""

from collections.abc import Callable, Sequence
from datetime import datetime

from domain.environments import Environment
from domain.errors import StoreUnavailable
from domain.host_events import Happened, Source
from domain.moments import Shift
from domain.names import EnvironmentName, OperationId
from domain.operations import Operation, OperationEvent, OperationState
from domain.ports.clock import Clock
from domain.ports.store import (
    Audit,
    BundleRecords,
    Environments,
    ImageRecords,
    OpenCommandRecords,
    OpenOrderRecords,
    OperationRecords,
    Store,
    Timeline,
)
from domain.timeline import EntryKind, TimelineEntry
from domain.usecases.journal import Journal

_TOLD_ENTRIES = frozenset({EntryKind.LIFETIME, EntryKind.HOLD, EntryKind.NETWORK})
"""What else timelines hold is told of as operations and containers."""


class ToldOperations:
    """Records of operations; what their states become is told."""

    def __init__(self, records: OperationRecords, journal: Journal, clock: Clock) -> None:
        self._records = records
        self._journal = journal
        self._clock = clock
        self._states: dict[OperationId, tuple[str, str]] = {}

    async def put(self, operation: Operation) -> None:
        """Writes a record, in place of an earlier one of the identifier."""
        try:
            await self._records.put(operation)
        except StoreUnavailable:
            # One that has ended has, though that could not be written down.
            if operation.state.ended:
                self._tell(operation)
            raise
        self._tell(operation)

    def _tell(self, operation: Operation) -> None:
        step = operation.step.value if operation.step is not None else ""
        before, step_before = self._states.get(operation.id, ("", ""))
        state = operation.state.value
        if state != before:
            self._note(operation, _ACTIONS.get(operation.state, state))
        elif step != step_before:
            self._note(operation, "step")
        if operation.state.ended:
            self._states.pop(operation.id, None)
        else:
            self._states[operation.id] = (state, step)

    def _note(self, operation: Operation, action: str) -> None:
        attributes = {"operation": operation.kind.value, "by": operation.asked.by}
        if operation.step is not None:
            attributes["step"] = operation.step.value
        if operation.bundle is not None:
            attributes["bundle"] = operation.bundle
        if operation.error:
            attributes["error"] = operation.error
        self._journal.note(
            Happened(
                at=self._clock.now(),
                source=Source.AGENT,
                kind="operation",
                action=action,
                id=operation.id,
                name=operation.subject,
                environment=operation.environment or "",
                text=operation.reason,
                attributes=attributes,
            )
        )

    async def get(self, operation: OperationId) -> Operation | None:
        """The record of one operation."""
        return await self._records.get(operation)

    async def unended(self) -> Sequence[Operation]:
        """Operations that have not ended, oldest request first."""
        return await self._records.unended()

    async def latest(self, subject: str | None, limit: int) -> Sequence[Operation]:
        """The newest operations, of one subject or of all."""
        return await self._records.latest(subject, limit)

    async def by_key(self, idempotency_key: str) -> Operation | None:
        """The newest operation that was asked for with this key."""
        return await self._records.by_key(idempotency_key)

    async def put_events(self, operation: OperationId, events: Sequence[OperationEvent]) -> None:
        """Writes what happened in an operation."""
        await self._records.put_events(operation, events)

    async def events(self, operation: OperationId) -> Sequence[OperationEvent]:
        """What happened in an operation."""
        return await self._records.events(operation)

    async def prune(
        self, keep: int, *, before: datetime | None = None, event_bytes: int | None = None
    ) -> None:
        """Takes away records of operations that have ended."""
        await self._records.prune(keep, before=before, event_bytes=event_bytes)


_ACTIONS = {OperationState.QUEUED: "requested", OperationState.RUNNING: "began"}


class ToldEnvironments:
    """Records of environments; what their states become is told."""

    def __init__(self, records: Environments, journal: Journal, clock: Clock) -> None:
        self._records = records
        self._journal = journal
        self._clock = clock

    async def get(self, name: EnvironmentName) -> Environment | None:
        """The record of one environment."""
        return await self._records.get(name)

    async def list(self) -> Sequence[Environment]:
        """All records, sorted by name."""
        return await self._records.list()

    async def put(self, environment: Environment) -> None:
        """Writes a record, in place of an earlier one of the name."""
        before = await self._records.get(environment.name)
        await self._records.put(environment)
        self._tell(before, environment)

    async def update(
        self, name: EnvironmentName, change: Callable[[Environment], Environment]
    ) -> Environment | None:
        """Changes a record with nothing in between; None where there is none."""
        found: list[Environment] = []

        def noted(before: Environment) -> Environment:
            # The last one counts, as it may be called again.
            found[:] = [before]
            return change(before)

        after = await self._records.update(name, noted)
        if after is not None and found:
            self._tell(found[0], after)
        return after

    async def remove(self, name: EnvironmentName) -> None:
        """Takes a record away. May be repeated."""
        before = await self._records.get(name)
        await self._records.remove(name)
        if before is not None:
            self._note(name, "removed", "", {"was": before.state.value})

    def _tell(self, before: Environment | None, after: Environment) -> None:
        if before is None or before.state is not after.state:
            was = {} if before is None else {"was": before.state.value}
            self._note(after.name, after.state.value, after.reason, was)

    def _note(
        self, name: EnvironmentName, action: str, text: str, attributes: dict[str, str]
    ) -> None:
        self._journal.note(
            Happened(
                at=self._clock.now(),
                source=Source.AGENT,
                kind="environment",
                action=action,
                name=name,
                environment=name,
                text=text,
                attributes=attributes,
            )
        )


class ToldTimeline:
    """Timelines; what befalls an environment beside its operations and containers is told."""

    def __init__(self, timeline: Timeline, journal: Journal) -> None:
        self._timeline = timeline
        self._journal = journal

    async def append(self, entry: TimelineEntry) -> None:
        """Adds an entry."""
        await self._timeline.append(entry)
        if entry.kind in _TOLD_ENTRIES:
            self._journal.note(
                Happened(
                    at=entry.at,
                    source=Source.AGENT,
                    kind="environment",
                    action=entry.kind.value,
                    name=entry.environment,
                    environment=entry.environment,
                    text=entry.text,
                    attributes={"by": entry.by} if entry.by else {},
                )
            )

    async def of(self, name: EnvironmentName, limit: int) -> Sequence[TimelineEntry]:
        """The newest entries of one environment, oldest first."""
        return await self._timeline.of(name, limit)

    async def newest(self, kind: EntryKind) -> datetime | None:
        """Of when the newest entry of a kind is."""
        return await self._timeline.newest(kind)

    async def prune(self, *, before: datetime, keep: int) -> None:
        """Takes away entries from before a moment, and all but the newest of each name."""
        await self._timeline.prune(before=before, keep=keep)


class ToldStore:
    """All records, of which some tell the journal."""

    def __init__(self, store: Store, journal: Journal, clock: Clock) -> None:
        self._store = store
        self._operations = ToldOperations(store.operations, journal, clock)
        self._environments = ToldEnvironments(store.environments, journal, clock)
        self._timeline = ToldTimeline(store.timeline, journal)

    @property
    def environments(self) -> Environments:
        """Records of environments."""
        return self._environments

    @property
    def bundles(self) -> BundleRecords:
        """Records of kept bundles."""
        return self._store.bundles

    @property
    def images(self) -> ImageRecords:
        """Records of images."""
        return self._store.images

    @property
    def open_commands(self) -> OpenCommandRecords:
        """Records of commands that run in containers."""
        return self._store.open_commands

    @property
    def open_orders(self) -> OpenOrderRecords:
        """Records of containers that are being made."""
        return self._store.open_orders

    @property
    def operations(self) -> OperationRecords:
        """Records of operations."""
        return self._operations

    @property
    def timeline(self) -> Timeline:
        """What happened to environments."""
        return self._timeline

    @property
    def audit(self) -> Audit:
        """Who asked for what."""
        return self._store.audit

    @property
    def short_of_room(self) -> str:
        """Why nothing should be asked for but what makes room."""
        return self._store.short_of_room

    async def move(self, shift: Shift) -> None:
        """Moves what records age by."""
        await self._store.move(shift)

    async def compact(self) -> None:
        """Gives room back to the disk that records no longer take."""
        await self._store.compact()

    async def check(self) -> None:
        """Returns if records can be read and written."""
        await self._store.check()

    async def mend(self) -> bool:
        """Begins anew where what is kept was damaged."""
        return await self._store.mend()
