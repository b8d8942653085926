"""One stream of the Engine's events for all who want to know what happens."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio

from domain.engine_events import EngineEvent, Gap
from domain.errors import AgentError
from domain.ports.clock import Clock
from domain.ports.engine_events import EngineEvents
from domain.ports.log import Log

KEPT = 1000
"""How many events are kept for those who come back for what they have missed."""

MOST_WAITING = 1000
"""How many events wait for one who reads slowly."""

STEADY_SECONDS = 5.0
"""A stream that has held for so long is sought again at once when it ends."""

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 15.0
_GROWTH = 1.25
"""A pause is about a fifth of the time that the Engine has been away by then."""

_MOST_BROKEN_OFF = 9
"""So many failures count at most of streams that did begin: the Engine is there, and what is not
heard meanwhile makes the picture wrong, so that the pause stays below a third of a second."""


def reconnect_pause_seconds(failed: int, chance: float) -> float:
    """How long to wait before the stream is sought again: less and less often while it fails.

    Args:
        failed: how many streams in a row did not hold.
        chance: a random number from 0 to 1 that spreads the agents of a fleet.
    """
    if not failed:
        return 0.0
    grown = _FIRST_PAUSE_SECONDS * _GROWTH ** min(failed - 1, 50)
    longest = min(_LONGEST_PAUSE_SECONDS, grown)
    return longest * (0.5 + 0.5 * chance)


class Following:
    """One who follows; who reads slowly loses the oldest events, and is told of it by a ``Gap``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[EngineEvent | Gap] = deque()
        self._missed = 0
        self._ended = False
        self._news = anyio.Event()

    def put(self, item: EngineEvent | Gap) -> None:
        """Takes what happened."""
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append(item)
        self._news.set()

    def end(self) -> None:
        """Lets it end with what waits."""
        self._ended = True
        self._news.set()

    def taken(self) -> Sequence[EngineEvent | Gap]:
        """All that waits, at once."""
        missed = [Gap(missed=self._missed)] if self._missed else []
        taken = [*missed, *self._waiting]
        self._missed = 0
        self._waiting.clear()
        return taken

    async def news(self) -> bool:
        """Returns when something waits: true; or when no more comes: false."""
        while not self._waiting:
            if self._ended:
                return False
            self._news = anyio.Event()
            await self._news.wait()
        return True

    def __aiter__(self) -> "Following":
        return self

    async def __anext__(self) -> EngineEvent | Gap:
        if not await self.news():
            raise StopAsyncIteration
        if self._missed:
            missed, self._missed = self._missed, 0
            return Gap(missed=missed)
        return self._waiting.popleft()


class EventHub:
    """Follows the Engine for the agent's life, and hands on what it tells.

    When the stream breaks off, it is taken up where it ended. Whoever follows gets a ``Gap`` when
    it ends, since nothing is known from then on, and another one before what comes after it.
    """

    def __init__(self, events: EngineEvents, clock: Clock, log: Log) -> None:
        self._events = events
        self._clock = clock
        self._log = log
        self._followers: set[Following] = set()
        self._kept: deque[EngineEvent] = deque(maxlen=KEPT)
        self._next = self._now()
        self._whole_from = self._next
        self._newest = 0
        self._rest: anyio.CancelScope | None = None
        self._stream: anyio.CancelScope | None = None
        self._begun = False
        self._ended = False
        self.listening = False
        """Whether the Engine tells of everything at the moment."""
        self.heard_at = -math.inf
        """When it last told something, by the clock that is never set."""

    async def run(self, *, since: int | None = None) -> None:
        """Follows until cancelled.

        Args:
            since: first what happened at that moment and later, in nanoseconds since 1970, as far
                as the Engine remembers; None for from now on, or, when it follows anew, from where
                it ended.
        """
        if since is not None and not self._begun:
            self._next = self._whole_from = since
        self._begun = True
        failed = 0
        while True:
            heard = await self._listen()
            failed += 1
            if heard is not None:
                failed = 0 if heard >= STEADY_SECONDS else min(failed, _MOST_BROKEN_OFF)
            if await self._pause(reconnect_pause_seconds(failed, self._clock.chance())):
                failed = 0

    async def _listen(self) -> float | None:
        """Follows until the stream ends; for how many seconds it held, None if it never began."""
        began = self._clock.monotonic()
        # A clock that was ahead for a while must not keep what happens since from being seen.
        self._next = min(self._next, self._now())
        try:
            with anyio.CancelScope() as self._stream:
                await self._hear()
        except AgentError as fault:
            self._log.debug("events of the engine end", reason=fault.detail)
        finally:
            was_listening, self.listening = self.listening, False
            if was_listening:
                self._hand_on(Gap())
        return self._clock.monotonic() - began if was_listening else None

    async def _hear(self) -> None:
        async with self._events.follow(since=self._next) as events:
            async for item in events:
                self.listening = True
                self.heard_at = self._clock.monotonic()
                if not self._is_known(item):
                    self._note(item)
                    self._hand_on(item)

    async def _pause(self, seconds: float) -> bool:
        """Waits, but no longer than until ``seek``; whether that was called."""
        with anyio.CancelScope() as rest:
            self._rest = rest
            await self._clock.sleep(seconds)
        self._rest = None
        return rest.cancelled_caught

    def seek(self) -> None:
        """Ends the pause before the stream is sought again, for who has seen the Engine answer."""
        if self._rest is not None:
            self._rest.cancel()

    def renew(self) -> None:
        """Gives up the stream as it is, for who knows that it tells nothing any more."""
        if self._stream is not None:
            self._stream.cancel()

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1e6) * 1000

    def _is_known(self, item: EngineEvent | Gap) -> bool:
        """Whether it was told before, which happens where a clock was set back."""
        if isinstance(item, Gap) or item.nanoseconds > self._newest:
            return False
        return any(kept.nanoseconds == item.nanoseconds for kept in self._kept)

    def _note(self, item: EngineEvent | Gap) -> None:
        if isinstance(item, Gap):
            self._whole_from = self._next
            return
        if len(self._kept) == KEPT:
            self._whole_from = max(self._whole_from, self._kept[0].nanoseconds + 1)
        self._kept.append(item)
        self._newest = max(self._newest, item.nanoseconds)
        self._next = item.nanoseconds + 1

    def _hand_on(self, item: EngineEvent | Gap) -> None:
        for follower in self._followers:
            follower.put(item)

    def end(self) -> None:
        """Ends all who follow; for the agent's own end."""
        self._ended = True
        for follower in self._followers:
            follower.end()

    @contextmanager
    def follow(self, *, since: int | None = None, most: int = MOST_WAITING) -> Iterator[Following]:
        """What happens from now on, until the block is left.

        Args:
            since: first what has happened at that moment and later, in nanoseconds since 1970; with
                a ``Gap`` before it where that is not known any more.
            most: how many events may wait to be read.
        """
        following = Following(most)
        if since is not None:
            if since < self._whole_from:
                following.put(Gap())
            for event in self._kept:
                if event.nanoseconds >= since:
                    following.put(event)
        if self._ended:
            following.end()
        self._followers.add(following)
        try:
            yield following
        finally:
            self._followers.discard(following)
