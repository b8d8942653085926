"""An agent of its own process on a disk that is full, through real sockets."""

import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from tests.support.agent_process import Process, agent_process
from tests.support.api import BUNDLES, ENVIRONMENTS, WAIT
from tests.support.bundles import zip_bundle
from tests.support.small_disk import SmallDisk, left_in, small_disk

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(60)]

SMALL = zip_bundle({"compose.yaml": "services: {web: {image: 'nginx:1'}}"})


def large() -> bytes:
    """A bundle of some megabytes that no archive makes smaller."""
    return zip_bundle(
        {"compose.yaml": "services: {web: {image: 'nginx:1'}}", "data": os.urandom(3_000_000)}
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=24) as disk:
        yield disk


def agent_on(disk: SmallDisk, root: Path) -> AbstractAsyncContextManager[Process]:
    """An agent that has everything on the disk but its log."""
    return agent_process(
        root,
        RUNTIME="memory",
        WORKSPACE_DIR=str(disk.path / "ws"),
        STATE_DIR=str(disk.path / "state"),
        MIN_FREE_PERCENT="0",
    )


async def asked_in_every_way(agent: Process) -> list[httpx.Response]:
    """A launch as the manager asks for it, an upload, and a deploy with a form."""
    return [
        await agent.launch("lab", large()),
        await agent.http.post(BUNDLES, content=large()),
        await agent.http.put(
            f"{ENVIRONMENTS}/lab", files={"bundle": ("lab.zip", large())}, headers=WAIT
        ),
    ]


async def test_bodies_that_do_not_fit_are_answered_while_they_come(
    tmp_path: Path, disk: SmallDisk
) -> None:
    async with agent_on(disk, tmp_path) as agent:
        disk.fill(pages=500)

        refused = await asked_in_every_way(agent)
        files = left_in(disk.path / "ws")
        environments = (await agent.http.get(ENVIRONMENTS)).json()["environments"]
        disk.make_room()
        taken = await asked_in_every_way(agent)

    assert [answer.status_code for answer in refused] == [507] * 3
    assert all("disk is full" in answer.json()["detail"] for answer in refused)
    assert (files, environments) == ([], [])
    assert [answer.status_code for answer in taken] == [201, 201, 200]


@pytest.mark.parametrize("kind", ["bytes", "inodes"])
async def test_started_on_a_full_disk_it_removes_what_stands_and_then_works(
    tmp_path: Path, disk: SmallDisk, kind: str
) -> None:
    async with agent_on(disk, tmp_path) as agent:
        assert (await agent.launch("lab", SMALL)).status_code == 201
        await agent.kill()
    if kind == "bytes":
        disk.fill()
    else:
        disk.fill_inodes()

    async with agent_on(disk, tmp_path) as agent:
        refused = await agent.launch("other", SMALL)
        removed = await agent.http.delete(f"{ENVIRONMENTS}/lab?force=true", headers=WAIT)
        disk.make_room()
        taken = await agent.launch("other", SMALL)

    assert refused.status_code == 507
    assert removed.status_code == 200
    assert taken.status_code == 201


async def test_told_to_stop_on_a_full_disk_it_ends_well(tmp_path: Path, disk: SmallDisk) -> None:
    async with agent_on(disk, tmp_path) as agent:
        assert (await agent.launch("lab", SMALL)).status_code == 201
        disk.fill()
        disk.fill_inodes()
        await agent.launch("other", SMALL)
        agent.process.terminate()

        assert await agent.process.wait() == 0
