"""When heartbeats come, over hours of virtual time: what a manager that was away can count on."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.memory.log import MemoryLog
from domain.heartbeat import (
    LONGEST_RETRY_AFTER_SECONDS,
    HeartbeatAnswer,
    HeartbeatReport,
    HeartbeatResult,
    beat_seconds,
)
from tests.support.hearts import BeatingHost
from tests.support.virtual_time import VirtualClock, run_virtually

GOOD = HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)
REFUSED = HeartbeatAnswer(result=HeartbeatResult.REFUSED, status=401, detail="wrong key")

Fault = Callable[["Manager"], Awaitable[HeartbeatAnswer]]
"""What becomes of a heartbeat while the manager is away."""

A_HAIR = 1e-6
"""What sums of seconds may be off by."""


@dataclass
class Manager:
    """A manager that is away for a time; what it does then changes from beat to beat."""

    away_from: float
    back_at: float
    faults: Sequence[Fault]
    limit_seconds: float
    began: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    returned: anyio.Event = field(default_factory=anyio.Event)

    async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:
        """Takes one heartbeat."""
        now = anyio.current_time()
        self.began.append(now)
        if self.away_from <= now < self.back_at:
            return await self.faults[len(self.began) % len(self.faults)](self)
        self.accepted.append(now)
        return GOOD


def _failed(result: HeartbeatResult, status: int | None = None) -> HeartbeatAnswer:
    return HeartbeatAnswer(result=result, status=status, detail=f"{result} {status}")


async def refuses_connections(manager: Manager) -> HeartbeatAnswer:
    return _failed(HeartbeatResult.UNREACHABLE)


async def is_not_found(manager: Manager) -> HeartbeatAnswer:
    """Its packets are lost."""
    await anyio.sleep(manager.limit_seconds / 2)
    return _failed(HeartbeatResult.UNREACHABLE)


async def never_answers(manager: Manager) -> HeartbeatAnswer:
    await anyio.sleep(manager.limit_seconds)
    return _failed(HeartbeatResult.UNREACHABLE)


async def hangs_up_when_it_returns(manager: Manager) -> HeartbeatAnswer:
    with anyio.move_on_after(manager.limit_seconds):
        await manager.returned.wait()
    return _failed(HeartbeatResult.UNREACHABLE)


async def has_a_proxy_that_answers_for_it(manager: Manager) -> HeartbeatAnswer:
    return _failed(HeartbeatResult.BUSY, 502)


async def has_a_slow_proxy(manager: Manager) -> HeartbeatAnswer:
    await anyio.sleep(manager.limit_seconds * 0.9)
    return _failed(HeartbeatResult.BUSY, 504)


async def has_too_many(manager: Manager) -> HeartbeatAnswer:
    return _failed(HeartbeatResult.BUSY, 429)


async def is_somebody_else(manager: Manager) -> HeartbeatAnswer:
    return _failed(HeartbeatResult.UNREADABLE, 200)


FAULTS = (
    refuses_connections,
    is_not_found,
    never_answers,
    hangs_up_when_it_returns,
    has_a_proxy_that_answers_for_it,
    has_a_slow_proxy,
    has_too_many,
    is_somebody_else,
)


async def outage(
    interval: float, away_from: float, away: float, faults: Sequence[Fault], seed: int
) -> Manager:
    """What a manager saw that was away for a time."""
    back_at = away_from + away
    manager = Manager(away_from, back_at, faults, beat_seconds(interval))
    host = await BeatingHost.open(VirtualClock(seed), MemoryLog())
    heartbeat = host.heartbeat(manager, interval_seconds=interval)
    async with anyio.create_task_group() as group:
        group.start_soon(heartbeat.run)
        await anyio.sleep(back_at)
        manager.returned.set()
        await anyio.sleep(3 * interval + 60)
        group.cancel_scope.cancel()
    return manager


def next_accepted_after(moment: float, manager: Manager) -> float:
    """How long after a moment the manager heard of the host."""
    return next(at for at in manager.accepted if at >= moment) - moment


@settings(max_examples=300, deadline=None)
@given(
    interval=st.sampled_from([1.0, 2.5, 10.0, 25.0, 60.0, 3600.0]),
    away_from=st.floats(0, 3),
    away=st.floats(0, 15),
    faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_a_manager_hears_of_the_host_within_one_interval_of_its_return(
    interval: float, away_from: float, away: float, faults: list[Fault], seed: int
) -> None:
    """Whatever kept it away, and at whatever moment it comes back; times are in intervals."""
    begin = 15 + away_from * interval
    manager = run_virtually(outage, interval, begin, away * interval, faults, seed)

    assert next_accepted_after(manager.back_at, manager) <= interval + A_HAIR


@pytest.mark.parametrize("fault", FAULTS)
def test_it_does_so_at_each_moment_between_two_beats(fault: Fault) -> None:
    for step in range(60):
        manager = run_virtually(outage, 10.0, 40.0, 80 + step / 4, [fault], 7)

        assert next_accepted_after(manager.back_at, manager) <= 10


@pytest.mark.parametrize("fault", FAULTS)
def test_a_manager_that_is_away_is_asked_hardly_more_often_than_one_that_is_there(
    fault: Fault,
) -> None:
    manager = run_virtually(outage, 10.0, 60.0, 3600.0, [fault], 1)
    during = [at for at in manager.began if 60 <= at < 3660]

    assert 360 <= len(during) <= 360 * 1.5


@pytest.mark.parametrize("interval", [1.0, 10.0, 12.5, 60.0, 3600.0])
def test_a_beat_that_hangs_leaves_time_for_the_next(interval: float) -> None:
    assert beat_seconds(interval) <= 0.8 * interval
    assert beat_seconds(interval) <= 10


def test_a_slow_answer_does_not_make_heartbeats_rarer() -> None:
    async def slowly() -> list[float]:
        began = []

        class Slow:
            async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:
                began.append(anyio.current_time())
                await anyio.sleep(6)
                return GOOD

        host = await BeatingHost.open(VirtualClock(), MemoryLog())
        with anyio.move_on_after(100):
            await host.heartbeat(Slow(), interval_seconds=10).run()
        return began

    began = run_virtually(slowly)

    assert all(9 <= b - a <= 10 for a, b in pairwise(began))


def test_after_a_refusal_about_one_comes_a_minute() -> None:
    async def refuse(manager: Manager) -> HeartbeatAnswer:
        return REFUSED

    manager = run_virtually(outage, 10.0, 60.0, 3600.0, [refuse], 1)
    during = [at for at in manager.began if 60 <= at < 3660]

    assert 60 <= len(during) <= 70
    assert next_accepted_after(manager.back_at, manager) <= 60


@pytest.mark.parametrize(("asked", "waits"), [(0.0, 0.0), (30.0, 30.0), (86_400.0, 300.0)])
def test_a_manager_that_asks_for_it_is_left_alone_but_not_for_hours(
    asked: float, waits: float
) -> None:
    async def ask(manager: Manager) -> HeartbeatAnswer:
        return HeartbeatAnswer(result=HeartbeatResult.BUSY, status=503, retry_after_seconds=asked)

    manager = run_virtually(outage, 10.0, 60.0, 3600.0, [ask], 1)
    during = [at for at in manager.began if 60 <= at < 3660]
    pauses = [b - a for a, b in pairwise(during)]

    assert waits <= LONGEST_RETRY_AFTER_SECONDS
    assert all(waits <= pause <= waits + 10 for pause in pauses)
    assert next_accepted_after(manager.back_at, manager) <= waits + 10


def test_agents_that_were_all_asked_to_come_at_one_moment_come_one_after_another() -> None:
    async def until_the_return(manager: Manager) -> HeartbeatAnswer:
        left = manager.back_at - anyio.current_time()
        return HeartbeatAnswer(result=HeartbeatResult.BUSY, status=503, retry_after_seconds=left)

    returns = [
        next_accepted_after(160, run_virtually(outage, 10.0, 60.0, 100.0, [until_the_return], seed))
        for seed in range(20)
    ]

    assert all(0 <= moment <= 10 for moment in returns)
    assert max(returns) - min(returns) > 5


def test_agents_that_start_together_do_not_beat_together() -> None:
    async def first(seed: int) -> float:
        manager = Manager(0, 0, (), 1)
        host = await BeatingHost.open(VirtualClock(seed), MemoryLog())
        with anyio.move_on_after(30):
            await host.heartbeat(manager, interval_seconds=10).run()
        return manager.began[0]

    moments = sorted(run_virtually(first, seed) for seed in range(40))

    assert moments[-1] <= 10
    assert all(b - a < 2 for a, b in pairwise(moments))
