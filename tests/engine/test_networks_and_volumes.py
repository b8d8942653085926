"""Networks and volumes on a real Engine: the same questions put to ``docker`` and to the agent."""

import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx
import pytest

from domain.containers import HELPER_LABEL, PROJECT_LABEL
from tests.support import engine
from tests.support.agent_process import Process, agent_process, some_pool
from tests.support.bundles import tar_bundle

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

NETWORKS = "/api/v1/networks"
VOLUMES = "/api/v1/volumes"


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


class Site:
    """An agent, and what a test makes through it."""

    def __init__(self, agent: Process, host: engine.Host) -> None:
        self.agent = agent
        self.http = agent.http
        self.host = host
        self.mark = f"t-{uuid4().hex[:12]}"
        # It clears away what bears the label, whoever made it.
        host.projects.append(self.mark)

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """What the agent answers, if it does so gladly."""
        answer = await self.http.request(method, path, params=query, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def network(self, part: str, **fields: Any) -> Any:
        """A network that the agent makes."""
        labels = {"test": self.mark}
        return await self.ask(
            "POST", NETWORKS, {"name": f"{self.mark}-{part}", "labels": labels, **fields}
        )

    async def volume(self, part: str) -> str:
        """A volume that the agent makes; its name."""
        body = {"name": f"{self.mark}-{part}", "labels": {"test": self.mark}}
        return str((await self.ask("POST", VOLUMES, body))["name"])

    def run(self, part: str, *options: str, command: tuple[str, ...] = ("sleep", "600")) -> str:
        """A container that ``docker`` runs; its name."""
        name = f"{self.mark}-{part}"
        label = f"{PROJECT_LABEL}={self.mark}"
        docker("run", "-d", "--name", name, "--label", label, *options, engine.BASE_IMAGE, *command)
        return name

    def seen(self, volume: str, script: str) -> str:
        """What a script prints that sees a volume at ``/v``."""
        mount = f"{volume}:/v"
        return docker("run", "--rm", "-v", mount, engine.BASE_IMAGE, "sh", "-c", script).decode()

    def helpers(self, volume: str) -> list[str]:
        """Containers of the agent that look into a volume."""
        filters = {"volume": volume, "label": HELPER_LABEL}
        return [row["Id"] for row in self.host.client.containers(all=True, filters=filters)]

    def clear(self) -> None:
        """Removes what was made."""
        client = self.host.client
        for row in client.containers(all=True, filters={"label": f"{PROJECT_LABEL}={self.mark}"}):
            client.remove_container(row["Id"], force=True, v=True)
        for row in client.networks(filters={"label": f"test={self.mark}"}):
            client.remove_network(row["Id"])
        for row in client.volumes(filters={"name": self.mark})["Volumes"] or []:
            for helper in self.helpers(row["Name"]):
                client.remove_container(helper, force=True)
            client.remove_volume(row["Name"])


@pytest.fixture
async def site(tmp_path: Path, host: engine.Host) -> AsyncIterator[Site]:
    async with agent_process(tmp_path, AGENT_IMAGE=engine.BASE_IMAGE) as agent:
        found = Site(agent, host)
        try:
            yield found
        finally:
            await anyio.to_thread.run_sync(found.clear)


def docker(*arguments: str) -> bytes:
    """What ``docker`` prints."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True).stdout


def told(*arguments: str) -> Any:
    """What ``docker … inspect`` tells of one thing."""
    return json.loads(docker(*arguments))[0]


async def test_lists_say_what_docker_ls_says(site: Site) -> None:
    await site.network("one")
    await site.volume("one")

    networks = await site.ask("GET", NETWORKS, name=site.mark)
    volumes = await site.ask("GET", VOLUMES, label=f"test={site.mark}")

    rows = docker(
        "network", "ls", "--no-trunc", "--format", "{{json .}}", "-f", f"name={site.mark}"
    )
    (row,) = [json.loads(line) for line in rows.splitlines()]
    (network,) = networks["networks"]
    assert [network[k] for k in ("id", "name", "driver", "scope")] == [
        row[k] for k in ("ID", "Name", "Driver", "Scope")
    ]
    names = docker("volume", "ls", "-q", "-f", f"label=test={site.mark}").decode().split()
    assert [volume["name"] for volume in volumes["volumes"]] == names
    assert (networks["total"], volumes["total"]) == (1, 1)


async def test_who_joins_is_where_docker_says_and_reached_by_its_alias(site: Site) -> None:
    network = await site.network("one", internal=True)
    subnet = IPv4Network(network["ranges"][0]["subnet"])
    first, second = site.run("a"), site.run("b")
    wanted = str(subnet[5])

    path = f"{NETWORKS}/{network['id'][:12]}/connect"
    body = {"container": first, "aliases": ["db"], "ipv4_address": wanted}
    await site.ask("POST", path, body)
    joined = await site.ask("POST", path, {"container": second})

    shown = told("network", "inspect", network["name"])
    assert shown["Internal"]
    assert {e["container"]: e["ipv4_address"] for e in joined["endpoints"]} == {
        e["Name"]: e["IPv4Address"] for e in shown["Containers"].values()
    }
    assert docker("exec", second, "ping", "-c1", "-W5", "db").startswith(
        f"PING db ({wanted})".encode()
    )


async def test_who_is_in_a_network_keeps_it_until_it_has_left(site: Site) -> None:
    network, name = await site.network("one"), site.run("a")
    path = f"{NETWORKS}/{network['name']}"
    await site.ask("POST", f"{path}/connect", {"container": name})

    kept = await site.http.delete(path)
    again = await site.http.post(f"{path}/connect", json={"container": name})
    await site.ask("POST", f"{path}/disconnect", {"container": name})
    twice = await site.http.post(f"{path}/disconnect", json={"container": name})
    gone = await site.http.delete(path)

    assert [kept.status_code, again.status_code, twice.status_code] == [409, 409, 409]
    assert "active endpoints" in kept.json()["detail"]
    assert "already exists" in again.json()["detail"]
    assert "not connected" in twice.json()["detail"]
    assert gone.status_code == 204


async def test_a_range_that_another_network_has_is_a_conflict(site: Site) -> None:
    subnet = f"10.{180 + int(uuid4()) % 20}.{int(uuid4()) % 256}.0/26"
    await site.network("one", subnet=subnet)

    body = {"name": f"{site.mark}-two", "subnet": subnet, "labels": {"test": site.mark}}
    answer = await site.http.post(NETWORKS, json=body)

    assert answer.status_code == 409
    assert "overlaps" in answer.json()["detail"]


async def test_pruning_takes_what_nobody_uses_and_tells_before(site: Site) -> None:
    joined, _ = await site.network("joined"), await site.network("free")
    site.run("a", "--network", joined["name"])
    docker("kill", f"{site.mark}-a")
    mounted, free = await site.volume("mounted"), await site.volume("free")
    site.run("b", "-v", f"{mounted}:/v", command=("true",))
    # Others share the Engine.
    mine: dict[str, Any] = {"label": f"test={site.mark}"}

    for dry_run in (True, False):
        networks = await site.ask("POST", f"{NETWORKS}/prune", **mine, dry_run=dry_run)
        volumes = await site.ask("POST", f"{VOLUMES}/prune", **mine, all=True, dry_run=dry_run)
        assert [n["name"] for n in networks["networks"]] == [f"{site.mark}-free"]
        assert [v["name"] for v in volumes["volumes"]] == [free]

    left = await site.ask("GET", NETWORKS, name=site.mark)
    assert [n["name"] for n in left["networks"]] == [joined["name"]]
    left = await site.ask("GET", VOLUMES, name=site.mark)
    assert [(v["name"], v["used_by"][0]["running"]) for v in left["volumes"]] == [(mounted, False)]


async def test_a_backup_is_what_tar_would_have_written(site: Site) -> None:
    volume = await site.volume("one")
    site.seen(volume, "cd /v; mkdir d; dd if=/dev/urandom of=d/f bs=1k count=900; ln -s f d/l")

    answer = await site.http.get(f"{VOLUMES}/{volume}/archive")

    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        found = {m.name.strip("./"): m.linkname or m.size for m in tar if not m.isdir()}
    assert found == {"d/f": 900 * 1024, "d/l": "f"}
    assert site.helpers(volume) == []


async def test_what_docker_wrote_is_restored_and_measured(site: Site) -> None:
    volume, archive = f"{site.mark}-new", tar_bundle({"a": b"1" * 5000}, compressed=True)

    answer = await site.http.put(f"{VOLUMES}/{volume}/archive", content=archive)

    assert answer.status_code == 200, answer.text
    assert site.seen(volume, "ls -A /v; wc -c < /v/a") == "a\n5000\n"
    assert (await site.ask("GET", f"{VOLUMES}/{volume}"))["size_bytes"] == 5000


async def test_an_archive_of_any_length_passes_through_without_staying(site: Site) -> None:
    volume, size = f"{site.mark}-new", 200 * 1024 * 1024
    before = peak(site.agent.process.pid)

    answer = await site.http.put(f"{VOLUMES}/{volume}/archive", content=long_archive(size))
    assert answer.status_code == 200, answer.text
    async with site.http.stream("GET", f"{VOLUMES}/{volume}/archive") as backup:
        length = sum([len(piece) async for piece in backup.aiter_raw()])

    assert length > size
    assert peak(site.agent.process.pid) - before < 60 * 1024 * 1024


async def long_archive(size: int) -> AsyncIterator[bytes]:
    """A tar of one long file, in pieces."""
    info = tarfile.TarInfo("long")
    info.size = size
    yield info.tobuf()
    for _ in range(size // 2**20):
        yield bytes(2**20)
    yield bytes(1024)


def peak(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


async def test_a_client_that_goes_away_leaves_the_volume_as_it_was(site: Site) -> None:
    volume = await site.volume("one")
    site.seen(volume, "echo old > /v/old")

    async def broken() -> AsyncIterator[bytes]:
        async for piece in long_archive(8 * 2**20):
            yield piece
            await anyio.sleep(0.05)
            if len(site.helpers(volume)) and len(piece) > 512:
                raise OSError("the line is cut")

    with pytest.raises((OSError, httpx.HTTPError)):
        await site.http.put(f"{VOLUMES}/{volume}/archive?clear=true", content=broken())
    await gone(site, volume)

    assert site.seen(volume, "ls -A /v") == "old\n"


async def test_a_backup_that_nobody_reads_on_leaves_no_helper(site: Site) -> None:
    volume = await site.volume("one")
    site.seen(volume, "dd if=/dev/zero of=/v/f bs=1M count=64 2>/dev/null")

    async with site.http.stream("GET", f"{VOLUMES}/{volume}/archive") as answer:
        await anext(answer.aiter_raw())

    await gone(site, volume)


async def gone(site: Site, volume: str) -> None:
    """Returns when no container of the agent looks into a volume any more."""
    with anyio.fail_after(30):
        while site.helpers(volume):
            await anyio.sleep(0.1)


async def test_a_killed_agent_finishes_at_its_next_start(tmp_path: Path, host: engine.Host) -> None:
    pool = some_pool()
    async with agent_process(tmp_path, AGENT_IMAGE=engine.BASE_IMAGE, NETWORK_POOL=pool) as agent:
        site = Site(agent, host)
        volume = await site.volume("one")
        site.seen(volume, "echo old > /v/old")

        async def killing() -> AsyncIterator[bytes]:
            async for piece in long_archive(8 * 2**20):
                yield piece
                if site.helpers(volume) and len(piece) > 512:
                    await anyio.sleep(0.5)
                    await agent.kill()

        with pytest.raises(httpx.HTTPError):
            await site.http.put(f"{VOLUMES}/{volume}/archive?clear=true", content=killing())
    try:
        async with agent_process(tmp_path, AGENT_IMAGE=engine.BASE_IMAGE, NETWORK_POOL=pool):
            await gone(site, volume)
            assert site.seen(volume, "ls -A /v") == "old\n"
    finally:
        await anyio.to_thread.run_sync(site.clear)
