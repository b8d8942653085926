"""The output of single containers, byte by byte or line by line."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar
from urllib.parse import quote

from adapters.docker.client import EngineClient
from adapters.docker.message_frames import FramedLines, Frames, TerminalLines, is_after
from adapters.docker.moments import engine_stamp, engine_time
from adapters.docker.named import named, short
from adapters.docker.printed_lines import (
    Following,
    Printed,
    Turns,
    cutter,
    feed_of_printed,
    lost_text,
    printed,
)
from adapters.docker.streams import Answer, Feed, Streams
from domain.batches import Batches
from domain.container_streams import OutputChoice, OutputLine

THREADS = 200
"""How many outputs are read at once."""

_WAITING_BYTES = 1024 * 1024
"""How much waits for a slow reader."""

# Later than what any line says.
_NEVER = b"\xff"

T = TypeVar("T")


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
        self._turns = Turns()

    def end(self) -> None:
        """Ends what is followed."""
        self._streams.end()

    @asynccontextmanager
    async def lines(
        self, container_id: str, choice: OutputChoice
    ) -> AsyncIterator[Batches[OutputLine]]:
        """What was printed, line by line, and what is printed until the container ends."""
        terminal = await self._has_terminal(container_id)
        decoder = TerminalLines() if terminal else FramedLines()
        frames = cutter(terminal=terminal)
        began = engine_stamp(time.time_ns()) if choice.follow else _NEVER
        feed: Feed[Printed[OutputLine]] = feed_of_printed(lossy=False)

        def pump(answer: Answer) -> None:
            live = False
            with named("container", container_id):
                for piece in answer.pieces():
                    if found := frames.feed(piece):
                        live = live or is_after(found[0], began)
                        feed.put(printed(decoder, found, live=live), lossy=live)
                feed.put(printed(decoder, frames.end(), live=live, last=True))

        async with self._streams.open() as stream:
            answer = self._answer(container_id, choice, timestamps=True)
            await stream.start(answer, feed, pump)
            yield Batches(Following(feed, self._turns, _mark).next)

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
                    plain = piece if frames is None else frames.contents(piece)
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


def _mark(lost: int) -> OutputLine:
    return OutputLine(at="", stream="agent", data=lost_text(lost).encode())


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
