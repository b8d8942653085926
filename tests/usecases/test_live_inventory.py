"""The picture of the containers stays true, and nobody who asks waits for the Engine."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import msgspec
import pytest

from adapters.memory.clock import MemoryClock
from adapters.memory.engine import MemoryEngine
from adapters.memory.happenings import Happenings
from adapters.memory.log import MemoryLog
from adapters.memory.runtime import MemoryContainers, MemoryEngineInfo
from adapters.memory.streams import MemoryEvents
from domain.containers import Container, ContainerState
from domain.engine_events import EngineEvent, Gap
from domain.errors import EngineRefused, EngineUnavailable
from domain.usecases.engine_events import EventHub
from domain.usecases.inventory import MOST_SINGLE, InventoryWatch
from domain.usecases.live_inventory import AGAIN_SECONDS, LiveInventory, touched
from domain.usecases.news import News

pytestmark = pytest.mark.anyio


class CountedContainers(MemoryContainers):
    """Counts what is asked of the Engine."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__(engine)
        self.asked: list[int | None] = []

    async def list(self, ids: Collection[str] | None = None) -> Sequence[Container]:
        self.asked.append(None if ids is None else len(ids))
        return await super().list(ids)


class RefusableEvents(MemoryEvents):
    """May be refused, as by a proxy that lets pass everything else."""

    refused = False

    @asynccontextmanager
    async def follow(
        self, *, since: int | None = None
    ) -> AsyncIterator[AsyncIterator[EngineEvent | Gap]]:
        if self.refused:
            raise EngineRefused("Events are forbidden.")
        async with super().follow(since=since) as events:
            yield events


class MutedEvents(RefusableEvents):
    """May stand and tell nothing, as a connection that has died without a word."""

    mute = False
    begun = 0

    @asynccontextmanager
    async def follow(
        self, *, since: int | None = None
    ) -> AsyncIterator[AsyncIterator[EngineEvent | Gap]]:
        self.begun += 1
        async with super().follow(since=since) as events:
            yield self._told(events, muted=False)

    async def _told(
        self, events: AsyncIterator[EngineEvent | Gap], *, muted: bool
    ) -> AsyncIterator[EngineEvent | Gap]:
        async for event in events:
            muted = muted or self.mute
            if not muted:
                yield event


