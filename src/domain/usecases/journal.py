"""The journal: the last events of the host, for all who follow it and for those who come back.

There is one ring for all. Who follows holds nothing but a number, so fifty who follow cost no more
than one, and one who reads slowly costs nobody any memory.
"""

from collections import deque
from collections.abc import AsyncGenerator, Sequence

import anyio
import msgspec

from domain.host_events import EventFilter, Happened, HostEvent
from domain.ports.clock import Clock

KEPT = 2000
"""How many events are kept."""

MOST_TEXT_LENGTH = 2000
"""How many characters of an event's text are kept; why something failed can be told at length."""

QUIET_SECONDS = 15.0
"""After how long without an event those who follow are told that there is none."""

_AT_ONCE = 100
"""How many events are taken from the ring at a time; who reads slowly holds no more than these."""


class Lost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Events that cannot be told any more."""

    reason: str
    events: int | None = None
    """How many, of all kinds; null where nobody knows."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one who follows is told."""

    id: str
    """To come back with."""
    item: HostEvent | Lost | None = None
    """None where nothing has happened for a while, or at the beginning."""


class Journal:
    """Takes what happens, and tells it to all who follow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring: deque[HostEvent] = deque(maxlen=KEPT)
        self._last = 0
        self._began = clock.now()
        # Grows from one life of the agent to the next.
        self._life = f"{int(self._began.timestamp() * 1e6):x}"
        self._news = anyio.Event()
        self._ended = False

    def note(self, happened: Happened) -> None:
        """Takes an event; never waits and never raises."""
        self._last += 1
        fields = msgspec.structs.asdict(happened)
        fields["text"] = happened.text[:MOST_TEXT_LENGTH]
        self._ring.append(HostEvent(number=self._last, **fields))
        self._wake()

    def end(self) -> None:
        """Lets all who follow end with what there is; for the agent's own end."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def _id(self, number: int) -> str:
        return f"{self._life}-{number}"

    @property
    def _first(self) -> int:
        """The number of the oldest event that is kept, or of the next one."""
        return self._last - len(self._ring) + 1

    async def follow(
        self, wanted: EventFilter, *, after: str = "", go_on: bool = True
    ) -> AsyncGenerator[Told, None]:
        """What is wanted of what happened and happens.

        Begins after the event ``after``; without one, with what has happened since the filter's
        moment, or with what happens from now on. The first item tells only where that is, unless
        events are lost that were asked for.

        Args:
            wanted: which events.
            after: what ``Told.id`` was of the last event that was read, in this life of the agent
                or an earlier one.
            go_on: also tell what happens from now on, until the filter's last moment.
        """
        seen, lost = self._beginning(wanted, after)
        last = None if go_on else self._last
        yield Told(id=self._id(seen), item=lost)
        told_at = self._clock.monotonic()
        while True:
            news, ended = self._news, self._ended or self._is_over(wanted)
            if seen < self._first - 1:
                lost = Lost(reason=_TOO_SLOW, events=self._first - 1 - seen)
                seen = self._first - 1
                yield Told(id=self._id(seen), item=lost)
            fresh = self._after(seen)
            for event in fresh:
                if last is not None and event.number > last:
                    return
                seen = event.number
                if wanted.takes(event):
                    yield Told(id=self._id(seen), item=event)
                    told_at = self._clock.monotonic()
            if self._clock.monotonic() - told_at >= QUIET_SECONDS:
                # Much may have happened, and nothing of it was wanted.
                yield Told(id=self._id(seen))
                told_at = self._clock.monotonic()
            if fresh:
                continue
            if ended or last is not None:
                return
            if not await self._comes(news, wanted):
                yield Told(id=self._id(seen))
                told_at = self._clock.monotonic()

    def _after(self, number: int) -> Sequence[HostEvent]:
        begin = number + 1 - self._first
        return [self._ring[at] for at in range(begin, min(begin + _AT_ONCE, len(self._ring)))]

    def _beginning(self, wanted: EventFilter, after: str) -> tuple[int, Lost | None]:
        """The number after which to begin, and what is lost by that."""
        if after:
            return self._resumed(after)
        if wanted.since is None:
            return self._last, None
        if wanted.since < self._began or (self._first > 1 and wanted.since < self._ring[0].at):
            return self._first - 1, Lost(reason=_NOT_KEPT)
        return self._first - 1, None

    def _resumed(self, after: str) -> tuple[int, Lost | None]:
        life, _, number = after.partition("-")
        if life != self._life or not number.isdecimal() or len(number) > 18:
            return self._first - 1, Lost(reason=_OTHER_LIFE)
        if int(number) > self._last:
            return self._first - 1, Lost(reason=_OTHER_LIFE)
        if int(number) < self._first - 1:
            missed = self._first - 1 - int(number)
            return self._first - 1, Lost(reason=_NOT_KEPT, events=missed)
        return int(number), None

    def _is_over(self, wanted: EventFilter) -> bool:
        return wanted.until is not None and self._clock.now() >= wanted.until

    async def _comes(self, news: anyio.Event, wanted: EventFilter) -> bool:
        """Whether something comes, or the last moment, before it has been quiet for long."""
        if wanted.until is None:
            with anyio.move_on_after(QUIET_SECONDS):
                await news.wait()
            return news.is_set()
        left = (wanted.until - self._clock.now()).total_seconds()
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                await self._clock.sleep(min(left, QUIET_SECONDS))
                group.cancel_scope.cancel()

            group.start_soon(wait)
            await news.wait()
            group.cancel_scope.cancel()
        return news.is_set() or self._is_over(wanted)


_NOT_KEPT = "The agent does not keep events for so long."
_OTHER_LIFE = "The last event that was seen is not one of this life of the agent."
_TOO_SLOW = "Events came quicker than they were read."
