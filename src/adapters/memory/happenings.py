"""What happens on an in-memory Engine, told as the real one tells it."""

from collections import UserDict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import anyio
import msgspec

from domain.containers import Container, ContainerState
from domain.engine_events import EngineEvent

REMEMBERED = 256
"""How many events are told to those who ask for earlier ones."""

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class Happenings:
    """Remembers the last events, and wakes those who wait for the next.

    Args:
        now: the time of day.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: _FIRST) -> None:
        self._now = now
        self._last: deque[EngineEvent] = deque(maxlen=REMEMBERED)
        self._nanoseconds = 0
        self.count = 0
        """How many there have been."""
        self.news = anyio.Event()
        """Set, and then replaced, when something happens."""

    def copy(self, now: Callable[[], datetime]) -> "Happenings":
        """The same again, that goes on by another time of day."""
        fresh = Happenings(now)
        fresh._last.extend(self._last)
        fresh._nanoseconds, fresh.count = self._nanoseconds, self.count
        return fresh

    def tell(
        self, kind: str, action: str, identifier: str, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Lets something have happened."""
        moment = int(self._now().timestamp() * 1e6) * 1000
        self._nanoseconds = max(self._nanoseconds + 1, moment)
        self._last.append(
            EngineEvent(
                nanoseconds=self._nanoseconds,
                kind=kind,
                action=action,
                id=identifier,
                attributes=attributes or {},
            )
        )
        self.count += 1
        self.wake()

    def wake(self) -> None:
        """Lets those who wait look again."""
        self.news.set()
        self.news = anyio.Event()

    def after(self, count: int) -> Sequence[EngineEvent]:
        """The events after the first so many, as far as they are remembered."""
        wanted = min(self.count - count, len(self._last))
        return list(self._last)[len(self._last) - wanted :]


class NotedContainers(UserDict[str, Container]):
    """Containers by name; each change of them is told."""

    def __init__(self, happenings: Happenings) -> None:
        super().__init__()
        self._happenings = happenings

    def __setitem__(self, name: str, container: Container) -> None:
        before = self.data.get(name)
        super().__setitem__(name, container)
        for action, more in _changes(before, container):
            self._tell(container, action, more)

    def rename(self, name: str, to: str) -> None:
        """Gives a container another name."""
        container = msgspec.structs.replace(self.data.pop(name), name=to)
        self.data[to] = container
        self._tell(container, "rename", {"oldName": f"/{name}"})

    def __delitem__(self, name: str) -> None:
        container = self.data[name]
        super().__delitem__(name)
        if container.running:
            self._tell(container, "die", {"exitCode": "137"})
        self._tell(container, "destroy", {})

    def _tell(self, container: Container, action: str, more: Mapping[str, str]) -> None:
        attributes = {
            **container.labels,
            "name": container.name,
            "image": container.image,
            **more,
        }
        self._happenings.tell("container", action, container.id, attributes)


def _changes(before: Container | None, after: Container) -> list[tuple[str, Mapping[str, str]]]:
    """The events that lead from one to the other: actions, and what is told beside."""
    found: list[tuple[str, Mapping[str, str]]] = []
    if before is None or before.id != after.id:
        found.append(("create", {}))
    was = before.state if before is not None else ContainerState.CREATED
    if was is not after.state:
        found += _transition(was, after)
    if before is not None and after.health not in {None, "starting", before.health}:
        found.append((f"health_status: {after.health}", {}))
    return found


def _transition(was: ContainerState, after: Container) -> list[tuple[str, Mapping[str, str]]]:
    match after.state:
        case ContainerState.RUNNING:
            return [("unpause" if was is ContainerState.PAUSED else "start", {})]
        case ContainerState.PAUSED:
            return [("pause", {})]
        case ContainerState.EXITED | ContainerState.RESTARTING if was is not ContainerState.CREATED:
            return [("die", {"exitCode": str(after.exit_code or 0)})]
        case _:
            return []
