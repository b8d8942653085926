"""What every way of bringing images does: the Docker Engine with a real registry, and the twin."""

import io
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import anyio
import docker.errors
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.engine_images import DockerEngineImages
from adapters.docker.transfers import DockerTransfers
from adapters.memory.engine import MemoryEngine
from adapters.memory.engine_images import MemoryEngineImages
from adapters.memory.transfers import MemoryTransfers
from domain.errors import (
    AgentError,
    EngineRefused,
    EngineUnavailable,
    ImageNotInRegistry,
    RegistryRefused,
    RequestUnreadable,
    ResourceNotFound,
)
from domain.ports.engine_images import EngineImages
from domain.ports.image_transfers import ImageTransfers
from domain.pulls import PullProgress, PullStep
from domain.registry_credentials import RegistryCredentials
from tests.support import engine
from tests.support.registry import PASSWORD, USER, Registry, missing, registry, slow_way

pytestmark = pytest.mark.anyio

RIGHT = RegistryCredentials(username=USER, password=PASSWORD)
WRONG = RegistryCredentials(username=USER, password="guessed")
TOKEN = RegistryCredentials(identity_token="made-up")


class World:
    """One Engine, a registry for all and a private one."""

    images: EngineImages
    transfers: ImageTransfers
    open: str
    """An image that everybody may have."""
    secret: str
    """One that only ``RIGHT`` may have."""
    nobodys: str
    """One of a registry that does not answer."""

    async def pull(
        self, reference: str, credentials: RegistryCredentials | None = None
    ) -> tuple[str, PullProgress]:
        """The digest, and how far it came."""
        steps: list[PullStep] = []
        digest = await self.transfers.pull(reference, credentials, steps.append)
        progress = PullProgress()
        for step in steps:
            progress = progress.after(step)
        return digest, progress


class MemoryWorld(World):
    def __init__(self) -> None:
        state = MemoryEngine()
        self.images = MemoryEngineImages(state)
        transfers = MemoryTransfers(state)
        transfers.private["private.example.com"] = RIGHT
        transfers.away.add("away.example.com")
        self.transfers = transfers
        self.open = "registry.example.com/labs/app:1"
        self.secret = "private.example.com/labs/app:1"
        self.nobodys = "away.example.com/labs/app:1"


class DockerWorld(World):
    def __init__(self, client: EngineClient, everybodys: Registry, private: Registry) -> None:
        self.images = DockerEngineImages(client)
        self.transfers = DockerTransfers(engine.SOCKET)
        (self.open,), (self.secret,) = everybodys.known, private.known
        self.nobodys = "127.0.0.1:1/labs/app:1"


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Registry]]:
    if reason := missing():
        engine.skip_or_fail(reason)
    folder: Path = tmp_path_factory.mktemp("registries")
    with registry(folder / "open") as one, registry(folder / "private", private=True) as other:
        one.push("labs/app", "1", megabytes=(2, 6), seed=uuid4().hex)
        other.push("labs/app", "1", seed=uuid4().hex)
        yield one, other


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
async def docker_world(
    host: engine.Host, registries: tuple[Registry, Registry]
) -> AsyncIterator[DockerWorld]:
    client = EngineClient(engine.SOCKET)
    yield DockerWorld(client, *registries)
    await client.aclose()
    ours = tuple(f"{found.host}/" for found in registries)
    for row in host.client.images():
        for name in (*(row["RepoTags"] or ()), *(row["RepoDigests"] or ())):
            if name.startswith(ours):
                with suppress(docker.errors.NotFound):
                    host.client.remove_image(name, force=True)


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    found: World = request.getfixturevalue("docker_world")
    return found


