"""A host whose load is what a test says."""

from domain.ports.clock import Clock
from domain.resources import (
    CpuTimes,
    FileSystem,
    HostIdentity,
    HostSample,
    MemoryUsage,
    NetworkCounters,
)

_GIB = 1024**3
_INODES = 1_000_000


class MemoryMetrics:
    """Twin of ``PsutilMetrics``: between two samples the CPU was as busy as ``cpu_percent`` says.

    What is set counts for all the time since the last sample.
    """

    def __init__(self, clock: Clock, *, cores: int = 2) -> None:
        self._clock = clock
        self._cores = cores
        self._busy_seconds = 0.0
        self._sampled_at = clock.monotonic()
        self._began = clock.monotonic()
        self._booted = clock.now().timestamp() - 3600
        self.cpu_percent = 10.0
        self.memory_percent = 20.0
        self.visible = True
        """Whether file systems can be seen."""
        self.free_percent = 50.0
        self.free_inodes_percent = 50.0

    async def identity(self) -> HostIdentity:
        """What does not change while the host is up."""
        return HostIdentity(
            hostname="memory",
            operating_system="none",
            kernel="none",
            architecture="none",
            cpus=self._cores,
            memory_bytes=8 * _GIB,
            boot_time_epoch_seconds=self._booted,
        )

    async def sample(self) -> HostSample:
        """The counters now."""
        now = self._clock.monotonic()
        self._busy_seconds += (now - self._sampled_at) * self.cpu_percent / 100
        self._sampled_at = now
        core = CpuTimes(busy_seconds=self._busy_seconds, total_seconds=now - self._began)
        return HostSample(
            monotonic_seconds=now,
            cpu=CpuTimes(
                busy_seconds=core.busy_seconds * self._cores,
                total_seconds=core.total_seconds * self._cores,
            ),
            cores=(core,) * self._cores,
            load=(0.1, 0.2, 0.3),
            memory=_memory(8 * _GIB, self.memory_percent),
            swap=_memory(0, 0.0),
            network=NetworkCounters(received_bytes=0, sent_bytes=0),
        )

    async def file_system(self, role: str, path: str) -> FileSystem | None:
        """A file system as full as ``free_…percent`` says, for any absolute path."""
        if not self.visible or not path.startswith("/") or "not-there" in path:
            return None
        return FileSystem(
            role=role,
            path=path,
            total_bytes=100 * _GIB,
            used_bytes=int((100 - self.free_percent) * _GIB),
            free_bytes=int(self.free_percent * _GIB),
            percent=100.0 - self.free_percent,
            total_inodes=_INODES,
            free_inodes=int(_INODES * self.free_inodes_percent / 100),
        )


def _memory(total: int, percent: float) -> MemoryUsage:
    used = int(total * percent / 100)
    return MemoryUsage(
        total_bytes=total, used_bytes=used, available_bytes=total - used, percent=percent
    )
