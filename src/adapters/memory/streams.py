"""Output and events of in-memory containers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio

from adapters.memory.engine import MemoryEngine
from domain.containers import Container, ContainerEvent, LogLine

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
    ) -> AsyncIterator[AsyncIterator[LogLine]]:
        """The lines of several containers together."""
        await self._engine.answer("read logs")
        yield self._read(containers, tail, since, follow=follow)

    async def _read(
        self,
        containers: Sequence[Container],
        tail: int | None,
        since: datetime | None,
        *,
        follow: bool,
    ) -> AsyncIterator[LogLine]:
        names = [container.name for container in containers]
        seen = len(self._lines)
        for line in self._before(names, tail, since):
            yield line
        while follow:
            news = self._engine.news
            fresh, seen = self._lines[seen:], len(self._lines)
            for line in fresh:
                if line.container in names:
                    yield line
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
    """Twin of ``DockerEvents``; what happens is what tests say."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._events: list[ContainerEvent] = []
        self._news = anyio.Event()

    def happen(self, event: ContainerEvent) -> None:
        """Lets something happen."""
        self._events.append(event)
        self._news.set()
        self._news = anyio.Event()

    @asynccontextmanager
    async def follow(
        self, *, since: datetime | None = None
    ) -> AsyncIterator[AsyncIterator[ContainerEvent]]:
        """Events as they happen, those since a moment in the past first."""
        await self._engine.answer("follow events")
        start = len(self._events) if since is None else 0
        yield self._follow(start, since)

    async def _follow(self, start: int, since: datetime | None) -> AsyncIterator[ContainerEvent]:
        seen = start
        while True:
            news = self._news
            fresh, seen = self._events[seen:], len(self._events)
            for event in fresh:
                if since is None or event.at >= since:
                    yield event
            if not fresh:
                await news.wait()
                await self._engine.answer("follow events")
