"""A clock that goes only when told to."""

from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel


class MemoryClock:
    """Twin of ``SystemClock``: sleepers wake when ``advance`` reaches their time."""

    def __init__(self) -> None:
        self._monotonic = 1000.0
        self._wall = datetime(2026, 1, 1, tzinfo=UTC)
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._serial = 0
        self.next_chance = 0.5

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return self._wall

    def monotonic(self) -> float:
        """Seconds since an unknown moment."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Returns when the clock was told to go far enough."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        self._serial += 1
        sleeper = (self._monotonic + seconds, self._serial, anyio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    def chance(self) -> float:
        """The number that ``next_chance`` was set to."""
        return self.next_chance

    def new_id(self) -> str:
        """Identifiers in a row."""
        self._serial += 1
        return f"id-{self._serial:04d}"

    async def advance(self, seconds: float) -> None:
        """Lets time pass; whoever sleeps wakes at their moment, one after another."""
        await _all_blocked()
        until = self._monotonic + seconds
        while due := sorted(s for s in self._sleepers if s[0] <= until):
            moment, _, event = due[0]
            self._sleepers.remove(due[0])
            self._pass(moment - self._monotonic)
            event.set()
            await _all_blocked()
        self._pass(until - self._monotonic)

    def jump_wall_clock(self, seconds: float) -> None:
        """Sets the time of day, as an operator or a time server does."""
        self._wall += timedelta(seconds=seconds)

    def _pass(self, seconds: float) -> None:
        self._monotonic += max(0.0, seconds)
        self._wall += timedelta(seconds=max(0.0, seconds))


async def _all_blocked() -> None:
    """Returns when everybody waits; most do after a few turns, and anyio looks only every 0.1 s."""
    for _ in range(_TURNS):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


_TURNS = 40
