"""The heartbeat: what is reported, when, and how it fares."""

from enum import StrEnum

import msgspec

from domain.heartbeat import (
    HeartbeatAnswer,
    HeartbeatReport,
    HeartbeatResult,
    HeartbeatStatus,
    next_pause_seconds,
)
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.manager import Manager
from domain.resources import HostSample
from domain.usecases.host import HostWatch
from domain.usecases.inventory import InventoryWatch

REMIND_SECONDS = 600.0
"""How often a failure that stays the same is logged again."""


class WithoutEngine(StrEnum):
    """What to tell the manager while the Engine does not answer."""

    REPORT_FULL = "report"
    """That the host is full, so that nothing is placed on it."""
    STAY_SILENT = "silent"
    """Nothing, so that the manager takes the host for offline."""


class Heartbeat:
    """Sends one heartbeat after another; none ever waits behind another.

    Args:
        max_containers: reported while the Engine has never answered, since zero would invite work.
    """

    def __init__(
        self,
        *,
        manager: Manager | None,
        host: HostWatch,
        inventory: InventoryWatch,
        clock: Clock,
        log: Log,
        interval_seconds: float,
        without_engine: WithoutEngine,
        max_containers: int,
    ) -> None:
        self._manager = manager
        self._host = host
        self._inventory = inventory
        self._clock = clock
        self._log = log
        self._interval_seconds = interval_seconds
        self._without_engine = without_engine
        self._max_containers = max_containers
        self._last_sample: HostSample | None = None
        self._reminded_at = 0.0
        detail = "" if manager is not None else "MANAGER_URL is not set: the agent runs alone."
        self.status = HeartbeatStatus(enabled=manager is not None, detail=detail)

    async def run(self) -> None:
        """Beats for as long as the agent lives; returns only where there is no manager."""
        if self._manager is None:
            self._log.info("heartbeat off", reason=self.status.detail)
            return
        while True:
            await self._clock.sleep(await self.beat(self._manager))

    async def beat(self, manager: Manager) -> float:
        """Sends one heartbeat, and gives the seconds to wait before the next."""
        report = await self.report()
        if report is None:
            return self._withhold()
        answer = await manager.heartbeat(report)
        self._note(report, answer)
        return next_pause_seconds(
            answer,
            interval_seconds=self._interval_seconds,
            consecutive_failures=self.status.consecutive_failures,
            chance=self._clock.chance(),
        )

    async def report(self) -> HeartbeatReport | None:
        """What to tell the manager; None where silence was asked for.

        The manager places work where CPU and memory are below 90 and containers below the host's
        maximum. A host without an Engine therefore reports its CPU as taken up: what else it says
        stays true, and what it last knew is kept.
        """
        usage, self._last_sample = await self._host.usage_since(self._last_sample)
        picture = self._inventory.picture
        if not picture.engine_up and self._without_engine is WithoutEngine.STAY_SILENT:
            return None
        known = picture.seen_at is not None
        return HeartbeatReport(
            cpu=_percent(usage.cpu_percent) if picture.engine_up else 100,
            mem=_percent(usage.memory.percent),
            containers=len(picture.running) if known else self._max_containers,
        )

    def _withhold(self) -> float:
        if not self.status.withheld:
            self._log.warning("heartbeat withheld", reason=self._inventory.picture.fault)
        self.status = msgspec.structs.replace(
            self.status,
            withheld=True,
            detail="Withheld while the Docker Engine does not answer.",
        )
        return self._interval_seconds

    def _note(self, report: HeartbeatReport, answer: HeartbeatAnswer) -> None:
        before = self.status
        good = answer.result is HeartbeatResult.ACKNOWLEDGED
        now = self._clock.now()
        self.status = msgspec.structs.replace(
            before,
            last_sent_at=now,
            last_acknowledged_at=now if good else before.last_acknowledged_at,
            last_result=answer.result,
            detail=answer.detail,
            consecutive_failures=0 if good else before.consecutive_failures + 1,
            sent_total=before.sent_total + 1,
            failed_total=before.failed_total + (not good),
            last_report=report,
            withheld=False,
        )
        self._tell(before, report, answer)

    def _tell(
        self, before: HeartbeatStatus, report: HeartbeatReport, answer: HeartbeatAnswer
    ) -> None:
        """Logs what is new, and what stays the same only now and then."""
        fields = {"cpu": report.cpu, "mem": report.mem, "containers": report.containers}
        now = self._clock.monotonic()
        changed = answer.result is not before.last_result or answer.detail != before.detail
        if not changed and now - self._reminded_at < REMIND_SECONDS:
            self._log.debug("heartbeat sent", **fields, result=answer.result.value)
            return
        self._reminded_at = now
        if answer.result is HeartbeatResult.ACKNOWLEDGED:
            self._log.info("heartbeat acknowledged", **fields)
        elif answer.result is HeartbeatResult.REFUSED:
            self._log.error("heartbeat refused", status=answer.status, reason=answer.detail)
        else:
            self._log.warning(
                "heartbeat failed",
                result=answer.result.value,
                status=answer.status,
                reason=answer.detail,
            )


def _percent(value: float) -> int:
    return min(100, max(0, round(value)))
