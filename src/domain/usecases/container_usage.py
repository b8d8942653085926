"""What containers have used, read when somebody asks."""

from collections.abc import Mapping, Sequence

import anyio
import msgspec

from domain.container_usage import ContainerUsage
from domain.containers import Container
from domain.errors import AgentError
from domain.ports.clock import Clock
from domain.ports.container_usage import ContainerUsages
from domain.ports.log import Log
from domain.usecases.inventory import InventoryWatch

MOST_CONTAINERS = 1000
"""How many containers are read at once."""

FRESH_SECONDS = 1.0
"""Those who ask within so long of each other get the same."""

SOURCE_SECONDS = 5.0
"""How long one source may take; Prometheus waits ten."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of the containers that run, at one moment."""

    used: tuple[tuple[Container, ContainerUsage], ...] = ()
    unread: int = 0
    """How many run beside these: their counters cannot be had, or there are too many."""


class UsageWatch:
    """Reads counters where that costs least, and asks elsewhere for those that are not there.

    Args:
        sources: the cheapest first.
        inventory: knows which containers run.
        clock: time.
        log: tells of sources that fail.
    """

    def __init__(
        self,
        sources: Sequence[ContainerUsages],
        inventory: InventoryWatch,
        clock: Clock,
        log: Log,
    ) -> None:
        self._sources = sources
        self._inventory = inventory
        self._clock = clock
        self._log = log
        self._one_at_a_time = anyio.Lock()
        self._observed_at: float | None = None
        self.latest = Observation()
        """What was last observed."""

    async def observe(self) -> Observation:
        """The counters of all containers that run, now or a moment ago."""
        async with self._one_at_a_time:
            now = self._clock.monotonic()
            if self._observed_at is None or now - self._observed_at >= FRESH_SECONDS:
                self.latest = await self._observe()
                self._observed_at = now
            return self.latest

    async def _observe(self) -> Observation:
        running = [c for c in self._inventory.picture.running if c.at_work]
        found = await self.of(running[:MOST_CONTAINERS])
        used = tuple((c, found[c.id]) for c in running if c.id in found)
        return Observation(used=used, unread=len(running) - len(used))

    async def of(self, containers: Sequence[Container]) -> Mapping[str, ContainerUsage]:
        """The counters of some containers now: identifier → usage.

        Those that do not run, or cannot be read, are left out.
        """
        found: dict[str, ContainerUsage] = {}
        for source in self._sources:
            missing = [container for container in containers if container.id not in found]
            if missing:
                found |= await self._ask(source, missing)
        return found

    async def _ask(
        self, source: ContainerUsages, containers: Sequence[Container]
    ) -> Mapping[str, ContainerUsage]:
        reason = f"it took longer than {SOURCE_SECONDS:g} s"
        try:
            with anyio.move_on_after(SOURCE_SECONDS):
                return await source.usage(containers)
        except AgentError as fault:
            reason = fault.detail
        self._log.debug("container counters cannot be read", reason=reason)
        return {}
