"""What every store of bundles and workspaces does: the disk, and its in-memory twin."""

import hashlib
import stat
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import anyio
import msgspec
import pytest

from adapters.memory.workspaces import MemoryWorkspaces
from adapters.workspaces import files
from adapters.workspaces.files import DiskWorkspaces
from domain.bundles import BundleEntry, BundleLimits
from domain.compose_model import Document
from domain.errors import BundleRefused, StorageFailed
from domain.names import BundleDigest, EnvironmentName, OperationId
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

    async def deploy_modelled(
        self, operation: OperationId, archive: bytes, model: Document
    ) -> None:
        """Stages, installs and commits an archive with a model."""
        await self.stage(operation, archive)
        await self.workspaces.keep_model(operation, model)
        await self.workspaces.install(operation, LAB)
        await self.workspaces.commit(operation)

    async def document(self, project: Project) -> Document | None:
        """What Compose would read of a project with a model."""
        assert project.model is not None
        if isinstance(self.workspaces, MemoryWorkspaces):
            content = await self.workspaces.read(project, project.model)
        else:
            path = anyio.Path(project.model)
            content = await path.read_bytes() if await path.exists() else None
        return None if content is None else msgspec.json.decode(content)


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

MODEL = {"name": "lab", "services": {"web": {"image": "one", "command": None, "cpus": 0.5}}}
OTHER_MODEL = {"name": "lab", "services": {"web": {"image": "two"}}}
BUILD = {"name": "builds", "services": {"web": {"image": "tag", "build": {"context": "/x"}}}}


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


async def test_tidying_leaves_environments_and_what_was_just_received(world: World) -> None:
    await world.deploy(FIRST, ONE)
    bundle = await world.receive(TWO)

    await world.workspaces.tidy()
    await world.workspaces.finish_removals()

    assert "compose.yaml" in await world.files()
    await world.workspaces.stage(SECOND, LAB, bundle)


async def test_a_bundle_is_known_by_the_digest_of_its_archive(world: World) -> None:
    bundle = await world.receive(ONE)

    assert bundle.digest == f"sha256:{hashlib.sha256(ONE).hexdigest()}"
    assert (bundle.size_bytes, bundle.kept) == (len(ONE), False)


async def test_a_bundle_is_not_kept_until_it_is_asked_for(world: World) -> None:
    bundle = await world.receive(ONE)

    assert await world.bundles.kept(bundle.digest) is None


async def test_a_kept_bundle_is_found_by_its_digest_and_deployed_many_times(world: World) -> None:
    kept = await world.bundles.keep(await world.receive(ONE))
    found = await world.bundles.kept(kept.digest)

    assert found == kept
    assert (kept.kept, kept.size_bytes) == (True, len(ONE))
    for operation in (FIRST, SECOND):
        await world.workspaces.stage(operation, LAB, found)
        await world.workspaces.install(operation, LAB)
        await world.workspaces.commit(operation)
    assert (await world.files())["src/app.py"] == b"one"


async def test_keeping_what_is_kept_already_changes_nothing(world: World) -> None:
    kept = await world.bundles.keep(await world.receive(ONE))

    again = await world.bundles.keep(await world.receive(ONE))

    assert again == await world.bundles.keep(again) == kept
    await world.bundles.forget(kept.digest)
    assert await world.bundles.kept(kept.digest) is None


async def test_a_kept_bundle_is_not_discarded_and_outlives_tidying(world: World) -> None:
    kept = await world.bundles.keep(await world.receive(ONE))

    await world.bundles.discard(kept)
    await world.workspaces.tidy()

    assert await world.bundles.kept(kept.digest) == kept
    await world.workspaces.stage(FIRST, LAB, kept)


async def test_a_forgotten_bundle_is_gone_and_may_be_forgotten_again(world: World) -> None:
    kept = await world.bundles.keep(await world.receive(ONE))
    other = await world.bundles.keep(await world.receive(TWO))

    await world.bundles.forget(kept.digest)
    await world.bundles.forget(kept.digest)

    assert await world.bundles.kept(kept.digest) is None
    assert await world.bundles.kept(other.digest) == other


async def test_a_bundle_that_nobody_sent_is_not_kept(world: World) -> None:
    digest = BundleDigest(f"sha256:{'0' * 64}")

    assert await world.bundles.kept(digest) is None
    await world.bundles.forget(digest)


