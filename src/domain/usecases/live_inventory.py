"""Keeps the picture of the containers true while the Engine tells what happens to them."""

from collections.abc import Sequence

import anyio

from domain.engine_events import EngineEvent, Gap
from domain.errors import AgentError
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.usecases.engine_events import EventHub
from domain.usecases.inventory import InventoryWatch
from domain.usecases.unheard_changes import UNTOLD, UnheardChanges

PAUSE_SECONDS = 0.05
"""Pause after a look, in which what happens is gathered for the next one."""

MOST_PAUSE_SECONDS = 0.5

AGAIN_SECONDS = 0.4
"""When what has changed is looked at again: the Engine tells of some changes, such as a pause,
before its list shows them, and of others, such as a removal that failed, not at all."""

UNTOLD_SECONDS = 0.5
"""Pause between two looks at what may change without a word of the Engine."""

UNHEARD_SECONDS = 0.7
"""Pause between two looks at everything while the Engine answers, but does not tell its events."""

_SHARE = 4
"""Looking may take one part of the time in so many and one more, however much happens."""

_UNCHANGED = ("exec_", "attach", "detach", "resize", "top", "export", "archive-path", "commit")
"""Actions that leave a container as it is."""

Touched = frozenset[str] | None
"""Identifiers of the containers that something has changed; None for all of them."""

NOTHING: Touched = frozenset()


class LiveInventory:
    """Looks at what has changed as soon as the Engine says so, and at everything after a gap."""

    def __init__(self, inventory: InventoryWatch, events: EventHub, clock: Clock, log: Log) -> None:
        self._inventory = inventory
        self._events = events
        self._clock = clock
        self._log = log
        self._unheard = UnheardChanges(inventory, events, clock, log)
        self._doubtful: Touched = NOTHING
        self._doubt = anyio.Event()

    async def run(self) -> None:
        """Follows until the events end."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._look_again)
            group.start_soon(self._seek_events)
            group.start_soon(self._look_at_untold)
            group.start_soon(self._look_unheard)
            group.start_soon(self._unheard.run)
            with self._events.follow() as events:
                while await events.news():
                    changed = touched(events.taken())
                    began = self._clock.monotonic()
                    await self._look(changed)
                    self._be_in_doubt(changed)
                    took = self._clock.monotonic() - began
                    pause = max(PAUSE_SECONDS, _SHARE * took)
                    await self._clock.sleep(min(MOST_PAUSE_SECONDS, pause))
            group.cancel_scope.cancel()

    async def _seek_events(self) -> None:
        """Lets the events be sought at once when a look has found the Engine back."""
        while True:
            await self._inventory.returned.wait()
            self._events.seek()

    async def _look_at_untold(self) -> None:
        """Looks again and again at those that wait for something; sleeps while there are none."""
        while True:
            looked = self._inventory.looked
            waiting = self._waiting()
            if waiting:
                await self._clock.sleep(UNTOLD_SECONDS)
                if self._inventory.picture.engine_up:
                    await self._look(waiting)
            else:
                await looked.wait()

    def _waiting(self) -> frozenset[str]:
        """Those that may change untold; none while the Engine is away, as others look for it."""
        picture = self._inventory.picture
        if not picture.engine_up:
            return frozenset()
        return frozenset(c.id for c in picture.containers if c.state in UNTOLD)

    async def _look_unheard(self) -> None:
        while True:
            await self._clock.sleep(UNHEARD_SECONDS)
            if not self._events.listening and self._inventory.picture.engine_up:
                await self._look(None)

    async def _look(self, changed: Touched) -> None:
        try:
            if changed is None or not self._inventory.picture.engine_up:
                await self._inventory.refresh()
            elif changed:
                await self._inventory.update(changed)
        except AgentError as fault:
            self._log.debug("containers not looked at", reason=fault.detail)

    def _be_in_doubt(self, changed: Touched) -> None:
        if changed != NOTHING:
            self._doubtful = together(self._doubtful, changed)
            self._doubt.set()

    async def _look_again(self) -> None:
        while True:
            await self._doubt.wait()
            self._doubt = anyio.Event()
            changed, self._doubtful = self._doubtful, NOTHING
            await self._clock.sleep(AGAIN_SECONDS)
            await self._look(changed)


def together(one: Touched, other: Touched) -> Touched:
    """What one or the other has changed."""
    return None if one is None or other is None else one | other


def touched(items: Sequence[EngineEvent | Gap]) -> Touched:
    """Which containers may not be any more as they were."""
    found = NOTHING
    for item in items:
        found = together(found, _touched(item))
    return found


def _touched(item: EngineEvent | Gap) -> Touched:
    if isinstance(item, Gap):
        return None
    match item.kind:
        case "container":
            return NOTHING if item.action.startswith(_UNCHANGED) else frozenset({item.id})
        case "network":
            return frozenset({item.attributes.get("container", "")} - {""})
        case "image":
            # A name that moves to another image leaves containers with the earlier one's number.
            return None
        case _:
            return NOTHING
