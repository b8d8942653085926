"""Watches whether anything can be kept: the records, and the files of environments."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from domain.errors import AgentError
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import Store
from domain.ports.workspaces import Workspaces
from domain.usecases.news import News
from domain.usecases.operations import Operations


class Kept:
    """One place where things are kept, as it was found at the last look."""

    def __init__(self, name: str, clock: Clock, log: Log, news: News) -> None:
        self._name = name
        self._clock = clock
        self._log = log
        self._news = news
        self.fault = ""
        """Why nothing can be kept there; empty when it can."""
        self.fault_since: datetime | None = None
        """When that began."""

    async def look(self, work: Callable[[], Awaitable[None]]) -> None:
        """Takes for its fault what ``work`` raises."""
        try:
            await work()
        except AgentError as fault:
            if self.fault_since is None:
                self.fault_since = self._clock.now()
                self._log.error(f"{self._name} does not answer", reason=fault.detail)
            self._take(fault.detail)
        else:
            if self.fault_since is not None:
                self._log.info(f"{self._name} answers again")
            self.fault_since = None
            self._take("")

    def _take(self, fault: str) -> None:
        is_news = bool(fault) is not bool(self.fault)
        self.fault = fault
        if is_news:
            self._news.tell()


class StorageWatch:
    """Looks at both, each by itself."""

    def __init__(
        self,
        *,
        store: Store,
        workspaces: Workspaces,
        operations: Operations,
        news: News,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._operations = operations
        self.records = Kept("store", clock, log, news)
        """The records."""
        self.files = Kept("workspace", clock, log, news)
        """The files of environments."""

    @property
    def fault(self) -> str:
        """Why nothing new can be kept; empty when it can."""
        return self.records.fault or self.files.fault

    async def observe_records(self) -> None:
        """Looks whether records can be written, and writes what waits for that.

        Damaged ones are begun anew. Where they may be others than the agent wrote, the next look
        at consistency finds what stands.
        """
        await self.records.look(self._try_records)

    async def observe_files(self) -> None:
        """Looks whether the workspace is there."""
        await self.files.look(self._workspaces.check)

    async def _try_records(self) -> None:
        if await self._store.mend():
            self._operations.tell_left_over()
        await self._store.check()
        await self._operations.write_ends()