async def test_contents_are_all_files_by_path_and_the_services_by_name(world: World) -> None:
    compose = b"services: {web: {image: busybox}, db: {image: busybox}}\n"
    override = b"services: {web: {command: x}, extra: {image: busybox}}\n"
    files = {
        "src/app.py": b"12345",
        "empty/": b"",
        "compose.yaml": compose,
        "compose.override.yaml": override,
        "Dockerfile": b"",
    }
    project = await world.stage(FIRST, zip_bundle(files))

    contents = await world.workspaces.contents(FIRST, project)

    assert contents.entries == (
        BundleEntry(path="Dockerfile", size_bytes=0),
        BundleEntry(path="compose.override.yaml", size_bytes=len(override)),
        BundleEntry(path="compose.yaml", size_bytes=len(compose)),
        BundleEntry(path="src/app.py", size_bytes=5),
    )
    assert contents.services == ("db", "extra", "web")


@pytest.mark.parametrize(
    "compose",
    [
        b"services: [",
        b"services: [web, db]",
        b"services: web",
        b"[services]",
        b"",
        b"services: {web: !reset null, db: {image: x}}",
        b"services: {[a]: {image: x}}",
        b"a: &a {}\n---\nservices: {}",
        b"\xff\xfe\xff",
        b"services: \0",
    ],
)
async def test_services_that_only_compose_can_read_are_left_to_it(
    world: World, compose: bytes
) -> None:
    project = await world.stage(FIRST, zip_bundle({"compose.yaml": compose}))

    contents = await world.workspaces.contents(FIRST, project)

    assert set(contents.services) <= {"web", "db"}
    assert [entry.path for entry in contents.entries] == ["compose.yaml"]


async def test_a_small_compose_file_cannot_keep_the_agent_busy(world: World) -> None:
    rows = ["a0: &a0 {x: 1}"]
    rows += [f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 8)]
    compose = "\n".join([*rows, "services: {web: {image: busybox}}"])
    project = await world.stage(FIRST, zip_bundle({"compose.yaml": compose}))

    with anyio.fail_after(5):
        contents = await world.workspaces.contents(FIRST, project)

    assert set(contents.services) <= {"web"}


@pytest.mark.parametrize(
    ("files", "same"),
    [
        ({"compose.yaml": "services: {web: {image: busybox}}"}, True),
        ({"compose.yaml": "services: {web: {image: busybox}}", ".env": "TAG=1"}, True),
        ({"compose.yaml": "services: {web: {image: busybox}}", ".env": "COMPOSE_FILE=x"}, False),
        ({"compose.yaml": "services: {web: {image: busybox, env_file: vpn.ovpn}}"}, False),
        (
            {
                "compose.yaml": "services: {web: {image: busybox}}",
                "compose.override.yaml": "include: [x]",
            },
            False,
        ),
    ],
)
async def test_what_compose_reads_of_a_bundle_may_depend_on_more(
    world: World, files: dict[str, str], same: bool
) -> None:
    project = await world.stage(FIRST, zip_bundle(files))

    assert await world.workspaces.reads_the_same_anywhere(FIRST, project) is same


async def test_an_environments_folder_is_known_before_it_stands(world: World) -> None:
    home = world.workspaces.home(LAB)

    project = await world.deploy(FIRST, ONE)

    assert project.directory == home


async def test_a_project_stands_with_the_model_that_was_kept_with_it(world: World) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)

    project = await world.workspaces.project(LAB)

    assert project is not None
    assert (project.name, project.files) == (LAB, ())
    assert await world.document(project) == MODEL
    assert await world.workspaces.model(LAB) == MODEL
    assert await world.workspaces.projects() == [project]


async def test_a_model_takes_its_place_with_the_project_and_not_before(world: World) -> None:
    await world.stage(FIRST, ONE)
    await world.workspaces.keep_model(FIRST, MODEL)
    assert await world.workspaces.model(LAB) is None

    project = await world.workspaces.install(FIRST, LAB)

    assert await world.document(project) == MODEL


async def test_the_model_that_was_kept_last_is_installed(world: World) -> None:
    await world.stage(FIRST, ONE)
    await world.workspaces.keep_model(FIRST, OTHER_MODEL)
    await world.workspaces.keep_model(FIRST, MODEL)

    await world.workspaces.install(FIRST, LAB)

    assert await world.workspaces.model(LAB) == MODEL


