"""The machine's own time, chance and identifiers."""

import random
import secrets
import time
from datetime import UTC, datetime

import anyio


class SystemClock:
    """Time as the machine tells it."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an unknown moment; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after ``seconds``."""
        await anyio.sleep(max(0.0, seconds))

    def chance(self) -> float:
        """A random number, at least 0 and less than 1."""
        return random.random()  # noqa: S311 - spreads agents in time, guards nothing

    def new_id(self) -> str:
        """An identifier that sorts by time: milliseconds in hex, then chance."""
        return f"{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(6)}"
