"""Workspaces on disk: modes, links, kills, full disks and files of other users."""

import os
import stat
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from adapters.workspaces.files import DiskWorkspaces
from adapters.workspaces.storage import Storage
from adapters.workspaces.writer import Checkpoint
from domain.bundles import BundleLimits
from domain.errors import BundleRefused, StorageFailed, StorageFull
from domain.names import EnvironmentName, OperationId
from domain.ports.workspaces import Bundle
from tests.support import bundles
from tests.support.bundles import COMPOSE, zip_bundle
from tests.support.other_user import LAB

pytestmark = pytest.mark.anyio

EARLIER, OPERATION = OperationId("op-1"), OperationId("op-2")
NOBODY = 65534
ONE = zip_bundle({"compose.yaml": COMPOSE, "src/app.py": "one"})
TWO = zip_bundle({"compose.yaml": COMPOSE, "src/app.py": "two"})

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to act as other users")


async def workspaces_in(root: Path) -> DiskWorkspaces:
    workspaces = DiskWorkspaces(root, BundleLimits())
    await workspaces.prepare()
    return workspaces


@pytest.fixture
async def disk(tmp_path: Path) -> DiskWorkspaces:
    return await workspaces_in(tmp_path / "root")


async def receive(disk: DiskWorkspaces, archive: bytes) -> Bundle:
    async def pieces() -> AsyncIterator[bytes]:
        yield archive

    return await disk.bundles.receive(pieces())


async def stage(disk: DiskWorkspaces, operation: OperationId, archive: bytes) -> Path:
    """Stages an archive and gives the folder."""
    bundle = await receive(disk, archive)
    try:
        return Path((await disk.stage(operation, LAB, bundle)).directory)
    finally:
        await disk.bundles.discard(bundle)


async def deploy(disk: DiskWorkspaces, operation: OperationId, archive: bytes) -> Path:
    """Deploys an archive and gives the folder."""
    await stage(disk, operation, archive)
    project = await disk.install(operation, LAB)
    await disk.commit(operation)
    return Path(project.directory)


