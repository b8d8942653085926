"""What containers have used."""

import msgspec


class ContainerUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of one container that runs, as ``docker stats`` makes them."""

    cpu_seconds: float
    """Of all cores together, since it was started."""
    memory_bytes: int
    """Without the files' pages that the kernel can take back at once."""
    memory_limit_bytes: int
    """The host's memory where it has no limit of its own."""
    processes: int
    """Threads included."""
    network_received_bytes: int
    """Over all interfaces that the Engine gave it; 0 for one in the host's network."""
    network_sent_bytes: int
    block_read_bytes: int
    block_written_bytes: int
