"""What every store of bundles and workspaces does: the disk, and its in-memory twin."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import pytest

from adapters.memory.workspaces import MemoryWorkspaces
from adapters.workspaces.files import DiskWorkspaces
from domain.bundles import BundleLimits
from domain.errors import BundleRefused
from domain.names import EnvironmentName, OperationId
from domain.ports.compose import Project
from domain.ports.workspaces import Bundle, Bundles, Workspaces
from tests.support.bundles import (
    COMPOSE,
    bomb,
    hidden_table,
    hostile,
    many,
    tar_bundle,
    zip_bundle,
    zip_in_other_order,
)

pytestmark = pytest.mark.anyio

LAB = EnvironmentName("lab")
FIRST, SECOND = OperationId("op-1"), OperationId("op-2")
LIMITS = BundleLimits(
    max_bytes=2_000_000, max_unpacked_bytes=40_000_000, max_entries=300, max_ratio=100
)


class World:
    """Bundles and workspaces, and a look at what stands."""

    def __init__(self, bundles: Bundles, workspaces: Workspaces, root: Path | None) -> None:
        self.bundles = bundles
        self.workspaces = workspaces
        self.root = root

    async def receive(self, archive: bytes) -> Bundle:
        """Receives an archive in pieces."""
        return await self.bundles.receive(_pieces(archive))

    async def stage(self, operation: OperationId, archive: bytes) -> Project:
        """Receives and stages an archive."""
        return await self.workspaces.stage(operation, LAB, await self.receive(archive))

    async def deploy(self, operation: OperationId, archive: bytes) -> Project:
        """Stages, installs and commits an archive."""
        await self.stage(operation, archive)
        project = await self.workspaces.install(operation, LAB)
        await self.workspaces.commit(operation)
        return project

    async def files(self) -> Mapping[str, bytes]:
        """What stands in the environment's folder."""
        if isinstance(self.workspaces, MemoryWorkspaces):
            return self.workspaces.files(LAB)
        assert self.root is not None
        folder = anyio.Path(self.root, LAB)
        return {
            str(path.relative_to(folder)): await path.read_bytes()
            async for path in folder.rglob("*")
            if await path.is_file()
        }


async def _pieces(archive: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(archive), 1000):
        yield archive[start : start + 1000]


