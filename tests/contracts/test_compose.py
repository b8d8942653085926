"""What every Compose does: Docker's, and its in-memory twin."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import msgspec
import pytest

from adapters.compose.projects import ComposeLimits, DockerCompose
from adapters.docker.client import EngineClient
from adapters.docker.runtime import DockerContainers, DockerNetworks, DockerProjectResources
from adapters.memory.clock import MemoryClock
from adapters.memory.compose import MemoryCompose
from adapters.memory.engine import MemoryEngine
from adapters.memory.runtime import (
    MemoryContainers,
    MemoryNetworks,
    MemoryProjectResources,
)
from domain.compose_model import Document
from domain.containers import ContainerState
from domain.errors import EngineUnavailable, StepFailed, StepTimedOut
from domain.names import EnvironmentName
from domain.ports.compose import Compose, Project
from domain.ports.runtime import Containers, Networks, ProjectResources
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
        networks: Networks,
        folder: Path,
    ) -> None:
        self.compose = compose
        self.containers = containers
        self.resources = resources
        self.networks = networks
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

    async def modelled(self, document: Document, **files: str) -> Project:
        """A project with a model, in a folder with files that must not be read."""
        folder = await self.project("services: [broken", **files)
        path = anyio.Path(self.folder, "model.json")
        await path.write_bytes(msgspec.json.encode({"name": self.name, **document}))
        return Project(name=self.name, directory=folder.directory, files=(), model=str(path))

    async def ids(self) -> dict[str, str]:
        """The project's containers without the project's name → their identifiers."""
        return {
            container.name.removeprefix(f"{self.name}-"): container.id
            for container in await self.containers.list()
            if container.project == self.name
        }

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
        MemoryNetworks(state),
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
    async with _docker(host, tmp_path) as world:
        yield world


@asynccontextmanager
async def _docker(host: engine.Host, folder: Path) -> AsyncIterator[World]:
    client = EngineClient(engine.SOCKET)
    home = anyio.Path(folder, "home")
    await home.mkdir()
    world = World(
        DockerCompose(
            engine.SOCKET, Path(home), limits=ComposeLimits(grace_seconds=0, late_seconds=0)
        ),
        *_runtime(client),
        folder,
    )
    host.projects.append(world.name)
    yield world
    await client.aclose()


@pytest.fixture
async def real(host: engine.Host, tmp_path: Path) -> AsyncIterator[World]:
    async with _docker(host, tmp_path) as world:
        yield world


async def test_it_names_its_version(world: World) -> None:
    assert await world.compose.version()


async def test_it_resolves_services_and_which_of_them_build(world: World) -> None:
    project = await world.project(TWO_SERVICES, Dockerfile="FROM busybox\n")

    model = await world.compose.resolve(project)

    shown = [(s.name, s.image, s.builds, s.networks) for s in model.services]
    assert shown == [("side", "busybox", False, ("default",)), ("web", None, True, ("default",))]


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


@pytest.mark.parametrize("cut_off", [False, True])
async def test_where_no_agent_was_killed_there_are_no_strays(world: World, cut_off: bool) -> None:
    assert await world.compose.end_strays(cut_off=cut_off) == 0


async def test_up_starts_every_service(world: World) -> None:
    project = await world.project(TWO_SERVICES, Dockerfile="FROM busybox\n")
    await world.compose.build(project, lambda _line: None)
    lines: list[str] = []

    await world.compose.up(project, lines.append)

    running = ContainerState.RUNNING
    assert await world.states() == {"side-1": running, "web-1": running}
    assert await world.resources.volumes(world.name) == [f"{world.name}_data"]
    assert any("web-1" in line for line in lines)


async def test_up_only_makes_what_it_is_told_not_to_start(world: World) -> None:
    project = await world.modelled({"services": {"a": SLEEPS}})
    await world.compose.up(project, lambda _line: None)
    before = await world.ids()

    await world.compose.up(project, lambda _line: None, start=False)

    assert await world.states() == {"a-1": ContainerState.CREATED}
    assert await world.ids() != before


async def test_up_creates_containers_anew(world: World) -> None:
    project = await world.project("services: {a: {image: busybox, command: sleep 600}}")
    await world.compose.up(project, lambda _line: None)
    first = {c.id for c in await world.containers.list() if c.project == world.name}

    await world.compose.up(project, lambda _line: None)

    second = {c.id for c in await world.containers.list() if c.project == world.name}
    assert len(second) == 1
    assert first.isdisjoint(second)


async def test_up_removes_services_that_the_file_no_longer_has(world: World) -> None:
    sleeps = "{image: busybox, command: sleep 600}"
    both = f"services: {{a: {sleeps}, b: {sleeps}}}"
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


async def test_a_start_that_fails_leaves_what_it_made_before(world: World) -> None:
    ports = [{"target": 80, "published": "18472", "protocol": "tcp", "host_ip": "127.0.0.1"}]
    body = {**SLEEPS, "ports": ports}
    document = {"services": {"a": body, "b": body}, "volumes": {"v": {"name": f"{world.name}_v"}}}
    project = await world.modelled(document)

    with pytest.raises(StepFailed):
        await world.compose.up(project, lambda _line: None)

    assert set(await world.states()) == {"a-1", "b-1"}


async def test_an_image_that_cannot_be_had_keeps_all_else_from_being_made(world: World) -> None:
    missing = {**SLEEPS, "image": "localhost:1/missing/image"}
    project = await world.modelled({"services": {"a": SLEEPS, "b": missing}})

    with pytest.raises(StepFailed):
        await world.compose.up(project, lambda _line: None)

    assert await world.states() == {}


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


SLEEPS = {"image": "busybox:latest", "command": ["sleep", "600"]}


async def test_variables_fill_in_the_compose_file(world: World) -> None:
    project = await world.project(
        "services: {a: {image: 'busybox:${RELEASE}', command: 'sleep ${SECONDS_TO_SLEEP}'}}"
    )

    model = await world.compose.resolve(project, {"RELEASE": "1.36", "SECONDS_TO_SLEEP": "600"})

    assert [service.image for service in model.services] == ["busybox:1.36"]


async def test_variables_win_over_the_bundles_own(world: World) -> None:
    project = await world.project(
        "services: {a: {image: 'busybox:${RELEASE}'}}", __env="RELEASE=the-bundles\n"
    )

    model = await world.compose.resolve(project, {"RELEASE": "1.36"})

    assert [service.image for service in model.services] == ["busybox:1.36"]


async def test_variables_do_not_steer_compose_itself(world: World) -> None:
    project = await world.project("services: {a: {image: busybox}}")
    steering = {
        "DOCKER_HOST": "unix:///nowhere",
        "PATH": "/nowhere",
        "HOME": "/nowhere",
        "DOCKER_CONFIG": "/nowhere",
        "COMPOSE_FILE": "other.yaml",
        "COMPOSE_PROJECT_NAME": "other",
    }

    model = await world.compose.resolve(project, steering)

    assert model.document["name"] == world.name
    assert [service.name for service in model.services] == ["a"]


async def test_a_model_is_run_as_it_stands_and_nothing_of_the_folder_is_read(world: World) -> None:
    project = await world.modelled(
        {"services": {"a": SLEEPS}},
        compose__override__yaml="services: {b: {image: busybox}}",
        __env="COMPOSE_PROJECT_NAME=other\nCOMPOSE_FILE=compose.override.yaml\n",
    )

    model = await world.compose.resolve(project)
    await world.compose.up(project, lambda _line: None)

    assert [service.name for service in model.services] == ["a"]
    assert await world.states() == {"a-1": ContainerState.RUNNING}


async def test_a_models_networks_have_the_names_and_ranges_that_it_gives_them(
    world: World,
) -> None:
    subnet = f"10.197.{uuid4().int % 256}.16/28"
    project = await world.modelled(
        {
            "services": {"a": {**SLEEPS, "networks": {"default": None}}},
            "networks": {
                "default": {
                    "name": f"{world.name}_default",
                    "ipam": {"config": [{"subnet": subnet}]},
                }
            },
        }
    )

    await world.compose.up(project, lambda _line: None)

    assert (f"{world.name}_default", subnet) in await world.networks.subnets()


async def test_a_models_images_are_built_under_the_names_that_it_gives_them(world: World) -> None:
    tag = f"{world.name}/built:{'a' * 64}"
    folder = await world.project("services: [broken", Dockerfile="FROM busybox\n")
    build = {"image": tag, "build": {"context": folder.directory, "dockerfile": "Dockerfile"}}
    project = await world.modelled({"services": {"web": build}})

    await world.compose.build(project, lambda _line: None)

    tags = [tag for image in await world.resources.images(world.name) for tag in image.tags]
    assert tags == [tag]


async def test_a_build_leaves_its_notes_beside_the_model_and_nothing_in_the_shared_home(
    world: World,
) -> None:
    folder = await world.project("services: [broken", Dockerfile="FROM busybox\n")
    build = {"image": f"{world.name}/built:1", "build": {"context": folder.directory}}
    project = await world.modelled({"services": {"web": build}})
    home = anyio.Path(world.folder, "home")
    before = {str(path) async for path in home.rglob("*")}

    await world.compose.build(project, lambda _line: None)

    assert {str(path) async for path in home.rglob("*")} == before


async def test_a_models_image_that_must_not_be_pulled_fails_the_start_where_it_is_missing(
    world: World,
) -> None:
    body = {**SLEEPS, "image": f"{world.name}/own:1", "pull_policy": "never"}
    project = await world.modelled({"services": {"a": body}})

    with pytest.raises(StepFailed) as failure:
        await world.compose.up(project, lambda _line: None)

    assert failure.value.step == "start"
    assert "No such image" in failure.value.detail


async def test_up_leaves_containers_alone_that_are_there_where_it_is_told_to(world: World) -> None:
    project = await world.modelled({"services": {"a": SLEEPS, "b": SLEEPS}})
    await world.compose.up(project, lambda _line: None)
    before = await world.ids()

    await world.compose.up(project, lambda _line: None, recreate=False)

    assert await world.ids() == before


async def test_up_starts_stopped_containers_again_without_making_them_anew(world: World) -> None:
    project = await world.modelled({"services": {"a": SLEEPS}})
    await world.compose.up(project, lambda _line: None)
    before = await world.ids()
    await world.compose.stop(world.name, lambda _line: None)

    await world.compose.up(project, lambda _line: None, recreate=False)

    assert await world.states() == {"a-1": ContainerState.RUNNING}
    assert await world.ids() == before


async def test_up_without_making_anew_makes_what_is_missing_and_removes_what_is_no_more(
    world: World,
) -> None:
    await world.compose.up(
        await world.modelled({"services": {"a": SLEEPS, "b": SLEEPS}}), lambda _line: None
    )
    before = await world.ids()
    project = await world.modelled({"services": {"a": SLEEPS, "c": SLEEPS}})

    await world.compose.up(project, lambda _line: None, recreate=False)

    after = await world.ids()
    assert after.keys() == {"a-1", "c-1"}
    assert after["a-1"] == before["a-1"]


async def test_published_ports_are_told_with_their_containers(world: World) -> None:
    number = 20_000 + uuid4().int % 10_000
    ports = [{"target": 80, "published": str(number), "protocol": "tcp", "host_ip": "127.0.0.1"}]
    project = await world.modelled({"services": {"a": {**SLEEPS, "ports": ports}, "b": SLEEPS}})

    await world.compose.up(project, lambda _line: None)

    found = {
        container.service: [(p.container_port, p.protocol, p.host_port) for p in container.ports]
        for container in await world.containers.list()
        if container.project == world.name
    }
    assert found == {"a": [(80, "tcp", number)], "b": []}


async def test_a_container_that_has_been_stopped_publishes_nothing(world: World) -> None:
    number = 20_000 + uuid4().int % 10_000
    ports = [{"target": 80, "published": str(number), "protocol": "tcp", "host_ip": "127.0.0.1"}]
    body = {**SLEEPS, "ports": ports}
    await world.compose.up(await world.modelled({"services": {"a": body}}), lambda _line: None)

    await world.compose.stop(world.name, lambda _line: None)

    (stopped,) = [c for c in await world.containers.list() if c.project == world.name]
    assert stopped.ports == ()


async def test_containers_tell_when_they_were_made(world: World) -> None:
    project = await world.modelled({"services": {"a": SLEEPS}})

    await world.compose.up(project, lambda _line: None)

    made = [c.created_at for c in await world.containers.list() if c.project == world.name]
    assert len(made) == 1
    assert made[0] is not None
    assert made[0].tzinfo is not None


async def test_a_build_anew_leaves_an_image_under_the_same_name(world: World) -> None:
    project = await world.project(TWO_SERVICES, Dockerfile="FROM busybox\n")
    await world.compose.build(project, lambda _line: None)

    await world.compose.build(project, lambda _line: None, anew=True)

    tags = [tag for image in await world.resources.images(world.name) for tag in image.tags]
    assert tags == [f"{world.name}-web:latest"]


async def test_a_build_anew_that_fails_says_so(world: World) -> None:
    project = await world.project(TWO_SERVICES, Dockerfile="FROM busybox\nRUN exit 3\n")

    with pytest.raises(StepFailed) as failure:
        await world.compose.build(project, lambda _line: None, anew=True)

    assert failure.value.step == "build"


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

    async def test_only_a_build_anew_runs_steps_again(self, real: World) -> None:
        # With something of its own in each run, as the Engine knows the steps of earlier runs.
        step = "cat /proc/sys/kernel/random/uuid > /id"
        project = await real.project(
            TWO_SERVICES,
            Dockerfile=f"FROM busybox\nRUN echo {uuid4()} && {step}\n",
        )
        tag = f"{real.name}-web"
        found = []
        for anew in (False, False, True):
            await real.compose.build(project, lambda _line: None, anew=anew)
            found.append((await real.resources.image_ids([tag]))[tag])

        first, second, third = found
        assert first == second
        assert third != second

    async def test_the_bundles_own_variables_count_where_the_request_names_none(
        self, real: World
    ) -> None:
        project = await real.project(
            "services: {a: {image: 'busybox:${RELEASE}'}}", __env="RELEASE=1.36\n"
        )

        model = await real.compose.resolve(project, {"OTHER": "x"})

        assert [service.image for service in model.services] == ["busybox:1.36"]

    async def test_a_model_is_not_filled_in_from_the_folders_variables(
        self, host: engine.Host, real: World
    ) -> None:
        body = {**SLEEPS, "environment": {"FLAG": "${FLAG:-none}"}}
        project = await real.modelled({"services": {"a": body}}, __env="FLAG=the-bundles\n")

        await real.compose.up(project, lambda _line: None)

        assert "FLAG=none" in _environment(host, f"{real.name}-a-1")

    @pytest.mark.parametrize(
        "flag", ["siber{$HOME}", "a$b", "$$", "${FLAG}", "x\"y'z", "two\nlines"]
    )
    async def test_what_was_resolved_and_is_run_as_a_model_says_the_same(
        self, host: engine.Host, real: World, flag: str
    ) -> None:
        bundle = await real.project(
            "services: {a: {image: busybox, command: sleep 600, environment: {FLAG: '${FLAG}'}}}"
        )
        resolved = await real.compose.resolve(bundle, {"FLAG": flag})
        project = await real.modelled(resolved.document, __env="FLAG=other\nb=other\n")

        await real.compose.up(project, lambda _line: None)

        assert f"FLAG={flag}" in _environment(host, f"{real.name}-a-1")

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


def _runtime(client: EngineClient) -> tuple[Containers, ProjectResources, Networks]:
    return DockerContainers(client), DockerProjectResources(client), DockerNetworks(client)


def _environment(host: engine.Host, container: str) -> list[str]:
    found: list[str] = host.client.inspect_container(container)["Config"]["Env"]
    return found
