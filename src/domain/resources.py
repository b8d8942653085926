"""The host's resources: samples of its counters, and the rates between two of them."""

import msgspec


class CpuTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that one core, or all together, spent since boot."""

    busy_seconds: float
    total_seconds: float

    def percent_since(self, earlier: "CpuTimes") -> float:
        """The share of time spent busy since ``earlier``, 0 to 100; 0 if no time has passed."""
        total = self.total_seconds - earlier.total_seconds
        busy = self.busy_seconds - earlier.busy_seconds
        if total <= 0:
            return 0.0
        return min(100.0, max(0.0, 100.0 * busy / total))


class MemoryUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Memory or swap."""

    total_bytes: int
    used_bytes: int
    available_bytes: int
    percent: float


class NetworkCounters(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes since boot, over all interfaces but loopback and Docker's own."""

    received_bytes: int
    sent_bytes: int


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """The host's counters at one moment."""

    monotonic_seconds: float
    cpu: CpuTimes
    cores: tuple[CpuTimes, ...]
    load: tuple[float, float, float]
    """Average length of the run queue over 1, 5 and 15 minutes."""
    memory: MemoryUsage
    swap: MemoryUsage
    network: NetworkCounters


class FileSystem(msgspec.Struct, frozen=True, kw_only=True):
    """One file system, named for what the agent or Docker keeps on it."""

    role: str
    """``workspace``, ``state``, ``docker`` or ``root``."""
    path: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    """What an ordinary user may still write."""
    percent: float
    total_inodes: int = 0
    """How many files and folders it can hold; 0 where it sets no number."""
    free_inodes: int = 0
    """How many more an ordinary user may make."""

    @property
    def free_bytes_percent(self) -> float:
        """The share of bytes that is free."""
        return 100.0 * self.free_bytes / self.total_bytes if self.total_bytes else 100.0

    @property
    def free_inodes_percent(self) -> float:
        """The share of inodes that is free; all where there is no number of them."""
        return 100.0 * self.free_inodes / self.total_inodes if self.total_inodes else 100.0


class HostIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while the host is up."""

    hostname: str
    operating_system: str
    kernel: str
    architecture: str
    cpus: int
    memory_bytes: int
    boot_time_epoch_seconds: float


class HostUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The host's load, with CPU as an average over a stretch of time."""

    cpu_percent: float
    core_percents: tuple[float, ...]
    load: tuple[float, float, float]
    memory: MemoryUsage
    swap: MemoryUsage
    network: NetworkCounters


def usage_between(earlier: HostSample, later: HostSample) -> HostUsage:
    """The usage that two samples show; what is no rate is ``later``'s."""
    return HostUsage(
        cpu_percent=later.cpu.percent_since(earlier.cpu),
        core_percents=tuple(
            now.percent_since(then) for then, now in zip(earlier.cores, later.cores, strict=False)
        ),
        load=later.load,
        memory=later.memory,
        swap=later.swap,
        network=later.network,
    )
