"""Notices events that have fallen silent without having ended, and has them sought anew."""

from collections.abc import Mapping

from domain.containers import ContainerState, Inventory
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.usecases.engine_events import EventHub
from domain.usecases.inventory import InventoryWatch

GRACE_SECONDS = 1.0
"""How long before or after a change was seen the Engine may tell of it."""

UNTOLD = frozenset({ContainerState.RESTARTING, ContainerState.REMOVING})
"""One that waits for its restart and is then stopped or killed is at its end at once, and a removal
may fail: the Engine tells of neither."""

_Told = Mapping[str, tuple[str, ContainerState]]


class UnheardChanges:
    """Compares what looks at the Engine show with what its events have told.

    A connection through a proxy, or to an Engine on another host, may stand and carry nothing.
    """

    def __init__(self, inventory: InventoryWatch, events: EventHub, clock: Clock, log: Log) -> None:
        self._inventory = inventory
        self._events = events
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Compares until cancelled."""
        await self._inventory.looked.wait()
        before, since = _of(self._inventory.picture), self._clock.monotonic()
        while True:
            await self._inventory.looked.wait()
            now, at = _of(self._inventory.picture), self._clock.monotonic()
            if _would_be_told(before, now):
                await self._clock.sleep(GRACE_SECONDS)
                if self._events.listening and self._events.heard_at < since - GRACE_SECONDS:
                    self._log.warning("events of the engine have fallen silent")
                    self._events.renew()
            before, since = now, at


def _of(picture: Inventory) -> _Told:
    return {container.id: (container.name, container.state) for container in picture.containers}


def _would_be_told(before: _Told, now: _Told) -> bool:
    """Whether something has changed of which the Engine tells."""
    if before.keys() != now.keys():
        return True
    return any(before[each] != now[each] and before[each][1] not in UNTOLD for each in now)
