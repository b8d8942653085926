"""The Engine's networks on docker-py."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from docker import APIClient
from docker.types import IPAMConfig, IPAMPool

from adapters.docker.client import EngineClient
from adapters.docker.moments import moment
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
        rows = await self._client.ask("listing networks", lambda api: api.networks())
        return sorted((_network(row) for row in rows), key=lambda n: (n.name, n.id))

    async def inspect(self, reference: str) -> NetworkDetails:
        """One network, and the containers in it."""

        def work(api: APIClient) -> tuple[_Json, Sequence[_Json]]:
            row = api.inspect_network(reference)
            # One that never ran knows its networks by name only.
            within = {"network": [row["Name"], row["Id"]]}
            return row, api.containers(all=True, filters=within)

        with named("network", reference):
            row, containers = await self._client.ask("looking at a network", work)
        running = [_endpoint(i, entry) for i, entry in (row.get("Containers") or {}).items()]
        known = {endpoint.container_id for endpoint in running}
        others = [_stopped(entry) for entry in containers if entry["Id"] not in known]
        endpoints = sorted((*running, *others), key=lambda e: (e.container, e.container_id))
        return NetworkDetails(network=_network(row), endpoints=tuple(endpoints))

    async def in_use(self, *, without: Collection[str] = ()) -> frozenset[str]:
        """Names and identifiers of the networks that any container is in, stopped ones too."""
        rows = await self._client.ask(
            "looking who is in networks", lambda api: api.containers(all=True)
        )
        # One that never ran knows its networks by name only.
        counted = [row for row in rows if row["Id"] not in without]
        found = [((row.get("NetworkSettings") or {}).get("Networks") or {}) for row in counted]
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
                options=dict(order.options) or None,
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
        return await self._client.change(what, work)


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
        options=row.get("Options") or {},
        created_at=moment(row.get("Created", "")),
    )


def _endpoint(identifier: str, entry: _Json) -> Endpoint:
    return Endpoint(
        container_id=identifier,
        container=entry.get("Name", ""),
        ipv4_address=entry.get("IPv4Address", ""),
        mac_address=entry.get("MacAddress", ""),
    )


def _stopped(row: _Json) -> Endpoint:
    name = next(iter(row.get("Names") or ()), "").lstrip("/")
    return Endpoint(container_id=row["Id"], container=name, running=False)
