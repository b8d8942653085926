"""What every clock does: the machine's, and the one that goes when told to."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, timedelta

import anyio
import anyio.lowlevel
import pytest

from adapters.memory.clock import MemoryClock
from adapters.system_clock import SystemClock
from domain.ports.clock import Clock

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class World:
    """A clock, and a way to let time pass on it."""

    clock: Clock
    wait: Callable[[float], Awaitable[None]]


@pytest.fixture(params=["memory", "system"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        clock = MemoryClock()
        return World(clock, clock.advance)
    return World(SystemClock(), anyio.sleep)


class TestPort:
    """What the port promises."""

    async def test_the_time_of_day_is_in_utc(self, world: World) -> None:
        assert world.clock.now().tzinfo is UTC

    async def test_both_times_go_on(self, world: World) -> None:
        now, monotonic = world.clock.now(), world.clock.monotonic()
        await world.wait(0.02)

        assert world.clock.now() > now
        assert world.clock.monotonic() > monotonic

    async def test_a_sleeper_wakes_after_its_time_and_not_before(self, world: World) -> None:
        began, woke = world.clock.monotonic(), 0.0

        async def sleep() -> None:
            nonlocal woke
            await world.clock.sleep(0.05)
            woke = world.clock.monotonic()

        async with anyio.create_task_group() as group:
            group.start_soon(sleep)
            await world.wait(0.2)

        # The event loop's clock may be a little coarser than the one that is read.
        assert woke - began >= 0.049

    async def test_sleepers_wake_in_the_order_of_their_times(self, world: World) -> None:
        woken: list[float] = []

        async def sleep(seconds: float) -> None:
            await world.clock.sleep(seconds)
            woken.append(seconds)

        async with anyio.create_task_group() as group:
            for seconds in (0.3, 0.1, 0.2):
                group.start_soon(sleep, seconds)
            await world.wait(0.4)

        assert woken == [0.1, 0.2, 0.3]

    @pytest.mark.parametrize("seconds", [0, -1, -1e9])
    async def test_no_time_to_sleep_is_over_at_once(self, world: World, seconds: float) -> None:
        with anyio.fail_after(5):
            await world.clock.sleep(seconds)

    @pytest.mark.parametrize("seconds", [0, 60])
    async def test_a_sleeper_can_be_cancelled(self, world: World, seconds: float) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await world.clock.sleep(seconds)

        assert scope.cancelled_caught

    def test_chance_is_from_0_to_below_1(self, world: World) -> None:
        assert all(0 <= world.clock.chance() < 1 for _ in range(1000))

    def test_identifiers_are_unlike_and_fit_for_file_names(self, world: World) -> None:
        identifiers = [world.clock.new_id() for _ in range(1000)]

        assert len(set(identifiers)) == 1000
        assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{1,40}", name) for name in identifiers)


class TestSystemClock:
    """The machine's own."""

    async def test_identifiers_sort_by_time(self) -> None:
        clock = SystemClock()
        identifiers = []
        for _ in range(5):
            identifiers.append(clock.new_id())
            await anyio.sleep(0.003)

        assert sorted(identifiers) == identifiers

    def test_chance_varies(self) -> None:
        clock = SystemClock()

        assert len({clock.chance() for _ in range(10)}) > 1


class TestMemoryClock:
    """The one that goes when told to."""

    async def test_time_stands_still_until_told(self) -> None:
        clock = MemoryClock()
        before = (clock.now(), clock.monotonic())
        await anyio.lowlevel.checkpoint()

        assert (clock.now(), clock.monotonic()) == before

    async def test_it_goes_exactly_as_far_as_told(self) -> None:
        clock = MemoryClock()
        now, monotonic = clock.now(), clock.monotonic()
        await clock.advance(90.5)

        assert clock.now() - now == timedelta(seconds=90.5)
        assert clock.monotonic() - monotonic == 90.5

    async def test_each_sleeper_sees_its_own_moment(self) -> None:
        clock = MemoryClock()
        began, seen = clock.monotonic(), list[float]()

        async def beat() -> None:
            for _ in range(3):
                await clock.sleep(10)
                seen.append(clock.monotonic() - began)

        async with anyio.create_task_group() as group:
            group.start_soon(beat)
            await clock.advance(100)

        assert seen == [10, 20, 30]

    async def test_who_is_not_due_sleeps_on(self) -> None:
        clock = MemoryClock()
        async with anyio.create_task_group() as group:
            group.start_soon(clock.sleep, 60)
            await clock.advance(59)
            assert len(clock._sleepers) == 1
            await clock.advance(1)

        assert clock._sleepers == []

    async def test_a_cancelled_sleeper_is_forgotten(self) -> None:
        clock = MemoryClock()
        async with anyio.create_task_group() as group:
            group.start_soon(clock.sleep, 60)
            await clock.advance(1)
            group.cancel_scope.cancel()

        assert clock._sleepers == []

    @pytest.mark.parametrize("seconds", [3600, -3600])
    async def test_the_time_of_day_can_jump_and_wakes_nobody(self, seconds: float) -> None:
        clock = MemoryClock()
        now, monotonic = clock.now(), clock.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(clock.sleep, 60)
            await clock.advance(0)
            clock.jump_wall_clock(seconds)
            await clock.advance(0)
            assert len(clock._sleepers) == 1
            group.cancel_scope.cancel()

        assert clock.now() - now == timedelta(seconds=seconds)
        assert clock.monotonic() == monotonic

    def test_chance_is_as_set(self) -> None:
        clock = MemoryClock()
        assert clock.chance() == 0.5

        clock.next_chance = 0.25

        assert clock.chance() == 0.25
