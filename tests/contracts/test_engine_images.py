"""What every Engine does with its images: the Docker Engine, and the in-memory one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from uuid import uuid4

import docker.errors
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.engine_images import DockerEngineImages
from adapters.memory.engine import MemoryEngine
from adapters.memory.engine_images import MemoryEngineImages
from domain.containers import ContainerState
from domain.engine_images import EngineImage, freed_bytes
from domain.errors import (
    EngineUnavailable,
    ResourceAmbiguous,
    ResourceConflict,
    ResourceNotFound,
)
from domain.ports.engine_images import EngineImages
from tests.support import engine
from tests.support.bundles import tar_bundle

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024


class World:
    """One Engine, and ways to put images into it from outside."""

    images: EngineImages

    def __init__(self) -> None:
        self.prefix = f"t-{uuid4().hex[:12]}"

    def name(self, name: str) -> str:
        """The full name of an image."""
        return f"{self.prefix}/{name}"

    async def make(self, name: str, *, megabytes: int = 1, upon: str | None = None) -> str:
        """Makes an image with one layer more than another one; its identifier."""
        raise NotImplementedError

    async def use(self, reference: str) -> None:
        """Makes a container of an image, which does not run."""
        raise NotImplementedError

    async def image(self, identifier: str) -> EngineImage:
        """An image as the list tells of it."""
        return next(image for image in await self.images.list() if image.id == identifier)


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.state = MemoryEngine()
        self.images = MemoryEngineImages(self.state)

    async def make(self, name: str, *, megabytes: int = 1, upon: str | None = None) -> str:
        identifier = f"sha256:{self.state.new_id()}"
        below = self.state.layers[upon] if upon is not None else ()
        self.state.layers[identifier] = (*below, (f"layer of {identifier}", megabytes * MEGABYTE))
        self.state.labels[identifier] = {"test": self.prefix}
        self.state.tags[f"{self.name(name)}:latest"] = identifier
        return identifier

    async def use(self, reference: str) -> None:
        self.state.run(f"{self.prefix}-user", image=reference, state=ContainerState.EXITED)


class DockerWorld(World):
    def __init__(self, host: engine.Host, client: EngineClient) -> None:
        super().__init__()
        self.host = host
        self.images = DockerEngineImages(client)
        self.made: list[str] = []

    async def make(self, name: str, *, megabytes: int = 1, upon: str | None = None) -> str:
        api = self.host.client
        if upon is None:
            # Of no size, but of this test alone.
            root, tag = tar_bundle({self.name(name): b""}, compressed=False), name.replace("/", "-")
            api.import_image_from_data(root, self.name("root"), tag)
            self.made.append(f"{self.name('root')}:{tag}")
        container = api.create_container(upon or self.made[-1], "true")
        content = (name * MEGABYTE)[: megabytes * MEGABYTE]
        api.put_archive(container["Id"], "/", tar_bundle({name: content}, compressed=False))
        image: str = api.commit(
            container["Id"],
            self.name(name),
            "latest",
            changes=[f"LABEL test={self.prefix}", "ENV COLOUR=green", "EXPOSE 80", "USER 1000"],
        )["Id"]
        api.remove_container(container["Id"])
        self.made.append(image)
        return image

    async def use(self, reference: str) -> None:
        self.host.client.create_container(reference, "true", labels={"test": self.prefix})

    def clear(self) -> None:
        api = self.host.client
        for row in api.containers(all=True, filters={"label": f"test={self.prefix}"}):
            api.remove_container(row["Id"], force=True)
        for reference in reversed(self.made):
            with suppress(docker.errors.NotFound):
                api.remove_image(reference, force=True)


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.engine)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    client = EngineClient(engine.SOCKET)
    found = DockerWorld(request.getfixturevalue("host"), client)
    yield found
    found.clear()
    await client.aclose()


async def test_a_list_tells_names_sizes_and_labels(world: World) -> None:
    identifier = await world.make("app", megabytes=2)
    await world.images.tag(identifier, world.name("app:2"))

    found = await world.image(identifier)

    assert found.repo_tags == (f"{world.name('app')}:2", f"{world.name('app')}:latest")
    assert found.labels["test"] == world.prefix
    assert found.size_bytes == 2 * MEGABYTE
    assert not found.dangling
    assert found.created_at is not None


async def test_a_list_is_in_order_of_names_and_what_has_none_comes_last(world: World) -> None:
    for name in ("b", "c", "a"):
        await world.make(name)

    found = await world.images.list()

    assert list(found) == sorted(found, key=lambda image: image.order)
    ours = [image.repo_tags[0] for image in found if world.name("") in str(image.repo_tags)]
    assert [name for name in ours if "root" not in name] == [
        f"{world.name(name)}:latest" for name in ("a", "b", "c")
    ]


async def test_images_tell_how_much_they_share(world: World) -> None:
    base = await world.make("base", megabytes=3)
    upper = await world.make("upper", megabytes=1, upon=base)

    assert (await world.image(upper)).size_bytes == 4 * MEGABYTE
    assert (await world.image(upper)).shared_bytes == 3 * MEGABYTE


async def test_an_image_is_found_by_name_tag_and_identifier(world: World) -> None:
    identifier = await world.make("a/b/history")
    await world.images.tag(identifier, world.name("a/b/history:1"))

    for reference in (
        world.name("a/b/history"),
        world.name("a/b/history:1"),
        f"docker.io/{world.name('a/b/history:1')}",
        identifier,
        identifier.removeprefix("sha256:"),
    ):
        assert (await world.images.inspect(reference)).image.id == identifier, reference


async def test_an_image_tells_its_layers_and_history(world: World) -> None:
    base = await world.make("base", megabytes=2)
    details = await world.images.inspect(await world.make("upper", upon=base))

    below = await world.images.inspect(base)
    assert details.layers[: len(below.layers)] == below.layers
    assert len(details.layers) == len(below.layers) + 1
    assert sum(step.size_bytes for step in details.history) == 3 * MEGABYTE
    assert details.history[0].size_bytes == MEGABYTE
    assert details.image.size_bytes == 3 * MEGABYTE
    assert details.os == "linux"


@pytest.mark.parametrize("reference", ["t-nothing/here", "t-nothing/here:1", "sha256:" + "0" * 60])
async def test_what_is_not_there_is_not_found(world: World, reference: str) -> None:
    with pytest.raises(ResourceNotFound):
        await world.images.inspect(reference)
    with pytest.raises(ResourceNotFound):
        await world.images.tag(reference, world.name("other"))
    with pytest.raises(ResourceNotFound):
        await world.images.remove(reference)


async def test_a_name_goes_and_the_image_stays_while_it_has_another(world: World) -> None:
    identifier = await world.make("app")
    await world.images.tag(identifier, world.name("other"))

    removal = await world.images.remove(world.name("app"))

    assert removal.untagged == (f"{world.name('app')}:latest",)
    assert removal.deleted == ()
    assert (await world.image(identifier)).repo_tags == (f"{world.name('other')}:latest",)


async def test_an_image_goes_with_its_last_name(world: World) -> None:
    identifier = await world.make("app")

    removal = await world.images.remove(world.name("app"))

    assert f"{world.name('app')}:latest" in removal.untagged
    assert identifier in removal.deleted
    assert identifier not in {image.id for image in await world.images.list()}


async def test_an_identifier_takes_an_image_with_one_name_but_not_with_several(
    world: World,
) -> None:
    one = await world.make("one")
    several = await world.make("several")
    await world.images.tag(several, world.name("more"))

    assert one in (await world.images.remove(one)).deleted
    with pytest.raises(ResourceConflict):
        await world.images.remove(several)
    assert several in (await world.images.remove(several, force=True)).deleted


@pytest.mark.parametrize("by_name", [True, False])
async def test_an_image_that_a_container_was_made_from_stays_unless_forced(
    world: World, by_name: bool
) -> None:
    identifier = await world.make("app")
    await world.use(world.name("app"))
    reference = world.name("app") if by_name else identifier

    with pytest.raises(ResourceConflict) as caught:
        await world.images.remove(reference)
    await world.images.remove(reference, force=True)

    assert "container" in caught.value.message
    names = [name for image in await world.images.list() for name in image.repo_tags]
    assert f"{world.name('app')}:latest" not in names


async def test_a_name_can_move_to_another_image(world: World) -> None:
    first, second = await world.make("first"), await world.make("second")

    await world.images.tag(second, world.name("first"))

    assert (await world.images.inspect(world.name("first"))).image.id == second
    assert (await world.image(first)).dangling


async def test_tagging_may_be_repeated(world: World) -> None:
    identifier = await world.make("app")

    await world.images.tag(identifier, world.name("app:2"))
    await world.images.tag(identifier, world.name("app:2"))

    assert len((await world.image(identifier)).repo_tags) == 2


async def test_several_are_described_and_those_that_went_are_left_out(world: World) -> None:
    one, two = await world.make("one"), await world.make("two")
    await world.images.remove(world.name("one"))

    assert [d.image.id for d in await world.images.describe([two, one])] == [two]


async def test_what_goes_frees_what_no_other_has(world: World) -> None:
    base = await world.make("base", megabytes=4)
    one = await world.make("one", megabytes=2, upon=base)
    two = await world.make("two", megabytes=1, upon=one)
    details = {d.image.id: d for d in await world.images.describe([base, one, two])}

    assert freed_bytes([details[one], details[two]], [details[base]]) == 3 * MEGABYTE
    assert freed_bytes([details[one]], [details[base], details[two]]) == 0
    assert freed_bytes(list(details.values()), []) == 7 * MEGABYTE


async def test_a_beginning_that_several_identifiers_share_is_ambiguous() -> None:
    world = MemoryWorld()
    await world.make("one")
    await world.make("two")

    with pytest.raises(ResourceAmbiguous):
        await world.images.inspect("000")


@pytest.mark.engine
async def test_the_engine_tells_what_an_image_begins_with(host: engine.Host) -> None:
    client = EngineClient(engine.SOCKET)
    world = DockerWorld(host, client)
    try:
        details = await world.images.inspect(await world.make("app"))
    finally:
        world.clear()
        await client.aclose()

    assert "COLOUR=green" in details.config.env
    assert details.config.exposed_ports == ("80/tcp",)
    assert details.config.user == "1000"
    assert details.config.cmd == ("true",)


async def test_an_engine_that_is_away_is_told_of() -> None:
    client = EngineClient("unix:///nowhere/docker.sock")

    with pytest.raises(EngineUnavailable):
        await DockerEngineImages(client).list()
