"""Copies of what containers could change: for builds, and for mounts."""

import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from adapters.memory.workspaces import MemoryWorkspaces
from adapters.workspaces.files import DiskWorkspaces
from domain.bundles import BundleLimits
from domain.errors import BundleRefused
from domain.names import OperationId
from tests.contracts.test_workspaces import LAB, World
from tests.support.bundles import zip_bundle

pytestmark = pytest.mark.anyio

FILES = {"compose.yaml": "services: {}", "app/Dockerfile": "x", "app/a/b": "1", "big": "b" * 2000}
FIRST, SECOND, COPY = OperationId("first"), OperationId("second"), OperationId("copy")
LIMITS = BundleLimits(max_bytes=100_000, max_unpacked_bytes=20_000, max_entries=50)


@pytest.fixture(params=["memory", "disk"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "memory":
        memory = MemoryWorkspaces(LIMITS)
        return World(memory.bundles, memory, None)
    disk = DiskWorkspaces(tmp_path / "root", LIMITS)
    await disk.prepare()
    return World(disk.bundles, disk, tmp_path / "root")


@pytest.fixture
async def disk(tmp_path: Path) -> World:
    workspaces = DiskWorkspaces(tmp_path / "root", LIMITS)
    await workspaces.prepare()
    world = World(workspaces.bundles, workspaces, tmp_path / "root")
    await world.deploy(FIRST, zip_bundle(FILES))
    return world


async def staged(world: World, *parts: str, most: int | None = None) -> Mapping[str, bytes]:
    """What a snapshot of parts holds."""
    await world.workspaces.snapshot(COPY, LAB, parts, most_file_bytes=most)
    return await holds(world, COPY)


async def holds(world: World, operation: OperationId) -> Mapping[str, bytes]:
    """What is staged."""
    if isinstance(world.workspaces, MemoryWorkspaces):
        found = world.workspaces.staged[operation]
        return {"/".join(parts): data for parts, data in found.items()}
    assert world.root is not None
    folder = anyio.Path(world.root, ".agent", "operations", operation, "staged")
    return {
        str(path.relative_to(folder)): await path.read_bytes()
        async for path in folder.rglob("*")
        if await path.is_file()
    }


class TestSnapshot:
    async def test_it_holds_the_parts_that_were_asked_for(self, world: World) -> None:
        await world.deploy(FIRST, zip_bundle(FILES))

        assert set(await staged(world, "app", "app/a", "missing/x")) == {
            "app/Dockerfile",
            "app/a/b",
        }

    async def test_all_of_it_but_what_is_too_large(self, world: World) -> None:
        await world.deploy(FIRST, zip_bundle(FILES))

        found = await staged(world, "", most=1000)

        assert set(found) == {"compose.yaml", "app/Dockerfile", "app/a/b"}
        assert found["app/a/b"] == b"1"

    async def test_it_goes_with_its_operation_and_leaves_what_stands(self, world: World) -> None:
        await world.deploy(FIRST, zip_bundle(FILES))
        await staged(world, "app")

        await world.workspaces.commit(COPY)

        assert await world.workspaces.unfinished() == []
        assert set(await world.files()) == set(FILES)

    async def test_links_pipes_and_sockets_are_left_out(self, disk: World, tmp_path: Path) -> None:
        assert disk.root is not None
        (tmp_path / "secret").write_text("secret")
        app = disk.root / LAB / "app"
        (app / "file").symlink_to(tmp_path / "secret")
        (app / "folder").symlink_to(tmp_path)
        os.mkfifo(app / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(app / "socket"))
            found = await staged(disk, "app", "app/file", "app/folder/secret")

        assert set(found) == {"app/Dockerfile", "app/a/b"}

    async def test_a_folder_that_is_swapped_under_it_is_not_followed(
        self, disk: World, tmp_path: Path
    ) -> None:
        assert disk.root is not None
        (tmp_path / "host").mkdir()
        (tmp_path / "host" / "b").write_text("secret")
        inner, aside = disk.root / LAB / "app" / "a", tmp_path / "aside"
        done = threading.Event()

        def swap() -> None:
            while not done.is_set():
                inner.rename(aside)
                inner.symlink_to(tmp_path / "host")
                inner.unlink()
                aside.rename(inner)

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            for number in range(50):
                copy = OperationId(f"copy-{number}")
                await disk.workspaces.snapshot(copy, LAB, ["app"])
                assert (await holds(disk, copy)).get("app/a/b", b"1") == b"1"
                await disk.workspaces.commit(copy)
        finally:
            done.set()
            thread.join(10)

    async def test_more_than_a_bundle_may_hold_is_not_copied(self, disk: World) -> None:
        assert disk.root is not None
        for number in range(60):
            (disk.root / LAB / "app" / f"f{number}").touch()

        with pytest.raises(BundleRefused):
            await disk.workspaces.snapshot(COPY, LAB, ["app"])


class TestApart:
    async def copies(self, world: World, operation: OperationId) -> bool:
        """Whether what an operation kept apart is there."""
        place = world.workspaces.apart(operation, LAB)
        if isinstance(world.workspaces, MemoryWorkspaces):
            return place in world.workspaces.copies
        return await anyio.Path(place).exists()

    async def deploy(self, world: World, operation: OperationId, *, commit: bool = True) -> None:
        await world.stage(operation, zip_bundle(FILES))
        await world.workspaces.keep_apart(operation, LAB, {"0": "app", "1": "big", "2": "new"})
        place = world.workspaces.apart(operation, LAB)
        await world.workspaces.keep_model(operation, {"services": {"a": {"source": f"{place}/0"}}})
        await world.workspaces.install(operation, LAB)
        if commit:
            await world.workspaces.commit(operation)

    async def test_they_stay_while_the_model_that_stands_names_them(self, world: World) -> None:
        await self.deploy(world, FIRST)
        await world.workspaces.tidy()
        assert await self.copies(world, FIRST)

        await self.deploy(world, SECOND)

        assert not await self.copies(world, FIRST)
        assert await self.copies(world, SECOND)

    async def test_a_deploy_under_way_keeps_those_of_what_it_may_bring_back(
        self, world: World
    ) -> None:
        await self.deploy(world, FIRST)
        await self.deploy(world, SECOND, commit=False)
        # Somebody else's change ends meanwhile.
        await world.workspaces.commit(COPY)
        assert await self.copies(world, FIRST)

        await world.workspaces.roll_back(SECOND, LAB)

        assert await self.copies(world, FIRST)
        assert not await self.copies(world, SECOND)

    async def test_they_go_with_the_environment(self, world: World) -> None:
        await self.deploy(world, FIRST)

        await world.workspaces.remove(LAB)

        assert not await self.copies(world, FIRST)

    async def test_files_are_files_and_what_is_missing_is_a_folder(self, disk: World) -> None:
        await self.deploy(disk, SECOND)

        place = anyio.Path(disk.workspaces.apart(SECOND, LAB))
        assert await (place / "0" / "a" / "b").read_bytes() == b"1"
        assert await (place / "1").is_file()
        assert await (place / "2").is_dir()


async def test_staged_files_are_read_as_trees_and_texts(world: World) -> None:
    archive = zip_bundle({"compose.yaml": "a: {b: [1, ~]}\n---\nc: x\n", "sub/.env": "A=1\n"})
    await world.stage(FIRST, archive)

    found = await world.workspaces.documents(FIRST, "compose.yaml")
    assert found == ({"a": {"b": ["1", None]}}, {"c": "x"})
    assert await world.workspaces.text(FIRST, "sub/.env") == b"A=1\n"
    for nothing in ("sub", "none", "sub/none", "../model.json", "/etc/passwd"):
        assert await world.workspaces.text(FIRST, nothing) is None
    await world.stage(SECOND, zip_bundle({"compose.yaml": "", "sub/broken": "a: ["}))
    with pytest.raises(BundleRefused, match=r"^sub/broken "):
        await world.workspaces.documents(SECOND, "sub/broken")
