"""What every runtime does with networks: the Docker Engine, and the in-memory one."""

import secrets
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import msgspec
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.networks import DockerNetworksOfHost
from adapters.memory.engine import MemoryEngine
from adapters.memory.networks import MemoryNetworksOfHost
from domain.containers import PROJECT_LABEL
from domain.engine_networks import Attachment, NetworkOrder, NetworkRange
from domain.errors import ResourceConflict, ResourceNotFound
from domain.ports.engine_networks import EngineNetworks
from tests.support import engine

pytestmark = pytest.mark.anyio


class World:
    """One runtime, and a way to put containers into it from outside."""

    def __init__(self, networks: EngineNetworks) -> None:
        self.networks = networks
        self.project = f"t-{uuid4().hex[:12]}"
        # Engines are shared with other tests, and no range can be had twice.
        self.octets = f"10.{secrets.randbelow(20) + 180}.{secrets.randbelow(256)}"

    async def run(self, name: str) -> str:
        """Starts a container that is in no network of the test; its identifier."""
        raise NotImplementedError

    async def stop(self, name: str) -> None:
        """Stops a container."""
        raise NotImplementedError

    def order(self, name: str = "", *, internal: bool = False, first: int = 0) -> NetworkOrder:
        """A network of the test."""
        return NetworkOrder(
            name=name or f"{self.project}-net",
            subnet=f"{self.octets}.{first}/28",
            internal=internal,
            labels={PROJECT_LABEL: self.project},
        )

    async def attached(self, network: str) -> list[tuple[str, str]]:
        """Names and addresses of a network's containers."""
        details = await self.networks.inspect(network)
        return [(e.container, e.ipv4_address) for e in details.endpoints]


class MemoryWorld(World):
    def __init__(self) -> None:
        self.engine = MemoryEngine()
        super().__init__(MemoryNetworksOfHost(self.engine))

    async def run(self, name: str) -> str:
        return self.engine.run(name).id

    async def stop(self, name: str) -> None:
        self.engine.stop(name)


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient) -> None:
        self.host = host
        super().__init__(DockerNetworksOfHost(client))
        host.projects.append(self.project)

    async def run(self, name: str) -> str:
        api = self.host.client
        container = api.create_container(
            engine.BASE_IMAGE, ["sleep", "600"], name=name, labels={PROJECT_LABEL: self.project}
        )
        api.start(container["Id"])
        return str(container["Id"])

    async def stop(self, name: str) -> None:
        self.host.client.kill(name)
        self.host.client.wait(name)


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    client = EngineClient(engine.SOCKET)
    yield DockerWorld(request.getfixturevalue("host"), client)
    await client.aclose()


async def test_dockers_own_networks_are_there_and_known_as_such(world: World) -> None:
    own = [network for network in await world.networks.list() if network.predefined]

    assert [(n.name, n.driver) for n in own] == [
        ("bridge", "bridge"),
        ("host", "host"),
        ("none", "null"),
    ]


async def test_a_network_that_was_made_is_as_it_was_asked_for(world: World) -> None:
    order = world.order(internal=True)

    identifier = await world.networks.create(order)

    details = await world.networks.inspect(order.name)
    network = details.network
    assert (identifier, order.name, "bridge") == (network.id, network.name, network.driver)
    assert network.internal
    assert [r.subnet for r in network.ranges] == [order.subnet]
    assert order.labels.items() <= network.labels.items()
    assert details.endpoints == ()
    assert network in await world.networks.list()


async def test_a_gateway_can_be_chosen(world: World) -> None:
    order = world.order()
    gateway = f"{world.octets}.14"
    await world.networks.create(
        NetworkOrder(name=order.name, subnet=order.subnet, gateway=gateway, labels=order.labels)
    )

    found = (await world.networks.inspect(order.name)).network

    assert found.ranges == (NetworkRange(subnet=order.subnet, gateway=gateway),)


async def test_it_is_found_by_how_its_identifier_begins(world: World) -> None:
    identifier = await world.networks.create(world.order())

    assert (await world.networks.inspect(identifier[:20])).network.id == identifier


