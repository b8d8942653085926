"""Notices that the clock was set, so that nothing grows old, ends or lives on by that alone."""

from datetime import timedelta

import anyio

from domain.moments import ClockChange, Shift, out_of_the_future
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import Store
from domain.usecases.operations import Operations

JUMP_SECONDS = 5.0
"""A difference between time of day and time passed that is taken for a clock set anew."""

STEADY_SECONDS = 3600.0
"""After how long a clock that was not set is believed; time servers set it in the first minutes."""


class Timekeeping:
    """Moves what ages or ends by the clock along with it.

    To be asked before anything is judged by its age: what was promised is a stretch of time, and a
    clock that is set must neither end it nor draw it out. While the agent is down nobody can tell a
    clock that is set from a night.
    """

    def __init__(self, *, store: Store, operations: Operations, clock: Clock, log: Log) -> None:
        self._store = store
        self._operations = operations
        self._clock = clock
        self._log = log
        self._one_at_a_time = anyio.Lock()
        self._looked_at = clock.now()
        self._looked_at_monotonic = clock.monotonic()
        self._steady_since: float | None = clock.monotonic()

    async def settle(self) -> None:
        """Returns once everything has moved along with the clock, wherever it was set to.

        Raises:
            StoreUnavailable: that could not be; the next call tries again.
        """
        async with self._one_at_a_time:
            change = self._change()
            if abs(change.by.total_seconds()) >= JUMP_SECONDS:
                self._log.warning(
                    "clock was set, lifetimes move with it",
                    seconds=round(change.by.total_seconds(), 1),
                )
                await self._move(change.shift, believed=False)
            elif self._is_steady():
                await self._move(out_of_the_future(self._clock.now()), believed=True)
            else:
                self._look()

    def _change(self) -> ClockChange:
        now, passed = self._clock.now(), self._clock.monotonic() - self._looked_at_monotonic
        by = now - self._looked_at - timedelta(seconds=passed)
        return ClockChange(looked_at=self._looked_at, now=now, by=by)

    def _look(self) -> None:
        self._looked_at = self._clock.now()
        self._looked_at_monotonic = self._clock.monotonic()

    def _is_steady(self) -> bool:
        """Whether the clock is believed now, and was not yet."""
        since = self._steady_since
        return since is not None and self._clock.monotonic() - since >= STEADY_SECONDS

    async def _move(self, shift: Shift, *, believed: bool) -> None:
        await self._store.move(shift)
        # Nothing must move twice, whatever fails from here on.
        self._look()
        self._steady_since = None if believed else self._clock.monotonic()
        # What a replacement under way would bring back if it failed.
        await self._operations.change_replaced(
            lambda earlier: earlier.moved(shift(earlier.created_at))
        )
