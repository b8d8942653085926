"""Time, chance and identifiers."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The only source of time, chance and identifiers, so that tests are exact."""

    def now(self) -> datetime:
        """The time of day, in UTC; it may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since an unknown moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after ``seconds``; at once where that is not positive."""
        ...

    def chance(self) -> float:
        """A random number, at least 0 and less than 1."""
        ...

    def new_id(self) -> str:
        """An identifier that no other call has given or will give; fit for a file name."""
        ...
