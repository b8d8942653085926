"""Moments in records, and what becomes of them when the clock is set."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

Shift = Callable[[datetime], timedelta]
"""By how much what was written down at a moment has to move."""

STAYS = timedelta(0)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime(1, 1, 2, tzinfo=UTC)
_LAST = datetime(9999, 12, 30, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """A moment as a whole number that counts up."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moved(moment: datetime, by: timedelta) -> datetime:
    """A moment so much later; the first or last that there is, where that is beyond them."""
    try:
        return min(_LAST, max(_FIRST, moment + by))
    except OverflowError:
        return _LAST if by > STAYS else _FIRST


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """That the clock was set, between two looks at it."""

    looked_at: datetime
    """What it said at the first."""
    now: datetime
    """What it says now."""
    by: timedelta
    """How far it was set: forward, or back where this is negative."""

    def shift(self, moment: datetime) -> timedelta:
        """By how much something moves that was written down at a moment by the clock as it was.

        What it wrote after it was set stays, and so does what lies in the future of the clock as it
        was: that was written by a clock before it, which may have been the right one.
        """
        already_set = self.looked_at + self.by <= moment <= self.now
        return STAYS if already_set or moment > self.looked_at else self.by


def out_of_the_future(now: datetime) -> Shift:
    """Brings to ``now`` what a clock wrote down that was ahead, and has been set back since."""

    def shift(moment: datetime) -> timedelta:
        return min(STAYS, now - moment)

    return shift
