"""Counters of in-memory containers."""

from collections.abc import Mapping, Sequence

import anyio.lowlevel

from domain.container_usage import ContainerUsage
from domain.containers import Container

HOST_MEMORY_BYTES = 8 * 1024**3

IDLE = ContainerUsage(
    cpu_seconds=0.0,
    memory_bytes=1024**2,
    memory_limit_bytes=HOST_MEMORY_BYTES,
    processes=1,
    network_received_bytes=0,
    network_sent_bytes=0,
    block_read_bytes=0,
    block_written_bytes=0,
)
"""Of a container that nothing was said about."""


class MemoryUsage:
    """Twin of ``CgroupUsage`` and ``DockerUsage``; containers use what is said of them."""

    def __init__(self) -> None:
        self.used: dict[str, ContainerUsage] = {}
        """By the containers' names."""
        self.unseen: set[str] = set()
        """Names of those whose counters cannot be read."""

    async def usage(self, containers: Sequence[Container]) -> Mapping[str, ContainerUsage]:
        """The counters of containers that run: identifier → usage."""
        await anyio.lowlevel.checkpoint()
        return {
            container.id: self.used.get(container.name, IDLE)
            for container in containers
            if container.running and container.name not in self.unseen
        }
