"""What happens in an operation, for all who follow it, however late they come."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import anyio

from domain.operations import EventKind, OperationEvent

KEEP_EVENTS = 5000
"""How many events of one operation are kept; of a longer one the oldest go."""

QUIET_SECONDS = 15.0
"""After how long without events followers are told that there are none."""


class Progress:
    """The events of one operation."""

    def __init__(self) -> None:
        self._events: deque[OperationEvent] = deque(maxlen=KEEP_EVENTS)
        self._last = 0
        self._ended = False
        self._news = anyio.Event()

    @property
    def events(self) -> Sequence[OperationEvent]:
        """What is kept, oldest first."""
        return tuple(self._events)

    def add(self, kind: EventKind, text: str, at: datetime, number: int) -> None:
        """Takes one event; ``number`` is its place among all that happens."""
        self._last += 1
        self._events.append(
            OperationEvent(id=self._last, at=at, kind=kind, text=text, number=number)
        )
        self._wake()

    def end(self) -> None:
        """Tells followers that nothing more comes."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def follow(self, after: int) -> AsyncIterator[OperationEvent | None]:
        """The events after the one with the number ``after``, until the operation has ended.

        Whoever reads slower than they come misses the oldest, which the numbers show. None where
        nothing has happened for a while.
        """
        while True:
            news = self._news
            fresh = [event for event in self._events if event.id > after]
            for event in fresh:
                yield event
                after = event.id
            if not fresh:
                if self._ended:
                    return
                with anyio.move_on_after(QUIET_SECONDS):
                    await news.wait()
                if not news.is_set():
                    yield None
