"""Wherever work on disk is cut off, what stood stands again, and nothing is left over."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.workspaces.files import DiskWorkspaces
from domain.bundles import BundleLimits
from domain.names import EnvironmentName, OperationId
from domain.ports.compose import Project
from domain.ports.workspaces import Bundle
from tests.support.bundles import COMPOSE, zip_bundle
from tests.support.cuts import cut_off

pytestmark = pytest.mark.anyio

LAB = EnvironmentName("lab")
EARLIER, OPERATION, LOOK = OperationId("op-1"), OperationId("op-2"), OperationId("look")
ONE = zip_bundle({"compose.yaml": COMPOSE, "src/app.py": "one"})
TWO = zip_bundle({"compose.yaml": COMPOSE, "src/app.py": "two"})

Call = Callable[[DiskWorkspaces], Awaitable[object]]


async def workspaces_in(root: Path) -> DiskWorkspaces:
    disk = DiskWorkspaces(root, BundleLimits())
    await disk.prepare()
    return disk


async def receive(disk: DiskWorkspaces, archive: bytes) -> Bundle:
    async def pieces() -> AsyncIterator[bytes]:
        yield archive

    return await disk.bundles.receive(pieces())


def model(disk: DiskWorkspaces, operation: OperationId) -> Mapping[str, Any]:
    """A model that mounts what the operation keeps apart."""
    return {"name": LAB, "services": {}, "x-mounted": disk.apart(operation, LAB)}


async def stage(disk: DiskWorkspaces, operation: OperationId, archive: bytes) -> None:
    """Prepares a project with all that may belong to one."""
    bundle = await receive(disk, archive)
    await disk.stage(operation, LAB, bundle)
    await disk.bundles.discard(bundle)
    await disk.keep_apart(operation, LAB, {"0": "src"})
    await disk.keep_model(operation, dict(model(disk, operation)))


async def deploy(disk: DiskWorkspaces) -> None:
    """Lets the first version stand."""
    await stage(disk, EARLIER, ONE)
    await disk.install(EARLIER, LAB)
    await disk.commit(EARLIER)


async def standing(disk: DiskWorkspaces, root: Path) -> str:
    """Which version stands, as a whole; empty where none does.

    Anything that does not belong to it fails.
    """
    versions = {"one": EARLIER, "two": OPERATION}
    kept = sorted(str(p.relative_to(root / ".agent")) for p in (root / ".agent").glob("*/*"))
    if not (root / LAB).exists():
        assert kept == []
        return ""
    version = (root / LAB / "src/app.py").read_text()
    operation = versions[version]
    assert kept == [f"apart/{LAB}.{operation}", f"models/{LAB}.json"]
    assert await disk.model(LAB) == model(disk, operation)
    assert (root / f".agent/apart/{LAB}.{operation}/0/app.py").read_text() == version
    return version


async def cut(root: Path, call: Call, after: int) -> bool:
    """Cuts a call off after some changes; whether it would have made more."""
    disk = DiskWorkspaces(root, BundleLimits())
    with cut_off(after) as cuts:
        await call(disk)
    return cuts.met


async def test_a_deploy_that_is_cut_off_anywhere_can_be_rolled_back(tmp_path: Path) -> None:
    async def whole(disk: DiskWorkspaces) -> None:
        await stage(disk, OPERATION, TWO)
        await disk.place(OPERATION, "vpn.ovpn", b"secret")
        folder = Project(name=LAB, directory=disk.home(LAB), files=())
        await disk.build_project(OPERATION, folder, {"name": LAB})
        await disk.install(OPERATION, LAB)

    for earlier in ("one", ""):
        after, more = 0, True
        while more:
            root = tmp_path / f"{earlier}-{after}"
            disk = await workspaces_in(root)
            if earlier:
                await deploy(disk)
            more = await cut(root, whole, after)

            disk = await workspaces_in(root)
            await disk.tidy()
            await disk.roll_back(OPERATION, LAB)

            assert (await standing(disk, root), after) == (earlier, after)
            after += 1
        assert after > 15


async def test_rolling_back_that_is_cut_off_anywhere_can_be_repeated(tmp_path: Path) -> None:
    for earlier in ("one", ""):
        after, more = 0, True
        while more:
            root = tmp_path / f"{earlier}-{after}"
            disk = await workspaces_in(root)
            if earlier:
                await deploy(disk)
            await stage(disk, OPERATION, TWO)
            await disk.install(OPERATION, LAB)
            more = await cut(root, lambda disk: disk.roll_back(OPERATION, LAB), after)

            disk = await workspaces_in(root)
            await disk.tidy()
            await disk.roll_back(OPERATION, LAB)

            assert (await standing(disk, root), after) == (earlier, after)
            after += 1
        assert after > 5


async def test_a_commit_that_is_cut_off_anywhere_can_be_repeated(tmp_path: Path) -> None:
    after, more = 0, True
    while more:
        root = tmp_path / str(after)
        disk = await workspaces_in(root)
        await deploy(disk)
        await stage(disk, OPERATION, TWO)
        await disk.install(OPERATION, LAB)
        more = await cut(root, lambda disk: disk.commit(OPERATION), after)

        disk = await workspaces_in(root)
        await disk.tidy()
        await disk.commit(OPERATION)

        assert (await standing(disk, root), after) == ("two", after)
        after += 1
    assert after > 5


async def test_a_removal_that_is_cut_off_anywhere_can_be_repeated(tmp_path: Path) -> None:
    after, more = 0, True
    while more:
        root = tmp_path / str(after)
        disk = await workspaces_in(root)
        await deploy(disk)
        more = await cut(root, lambda disk: disk.remove(LAB), after)

        disk = await workspaces_in(root)
        whole = (root / LAB / "src/app.py").exists() and (root / LAB / "compose.yaml").exists()
        assert (await disk.project(LAB) is not None) is whole
        await disk.tidy()
        await disk.remove(LAB)

        assert (await standing(disk, root), after) == ("", after)
        after += 1
    assert after > 5


async def test_a_model_that_is_being_replaced_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    after, more = 0, True
    while more:
        root = tmp_path / str(after)
        disk = await workspaces_in(root)
        await deploy(disk)
        old = await disk.model(LAB)
        new = {**(old or {}), "x-new": True}
        more = await cut(root, lambda disk, new=new: disk.replace_model(LAB, new), after)  # type: ignore[misc]

        disk = await workspaces_in(root)
        await disk.tidy()

        assert await disk.model(LAB) == (old if more else new)
        assert [path.name for path in (root / ".agent/models").iterdir()] == [f"{LAB}.json"]
        after += 1
    assert after > 1


async def test_a_look_that_is_cut_off_anywhere_leaves_what_can_be_cleared(tmp_path: Path) -> None:
    after, more = 0, True
    while more:
        root = tmp_path / str(after)
        disk = await workspaces_in(root)
        await deploy(disk)
        more = await cut(root, lambda disk: disk.snapshot(LOOK, LAB, [""]), after)

        disk = await workspaces_in(root)
        await disk.tidy()
        for operation in await disk.unfinished():
            await disk.commit(operation)

        assert (await standing(disk, root), after) == ("one", after)
        after += 1
    assert after > 3


async def test_an_upload_that_is_cut_off_anywhere_is_kept_or_gone(tmp_path: Path) -> None:
    async def upload(disk: DiskWorkspaces) -> None:
        await disk.bundles.keep(await receive(disk, ONE))

    after, more = 0, True
    while more:
        root = tmp_path / str(after)
        await workspaces_in(root)
        more = await cut(root, upload, after)

        disk = await workspaces_in(root)
        await disk.tidy()
        kept = await disk.bundles.digests()
        for digest in kept:
            await disk.bundles.forget(digest)

        assert len(kept) == (0 if more else 1)
        assert await standing(disk, root) == ""
        after += 1
    assert after > 1
