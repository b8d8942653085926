"""The heartbeat: what is reported, when, and how it fares."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from functools import partial

import anyio
import msgspec

from domain.errors import AgentError
from domain.heartbeat import (
    HeartbeatAnswer,
    HeartbeatReport,
    HeartbeatResult,
    HeartbeatStatus,
    first_pause_seconds,
    next_pause_seconds,
)
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.manager import Manager
from domain.resources import HostSample
from domain.usecases.heartbeat_journal import HeartbeatJournal
from domain.usecases.host import HostWatch
from domain.usecases.inventory import InventoryWatch
from domain.usecases.news import News
from domain.usecases.operations import Operations
from domain.usecases.storage_watch import StorageWatch

SAMPLES_SECONDS = 0.5
"""How long it takes after the start until the host's load can be told."""

SETTLING_SECONDS = 3.0
"""How long after the start the first heartbeat waits for an agent that takes no work yet."""

NEWS_SECONDS = 1.0
"""Shortest pause before news, so that an Engine that comes and goes does not make them many."""

LAST_LOOK_SECONDS = 2.0
"""How long the Engine may take to tell what the last heartbeat says."""

LAST_BEAT_SECONDS = 3.0
"""How long the last heartbeat may take."""


class WithoutEngine(StrEnum):
    """What to tell the manager while the Engine does not answer."""

    REPORT_FULL = "report"
    """That the host is full, so that nothing is placed on it."""
    STAY_SILENT = "silent"
    """Nothing, so that the manager takes the host for offline."""


