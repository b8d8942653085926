"""How the agent is, for operators, probes and the manager."""

from datetime import datetime
from enum import StrEnum

import msgspec

from domain.containers import Inventory
from domain.heartbeat import HeartbeatResult, HeartbeatStatus
from domain.ports.clock import Clock
from domain.ports.store import Store
from domain.usecases.consistency import Consistency
from domain.usecases.heartbeat import Heartbeat
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations
from domain.usecases.recovery import Recovery
from domain.usecases.storage_watch import StorageWatch

# Names of environments are for those who have the key.
_DIFFERENCES = (
    "Records, Engine and disk differ in {} things that the agent cannot bring in order by itself: "
    "GET /api/v1/system/consistency lists them."
)

_MAKE_ROOM = "Remove environments, or make room on it; until then nothing is deployed."


class HealthState(StrEnum):
    """All is well, or something is not."""

    OK = "ok"
    DEGRADED = "degraded"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the agent stands on."""

    state: str
    """``up``, ``down``, ``off`` or ``failing``."""
    reason: str = ""
    since: datetime | None = None
    """When it went down."""


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent is."""

    status: HealthState
    reasons: tuple[str, ...]
    """What is not well, and what to do."""
    version: str
    uptime_seconds: int
    """Of the agent."""
    engine: Part
    store: Part
    heartbeat: Part
    last_heartbeat_at: datetime | None
    """When the manager last acknowledged one."""
    running_containers: int
    operations: int
    """How many are queued or run."""


class Health:
    """Gathers what workers have seen, so that whoever asks does not wait for it."""

    def __init__(
        self,
        *,
        store: Store,
        inventory: InventoryWatch,
        heartbeat: Heartbeat,
        operations: Operations,
        recovery: Recovery,
        consistency: Consistency,
        storage: StorageWatch,
        clock: Clock,
        version: str,
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._heartbeat = heartbeat
        self._operations = operations
        self._recovery = recovery
        self._consistency = consistency
        self._storage = storage
        self._clock = clock
        self._version = version
        self._began = clock.monotonic()

    def report(self) -> HealthReport:
        """How the agent is now."""
        picture = self._inventory.picture
        engine, store = self._engine(picture), self._records()
        heartbeat = _heartbeat(self._heartbeat.status)
        parts = (engine, store, heartbeat)
        reasons = tuple(part.reason for part in parts if part.reason and part.state != "off")
        if (idle := self._idle_because()) and engine.state == "up":
            reasons = (*reasons, idle)
        if self._storage.files.fault:
            reasons = (*reasons, self._storage.files.fault)
        if self._store.short_of_room:
            reasons = (*reasons, f"{self._store.short_of_room} {_MAKE_ROOM}")
        if count := sum(d.pressing for d in self._consistency.report.differences):
            reasons = (*reasons, _DIFFERENCES.format(count))
        return HealthReport(
            status=HealthState.DEGRADED if reasons else HealthState.OK,
            reasons=reasons,
            version=self._version,
            uptime_seconds=int(self._clock.monotonic() - self._began),
            engine=engine,
            store=store,
            heartbeat=heartbeat,
            last_heartbeat_at=self._heartbeat.status.last_acknowledged_at,
            running_containers=len(picture.running),
            operations=self._operations.count,
        )

    def obstacles(self) -> tuple[str, ...]:
        """Why the agent cannot work at present; empty when it can."""
        storage, engine = self._storage, self._engine(self._inventory.picture)
        found = (engine.reason, storage.records.fault, storage.files.fault)
        reasons = tuple(reason for reason in found if reason)
        if not reasons and not self._operations.accepting:
            return (self._idle_because(),)
        return reasons

    def _idle_because(self) -> str:
        """Why no work is taken, Engine and store apart; empty when it is."""
        if self._operations.stopping:
            return self._operations.refusal
        return self._recovery.trouble or self._operations.refusal

    def _engine(self, picture: Inventory) -> Part:
        if picture.engine_up:
            return Part(state="up")
        return Part(state="down", reason=picture.fault, since=picture.fault_since)

    def _records(self) -> Part:
        records = self._storage.records
        if not records.fault:
            return Part(state="up")
        return Part(state="down", reason=records.fault, since=records.fault_since)


def _heartbeat(status: HeartbeatStatus) -> Part:
    if not status.enabled or status.withheld:
        return Part(state="off", reason=status.detail)
    if status.last_result is None:
        return Part(state="down", reason="No heartbeat has been sent yet.")
    if status.last_result is not HeartbeatResult.ACKNOWLEDGED:
        return Part(
            state="failing",
            reason=f"Heartbeat {status.last_result.value}: {status.detail}",
            since=status.last_acknowledged_at,
        )
    if status.full_because:
        return Part(state="up", reason="The manager is told that this host is full.")
    return Part(state="up")
