"""The output of containers."""

import heapq
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import quote

import docker.errors
from docker import APIClient

from adapters.docker.client import EngineClient
from adapters.docker.log_lines import LogDecoder
from adapters.docker.printed_lines import (
    Following,
    Printed,
    Turns,
    cutter,
    feed_of_printed,
    lost_text,
    printed,
)
from adapters.docker.streams import Answer, Feed, Stream, Streams
from domain.batches import Batches
from domain.containers import Container, LogLine
from domain.errors import EngineRefused

THREADS = 200
"""How many containers' outputs are read at once."""

_MICROSECOND = 1e-6

_MOST_AT_ONCE = 500


class DockerLogs:
    """Reads the output of containers through the Engine.

    Args:
        base_url: address of the Engine.
        client: for short calls.
    """

    def __init__(self, base_url: str, client: EngineClient) -> None:
        self._base_url = base_url
        self._client = client
        self._seconds = client.limits.ask_seconds
        self._streams = Streams(THREADS, wait_seconds=self._seconds)
        self._turns = Turns()

    def end(self) -> None:
        """Ends all that is being followed."""
        self._streams.end()

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
        now = time.time()
        parameters = {"tail": "all" if tail is None else str(tail), "until": f"{now:.6f}"}
        if since is not None:
            parameters["since"] = f"{since.timestamp():.6f}"
        with_terminal = await self._terminals(containers)
        async with self._streams.open() as stream:
            batches = self._batches(
                stream, containers, with_terminal, parameters, follow_from=now if follow else None
            )
            yield Batches.of(batches)

    async def _terminals(self, containers: Sequence[Container]) -> set[str]:
        """Those that print to a terminal, which knows no standard error."""

        def work(api: APIClient) -> set[str]:
            return {c.id for c in containers if _has_terminal(api, c.id)}

        return await self._client.look("looking at containers", work)

    async def _batches(
        self,
        stream: Stream,
        containers: Sequence[Container],
        with_terminal: set[str],
        parameters: dict[str, str],
        *,
        follow_from: float | None,
    ) -> AsyncIterator[Sequence[LogLine]]:
        before = []
        for container in containers:
            feed: Feed[Printed[LogLine]] = feed_of_printed(lossy=False)
            await self._start(stream, feed, container, with_terminal, parameters)
            before.append(Following(feed, self._turns, _mark))
        async for lines in _sorted(before):
            yield lines
        if follow_from is None:
            return
        together: Feed[Printed[LogLine]] = feed_of_printed(lossy=True)
        from_now_on = {"follow": "1", "since": f"{follow_from + _MICROSECOND:.6f}"}
        for container in containers:
            if container.running:
                await self._start(stream, together, container, with_terminal, from_now_on)
        following = Following(together, self._turns, _mark)
        while lines := await following.next():
            yield lines

    async def _start(
        self,
        stream: Stream,
        feed: Feed[Printed[LogLine]],
        container: Container,
        with_terminal: set[str],
        parameters: dict[str, str],
    ) -> None:
        decoder = LogDecoder(container)
        frames = cutter(terminal=container.id in with_terminal)
        live = "follow" in parameters

        def pump(answer: Answer) -> None:
            try:
                for piece in answer.pieces():
                    if found := frames.feed(piece):
                        feed.put(printed(decoder, found, live=live))
                feed.put(printed(decoder, frames.end(), live=live, last=True), lossy=False)
            except EngineRefused:
                return  # it has gone meanwhile, or keeps no log

        asked = {"stdout": "1", "stderr": "1", "timestamps": "1", **parameters}
        answer = Answer(
            self._base_url,
            f"/containers/{quote(container.id, safe='')}/logs",
            asked,
            seconds=self._seconds,
            endless=live,
        )
        await stream.start(answer, feed, pump)


def _has_terminal(api: APIClient, container_id: str) -> bool:
    try:
        body = api.inspect_container(container_id)
    except docker.errors.NotFound:
        return False  # it has gone meanwhile
    return bool((body.get("Config") or {}).get("Tty"))


class _Source:
    """The lines of one container, which are in order."""

    def __init__(self, lines: Following[LogLine]) -> None:
        self._lines = lines
        self.waiting: deque[LogLine] = deque()

    async def fill(self) -> bool:
        """Waits for lines; whether there are any more."""
        self.waiting.extend(await self._lines.next())
        return bool(self.waiting)


async def _sorted(before: Sequence[Following[LogLine]]) -> AsyncIterator[Sequence[LogLine]]:
    """The lines of several containers, each of which is in order, by time."""
    sources = [_Source(lines) for lines in before]
    heap = [(s.waiting[0].at or _BEGINNING, n) for n, s in enumerate(sources) if await s.fill()]
    heapq.heapify(heap)
    found: list[LogLine] = []
    while heap:
        _, number = heap[0]
        source = sources[number]
        found.append(source.waiting.popleft())
        if len(found) >= _MOST_AT_ONCE or not source.waiting:
            yield found
            found = []
        if source.waiting or await source.fill():
            heapq.heapreplace(heap, (source.waiting[0].at or _BEGINNING, number))
        else:
            heapq.heappop(heap)


_BEGINNING = datetime.min.replace(tzinfo=UTC)


def _mark(lost: int) -> LogLine:
    return LogLine(at=None, container="", service=None, stream="agent", text=lost_text(lost))