async def test_a_model_is_no_part_of_the_environments_folder(world: World) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)

    assert set(await world.files()) == {"compose.yaml", "src/app.py"}


async def test_a_project_without_a_model_is_read_from_its_compose_files(world: World) -> None:
    await world.deploy(FIRST, ONE)

    project = await world.workspaces.project(LAB)

    assert project is not None
    assert (project.model, project.files) == (None, ("compose.yaml",))
    assert await world.workspaces.model(LAB) is None


async def test_a_project_without_a_model_does_not_inherit_that_of_an_earlier_one(
    world: World,
) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)

    await world.deploy(SECOND, TWO)

    assert await world.workspaces.model(LAB) is None


async def test_rolling_back_brings_the_earlier_model_back(world: World) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)
    await world.stage(SECOND, TWO)
    await world.workspaces.keep_model(SECOND, OTHER_MODEL)
    await world.workspaces.install(SECOND, LAB)
    assert await world.workspaces.model(LAB) == OTHER_MODEL

    await world.workspaces.roll_back(SECOND, LAB)
    await world.workspaces.roll_back(SECOND, LAB)

    assert await world.workspaces.model(LAB) == MODEL
    assert (await world.files())["src/app.py"] == b"one"
    assert await world.workspaces.unfinished() == []


async def test_rolling_back_to_a_project_without_a_model_leaves_none(world: World) -> None:
    await world.deploy(FIRST, ONE)
    await world.stage(SECOND, TWO)
    await world.workspaces.keep_model(SECOND, MODEL)
    await world.workspaces.install(SECOND, LAB)

    await world.workspaces.roll_back(SECOND, LAB)

    project = await world.workspaces.project(LAB)
    assert project is not None
    assert (project.model, project.files) == (None, ("compose.yaml",))


async def test_rolling_back_what_brought_no_model_brings_the_earlier_one_back(
    world: World,
) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)
    await world.stage(SECOND, TWO)
    await world.workspaces.install(SECOND, LAB)

    await world.workspaces.roll_back(SECOND, LAB)

    assert await world.workspaces.model(LAB) == MODEL


async def test_rolling_back_before_installing_leaves_the_model_that_stands(world: World) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)
    await world.stage(SECOND, TWO)
    await world.workspaces.keep_model(SECOND, OTHER_MODEL)

    await world.workspaces.roll_back(SECOND, LAB)

    assert await world.workspaces.model(LAB) == MODEL


async def test_rolling_back_a_first_deploy_leaves_no_model(world: World) -> None:
    await world.stage(FIRST, ONE)
    await world.workspaces.keep_model(FIRST, MODEL)
    await world.workspaces.install(FIRST, LAB)

    await world.workspaces.roll_back(FIRST, LAB)

    assert await world.workspaces.model(LAB) is None
    assert await world.workspaces.project(LAB) is None


async def test_a_replaced_model_stands_at_once_and_the_files_stay(world: World) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)

    for document in (OTHER_MODEL, MODEL, OTHER_MODEL):
        await world.workspaces.replace_model(LAB, document)

    project = await world.workspaces.project(LAB)
    assert project is not None
    assert await world.document(project) == await world.workspaces.model(LAB) == OTHER_MODEL
    assert (await world.files())["src/app.py"] == b"one"


async def test_a_model_is_what_was_written_whatever_becomes_of_the_document(world: World) -> None:
    document = {"name": "lab", "services": {"web": {"image": "one"}}}
    await world.deploy_modelled(FIRST, ONE, document)

    document["services"] = {}

    found = await world.workspaces.model(LAB)
    assert found is not None
    assert found["services"] == {"web": {"image": "one"}}


async def test_what_is_built_is_read_from_a_document_of_its_own(world: World) -> None:
    staged = await world.stage(FIRST, ONE)
    await world.workspaces.keep_model(FIRST, MODEL)

    project = await world.workspaces.build_project(FIRST, staged, BUILD)

    assert (project.name, project.directory, project.files) == ("builds", staged.directory, ())
    assert await world.document(project) == BUILD
    await world.workspaces.install(FIRST, LAB)
    assert await world.workspaces.model(LAB) == MODEL


