"""What every runtime does with volumes: the Docker Engine, and the in-memory one."""

import io
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from uuid import uuid4

import anyio
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.volume_archives import DockerVolumeArchives
from adapters.docker.volumes import DockerVolumes
from adapters.memory.engine import MemoryEngine
from adapters.memory.volumes import MemoryVolumeArchives, MemoryVolumes
from domain.containers import PROJECT_LABEL
from domain.engine_volumes import VolumeOrder
from domain.errors import RequestTooSlow, RequestUnreadable, ResourceConflict, ResourceNotFound
from domain.ports.engine_volumes import EngineVolumes
from domain.ports.volume_archives import VolumeArchives
from tests.support import engine
from tests.support.bundles import tar_bundle

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

FILES = {"a.txt": b"one", "folder/b.bin": bytes(range(256)) * 1000}


class World:
    """One runtime, and a way to put containers into it from outside."""

    def __init__(self, volumes: EngineVolumes, archives: VolumeArchives) -> None:
        self.volumes = volumes
        self.archives = archives
        self.project = f"t-{uuid4().hex[:12]}"

    async def run(self, name: str, volume: str) -> None:
        """Starts a container that mounts a volume."""
        raise NotImplementedError

    async def make(self, name: str = "data") -> str:
        """Makes a volume of the test; its name."""
        order = VolumeOrder(name=f"{self.project}-{name}", labels={PROJECT_LABEL: self.project})
        return (await self.volumes.create(order)).name

    async def names(self) -> list[str]:
        """Names of the test's volumes."""
        return [v.name for v in await self.volumes.list() if v.name.startswith(self.project)]

    async def write(self, volume: str, archive: bytes, *, clear: bool = False) -> None:
        """Unpacks an archive into a volume, a piece at a time."""
        await self.archives.write(volume, _chunks(archive), clear=clear)

    async def files(self, volume: str) -> dict[str, bytes]:
        """What a volume holds."""
        async with self.archives.read(volume) as pieces:
            archive = b"".join([piece async for piece in pieces])
        return unpacked(archive)


class MemoryWorld(World):
    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.twin = MemoryVolumes(self.engine)
        super().__init__(self.twin, MemoryVolumeArchives(self.engine, self.twin))

    async def run(self, name: str, volume: str) -> None:
        self.engine.run(name)
        self.twin.mount(volume, name)


def engine_archives(client: EngineClient, owner: str = "tests") -> DockerVolumeArchives:
    """The Engine's volumes, written with the image of the tests."""
    return DockerVolumeArchives(engine.SOCKET, client, agent_image=engine.BASE_IMAGE, owner=owner)


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient) -> None:
        self.host = host
        super().__init__(DockerVolumes(client), engine_archives(client))
        host.projects.append(self.project)

    async def run(self, name: str, volume: str) -> None:
        api = self.host.client
        container = api.create_container(
            engine.BASE_IMAGE,
            ["sleep", "600"],
            name=name,
            labels={PROJECT_LABEL: self.project},
            host_config=api.create_host_config(binds=[f"{volume}:/data"], network_mode="none"),
        )
        api.start(container["Id"])


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files of a tar."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = [(member.name, tar.extractfile(member)) for member in tar if member.isfile()]
        return {name.removeprefix("./"): file.read() for name, file in found if file}


def packed(files: Mapping[str, bytes]) -> bytes:
    """A plain tar of files."""
    return tar_bundle(files, compressed=False)


async def _chunks(archive: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(archive), 50_000):
        yield archive[start : start + 50_000]


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


async def test_a_volume_that_was_made_stands_with_its_labels(world: World) -> None:
    name = await world.make()

    found = await world.volumes.inspect(name)

    assert (found.name, found.driver, found.anonymous) == (name, "local", False)
    assert found.labels == {PROJECT_LABEL: world.project}
    assert found in await world.volumes.list()


async def test_one_that_stands_is_given_as_it_is(world: World) -> None:
    name = await world.make()
    await world.write(name, packed(FILES))

    await world.make()

    assert await world.files(name) == FILES


async def test_they_are_listed_by_name(world: World) -> None:
    for name in ("b", "a"):
        await world.make(name)

    assert await world.names() == [f"{world.project}-a", f"{world.project}-b"]


async def test_what_is_not_there_is_not_found(world: World) -> None:
    name = f"{world.project}-none"
    with pytest.raises(ResourceNotFound, match="no volume"):
        await world.volumes.inspect(name)
    with pytest.raises(ResourceNotFound, match="no volume"):
        await world.volumes.remove(name)
    with pytest.raises(ResourceNotFound, match="no volume"):
        await world.files(name)
    with pytest.raises(ResourceNotFound, match="no volume"):
        await world.write(name, packed(FILES))
    assert await world.names() == []


