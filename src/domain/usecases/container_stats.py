"""What containers use, once and as it goes; those who ask for the same share what is read."""

import math
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio
import msgspec

from domain.container_stats import ContainerStats, Reading, stats_between
from domain.containers import Container
from domain.errors import EngineUnavailable, ResourceConflict
from domain.ports.clock import Clock
from domain.usecases.container_access import ContainerAccess
from domain.usecases.container_list import ContainerFilter, ContainerList
from domain.usecases.container_usage import MOST_CONTAINERS, UsageWatch
from domain.usecases.inventory import InventoryWatch

ONCE_SECONDS = 0.5
"""Between the two readings of one who asks once, where there was none a moment ago."""

REMEMBERED_SECONDS = 10.0
"""How old the earlier of two readings may be."""

MOST_IDLE = 64
"""Of how many that nobody asks for any more the last readings are kept."""

Readings = Mapping[str, Reading]
"""By the containers' identifiers."""


class StatsList(msgspec.Struct, frozen=True, kw_only=True):
    """What the containers that run use, sorted by name."""

    containers: tuple[ContainerStats, ...]
    unread: int
    """How many run beside these: their counters cannot be had, or there are too many."""


class _Sampling:
    """Readings of the same containers, of which many may want the same."""

    def __init__(self, usage: UsageWatch, inventory: InventoryWatch, clock: Clock) -> None:
        self._usage = usage
        self._inventory = inventory
        self._clock = clock
        self._one_at_a_time = anyio.Lock()
        self.users = 0
        self.read_at = -math.inf
        self._readings: Readings = {}

    async def since(self, moment: float, containers: Sequence[Container]) -> Readings:
        """Readings that are no older than a moment."""
        async with self._one_at_a_time:
            if self.read_at < moment:
                used = await self._usage.of(self._now(containers))
                now, at = self._clock.monotonic(), self._clock.now()
                self._readings = {
                    each: Reading(monotonic_seconds=now, at=at, usage=usage)
                    for each, usage in used.items()
                }
                self.read_at = now
            return self._readings

    def _now(self, containers: Sequence[Container]) -> Sequence[Container]:
        """Containers as they are known by now."""
        wanted = {container.id: container for container in containers}
        for container in self._inventory.picture.containers:
            if container.id in wanted:
                wanted[container.id] = container
        return list(wanted.values())

    def older(self, seconds: float) -> Readings:
        """The last readings, if they are so old and not too old."""
        age = self._clock.monotonic() - self.read_at
        return self._readings if seconds <= age <= REMEMBERED_SECONDS else {}


