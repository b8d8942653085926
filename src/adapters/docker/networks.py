"""The Engine's networks on docker-py."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from docker import APIClient
from docker.types import IPAMConfig, IPAMPool

from adapters.docker.client import CHANGE_SECONDS, EngineClient
from adapters.docker.named import named
from domain.engine_networks import (
    Attachment,
    Endpoint,
    EngineNetwork,
    NetworkDetails,
    NetworkOrder,
    NetworkRange,
)

T = TypeVar("T")

_Json = Mapping[str, Any]


class DockerNetworksOfHost:
    """All networks of the host."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def list(self) -> Sequence[EngineNetwork]:
        """All, sorted by name and then identifier; one call."""
        rows = await self._client.call("listing networks", lambda api: api.networks())
        return sorted((_network(row) for row in rows), key=lambda n: (n.name, n.id))

    async def inspect(self, reference: str) -> NetworkDetails:
        """One network, and the running containers in it."""
        with named("network", reference):
            row = await self._client.call(
                "looking at a network", lambda api: api.inspect_network(reference)
            )
        rows = (row.get("Containers") or {}).items()
        endpoints = sorted((_endpoint(i, entry) for i, entry in rows), key=lambda e: e.container)
        return NetworkDetails(network=_network(row), endpoints=tuple(endpoints))

    async def in_use(self) -> frozenset[str]:
        """Names and identifiers of the networks that any container is in, stopped ones too."""
        rows = await self._client.call(
            "looking who is in networks", lambda api: api.containers(all=True)
        )
        # One that never ran knows its networks by name only.
        found = [((row.get("NetworkSettings") or {}).get("Networks") or {}) for row in rows]
        names = {name for networks in found for name in networks}
        ids = {body.get("NetworkID", "") for networks in found for body in networks.values()}
        return frozenset(names | ids) - {""}

    async def create(self, order: NetworkOrder) -> str:
        """Makes a network; its identifier."""

        def work(api: APIClient) -> str:
            pool = IPAMPool(subnet=order.subnet, gateway=order.gateway or None)
            answer = api.create_network(
                order.name,
                driver=order.driver,
                ipam=IPAMConfig(pool_configs=[pool]),
                internal=order.internal,
                labels=dict(order.labels),
                # Older Engines would else make a second one of the name.
                check_duplicate=True,
            )
            return str(answer["Id"])

        with named("network", order.name):
            return await self._change("creating a network", work)

    async def connect(self, network_id: str, attachment: Attachment) -> None:
        """Lets a container join."""

        def work(api: APIClient) -> None:
            api.connect_container_to_network(
                attachment.container,
                network_id,
                aliases=list(attachment.aliases) or None,
                ipv4_address=attachment.ipv4_address or None,
            )

        with named("container", attachment.container):
            await self._change("joining a container to a network", work)

    async def disconnect(self, network_id: str, container: str, *, force: bool) -> None:
        """Takes a container out."""
        with named("container", container):
            await self._change(
                "taking a container out of a network",
                lambda api: api.disconnect_container_from_network(
                    container, network_id, force=force
                ),
            )

    async def remove(self, network_id: str) -> None:
        """Removes a network."""
        with named("network", network_id):
            await self._change("removing a network", lambda api: api.remove_network(network_id))

    async def _change(self, what: str, work: Callable[[APIClient], T]) -> T:
        return await self._client.call(what, work, seconds=CHANGE_SECONDS)


def _network(row: _Json) -> EngineNetwork:
    return EngineNetwork(
        id=row["Id"],
        name=row["Name"],
        driver=row.get("Driver", ""),
        scope=row.get("Scope", "local"),
        internal=bool(row.get("Internal")),
        attachable=bool(row.get("Attachable")),
        ipv6=bool(row.get("EnableIPv6")),
        ranges=tuple(
            NetworkRange(subnet=entry["Subnet"], gateway=entry.get("Gateway", ""))
            for entry in (row.get("IPAM") or {}).get("Config") or []
            if entry.get("Subnet")
        ),
        labels=row.get("Labels") or {},
        created_at=_moment(row.get("Created", "")),
    )


def _moment(text: str) -> datetime | None:
    try:
        moment = msgspec.convert(text, datetime, strict=False)
    except msgspec.ValidationError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else None


def _endpoint(identifier: str, entry: _Json) -> Endpoint:
    return Endpoint(
        container_id=identifier,
        container=entry.get("Name", ""),
        ipv4_address=entry.get("IPv4Address", ""),
        mac_address=entry.get("MacAddress", ""),
    )