class World:
    """An inventory that follows an in-memory Engine."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.engine = MemoryEngine(Happenings(self.clock.now))
        self.stream = MutedEvents(self.engine)
        self.containers = CountedContainers(self.engine)
        log = MemoryLog()
        self.inventory = InventoryWatch(
            self.containers, MemoryEngineInfo(self.engine), self.clock, log, News()
        )
        hub = EventHub(self.stream, self.clock, log)
        self.live = LiveInventory(self.inventory, hub, self.clock, log)
        self.hub = hub

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets it follow."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.live.run)
            group.start_soon(self.hub.run)
            await self.clock.advance(2)
            self.containers.asked.clear()
            yield
            group.cancel_scope.cancel()

    def shown(self) -> list[tuple[str, ContainerState]]:
        """The picture."""
        return [(c.name, c.state) for c in self.inventory.picture.containers]

    def real(self) -> list[tuple[str, ContainerState]]:
        """What the Engine has."""
        return sorted((c.name, c.state) for c in self.engine.containers.values())


@pytest.fixture
def world() -> World:
    return World()


async def test_what_stands_at_the_start_is_seen(world: World) -> None:
    world.engine.run("a")
    async with world.running():
        assert world.shown() == [("a", ContainerState.RUNNING)]


async def test_one_change_is_seen_at_once_and_costs_a_look_at_one_container(world: World) -> None:
    for number in range(10):
        world.engine.run(f"c-{number}")
    async with world.running():
        world.engine.stop("c-3")
        await world.clock.advance(0)

        assert world.shown() == world.real()
        assert world.containers.asked == [1]


async def test_containers_come_and_go_and_stay_sorted(world: World) -> None:
    world.engine.run("m")
    async with world.running():
        world.engine.run("z")
        world.engine.run("a")
        world.engine.remove("m")
        await world.clock.advance(0)

        assert world.shown() == [("a", ContainerState.RUNNING), ("z", ContainerState.RUNNING)]


async def test_a_hundred_changes_at_once_cost_a_few_looks(world: World) -> None:
    async with world.running():
        for number in range(100):
            world.engine.run(f"c-{number:03}")
            world.engine.stop(f"c-{number:03}")
        await world.clock.advance(1)

        assert world.shown() == world.real()
        assert len(world.containers.asked) <= 4
        assert all(asked is None or asked <= MOST_SINGLE for asked in world.containers.asked)


async def test_a_storm_is_looked_at_a_few_times_a_second(world: World) -> None:
    world.engine.run("a")
    async with world.running():
        for _ in range(100):
            world.engine.stop("a")
            world.engine.start(world.engine.containers["a"].id)
            await world.clock.advance(0.01)

        assert len(world.containers.asked) <= 1 / 0.05 + 1 / AGAIN_SECONDS + 2


async def test_a_change_that_the_list_shows_late_is_seen_all_the_same(world: World) -> None:
    container = world.engine.run("a")
    async with world.running():
        world.engine.happenings.tell("container", "pause", container.id)
        await world.clock.advance(0.1)
        # Behind the back of the in-memory Engine, which would tell of it.
        paused = msgspec.structs.replace(container, state=ContainerState.PAUSED)
        world.engine.containers.data["a"] = paused
        await world.clock.advance(0.5)

        assert world.shown() == [("a", ContainerState.PAUSED)]


@pytest.mark.parametrize("state", [ContainerState.RESTARTING, ContainerState.REMOVING])
async def test_the_end_of_a_wait_of_which_the_engine_does_not_tell_is_seen(
    world: World, state: ContainerState
) -> None:
    container = world.engine.run("a", state=state)
    async with world.running():
        await world.clock.advance(3)
        # So ends one that is stopped while it waits for its restart: no event tells of it.
        ended = msgspec.structs.replace(container, state=ContainerState.EXITED)
        world.engine.containers.data["a"] = ended
        await world.clock.advance(0.9)
        assert world.shown() == [("a", ContainerState.EXITED)]

        world.containers.asked.clear()
        await world.clock.advance(10)
        assert world.containers.asked == []


async def test_an_engine_that_is_away_is_not_asked_for_those_that_wait(world: World) -> None:
    world.engine.run("a", state=ContainerState.RESTARTING)
    async with world.running():
        world.engine.fault = "is away"
        world.stream.cut()
        await world.clock.advance(1)
        world.containers.asked.clear()
        await world.clock.advance(10)

        assert world.containers.asked == []


async def test_what_happened_while_the_stream_was_cut_is_seen_when_it_is_back(
    world: World,
) -> None:
    world.engine.run("a")
    world.engine.run("b")
    async with world.running():
        world.engine.fault = "is away"
        world.stream.cut()
        await world.clock.advance(30)
        with pytest.raises(EngineUnavailable):
            await world.inventory.require_engine()
        world.engine.stop("a")
        world.engine.remove("b")
        world.engine.fault = ""
        await world.clock.advance(6)  # a fifth of the time that it was away

        assert world.shown() == [("a", ContainerState.EXITED)]
        assert world.inventory.picture.engine_up


async def test_a_stream_that_is_cut_again_and_again_never_leaves_it_wrong_for_a_second(
    world: World,
) -> None:
    world.engine.run("a")
    async with world.running():
        for number in range(60):
            world.stream.cut()
            await world.clock.advance(0.1)
            world.engine.run(f"c-{number}")
            await world.clock.advance(0.4)
        world.stream.cut()
        world.engine.stop("a")
        await world.clock.advance(1)

        assert world.shown() == world.real()


async def test_an_engine_that_tells_no_events_is_looked_at_often_enough(world: World) -> None:
    world.engine.run("a")
    async with world.running():
        world.stream.refused = True
        world.stream.cut()
        await world.clock.advance(60)
        for number in range(10):
            world.engine.run(f"c-{number}")
            await world.clock.advance(0.9)
            assert world.shown() == world.real()

        world.stream.refused = False
        await world.clock.advance(20)
        world.containers.asked.clear()
        await world.clock.advance(20)
        assert world.containers.asked == []


async def test_events_that_have_fallen_silent_are_sought_anew(world: World) -> None:
    world.engine.run("a")
    async with world.running():
        await world.clock.advance(10)
        await world.inventory.refresh()
        world.stream.mute = True
        world.engine.run("b")
        await world.clock.advance(1)
        world.stream.mute = False  # for streams that begin from now on
        await world.inventory.refresh()
        await world.clock.advance(2)
        world.engine.run("c")
        await world.clock.advance(0.1)

        assert world.shown() == world.real()
        assert world.stream.begun == 2


async def test_events_that_tell_of_what_changes_are_left_alone(world: World) -> None:
    world.engine.run("r", state=ContainerState.RESTARTING)
    async with world.running():
        for number in range(20):
            world.engine.run(f"c-{number}")
            await world.inventory.refresh()
            await world.clock.advance(3)
            world.engine.stop(f"c-{number}")
            await world.clock.advance(0.1)
        restarting = world.engine.containers["r"]
        ended = msgspec.structs.replace(restarting, state=ContainerState.EXITED)
        world.engine.containers.data["r"] = ended
        await world.clock.advance(10)

        assert world.shown() == world.real()
        assert world.stream.begun == 1


async def test_a_cut_is_noticed_at_once(world: World) -> None:
    async with world.running():
        world.engine.fault = "is away"
        world.stream.cut()
        await world.clock.advance(0.1)

        assert not world.inventory.picture.engine_up


async def test_nobody_asks_an_engine_that_is_away_for_single_containers(world: World) -> None:
    container = world.engine.run("a")
    async with world.running():
        world.engine.fault = "is away"
        world.stream.cut()
        await world.clock.advance(1)
        world.containers.asked.clear()

        with pytest.raises(EngineUnavailable):
            await world.inventory.update({container.id})
        assert world.containers.asked == []


async def test_the_words_for_times_stay_true_without_a_look(world: World) -> None:
    world.engine.run("a")
    async with world.running():
        before = world.inventory.picture.containers
        await world.clock.advance(60)
        after = world.inventory.picture.containers

        assert [c.status for c in before] == ["Up 3 seconds"]
        assert [c.status for c in after] == ["Up About a minute"]
        assert world.containers.asked == []


async def test_the_same_picture_is_shown_until_something_changes(world: World) -> None:
    container = world.engine.run("a")
    still = msgspec.structs.replace(container, status="Up 3 hours")
    world.engine.containers["a"] = still
    async with world.running():
        before = world.inventory.picture.containers
        await world.inventory.refresh()
        await world.inventory.update({container.id})
        assert world.inventory.picture.containers is before

        world.engine.run("b")
        await world.clock.advance(0)
        assert world.inventory.picture.containers is not before


async def test_it_ends_with_the_events(world: World) -> None:
    with anyio.fail_after(1):
        async with anyio.create_task_group() as group:
            group.start_soon(world.live.run)
            await world.clock.advance(0)
            world.hub.end()


class TestTouched:
    """Which events are worth a look, and at what."""

    @pytest.mark.parametrize(
        ("kind", "action", "attributes", "found"),
        [
            ("container", "start", {}, {"x"}),
            ("container", "die", {}, {"x"}),
            ("container", "rename", {}, {"x"}),
            ("container", "health_status: unhealthy", {}, {"x"}),
            ("container", "something new", {}, {"x"}),
            ("container", "attach", {}, set()),
            ("container", "exec_create: sh", {}, set()),
            ("container", "top", {}, set()),
            ("network", "connect", {"container": "y"}, {"y"}),
            ("network", "create", {}, set()),
            ("volume", "mount", {"container": "y"}, set()),
            ("daemon", "reload", {}, set()),
            ("image", "tag", {}, None),
        ],
    )
    def test_one_event(
        self, kind: str, action: str, attributes: dict[str, str], found: set[str] | None
    ) -> None:
        event = EngineEvent(nanoseconds=1, kind=kind, action=action, id="x", attributes=attributes)

        assert touched([event]) == found

    def test_after_a_gap_everything_may_have_changed(self) -> None:
        event = EngineEvent(nanoseconds=1, kind="container", action="start", id="x")

        assert touched([event, Gap(), event]) is None
