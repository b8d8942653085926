"""A hundred environments come and go: the agent and its host are then as they were before."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import docker
import httpx
import msgspec
import psutil
import pytest

from domain.images import REPOSITORY
from tests.support import engine
from tests.support.agent_process import Process, agent_process, some_pool
from tests.support.ground_truth import disagreements, records, standing
from tests.support.private_engine import PrivateEngine, missing, private_engine
from tests.support.versioned_labs import Lab, LabKind

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(1200)]

ENVIRONMENTS = 100
AT_ONCE = 6
_FIRST = 20
"""How many come and go before anything is measured: code, threads and caches are had by then."""

_WAIT = {"Prefer": "wait=60"}
_QUIET_SECONDS = 75.0
"""How long unused images and bundles may take to go; housekeeping looks every 30 s."""

MORE_MEMORY_BYTES = 12 * 1024 * 1024
"""What caches that have their bounds may still take."""

STORE_BYTES = 20 * 1024
"""What one environment may leave in the store: its operations, their events, its timeline."""

# In the order in which they come, over and over.
KINDS = (
    LabKind.SMALL,
    LabKind.BUILT,
    LabKind.PLAIN,
    LabKind.BUILD_FAILS,
    LabKind.SMALL,
    LabKind.OWN,
    LabKind.SMALL,
    LabKind.APART,
    LabKind.START_FAILS,
    LabKind.SMALL,
)
CHANGES = ("restart", "reset", "rebuild", "stop")


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent and its host hold."""

    memory_bytes: int
    files: int
    """That are open."""
    threads: int
    commands: int
    on_disk: int
    """Files in the agent's folders, and those that it has for a time."""
    store_bytes: int
    standing: dict[str, int]
    """Things on the Engine by their kind."""


@pytest.fixture
def own() -> Iterator[PrivateEngine]:
    if reason := missing():
        engine.skip_or_fail(reason)
    with private_engine("--iptables=false", "--ip6tables=false") as own:
        yield own


async def come_and_go(agent: Process, number: int) -> None:
    """One environment's life."""
    name, kind = f"lab-{number}", KINDS[number % len(KINDS)]
    lab = Lab(version=f"v{number}", kind=kind)
    if kind is LabKind.OWN:
        assert (await agent.launch(name, lab.archive)).status_code == 201
    else:
        answer = await agent.http.put(
            f"/api/v1/environments/{name}", files={"bundle": lab.archive}, headers=_WAIT
        )
        assert answer.status_code == (200 if lab.good else 422), answer.text
    if lab.good and number % 3 == 0:
        change = CHANGES[number // 3 % len(CHANGES)]
        done(await agent.http.post(f"/api/v1/environments/{name}/{change}", headers=_WAIT))
    if number % 7 == 0:
        done(await agent.http.get(f"/api/v1/environments/{name}/timeline"))
    done(await agent.http.delete(f"/api/v1/environments/{name}", headers=_WAIT))


def done(answer: httpx.Response) -> None:
    """Raises where it was not done."""
    assert answer.status_code == 200, answer.text


async def all_come_and_go(agent: Process, numbers: range) -> None:
    """Several at once."""
    turns = anyio.CapacityLimiter(AT_ONCE)

    async def one(number: int) -> None:
        async with turns:
            await come_and_go(agent, number)

    async with anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(one, number)


async def quiet(agent: Process, client: docker.APIClient) -> None:
    """Returns when nothing that was built or kept is there any more."""
    with anyio.fail_after(_QUIET_SECONDS):
        while records(agent.root).bundles or any(
            tag.startswith(REPOSITORY)
            for row in standing(client).images
            for tag in row["RepoTags"] or ()
        ):
            await anyio.sleep(0.5)


def footprint(agent: Process, client: docker.APIClient) -> Footprint:
    """What is held now."""
    process, held = psutil.Process(agent.process.pid), standing(client)
    root = agent.root
    folders = (root / "ws", root / "state", root / "tmp")
    return Footprint(
        memory_bytes=process.memory_info().rss,
        files=process.num_fds(),
        threads=process.num_threads(),
        commands=len(process.children(recursive=True)),
        on_disk=sum(len([*folder.rglob("*")]) for folder in folders),
        store_bytes=_store_bytes(root / "state" / "agent.db"),
        standing={
            "containers": len(held.containers),
            "networks": len(held.networks),
            "volumes": len(held.volumes),
            "images": len(held.images),
        },
    )


def _store_bytes(path: Path) -> int:
    """What is in the store, whether or not it has reached the file itself."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        (pages,), (size,) = (
            store.execute(f"PRAGMA page_{what}").fetchone() for what in ("count", "size")
        )
        return int(pages * size)


async def test_what_comes_and_goes_leaves_nothing(tmp_path: Path, own: PrivateEngine) -> None:
    (tmp_path / "tmp").mkdir()
    variables = {"DOCKER_SOCKET": own.address, "NETWORK_POOL": some_pool()}
    short_lived = {"BUNDLE_TTL": "1s", "IMAGE_TTL": "1s", "TMPDIR": str(tmp_path / "tmp")}
    async with agent_process(tmp_path, **variables, **short_lived) as agent:
        with own.client() as client:
            empty = footprint(agent, client)
            await all_come_and_go(agent, range(_FIRST))
            before = footprint(agent, client)

            began = time.monotonic()
            await all_come_and_go(agent, range(_FIRST, _FIRST + ENVIRONMENTS))
            took = time.monotonic() - began
            await quiet(agent, client)
            after = footprint(agent, client)

            print(f"{ENVIRONMENTS} environments in {took:.0f} s", empty, before, after, sep="\n")
            assert disagreements(client, tmp_path) == []
    assert after.standing == empty.standing
    assert after.commands == 0
    # What SQLite keeps beside its file may come or go.
    assert after.on_disk <= empty.on_disk + 2
    assert after.files <= before.files + 3
    assert after.threads <= before.threads + 3
    assert after.memory_bytes <= before.memory_bytes + MORE_MEMORY_BYTES
    assert after.store_bytes <= before.store_bytes + ENVIRONMENTS * STORE_BYTES