@pytest.fixture(params=["memory", "disk"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "memory":
        memory = MemoryWorkspaces(LIMITS)
        return World(memory.bundles, memory, None)
    disk = DiskWorkspaces(tmp_path / "root", LIMITS)
    await disk.prepare()
    return World(disk.bundles, disk, tmp_path / "root")


ONE = zip_bundle({"compose.yaml": COMPOSE, "src/app.py": "one"})
TWO = zip_bundle({"compose.yaml": COMPOSE, "src/app.py": "two"})


@pytest.mark.parametrize(
    "pack",
    [zip_bundle, tar_bundle, lambda files: tar_bundle(files, compressed=False)],
    ids=["zip", "tar.gz", "tar"],
)
async def test_an_installed_bundle_stands_with_its_files(world: World, pack: object) -> None:
    assert callable(pack)
    await world.deploy(FIRST, pack({"docker-compose.yml": COMPOSE, "a/b/c.txt": "deep"}))

    project = await world.workspaces.project(LAB)

    assert project is not None
    assert project.files == ("docker-compose.yml",)
    assert await world.files() == {"docker-compose.yml": COMPOSE, "a/b/c.txt": b"deep"}


async def test_names_that_differ_in_case_only_are_two_files(world: World) -> None:
    await world.deploy(FIRST, zip_bundle({"compose.yaml": COMPOSE, "A": "1", "a": "2"}))

    assert {"A": b"1", "a": b"2"}.items() <= (await world.files()).items()


async def test_folders_may_stand_more_than_once(world: World) -> None:
    await world.deploy(FIRST, zip_bundle({"a/": "", "compose.yaml": COMPOSE, "a/b": "x"}))

    assert set(await world.files()) == {"compose.yaml", "a/b"}


async def test_an_override_file_belongs_to_the_project(world: World) -> None:
    project = await world.stage(
        FIRST, zip_bundle({"compose.yml": COMPOSE, "compose.override.yml": COMPOSE})
    )

    assert project.files == ("compose.yml", "compose.override.yml")


async def test_staging_leaves_what_stands_alone(world: World) -> None:
    await world.deploy(FIRST, ONE)

    await world.stage(SECOND, TWO)

    assert (await world.files())["src/app.py"] == b"one"


async def test_a_placed_file_replaces_what_the_bundle_has_there(world: World) -> None:
    await world.stage(FIRST, zip_bundle({"compose.yaml": COMPOSE, "vpn.ovpn": "the bundle's"}))

    await world.workspaces.place(FIRST, "vpn.ovpn", b"the manager's")
    await world.workspaces.install(FIRST, LAB)

    assert (await world.files())["vpn.ovpn"] == b"the manager's"


async def test_a_folder_where_a_file_is_to_be_placed_is_refused(world: World) -> None:
    await world.stage(FIRST, zip_bundle({"compose.yaml": COMPOSE, "vpn.ovpn/x": ""}))

    with pytest.raises(BundleRefused):
        await world.workspaces.place(FIRST, "vpn.ovpn", b"the manager's")


async def test_an_installed_project_takes_the_earlier_ones_place(world: World) -> None:
    await world.deploy(FIRST, ONE)

    await world.deploy(SECOND, TWO)

    assert (await world.files())["src/app.py"] == b"two"
    assert await world.workspaces.unfinished() == []


async def test_rolling_back_brings_the_earlier_project_back(world: World) -> None:
    await world.deploy(FIRST, ONE)
    await world.stage(SECOND, TWO)
    await world.workspaces.install(SECOND, LAB)

    await world.workspaces.roll_back(SECOND, LAB)
    await world.workspaces.roll_back(SECOND, LAB)

    assert (await world.files())["src/app.py"] == b"one"
    assert await world.workspaces.unfinished() == []


async def test_rolling_back_before_installing_leaves_the_earlier_project(world: World) -> None:
    await world.deploy(FIRST, ONE)
    await world.stage(SECOND, TWO)

    await world.workspaces.roll_back(SECOND, LAB)

    assert (await world.files())["src/app.py"] == b"one"


async def test_rolling_back_a_first_deploy_leaves_nothing(world: World) -> None:
    await world.stage(FIRST, ONE)
    await world.workspaces.install(FIRST, LAB)

    await world.workspaces.roll_back(FIRST, LAB)

    assert await world.workspaces.project(LAB) is None
    assert await world.files() == {}
    assert await world.workspaces.unfinished() == []


async def test_what_is_staged_is_unfinished_until_committed(world: World) -> None:
    await world.stage(FIRST, ONE)
    assert await world.workspaces.unfinished() == [FIRST]

    await world.workspaces.commit(FIRST)

    assert await world.workspaces.unfinished() == []


async def test_projects_are_those_with_a_compose_file(world: World) -> None:
    await world.deploy(FIRST, ONE)

    assert [project.name for project in await world.workspaces.projects()] == [LAB]


async def test_a_removed_environment_is_gone_and_may_be_removed_again(world: World) -> None:
    await world.deploy(FIRST, ONE)

    await world.workspaces.remove(LAB)
    await world.workspaces.remove(LAB)

    assert await world.workspaces.project(LAB) is None
    assert await world.workspaces.projects() == []


@pytest.mark.parametrize("archive", hostile().values(), ids=hostile().keys())
async def test_what_no_bundle_may_be_is_refused_and_leaves_nothing(
    world: World, archive: bytes
) -> None:
    with pytest.raises(BundleRefused) as refusal:
        await world.stage(FIRST, archive)

    assert refusal.value.message
    assert await world.workspaces.unfinished() == []
    assert await world.workspaces.projects() == []


async def test_a_folder_around_everything_is_named_in_the_refusal(world: World) -> None:
    archive = zip_bundle({"my-lab/compose.yaml": COMPOSE, "__MACOSX/._my-lab": b"x"})

    with pytest.raises(BundleRefused) as refusal:
        await world.stage(FIRST, archive)

    assert "top level" in refusal.value.message
    assert "'my-lab'" in refusal.value.hint


async def test_an_archive_beyond_the_limit_is_refused_while_it_comes(world: World) -> None:
    with pytest.raises(BundleRefused, match="larger than"):
        await world.receive(b"x" * (LIMITS.max_bytes + 1))


async def test_an_archive_that_grows_too_much_is_refused(world: World) -> None:
    with pytest.raises(BundleRefused, match="times its size"):
        await world.stage(FIRST, bomb(20))


async def test_an_archive_with_too_much_in_it_is_refused(world: World) -> None:
    noise = b"".join(n.to_bytes(4, "big") for n in range(200_000))
    files = {"compose.yaml": COMPOSE, **{f"f{n}": b"\0" * 2_000_000 for n in range(22)}}

    with pytest.raises(BundleRefused, match="more than"):
        await world.stage(FIRST, zip_bundle({**files, "noise": noise}))


async def test_an_archive_with_too_many_entries_is_refused(world: World) -> None:
    with pytest.raises(BundleRefused, match="entries"):
        await world.stage(FIRST, many(LIMITS.max_entries))


async def test_folders_that_only_names_imply_count_as_entries(world: World) -> None:
    files = {f"d{n}/f": b"" for n in range(LIMITS.max_entries // 2)}

    with pytest.raises(BundleRefused, match="entries"):
        await world.stage(FIRST, zip_bundle({"compose.yaml": COMPOSE, **files}))


async def test_entries_that_a_zip_keeps_to_itself_are_refused(world: World) -> None:
    with pytest.raises(BundleRefused):
        await world.stage(FIRST, hidden_table(LIMITS.max_entries + 1))


async def test_a_tar_that_ends_with_a_zip_is_a_tar_all_the_same(world: World) -> None:
    inner = zip_bundle({"evil": "x"})
    files = {"compose.yaml": COMPOSE, "files.zip": inner}

    await world.deploy(FIRST, tar_bundle(files, compressed=False))

    assert await world.files() == files


async def test_a_zip_may_list_its_entries_in_any_order(world: World) -> None:
    await world.deploy(FIRST, zip_in_other_order())

    assert await world.files() == {"compose.yaml": COMPOSE, "other": b"x"}


async def test_zeros_after_a_compressed_tar_are_padding(world: World) -> None:
    await world.deploy(FIRST, tar_bundle({"compose.yaml": COMPOSE}) + bytes(1000))

    assert await world.files() == {"compose.yaml": COMPOSE}


async def test_a_bundle_that_was_refused_stops_nobody_else(world: World) -> None:
    await world.deploy(FIRST, ONE)

    with pytest.raises(BundleRefused):
        await world.stage(SECOND, b"no archive")

    assert (await world.files())["src/app.py"] == b"one"


async def test_rolling_back_what_was_never_staged_changes_nothing(world: World) -> None:
    await world.deploy(FIRST, ONE)

    await world.workspaces.roll_back(SECOND, LAB)
    await world.workspaces.commit(SECOND)

    assert (await world.files())["src/app.py"] == b"one"


async def test_a_discarded_bundle_may_be_discarded_again(world: World) -> None:
    bundle = await world.receive(ONE)

    await world.bundles.discard(bundle)
    await world.bundles.discard(bundle)


async def test_tidying_drops_bundles_and_leaves_environments(world: World) -> None:
    await world.deploy(FIRST, ONE)

    await world.workspaces.tidy()

    assert "compose.yaml" in await world.files()
