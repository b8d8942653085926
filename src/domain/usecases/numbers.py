"""The order in which things happen, which the time of day does not tell where the clock is set."""

from datetime import datetime

from domain.moments import microseconds
from domain.ports.clock import Clock


class Numbers:
    """Gives numbers that only grow, near the microseconds since 1970 as the clock tells them.

    Once the clock was set back they run ahead of it, by as much as it was set.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._ahead = 0

    def next(self) -> int:
        """A number beyond all that were given before."""
        number = self.of(self._clock.now())
        if number <= self._last:
            self._ahead += self._last + 1 - number
            number = self._last + 1
        self._last = number
        return number

    def of(self, moment: datetime) -> int:
        """The number of what happened at a moment not long ago, by the clock as it is now."""
        return microseconds(moment) + self._ahead

    def after(self, number: int) -> None:
        """Makes all further numbers larger than one that an earlier agent gave."""
        self._last = max(self._last, number)
