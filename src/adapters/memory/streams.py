"""Output and events of in-memory containers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from adapters.memory.engine import MemoryEngine
from domain.batches import Batches
from domain.containers import Container, LogLine
from domain.engine_events import EngineEvent, Gap
from domain.errors import EngineUnavailable

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryLogs:
    """Twin of ``DockerLogs``; what is printed is what tests and demonstrations say."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._lines: list[LogLine] = []
        self._ended = False

    def print(
        self, container: str, text: str, *, stream: str = "stdout", at: datetime | None = None
    ) -> None:
        """Lets a container print a line."""
        found = self._engine.containers.get(container)
        self._lines.append(
            LogLine(
                at=at or _FIRST + timedelta(seconds=len(self._lines)),
                container=container,
                service=found.service if found is not None else None,
                stream=stream,
                text=text,
            )
        )
        self._engine.tell()

    def end(self) -> None:
        """Ends all that is being followed."""
        self._ended = True
        self._engine.tell()

    @asynccontextmanager
    async def read(
        self,
        containers: Sequence[Container],
        *,
        tail: int | None = None,
        since: datetime | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Batches[LogLine]]:
        """The lines of several containers together."""
        await self._engine.answer("read logs")
        yield Batches.of(self._read(containers, tail, since, follow=follow))

    async def _read(
        self,
        containers: Sequence[Container],
        tail: int | None,
        since: datetime | None,
        *,
        follow: bool,
    ) -> AsyncIterator[Sequence[LogLine]]:
        names = [container.name for container in containers]
        seen = len(self._lines)
        if before := self._before(names, tail, since):
            yield before
        while follow:
            news = self._engine.news
            fresh, seen = self._lines[seen:], len(self._lines)
            if chosen := [line for line in fresh if line.container in names]:
                yield chosen
            if not fresh:
                if self._ended or not any(self._runs(name) for name in names):
                    return
                await news.wait()

    def _runs(self, name: str) -> bool:
        return name in self._engine.containers and self._engine.containers[name].running

    def _before(
        self, names: Sequence[str], tail: int | None, since: datetime | None
    ) -> list[LogLine]:
        chosen = []
        for name in names:
            lines = [line for line in self._lines if line.container == name]
            lines = [x for x in lines if since is None or (x.at is not None and x.at >= since)]
            chosen += lines if tail is None else lines[max(0, len(lines) - tail) :]
        return sorted(chosen, key=lambda line: line.at or _FIRST)


class MemoryEvents:
    """Twin of ``DockerEvents``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._cuts = 0

    def cut(self) -> None:
        """Ends what is followed at the moment, as a connection that breaks off."""
        self._cuts += 1
        self._engine.happenings.wake()

    @asynccontextmanager
    async def follow(
        self, *, since: int | None = None
    ) -> AsyncIterator[AsyncIterator[EngineEvent | Gap]]:
        """Events as they happen."""
        yield self._follow(since)

    async def _follow(self, since: int | None) -> AsyncIterator[EngineEvent | Gap]:
        await self._engine.answer("follow events")
        happenings, cuts = self._engine.happenings, self._cuts
        seen = happenings.count
        earlier = happenings.after(0) if since is not None else []
        yield Gap()
        for event in earlier:
            if since is not None and event.nanoseconds >= since:
                yield event
        while cuts == self._cuts:
            await self._engine.answer("follow events")
            news = happenings.news
            fresh, seen = happenings.after(seen), happenings.count
            for event in fresh:
                yield event
            if not fresh:
                await news.wait()
        raise EngineUnavailable("The Docker Engine ended its events.")
