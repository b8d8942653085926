"""The agent's picture of the containers, refreshed by a worker and after each change."""

import anyio
import msgspec

from domain.containers import EngineInfo, Inventory
from domain.errors import AgentError, EngineRefused, EngineUnavailable, HostExhausted
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.runtime import Containers, Engine
from domain.usecases.news import News


class InventoryWatch:
    """Keeps the picture; while the Engine is away it keeps the last one and says so."""

    def __init__(
        self, containers: Containers, engine: Engine, clock: Clock, log: Log, news: News
    ) -> None:
        self._containers = containers
        self._engine = engine
        self._clock = clock
        self._log = log
        self._news = news
        self._refreshing = anyio.Lock()
        self._started = 0
        self._faults = 0
        self._away_since: float | None = None
        self.picture = Inventory(fault="The Docker Engine has not been asked yet.")
        self.engine_info: EngineInfo | None = None
        """What the Engine last said of itself."""
        self.returned = anyio.Event()
        """Set, and then replaced, when the Engine answers again after it did not."""

    async def refresh(self) -> Inventory:
        """The picture as the Engine tells it now.

        Those who ask while a refresh waits to begin share it, so that many who ask at once cost
        the Engine one call; and when a look fails while they wait, nobody waits for another.

        Raises:
            EngineUnavailable: the Engine does not answer; the last picture stays.
            EngineRefused: it answers with an error.
            HostExhausted: the host is too short of something to ask it.
        """
        wanted, faults = self._started + 1, self._faults
        async with self._refreshing:
            if self._started >= wanted or self._faults > faults:
                return self._known()
            self._started += 1
            return await self._ask()

    async def _ask(self) -> Inventory:
        up = self.picture.engine_up
        try:
            await self._look()
        finally:
            if self.picture.engine_up is not up:
                self._news.tell()
        return self.picture

    async def _look(self) -> None:
        try:
            containers = await self._containers.list()
            if self.engine_info is None or self.picture.fault:
                self.engine_info = await self._engine.info()
        except (EngineUnavailable, EngineRefused, HostExhausted) as fault:
            self._note(fault)
            raise
        if self._away_since is not None:
            away = self._clock.monotonic() - self._away_since
            self._log.info("engine answers again", away_seconds=round(away, 1))
            self._away_since = None
            self.returned.set()
            self.returned = anyio.Event()
        self.picture = Inventory(containers=tuple(containers), seen_at=self._clock.now())

    def _note(self, fault: AgentError) -> None:
        self._faults += 1
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            self._log.error("engine does not answer", reason=fault.detail)
        self.picture = msgspec.structs.replace(
            self.picture,
            fault=fault.detail,
            fault_since=self.picture.fault_since or self._clock.now(),
        )

    async def fresh(self) -> Inventory:
        """The picture as the Engine tells it now; at once an error while it is known to be away.

        Raises:
            EngineUnavailable: the Engine does not answer, or did not when last asked.
            EngineRefused: it answers with an error.
        """
        if self.picture.fault_since is not None:
            return self._known()
        return await self.refresh()

    async def require_engine(self) -> Inventory:
        """The picture at hand.

        Raises:
            EngineUnavailable: the Engine did not answer when last asked.
        """
        if self.picture.seen_at is None and self.picture.fault_since is None:
            return await self.refresh()
        return self._known()

    def _known(self) -> Inventory:
        if not self.picture.engine_up:
            raise EngineUnavailable(self.picture.fault, retry_after=10)
        return self.picture
