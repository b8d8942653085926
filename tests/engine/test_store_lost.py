"""The agent's records damaged or gone: every environment is there again, and can be changed."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from tests.support import engine
from tests.support.agent_process import Process, agent_process, some_pool
from tests.support.expectations import Expected, departures
from tests.support.ground_truth import disagreements, records, standing
from tests.support.private_engine import PrivateEngine, missing, private_engine
from tests.support.versioned_labs import Lab, LabKind

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(600)]

LABS = {
    "plain": Lab(version="v1", kind=LabKind.PLAIN),
    "built": Lab(version="v2", kind=LabKind.BUILT),
    "own": Lab(version="v3", kind=LabKind.OWN),
    "apart": Lab(version="v4", kind=LabKind.APART),
    "stopped": Lab(version="v5", kind=LabKind.BUILT),
}
FAILED = Lab(version="v6", kind=LabKind.BUILD_FAILS)
KEPT = Lab(version="v7", kind=LabKind.PLAIN)

_LASTING = ("state", "created_at", "expires_at", "hold", "labels", "bundle", "isolation")


@pytest.fixture
def own() -> Iterator[PrivateEngine]:
    if reason := missing():
        engine.skip_or_fail(reason)
    with private_engine() as own:
        yield own


def overwrite_the_middle(store: Path) -> None:
    """What a disk that lies leaves, when all had been written to the file itself."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        # So that nobody has anything of it in memory.
        connection.execute("UPDATE environments SET name = name")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = store.stat().st_size
    with store.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\xa5" * (size // 3))


def delete(store: Path) -> None:
    """All of it."""
    for path in store.parent.glob("agent.db*"):
        path.unlink()


async def stand(agent: Process) -> None:
    """Lets environments of all kinds stand, and one that failed, and a bundle that is kept."""
    assert (await agent.launch("own", LABS["own"].archive)).status_code == 201
    for name in LABS.keys() - {"own"}:
        fields = {"ttl": "2h", "labels": '{"course": "web-101"}'} if name == "built" else {}
        answer = await agent.deploy(name, LABS[name].archive, **fields)
        assert answer.status_code == 202, answer.text
    await agent.deploy("failed", FAILED.archive)
    assert await agent.idle(60)
    hold = {"hold": {"owner": "jana", "reason": "exam"}}
    assert (await agent.http.patch("/api/v1/environments/apart", json=hold)).status_code == 200
    assert (await agent.change("stopped", "stop")).status_code == 202
    kept = await agent.http.post("/api/v1/bundles", content=KEPT.archive)
    assert kept.status_code == 201
    assert await agent.idle(60)


async def shown(agent: Process) -> Mapping[str, Any]:
    """What lasts of each environment, as the API shows it."""
    answer = (await agent.http.get("/api/v1/environments")).json()
    return {
        e["name"]: {field: e[field] for field in _LASTING}
        for e in answer["environments"]
        if e["state"] != "failed"
    }


def expected(own: PrivateEngine) -> Mapping[str, Expected]:
    """What stands, held to the containers that do."""
    with own.client() as client:
        held = standing(client)
    return {
        name: Expected(
            lab=lab,
            running=name != "stopped",
            born=lab.version,
            volumes=lab.volumes,
            containers=frozenset(row["Id"] for row in held.of(name)),
        )
        for name, lab in LABS.items()
    }


def wrong(own: PrivateEngine, root: Path, expected: Mapping[str, Expected]) -> list[str]:
    """What is not as it must be."""
    with own.client() as client:
        return [*departures(client, root, expected), *disagreements(client, root)]


@pytest.mark.parametrize("lose", [overwrite_the_middle, delete])
async def test_records_that_are_lost_are_made_anew(
    tmp_path: Path, own: PrivateEngine, lose: Callable[[Path], None]
) -> None:
    variables = {"DOCKER_SOCKET": own.address, "NETWORK_POOL": some_pool()}
    async with agent_process(tmp_path, **variables) as agent:
        await stand(agent)
        before = await shown(agent)
        bundles = set(records(tmp_path).bundles)
        await agent.kill()
    wanted = expected(own)
    lose(tmp_path / "state" / "agent.db")

    async with agent_process(tmp_path, **variables) as agent:
        assert wrong(own, tmp_path, wanted) == []
        assert await shown(agent) == before
        assert set(records(tmp_path).bundles) == bundles
        report = await agent.consistency()
        assert report["consistent"], report
        log = await anyio.Path(tmp_path, "agent.log").read_text()
        assert ("store damaged, set aside" in log) == (lose is overwrite_the_middle)
        for name in LABS:
            assert f'"subject":"{name}"' in log

        for name in LABS:
            assert (await agent.change(name, "restart")).status_code == 202
        assert await agent.idle(60)
        now_running = {n: msgspec.structs.replace(e, running=True) for n, e in wanted.items()}
        assert wrong(own, tmp_path, now_running) == []

        for name in LABS:
            gone = await agent.http.delete(f"/api/v1/environments/{name}?force=true")
            assert gone.status_code == 202
        assert await agent.idle(60)
        assert wrong(own, tmp_path, {}) == []
        assert {i.environment for i in records(tmp_path).images.values()} == {None}


async def test_records_that_are_damaged_while_the_agent_runs_are_made_anew(
    tmp_path: Path, own: PrivateEngine
) -> None:
    variables = {"DOCKER_SOCKET": own.address, "NETWORK_POOL": some_pool()}
    async with agent_process(tmp_path, **variables) as agent:
        await stand(agent)
        before, wanted = await shown(agent), expected(own)

        overwrite_the_middle(tmp_path / "state" / "agent.db")

        with anyio.fail_after(90):
            while "store damaged, set aside" not in await log_of(agent):
                await agent.http.get("/api/v1/operations")
                await anyio.sleep(0.5)
            while await shown(agent) != before or wrong(own, tmp_path, wanted):
                await anyio.sleep(0.5)
        assert wrong(own, tmp_path, wanted) == []
        assert (await agent.consistency())["consistent"]
        health = (await agent.http.get("/health")).json()
        assert health["status"] == "ok", health


async def log_of(agent: Process) -> str:
    """What it wrote."""
    return await anyio.Path(agent.root, "agent.log").read_text()
