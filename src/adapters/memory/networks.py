"""Networks of the in-memory Engine."""

from collections.abc import Collection, Sequence
from functools import partial
from ipaddress import IPv4Network

from adapters.memory.engine import MemoryEngine
from adapters.memory.references import found
from domain.engine_networks import (
    Attachment,
    Endpoint,
    EngineNetwork,
    NetworkDetails,
    NetworkOrder,
    NetworkRange,
)
from domain.errors import ResourceConflict

_PREDEFINED = {"bridge": "bridge", "host": "host", "none": "null"}


class MemoryNetworksOfHost:
    """Twin of ``DockerNetworksOfHost``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._made: dict[str, EngineNetwork] = {}
        self._endpoints: dict[str, dict[str, str]] = {}
        """Network → container → address."""
        self.active: set[str] = set()
        """Networks with endpoints that no container of this Engine has."""

    def _all(self) -> dict[str, EngineNetwork]:
        """Networks by name: Docker's own, those made here, and those that Compose made."""
        standing = {name: self._predefined(name, d) for name, d in _PREDEFINED.items()}
        for name in self._engine.networks:
            standing[name] = self._made.get(name) or self._of_compose(name)
        return standing

    def _predefined(self, name: str, driver: str) -> EngineNetwork:
        return EngineNetwork(id=_identifier(name), name=name, driver=driver)

    def _of_compose(self, name: str) -> EngineNetwork:
        subnet = self._engine.subnets.get(name)
        return EngineNetwork(
            id=_identifier(name),
            name=name,
            driver="bridge",
            ranges=(NetworkRange(subnet=subnet),) if subnet else (),
            labels=self._engine.labels.get(name, {}),
        )

    async def list(self) -> Sequence[EngineNetwork]:
        """All, sorted by name and then identifier."""
        await self._engine.answer("list networks")
        return sorted(self._all().values(), key=lambda n: (n.name, n.id))

    async def inspect(self, reference: str) -> NetworkDetails:
        """One network, and the containers in it."""
        await self._engine.answer(f"look at network {reference}")
        network = self._named(reference)
        joined = {**dict.fromkeys(self._ordered(network.name), ""), **self._of(network.name)}
        endpoints = [
            Endpoint(
                container_id=c.id,
                container=name,
                running=c.running,
                ipv4_address=address if c.running else "",
            )
            for name, address in sorted(joined.items())
            if (c := self._engine.containers.get(name)) is not None
        ]
        return NetworkDetails(network=network, endpoints=tuple(endpoints))

    def _of(self, network: str) -> dict[str, str]:
        return self._endpoints.get(network, {})

    def _ordered(self, network: str) -> Sequence[str]:
        """Names of the containers that were made one by one with a network."""
        return [
            container.name
            for container in self._engine.containers.values()
            if container.id in self._engine.orders
            and network in {n.name for n in self._engine.orders[container.id][0].networks}
        ]

    def _named(self, reference: str) -> EngineNetwork:
        standing = self._all()
        return standing[found("network", reference, {n: s.id for n, s in standing.items()})]

    async def in_use(self, *, without: Collection[str] = ()) -> frozenset[str]:
        """Names of the networks that any container is in."""
        await self._engine.answer("look who is in networks")
        counted = {n for n, c in self._engine.containers.items() if c.id not in without}
        return frozenset(
            network
            for network, project in self._engine.networks.items()
            if counted
            & {
                *self._of(network),
                *self._ordered(network),
                *(self._engine.of_project(project) if project else ()),
            }
        )

    async def create(self, order: NetworkOrder) -> str:
        """Makes a network; its identifier."""
        identifier = self._engine.new_id()
        change = partial(self._create, identifier, order)
        await self._engine.answer(f"create network {order.name}", change)
        return identifier

    def _create(self, identifier: str, order: NetworkOrder) -> None:
        if order.name in self._all():
            raise ResourceConflict(f"network with name {order.name} already exists")
        wanted = IPv4Network(order.subnet)
        for taken in self._engine.subnets.values():
            if wanted.overlaps(IPv4Network(taken)):
                raise ResourceConflict("Pool overlaps with other one on this address space")
        network = EngineNetwork(
            id=identifier,
            name=order.name,
            driver=order.driver,
            internal=order.internal,
            ranges=(NetworkRange(subnet=order.subnet, gateway=order.gateway or str(wanted[1])),),
            labels=order.labels,
            options=order.options,
        )
        self._made[order.name] = network
        self._engine.create_network(order.name, "", order.subnet, order.labels)

    async def connect(self, network_id: str, attachment: Attachment) -> None:
        """Lets a container join."""
        change = partial(self._connect, network_id, attachment)
        await self._engine.answer(f"connect to network {network_id}", change)

    def _connect(self, network_id: str, attachment: Attachment) -> None:
        network, container = self._named(network_id), self._container(attachment.container)
        joined = self._endpoints.setdefault(network.name, {})
        if container in joined:
            raise ResourceConflict(
                f"endpoint with name {container} already exists in network {network.name}"
            )
        address = attachment.ipv4_address or self._free_address(network)
        if address.partition("/")[0] in {taken.partition("/")[0] for taken in joined.values()}:
            raise ResourceConflict("Address already in use")
        prefix = IPv4Network(network.ranges[0].subnet).prefixlen if network.ranges else 32
        joined[container] = f"{address.partition('/')[0]}/{prefix}"

    def _free_address(self, network: EngineNetwork) -> str:
        if not network.ranges:
            return ""
        addresses = IPv4Network(network.ranges[0].subnet)
        taken = {a.partition("/")[0] for a in self._of(network.name).values()}
        return next(str(a) for a in list(addresses.hosts())[1:] if str(a) not in taken)

    def _container(self, reference: str) -> str:
        known = {name: c.id for name, c in self._engine.containers.items()}
        return found("container", reference, known)

    async def disconnect(self, network_id: str, container: str, *, force: bool) -> None:  # noqa: ARG002
        """Takes a container out."""
        change = partial(self._disconnect, network_id, container)
        await self._engine.answer(f"disconnect from network {network_id}", change)

    def _disconnect(self, network_id: str, container: str) -> None:
        network, name = self._named(network_id), self._container(container)
        if self._endpoints.get(network.name, {}).pop(name, None) is None:
            raise ResourceConflict(f"container {name} is not connected to network {network.name}")

    async def remove(self, network_id: str) -> None:
        """Removes a network."""
        await self._engine.answer(f"remove network {network_id}", partial(self._remove, network_id))

    def _remove(self, network_id: str) -> None:
        network = self._named(network_id)
        standing = self._engine.containers
        joined = [standing[name] for name in self._of(network.name) if name in standing]
        if network.name in self.active or any(one.running for one in joined):
            raise ResourceConflict(f"network {network.name} has active endpoints")
        self._engine.remove_network(network.name)
        self._made.pop(network.name, None)
        self._endpoints.pop(network.name, None)


def _identifier(name: str) -> str:
    return name.encode().hex().ljust(64, "0")[:64]