class Heartbeat:
    """Sends one heartbeat after another; none ever while another is under way.

    Args:
        news: tells when the Engine, storage, or the agent's readiness to work, comes or goes.
        max_containers: reported while the Engine has never answered, since zero would invite work.
    """

    def __init__(
        self,
        *,
        manager: Manager | None,
        host: HostWatch,
        inventory: InventoryWatch,
        operations: Operations,
        storage: StorageWatch,
        news: News,
        clock: Clock,
        log: Log,
        interval_seconds: float,
        without_engine: WithoutEngine,
        max_containers: int,
    ) -> None:
        self._manager = manager
        self._host = host
        self._inventory = inventory
        self._operations = operations
        self._storage = storage
        self._news = news
        self._clock = clock
        self._log = log
        self._journal = HeartbeatJournal(clock, log)
        self._interval_seconds = interval_seconds
        self._without_engine = without_engine
        self._max_containers = max_containers
        self._last_sample: HostSample | None = None
        self._one_at_a_time = anyio.Lock()
        self._life = anyio.CancelScope()
        self._rest = anyio.CancelScope()
        self._told_full = True
        self._not_before = 0.0
        detail = "" if manager is not None else "MANAGER_URL is not set: the agent runs alone."
        self.status = HeartbeatStatus(enabled=manager is not None, detail=detail)

    async def run(self) -> None:
        """Beats until ``end``; returns at once where there is no manager."""
        if self._manager is None:
            self._log.info("heartbeat off", reason=self.status.detail)
            return
        with self._life:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch_for_news)
                await self._begin()
                while True:
                    await self._pause(await self.beat(self._manager), deaf_seconds=NEWS_SECONDS)

    async def end(self) -> None:
        """Sends the last heartbeat, for an agent that takes no more work; no other comes after it.

        Takes a few seconds at most. Sends nothing where there is no manager, where heartbeats are
        withheld, and to a manager that wants to be left alone.
        """
        self._life.cancel()
        if self._manager is None or self._clock.monotonic() < self._not_before:
            return
        await self._within(LAST_LOOK_SECONDS, self._look)
        if not await self._within(LAST_BEAT_SECONDS, partial(self._last, self._manager)):
            self._log.warning("last heartbeat not taken", limit_seconds=LAST_BEAT_SECONDS)

    async def beat(self, manager: Manager) -> float:
        """Sends one heartbeat, and gives the seconds to wait before the next."""
        async with self._one_at_a_time:
            began = self._clock.monotonic()
            report = await self.report()
            full_because = self._full_because()
            self._told_full = bool(full_because)
            if report is None:
                return self._withhold()
            answer = await manager.heartbeat(report)
            self._note(report, answer, full_because)
            now = self._clock.monotonic()
            self._not_before = now + answer.wait_seconds
            return next_pause_seconds(
                answer,
                interval_seconds=self._interval_seconds,
                took_seconds=now - began,
                consecutive_failures=self.status.consecutive_failures,
                chance=self._clock.chance(),
            )

    async def report(self) -> HeartbeatReport | None:
        """What to tell the manager; None where silence was asked for.

        The manager places work where CPU and memory are below 90 and containers below the host's
        maximum. A host that can take none therefore reports its CPU as taken up: what else it says
        stays true, and what it last knew is kept.
        """
        usage, self._last_sample = await self._host.usage_since(self._last_sample)
        picture = self._inventory.picture
        if not picture.engine_up and self._without_engine is WithoutEngine.STAY_SILENT:
            return None
        known = picture.seen_at is not None
        return HeartbeatReport(
            cpu=100 if self._full_because() else _percent(usage.cpu_percent),
            mem=_percent(usage.memory.percent),
            containers=len(picture.running) if known else self._max_containers,
        )

    def _full_because(self) -> str:
        """Why the manager must not place work here; empty when it may."""
        return self._inventory.picture.fault or self._operations.refusal or self._storage.fault

    async def _begin(self) -> None:
        """Waits until there is something to tell, spread for the agents of a fleet that starts."""
        chance = self._clock.chance()
        first = first_pause_seconds(interval_seconds=self._interval_seconds, chance=chance)
        first = max(first, SAMPLES_SECONDS)
        await self._clock.sleep(first)
        await self._pause(SETTLING_SECONDS - first, deaf_seconds=0)

    async def _pause(self, seconds: float, *, deaf_seconds: float) -> None:
        """Waits, but no longer than until there is news for a manager that listens."""
        deaf_seconds = min(deaf_seconds, seconds)
        await self._clock.sleep(deaf_seconds)
        if not self._is_news():
            with anyio.CancelScope() as self._rest:
                await self._clock.sleep(seconds - deaf_seconds)

    async def _watch_for_news(self) -> None:
        while True:
            await self._news.wait()
            if self._is_news():
                self._rest.cancel()

    def _is_news(self) -> bool:
        """Whether the manager would be told something else, and took what it was told before."""
        took_it = self.status.last_result in {None, HeartbeatResult.ACKNOWLEDGED}
        listens = took_it or self.status.withheld
        return listens and bool(self._full_because()) is not self._told_full

    async def _look(self) -> None:
        # What is not seen now was seen not long ago.
        with suppress(AgentError):
            await self._inventory.refresh()

    async def _last(self, manager: Manager) -> None:
        await self.beat(manager)
        told, result = self.status.last_report, self.status.last_result
        if told is not None and result is not None and not self.status.withheld:
            self._log.info("last heartbeat", result=result.value, containers=told.containers)

    async def _within(self, seconds: float, work: Callable[[], Awaitable[object]]) -> bool:
        """Whether some work was done in time; else it was cut off."""
        done = False
        async with anyio.create_task_group() as group:

            async def limit() -> None:
                await self._clock.sleep(seconds)
                group.cancel_scope.cancel()

            group.start_soon(limit)
            await work()
            done = True
            group.cancel_scope.cancel()
        return done

    def _withhold(self) -> float:
        if not self.status.withheld:
            self._journal.withheld(self._inventory.picture.fault)
        self.status = msgspec.structs.replace(
            self.status,
            withheld=True,
            detail="Withheld while the Docker Engine does not answer.",
        )
        return self._interval_seconds

    def _note(self, report: HeartbeatReport, answer: HeartbeatAnswer, full_because: str) -> None:
        before = self.status
        good = answer.result is HeartbeatResult.ACKNOWLEDGED
        self.status = msgspec.structs.replace(
            before,
            last_acknowledged_at=self._clock.now() if good else before.last_acknowledged_at,
            last_result=answer.result,
            detail=answer.detail,
            consecutive_failures=0 if good else before.consecutive_failures + 1,
            sent_total=before.sent_total + 1,
            failed_total=before.failed_total + (not good),
            last_report=report,
            full_because=full_because,
            withheld=False,
        )
        self._journal.takes(report, answer)


def _percent(value: float) -> int:
    return min(100, max(0, round(value)))
