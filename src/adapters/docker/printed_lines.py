"""What containers print, on its way from the threads that read it to those who follow.

Threads only cut it into frames. Lines are made of them on the event loop when they are wanted, by
one follower at a time, so that what nobody reads costs next to nothing, and what many read cannot
keep the interpreter from all else.
"""

import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import anyio
import anyio.lowlevel

from adapters.docker.message_frames import Frame, Frames, WholeLines
from adapters.docker.streams import Feed, Losses

L = TypeVar("L")

LINES_PER_SECOND = 20_000
"""How many lines all who follow together are given in a second of what is printed meanwhile."""

LINES_AT_ONCE = 20_000
"""How many at once, after a quiet time."""

BETWEEN_SECONDS = 0.1
"""How long one who follows waits for the next batch; what comes meanwhile comes together."""

PRINTED_MEANWHILE = 50_000
"""How many lines can be printed while the Engine is asked for those from now on."""

_WAITING_BYTES = 1024 * 1024
_BATCH_BYTES = 32 * 1024

# What a frame costs beside its bytes.
_FRAME_BYTES = 150


class Decoder(Protocol[L]):
    """Makes lines of the frames of one container."""

    def decode(self, frames: Sequence[Frame], /) -> list[L]:
        """The lines that they complete."""
        ...

    def skip(self) -> None:
        """Goes on behind frames that were lost."""
        ...

    def end(self) -> list[L]:
        """What is left at the end."""
        ...


class Printed(NamedTuple, Generic[L]):
    """Some of what one container printed."""

    decoder: Decoder[L]
    frames: Sequence[Frame]
    lines: int
    weight: int
    live: bool
    """Printed after it was asked for; what came before nobody loses."""
    last: bool = False


def printed(
    decoder: Decoder[L], frames: Sequence[Frame], *, live: bool, last: bool = False
) -> Printed[L]:
    """What one container printed, weighed."""
    lines = len(frames)
    if lines == 1:
        # One of a terminal has many.
        lines = max(1, frames[0][1].count(b"\n"))
    weight = sum([len(content) for _, content in frames]) + _FRAME_BYTES * lines
    return Printed(decoder, frames, lines, weight, live, last)


def cutter(*, terminal: bool) -> Frames | WholeLines:
    """What cuts a container's output, in a thread."""
    return WholeLines() if terminal else Frames()


def feed_of_printed(*, lossy: bool) -> Feed[Printed[L]]:
    """A feed for what is printed."""
    return Feed(lossy=lossy, most=_WAITING_BYTES, weigh=_weight, count=_lines)


def _weight(item: Printed[L]) -> int:
    return item.weight


def _lines(item: Printed[L]) -> int:
    return item.lines


class Turns:
    """The turns of all who follow: one at a time, and of what is live only so much in a second."""

    def __init__(self) -> None:
        self.one = anyio.Lock()
        self._pace = Losses(LINES_PER_SECOND, LINES_AT_ONCE)

    def next_after(self, lines: int) -> float:
        """When one who was given so many lines may have more."""
        return time.monotonic() + max(BETWEEN_SECONDS, self._pace.turn(lines))


class Following(Generic[L]):
    """The lines of a feed in batches, with a mark where some were lost.

    Args:
        feed: of what was printed.
        turns: shared with all others who follow.
        mark: the line that says how many were lost; None where nobody knows.
    """

    def __init__(
        self, feed: Feed[Printed[L]], turns: Turns, mark: Callable[[int | None], L]
    ) -> None:
        self._feed = feed
        self._turns = turns
        self._mark = mark
        self._not_before = 0.0

    async def next(self) -> Sequence[L]:
        """The next lines; none at the end. Waiting for them may be cancelled.

        Raises:
            AgentError: what ended the stream.
        """
        while True:
            await anyio.sleep(max(0.0, self._not_before - time.monotonic()))
            if not await self._feed.ready():
                return ()
            async with self._turns.one:
                # Others have their turn between two that make lines.
                await anyio.lowlevel.checkpoint()
                lines = self._take()
            if lines:
                return lines

    def _take(self) -> list[L]:
        taken, lost = self._feed.take(_BATCH_BYTES)
        lines = [self._mark(lost)] if lost else []
        if lost:
            for decoder in {id(item.decoder): item.decoder for item in taken}.values():
                decoder.skip()
        for item in taken:
            lines += item.decoder.decode(item.frames)
            if item.last:
                lines += item.decoder.end()
        if any(item.live for item in taken):
            self._not_before = self._turns.next_after(sum(item.lines for item in taken))
        return lines


def lost_text(lines: int | None) -> str:
    """What a mark says; None where nobody knows how many."""
    if lines is None:
        return "… lines were left out, as they are printed faster than they can be read"
    return f"… {lines} lines were left out, as they were not read in time"
