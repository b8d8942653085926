"""The host's counters through psutil."""

import os
import platform
import socket
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import psutil

from domain.ports.clock import Clock
from domain.resources import (
    CpuTimes,
    FileSystem,
    HostIdentity,
    HostSample,
    MemoryUsage,
    NetworkCounters,
)
from domain.shortage import shortages_told

T = TypeVar("T")

CALL_SECONDS = 5.0
"""Limit of one look at a file system: one on a dead server hangs for good."""

_THREADS = 4

_DOCKERS_OWN = ("docker", "br-", "veth")
"""How names of the interfaces begin that come and go with containers.

What they carry to the outside is counted where it leaves; what is counted must not fall when a
container goes.
"""


class PsutilMetrics:
    """Reads the host's counters, in threads of its own.

    Args:
        clock: time, for samples and for how long a look takes.
        call_seconds: limit of one look at a file system.
        statvfs: asks the system about the file system of a path.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        call_seconds: float = CALL_SECONDS,
        statvfs: Callable[[str], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._clock = clock
        self._call_seconds = call_seconds
        self._statvfs = statvfs
        self._limiter = anyio.CapacityLimiter(_THREADS)
        self._looking_since: dict[str, float] = {}

    async def identity(self) -> HostIdentity:
        """What does not change while the host is up."""
        return await self._in_thread(_identity)

    async def sample(self) -> HostSample:
        """The counters now."""
        return await self._in_thread(lambda: _sample(self._clock.monotonic()))

    async def file_system(self, role: str, path: str) -> FileSystem | None:
        """The file system that holds ``path``; None where the agent cannot see it."""
        if self._hangs(path):
            return None
        try:
            with anyio.fail_after(self._call_seconds):
                return await self._in_thread(lambda: self._look(role, path))
        except (OSError, ValueError):
            return None

    def _hangs(self, path: str) -> bool:
        """Whether an earlier look still hangs; each further one would cost a thread for good."""
        since = self._looking_since.get(path)
        return since is not None and self._clock.monotonic() - since >= self._call_seconds

    def _look(self, role: str, path: str) -> FileSystem:
        self._looking_since[path] = self._clock.monotonic()
        try:
            return _file_system(role, path, self._statvfs(path))
        finally:
            self._looking_since.pop(path, None)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        with shortages_told():
            return await anyio.to_thread.run_sync(
                function, abandon_on_cancel=True, limiter=self._limiter
            )


def _identity() -> HostIdentity:
    return HostIdentity(
        hostname=socket.gethostname(),
        operating_system=_operating_system(),
        kernel=platform.release(),
        architecture=platform.machine(),
        cpus=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        boot_time_epoch_seconds=psutil.boot_time(),
    )


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _sample(monotonic_seconds: float) -> HostSample:
    cores = tuple(_cpu_times(core) for core in psutil.cpu_times(percpu=True))
    swap = psutil.swap_memory()
    memory = psutil.virtual_memory()
    return HostSample(
        monotonic_seconds=monotonic_seconds,
        cpu=CpuTimes(
            busy_seconds=sum(core.busy_seconds for core in cores),
            total_seconds=sum(core.total_seconds for core in cores),
        ),
        cores=cores,
        load=os.getloadavg(),
        memory=MemoryUsage(
            total_bytes=memory.total,
            used_bytes=memory.total - memory.available,
            available_bytes=memory.available,
            percent=memory.percent,
        ),
        swap=MemoryUsage(
            total_bytes=swap.total,
            used_bytes=swap.used,
            available_bytes=swap.free,
            percent=swap.percent,
        ),
        network=_network(psutil.net_io_counters(pernic=True)),
    )


def _cpu_times(times: Any) -> CpuTimes:
    counted = times._asdict()
    idle = counted["idle"] + counted.get("iowait", 0.0)
    # Added up, and not what is left of the whole, which rounding lets go back now and then.
    busy = sum(seconds for kind, seconds in counted.items() if kind not in _NOT_BUSY)
    return CpuTimes(busy_seconds=busy, total_seconds=busy + idle)


_NOT_BUSY = {"idle", "iowait", "guest", "guest_nice"}
"""The kernel counts a guest's time in user and nice already."""


def _network(interfaces: Mapping[str, Any]) -> NetworkCounters:
    counted = [
        counters
        for name, counters in interfaces.items()
        if name != "lo" and not name.startswith(_DOCKERS_OWN)
    ]
    return NetworkCounters(
        received_bytes=sum(counters.bytes_recv for counters in counted),
        sent_bytes=sum(counters.bytes_sent for counters in counted),
    )


def _file_system(role: str, path: str, found: os.statvfs_result) -> FileSystem:
    used, free = found.f_blocks - found.f_bfree, found.f_bavail
    return FileSystem(
        role=role,
        path=path,
        total_bytes=found.f_blocks * found.f_frsize,
        used_bytes=used * found.f_frsize,
        free_bytes=free * found.f_frsize,
        # Of what an ordinary user may have, as df tells it.
        percent=round(100 * used / (used + free), 1) if used + free else 0.0,
        total_inodes=found.f_files,
        free_inodes=found.f_favail,
    )
