"""Container counters as the Engine tells them."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import docker.errors
from docker import APIClient

from adapters.docker.client import EngineClient
from domain.container_usage import ContainerUsage
from domain.containers import Container
from domain.errors import AgentError

AT_ONCE = 4
"""How many containers are asked about at a time; the Engine takes a millisecond for each, and those
that hang leave others room to be looked at."""

# What the Engine gives, as it came.
_Json = Mapping[str, Any]


class DockerUsage:
    """Asks the Engine for the counters of one container after another."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def usage(self, containers: Sequence[Container]) -> Mapping[str, ContainerUsage]:
        """The counters of containers that run: identifier → usage."""
        found: dict[str, ContainerUsage] = {}
        faults: list[AgentError] = []
        slots = anyio.Semaphore(AT_ONCE)

        async def ask(container: Container) -> None:
            try:
                async with slots:
                    told = await self._ask(container.id)
            except AgentError as fault:
                # The others would only wait for the same.
                faults.append(fault)
                group.cancel_scope.cancel()
            else:
                found.update({container.id: told} if told is not None else {})

        async with anyio.create_task_group() as group:
            for container in containers:
                if container.running:
                    group.start_soon(ask, container)
        if faults:
            raise faults[0]
        return found

    async def _ask(self, container_id: str) -> ContainerUsage | None:
        def work(api: APIClient) -> ContainerUsage | None:
            try:
                return usage_of(api.stats(container_id, stream=False, one_shot=True))
            except docker.errors.NotFound:
                return None

        return await self._client.look("asking for a container's counters", work)


def usage_of(stats: _Json) -> ContainerUsage | None:
    """The counters out of the Engine's statistics; None for a container that does not run."""
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    networks = (stats.get("networks") or {}).values()
    blocks = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    return ContainerUsage(
        cpu_seconds=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory_bytes=_working_set(memory),
        memory_limit_bytes=memory.get("limit", 0),
        processes=(stats.get("pids_stats") or {}).get("current", 0),
        network_received_bytes=sum(network["rx_bytes"] for network in networks),
        network_sent_bytes=sum(network["tx_bytes"] for network in networks),
        block_read_bytes=_block_bytes(blocks, "read"),
        block_written_bytes=_block_bytes(blocks, "write"),
    )


def _working_set(memory: _Json) -> int:
    """As ``docker stats`` has it: without the files' pages that can be taken back at once."""
    used, details = int(memory["usage"]), memory.get("stats") or {}
    idle = details.get("total_inactive_file", details.get("inactive_file", 0))
    return used - idle if idle < used else used


def _block_bytes(rows: Sequence[_Json], kind: str) -> int:
    return sum(row["value"] for row in rows if row["op"].lower() == kind)