async def test_a_build_document_may_be_written_anew_and_goes_with_the_operation(
    world: World,
) -> None:
    staged = await world.stage(FIRST, ONE)
    await world.workspaces.build_project(FIRST, staged, BUILD)
    project = await world.workspaces.build_project(FIRST, staged, {**BUILD, "name": "lab"})
    assert (project.name, await world.document(project)) == ("lab", {**BUILD, "name": "lab"})

    await world.workspaces.commit(FIRST)

    assert await world.document(project) is None


async def test_a_build_for_what_stands_leaves_it_alone_and_is_unfinished_until_committed(
    world: World,
) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)
    standing = await world.workspaces.project(LAB)
    assert standing is not None

    project = await world.workspaces.build_project(SECOND, standing, BUILD)

    assert project.directory == standing.directory
    assert await world.workspaces.model(LAB) == MODEL
    assert await world.workspaces.unfinished() == [SECOND]
    await world.workspaces.commit(SECOND)
    assert await world.workspaces.unfinished() == []
    assert await world.workspaces.project(LAB) == standing


async def test_rolling_back_a_build_for_what_stands_leaves_it_alone(world: World) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)
    standing = await world.workspaces.project(LAB)
    assert standing is not None
    await world.workspaces.build_project(SECOND, standing, BUILD)

    await world.workspaces.roll_back(SECOND, LAB)

    assert await world.workspaces.project(LAB) == standing
    assert await world.workspaces.model(LAB) == MODEL
    assert await world.workspaces.unfinished() == []


async def test_a_removed_environments_model_goes_with_it(world: World) -> None:
    await world.deploy_modelled(FIRST, ONE, MODEL)

    await world.workspaces.remove(LAB)
    await world.workspaces.remove(LAB)

    assert await world.workspaces.model(LAB) is None
    await world.deploy(SECOND, TWO)
    project = await world.workspaces.project(LAB)
    assert project is not None
    assert project.files == ("compose.yaml",)


async def test_a_workspace_that_is_there_is_well(world: World) -> None:
    await world.workspaces.check()


