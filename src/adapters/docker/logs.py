"""The output of containers."""

import heapq
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import quote

import docker.errors
from docker import APIClient

from adapters.docker.client import EngineClient
from adapters.docker.log_lines import LogDecoder
from adapters.docker.printed_lines import (
    PRINTED_MEANWHILE,
    Following,
    Printed,
    Turns,
    cutter,
    feed_of_printed,
    lost_text,
    printed,
)
from adapters.docker.shared_following import (
    OVERLAP_NANOSECONDS,
    Opening,
    Place,
    Reading,
    Readings,
)
from adapters.docker.streams import Answer, Feed, Stream, Streams
from domain.batches import Batches
from domain.containers import Container, LogLine
from domain.errors import EngineRefused

THREADS = 200
"""How many containers' outputs are read at once."""

_MICROSECOND = 1_000

_MOST_AT_ONCE = 500

_SOON = 1_000_000_000 + OVERLAP_NANOSECONDS
"""In nanoseconds, too."""


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
        self._readings: Readings[LogLine] = Readings()

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
        with_terminal = await self._terminals(containers)
        running = tuple(container for container in containers if container.running)
        # Nothing is waited for from here until the place is taken: what others are told meanwhile
        # would be neither before nor after.
        began = time.time_ns()
        history = _History(began, since, tail)

        def new() -> Reading[LogLine]:
            opening = self._opening(running, with_terminal)
            return Reading(opening, _mark, began - OVERLAP_NANOSECONDS)

        async with AsyncExitStack() as stack:
            place = None
            if follow:
                key = tuple((c.id, c.name, c.service) for c in running)
                place = await stack.enter_async_context(self._readings.joined(key, new))
                place.look_back(history.is_after)
            stream = await stack.enter_async_context(self._streams.open())
            batches = self._batches(stream, containers, with_terminal, history, place)
            yield Batches.of(batches)

    def _opening(
        self, containers: Sequence[Container], with_terminal: set[str]
    ) -> Opening[LogLine]:
        """Begins to read what containers print, for all."""

        async def opening(
            reading: Reading[LogLine], stack: AsyncExitStack, since: int
        ) -> Following[LogLine]:
            parameters = {"follow": "1", "since": _engine_time(since)}
            stream = await stack.enter_async_context(self._streams.open())
            together: Feed[Printed[LogLine]] = feed_of_printed(lossy=True)
            if time.time_ns() - since < _SOON:
                # To look for a moment in all that was ever printed takes the Engine long.
                parameters["tail"] = str(PRINTED_MEANWHILE)
            for container in containers:
                terminal = container.id in with_terminal
                await self._start(
                    stream, together, container, parameters, terminal=terminal, reading=reading
                )
            return Following(together, self._turns, _mark)

        return opening

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
        history: "_History",
        place: Place[LogLine] | None,
    ) -> AsyncIterator[Sequence[LogLine]]:
        before = []
        for container in containers:
            feed: Feed[Printed[LogLine]] = feed_of_printed(lossy=False)
            terminal = container.id in with_terminal
            await self._start(stream, feed, container, history.parameters, terminal=terminal)
            before.append(Following(feed, self._turns, _mark))
        async for lines in _sorted(before):
            history.take(lines)
            yield lines
        if place is not None:
            await place.begin()
            async for lines in _later(place, history):
                yield lines

    async def _start(
        self,
        stream: Stream,
        feed: Feed[Printed[LogLine]],
        container: Container,
        parameters: dict[str, str],
        *,
        terminal: bool,
        reading: Reading[LogLine] | None = None,
    ) -> None:
        decoder = LogDecoder(container)
        frames = cutter(terminal=terminal)
        live = "follow" in parameters

        def pump(answer: Answer) -> None:
            try:
                for piece in answer.pieces():
                    if found := frames.feed(piece):
                        if reading is not None:
                            reading.note(found[0])
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


def _engine_time(nanoseconds: int) -> str:
    return f"{nanoseconds // 1000 / 1e6:.6f}"


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


async def _later(place: Place[LogLine], history: "_History") -> AsyncIterator[Sequence[LogLine]]:
    """What is printed after what was told, of a reading that may have begun before."""
    place.pass_over(lambda line: not history.lacks(line))
    while lines := await place.next():
        new = [line for line in lines if history.lacks(line)]
        if new:
            yield lines if len(new) == len(lines) else new


class _History:
    """What one who follows is told of what was printed before: no line twice, and none left out.

    Args:
        began: when that ends, in nanoseconds since 1970.
        since: when it begins.
        tail: how many lines of each container; None for all.
    """

    def __init__(self, began: int, since: datetime | None, tail: int | None) -> None:
        # Lines have microseconds; that of the end is all of it before.
        until = f"{_engine_time(began)}999"
        self.parameters = {"tail": "all" if tail is None else str(tail), "until": until}
        """How the Engine is asked for it."""
        if since is not None:
            self.parameters["since"] = f"{since.timestamp():.6f}"
        self._began = datetime.fromtimestamp(began // _MICROSECOND / 1e6, UTC)
        self._since = since or _BEGINNING
        self._told = tail != 0
        self._last: dict[str, datetime] = {}

    def take(self, lines: Sequence[LogLine]) -> None:
        """Notes what was told, in the order of time."""
        for line in lines:
            if line.at is not None:
                self._last[line.container] = line.at

    def is_after(self, line: LogLine) -> bool:
        """Whether a line was printed after it."""
        return line.at is not None and line.at > self._began

    def lacks(self, line: LogLine) -> bool:
        """Whether a line is still to be told: it is later, or was written down too late for it."""
        if line.at is None or line.at > self._began:
            return True
        return self._told and line.at > self._last.get(line.container, self._since)


def _mark(lost: int | None) -> LogLine:
    return LogLine(at=None, container="", service=None, stream="agent", text=lost_text(lost))
