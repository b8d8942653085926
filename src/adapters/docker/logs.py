"""The output of containers."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import quote

import docker.errors
from docker import APIClient

from adapters.docker.client import EngineClient
from adapters.docker.log_lines import LogDecoder
from adapters.docker.streams import Answer, Feed, Stream, Streams
from domain.containers import Container, LogLine
from domain.errors import EngineRefused

THREADS = 200
"""How many containers' outputs are read at once."""

_MICROSECOND = 1e-6


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
    ) -> AsyncIterator[AsyncIterator[LogLine]]:
        """The lines of several containers together."""
        now = time.time()
        parameters = {"tail": "all" if tail is None else str(tail), "until": f"{now:.6f}"}
        if since is not None:
            parameters["since"] = f"{since.timestamp():.6f}"
        with_terminal = await self._terminals(containers)
        async with self._streams.open() as stream:
            yield self._lines(
                stream, containers, with_terminal, parameters, follow_from=now if follow else None
            )

    async def _terminals(self, containers: Sequence[Container]) -> set[str]:
        """Those that print to a terminal, which knows no standard error."""

        def work(api: APIClient) -> set[str]:
            return {c.id for c in containers if _has_terminal(api, c.id)}

        return await self._client.look("looking at containers", work)

    async def _lines(
        self,
        stream: Stream,
        containers: Sequence[Container],
        with_terminal: set[str],
        parameters: dict[str, str],
        *,
        follow_from: float | None,
    ) -> AsyncIterator[LogLine]:
        feeds = []
        for container in containers:
            feed: Feed[LogLine] = Feed(lossy=False)
            await self._start(stream, feed, container, with_terminal, parameters)
            feeds.append(feed)
        async for line in _sorted(feeds):
            yield line
        if follow_from is None:
            return
        together: Feed[LogLine] = Feed(lossy=True)
        from_now_on = {"follow": "1", "since": f"{follow_from + _MICROSECOND:.6f}"}
        for container in containers:
            if container.running:
                await self._start(stream, together, container, with_terminal, from_now_on)
        async for line in _marked(together):
            yield line

    async def _start(
        self,
        stream: Stream,
        feed: Feed[LogLine],
        container: Container,
        with_terminal: set[str],
        parameters: dict[str, str],
    ) -> None:
        decoder = LogDecoder(container, terminal=container.id in with_terminal)

        def pump(answer: Answer) -> None:
            try:
                for piece in answer.pieces():
                    for line in decoder.feed(piece):
                        feed.put(line)
                for line in decoder.end():
                    feed.put(line)
            except EngineRefused:
                return  # it has gone meanwhile, or keeps no log

        asked = {"stdout": "1", "stderr": "1", "timestamps": "1", **parameters}
        answer = Answer(
            self._base_url,
            f"/containers/{quote(container.id, safe='')}/logs",
            asked,
            seconds=self._seconds,
            endless="follow" in asked,
        )
        await stream.start(answer, feed, pump)


def _has_terminal(api: APIClient, container_id: str) -> bool:
    try:
        body = api.inspect_container(container_id)
    except docker.errors.NotFound:
        return False  # it has gone meanwhile
    return bool((body.get("Config") or {}).get("Tty"))


async def _sorted(feeds: Sequence[Feed[LogLine]]) -> AsyncIterator[LogLine]:
    """The lines of several feeds, each of which is in order, by time."""
    waiting: list[tuple[datetime, int, LogLine]] = []
    for number, feed in enumerate(feeds):
        line, _ = await feed.next()
        if line is not None:
            waiting.append((line.at or _BEGINNING, number, line))
    while waiting:
        waiting.sort(key=lambda entry: entry[:2])
        _, number, line = waiting.pop(0)
        yield line
        following, _ = await feeds[number].next()
        if following is not None:
            waiting.append((following.at or _BEGINNING, number, following))


_BEGINNING = datetime.min.replace(tzinfo=UTC)


async def _marked(feed: Feed[LogLine]) -> AsyncIterator[LogLine]:
    """The lines of a feed, with a mark where some were lost."""
    while True:
        line, lost = await feed.next()
        if lost:
            yield LogLine(
                at=None,
                container="",
                service=None,
                stream="agent",
                text=f"… {lost} lines were left out, as they were not read in time",
            )
        if line is None:
            return
        yield line