class TestDisk:
    """What only files can show."""

    async def test_folders_of_the_agents_own_that_are_gone_are_made_again(
        self, tmp_path: Path
    ) -> None:
        disk = DiskWorkspaces(tmp_path, LIMITS)
        await disk.prepare()
        await anyio.Path(tmp_path, ".agent").rename(tmp_path / "gone")

        await disk.check()

        world = World(disk.bundles, disk, tmp_path)
        await world.deploy(FIRST, ONE)
        assert (await world.files())["src/app.py"] == b"one"
        assert await _mode(tmp_path / ".agent") == 0o700

    @pytest.mark.parametrize("in_its_place", [None, Path.mkdir, Path.touch])
    async def test_a_root_that_is_gone_or_another_one_is_told_of_and_left_alone(
        self, tmp_path: Path, in_its_place: Callable[[Path], None] | None
    ) -> None:
        root = tmp_path / "root"
        disk = DiskWorkspaces(root, LIMITS)
        await disk.prepare()
        await anyio.Path(root).rename(tmp_path / "elsewhere")
        if in_its_place is not None:
            in_its_place(root)

        with pytest.raises(StorageFailed, match="not the folder that the agent began with"):
            await disk.check()
        with pytest.raises(StorageFailed):
            await World(disk.bundles, disk, root).receive(ONE)

        assert not await anyio.Path(root, ".agent").exists()
        if in_its_place is Path.mkdir:
            await anyio.Path(root).rmdir()
        elif in_its_place is Path.touch:
            await anyio.Path(root).unlink()
        await anyio.Path(tmp_path, "elsewhere").rename(root)
        await disk.check()

    async def test_a_disk_that_does_not_answer_is_not_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = DiskWorkspaces(tmp_path, LIMITS, check_seconds=0.1)
        await disk.prepare()
        answer, look, hanging = threading.Event(), files._identity, []

        def hang(folder: Path) -> tuple[int, int]:
            hanging.append(folder)
            answer.wait(20)
            return look(folder)

        monkeypatch.setattr(files, "_identity", hang)
        try:
            with anyio.fail_after(10):
                for _ in range(5):
                    with pytest.raises(StorageFailed, match=r"does not answer|hangs"):
                        await disk.check()
            assert len(hanging) == 1
        finally:
            answer.set()

    async def test_what_may_hold_secrets_is_readable_for_the_agent_alone(
        self, tmp_path: Path
    ) -> None:
        disk = DiskWorkspaces(tmp_path, LIMITS)
        await disk.prepare()
        world = World(disk.bundles, disk, tmp_path)
        kept = await world.bundles.keep(await world.receive(ONE))
        received = await world.receive(ONE)
        staged = await disk.stage(FIRST, LAB, kept)
        await disk.keep_model(FIRST, MODEL)
        await disk.place(FIRST, "vpn.ovpn", b"secret")
        built = await disk.build_project(FIRST, staged, BUILD)
        installed = await disk.install(FIRST, LAB)
        assert installed.model is not None
        assert built.model is not None

        archives = [disk.bundles.path(kept), disk.bundles.path(received)]
        models = [Path(built.model), Path(installed.model)]
        written = [*archives, *models, Path(installed.directory, "vpn.ovpn")]
        assert {await _mode(path) for path in written} == {0o600}
        await disk.replace_model(LAB, OTHER_MODEL)
        assert await _mode(models[1]) == 0o600
        assert await _mode(tmp_path / ".agent") == 0o700

    async def test_a_model_lies_where_no_container_of_the_project_reaches_it(
        self, tmp_path: Path
    ) -> None:
        disk = DiskWorkspaces(tmp_path, LIMITS)
        await disk.prepare()
        staged = await World(disk.bundles, disk, tmp_path).stage(FIRST, ONE)
        built = await disk.build_project(FIRST, staged, BUILD)
        await disk.keep_model(FIRST, MODEL)
        installed = await disk.install(FIRST, LAB)

        for project in (built, installed):
            assert project.model is not None
            assert not Path(project.model).is_relative_to(staged.directory)
            assert not Path(project.model).is_relative_to(disk.home(LAB))

    async def test_a_model_that_a_kill_left_half_written_does_not_stop_the_next(
        self, tmp_path: Path
    ) -> None:
        disk = DiskWorkspaces(tmp_path, LIMITS)
        await disk.prepare()
        await World(disk.bundles, disk, tmp_path).deploy_modelled(FIRST, ONE, MODEL)
        half = anyio.Path(tmp_path, ".agent", "models", "lab.json.new")
        await half.write_bytes(b'{"name": ')

        assert await disk.model(LAB) == MODEL
        await disk.replace_model(LAB, OTHER_MODEL)

        assert await disk.model(LAB) == OTHER_MODEL
        assert not await half.exists()


async def _mode(path: Path) -> int:
    return stat.S_IMODE((await anyio.Path(path).stat()).st_mode)


async def test_the_digests_of_all_kept_bundles_are_known(world: World) -> None:
    assert await world.bundles.digests() == []
    kept = [
        await world.bundles.keep(await world.receive(zip_bundle({"compose.yaml": COMPOSE, n: "x"})))
        for n in ("a", "b")
    ]
    await world.receive(zip_bundle({"compose.yaml": COMPOSE}))

    assert await world.bundles.digests() == sorted(bundle.digest for bundle in kept)


async def test_a_model_without_its_folder_is_told_and_goes_with_the_removal(world: World) -> None:
    await world.stage(FIRST, zip_bundle({"compose.yaml": COMPOSE}))
    await world.workspaces.keep_model(FIRST, {"services": {}})
    await world.workspaces.install(FIRST, LAB)
    await world.workspaces.commit(FIRST)
    await world.workspaces.replace_model(EnvironmentName("gone"), {"services": {}})

    assert await world.workspaces.stray_models() == ["gone"]

    await world.workspaces.remove(EnvironmentName("gone"))
    assert await world.workspaces.stray_models() == []
    assert await world.workspaces.model(LAB) is not None


async def test_removals_can_be_finished_while_others_receive_bundles(world: World) -> None:
    bundle = await world.receive(zip_bundle({"compose.yaml": COMPOSE}))

    await world.workspaces.finish_removals()

    await world.workspaces.stage(FIRST, LAB, bundle)


async def test_all_environments_stand_below_one_root(world: World) -> None:
    assert world.workspaces.home(LAB) == f"{world.workspaces.root}/{LAB}"