async def test_what_is_not_there_is_not_found(world: World) -> None:
    for call in (world.networks.inspect, world.networks.remove):
        with pytest.raises(ResourceNotFound, match="There is no network 'no-such'"):
            await call("no-such")


async def test_no_two_networks_have_one_name_or_one_range(world: World) -> None:
    await world.networks.create(world.order())

    with pytest.raises(ResourceConflict):
        await world.networks.create(world.order(first=32))
    with pytest.raises(ResourceConflict):
        await world.networks.create(world.order(f"{world.project}-other"))


async def test_a_container_joins_with_an_address_and_leaves(world: World) -> None:
    order, name = world.order(), f"{world.project}-a"
    network = await world.networks.create(order)
    await world.run(name)
    address = f"{world.octets}.9"

    await world.networks.connect(
        network, Attachment(container=name, aliases=("db",), ipv4_address=address)
    )

    assert await world.attached(network) == [(name, f"{address}/28")]
    assert {network, order.name} & await world.networks.in_use()

    await world.networks.disconnect(network, name, force=False)

    assert await world.attached(network) == []
    assert not {network, order.name} & await world.networks.in_use()


async def test_a_container_joins_a_network_once_and_no_address_is_given_twice(
    world: World,
) -> None:
    network = await world.networks.create(world.order())
    one, other = f"{world.project}-a", f"{world.project}-b"
    await world.run(one)
    await world.run(other)
    address = f"{world.octets}.9"
    await world.networks.connect(network, Attachment(container=one, ipv4_address=address))

    with pytest.raises(ResourceConflict):
        await world.networks.connect(network, Attachment(container=one))
    with pytest.raises(ResourceConflict):
        await world.networks.connect(network, Attachment(container=other, ipv4_address=address))


async def test_a_container_that_is_not_there_can_neither_join_nor_leave(world: World) -> None:
    network = await world.networks.create(world.order())

    with pytest.raises(ResourceNotFound, match="no container 'no-such'"):
        await world.networks.connect(network, Attachment(container="no-such"))
    with pytest.raises(ResourceNotFound, match="no container 'no-such'"):
        await world.networks.disconnect(network, "no-such", force=False)


async def test_a_container_that_is_not_in_a_network_cannot_leave_it(world: World) -> None:
    network = await world.networks.create(world.order())
    name = f"{world.project}-a"
    await world.run(name)

    with pytest.raises(ResourceConflict, match="is not connected"):
        await world.networks.disconnect(network, name, force=False)


async def test_a_network_with_containers_stays_and_an_empty_one_goes(world: World) -> None:
    network = await world.networks.create(world.order())
    name = f"{world.project}-a"
    await world.run(name)
    await world.networks.connect(network, Attachment(container=name))

    with pytest.raises(ResourceConflict, match="active endpoints"):
        await world.networks.remove(network)

    await world.networks.disconnect(network, name, force=False)
    await world.networks.remove(network)
    with pytest.raises(ResourceNotFound):
        await world.networks.inspect(network)


async def test_one_that_has_stopped_is_shown_without_an_address_and_counts(world: World) -> None:
    order, name = world.order(), f"{world.project}-a"
    identifier, container = await world.networks.create(order), await world.run(name)
    await world.networks.connect(identifier, Attachment(container=container))
    await world.stop(name)

    (endpoint,) = (await world.networks.inspect(order.name)).endpoints

    assert (endpoint.container_id, endpoint.container) == (container, name)
    assert not endpoint.running
    assert endpoint.ipv4_address == ""
    assert {identifier, order.name} & await world.networks.in_use()
    without = await world.networks.in_use(without={container})
    assert not {identifier, order.name} & without


async def test_options_reach_the_driver(world: World) -> None:
    options = {"com.docker.network.driver.mtu": "1400"}
    order = msgspec.structs.replace(world.order(), options=options)

    await world.networks.create(order)

    assert options.items() <= (await world.networks.inspect(order.name)).network.options.items()
