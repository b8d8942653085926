"""Time that passes only while everybody waits: hours of it in a moment, exactly.

``MemoryClock`` goes as far as a test tells it; here whole programs run through, however many sleep.
"""

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import anyio

T = TypeVar("T")

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    """Waits for nothing but the next timer, which it takes for come."""

    passed_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0 if timeout is not None else None)
        if not found and timeout is not None:
            self.passed_seconds += max(0.0, timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the moment at which somebody wakes.

    For programs that wait for timers and each other, not for threads or sockets.
    """

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jumping.passed_seconds


class VirtualClock:
    """The clock port on a ``VirtualLoop``.

    Args:
        seed: makes chance the same in each run.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - guards nothing
        self._serial = 0

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return _FIRST + timedelta(seconds=anyio.current_time())

    def monotonic(self) -> float:
        """Seconds since the loop was made."""
        return anyio.current_time()

    async def sleep(self, seconds: float) -> None:
        """Returns after ``seconds``."""
        await anyio.sleep(max(0.0, seconds))

    def chance(self) -> float:
        """A random number, at least 0 and less than 1."""
        return self._random.random()

    def new_id(self) -> str:
        """Identifiers in a row."""
        self._serial += 1
        return f"id-{self._serial:04d}"


def run_virtually(program: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Runs a program from its beginning to its end on time of its own."""
    return anyio.run(
        program, *arguments, backend="asyncio", backend_options={"loop_factory": VirtualLoop}
    )
