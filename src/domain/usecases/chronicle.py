"""Answers why an environment is as it is: what was asked, what was done, what happened to it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from domain.containers import ContainerAction, ContainerEvent
from domain.errors import AgentError, EnvironmentNotFound
from domain.moments import microseconds
from domain.names import EnvironmentName, OperationId
from domain.operations import EventKind, Operation
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import Environments, Timeline
from domain.timeline import EntryKind, TimelineEntry
from domain.usecases.operations import Operations

MOST_OPERATIONS = 50
"""How many of an environment's operations are told of."""


_RECENT_OPERATIONS = 20
"""Among so many of an environment's the one is looked for that something is a part of."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Chronicle:
    """Writes down what happens to environments, and tells it together with their operations."""

    def __init__(
        self,
        *,
        environments: Environments,
        timeline: Timeline,
        operations: Operations,
        clock: Clock,
        log: Log,
    ) -> None:
        self._environments = environments
        self._timeline = timeline
        self._operations = operations
        self._clock = clock
        self._log = log

    async def note(
        self, name: EnvironmentName, kind: EntryKind, text: str, *, by: str = "agent"
    ) -> None:
        """Writes something down; where that fails, only the log tells of it."""
        await self._append(
            TimelineEntry(
                at=self._clock.now(),
                environment=name,
                kind=kind,
                text=text,
                by=by,
                number=self._operations.numbers.next(),
            )
        )

    async def _append(self, entry: TimelineEntry) -> None:
        try:
            await self._timeline.append(entry)
        except AgentError as fault:
            self._log.warning("timeline not written", text=entry.text, reason=fault.detail)

    async def happened(self, event: ContainerEvent) -> None:
        """Writes down what happened to a container, if it is an environment's."""
        if event.project is None or event.action not in _TOLD:
            return
        name = EnvironmentName(event.project)
        if await self._environments.get(name) is None:
            return
        operation = await self._cause(name, event.at)
        if event.action in _PART_OF_CHANGES and operation is not None:
            return
        await self._append(
            TimelineEntry(
                at=event.at,
                environment=name,
                kind=EntryKind.CONTAINER,
                text=_words(event),
                operation=operation,
                by="" if operation is not None else _culprit(event),
                container=event.container,
                exit_code=event.exit_code,
                number=self._operations.numbers.of(event.at),
            )
        )

    async def _cause(self, name: EnvironmentName, at: datetime) -> OperationId | None:
        """The operation that was under way then, though it may have ended by now."""
        ticket = self._operations.under_way(name)
        if ticket is not None and ticket.operation.under_way_at(at):
            return ticket.operation.id
        recent = await self._operations.latest(name, _RECENT_OPERATIONS)
        return next((each.id for each in recent if each.under_way_at(at)), None)

    async def told_until(self) -> int | None:
        """The moment after what was last told of a container, in nanoseconds since 1970.

        None if nothing was, or the records cannot be had. What has happened since then, while no
        agent ran, is still to be told.
        """
        try:
            newest = await self._timeline.newest(EntryKind.CONTAINER)
        except AgentError as fault:
            self._log.debug("timeline not read", reason=fault.detail)
            return None
        # To the microsecond, in whole numbers.
        return None if newest is None else (newest - _EPOCH) // _MICROSECOND * 1000 + 1000

    async def of(self, name: EnvironmentName, limit: int) -> Sequence[TimelineEntry]:
        """What happened to an environment, oldest first; also of one that is gone, for a while.

        Raises:
            EnvironmentNotFound: nothing is known of it.
        """
        entries = list(await self._timeline.of(name, limit))
        for operation in reversed(await self._operations.latest(name, MOST_OPERATIONS)):
            entries += await self._of_operation(name, operation)
        if not entries and await self._environments.get(name) is None:
            raise EnvironmentNotFound(name)
        return sorted(entries, key=_place)[-limit:]

    async def _of_operation(
        self, name: EnvironmentName, operation: Operation
    ) -> list[TimelineEntry]:
        operation = await self._operations.get(operation.id)
        events = await self._operations.events(operation.id)
        what = operation.kind.value.capitalize()

        def entry(at: datetime, number: int, kind: EntryKind, text: str) -> TimelineEntry:
            return TimelineEntry(
                at=at,
                environment=name,
                kind=kind,
                text=f"{what}{text}",
                operation=operation.id,
                by=operation.asked.by if kind is EntryKind.REQUESTED else "",
                number=number,
            )

        requested = EntryKind.REQUESTED
        told = [entry(operation.requested_at, operation.place, requested, " was asked for.")]
        told += [
            entry(event.at, event.number, EntryKind.STEP, f": {event.text}.")
            for event in events
            if event.kind is EventKind.STEP
        ]
        if operation.ended_at is not None:
            why = f": {operation.reason}" if operation.reason else "."
            last = events[-1].number if events else microseconds(operation.ended_at)
            last = max(operation.place, last)
            text = f" {operation.state}{why}"
            told.append(entry(operation.ended_at, last, EntryKind.ENDED, text))
        return told


def _place(entry: TimelineEntry) -> int:
    """Where an entry stands among the others; an earlier agent gave no numbers."""
    return entry.number or microseconds(entry.at)


_PART_OF_CHANGES = {
    ContainerAction.KILLED,
    ContainerAction.STOPPED,
    ContainerAction.STARTED,
    ContainerAction.REMOVED,
}
"""Told of only where no operation is the reason."""

_TOLD = _PART_OF_CHANGES | {
    ContainerAction.DIED,
    ContainerAction.OUT_OF_MEMORY,
    ContainerAction.HEALTH,
    ContainerAction.PAUSED,
    ContainerAction.UNPAUSED,
    ContainerAction.RESTARTED,
}


def _words(event: ContainerEvent) -> str:
    container = event.container
    match event.action:
        case ContainerAction.DIED:
            return f"{container} ended with exit code {event.exit_code}."
        case ContainerAction.OUT_OF_MEMORY:
            return f"{container} used up its memory, and the kernel ended a process of it."
        case ContainerAction.HEALTH:
            return f"{container} is {event.health}."
        case ContainerAction.KILLED:
            return f"{container} was sent signal {event.signal}."
        case ContainerAction.REMOVED:
            return f"{container} was removed."
        case action:
            return f"{container}: {action.value}."


def _culprit(event: ContainerEvent) -> str:
    if event.action in _PART_OF_CHANGES - {ContainerAction.STARTED}:
        return "somebody at the Engine, not the agent"
    return ""
