"""One reading of the Engine for all who follow the same.

The lines stand in one ring; who follows holds nothing but a place in it, so that fifty who follow
cost one stream of the Engine, one thread, and each line is taken apart once. There is no task that
reads: whoever has read all there is, and comes first, reads on for all.
"""

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Generic, NamedTuple, TypeVar

import anyio

from adapters.docker.message_frames import Frame, printed_at
from adapters.docker.printed_lines import Following
from domain.batches import Common
from domain.errors import AgentError

L = TypeVar("L")

KEPT = 16
"""How many batches are kept for those who read slowly."""

BEHIND_SECONDS = 2.0
"""A reading that is so far behind what is printed, nobody joins any more."""

LOST_SECONDS = 10.0
"""One that is so far behind goes on with what is printed now."""

Opening = Callable[["Reading[L]", AsyncExitStack, int], Awaitable[Following[L]]]
"""Begins to read what is printed from a moment on, in nanoseconds since 1970.

What must be closed at the end is put on the stack.
"""


OVERLAP_NANOSECONDS = 500_000_000
"""By how much a reading begins before it is wanted: the Engine may write a line down a moment after
the time that it says of it, and whoever was told what was printed before knows what he has."""


class _Kept(NamedTuple, Generic[L]):
    lines: Common[L]
    before: int
    """How many lines were read before these."""


class Reading(Generic[L]):
    """What all who follow the same read together.

    Args:
        opening: begins to read.
        mark: the line that says how many were lost; None where nobody knows.
        began: from which moment on, in nanoseconds since 1970.
    """

    def __init__(self, opening: Opening[L], mark: Callable[[int | None], L], began: int) -> None:
        self._opening = opening
        self.mark = mark
        self._began = began
        self._following: Following[L] | None = None
        self._stack = AsyncExitStack()
        self._turn = anyio.Lock()
        self._ring: deque[_Kept[L]] = deque(maxlen=KEPT)
        self._fault: AgentError | None = None
        self.over = False
        """Whether all of it was read."""
        self.behind = False
        """Whether it is so far behind what is printed that nobody should join."""
        self._lost = False
        self._least_delay = math.inf
        self.batches = 0
        """How many batches were read."""
        self.lines = 0
        """How many lines."""

    async def begin(self) -> None:
        """Begins to read, where nobody has yet.

        Raises:
            AgentError: it cannot be read.
        """
        # Whoever has the turn later on may wait for a line for any time.
        if self._following is None:
            async with self._turn:
                if self._following is None:
                    self._following = await self._opened()

    async def beyond(self, batches: int) -> bool:
        """Waits until more than so many batches were read; False at the end.

        Raises:
            AgentError: what ended it.
        """
        if batches >= self.batches:
            async with self._turn:
                if batches >= self.batches and not self.over:
                    await self._read()
        if batches < self.batches:
            return True
        if self._fault is not None:
            raise self._fault
        return False

    async def _read(self) -> None:
        try:
            if self._lost:
                lines: Sequence[L] = await self._begun_anew()
            else:
                lines = () if self._following is None else await self._following.next()
        except AgentError as fault:
            self._fault, self.over = fault, True
            return
        if not lines:
            self.over = True
            return
        self._ring.append(_Kept(Common(lines), self.lines))
        self.batches += 1
        self.lines += len(lines)

    def note(self, frame: Frame) -> None:
        """Takes a frame that has just been read, in the thread that reads."""
        at = printed_at(frame)
        if at is None:
            return
        delay = time.time() - at.timestamp()
        # The Engine's clock may be another one.
        self._least_delay = min(self._least_delay, delay)
        self.behind = delay - self._least_delay > BEHIND_SECONDS
        self._lost = delay - self._least_delay > LOST_SECONDS

    async def _begun_anew(self) -> Sequence[L]:
        """Goes on with what is printed now: some containers print faster than can be read."""
        await self._stack.aclose()
        self._began = time.time_ns()
        self._least_delay = math.inf
        self._following = await self._opened()
        self._lost = False
        return [self.mark(None)]

    async def _opened(self) -> Following[L]:
        async with AsyncExitStack() as stack:
            following = await self._opening(self, stack, self._began)
            # Only now, as one who is cancelled on the way leaves it to the next one.
            self._stack = stack.pop_all()
        return following

    def kept(self, batches: int) -> tuple[_Kept[L], int]:
        """The batch after so many, or the oldest that is kept, and how many were before it."""
        first = self.batches - len(self._ring)
        number = max(batches, first)
        return self._ring[number - first], number

    async def aclose(self) -> None:
        """Ends it."""
        self.over = True
        with anyio.CancelScope(shield=True):
            await self._stack.aclose()


class Place(Generic[L]):
    """Where one who follows stands.

    Args:
        reading: what he follows, from now on.
    """

    def __init__(self, reading: Reading[L]) -> None:
        self._reading = reading
        self._batches = reading.batches
        self._lines = reading.lines

    async def begin(self) -> None:
        """Begins to read, where nobody has yet; before, there are no lines.

        Raises:
            AgentError: it cannot be read.
        """
        await self._reading.begin()

    def look_back(self, later: Callable[[L], bool]) -> None:
        """Begins with what was read already and is later than what is known otherwise.

        To be called before anything is waited for: the Engine's clock may be ahead.
        """
        while self._batches > 0:
            (lines, before), number = self._reading.kept(self._batches - 1)
            if number != self._batches - 1 or not any(map(later, lines)):
                return
            self._batches, self._lines = number, before

    def pass_over(self, known: Callable[[L], bool]) -> None:
        """Goes on with what is kept where that begins with what is known already."""
        if self._batches < self._reading.batches:
            (lines, before), number = self._reading.kept(self._batches)
            if known(lines[0]):
                self._batches, self._lines = number, before

    async def next(self) -> Sequence[L]:
        """The next lines; none at the end. Waiting for them may be cancelled.

        Raises:
            AgentError: what ended the stream.
        """
        if not await self._reading.beyond(self._batches):
            return ()
        (lines, before), number = self._reading.kept(self._batches)
        lost = before - self._lines
        self._batches, self._lines = number + 1, before + len(lines)
        return [self._reading.mark(lost), *lines] if lost else lines


class Readings(Generic[L]):
    """What is read at the moment, by what it is of."""

    def __init__(self) -> None:
        self._current: dict[Hashable, Reading[L]] = {}
        self._users: dict[Reading[L], int] = {}

    @asynccontextmanager
    async def joined(self, key: Hashable, new: Callable[[], Reading[L]]) -> AsyncIterator[Place[L]]:
        """A place in the reading of something, which ends when the last one leaves it.

        Args:
            key: of what.
            new: makes a reading where there is none that can be joined.
        """
        reading = self._current.get(key)
        if reading is None or reading.over or reading.behind:
            reading = self._current[key] = new()
        self._users[reading] = self._users.get(reading, 0) + 1
        try:
            yield Place(reading)
        finally:
            self._users[reading] -= 1
            if not self._users[reading]:
                del self._users[reading]
                if self._current.get(key) is reading:
                    del self._current[key]
                await reading.aclose()