def left_over(root: Path) -> list[str]:
    """What lies in the agent's own folder beside its three empty drawers."""
    return sorted(
        str(path.relative_to(root / ".agent")) for path in (root / ".agent").glob("*/**/*")
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


class TestModes:
    """What bundles say of modes comes down to whether a file can be run."""

    @pytest.fixture(params=[0o022, 0o077])
    def umask(self, request: pytest.FixtureRequest) -> Iterator[None]:
        before = os.umask(request.param)
        yield
        os.umask(before)

    async def test_files_can_be_read_by_all_and_run_where_they_could(
        self, disk: DiskWorkspaces, umask: None
    ) -> None:
        modes = {"run.sh": 0o4750, "secret": 0o600, "d/": 0o1777}
        archive = zip_bundle(
            {"compose.yaml": COMPOSE, "run.sh": "", "secret": "", "d/": "", "e/f": ""}, modes=modes
        )

        home = await deploy(disk, EARLIER, archive)

        found = {str(path.relative_to(home)): mode(path) for path in home.rglob("*")}
        assert found == {
            "compose.yaml": 0o644,
            "run.sh": 0o755,
            "secret": 0o644,
            "d": 0o755,
            "e": 0o755,
            "e/f": 0o644,
        }
        assert mode(home) == 0o755

    async def test_what_is_placed_or_received_is_for_the_agent_alone(
        self, disk: DiskWorkspaces, tmp_path: Path, umask: None
    ) -> None:
        staged = await stage(disk, EARLIER, ONE)
        await disk.place(EARLIER, "vpn.ovpn", b"secret")
        bundle = await receive(disk, ONE)

        assert mode(staged / "vpn.ovpn") == 0o600
        assert mode(disk.bundles.path(bundle)) == 0o600
        assert mode(tmp_path / "root" / ".agent") == 0o700


class TestLinks:
    """Nothing leads out of the folder."""

    @pytest.fixture
    def sentinel(self, tmp_path: Path) -> Iterator[Path]:
        """A folder outside, which must be the same afterwards."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "file").write_bytes(b"kept")
        (outside / "compose.yaml").write_bytes(COMPOSE)
        yield outside
        assert sorted(path.name for path in outside.iterdir()) == ["compose.yaml", "file"]
        assert (outside / "file").read_bytes() == b"kept"

    async def test_a_placed_file_takes_the_place_of_a_link(
        self, disk: DiskWorkspaces, sentinel: Path
    ) -> None:
        staged = await stage(disk, EARLIER, ONE)
        (staged / "vpn.ovpn").symlink_to(sentinel / "file")

        await disk.place(EARLIER, "vpn.ovpn", b"secret")

        assert (staged / "vpn.ovpn").read_bytes() == b"secret"

    async def test_a_link_is_no_environment_and_only_the_link_is_removed(
        self, disk: DiskWorkspaces, sentinel: Path, tmp_path: Path
    ) -> None:
        link = tmp_path / "root" / LAB
        link.symlink_to(sentinel)

        assert await disk.project(LAB) is None
        assert await disk.projects() == []
        await disk.remove(LAB)
        assert not link.is_symlink()

    async def test_a_link_is_put_aside_and_brought_back_as_one(
        self, disk: DiskWorkspaces, sentinel: Path, tmp_path: Path
    ) -> None:
        link = tmp_path / "root" / LAB
        link.symlink_to(sentinel)
        await stage(disk, EARLIER, ONE)
        await disk.install(EARLIER, LAB)
        assert not link.is_symlink()

        await disk.roll_back(EARLIER, LAB)

        assert link.readlink() == sentinel

    async def test_a_linked_compose_file_is_none(
        self, disk: DiskWorkspaces, sentinel: Path
    ) -> None:
        home = await deploy(disk, EARLIER, ONE)
        (home / "compose.yaml").unlink()
        (home / "compose.yaml").symlink_to(sentinel / "compose.yaml")

        assert await disk.project(LAB) is None

    async def test_removal_goes_round_links_of_all_kinds(
        self, disk: DiskWorkspaces, sentinel: Path, tmp_path: Path
    ) -> None:
        home = await deploy(disk, EARLIER, ONE)
        (home / "folder").symlink_to(sentinel, target_is_directory=True)
        (home / "src" / "file").symlink_to(sentinel / "file")
        (home / "src" / "up").symlink_to("../../..")
        os.mkfifo(home / "src" / "pipe")

        await disk.remove(LAB)

        assert left_over(tmp_path / "root") == []

    async def test_removal_never_follows_a_link_that_takes_a_folders_place_meanwhile(
        self, disk: DiskWorkspaces, sentinel: Path, tmp_path: Path
    ) -> None:
        for _ in range(30):
            home = await deploy(disk, EARLIER, ONE)
            for number in range(20):
                (home / f"d{number}" / "deep").mkdir(parents=True)
                (home / f"d{number}" / "deep" / "file").touch()
            with _swapping(home, sentinel):
                await _remove_in_the_end(disk)
            await disk.remove(LAB)

        assert left_over(tmp_path / "root") == []


async def _remove_in_the_end(disk: DiskWorkspaces) -> None:
    """Somebody who works against a removal may make it fail, and no more."""
    for _ in range(20):
        try:
            await disk.remove(LAB)
        except StorageFailed:
            continue
        return


class _swapping:  # noqa: N801 - reads as what it does
    """Lets a thread put links in the place of a folder's folders, as a container could."""

    def __init__(self, home: Path, target: Path) -> None:
        self._folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
        self._target = target
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._swap)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()
        os.close(self._folder)

    def _swap(self) -> None:
        here = {"src_dir_fd": self._folder, "dst_dir_fd": self._folder}
        for number in range(20):
            if self._enough.is_set():
                return
            try:
                os.rename(f"d{number}", f"moved{number}", **here)  # noqa: PTH104
                os.symlink(self._target, f"d{number}", dir_fd=self._folder)
            except OSError:
                continue


class TestKills:
    """What is left when the agent is killed; ``test_disk_cuts`` cuts it off in each single step."""

    async def test_archives_of_a_killed_agent_are_dropped(
        self, disk: DiskWorkspaces, tmp_path: Path
    ) -> None:
        await receive(disk, ONE)
        fresh = await workspaces_in(tmp_path / "root")
        waiting = await receive(fresh, TWO)

        await fresh.tidy()

        assert left_over(tmp_path / "root") == [f"bundles/{waiting.id}"]


