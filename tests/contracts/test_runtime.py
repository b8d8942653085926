"""What every runtime does: the Docker Engine, and the in-memory one."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.abc
import msgspec
import pytest
from docker.types import IPAMConfig, IPAMPool

from adapters.docker.client import EngineClient, EngineLimits
from adapters.docker.runtime import (
    DockerContainers,
    DockerEngine,
    DockerNetworks,
    DockerProjectResources,
)
from adapters.memory.engine import MemoryEngine
from adapters.memory.runtime import (
    MemoryContainers,
    MemoryEngineInfo,
    MemoryNetworks,
    MemoryProjectResources,
)
from domain.arrangement import ENVIRONMENT_LABEL, WORKSPACE_LABEL
from domain.containers import (
    ERASER_LABEL,
    PROJECT_LABEL,
    REPLACES_LABEL,
    Container,
    ContainerState,
    PublishedPort,
)
from domain.errors import EngineRefused, EngineUnavailable
from domain.ports.runtime import Containers, Engine, Networks, ProjectResources
from tests.support import engine
from tests.support.engine import rare_subnet

pytestmark = pytest.mark.anyio


class World:
    """One runtime, and ways to put things into it from outside."""

    def __init__(
        self,
        containers: Containers,
        networks: Networks,
        runtime: Engine,
        resources: ProjectResources,
    ) -> None:
        self.containers = containers
        self.networks = networks
        self.engine = runtime
        self.resources = resources
        self.project = f"t-{uuid4().hex[:12]}"

    async def run(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        image: str = "busybox:latest",
    ) -> None:
        """Starts a container of the project."""
        raise NotImplementedError

    async def make_volume(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Makes a volume of the project."""
        raise NotImplementedError

    async def make_image(self, tag: str) -> str:
        """Makes an image of the project and gives its identifier."""
        raise NotImplementedError

    async def make_network(
        self, name: str, subnet: str, labels: Mapping[str, str] | None = None
    ) -> None:
        """Makes a network of the project with an address range."""
        raise NotImplementedError

    async def leave_eraser(self, name: str) -> None:
        """Leaves a container at work as a killed agent does that was erasing."""
        raise NotImplementedError

    async def of_project(self) -> Sequence[Container]:
        """The project's containers."""
        return [c for c in await self.containers.list() if c.project == self.project]


