"""One stream of events, and all who follow it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from adapters.memory.clock import MemoryClock
from adapters.memory.engine import MemoryEngine
from adapters.memory.happenings import Happenings
from adapters.memory.log import MemoryLog
from adapters.memory.streams import MemoryEvents
from domain.engine_events import EngineEvent, Gap
from domain.usecases.engine_events import KEPT, EventHub, Following, reconnect_pause_seconds

pytestmark = pytest.mark.anyio


class World:
    """A hub that follows an in-memory Engine."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.engine = MemoryEngine(Happenings(self.clock.now))
        self.stream = MemoryEvents(self.engine)
        self.hub = EventHub(self.stream, self.clock, MemoryLog())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets the hub run."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.hub.run)
            await self.settle()
            yield
            group.cancel_scope.cancel()

    async def settle(self) -> None:
        """Returns when everybody has heard."""
        await self.clock.advance(0)


@pytest.fixture
def world() -> World:
    return World()


def words(following: Following) -> list[str]:
    """What waits, in short."""
    return [item.id if isinstance(item, EngineEvent) else "gap" for item in following.taken()]


async def test_all_who_follow_get_what_happens(world: World) -> None:
    async with world.running():
        with world.hub.follow() as one, world.hub.follow() as other:
            world.engine.happenings.tell("volume", "create", "data")
            await world.settle()

            assert words(one) == words(other) == ["data"]


async def test_one_who_has_left_gets_nothing_more(world: World) -> None:
    async with world.running():
        with world.hub.follow() as one:
            pass
        world.engine.happenings.tell("volume", "create", "data")
        await world.settle()

        assert words(one) == []


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many(world: World) -> None:
    async with world.running():
        with world.hub.follow(most=2) as slow:
            for name in ("a", "b", "c", "d"):
                world.engine.happenings.tell("volume", "create", name)
            await world.settle()

            assert await anext(slow) == Gap(missed=2)
            assert words(slow) == ["c", "d"]


async def test_a_stream_that_breaks_off_is_taken_up_where_it_ended(world: World) -> None:
    async with world.running():
        with world.hub.follow() as following:
            world.engine.happenings.tell("volume", "create", "before")
            await world.settle()
            world.engine.fault = "no such file"
            world.stream.cut()
            await world.clock.advance(60)
            world.engine.happenings.tell("volume", "create", "meanwhile")
            world.engine.fault = ""
            await world.clock.advance(15)
            world.engine.happenings.tell("volume", "create", "after")
            await world.settle()

            assert words(following) == ["before", "gap", "gap", "meanwhile", "after"]


async def test_an_engine_that_stays_away_is_one_gap(world: World) -> None:
    async with world.running():
        with world.hub.follow() as following:
            world.engine.fault = "no such file"
            world.stream.cut()
            await world.clock.advance(600)

            assert words(following) == ["gap"]
            assert not world.hub.listening


async def test_what_happened_before_the_agent_started_is_not_told(world: World) -> None:
    world.engine.happenings.tell("volume", "create", "long ago")
    await world.clock.advance(1)
    late = EventHub(world.stream, world.clock, MemoryLog())
    async with anyio.create_task_group() as group:
        with late.follow() as following:
            group.start_soon(late.run)
            await world.settle()

            assert words(following) == ["gap"]
        group.cancel_scope.cancel()


class TestComingBack:
    """Those who were away for a while."""

    async def test_one_gets_what_was_missed(self, world: World) -> None:
        async with world.running():
            with world.hub.follow() as following:
                for name in ("a", "b", "c"):
                    world.engine.happenings.tell("volume", "create", name)
                await world.settle()
                first = await anext(following)
            assert isinstance(first, EngineEvent)

            with world.hub.follow(since=first.nanoseconds + 1) as again:
                assert words(again) == ["b", "c"]

    async def test_what_is_not_known_any_more_is_a_gap(self, world: World) -> None:
        async with world.running():
            for number in range(KEPT + 1):
                world.engine.happenings.tell("volume", "create", str(number))
                if number % 100 == 0:
                    await world.settle()
            await world.settle()

            with world.hub.follow(since=0, most=2 * KEPT) as again:
                found = words(again)

            assert found[:2] == ["gap", "1"]
            assert found[-1] == str(KEPT)

    async def test_the_end_comes_after_what_waits(self, world: World) -> None:
        async with world.running():
            with world.hub.follow() as following:
                world.engine.happenings.tell("volume", "create", "last")
                await world.settle()
                world.hub.end()

                assert [item.id async for item in following if isinstance(item, EngineEvent)] == [
                    "last"
                ]

    async def test_after_the_end_nobody_waits(self, world: World) -> None:
        world.hub.end()
        with world.hub.follow() as following:
            assert not await following.news()


async def test_it_is_sought_at_once_when_somebody_has_seen_the_engine_answer(world: World) -> None:
    async with world.running():
        with world.hub.follow() as following:
            world.engine.fault = "no such file"
            world.stream.cut()
            await world.clock.advance(600)
            world.engine.fault = ""
            world.hub.seek()
            await world.settle()

            assert words(following) == ["gap", "gap"]
            assert world.hub.listening


async def test_a_clock_that_was_ahead_hides_nothing_and_tells_nothing_twice(world: World) -> None:
    async with world.running():
        with world.hub.follow() as following:
            world.engine.happenings.tell("volume", "create", "ahead")
            await world.settle()
            world.clock.jump_wall_clock(-3600)
            world.stream.cut()
            await world.clock.advance(1)
            world.engine.happenings.tell("volume", "create", "after")
            await world.settle()

            assert words(following) == ["ahead", "gap", "gap", "after"]


def test_the_stream_is_sought_again_at_once_and_then_less_and_less_often() -> None:
    pauses = [reconnect_pause_seconds(failed, 0.5) for failed in range(60)]

    assert pauses[0] == 0.0
    assert sum(pauses[:10]) < 2.0
    assert pauses == sorted(pauses)
    assert all(7.5 <= reconnect_pause_seconds(60, chance) <= 15.0 for chance in (0.0, 0.5, 0.99))
