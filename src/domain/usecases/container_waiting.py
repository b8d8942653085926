"""Waits until a container is as somebody wants it."""

from contextlib import suppress
from enum import StrEnum

import anyio
import msgspec

from domain.container_details import ContainerDetails
from domain.containers import ContainerState
from domain.engine_events import EngineEvent, Gap
from domain.errors import ConditionNotReached, NotAccepting, ResourceConflict, ResourceNotFound
from domain.ports.container_details import ContainerLookup
from domain.usecases.container_access import ContainerAccess
from domain.usecases.engine_events import EventHub, Following

LOOK_SECONDS = 1.0
"""After how long it is looked at, whatever the Engine's events say."""

_CODE_SECONDS = 1.0
"""How long the event that tells of an end may come after what it led to was seen."""


class Condition(StrEnum):
    """What is waited for."""

    RUNNING = "running"
    HEALTHY = "healthy"
    EXITED = "exited"
    REMOVED = "removed"


class Waited(msgspec.Struct, frozen=True, kw_only=True):
    """How a container was found when what was waited for had come."""

    id: str
    name: str
    condition: Condition
    state: ContainerState | None
    """None where it is gone."""
    health: str | None
    exit_code: int | None
    """Of the end that was waited for, even if it runs again or is gone; else its last. None where
    it has not ended, or nobody was told."""


class ContainerWaiting:
    """Looks at a container whenever something happened to it, and now and then besides."""

    def __init__(self, access: ContainerAccess, lookup: ContainerLookup, events: EventHub) -> None:
        self._access = access
        self._lookup = lookup
        self._events = events

    async def until(self, text: str, condition: Condition, seconds: float) -> Waited:
        """Returns when a container is so, at once where it is already.

        Args:
            text: names it.
            condition: what is waited for.
            seconds: for how long at most.

        Raises:
            ConditionNotReached: it was not in time.
            ResourceConflict: it can never be.
            ResourceNotFound: there is none, or it is gone and can never be so.
            NotAccepting: the agent ends meanwhile.
        """
        with self._events.follow() as following:
            first = last = await self._access.find(text)
            _require_possible(condition, first)
            ending = _Ending(following, first.id)
            end = anyio.current_time() + seconds
            gone = False
            while not gone and not _reached(condition, first, last):
                left = end - anyio.current_time()
                if left <= 0:
                    raise _too_late(condition, last, seconds)
                with anyio.move_on_after(min(left, LOOK_SECONDS)):
                    await ending.touched()
                try:
                    last = await self._lookup.inspect(first.id)
                except ResourceNotFound:
                    if not _ends_with_removal(condition, first):
                        raise
                    gone = True
            code = last.state.exit_code
            if code is None and condition in {Condition.EXITED, Condition.REMOVED}:
                code = await ending.code()
            return _waited(condition, last, code, gone=gone)


class _Ending:
    """What happens to a container while it is waited for."""

    def __init__(self, following: Following, container_id: str) -> None:
        self._following = following
        self._container_id = container_id
        self._code: int | None = None

    async def touched(self) -> None:
        """Returns when something has happened to it, or may have."""
        async for event in self._following:
            if isinstance(event, Gap):
                return
            if event.kind == "container" and event.id == self._container_id:
                self._note(event)
                return
        raise NotAccepting("The agent is stopping.", hint="Try again shortly.")

    def _note(self, event: EngineEvent) -> None:
        code = event.attributes.get("exitCode", "")
        if event.action == "die" and code.isdecimal():
            self._code = int(code)

    async def code(self) -> int | None:
        """The exit code of an end that was seen; None where no event tells of it in time."""
        # What was waited for has come, whatever becomes of the agent.
        with anyio.move_on_after(_CODE_SECONDS), suppress(NotAccepting):
            while self._code is None:
                await self.touched()
        return self._code


def _ends_with_removal(condition: Condition, first: ContainerDetails) -> bool:
    """Whether a container that is gone is as somebody wanted it: what ran has ended by that."""
    return condition is Condition.REMOVED or (condition is Condition.EXITED and first.state.running)


def _require_possible(condition: Condition, container: ContainerDetails) -> None:
    if condition is Condition.HEALTHY and container.health is None and container.state.running:
        raise ResourceConflict(f"Container {container.name!r} has no healthcheck.")


def _reached(condition: Condition, first: ContainerDetails, now: ContainerDetails) -> bool:
    ended = now.state.finished_at is not None and not now.state.running
    # One that was started again at once has exited all the same.
    again = first.state.running and now.state.finished_at != first.state.finished_at
    match condition:
        case Condition.RUNNING:
            return now.state.status is ContainerState.RUNNING
        case Condition.HEALTHY:
            return now.state.status is ContainerState.RUNNING and now.health == "healthy"
        case Condition.EXITED:
            return ended or again
        case Condition.REMOVED:
            return False


def _waited(
    condition: Condition, last: ContainerDetails, code: int | None, *, gone: bool
) -> Waited:
    return Waited(
        id=last.id,
        name=last.name,
        condition=condition,
        state=None if gone else last.state.status,
        health=None if gone else last.health,
        exit_code=code,
    )


def _too_late(condition: Condition, last: ContainerDetails, seconds: float) -> ConditionNotReached:
    health = f" ({last.health})" if last.health else ""
    return ConditionNotReached(
        f"After {seconds:g} s container {last.name!r} is {last.state.status}{health}, not "
        f"{condition}.",
        hint="Wait again, or look at its logs.",
    )
