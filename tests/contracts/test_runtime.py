"""What every runtime does: the Docker Engine, and the in-memory one."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.runtime import DockerContainers, DockerEngine, DockerProjectResources
from adapters.memory.runtime import (
    MemoryContainers,
    MemoryEngine,
    MemoryEngineInfo,
    MemoryProjectResources,
)
from domain.containers import PROJECT_LABEL, Container, ContainerState
from domain.errors import EngineUnavailable
from domain.ports.runtime import Containers, Engine, ProjectResources
from tests.support import engine

pytestmark = pytest.mark.anyio


class World:
    """One runtime, and ways to put things into it from outside."""

    def __init__(
        self, containers: Containers, runtime: Engine, resources: ProjectResources
    ) -> None:
        self.containers = containers
        self.engine = runtime
        self.resources = resources
        self.project = f"t-{uuid4().hex[:12]}"

    async def run(self, name: str) -> None:
        """Starts a container of the project."""
        raise NotImplementedError

    async def make_volume(self, name: str) -> None:
        """Makes a volume of the project."""
        raise NotImplementedError

    async def make_image(self, tag: str) -> str:
        """Makes an image of the project and gives its identifier."""
        raise NotImplementedError

    async def of_project(self) -> Sequence[Container]:
        """The project's containers."""
        return [c for c in await self.containers.list() if c.project == self.project]


class MemoryWorld(World):
    def __init__(self) -> None:
        self.state = MemoryEngine()
        super().__init__(
            MemoryContainers(self.state),
            MemoryEngineInfo(self.state),
            MemoryProjectResources(self.state),
        )

    async def run(self, name: str) -> None:
        self.state.run(name, image="busybox:latest", project=self.project)

    async def make_volume(self, name: str) -> None:
        self.state.volumes[name] = self.project

    async def make_image(self, tag: str) -> str:
        image = f"sha256:{self.state.new_id()}"
        self.state.images[image] = (self.project, tag)
        self.state.tags[f"{tag}:latest"] = image
        return image


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient) -> None:
        self.host = host
        super().__init__(
            DockerContainers(client), DockerEngine(client), DockerProjectResources(client)
        )
        host.projects.append(self.project)
        self.labels = {PROJECT_LABEL: self.project}

    async def run(self, name: str) -> None:
        api = self.host.client
        container = api.create_container(
            engine.BASE_IMAGE,
            ["sleep", "600"],
            name=name,
            labels=self.labels,
            volumes=["/anonymous"],
            host_config=api.create_host_config(network_mode="none"),
        )
        api.start(container["Id"])

    async def make_volume(self, name: str) -> None:
        self.host.client.create_volume(name, labels=self.labels)

    async def make_image(self, tag: str) -> str:
        api = self.host.client
        made = api.create_container(engine.BASE_IMAGE, "true", labels=self.labels)
        mark = f"LABEL {PROJECT_LABEL}={self.project}"
        image: str = api.commit(made["Id"], tag, "latest", changes=[mark, f"LABEL tag={tag}"])["Id"]
        api.remove_container(made["Id"])
        return image


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


async def test_images_are_those_of_the_project_with_their_tags(world: World) -> None:
    image = await world.make_image(f"{world.project}-web")

    found = await world.resources.images(world.project)

    assert [(i.id, i.tags) for i in found] == [(image, (f"{world.project}-web:latest",))]


async def test_a_tag_can_be_moved_to_another_image(world: World) -> None:
    tag = f"{world.project}-web"
    earlier = await world.make_image(tag)
    await world.make_image(f"{world.project}-other")

    await world.resources.tag(earlier, f"{world.project}-other:latest")

    tags = {i.id: i.tags for i in await world.resources.images(world.project)}
    assert tags[earlier] == (f"{world.project}-other:latest", f"{tag}:latest")


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
        client = EngineClient(f"unix://{path}", call_seconds=0.5)
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
