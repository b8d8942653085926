"""A thousand agents that lose the same manager, and how they come back to it.

The agents' own schedule runs, on one virtual clock for all. The manager is made up; what it does
while it is away is what the lines are about. Needs no Docker Engine.
"""

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from tests.support.hearts import BeatingHost
from tests.support.virtual_time import VirtualClock, run_virtually

from benchmarks import Row, Stopwatch, show
from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult, beat_seconds
from domain.ports.log import LogValue

_AGENTS = 1000
_INTERVAL_SECONDS = 10.0
_BEFORE_SECONDS = 120
_AFTER_SECONDS = 60
_ANSWER_SECONDS = 0.02
_STARTS_WITHIN_SECONDS = 60.0
_HOUR = 3600
_RETRY_AFTER_SECONDS = 30.0

_ACKNOWLEDGED = HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)
_UNREACHABLE = HeartbeatAnswer(result=HeartbeatResult.UNREACHABLE, detail="away")

Absence = Callable[["_Manager"], Awaitable[HeartbeatAnswer]]
"""What becomes of a heartbeat while the manager is away."""


@dataclass
class _Manager:
    """Counts the heartbeats that reach it, or would if it were there."""

    away_from: float
    back_at: float
    absence: Absence
    came: Counter[int] = field(default_factory=Counter)
    """By second, from the beginning of its absence."""
    returned: anyio.Event = field(default_factory=anyio.Event)
    back: dict[int, float] = field(default_factory=dict)
    """When each agent was first acknowledged after the return, in seconds from it."""

    async def take(self, agent: int) -> HeartbeatAnswer:
        """Takes one heartbeat."""
        now = anyio.current_time()
        self.came[math.floor(now - self.away_from)] += 1
        if self.away_from <= now < self.back_at:
            return await self.absence(self)
        await anyio.sleep(_ANSWER_SECONDS)
        if now >= self.back_at:
            self.back.setdefault(agent, anyio.current_time() - self.back_at)
        return _ACKNOWLEDGED


class _Line:
    """The manager as one agent knows it."""

    def __init__(self, manager: _Manager, agent: int) -> None:
        self._manager = manager
        self._agent = agent

    async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:  # noqa: ARG002
        """Sends one heartbeat."""
        return await self._manager.take(self._agent)


class _NoLog:
    """Keeps nothing, where a thousand agents log for hours."""

    def debug(self, event: str, **fields: LogValue) -> None:
        """Keeps nothing."""

    info = warning = error = debug


async def _refuses(_manager: _Manager) -> HeartbeatAnswer:
    return _UNREACHABLE


async def _hangs(_manager: _Manager) -> HeartbeatAnswer:
    await anyio.sleep(beat_seconds(_INTERVAL_SECONDS))
    return _UNREACHABLE


async def _hangs_up_at_its_return(manager: _Manager) -> HeartbeatAnswer:
    with anyio.move_on_after(beat_seconds(_INTERVAL_SECONDS)):
        await manager.returned.wait()
    return _UNREACHABLE


async def _asks_to_wait(_manager: _Manager) -> HeartbeatAnswer:
    return _busy(_RETRY_AFTER_SECONDS)


async def _names_a_moment(manager: _Manager) -> HeartbeatAnswer:
    return _busy(manager.back_at - anyio.current_time())


def _busy(seconds: float) -> HeartbeatAnswer:
    return HeartbeatAnswer(
        result=HeartbeatResult.BUSY, status=503, detail="later", retry_after_seconds=seconds
    )


@dataclass(frozen=True)
class _Case:
    what: str
    absence: Absence
    away_seconds: int = _HOUR
    together: bool = False
    """All agents start at one moment, at the beginning of the absence."""


_CASES = (
    _Case("started together, manager there", _refuses, 0, together=True),
    _Case("started together, away 1 h, timeouts", _hangs, together=True),
    _Case("away 5 s, connections refused", _refuses, 5),
    _Case("away 1 h, connections refused", _refuses),
    _Case("away 5 s, timeouts", _hangs, 5),
    _Case("away 1 h, timeouts", _hangs),
    _Case("away 1 h, timeouts, all hung up on at once", _hangs_up_at_its_return),
    _Case("away 1 h, 503 with Retry-After: 30", _asks_to_wait),
    _Case("away 5 min, 503 with the moment of return", _names_a_moment, 300),
)


async def _outage(case: _Case) -> _Manager:
    clock = VirtualClock(1)
    host = await BeatingHost.open(clock, _NoLog())
    before = 0 if case.together else _BEFORE_SECONDS
    manager = _Manager(before, before + case.away_seconds, case.absence)
    starts = random.Random(2)  # noqa: S311 - guards nothing

    async def live(agent: int) -> None:
        if not case.together:
            await anyio.sleep(_STARTS_WITHIN_SECONDS * starts.random())
        line = _Line(manager, agent)
        await host.heartbeat(line, interval_seconds=_INTERVAL_SECONDS).run()

    async with anyio.create_task_group() as group:
        for agent in range(_AGENTS):
            group.start_soon(live, agent)
        await anyio.sleep(manager.back_at)
        manager.returned.set()
        await anyio.sleep(_AFTER_SECONDS)
        group.cancel_scope.cancel()
    return manager


def run(_folder: Path) -> None:
    """Simulates and prints."""
    watch = Stopwatch()
    found = [(case, run_virtually(_outage, case)) for case in _CASES]
    steady = _steady_rate([manager for case, manager in found if not case.together])
    show(
        f"{_AGENTS} agents, a heartbeat each {_INTERVAL_SECONDS:g} s: {steady:.0f} a second. The "
        "highest second after the return, and when 50, 99 and 100 % were acknowledged",
        [_row(case, manager, steady) for case, manager in found],
    )
    print(f"  Simulated in {watch.seconds:.0f} s.")


def _steady_rate(managers: Sequence[_Manager]) -> float:
    """Heartbeats a second while all is well."""
    seconds = range(-30, 0)
    return sum(m.came[s] for m in managers for s in seconds) / len(seconds) / len(managers)


def _row(case: _Case, manager: _Manager, steady: float) -> Row:
    away = [manager.came[s] for s in range(case.away_seconds)]
    after = range(case.away_seconds, case.away_seconds + _AFTER_SECONDS)
    highest = max(manager.came[s] for s in after)
    during = f"away {sum(away) / len(away):.0f}/s, at most {max(away)}; " if away else ""
    half, most, last = (_seconds_until(share, manager) for share in (0.5, 0.99, 1.0))
    return Row(
        what=case.what,
        figure=f"{during}then at most {highest}/s; {half}, {most}, {last}",
        ratio=highest / steady,
        aim=_aim(case),
    )


def _aim(case: _Case) -> str:
    if case.absence is _asks_to_wait:
        return f"at most 2, within {_RETRY_AFTER_SECONDS + _INTERVAL_SECONDS:g} s"
    return f"at most 2, within {_INTERVAL_SECONDS:g} s"


def _seconds_until(share: float, manager: _Manager) -> str:
    moments = sorted(manager.back.values())
    needed = math.ceil(share * _AGENTS)
    return f"{moments[needed - 1]:.1f} s" if len(moments) >= needed else "never"