class TestPull:
    """From a registry."""

    async def test_an_image_comes_with_its_digest(self, world: World) -> None:
        digest, _ = await world.pull(world.open)

        image = (await world.images.inspect(world.open)).image
        repository = world.open.rpartition(":")[0]
        assert image.repo_digests == (f"{repository}@{digest}",)
        assert image.repo_tags == (world.open,)

    async def test_progress_tells_each_layer_to_its_end(self, world: World) -> None:
        _, progress = await world.pull(world.open)

        assert progress.percent == 99
        assert progress.layers_done == len(progress.layers) == 2
        assert progress.downloaded_bytes == progress.total_bytes > 7_000_000

    async def test_a_pull_may_be_repeated(self, world: World) -> None:
        first, _ = await world.pull(world.open)
        second, _ = await world.pull(world.open)

        assert first == second

    async def test_an_image_comes_by_its_digest_and_has_no_tag_then(self, world: World) -> None:
        digest, _ = await world.pull(world.open)
        await world.images.remove(world.open)

        by_digest = f"{world.open.rpartition(':')[0]}@{digest}"
        assert (await world.pull(by_digest))[0] == digest
        assert (await world.images.inspect(by_digest)).image.repo_tags == ()

    @pytest.mark.parametrize("name", ["missing", "labs/missing", "labs/app-missing"])
    async def test_what_no_registry_has_is_not_found(self, world: World, name: str) -> None:
        host = world.open.partition("/")[0]
        with pytest.raises(ImageNotInRegistry):
            await world.pull(f"{host}/{name}:1")

    async def test_a_private_registry_gives_to_those_with_the_right_password(
        self, world: World
    ) -> None:
        await world.pull(world.secret, RIGHT)

        assert (await world.images.inspect(world.secret)).image.repo_tags == (world.secret,)

    @pytest.mark.parametrize("credentials", [None, WRONG, TOKEN])
    async def test_a_private_registry_refuses_everybody_else(
        self, world: World, credentials: RegistryCredentials | None
    ) -> None:
        with pytest.raises(RegistryRefused) as caught:
            await world.pull(world.secret, credentials)

        assert world.secret.partition("/")[0] in caught.value.message
        assert WRONG.password not in caught.value.detail

    async def test_a_registry_for_all_does_not_mind_credentials(self, world: World) -> None:
        await world.pull(world.open, WRONG)

    async def test_a_registry_that_does_not_answer_is_told_of(self, world: World) -> None:
        with pytest.raises(EngineRefused, match="refused"):
            await world.pull(world.nobodys)


class TestLogIn:
    """Whether credentials are right."""

    async def test_right_ones_are_taken(self, world: World) -> None:
        await world.transfers.log_in(world.secret.partition("/")[0], RIGHT)

    @pytest.mark.parametrize("credentials", [WRONG, TOKEN])
    async def test_wrong_ones_are_refused(
        self, world: World, credentials: RegistryCredentials
    ) -> None:
        with pytest.raises(RegistryRefused):
            await world.transfers.log_in(world.secret.partition("/")[0], credentials)

    async def test_a_registry_that_does_not_answer_is_told_of(self, world: World) -> None:
        with pytest.raises(EngineRefused):
            await world.transfers.log_in(world.nobodys.partition("/")[0], RIGHT)


async def saved(world: World, *references: str) -> bytes:
    """An archive of images."""
    async with world.transfers.save(references) as pieces:
        return b"".join([piece async for piece in pieces])


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    """Content as a request brings it."""
    for start in range(0, len(content), 65536):
        yield content[start : start + 65536]