async def test_who_mounts_one_is_known_and_keeps_it_from_removal(world: World) -> None:
    volume, container = await world.make(), f"{world.project}-a"
    await world.run(container, volume)

    (user,) = (await world.volumes.users())[volume]
    assert (user.name, user.running) == (container, True)
    with pytest.raises(ResourceConflict, match="in use"):
        await world.volumes.remove(volume)


async def test_one_that_nobody_mounts_goes(world: World) -> None:
    volume = await world.make()
    assert volume not in await world.volumes.users()

    await world.volumes.remove(volume)

    assert await world.names() == []


async def test_sizes_are_those_of_what_they_hold(world: World) -> None:
    empty, full = await world.make("empty"), await world.make("full")
    await world.write(full, packed(FILES))

    sizes = await world.volumes.sizes()

    assert sizes[empty] == 0
    assert sizes[full] == sum(len(content) for content in FILES.values())


async def test_an_empty_volume_is_a_tar_of_nothing(world: World) -> None:
    assert await world.files(await world.make()) == {}


async def test_what_was_backed_up_comes_back_in_another_volume(world: World) -> None:
    one, other = await world.make("one"), await world.make("other")
    await world.write(one, packed(FILES))
    async with world.archives.read(one) as pieces:
        archive = b"".join([piece async for piece in pieces])

    await world.write(other, archive)

    assert await world.files(other) == FILES


async def test_one_that_holds_something_is_left_alone_unless_it_shall_be_cleared(
    world: World,
) -> None:
    volume = await world.make()
    await world.write(volume, packed(FILES))

    with pytest.raises(ResourceConflict, match="holds something"):
        await world.write(volume, packed({"new": b"x"}))
    # More than fits between the agent and what would unpack it.
    with anyio.fail_after(40), pytest.raises(ResourceConflict, match="holds something"):
        await world.write(volume, packed({"new": bytes(10_000_000)}))
    assert await world.files(volume) == FILES

    await world.write(volume, packed({"new": b"x"}), clear=True)
    assert await world.files(volume) == {"new": b"x"}


@pytest.mark.parametrize(
    "archive",
    [b"no archive at all" * 100, packed(FILES)[:100_000], b""],
    ids=["none", "cut off", "empty"],
)
async def test_what_is_no_whole_tar_is_refused(world: World, archive: bytes) -> None:
    with pytest.raises(RequestUnreadable, match="cannot be unpacked"):
        await world.write(await world.make(), archive)


@pytest.mark.parametrize("size", [100, 1024 * 300], ids=["at once", "in the middle"])
async def test_what_breaks_off_leaves_a_volume_as_it_was(world: World, size: int) -> None:
    volume = await world.make()
    await world.write(volume, packed(FILES))

    async def broken() -> AsyncIterator[bytes]:
        yield packed({"new": b"x", "big": bytes(1_000_000)})[:size]
        raise RequestTooSlow("It paused.")

    with pytest.raises(RequestTooSlow):
        await world.archives.write(volume, broken(), clear=True)

    assert await world.files(volume) == FILES


async def test_what_cannot_be_unpacked_leaves_a_volume_as_it_was(world: World) -> None:
    volume = await world.make()
    await world.write(volume, packed(FILES))

    with pytest.raises(RequestUnreadable):
        await world.write(volume, packed({"a.txt": b"2", "b": bytes(9000)})[:5000], clear=True)

    assert await world.files(volume) == FILES


async def test_a_write_that_is_given_up_leaves_a_volume_as_it_was(world: World) -> None:
    volume, began = await world.make(), anyio.Event()
    await world.write(volume, packed(FILES))

    async def hanging() -> AsyncIterator[bytes]:
        yield packed({"new": b"x", "big": bytes(1_000_000)})[:500_000]
        began.set()
        await anyio.sleep_forever()

    async def write() -> None:
        await world.archives.write(volume, hanging(), clear=True)

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        with anyio.fail_after(30):
            await began.wait()
        group.cancel_scope.cancel()

    assert await world.files(volume) == FILES


async def test_reading_can_be_left_in_the_middle(world: World) -> None:
    volume = await world.make()
    await world.write(volume, packed({"big": bytes(3_000_000)}))

    async with world.archives.read(volume) as pieces:
        assert await anext(pieces)

    assert (await world.files(volume))["big"] == bytes(3_000_000)


async def test_a_volume_without_a_name_gets_one(world: World) -> None:
    made = await world.volumes.create(VolumeOrder(labels={PROJECT_LABEL: world.project}))

    assert len(made.name) == 64
    assert made.anonymous
    assert (await world.volumes.inspect(made.name)).labels.items() >= {
        (PROJECT_LABEL, world.project)
    }


async def test_options_make_it_no_plain_volume(world: World) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    labels = {PROJECT_LABEL: world.project}
    order = VolumeOrder(name=f"{world.project}-o", options=options, labels=labels)

    made = await world.volumes.create(order)

    assert made.options == options
    assert not made.plain
    assert (await world.volumes.inspect(await world.make())).plain
