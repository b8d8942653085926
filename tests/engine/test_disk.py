"""What Docker keeps and what of it goes, on an Engine of the test's own, where all may go."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.engine.test_environments import deploy
from tests.support import engine
from tests.support.agent_process import Process, agent_process
from tests.support.private_engine import PrivateEngine, missing, private_engine

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

LAB = {
    "compose.yaml": "services: {web: {build: ., init: true}}",
    "Dockerfile": "FROM busybox\nRUN echo of-the-lab > /lab\nCMD sleep 600\n",
}

_KINDS = {
    "Images": "images",
    "Containers": "containers",
    "Local Volumes": "volumes",
    "Build Cache": "build_cache",
}


class Site:
    """An Engine, and an agent on it."""

    def __init__(self, own: PrivateEngine, agent: Process, folder: Path) -> None:
        self.own = own
        self.agent = agent
        self.folder = folder

    async def docker(self, *arguments: str) -> bytes:
        """What ``docker`` prints."""
        command = ["docker", "--host", self.own.address, *arguments]
        with anyio.fail_after(90):
            return (await anyio.run_process(command, check=True)).stdout

    async def build(self, text: str, *options: str) -> None:
        """Builds an image of a Dockerfile."""
        await anyio.Path(self.folder, "Dockerfile").write_text(text)
        await self.docker("build", "-q", *options, str(self.folder))

    async def prune(self, **query: str) -> Any:
        """What the agent clears away."""
        answer = await self.agent.http.post("/api/v1/system/prune", params=query, timeout=90)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def kept(self) -> dict[str, list[str]]:
        """What there is."""
        with self.own.client() as client:
            return {
                "containers": sorted(row["Names"][0] for row in client.containers(all=True)),
                "images": sorted(tag for row in client.images() for tag in row["RepoTags"] or [""]),
                "volumes": sorted(r["Name"] for r in client.volumes()["Volumes"] or []),
            }


@pytest.fixture
def own() -> Iterator[PrivateEngine]:
    if reason := missing():
        engine.skip_or_fail(reason)
    with private_engine() as own:
        yield own


@pytest.fixture
async def site(own: PrivateEngine, tmp_path: Path) -> AsyncIterator[Site]:
    folder, build = tmp_path / "agent", tmp_path / "build"
    folder.mkdir()
    build.mkdir()
    async with agent_process(folder, DOCKER_SOCKET=own.address) as agent:
        yield Site(own, agent, build)


def human(size: float) -> str:
    """Bytes as the command writes them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.4g}{unit}"
        size /= 1000
    raise AssertionError


async def test_it_is_counted_as_docker_system_df_counts_it(site: Site) -> None:
    write = "head -c 3000000 /dev/zero > /data/x; head -c 1500000 /dev/zero > /x"
    await site.docker("run", "--name", "ended", "-v", "used:/data", "busybox", "sh", "-c", write)
    await site.docker("run", "-d", "--name", "runs", "busybox", "sleep", "600")
    await site.docker("run", "--rm", "-v", "unused:/data", "busybox", "sh", "-c", write)
    await site.build("FROM busybox\nRUN head -c 500000 /dev/zero > /y\n", "-t", "other:1")

    printed = await site.docker("system", "df", "--format", "json")
    ours = (await site.agent.http.get("/api/v1/system/disk")).json()

    rows = {row["Type"]: row for row in map(json.loads, printed.splitlines())}
    for theirs, kind in _KINDS.items():
        row, told = rows[theirs], ours[kind]
        assert (told["count"], told["active"]) == (int(row["TotalCount"]), int(row["Active"]))
        assert human(told["size_bytes"]) == row["Size"]
        assert human(told["reclaimable_bytes"]) == row["Reclaimable"].partition(" ")[0]
    assert ours["volumes"]["reclaimable_bytes"] == 3_000_000
    assert ours["containers"]["reclaimable_bytes"] >= 1_500_000
    assert ours["build_cache"]["count"] > 0


async def test_what_the_dry_run_tells_is_what_goes_and_all_else_stays(site: Site) -> None:
    assert (await deploy(site.agent, "lab", LAB)).status_code == 200
    await site.agent.http.post("/api/v1/environments/lab/stop", headers={"Prefer": "wait=60"})
    await site.docker("run", "-d", "--name", "runs", "busybox", "sleep", "600")
    await site.build("FROM busybox\nRUN head -c 2000000 /dev/zero > /y\n", "-t", "once:1")
    await site.docker("run", "--name", "ended", "once:1", "sh", "-c", "echo some > /x")
    await site.docker("volume", "create", "data")
    await site.build("FROM busybox\nRUN echo 1 > /z\nLABEL unnamed=yes\n")
    before = await site.kept()

    told = await site.prune(dry_run="true", all="true")
    assert await site.kept() == before
    done = await site.prune(all="true")
    after = await site.kept()

    names = {k["kind"]: sorted(item["id"] for item in k["items"]) for k in told["kinds"]}
    assert {k["kind"]: sorted(i["id"] for i in k["items"]) for k in done["kinds"]} == names
    assert [len(names["containers"]), len(names["images"])] == [1, 2]
    assert len(names["build-cache"]) >= 2
    assert done["reclaimed_bytes"] == pytest.approx(told["reclaimed_bytes"], rel=0.05)
    assert done["reclaimed_bytes"] >= 2_000_000
    assert set(before["containers"]) - set(after["containers"]) == {"/ended"}
    assert set(before["images"]) - set(after["images"]) == {"once:1", ""}
    assert after["volumes"] == ["data"]

    started = await site.agent.http.post(
        "/api/v1/environments/lab/start", headers={"Prefer": "wait=60"}
    )
    assert started.status_code == 200, started.text


async def test_only_what_bears_a_label_and_is_old_enough_goes(site: Site) -> None:
    for name in ("mine", "other"):
        await site.docker("run", "--name", name, "--label", f"course={name}", "busybox", "true")
    await site.build("FROM busybox\nRUN echo 1 > /z\nLABEL course=mine\n")

    young = await site.prune(label="course=mine", older_than="1h")
    assert all(not kind["items"] for kind in young["kinds"])
    await site.prune(label="course=mine")

    kept = await site.kept()
    assert kept["containers"] == ["/other"]
    assert "" not in kept["images"]


async def test_young_build_cache_stays_where_an_age_is_asked_for(site: Site) -> None:
    await site.build("FROM busybox\nRUN echo 1 > /z\n", "-t", "gone:1")
    await site.docker("rmi", "gone:1")

    for query in ({"dry_run": "true"}, {}):
        (young,) = (await site.prune(kind="build-cache", older_than="1h", **query))["kinds"]
        assert young["items"] == []
    (all_of_it,) = (await site.prune(kind="build-cache", all="true"))["kinds"]
    assert any("echo 1 > /z" in item["name"] for item in all_of_it["items"])
    printed = await site.docker("system", "df", "--format", "json")
    rows = {row["Type"]: row for row in map(json.loads, printed.splitlines())}
    assert rows["Build Cache"]["TotalCount"] == "0"
