"""The output of single containers, byte by byte or line by line."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote

from adapters.docker.client import EngineClient
from adapters.docker.message_frames import FramedLines, Frames, TerminalLines
from adapters.docker.moments import engine_time, moment
from adapters.docker.named import named, short
from adapters.docker.streams import Answer, Feed, Streams
from domain.container_streams import OutputChoice, OutputLine

THREADS = 200
"""How many outputs are read at once."""

_WAITING_BYTES = 1024 * 1024
"""How much waits for a slow reader."""

# What a line costs beside its bytes.
_LINE_BYTES = 400

T = TypeVar("T")


class _Lines(Protocol):
    def feed(self, piece: bytes) -> Iterator[OutputLine]: ...

    def end(self) -> Iterator[OutputLine]: ...


class DockerContainerOutput:
    """Reads the output of single containers through the Engine.

    Args:
        base_url: address of the Engine.
        client: for short calls.
    """

    def __init__(self, base_url: str, client: EngineClient) -> None:
        self._base_url = base_url
        self._client = client
        self._streams = Streams(THREADS, wait_seconds=client.limits.ask_seconds)

    def end(self) -> None:
        """Ends what is followed."""
        self._streams.end()

    @asynccontextmanager
    async def lines(
        self, container_id: str, choice: OutputChoice
    ) -> AsyncIterator[AsyncIterator[OutputLine]]:
        """What was printed, line by line, and what is printed until the container ends."""
        lines: _Lines = TerminalLines() if await self._has_terminal(container_id) else FramedLines()
        began = time.time()
        feed: Feed[OutputLine] = Feed(lossy=False, most=_WAITING_BYTES, weigh=_weight)

        def pump(answer: Answer) -> None:
            with named("container", container_id):
                for piece in answer.pieces():
                    for line in lines.feed(piece):
                        feed.put(line, lossy=choice.follow and _is_later(line, began))
                for line in lines.end():
                    feed.put(line)

        async with self._streams.open() as stream:
            answer = self._answer(container_id, choice, timestamps=True)
            await stream.start(answer, feed, pump)
            yield _MarkedLines(feed)

    @asynccontextmanager
    async def raw(
        self, container_id: str, choice: OutputChoice, *, timestamps: bool
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes that were printed, as they were printed, in pieces."""
        frames = None if await self._has_terminal(container_id) else Frames()
        feed: Feed[bytes] = Feed(lossy=False, most=_WAITING_BYTES, weigh=len)

        def pump(answer: Answer) -> None:
            with named("container", container_id):
                for piece in answer.pieces():
                    plain = piece if frames is None else _joined(frames, piece)
                    if plain:
                        feed.put(plain)

        async with self._streams.open() as stream:
            answer = self._answer(container_id, choice, timestamps=timestamps)
            await stream.start(answer, feed, pump)
            yield _Items(feed)

    async def _has_terminal(self, container_id: str) -> bool:
        with named("container", container_id):
            found = await self._client.look(
                f"looking at container {short(container_id)}",
                lambda api: api.inspect_container(container_id),
            )
        return bool((found.get("Config") or {}).get("Tty"))

    def _answer(self, container_id: str, choice: OutputChoice, *, timestamps: bool) -> Answer:
        return Answer(
            self._base_url,
            f"/containers/{quote(container_id, safe='')}/logs",
            _parameters(choice, timestamps=timestamps),
            seconds=self._client.limits.ask_seconds,
            endless=choice.follow,
        )


def _parameters(choice: OutputChoice, *, timestamps: bool) -> dict[str, str]:
    asked = {
        "stdout": str(int(choice.stdout)),
        "stderr": str(int(choice.stderr)),
        "follow": str(int(choice.follow)),
        "timestamps": str(int(timestamps)),
        "tail": "all" if choice.tail is None else str(choice.tail),
    }
    if choice.since is not None:
        asked["since"] = engine_time(choice.since)
    if choice.until is not None:
        asked["until"] = engine_time(choice.until)
    return asked


def _joined(frames: Frames, piece: bytes) -> bytes:
    return b"".join(content for _, content in frames.feed(piece))


def _weight(line: OutputLine) -> int:
    return len(line.data) + _LINE_BYTES


def _is_later(line: OutputLine, began: float) -> bool:
    """Whether a line was printed after it was asked for; what came before nobody loses."""
    at = moment(line.at)
    return at is not None and at > datetime.fromtimestamp(began, UTC)


class _Items(Generic[T]):
    """The items of a feed; waiting for the next one may be cancelled."""

    def __init__(self, feed: Feed[T]) -> None:
        self._feed = feed

    def __aiter__(self) -> "_Items[T]":
        return self

    async def __anext__(self) -> T:
        item, _ = await self._feed.next()
        if item is None:
            raise StopAsyncIteration
        return item


class _MarkedLines:
    """The lines of a feed, with a remark where some were lost."""

    def __init__(self, feed: Feed[OutputLine]) -> None:
        self._feed = feed
        self._waiting: OutputLine | None = None

    def __aiter__(self) -> "_MarkedLines":
        return self

    async def __anext__(self) -> OutputLine:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            return waiting
        line, lost = await self._feed.next()
        if lost:
            self._waiting = line
            text = f"… {lost} lines were left out, as they were not read in time"
            return OutputLine(at="", stream="agent", data=text.encode())
        if line is None:
            raise StopAsyncIteration
        return line
