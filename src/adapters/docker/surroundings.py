"""Networks and volumes of the Engine that single containers are joined to."""

from collections.abc import Mapping
from typing import Any

import docker.errors
from docker import APIClient
from docker.types import IPAMConfig, IPAMPool

from adapters.docker.client import EngineClient
from adapters.docker.named import named
from domain.errors import ResourceNotFound
from domain.ports.container_surroundings import JoinableNetwork, MountableVolume

_NO_TALK = {"com.docker.network.bridge.enable_icc": "false"}

_Json = Mapping[str, Any]


class DockerSurroundings:
    """Finds networks and volumes, and makes the network of containers that name none."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def network(self, name: str) -> JoinableNetwork | None:
        """The network of a name, or whose identifier begins so; None where there is none."""
        try:
            with named("network", name):
                row = await self._client.ask(
                    f"looking at network {name}", lambda api: api.inspect_network(name)
                )
        except ResourceNotFound:
            return None
        return JoinableNetwork(
            name=row["Name"],
            driver=row.get("Driver", ""),
            subnets=tuple(entry["Subnet"] for entry in _ranges(row) if entry.get("Subnet")),
            labels=row.get("Labels") or {},
        )

    async def volume(self, name: str) -> MountableVolume | None:
        """The volume of a name; None where there is none."""

        def work(api: APIClient) -> _Json | None:
            try:
                found: _Json = api.inspect_volume(name)
            except docker.errors.NotFound:
                return None
            return found

        row = await self._client.ask(f"looking at volume {name}", work)
        if row is None:
            return None
        return MountableVolume(
            name=row["Name"],
            driver=row.get("Driver", ""),
            plain=row.get("Driver") == "local" and not row.get("Options"),
            labels=row.get("Labels") or {},
        )

    async def make_network(self, name: str, subnet: str, labels: Mapping[str, str]) -> None:
        """Makes a network whose containers cannot reach each other."""
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
        with named("network", name):
            await self._client.change(
                f"making network {name}",
                lambda api: api.create_network(
                    name,
                    driver="bridge",
                    options=_NO_TALK,
                    ipam=ipam,
                    labels=dict(labels),
                    check_duplicate=True,
                ),
            )


def _ranges(row: _Json) -> list[_Json]:
    found: list[_Json] = (row.get("IPAM") or {}).get("Config") or []
    return found
