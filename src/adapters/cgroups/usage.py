"""The counters of containers, without a word to the Engine."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from adapters.cgroups.kernel_files import read
from adapters.cgroups.places import Places
from adapters.cgroups.versions import Counters, Version, version_at
from domain.container_usage import ContainerUsage
from domain.containers import Container

# Those that the Engine makes; what a container makes for itself, such as tun0, it does not count.
_INTERFACE = re.compile(rb"^\s*eth\d+:\s*(\d+)(?:\s+\d+){7}\s+(\d+)", re.MULTILINE)

_SHARED = "container:"


class CgroupUsage:
    """Reads control groups of either version, and the networks of their processes.

    What is not to be seen from here, as in a container without the host's groups or processes, is
    left out.

    Args:
        root: where the groups are.
        proc: where the processes are.
    """

    def __init__(self, root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> None:
        self._root = str(root)
        self._proc = str(proc)
        self._places = Places()
        self._limiter = anyio.CapacityLimiter(1)

    async def usage(self, containers: Sequence[Container]) -> Mapping[str, ContainerUsage]:
        """The counters of containers that run: identifier → usage."""
        running = {c.id: c for c in containers if c.running}
        return await anyio.to_thread.run_sync(self._read, running, limiter=self._limiter)

    def _read(self, running: Mapping[str, Container]) -> Mapping[str, ContainerUsage]:
        version = version_at(self._root)
        if version is None:
            return {}
        host_memory = _host_memory_bytes(self._proc)
        found = {}
        for each, place in self._places.of(running, version.anchor).items():
            try:
                network = self._network(version, place, each, running)
                found[each] = _usage(version.counters(place), network, host_memory)
            except (OSError, ValueError):
                continue  # it has ended meanwhile, or not all of it is to be seen from here
        return found

    def _network(
        self, version: Version, place: str, each: str, running: Mapping[str, Container]
    ) -> tuple[int, int]:
        """Bytes received and sent."""
        process = version.process_id(place)
        if not process:
            raise ValueError(f"The processes of {each} are not to be seen.")
        if _in_host_network(each, running):
            return 0, 0
        rows = _INTERFACE.findall(read(f"{self._proc}/{process}/net/dev"))
        return sum(int(received) for received, _ in rows), sum(int(sent) for _, sent in rows)


def _usage(counters: Counters, network: tuple[int, int], host_memory: int) -> ContainerUsage:
    received, sent = network
    limit = counters.memory_limit_bytes
    return ContainerUsage(
        cpu_seconds=counters.cpu_seconds,
        memory_bytes=counters.memory_bytes,
        memory_limit_bytes=host_memory if limit is None else min(limit, host_memory),
        processes=counters.processes,
        network_received_bytes=received,
        network_sent_bytes=sent,
        block_read_bytes=counters.block_read_bytes,
        block_written_bytes=counters.block_written_bytes,
    )


def _in_host_network(each: str, running: Mapping[str, Container]) -> bool:
    """Whether it has no network of its own, nor shares one with a container that has."""
    for _ in running:
        mode = running[each].network_mode if each in running else ""
        if not mode.startswith(_SHARED):
            return mode == "host"
        each = mode.removeprefix(_SHARED)
    return False


def _host_memory_bytes(proc: str) -> int:
    """From the first line, which is ``MemTotal: 16314404 kB``."""
    return int(read(f"{proc}/meminfo").split()[1]) * 1024