class TestArchives:
    """Saving and loading."""

    async def test_what_was_saved_can_be_loaded_again(self, world: World) -> None:
        await world.pull(world.open)
        before = (await world.images.inspect(world.open)).image.id
        archive = await saved(world, world.open)
        await world.images.remove(world.open)

        loaded = await world.transfers.load(in_pieces(archive))

        assert loaded == [world.open]
        assert (await world.images.inspect(world.open)).image.id == before

    async def test_several_images_share_an_archive(self, world: World) -> None:
        await world.pull(world.open)
        await world.pull(world.secret, RIGHT)

        archive = await saved(world, world.open, world.secret)

        await world.images.remove(world.secret)
        await world.images.remove(world.open)
        assert set(await world.transfers.load(in_pieces(archive))) == {world.open, world.secret}

    async def test_an_image_saved_by_its_identifier_comes_without_a_name(
        self, world: World
    ) -> None:
        await world.pull(world.open)
        identifier = (await world.images.inspect(world.open)).image.id
        archive = await saved(world, identifier)
        await world.images.remove(world.open)

        assert await world.transfers.load(in_pieces(archive)) == [identifier]
        await world.images.remove(identifier)

    async def test_an_archive_is_a_tar_with_a_manifest(self, world: World) -> None:
        await world.pull(world.open)

        with tarfile.open(fileobj=io.BytesIO(await saved(world, world.open))) as tar:
            assert "manifest.json" in tar.getnames()

    async def test_what_is_not_there_cannot_be_saved(self, world: World) -> None:
        with pytest.raises(ResourceNotFound):
            await saved(world, "t-nothing/here:1")

    @pytest.mark.parametrize("content", [b"", b"nothing that was ever a tar" * 100])
    async def test_what_is_no_archive_is_refused(self, world: World, content: bytes) -> None:
        with pytest.raises(RequestUnreadable):
            await world.transfers.load(in_pieces(content))

    async def test_nothing_is_taken_of_an_archive_whose_end_does_not_come(
        self, world: World
    ) -> None:
        await world.pull(world.open)
        archive = await saved(world, world.open)
        await world.images.remove(world.open)

        async def broken() -> AsyncIterator[bytes]:
            # All that matters has come; only the end of the archive has not.
            yield archive[: len(archive.rstrip(b"\0")) // 512 * 512 + 512]
            raise RequestUnreadable("The client went away.")

        with pytest.raises(RequestUnreadable, match="went away"):
            await world.transfers.load(broken())
        await anyio.sleep(0.3 if isinstance(world, DockerWorld) else 0)
        with pytest.raises(ResourceNotFound):
            await world.images.inspect(world.open)


@pytest.mark.engine
class TestTheEngine:
    """What only a real Engine shows."""

    async def test_progress_comes_while_layers_are_loaded(
        self, docker_world: DockerWorld, registries: tuple[Registry, Registry]
    ) -> None:
        percents: list[int] = []
        progress = PullProgress()

        def take(step: PullStep) -> None:
            nonlocal progress
            progress = progress.after(step)
            percents.append(progress.percent)

        async with slow_way(registries[0], bytes_per_second=6_000_000) as way:
            with anyio.fail_after(60):
                await docker_world.transfers.pull(way.named(docker_world.open), None, take)
            await docker_world.images.remove(way.named(docker_world.open))

        assert percents == sorted(percents)
        assert len(set(percents)) > 8
        assert progress.layers_done == 2

    async def test_a_pull_that_is_cancelled_ends_in_the_engine_too(
        self, docker_world: DockerWorld, registries: tuple[Registry, Registry]
    ) -> None:
        async with slow_way(registries[0], bytes_per_second=200_000) as way:
            with anyio.move_on_after(1.5):
                await docker_world.pull(way.named(docker_world.open))
            # Left alone, it would go on for half a minute.
            with anyio.fail_after(10):
                while way.open:
                    await anyio.sleep(0.02)

    async def test_a_pull_whose_registry_is_silent_can_be_cancelled(
        self, docker_world: DockerWorld
    ) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener:
            began = anyio.current_time()
            with anyio.move_on_after(0.5):
                await docker_world.pull(f"127.0.0.1:{port}/labs/app:1")
            assert anyio.current_time() - began < 5


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
async def test_an_engine_that_is_away_is_told_of(address: str) -> None:
    transfers = DockerTransfers(address)

    async def load() -> None:
        await transfers.load(in_pieces(b"x"))

    async def save() -> None:
        async with transfers.save(["a"]) as pieces:
            assert [piece async for piece in pieces]

    async def pull() -> None:
        await transfers.pull("a", None, lambda _: None)

    for call in (load, save, pull):
        with pytest.raises(EngineUnavailable):
            await call()


async def test_an_engine_that_hangs_up_in_the_middle_is_told_of(tmp_path: Path) -> None:
    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b'1b\r\n{"status":"Pulling from a"}\r\n'
            )

    listener = await anyio.create_unix_listener(tmp_path / "docker.sock")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        transfers = DockerTransfers(f"unix://{tmp_path}/docker.sock")
        fault: AgentError | None = None
        try:
            await transfers.pull("a", None, lambda _: None)
        except AgentError as found:
            fault = found
        group.cancel_scope.cancel()

    assert isinstance(fault, EngineUnavailable)
