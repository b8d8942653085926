"""The host's load over time, from samples that a worker takes; nobody waits for a measurement."""

from collections import deque

from domain.ports.clock import Clock
from domain.ports.metrics import HostMetrics
from domain.resources import FileSystem, HostIdentity, HostSample, HostUsage, usage_between

ADMISSION_WINDOW_SECONDS = 60.0
"""The stretch that admission looks at: one instant's spike must not turn a launch away."""

RECENT_WINDOW_SECONDS = 5.0
"""The stretch that the host's present usage is averaged over."""

DISKS_SECONDS = 15.0
"""Pause between two looks at the file systems."""


class HostWatch:
    """Keeps the host's recent samples.

    Args:
        metrics: the host's counters.
        clock: time.
        paths: the file systems of interest, role → path.
    """

    def __init__(self, metrics: HostMetrics, clock: Clock, paths: dict[str, str]) -> None:
        self._metrics = metrics
        self._clock = clock
        self.paths = paths
        self._samples: deque[HostSample] = deque()
        self._identity: HostIdentity | None = None
        self._up_at_zero = 0.0
        self._looked_at_disks: float | None = None
        self.recent: HostUsage | None = None
        """The usage at the last observation."""
        self.disks: tuple[FileSystem, ...] = ()
        """The file systems of interest, as seen not long ago."""

    async def observe(self) -> None:
        """Takes a sample and forgets those too old to matter."""
        await self._take_sample()
        self.recent = await self.usage()
        now = self._clock.monotonic()
        if self._looked_at_disks is None or now - self._looked_at_disks >= DISKS_SECONDS:
            self._looked_at_disks = now
            self.disks = await self.file_systems()

    async def _take_sample(self) -> HostSample:
        sample = await self._metrics.sample()
        self._samples.append(sample)
        oldest = sample.monotonic_seconds - ADMISSION_WINDOW_SECONDS
        while len(self._samples) > 2 and self._samples[1].monotonic_seconds <= oldest:
            self._samples.popleft()
        return sample

    async def usage(self, seconds: float = RECENT_WINDOW_SECONDS) -> HostUsage:
        """The usage over about the last ``seconds``, or for as long as the agent has watched."""
        latest = await self._latest()
        return usage_between(self._sample_before(latest.monotonic_seconds - seconds), latest)

    async def usage_since(self, earlier: HostSample | None) -> tuple[HostUsage, HostSample]:
        """The usage since ``earlier``, and the sample to pass the next time."""
        latest = await self._latest()
        if earlier is None or earlier.monotonic_seconds >= latest.monotonic_seconds:
            earlier = self._samples[0]
        return usage_between(earlier, latest), latest

    async def identity(self) -> HostIdentity:
        """What does not change while the host is up."""
        if self._identity is None:
            self._identity = await self._metrics.identity()
            # Looked at together, as the time of day may be set later.
            up = self._clock.now().timestamp() - self._identity.boot_time_epoch_seconds
            self._up_at_zero = up - self._clock.monotonic()
        return self._identity

    async def file_systems(self) -> tuple[FileSystem, ...]:
        """The file systems of interest that the agent can see."""
        found = [await self._metrics.file_system(role, path) for role, path in self.paths.items()]
        return tuple(file_system for file_system in found if file_system is not None)

    async def uptime_seconds(self) -> float:
        """How long the host has been up."""
        await self.identity()
        return max(0.0, self._up_at_zero + self._clock.monotonic())

    async def _latest(self) -> HostSample:
        return self._samples[-1] if self._samples else await self._take_sample()

    def _sample_before(self, moment: float) -> HostSample:
        chosen = self._samples[0]
        for sample in self._samples:
            if sample.monotonic_seconds > moment:
                break
            chosen = sample
        return chosen
