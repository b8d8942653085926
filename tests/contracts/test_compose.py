"""What every Compose does: Docker's, and its in-memory twin."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from adapters.compose.projects import ComposeLimits, DockerCompose
from adapters.docker.client import EngineClient
from adapters.docker.runtime import DockerContainers, DockerProjectResources
from adapters.memory.clock import MemoryClock
from adapters.memory.compose import MemoryCompose
from adapters.memory.runtime import MemoryContainers, MemoryEngine, MemoryProjectResources
from domain.compose_model import ComposeService
from domain.containers import ContainerState
from domain.errors import EngineUnavailable, StepFailed, StepTimedOut
from domain.names import EnvironmentName
from domain.ports.compose import Compose, Project
from domain.ports.runtime import Containers, ProjectResources
from tests.support import engine

pytestmark = pytest.mark.anyio

TWO_SERVICES = """
services:
  web:
    build: .
    command: sleep 600
    volumes: ["data:/data"]
  side:
    image: busybox
    command: sleep 600
volumes: {data: {}}
"""


class World:
    """One Compose with the runtime it acts on, and a folder for projects."""

    def __init__(
        self,
        compose: Compose,
        containers: Containers,
        resources: ProjectResources,
        folder: Path,
    ) -> None:
        self.compose = compose
        self.containers = containers
        self.resources = resources
        self.folder = folder
        self.name = EnvironmentName(f"t-{uuid4().hex[:12]}")

    async def project(self, compose_file: str, **files: str) -> Project:
        """A project on disk; double underscores in file names stand for dots."""
        directory = anyio.Path(self.folder, self.name)
        await directory.mkdir(exist_ok=True)
        await (directory / "compose.yaml").write_text(compose_file)
        for name, content in files.items():
            await (directory / name.replace("__", ".")).write_text(content)
        return Project(name=self.name, directory=str(directory), files=("compose.yaml",))

    async def states(self) -> dict[str, ContainerState]:
        """The project's containers without the project's name → their states."""
        return {
            container.name.removeprefix(f"{self.name}-"): container.state
            for container in await self.containers.list()
            if container.project == self.name
        }


Make = Callable[[], Awaitable[World]]


async def _read(project: Project, name: str) -> bytes | None:
    path = anyio.Path(project.directory, name)
    return await path.read_bytes() if await path.is_file() else None


def _memory(folder: Path) -> World:
    state = MemoryEngine()
    return World(
        MemoryCompose(state, MemoryClock(), _read),
        MemoryContainers(state),
        MemoryProjectResources(state),
        folder,
    )


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        yield _memory(tmp_path)
        return
    host: engine.Host = request.getfixturevalue("host")
    client = EngineClient(engine.SOCKET)
    home = anyio.Path(tmp_path, "home")
    await home.mkdir()
    world = World(
        DockerCompose(engine.SOCKET, Path(home), limits=ComposeLimits(grace_seconds=0)),
        DockerContainers(client),
        DockerProjectResources(client),
        tmp_path,
    )
    host.projects.append(world.name)
    yield world
    await client.aclose()


async def test_it_names_its_version(world: World) -> None:
    assert await world.compose.version()


async def test_it_resolves_services_and_which_of_them_build(world: World) -> None:
    project = await world.project(TWO_SERVICES, Dockerfile="FROM busybox\n")

    model = await world.compose.resolve(project)

    assert model.services == (
        ComposeService(name="side", image="busybox"),
        ComposeService(name="web", builds=True),
    )


async def test_it_merges_an_override_file(world: World) -> None:
    project = await world.project(
        "services: {web: {image: busybox}}", compose__override__yml="services: {b: {image: b}}"
    )
    project = Project(
        name=project.name,
        directory=project.directory,
        files=("compose.yaml", "compose.override.yml"),
    )

    model = await world.compose.resolve(project)

    assert [service.name for service in model.services] == ["b", "web"]


@pytest.mark.parametrize(
    "compose_file",
    ["services: [", "services: {web: {}}", "version: '3'\n", ""],
    ids=["broken YAML", "service without image", "no services", "empty"],
)
async def test_a_compose_file_that_is_none_fails_the_check(world: World, compose_file: str) -> None:
    project = await world.project(compose_file)

    with pytest.raises(StepFailed) as failure:
        await world.compose.resolve(project)

    assert failure.value.step == "check"


async def test_a_built_image_bears_the_names_of_project_and_service(world: World) -> None:
    project = await world.project(TWO_SERVICES, Dockerfile="FROM busybox\n")
    lines: list[str] = []

    await world.compose.build(project, lines.append)

    tags = [tag for image in await world.resources.images(world.name) for tag in image.tags]
    assert tags == [f"{world.name}-web:latest"]
    assert lines


async def test_a_dockerfile_in_lower_case_is_found(world: World) -> None:
    project = await world.project(TWO_SERVICES, dockerfile="FROM busybox\n")

    await world.compose.build(project, lambda _line: None)

    assert len(await world.resources.images(world.name)) == 1


async def test_a_build_that_fails_says_so_with_its_last_lines(world: World) -> None:
    project = await world.project(TWO_SERVICES, Dockerfile="FROM busybox\nRUN exit 3\n")

    with pytest.raises(StepFailed) as failure:
        await world.compose.build(project, lambda _line: None)

    assert failure.value.step == "build"
    assert "exit code: " in "\n".join(failure.value.output)


async def test_up_starts_every_service(world: World) -> None:
    project = await world.project(TWO_SERVICES, Dockerfile="FROM busybox\n")
    await world.compose.build(project, lambda _line: None)
    lines: list[str] = []

    await world.compose.up(project, lines.append)

    running = ContainerState.RUNNING
    assert await world.states() == {"side-1": running, "web-1": running}
    assert await world.resources.volumes(world.name) == [f"{world.name}_data"]
    assert any("web-1" in line for line in lines)


async def test_up_creates_containers_anew(world: World) -> None:
    project = await world.project("services: {a: {image: busybox, command: sleep 600}}")
    await world.compose.up(project, lambda _line: None)
    first = {c.id for c in await world.containers.list() if c.project == world.name}

    await world.compose.up(project, lambda _line: None)

    second = {c.id for c in await world.containers.list() if c.project == world.name}
    assert len(second) == 1
    assert first.isdisjoint(second)


async def test_up_removes_services_that_the_file_no_longer_has(world: World) -> None:
    both = "services: {a: {image: busybox, command: sleep 600}, b: {image: busybox}}"
    await world.compose.up(await world.project(both), lambda _line: None)
    one = await world.project("services: {a: {image: busybox, command: sleep 600}}")

    await world.compose.up(one, lambda _line: None)

    assert set(await world.states()) == {"a-1"}


async def test_an_image_that_cannot_be_had_fails_the_start(world: World) -> None:
    project = await world.project("services: {a: {image: 'localhost:1/missing/image'}}")

    with pytest.raises(StepFailed) as failure:
        await world.compose.up(project, lambda _line: None)

    assert failure.value.step == "start"
    assert failure.value.output


async def test_a_port_that_is_taken_fails_the_start(world: World) -> None:
    project = await world.project(
        "services:\n"
        "  a: {image: busybox, command: sleep 600, ports: ['127.0.0.1:18471:80']}\n"
        "  b: {image: busybox, command: sleep 600, ports: ['127.0.0.1:18471:80']}\n"
    )

    with pytest.raises(StepFailed) as failure:
        await world.compose.up(project, lambda _line: None)

    assert "port is already allocated" in failure.value.detail


async def test_stopped_containers_stand_but_do_not_run(world: World) -> None:
    project = await world.project("services: {a: {image: busybox, command: sleep 600}}")
    await world.compose.up(project, lambda _line: None)

    await world.compose.stop(world.name, lambda _line: None)

    assert await world.states() == {"a-1": ContainerState.EXITED}


async def test_stopping_needs_no_compose_file(world: World) -> None:
    project = await world.project("services: {a: {image: busybox, command: sleep 600}}")
    await world.compose.up(project, lambda _line: None)
    await anyio.Path(project.directory, "compose.yaml").unlink()

    await world.compose.stop(world.name, lambda _line: None)

    assert await world.states() == {"a-1": ContainerState.EXITED}


async def test_stopping_may_be_repeated(world: World) -> None:
    await world.compose.stop(world.name, lambda _line: None)
    await world.compose.stop(world.name, lambda _line: None)

    assert await world.states() == {}


async def test_what_it_runs_knows_nothing_of_the_agents_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", "the-platforms-secret")
    project = await world.project(
        "services: {a: {image: 'x${JWT_SECRET}y', environment: [JWT_SECRET]}}"
    )

    if isinstance(world.compose, MemoryCompose):
        return  # the twin interpolates nothing
    model = await world.compose.resolve(project)

    assert model.services[0].image == "xy"


@pytest.mark.engine
class TestDocker:
    """What only a real Compose can show."""

    async def test_a_build_that_takes_too_long_is_ended(
        self, host: engine.Host, tmp_path: Path
    ) -> None:
        world = World(
            DockerCompose(engine.SOCKET, tmp_path, limits=ComposeLimits(build_seconds=1.5)),
            *_runtime(EngineClient(engine.SOCKET)),
            tmp_path,
        )
        host.projects.append(world.name)
        project = await world.project(
            TWO_SERVICES, Dockerfile=f"FROM busybox\nRUN echo {uuid4()}; sleep 60\n"
        )

        with pytest.raises(StepTimedOut) as failure:
            await world.compose.build(project, lambda _line: None)

        assert "longer than 1.5 s" in failure.value.detail

    async def test_an_engine_that_is_not_there_is_told_apart(self, tmp_path: Path) -> None:
        compose = DockerCompose("unix:///nowhere/docker.sock", tmp_path)

        with pytest.raises(EngineUnavailable):
            await compose.stop(EnvironmentName("nobody"), lambda _line: None)

    async def test_aliases_that_explode_end_with_their_time(self, tmp_path: Path) -> None:
        folder = anyio.Path(tmp_path)
        rows = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
        rows += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
        text = "\n".join([f"x-{row}" for row in rows] + ["services: {a: {image: b}}"])
        await (folder / "compose.yaml").write_text(text)
        compose = DockerCompose(engine.SOCKET, tmp_path, limits=ComposeLimits(resolve_seconds=2))
        project = Project(
            name=EnvironmentName("laughs"), directory=str(folder), files=("compose.yaml",)
        )

        with pytest.raises(StepFailed):
            await compose.resolve(project)


def _runtime(client: EngineClient) -> tuple[Containers, ProjectResources]:
    return DockerContainers(client), DockerProjectResources(client)
