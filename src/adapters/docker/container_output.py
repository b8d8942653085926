"""The output of single containers, byte by byte or line by line."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec

from adapters.docker.client import EngineClient
from adapters.docker.message_frames import FramedLines, Frames, TerminalLines, is_after
from adapters.docker.moments import engine_stamp, engine_time
from adapters.docker.named import named, short
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
from adapters.docker.shared_following import OVERLAP_NANOSECONDS, Place, Reading, Readings
from adapters.docker.streams import Answer, Feed, Stream, Streams
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
        self._readings: Readings[OutputLine] = Readings()

    def end(self) -> None:
        """Ends what is followed."""
        self._streams.end()

    @asynccontextmanager
    async def lines(
        self, container_id: str, choice: OutputChoice
    ) -> AsyncIterator[Batches[OutputLine]]:
        """What was printed, line by line, and what is printed until the container ends."""
        terminal = await self._has_terminal(container_id)
        past = choice.since is None or choice.since.timestamp() < time.time()
        if choice.follow and past and choice.until is None:
            async with self._followed(container_id, choice, terminal=terminal) as batches:
                yield batches
            return
        async with self._streams.open() as stream:
            lines = await self._following(stream, container_id, choice, terminal=terminal)
            yield Batches(lines.next)

    @asynccontextmanager
    async def _followed(
        self, container_id: str, choice: OutputChoice, *, terminal: bool
    ) -> AsyncIterator[Batches[OutputLine]]:
        """What was printed, for one alone, and then what all who follow the same are told."""
        began = time.time_ns()

        def new() -> Reading[OutputLine]:
            return Reading(opening, _mark, began - OVERLAP_NANOSECONDS)

        async def opening(
            reading: Reading[OutputLine], stack: AsyncExitStack, since: int
        ) -> Following[OutputLine]:
            stream = await stack.enter_async_context(self._streams.open())
            moment = datetime.fromtimestamp(since // 1000 / 1e6, UTC)
            # To look for a moment in all that was ever printed takes the Engine long.
            wanted = msgspec.structs.replace(choice, tail=PRINTED_MEANWHILE, since=moment)
            return await self._following(
                stream, container_id, wanted, terminal=terminal, reading=reading
            )

        key = (container_id, choice.stdout, choice.stderr)
        async with (
            self._readings.joined(key, new) as place,
            self._streams.open() as stream,
        ):
            await place.begin()
            before, known = None, engine_stamp(began).decode()
            if choice.tail != 0 and not self._streams.ending:
                earlier = msgspec.structs.replace(choice, follow=False)
                before = await self._following(stream, container_id, earlier, terminal=terminal)
                known = _stamp(choice.since) if choice.since is not None else ""
            yield Batches(_Joined(before, place, known).next)

    async def _following(
        self,
        stream: Stream,
        container_id: str,
        choice: OutputChoice,
        *,
        terminal: bool,
        reading: Reading[OutputLine] | None = None,
    ) -> Following[OutputLine]:
        """The lines of an answer; what is live of them, as all of a common reading, can be lost."""
        decoder = TerminalLines() if terminal else FramedLines()
        frames = cutter(terminal=terminal)
        began = engine_stamp(time.time_ns()) if choice.follow else _NEVER
        feed: Feed[Printed[OutputLine]] = feed_of_printed(lossy=False)

        def pump(answer: Answer) -> None:
            live = reading is not None
            with named("container", container_id):
                for piece in answer.pieces():
                    if found := frames.feed(piece):
                        live = live or is_after(found[0], began)
                        if reading is not None:
                            reading.note(found[0])
                        feed.put(printed(decoder, found, live=live), lossy=live)
                feed.put(printed(decoder, frames.end(), live=live, last=True))

        answer = self._answer(container_id, choice, timestamps=True)
        await stream.start(answer, feed, pump)
        return Following(feed, self._turns, _mark)

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
        # Lines have nanoseconds: the microsecond that is the end is all of it before.
        asked["until"] = f"{engine_time(choice.until)}999"
    return asked


class _Joined:
    """What was printed, and then what is printed; no line comes twice, and none between is lost.

    Args:
        before: what was printed.
        place: among those who follow, taken before that was asked for.
        known: until when lines are not to be told, as they have it, where none were printed.
    """

    def __init__(
        self, before: Following[OutputLine] | None, place: Place[OutputLine], known: str
    ) -> None:
        self._before = before
        self._place = place
        self._seen = known

    async def next(self) -> Sequence[OutputLine]:
        """The next lines; none at the end."""
        while self._before is not None:
            if lines := await self._before.next():
                self._seen = max(self._seen, *(line.at for line in lines))
                return lines
            self._before = None
            self._place.pass_over(lambda line: line.at <= self._seen)
        while lines := await self._place.next():
            if not self._seen:
                return lines
            fresh = [line for line in lines if not line.at or line.at > self._seen]
            if fresh:
                self._seen = ""
                return fresh
        return ()


def _stamp(moment: datetime) -> str:
    """A moment as lines have it."""
    return engine_stamp(round(moment.timestamp() * 1e6) * 1000).decode()


def _mark(lost: int | None) -> OutputLine:
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
