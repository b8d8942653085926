"""The agent's picture of the containers, so that nobody who asks has to wait for the Engine."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import anyio
import msgspec

from domain.containers import Container, EngineInfo, Inventory
from domain.errors import AgentError, EngineRefused, EngineUnavailable, HostExhausted
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.runtime import Containers, Engine
from domain.status_words import Ages
from domain.usecases.news import News

MOST_SINGLE = 40
"""Beyond so many containers it is quicker to look at all."""

_WORDS_SECONDS = 1.0
"""How long the Engine's words for how long something has been so are taken for true."""


class _Shown(NamedTuple):
    """What is shown of what the Engine told, and since when."""

    told: Inventory
    picture: Inventory
    at: float


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
        self._picture = Inventory(fault="The Docker Engine has not been asked yet.")
        self._ages = Ages()
        self._shown = _Shown(self._picture, self._picture, 0.0)
        self.engine_info: EngineInfo | None = None
        """What the Engine last said of itself."""
        self.looked = anyio.Event()
        """Set, and then replaced, when the Engine has told of its containers."""
        self.returned = anyio.Event()
        """Set, and then replaced, when the Engine answers again after it did not."""

    @property
    def picture(self) -> Inventory:
        """The picture at hand, with words for times that are true now.

        Threads may ask for it too: what they make of an earlier picture is never taken for this.
        """
        shown, now = self._shown, self._clock.monotonic()
        told = self._picture
        fresh = now - shown.at < _WORDS_SECONDS or not told.engine_up
        if shown.told is not told or not fresh:
            shown = self._shown = self._words(told, shown.picture, now)
        return shown.picture

    def _words(self, told: Inventory, before: Inventory, now: float) -> "_Shown":
        containers = self._ages.told(told.containers, now) if told.engine_up else told.containers
        if containers == before.containers:
            # The same object, so that what was made of them can be known to be still true.
            containers = before.containers
        return _Shown(told, msgspec.structs.replace(told, containers=containers), now)

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
            return await self._ask(None)

    async def update(self, ids: Collection[str]) -> Inventory:
        """The picture, with some containers as the Engine tells of them now.

        While the Engine is known to be away it is not asked.

        Raises:
            EngineUnavailable: the Engine does not answer, or did not when last asked.
            EngineRefused: it answers with an error.
            HostExhausted: the host is too short of something to ask it.
        """
        async with self._refreshing:
            self._known()
            return await self._ask(ids if len(ids) <= MOST_SINGLE else None)

    async def _ask(self, ids: Collection[str] | None) -> Inventory:
        up = self._picture.engine_up
        try:
            await self._look(ids)
        finally:
            if self._picture.engine_up is not up:
                self._news.tell()
        return self.picture

    async def _look(self, ids: Collection[str] | None) -> None:
        asked = self._clock.monotonic()
        try:
            containers = await self._containers.list(ids)
            answered = self._clock.monotonic()
            if self.engine_info is None or self._picture.fault:
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
        self._ages.note(containers, asked=asked, answered=answered)
        self._take(containers, ids)
        self.looked.set()
        self.looked = anyio.Event()

    def _take(self, told: Sequence[Container], ids: Collection[str] | None) -> None:
        """Puts what the Engine told into the picture; without ``ids`` it told of all there are."""
        if ids is not None:
            others = (c for c in self._picture.containers if c.id not in ids)
            told = sorted((*others, *told), key=lambda c: (c.name, c.id))
        self._ages.keep({container.id for container in told})
        self._picture = Inventory(containers=tuple(told), seen_at=self._clock.now())

    def _note(self, fault: AgentError) -> None:
        self._faults += 1
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            self._log.error("engine does not answer", reason=fault.detail)
        self._picture = msgspec.structs.replace(
            self.picture,
            fault=fault.detail,
            fault_since=self._picture.fault_since or self._clock.now(),
        )

    async def require_engine(self) -> Inventory:
        """The picture at hand.

        Raises:
            EngineUnavailable: the Engine did not answer when last asked.
        """
        if self._picture.seen_at is None and self._picture.fault_since is None:
            return await self.refresh()
        return self._known()

    def _known(self) -> Inventory:
        if not self._picture.engine_up:
            raise EngineUnavailable(self._picture.fault, retry_after=10)
        return self.picture
