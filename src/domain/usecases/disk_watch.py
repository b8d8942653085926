"""What Docker keeps on its disk, measured once for all who ask at the same time."""

import math

import anyio

from domain.disk_usage import DiskUsage
from domain.ports.clock import Clock
from domain.ports.disk_usage import DiskUsages

FRESH_SECONDS = 1.0
"""Those who ask within so long of each other get the same."""


class DiskWatch:
    """Measures when somebody asks, never twice side by side."""

    def __init__(self, disk: DiskUsages, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock
        self._one_at_a_time = anyio.Lock()
        self._measured_at = -math.inf
        self._latest: DiskUsage | None = None

    async def usage(self) -> DiskUsage:
        """What is kept now, or was a moment ago.

        Raises:
            EngineUnavailable: the Engine does not answer in time.
            EngineRefused: it answers with an error.
        """
        async with self._one_at_a_time:
            now = self._clock.monotonic()
            if self._latest is None or now - self._measured_at >= FRESH_SECONDS:
                self._latest = await self._disk.measure()
                self._measured_at = self._clock.monotonic()
            return self._latest
