"""What a container uses: its counters, and the rates between two readings of them."""

from datetime import datetime

import msgspec

from domain.container_usage import ContainerUsage
from domain.containers import Container


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of one container at one moment."""

    monotonic_seconds: float
    at: datetime
    usage: ContainerUsage


class ContainerStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a container uses, as `docker stats` tells it."""

    at: datetime
    id: str
    name: str
    cpu_percent: float | None
    """Of one core, over `interval_seconds`: 200 is two cores. Null where the container was started
    anew meanwhile."""
    interval_seconds: float
    cpu_seconds: float
    """Of all cores together, since it was started."""
    memory_bytes: int
    """Without the files' pages that the kernel can take back at once."""
    memory_limit_bytes: int
    """The host's memory where it has no limit of its own."""
    memory_percent: float
    """Of its limit."""
    network_received_bytes: int
    """Since it was started, over all interfaces that Docker gave it; 0 in the host's network."""
    network_sent_bytes: int
    block_read_bytes: int
    """Since it was started, from disks."""
    block_written_bytes: int
    pids: int
    """Processes and threads."""


def stats_between(container: Container, earlier: Reading, later: Reading) -> ContainerStats:
    """What two readings of a container show; what is no rate is ``later``'s."""
    used = later.usage
    seconds = later.monotonic_seconds - earlier.monotonic_seconds
    limit = used.memory_limit_bytes
    return ContainerStats(
        at=later.at,
        id=container.id,
        name=container.name,
        cpu_percent=_cpu_percent(used.cpu_seconds - earlier.usage.cpu_seconds, seconds),
        interval_seconds=round(seconds, 3),
        cpu_seconds=used.cpu_seconds,
        memory_bytes=used.memory_bytes,
        memory_limit_bytes=limit,
        memory_percent=round(100.0 * used.memory_bytes / limit, 2) if limit else 0.0,
        network_received_bytes=used.network_received_bytes,
        network_sent_bytes=used.network_sent_bytes,
        block_read_bytes=used.block_read_bytes,
        block_written_bytes=used.block_written_bytes,
        pids=used.processes,
    )


def _cpu_percent(used_seconds: float, seconds: float) -> float | None:
    # Counters begin at 0 with each start.
    if used_seconds < 0 or seconds <= 0:
        return None
    return round(100.0 * used_seconds / seconds, 2)