class MemoryWorld(World):
    def __init__(self) -> None:
        self.state = MemoryEngine()
        super().__init__(
            MemoryContainers(self.state),
            MemoryNetworks(self.state),
            MemoryEngineInfo(self.state),
            MemoryProjectResources(self.state),
        )

    async def run(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        image: str = "busybox:latest",
    ) -> None:
        self.state.pull("busybox")
        container = self.state.run(name, image=image, project=self.project)
        marked = {**container.labels, **(labels or {})}
        self.state.containers[name] = msgspec.structs.replace(container, labels=marked)

    async def make_volume(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        self.state.volumes[name] = self.project
        self.state.labels[name] = labels or {}

    async def make_image(self, tag: str) -> str:
        image = f"sha256:{self.state.new_id()}"
        self.state.images[image] = (self.project, tag)
        self.state.labels[image] = {PROJECT_LABEL: self.project, "tag": tag}
        self.state.tags[f"{tag}:latest"] = image
        return image

    async def make_network(
        self, name: str, subnet: str, labels: Mapping[str, str] | None = None
    ) -> None:
        self.state.networks[name] = self.project
        self.state.labels[name] = labels or {}
        self.state.subnets[name] = subnet

    async def leave_eraser(self, name: str) -> None:
        container = self.state.run(name, project=self.project)
        labels = {**container.labels, ERASER_LABEL: "agent"}
        self.state.containers[name] = msgspec.structs.replace(container, labels=labels)


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient) -> None:
        self.host = host
        super().__init__(
            DockerContainers(client),
            DockerNetworks(client),
            DockerEngine(client),
            DockerProjectResources(client),
        )
        # An agent's own, so that the erasers of others on this host are left alone.
        self.resources = DockerProjectResources(client, owner=self.project)
        host.projects.append(self.project)
        self.labels = {PROJECT_LABEL: self.project}

    async def run(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        image: str = engine.BASE_IMAGE,
    ) -> None:
        self._run(name, {**self.labels, **(labels or {})}, image)

    async def leave_eraser(self, name: str) -> None:
        self._run(name, {**self.labels, ERASER_LABEL: self.project}, engine.BASE_IMAGE)

    def _run(self, name: str, labels: dict[str, str], image: str) -> None:
        api = self.host.client
        container = api.create_container(
            image,
            ["sleep", "600"],
            name=name,
            labels=labels,
            volumes=["/anonymous"],
            host_config=api.create_host_config(network_mode="none"),
        )
        api.start(container["Id"])

    async def make_volume(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        self.host.client.create_volume(name, labels={**self.labels, **(labels or {})})

    async def make_image(self, tag: str) -> str:
        api = self.host.client
        made = api.create_container(engine.BASE_IMAGE, "true", labels=self.labels)
        mark = f"LABEL {PROJECT_LABEL}={self.project}"
        image: str = api.commit(made["Id"], tag, "latest", changes=[mark, f"LABEL tag={tag}"])["Id"]
        api.remove_container(made["Id"])
        return image

    async def make_network(
        self, name: str, subnet: str, labels: Mapping[str, str] | None = None
    ) -> None:
        pool = IPAMPool(subnet=subnet)
        self.host.client.create_network(
            name,
            labels={**self.labels, **(labels or {})},
            ipam=IPAMConfig(pool_configs=[pool]),
        )


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


async def test_it_says_what_it_is(world: World) -> None:
    info = await world.engine.info()

    assert info.version
    assert info.storage_driver


async def test_containers_are_listed_by_name_with_project_image_and_state(world: World) -> None:
    await world.run(f"{world.project}-b-1")
    await world.run(f"{world.project}-a-1")

    found = await world.of_project()

    assert [c.name for c in found] == [f"{world.project}-a-1", f"{world.project}-b-1"]
    assert {c.state for c in found} == {ContainerState.RUNNING}
    assert {c.image for c in found} == {"busybox:latest"}
    assert all(c.running and c.well for c in found)


async def test_some_containers_are_listed_by_their_identifiers(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.run(f"{world.project}-{name}-1")
    a, b, c = await world.of_project()

    assert await world.containers.list({c.id, a.id, "f" * 64}) == [a, c]
    assert await world.containers.list({"f" * 64}) == []
    assert await world.containers.list(()) == []
    assert b in await world.containers.list()


async def test_a_container_tells_its_image_even_when_the_name_is_anothers_by_now(
    world: World,
) -> None:
    name = f"{world.project}-image"
    image = await world.make_image(name)
    await world.run(f"{world.project}-a-1", image=name)
    others = await world.resources.image_ids(["busybox"])

    await world.resources.tag(others["busybox"], name)
    found = await world.of_project()
    await world.resources.untag(name)

    assert [c.image_id for c in found] == [image]


async def test_a_sweep_removes_containers_networks_and_volumes(world: World) -> None:
    await world.run(f"{world.project}-a-1")
    await world.make_volume(f"{world.project}_data")

    await world.resources.sweep(world.project)

    assert await world.of_project() == []
    assert await world.resources.volumes(world.project) == []


async def test_a_sweep_keeps_the_volumes_it_is_told_to(world: World) -> None:
    kept, gone = f"{world.project}_kept", f"{world.project}_gone"
    await world.make_volume(kept)
    await world.make_volume(gone)

    await world.resources.sweep(world.project, keep_volumes=[kept])

    assert await world.resources.volumes(world.project) == [kept]


async def test_a_sweep_of_nothing_is_no_error(world: World) -> None:
    await world.resources.sweep(world.project)
    await world.resources.sweep(world.project)

    assert await world.of_project() == []


async def test_a_sweep_spares_other_projects(world: World) -> None:
    await world.run(f"{world.project}-a-1")

    await world.resources.sweep(f"{world.project}-other")

    assert len(await world.of_project()) == 1


async def test_a_replacement_that_was_cut_off_leaves_the_earlier_container(world: World) -> None:
    earlier, later = f"{world.project}-web-1", f"0123456789ab_{world.project}-web-1"
    await world.run(earlier)
    (before,) = await world.of_project()
    await world.run(later, {REPLACES_LABEL: before.id})

    assert await world.resources.finish_replacing(world.project) == [later]

    assert [c.id for c in await world.of_project()] == [before.id]
    assert await world.resources.finish_replacing(world.project) == []


async def test_what_has_lost_the_container_whose_place_it_takes_gets_its_name(
    world: World,
) -> None:
    earlier, later = f"{world.project}-web-1", f"0123456789ab_{world.project}-web-1"
    await world.run(later, {REPLACES_LABEL: "0123456789ab"})
    (before,) = await world.of_project()

    assert await world.resources.finish_replacing(world.project) == [later]

    assert [(c.id, c.name) for c in await world.of_project()] == [(before.id, earlier)]


async def test_a_replacement_that_came_to_its_end_is_left_alone(world: World) -> None:
    await world.run(f"{world.project}-web-1", {REPLACES_LABEL: "0123456789ab"})
    await world.run(f"0123456789ab_{world.project}-other-1")

    assert await world.resources.finish_replacing(world.project) == []
    assert len(await world.of_project()) == 2


async def test_images_are_those_of_the_project_with_their_tags(world: World) -> None:
    image = await world.make_image(f"{world.project}-web")

    found = await world.resources.images(world.project)

    assert [(i.id, i.tags) for i in found] == [(image, (f"{world.project}-web:latest",))]


async def test_images_show_their_labels(world: World) -> None:
    await world.make_image(f"{world.project}-web")

    (found,) = await world.resources.images(world.project)

    assert found.labels == {PROJECT_LABEL: world.project, "tag": f"{world.project}-web"}


async def test_what_bears_an_agents_labels_is_told_by_kind_and_name(world: World) -> None:
    workspace = f"/labs/{world.project}"
    own = {ENVIRONMENT_LABEL: "lab", WORKSPACE_LABEL: workspace}
    await world.make_volume(f"{world.project}_data", own)
    await world.make_volume(f"{world.project}_bare")
    await world.make_volume(f"{world.project}_theirs", {**own, WORKSPACE_LABEL: "/elsewhere"})
    await world.make_network(f"{world.project}_net", "10.199.7.0/28", own)
    await world.make_volume(f"{world.project}_half", {WORKSPACE_LABEL: workspace})

    found = await world.resources.marked(workspace)

    assert [(m.kind, m.name, m.environment) for m in found] == [
        ("network", f"{world.project}_net", "lab"),
        ("volume", f"{world.project}_data", "lab"),
    ]


async def test_a_tag_can_be_moved_to_another_image(world: World) -> None:
    tag = f"{world.project}-web"
    earlier = await world.make_image(tag)
    await world.make_image(f"{world.project}-other")

    await world.resources.tag(earlier, f"{world.project}-other:latest")

    tags = {i.id: i.tags for i in await world.resources.images(world.project)}
    assert tags[earlier] == (f"{world.project}-other:latest", f"{tag}:latest")


async def test_an_image_that_is_gone_can_be_given_no_tag(world: World) -> None:
    tag = f"{world.project}-web"
    image = await world.make_image(tag)
    await world.resources.untag(f"{tag}:latest")

    with pytest.raises(EngineRefused):
        await world.resources.tag(image, f"{tag}:again")


async def test_an_image_goes_with_its_last_tag(world: World) -> None:
    tag = f"{world.project}-web"
    await world.make_image(tag)

    await world.resources.untag(f"{tag}:latest")
    await world.resources.untag(f"{tag}:latest")

    assert await world.resources.images(world.project) == []


async def test_an_image_with_a_tag_is_not_removed_by_its_identifier(world: World) -> None:
    image = await world.make_image(f"{world.project}-web")

    await world.resources.remove_image(image)

    assert [i.id for i in await world.resources.images(world.project)] == [image]


async def test_images_that_are_not_at_hand_are_told(world: World) -> None:
    tag = f"{world.project}-web"
    await world.make_image(tag)

    found = await world.resources.missing_images([tag, f"{tag}:latest", f"{tag}:no", "no/such"])

    assert found == [f"{tag}:no", "no/such"]


async def test_tags_name_images_and_those_that_name_none_are_left_out(world: World) -> None:
    web, other = f"{world.project}-web", f"{world.project}-other"
    image = await world.make_image(web)
    await world.make_image(other)
    await world.resources.tag(image, f"{web}:second")
    asked = [web, f"{web}:latest", f"{web}:second", f"{web}:third", "no/such", other]

    found = await world.resources.image_ids(asked)

    assert found.keys() == {web, f"{web}:latest", f"{web}:second", other}
    assert {found[web], found[f"{web}:latest"], found[f"{web}:second"]} == {image}
    assert found[other] != image


@pytest.mark.parametrize("tags", [[], ["no/such:1"], ["Not A Tag"], [""], ["../etc"], ["a?b#c"]])
async def test_what_names_no_image_has_no_identifier(world: World, tags: list[str]) -> None:
    assert await world.resources.image_ids(tags) == {}


async def test_an_image_with_no_steps_for_others_is_plain_and_one_that_is_missing_is_not(
    world: World,
) -> None:
    tag = f"{world.project}-web"
    await world.make_image(tag)

    assert await world.resources.are_plain([tag, f"{tag}:latest"])
    assert not await world.resources.are_plain([tag, f"{tag}:no"])


async def test_erasers_that_were_left_are_ended_and_nothing_else(world: World) -> None:
    await world.run(f"{world.project}-a-1")
    await world.leave_eraser(f"{world.project}-eraser-1")
    await world.leave_eraser(f"{world.project}-eraser-2")

    assert await world.resources.end_erasers() == 2
    assert await world.resources.end_erasers() == 0
    assert [c.name for c in await world.of_project()] == [f"{world.project}-a-1"]


async def test_networks_tell_the_ranges_that_they_have(world: World) -> None:
    name, subnet = f"{world.project}_default", rare_subnet()
    await world.make_network(name, subnet)

    assert (name, subnet) in await world.networks.subnets()


async def test_a_network_that_was_swept_has_no_range_any_more(world: World) -> None:
    name, subnet = f"{world.project}_default", rare_subnet()
    await world.make_network(name, subnet)

    await world.resources.sweep(world.project)

    assert name not in dict(await world.networks.subnets())


@pytest.mark.engine
class TestDocker:
    """What only a real Engine can show."""

    async def test_anonymous_volumes_go_with_their_containers(self, host: engine.Host) -> None:
        client = EngineClient(engine.SOCKET)
        world = DockerWorld(host, client)
        await world.run(f"{world.project}-a-1")
        container = host.client.inspect_container(f"{world.project}-a-1")
        volume = container["Mounts"][0]["Name"]

        await world.resources.sweep(world.project)

        everything = [row["Name"] for row in host.client.volumes()["Volumes"] or []]
        assert volume not in everything
        await client.aclose()

    async def test_containers_tell_when_they_were_made_and_which_ports_the_host_serves(
        self, host: engine.Host
    ) -> None:
        client = EngineClient(engine.SOCKET)
        world = DockerWorld(host, client)
        began = datetime.now(UTC) - timedelta(seconds=1)
        _run_published(world)

        (found,) = await world.of_project()

        assert found.created_at is not None
        assert began.replace(microsecond=0) <= found.created_at <= datetime.now(UTC)
        published = [(p.container_port, p.protocol, p.host_address) for p in found.ports]
        assert published == [(53, "udp", "127.0.0.1"), (80, "tcp", "127.0.0.1")]
        assert all(port.host_port > 1024 for port in found.ports)
        await client.aclose()

    async def test_a_container_that_has_ended_publishes_nothing(self, host: engine.Host) -> None:
        client = EngineClient(engine.SOCKET)
        world = DockerWorld(host, client)
        _run_published(world)
        host.client.stop(f"{world.project}-a-1", timeout=0)

        (found,) = await world.of_project()

        assert (found.state, found.ports) == (ContainerState.EXITED, ())
        await client.aclose()

    async def test_an_image_that_brings_steps_for_others_is_not_plain(
        self, host: engine.Host
    ) -> None:
        client = EngineClient(engine.SOCKET)
        world = DockerWorld(host, client)
        tag = f"{world.project}-onbuild"
        made = host.client.create_container(engine.BASE_IMAGE, "true", labels=world.labels)
        changes = [f"LABEL {PROJECT_LABEL}={world.project}", "ONBUILD RUN true"]
        host.client.commit(made["Id"], tag, "latest", changes=changes)

        assert not await world.resources.are_plain([tag])
        assert await world.resources.are_plain([engine.BASE_IMAGE])
        await client.aclose()

    async def test_a_network_is_removed_though_a_stranger_is_attached(
        self, host: engine.Host
    ) -> None:
        client = EngineClient(engine.SOCKET)
        world = DockerWorld(host, client)
        stranger = DockerWorld(host, client)
        await stranger.run(f"{stranger.project}-a-1")
        network = host.client.create_network(f"{world.project}_default", labels=world.labels)
        host.client.disconnect_container_from_network(f"{stranger.project}-a-1", "none")
        host.client.connect_container_to_network(f"{stranger.project}-a-1", network["Id"])

        await world.resources.sweep(world.project)

        assert host.holds(world.project) == engine.NOTHING
        await client.aclose()

    async def test_a_folder_is_emptied_and_its_eraser_gone(
        self, host: engine.Host, tmp_path: Path
    ) -> None:
        client = EngineClient(engine.SOCKET)
        world = DockerWorld(host, client)
        image = _image_with_python(world)
        resources = DockerProjectResources(client, agent_image=image, owner=world.project)
        await anyio.Path(tmp_path, "left").mkdir()

        await resources.erase(str(tmp_path))

        assert [path async for path in anyio.Path(tmp_path).iterdir()] == []
        assert await resources.end_erasers() == 0
        await client.aclose()

    async def test_an_eraser_at_work_is_not_taken_for_one_that_was_left(
        self, host: engine.Host, tmp_path: Path
    ) -> None:
        client = EngineClient(engine.SOCKET)
        world = DockerWorld(host, client)
        image = _image_with_python(world)
        resources = DockerProjectResources(client, agent_image=image, owner=world.project)
        for number in range(3000):
            await anyio.Path(tmp_path, f"left-{number}").mkdir()

        async with anyio.create_task_group() as group:

            async def end() -> None:
                while True:
                    assert await resources.end_erasers() == 0
                    await anyio.sleep(0.01)

            group.start_soon(end)
            await resources.erase(str(tmp_path))
            group.cancel_scope.cancel()

        assert [path async for path in anyio.Path(tmp_path).iterdir()] == []
        await client.aclose()

    async def test_an_eraser_that_fails_says_why_and_is_gone(
        self, host: engine.Host, tmp_path: Path
    ) -> None:
        client = EngineClient(engine.SOCKET)
        world = DockerWorld(host, client)
        resources = DockerProjectResources(
            client, agent_image=engine.BASE_IMAGE, owner=world.project
        )

        with pytest.raises(EngineRefused, match="python3"):
            await resources.erase(str(tmp_path))

        assert await resources.end_erasers() == 0
        await client.aclose()


def _image_with_python(world: DockerWorld) -> str:
    """An image that empties folders as the agent's own does, whatever program it is given."""
    api = world.host.client
    script = r"printf '#!/bin/sh\nrm -rf /erase/*\n' > /bin/python3; chmod 755 /bin/python3"
    made = api.create_container(engine.BASE_IMAGE, ["sh", "-c", script], labels=world.labels)
    api.start(made["Id"])
    api.wait(made["Id"])
    name = f"{world.project}-eraser"
    api.commit(made["Id"], name, "latest", changes=[f"LABEL {PROJECT_LABEL}={world.project}"])
    return f"{name}:latest"


def _run_published(world: DockerWorld) -> None:
    """Starts a container that publishes two of its three ports on ports of the Engine's choice."""
    api = world.host.client
    container = api.create_container(
        engine.BASE_IMAGE,
        ["sleep", "600"],
        name=f"{world.project}-a-1",
        labels=world.labels,
        ports=[80, (53, "udp"), 81],
        host_config=api.create_host_config(
            port_bindings={"80/tcp": ("127.0.0.1",), "53/udp": ("127.0.0.1",)}
        ),
    )
    api.start(container["Id"])


async def test_in_the_twin_a_container_that_is_stuck_keeps_nothing_else_from_going() -> None:
    world = MemoryWorld()
    for name in ("a", "b", "c"):
        await world.run(name)
    await world.make_volume("data")
    world.state.stuck.add("b")

    with pytest.raises(EngineUnavailable, match="removing container b"):
        await world.resources.sweep(world.project)

    assert [c.name for c in await world.of_project()] == ["b"]
    assert await world.resources.volumes(world.project) == []


async def test_the_twins_build_cache_is_empty() -> None:
    assert await MemoryEngineInfo(MemoryEngine()).prune_build_cache() == 0


class TestScriptedEngine:
    """Answers word by word, for what must not be done to the Engine of whoever runs the tests."""

    @pytest.mark.parametrize(
        ("answer", "freed"),
        [
            ({"CachesDeleted": ["a", "b"], "SpaceReclaimed": 12_345}, 12_345),
            ({"CachesDeleted": None, "SpaceReclaimed": 0}, 0),
            ({}, 0),
        ],
    )
    async def test_clearing_the_build_cache_tells_how_many_bytes_went(
        self, tmp_path: Path, answer: dict[str, object], freed: int
    ) -> None:
        async with scripted_engine(tmp_path, 200, answer) as (client, requests):
            assert await DockerEngine(client).prune_build_cache() == freed

        method, path, _ = requests[-1].split()
        assert (method, path.split("?")[0]) == ("POST", "/v1.45/build/prune")

    async def test_an_engine_that_cannot_clear_its_build_cache_is_told(
        self, tmp_path: Path
    ) -> None:
        message = {"message": "a prune operation is already running"}
        async with scripted_engine(tmp_path, 409, message) as (client, _):
            with pytest.raises(EngineRefused, match="already running"):
                await DockerEngine(client).prune_build_cache()

    async def test_rows_that_lack_what_others_have_are_containers_all_the_same(
        self, tmp_path: Path
    ) -> None:
        rows: list[dict[str, object]] = [
            {"Id": "b" * 64, "Names": ["/b"], "Created": 1767268800, "Ports": _PORTS},
            {"Id": "a" * 64, "Names": None, "Created": 0, "Ports": None, "State": "new kind"},
        ]
        async with scripted_engine(tmp_path, 200, rows) as (client, _):
            nameless, named = await DockerContainers(client).list()

        assert (nameless.name, nameless.created_at, nameless.ports) == ("a" * 12, None, ())
        assert nameless.state is ContainerState.UNKNOWN
        assert named.created_at == datetime(2026, 1, 1, 12, tzinfo=UTC)
        assert named.ports == (
            PublishedPort(container_port=53, protocol="udp", host_address="::", host_port=5353),
            PublishedPort(
                container_port=80, protocol="tcp", host_address="127.0.0.1", host_port=8080
            ),
            PublishedPort(container_port=80, protocol="tcp", host_address="::", host_port=8080),
        )

    async def test_networks_without_ranges_are_left_out(self, tmp_path: Path) -> None:
        rows: list[dict[str, object]] = [
            {"Name": "host", "IPAM": {"Driver": "default", "Config": None}},
            {"Name": "none"},
            {"Name": "odd", "IPAM": {"Config": [{"Gateway": "10.0.0.1"}]}},
            {"Name": "two", "IPAM": {"Config": [{"Subnet": "10.1.0.0/16"}, {"Subnet": "fd::/64"}]}},
        ]
        async with scripted_engine(tmp_path, 200, rows) as (client, _):
            found = await DockerNetworks(client).subnets()

        assert list(found) == [("two", "10.1.0.0/16"), ("two", "fd::/64")]


_PORTS = [
    {"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp", "IP": "::"},
    {"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp", "IP": "127.0.0.1"},
    {"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp", "IP": "127.0.0.1"},
    {"PrivatePort": 53, "PublicPort": 5353, "Type": "udp", "IP": "::"},
    {"PrivatePort": 81, "Type": "tcp"},
]


@asynccontextmanager
async def scripted_engine(
    folder: Path, status: int, answer: object
) -> AsyncIterator[tuple[EngineClient, list[str]]]:
    """An Engine that gives one answer to all, but for its version, and notes what it was asked."""
    requests: list[str] = []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                try:
                    head += await stream.receive()
                except anyio.EndOfStream:
                    return
            requests.append(head.split(b"\r\n")[0].decode())
            version = "/version " in requests[-1]
            body = json.dumps({"ApiVersion": "1.45"} if version else answer).encode()
            await stream.send(
                b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n"
                % (200 if version else status, len(body))
                + body
            )

    path = f"{folder}/docker.sock"
    client = EngineClient(f"unix://{path}", limits=EngineLimits(ask_seconds=5))
    async with (
        await anyio.create_unix_listener(path) as listener,
        anyio.create_task_group() as ours,
    ):
        ours.start_soon(listener.serve, serve)
        yield client, requests
        await client.aclose()
        ours.cancel_scope.cancel()


class TestEngineAway:
    """An Engine that is not there, or takes calls and never answers."""

    async def test_an_engine_that_is_not_there_is_unavailable(self) -> None:
        containers = DockerContainers(EngineClient("unix:///nowhere/docker.sock"))

        with pytest.raises(EngineUnavailable):
            await containers.list()

    async def test_an_engine_that_never_answers_is_unavailable_in_time(
        self, tmp_path: Path
    ) -> None:
        path = f"{tmp_path}/docker.sock"
        client = EngineClient(f"unix://{path}", limits=EngineLimits(ask_seconds=0.5))
        async with await anyio.create_unix_listener(path):
            with anyio.fail_after(5), pytest.raises(EngineUnavailable):
                await DockerContainers(client).list()
        await client.aclose()

    async def test_an_engine_that_comes_back_is_used_again(self, tmp_path: Path) -> None:
        state = MemoryEngine()
        state.fault = "away"
        containers = MemoryContainers(state)
        with pytest.raises(EngineUnavailable):
            await containers.list()

        state.fault = ""

        assert await containers.list() == []
