"""Heartbeats apart from the rest of an agent, to let many of them run, or one for days."""

from typing import Self

from adapters.memory.engine import MemoryEngine
from adapters.memory.metrics import MemoryMetrics
from adapters.memory.runtime import MemoryContainers, MemoryEngineInfo
from adapters.memory.store import MemoryStore
from adapters.memory.workspaces import MemoryWorkspaces
from domain.bundles import BundleLimits
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.manager import Manager
from domain.usecases.heartbeat import Heartbeat, WithoutEngine
from domain.usecases.host import HostWatch
from domain.usecases.inventory import InventoryWatch
from domain.usecases.news import News
from domain.usecases.operations import Operations
from domain.usecases.storage_watch import StorageWatch


class BeatingHost:
    """A host that is open for work, and whose heartbeats are made here."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self.clock = clock
        self.log = log
        self.engine = MemoryEngine()
        self._news = News()
        self.inventory = InventoryWatch(
            MemoryContainers(self.engine), MemoryEngineInfo(self.engine), clock, log, self._news
        )
        store = MemoryStore()
        self.operations = Operations(store.operations, clock, log, self._news)
        self.storage = StorageWatch(
            store=store,
            workspaces=MemoryWorkspaces(BundleLimits()),
            operations=self.operations,
            news=self._news,
            clock=clock,
            log=log,
        )
        self._watch = HostWatch(MemoryMetrics(clock), clock, {})

    @classmethod
    async def open(cls, clock: Clock, log: Log) -> Self:
        """A host whose Engine was seen, and that takes work."""
        host = cls(clock, log)
        await host.inventory.refresh()
        host.operations.open()
        return host

    def heartbeat(
        self,
        manager: Manager,
        *,
        interval_seconds: float,
        without_engine: WithoutEngine = WithoutEngine.REPORT_FULL,
    ) -> Heartbeat:
        """A heartbeat of this host; several are as many agents that see the same."""
        return Heartbeat(
            manager=manager,
            host=self._watch,
            inventory=self.inventory,
            operations=self.operations,
            storage=self.storage,
            news=self._news,
            clock=self.clock,
            log=self.log,
            interval_seconds=interval_seconds,
            without_engine=without_engine,
            max_containers=10,
        )
