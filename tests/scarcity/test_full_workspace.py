"""The disk of the environments' files is full, in bytes or in inodes, at any moment of any change.

Each change is asked for again and again, with a page or an inode more each time, until there is
enough: so it runs out at every point where the agent takes one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.agents import launch_body
from tests.support.api import BUNDLES, ENVIRONMENTS, WAIT
from tests.support.bundles import zip_bundle
from tests.support.disk_agents import DiskWorld, agent_on_disk
from tests.support.small_disk import SmallDisk, left_in, small_disk

pytestmark = [pytest.mark.anyio, pytest.mark.long]

COMPOSE = "services: {web: {build: ., volumes: ['./site:/site', './one:/one:ro']}}"


def lab(version: str) -> bytes:
    return zip_bundle(
        {
            "compose.yaml": COMPOSE,
            "Dockerfile": f"FROM busybox\nRUN echo {version}\n",
            "site/page": "x" * 10_000,
            "one": "y" * 5_000,
        }
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        yield disk


@pytest.fixture
async def world(tmp_path: Path, disk: SmallDisk) -> AsyncIterator[DiskWorld]:
    places = {"WORKSPACE_DIR": str(disk.path / "ws"), "MIN_FREE_PERCENT": "0"}
    async with agent_on_disk(tmp_path, places) as world:
        yield world


Change = Callable[[DiskWorld], Awaitable[httpx.Response]]


async def launched(world: DiskWorld) -> httpx.Response:
    return await world.http.post("/agent/containers", json=launch_body("lab", lab("new")))


async def uploaded(world: DiskWorld) -> httpx.Response:
    return await world.http.post(BUNDLES, content=lab("new"))


async def deployed_with_a_form(world: DiskWorld) -> httpx.Response:
    files = {"bundle": ("lab.zip", lab("new"))}
    return await world.http.put(f"{ENVIRONMENTS}/lab", files=files, headers=WAIT)


async def rebuilt(world: DiskWorld) -> httpx.Response:
    return await world.http.post(f"{ENVIRONMENTS}/lab/rebuild?no_cache=true", headers=WAIT)


class Scarcity:
    """A way in which a disk is full."""

    def __init__(self, disk: SmallDisk, kind: str) -> None:
        self._disk = disk
        self._kind = kind

    def leave(self, count: int) -> None:
        """Leaves that many pages or inodes."""
        self._disk.make_room()
        if self._kind == "bytes":
            self._disk.fill(pages=count)
        else:
            self._disk.fill_inodes(left=count)


@pytest.fixture(params=["bytes", "inodes"])
def scarcity(request: pytest.FixtureRequest, disk: SmallDisk) -> Scarcity:
    return Scarcity(disk, request.param)


async def seen(world: DiskWorld) -> tuple[object, ...]:
    """All that a failed attempt may not change, on disk, on the Engine and in the records."""
    environments = (await world.http.get(ENVIRONMENTS)).json()["environments"]
    standing = [e for e in environments if e["state"] != "failed"]
    for environment in standing:
        for passing in ("updated_at", "operation", "last_error"):
            environment.pop(passing)
    files = [path for path in left_in(world.workspace) if not path.startswith(".agent/library/")]
    return files, standing, dict(world.engine.containers)


async def bundles(world: DiskWorld) -> set[str]:
    """The kept bundles, each of which is whole: the archive is there, and it can be read."""
    kept = (await world.http.get(BUNDLES)).json()["bundles"]
    archives = {path.name for path in (world.workspace / ".agent" / "library").iterdir()}
    digests: set[str] = {bundle["digest"] for bundle in kept}
    assert {digest.removeprefix("sha256:") for digest in digests} == archives
    return digests


async def until_it_succeeds(world: DiskWorld, scarcity: Scarcity, change: Change) -> int:
    """Asks for a change with ever more room; how often it was refused, and left nothing."""
    before, kept = await seen(world), await bundles(world)
    for count in range(200):
        scarcity.leave(count)
        answer = await change(world)
        if answer.status_code in {200, 201}:
            return count
        assert answer.status_code == 507, answer.text
        detail = answer.json()["detail"]
        assert "disk is full" in detail
        assert "Remove environments" in detail
        assert before == await seen(world), f"with {count} left"
        # One that came along with a deploy was received before that failed, and can be used again.
        assert change is deployed_with_a_form or kept == await bundles(world)
    pytest.fail("it never succeeded")


@pytest.mark.parametrize("change", [launched, uploaded, deployed_with_a_form])
async def test_what_is_new_leaves_nothing_until_there_is_room(
    world: DiskWorld, scarcity: Scarcity, change: Change
) -> None:
    refused = await until_it_succeeds(world, scarcity, change)

    assert refused > 3


@pytest.mark.parametrize("change", [launched, deployed_with_a_form, rebuilt])
async def test_what_stands_stays_as_it_was_until_there_is_room(
    world: DiskWorld, scarcity: Scarcity, change: Change
) -> None:
    files = {"bundle": ("lab.zip", lab("old"))}
    first = await world.http.put(f"{ENVIRONMENTS}/lab", files=files, headers=WAIT)
    assert first.status_code == 200, first.text

    refused = await until_it_succeeds(world, scarcity, change)

    assert refused > 0


async def test_a_full_disk_keeps_nobody_from_removing(world: DiskWorld, disk: SmallDisk) -> None:
    await deployed_with_a_form(world)
    (bundle,) = await bundles(world)
    disk.fill()
    disk.fill_inodes()

    removed = await world.http.delete("/agent/containers/lab")
    forgotten = await world.http.delete(f"{BUNDLES}/{bundle}")

    assert (removed.status_code, forgotten.status_code) == (200, 204)
    assert left_in(world.workspace) == []
    assert await seen(world) == ([], [], {})
    assert (await launched(world)).status_code == 507
    disk.make_room()
    assert (await launched(world)).status_code == 201


async def test_what_stands_can_be_stopped_and_started_on_a_full_disk(
    world: DiskWorld, disk: SmallDisk
) -> None:
    await deployed_with_a_form(world)
    disk.fill()
    disk.fill_inodes()

    for what in ("stop", "start", "restart", "reset"):
        answer = await world.http.post(f"{ENVIRONMENTS}/lab/{what}", headers=WAIT)
        assert answer.status_code == 200, answer.text