def _as_nobody(root: Path, call: str) -> str:
    """What a call says that another user makes."""
    command = [sys.executable, "-m", "tests.support.other_user", str(root), call, str(NOBODY)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


class TestCancelled:
    """Who gives up leaves nothing."""

    async def test_staging_that_is_given_up_leaves_nothing(
        self, disk: DiskWorkspaces, tmp_path: Path
    ) -> None:
        files = {f"{n}": os.urandom(2000) for n in range(5000)}
        bundle = await receive(disk, zip_bundle({"compose.yaml": COMPOSE, **files}))
        first = anyio.Path(tmp_path, "root", ".agent", "operations", OPERATION, "staged", "0")
        ended = []

        async def stage() -> None:
            ended.append(await disk.stage(OPERATION, LAB, bundle))

        async with anyio.create_task_group() as group:
            group.start_soon(stage)
            while not await first.exists():
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()

        assert ended == []
        assert await disk.unfinished() == []
        assert left_over(tmp_path / "root") == [f"bundles/{bundle.id}"]

    async def test_work_that_nobody_wants_any_more_ends_soon(self) -> None:
        begun, never = threading.Event(), threading.Event()

        def work(checkpoint: Checkpoint) -> None:
            begun.set()
            for _ in range(20_000):
                checkpoint()
                never.wait(0.001)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(Storage().run_cancellable, "working", work)
                while not begun.is_set():
                    await anyio.sleep(0.001)
                group.cancel_scope.cancel()

    async def test_receiving_that_is_given_up_leaves_nothing(
        self, disk: DiskWorkspaces, tmp_path: Path
    ) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield bytes(3 * 1024 * 1024)
            await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            group.start_soon(disk.bundles.receive, pieces())
            while not left_over(tmp_path / "root"):
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()

        assert left_over(tmp_path / "root") == []

    async def test_a_sender_that_breaks_off_leaves_nothing(
        self, disk: DiskWorkspaces, tmp_path: Path
    ) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield bytes(3 * 1024 * 1024)
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await disk.bundles.receive(pieces())

        assert left_over(tmp_path / "root") == []


@needs_root
class TestFullDisk:
    """A disk without room is told from other faults, and what stood stands."""

    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[Path]:
        """A disk of one megabyte and sixty files."""
        disk = tmp_path / "small"
        disk.mkdir()
        options = "size=1m,nr_inodes=60"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
        if mounted.returncode != 0:
            pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
        yield disk
        subprocess.run(["umount", "--lazy", str(disk)], check=True)

    @pytest.mark.parametrize(
        "files",
        [{"big": bytes(2 * 1024 * 1024)}, {f"f{n}": b"" for n in range(100)}],
        ids=["bytes", "inodes"],
    )
    async def test_staging_fails_and_leaves_nothing(
        self, small: Path, files: dict[str, bytes]
    ) -> None:
        disk = await workspaces_in(small / "root")
        home = await deploy(disk, EARLIER, ONE)

        with pytest.raises(StorageFull, match="unpacking the bundle"):
            await stage(disk, OPERATION, zip_bundle({"compose.yaml": COMPOSE, **files}))

        assert (home / "src/app.py").read_bytes() == b"one"
        assert left_over(small / "root") == []

    async def test_receiving_fails_and_leaves_nothing(self, small: Path) -> None:
        disk = await workspaces_in(small / "root")

        with pytest.raises(StorageFull, match="receiving the bundle"):
            await receive(disk, bytes(2 * 1024 * 1024))

        assert left_over(small / "root") == []

    async def test_an_environment_on_a_full_disk_can_be_removed(self, small: Path) -> None:
        disk = await workspaces_in(small / "root")
        home = await deploy(disk, EARLIER, ONE)
        with pytest.raises(OSError, match="No space"):
            (home / "big").write_bytes(bytes(2 * 1024 * 1024))

        await disk.remove(LAB)

        assert left_over(small / "root") == []


class TestRemoval:
    """What containers leave behind."""

    async def test_no_folder_is_too_deep(self, disk: DiskWorkspaces, tmp_path: Path) -> None:
        home = await deploy(disk, EARLIER, ONE)
        _dig(home, 1500)

        await disk.remove(LAB)

        assert left_over(tmp_path / "root") == []

    @pytest.fixture
    def foreign(self) -> Iterator[Path]:
        """A root that an ordinary user's agent works in."""
        with tempfile.TemporaryDirectory() as folder:
            os.chown(folder, NOBODY, NOBODY)
            yield Path(folder)

    @needs_root
    async def test_an_ordinary_users_agent_removes_what_is_its_own_though_closed(
        self, foreign: Path
    ) -> None:
        disk = await workspaces_in(foreign)
        home = await deploy(disk, EARLIER, ONE)
        (home / "closed" / "deeper").mkdir(parents=True)
        (home / "closed" / "deeper" / "file").touch()
        _give_to_nobody(foreign)
        for folder, closed in (("closed/deeper", 0o000), ("closed", 0o555), ("src", 0o000)):
            (home / folder).chmod(closed)

        assert _as_nobody(foreign, "remove") == ""
        assert left_over(foreign) == []

    @needs_root
    async def test_files_of_others_are_named_and_removed_once_they_can_be(
        self, foreign: Path
    ) -> None:
        disk = await workspaces_in(foreign)
        home = await deploy(disk, EARLIER, ONE)
        _give_to_nobody(foreign)
        (home / "data").mkdir()
        (home / "data" / "theirs").touch()

        ended = _as_nobody(foreign, "remove")
        again = _as_nobody(foreign, "remove")

        assert ended.startswith(f"StorageFailed: Files in {foreign}/.agent/removed/lab.")
        assert again == ended
        assert "Run the agent as root" in ended
        assert await disk.project(LAB) is None
        _give_to_nobody(foreign)
        assert _as_nobody(foreign, "remove") == ""
        assert left_over(foreign) == []

    @needs_root
    async def test_one_removal_that_fails_does_not_stop_the_others(self, foreign: Path) -> None:
        await workspaces_in(foreign)
        removed = foreign / ".agent" / "removed"
        for name in ("a.1", "b.1", "c.1"):
            (removed / name / "data").mkdir(parents=True)
            (removed / name / "data" / "file").touch()
        _give_to_nobody(foreign)
        os.chown(removed / "b.1" / "data", 0, 0)

        ended = _as_nobody(foreign, "tidy")

        assert ended.startswith("StorageFailed")
        assert [path.name for path in removed.iterdir()] == ["b.1"]


def _dig(folder: Path, depth: int) -> None:
    """Makes folders in one another, deeper than any path could say."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 20, dir_fd=here)
        deeper = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def _give_to_nobody(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


class TestMemory:
    """Archives that are made to fill the memory are stopped before they do."""

    @pytest.mark.parametrize(
        ("archive", "words"),
        [
            (bundles.header_bomb(40), "headers"),
            (bundles.header_bomb(40, behind_folder=True), "headers"),
            (bundles.sparse_bomb(40), "headers"),
            (bundles.plain_header(1024), "headers"),
            (bundles.hidden_table(60_000), "table of contents"),
        ],
        ids=[
            "headers",
            "headers behind a folder",
            "sparse map",
            "plain headers",
            "table of contents",
        ],
    )
    async def test_it_is_refused_in_little_memory(
        self, disk: DiskWorkspaces, archive: bytes, words: str
    ) -> None:
        bundle = await receive(disk, archive)
        tracemalloc.start()
        try:
            with pytest.raises(BundleRefused, match=words):
                await disk.stage(OPERATION, LAB, bundle)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak_bytes < 8 * 1024 * 1024

    async def test_extended_headers_of_an_ordinary_size_are_taken(
        self, disk: DiskWorkspaces
    ) -> None:
        staged = await stage(disk, OPERATION, bundles.plain_header(64))

        assert (staged / "compose.yaml").read_bytes() == COMPOSE


async def test_an_archive_that_could_not_be_removed_goes_with_the_next_look(
    disk: DiskWorkspaces,
) -> None:
    bundle = await receive(disk, ONE)
    path = disk.bundles.path(bundle)
    path.unlink()
    # Nothing that a call for files could remove.
    path.mkdir()

    with pytest.raises(StorageFailed):
        await disk.bundles.discard(bundle)
    path.rmdir()
    path.touch()
    await disk.finish_removals()

    assert not path.exists()


async def test_projects_are_sorted_and_leave_out_what_is_none(
    disk: DiskWorkspaces, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for name in ("b", "a", "Upper", ".hidden", "empty"):
        (root / name).mkdir()
        if name != "empty":
            (root / name / "compose.yaml").write_bytes(COMPOSE)
    (root / "file").touch()

    assert [project.name for project in await disk.projects()] == ["a", "b"]
    assert await disk.project(EnvironmentName("empty")) is None


async def test_a_root_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageFailed, match="making the agent's folders"):
        await workspaces_in(tmp_path / "file" / "root")