class StatsWatch:
    """Tells what containers use. Nothing is read but while somebody asks."""

    def __init__(
        self,
        *,
        access: ContainerAccess,
        listing: ContainerList,
        inventory: InventoryWatch,
        usage: UsageWatch,
        clock: Clock,
    ) -> None:
        self._access = access
        self._listing = listing
        self._inventory = inventory
        self._usage = usage
        self._clock = clock
        self._samplings: dict[str, _Sampling] = {}
        self._ending = anyio.Event()

    def end(self) -> None:
        """Lets all who follow end; for the agent's own end."""
        self._ending.set()

    @contextmanager
    def _sampling(self, key: str) -> Iterator[_Sampling]:
        """Readings under a key; they stay while somebody uses them, and the last few for longer."""
        found = self._samplings.pop(key, None) or _Sampling(
            self._usage, self._inventory, self._clock
        )
        # At the end, which is where those are that were used last.
        self._samplings[key] = found
        found.users += 1
        try:
            yield found
        finally:
            found.users -= 1
            self._forget_idle()

    def _forget_idle(self) -> None:
        idle = [key for key, one in self._samplings.items() if not one.users]
        for key in idle[: max(0, len(idle) - MOST_IDLE)]:
            del self._samplings[key]

    async def running(self, text: str) -> Container:
        """The container that a text from outside names.

        Raises:
            InvalidReference: it can name none.
            ResourceNotFound: there is none.
            ResourceAmbiguous: several have an identifier that begins so.
            ResourceConflict: it does not run.
            EngineUnavailable: the Engine does not answer.
        """
        found = await self._access.find(text)
        container = await self._at_work(found.id)
        if container is None:
            raise ResourceConflict(
                f"Container {found.name!r} does not run, so that it uses nothing.",
                hint="Start it first.",
            )
        return container

    async def _at_work(self, container_id: str) -> Container | None:
        """The container as the Engine tells of it now, if it runs."""
        picture = await self._inventory.update({container_id})
        found = (c for c in picture.containers if c.id == container_id)
        return next((c for c in found if c.at_work), None)

    async def once(self, container: Container) -> ContainerStats:
        """What one container uses now.

        CPU is of the time since it was last read, if that is half a second ago or up to ten; else
        of half a second from now.

        Raises:
            ResourceConflict: it has ended meanwhile.
            EngineUnavailable: its counters can be read nowhere.
        """
        earlier, later = await self._pair(container.id, [container])
        if container.id not in earlier or container.id not in later:
            await self._require_at_work(container)
            raise _unreadable(container)
        return stats_between(container, earlier[container.id], later[container.id])

    async def _pair(self, key: str, containers: Sequence[Container]) -> tuple[Readings, Readings]:
        with self._sampling(key) as sampling:
            now, earlier = self._clock.monotonic(), sampling.older(ONCE_SECONDS)
            if not all(container.id in earlier for container in containers):
                earlier = await sampling.since(now - ONCE_SECONDS / 2, containers)
                now = sampling.read_at + ONCE_SECONDS
                await self._clock.sleep(now - self._clock.monotonic())
            return earlier, await sampling.since(now, containers)

    async def _require_at_work(self, container: Container) -> None:
        if await self._at_work(container.id) is None:
            raise ResourceConflict(f"Container {container.name!r} has ended meanwhile.")

    async def follow(
        self, container: Container, seconds: int
    ) -> AsyncGenerator[ContainerStats, None]:
        """What one container uses, again and again until it ends.

        Who reads slowly is told of later moments; nothing is kept for them.

        Args:
            container: which.
            seconds: from one to the next.

        Raises:
            EngineUnavailable: its counters can be read nowhere.
        """
        with self._sampling(container.id) as sampling:
            earlier = await sampling.since(self._clock.monotonic() - ONCE_SECONDS / 2, [container])
            due = sampling.read_at + ONCE_SECONDS
            while await self._goes_on(until=due):
                later = await sampling.since(due, [container])
                if container.id not in later:
                    if await self._at_work(container.id) is None:
                        return
                    raise _unreadable(container)
                if container.id in earlier:
                    yield stats_between(container, earlier[container.id], later[container.id])
                earlier, due = later, _next_tick(self._clock.monotonic(), seconds)

    async def of_all(self, environment: str = "") -> StatsList:
        """What all containers use that run, or those of an environment.

        Raises:
            EngineUnavailable: the Engine has not told which run.
        """
        containers = await self.running_of(environment)
        if not containers:
            return StatsList(containers=(), unread=0)
        earlier, later = await self._pair(f"all {environment}", containers)
        return _listed(containers, earlier, later)

    async def follow_all(
        self, seconds: int, environment: str = ""
    ) -> AsyncGenerator[StatsList, None]:
        """What all containers use that run, again and again.

        Raises:
            EngineUnavailable: the Engine does not answer any more.
        """
        with self._sampling(f"all {environment}") as sampling:
            containers = await self.running_of(environment)
            earlier = await sampling.since(self._clock.monotonic() - ONCE_SECONDS / 2, containers)
            due = sampling.read_at + ONCE_SECONDS
            while await self._goes_on(until=due):
                containers = await self.running_of(environment)
                later = await sampling.since(due, containers)
                yield _listed(containers, earlier, later)
                earlier, due = later, _next_tick(self._clock.monotonic(), seconds)

    async def running_of(self, environment: str) -> Sequence[Container]:
        """The containers that run, or those of an environment, sorted by name.

        Raises:
            EngineUnavailable: the Engine does not answer, or did not when last asked.
        """
        wanted = ContainerFilter(environment=environment)
        found = [listed.container for listed in await self._listing.find(wanted, fresh=False)]
        return [container for container in found if container.at_work]

    async def _goes_on(self, *, until: float) -> bool:
        """Waits for a moment; whether the agent does not end meanwhile."""

        async def wait() -> None:
            await self._clock.sleep(until - self._clock.monotonic())
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await self._ending.wait()
            group.cancel_scope.cancel()
        return not self._ending.is_set()


def _next_tick(now: float, seconds: int) -> float:
    """The next of the moments at which all look who follow in the same rhythm."""
    tick = (now // seconds + 1) * seconds
    return tick if tick - now >= ONCE_SECONDS / 2 else tick + seconds


def _listed(containers: Sequence[Container], earlier: Readings, later: Readings) -> StatsList:
    read = tuple(
        stats_between(container, earlier.get(container.id, now), now)
        for container in containers[:MOST_CONTAINERS]
        if (now := later.get(container.id)) is not None
    )
    return StatsList(containers=read, unread=len(containers) - len(read))


def _unreadable(container: Container) -> EngineUnavailable:
    return EngineUnavailable(
        f"The counters of container {container.name!r} can be read neither from the kernel's files "
        "nor from the Docker Engine.",
        retry_after=5,
    )
