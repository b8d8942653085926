"""Single containers on a real Engine: the same questions put to ``docker`` and to the agent."""

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import httpx
import pytest

from adapters.iptables_firewall import IptablesFirewall
from adapters.memory.log import MemoryLog
from domain.arrangement import WORKSPACE_LABEL
from tests.contracts.test_firewall import missing
from tests.engine.test_environments import SLEEPER, deploy
from tests.engine.test_isolation import GET, service
from tests.support import engine
from tests.support.agent_process import Process, agent_process

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

CONTAINERS = "/api/v1/containers"


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


class Site:
    """An agent, and the containers that a test makes through it."""

    def __init__(self, agent: Process, host: engine.Host, pool: str) -> None:
        self.agent = agent
        self.http = agent.http
        self.host = host
        self.pool = pool
        self.mark = f"t-{uuid4().hex[:12]}"

    def name(self, part: str) -> str:
        """The full name of a container."""
        return f"{self.mark}-{part}"

    async def make(
        self, part: str, command: Any = ("sleep", "600"), **fields: Any
    ) -> httpx.Response:
        """Asks for a container that runs."""
        body = {
            "name": self.name(part),
            "image": engine.BASE_IMAGE,
            "command": command,
            "labels": {"test": self.mark},
            **fields,
        }
        return await self.http.post(CONTAINERS, params={"start": "true"}, json=body)

    async def run(self, part: str, command: Any = ("sleep", "600"), **fields: Any) -> Any:
        """A container that runs."""
        answer = await self.make(part, command, **fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def ask(self, part: str, what: str = "", **query: Any) -> httpx.Response:
        """Asks something of a container."""
        path = f"{CONTAINERS}/{self.name(part)}/{what}".rstrip("/")
        return await self.http.get(path, params=query)

    async def act(self, part: str, what: str, **query: Any) -> httpx.Response:
        """Does something to a container."""
        return await self.http.post(f"{CONTAINERS}/{self.name(part)}/{what}", params=query)

    async def ended(self, part: str) -> Any:
        """How a container ended, once it has."""
        answer = await self.ask(part, "wait", condition="exited", timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def clear(self) -> None:
        """Removes what was made."""
        client = self.host.client
        for row in client.containers(all=True, filters={"label": f"test={self.mark}"}):
            client.remove_container(row["Id"], force=True, v=True)
        workspace = f"{WORKSPACE_LABEL}={self.agent.root / 'ws'}"
        for row in client.networks(filters={"label": workspace}):
            client.remove_network(row["Id"])


@pytest.fixture
async def site(tmp_path: Path, host: engine.Host) -> AsyncIterator[Site]:
    pool = f"10.216.{int(uuid4()) % 256}.0/24"
    # The Engine is shared, and full of others' containers.
    many = {"MAX_COMMITTED_CPU_PERCENT": "1000000", "MAX_COMMITTED_MEMORY_PERCENT": "1000000"}
    async with agent_process(tmp_path, NETWORK_POOL=pool, **many) as agent:
        found = Site(agent, host, pool)
        try:
            yield found
        finally:
            found.clear()


async def docker(*arguments: str) -> bytes:
    """What ``docker`` prints, on both streams."""
    return (await anyio.run_process(["docker", *arguments], check=True)).stdout


async def test_lists_say_what_docker_ps_says(site: Site) -> None:
    await site.run("web", labels={"test": site.mark, "course": "web-101"})
    await site.run("once", ["sh", "-c", "exit 3"])
    await site.ended("once")

    form = "{{json .}}"
    mine = f"label=test={site.mark}"
    printed = await docker("ps", "-a", "--no-trunc", "--filter", mine, "--format", form)
    theirs = sorted((json.loads(line) for line in printed.splitlines()), key=lambda r: r["Names"])
    query = {"all": "true", "label": f"test={site.mark}", "fresh": "true"}
    ours = (await site.http.get(CONTAINERS, params=query)).json()["containers"]

    assert [(r["ID"], r["Names"], r["Image"], r["State"]) for r in theirs] == [
        (r["id"], r["name"], r["image"], r["state"]) for r in ours
    ]
    assert [row["exit_code"] for row in ours] == [3, None]


async def test_an_inspection_says_what_docker_inspect_says(site: Site) -> None:
    ours = await site.run(
        "web",
        ["sh", "-c", "exec sleep 600"],
        env={"COURSE": "web-101"},
        ports=["127.0.0.1::80"],
        volumes=[{"target": "/cache"}, {"type": "tmpfs", "target": "/fast", "size": "1m"}],
        limits={"cpus": 0.5, "memory": "64m", "pids": 50},
        restart_policy="unless-stopped",
        healthcheck={"test": ["CMD", "true"], "interval": "1s"},
        user="0:0",
        working_dir="/tmp",
        hostname="web",
    )

    (theirs,) = json.loads(await docker("inspect", ours["id"]))

    config, given = theirs["Config"], theirs["HostConfig"]
    assert theirs["Name"] == f"/{ours['name']}"
    assert theirs["Image"] == ours["image_id"]
    assert config["Cmd"] == ours["command"]
    assert config["Labels"] == ours["labels"]
    assert dict(pair.split("=", 1) for pair in config["Env"]) == ours["env"]
    assert (config["User"], config["WorkingDir"], config["Hostname"]) == (
        ours["user"],
        ours["working_dir"],
        ours["hostname"],
    )
    assert given["NanoCpus"] == ours["limits"]["cpus"] * 1e9
    assert given["Memory"] == given["MemorySwap"] == ours["limits"]["memory_bytes"]
    assert given["PidsLimit"] == ours["limits"]["pids"]
    assert (
        given["CapAdd"] == [f"CAP_{name}" for name in ours["cap_add"]]
        or given["CapAdd"] == (ours["cap_add"])
    )
    assert given["CapDrop"] == ours["cap_drop"] == ["ALL"]
    assert given["SecurityOpt"] == ours["security_opt"] == ["no-new-privileges:true"]
    assert given["Privileged"] is ours["privileged"] is False
    assert given["RestartPolicy"]["Name"] == ours["restart_policy"]["name"]
    (bound,) = theirs["NetworkSettings"]["Ports"]["80/tcp"]
    (port,) = (await site.ask("web")).json()["ports"]
    assert (bound["HostIp"], int(bound["HostPort"])) == (port["host_address"], port["host_port"])
    assert {m["Destination"] for m in theirs["Mounts"]} == {
        m["destination"] for m in ours["mounts"]
    }


async def test_processes_and_changes_are_those_of_docker_top_and_docker_diff(site: Site) -> None:
    await site.run("web", ["sh", "-c", "echo x >/tmp/new; rm /bin/wc; exec sleep 600"])
    await anyio.sleep(0.5)

    top = (await site.ask("web", "top")).json()
    diff = (await site.ask("web", "diff")).json()

    printed = (await docker("top", site.name("web"))).decode().splitlines()
    assert printed[0].split() == top["titles"]
    pid = top["titles"].index("PID")
    assert {row.split()[pid] for row in printed[1:]} == {row[pid] for row in top["processes"]}
    kinds = {"A": "added", "C": "modified", "D": "deleted"}
    lines = (await docker("diff", site.name("web"))).decode().splitlines()
    assert {(line[2:], kinds[line[0]]) for line in lines} == {
        (change["path"], change["kind"]) for change in diff["changes"]
    }
    assert diff["total"] == len(lines)


async def test_logs_are_those_of_docker_logs_byte_by_byte(site: Site) -> None:
    script = "printf 'one\\n'; printf 'two\\n' >&2; printf 'a\\377\\000b\\033[31m\\r\\nlast\\n'"
    await site.run("web", ["sh", "-c", script])
    await site.ended("web")
    name = site.name("web")

    out = (await site.ask("web", "logs", stderr="false")).content
    err = (await site.ask("web", "logs", stdout="false")).content
    stamped = (await site.ask("web", "logs", stderr="false", timestamps="true", tail=2)).content

    theirs = await anyio.run_process(["docker", "logs", name])
    assert (out, err) == (theirs.stdout, theirs.stderr)
    assert out == b"one\na\xff\x00b\x1b[31m\r\nlast\n"
    with_stamps = await anyio.run_process(["docker", "logs", "-t", "--tail", "2", name])
    assert stamped == with_stamps.stdout


async def test_megabytes_of_noise_come_as_they_were_printed(site: Site) -> None:
    script = "dd if=/dev/urandom of=/noise bs=64k count=64 2>/dev/null; cat /noise; echo"
    await site.run("web", ["sh", "-c", script], limits={"log": "64m"})
    await site.ended("web")

    noise = (await site.ask("web", "files", path="/noise")).content
    plain = (await site.ask("web", "logs")).content
    answer = await site.http.get(
        f"{CONTAINERS}/{site.name('web')}/logs", headers={"accept": "application/x-ndjson"}
    )

    assert len(noise) == 64 * 64 * 1024
    assert hashlib.sha256(plain[: len(noise)]).digest() == hashlib.sha256(noise).digest()
    records = [json.loads(line) for line in answer.content.splitlines()]
    assert len(records) > 1000
    assert any("base64" in record for record in records)


async def test_files_are_those_of_docker_cp(site: Site, tmp_path: Path) -> None:
    script = "mkdir -p /srv/a; echo one >/srv/a/one; ln -s /srv/a/one /srv/link; chmod 600 /srv/a/*"
    await site.run("web", ["sh", "-c", script])
    await site.ended("web")

    one = await site.ask("web", "files", path="/srv/link")
    folder = await site.ask("web", "files", path="/srv/a")

    theirs = await docker("cp", f"{site.name('web')}:/srv/a", "-")
    assert one.content == b"one\n"
    assert (one.headers["content-length"], one.headers["x-file-mode"]) == ("4", "0600")
    assert members(folder.content) == members(theirs) == {"a/": 0, "a/one": 4}


def members(archive: bytes) -> dict[str, int]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        return {m.name + ("/" if m.isdir() else ""): m.size for m in found}


async def test_waiting_tells_the_exit_code_that_docker_wait_tells(site: Site) -> None:
    await site.run("web", ["sh", "-c", "sleep 1; exit 7"])

    ours = await site.ended("web")

    assert str(ours["exit_code"]).encode() == (await docker("wait", site.name("web"))).strip()


async def test_health_is_waited_for(site: Site) -> None:
    check = {"test": "[ -e /well ]", "interval": 0.5, "retries": 100}
    await site.run("web", ["sh", "-c", "sleep 1; touch /well; exec sleep 600"], healthcheck=check)

    answer = await site.ask("web", "wait", condition="healthy", timeout=60)

    assert (answer.status_code, answer.json()["health"]) == (200, "healthy")


async def test_a_removal_is_waited_for_and_seen_within_a_second(site: Site) -> None:
    await site.run("web")

    async with anyio.create_task_group() as group:

        async def remove_soon() -> None:
            await anyio.sleep(0.5)
            await docker("rm", "-f", site.name("web"))

        group.start_soon(remove_soon)
        answer = await site.ask("web", "wait", condition="removed", timeout=60)

    assert answer.json()["state"] is None


async def test_a_whole_life(site: Site) -> None:
    script = "trap 'exit 5' HUP; while :; do sleep 0.1; done"
    await site.run("web", ["sh", "-c", script], init=False)
    states = []
    for what, query in (
        ("pause", {}),
        ("unpause", {}),
        ("restart", {"grace": 0}),
        ("stop", {"grace": 0}),
        ("start", {}),
    ):
        answer = await site.act("web", what, **query)
        assert answer.status_code == 200, answer.text
        states.append(answer.json()["state"]["status"])
        shown = await docker("inspect", "-f", "{{.State.Status}}", site.name("web"))
        assert shown.decode().strip() == states[-1]
    assert states == ["paused", "running", "running", "exited", "running"]

    await anyio.sleep(0.5)
    assert (await site.act("web", "kill", signal="HUP")).status_code == 200
    assert (await site.ended("web"))["exit_code"] == 5
    assert (await site.http.delete(f"{CONTAINERS}/{site.name('web')}")).status_code == 204
    assert (await site.ask("web")).status_code == 404


async def test_a_grace_is_given_and_then_ended(site: Site) -> None:
    await site.run("web", ["sh", "-c", "trap : TERM; while :; do sleep 0.1; done"], init=False)
    began = anyio.current_time()

    answer = await site.act("web", "stop", grace=2)

    assert answer.json()["state"]["exit_code"] == 137
    assert 1.5 < anyio.current_time() - began < 30


async def test_one_that_cannot_start_leaves_nothing_but_the_reason(site: Site) -> None:
    answer = await site.make("web", ["/no/such/program"], init=False)

    assert answer.status_code == 422, answer.text
    assert "no such file" in answer.json()["detail"]
    assert await docker("ps", "-aq", "--filter", f"label=test={site.mark}") == b""


async def test_what_a_killed_agent_had_made_and_not_told_goes_with_the_next_start(
    site: Site, tmp_path: Path
) -> None:
    answers: list[httpx.Response] = []

    async def ask() -> None:
        with suppress(httpx.TransportError):
            answers.append(await site.make("web", volumes=[f"{site.mark}-new:/data"]))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.to_thread.run_sync(made, site)
        await site.agent.kill()

    assert not answers, "It was started before it could be killed."
    volumes = ("volume", "ls", "-q", "--filter", f"name={site.mark}")
    assert await docker(*volumes)
    async with agent_process(tmp_path, NETWORK_POOL=site.pool):
        assert await docker("ps", "-aq", "--filter", f"label=test={site.mark}") == b""
        assert await docker(*volumes) == b""


def made(site: Site) -> None:
    """Returns as soon as the Engine has made a container of this test."""
    filters = {"event": "create", "label": f"test={site.mark}"}
    with closing(site.host.client.events(since=int(time.time()), filters=filters)) as events:
        next(events)


async def test_a_port_that_is_taken_is_a_conflict_and_leaves_nothing(site: Site) -> None:
    first = await site.run("one", ports=["127.0.0.1::80"])
    port = (await site.ask("one")).json()["ports"][0]["host_port"]

    answer = await site.make("two", ports=[f"127.0.0.1:{port}:80"])

    assert answer.status_code == 409, answer.text
    assert "port is already allocated" in answer.json()["detail"]
    left = await docker("ps", "-aq", "--no-trunc", "--filter", f"label=test={site.mark}")
    assert left.decode().split() == [first["id"]]


async def test_what_belongs_to_an_environment_is_not_torn_from_it(
    site: Site, host: engine.Host
) -> None:
    host.projects.append(site.mark)
    assert (await deploy(site.agent, site.mark, {"compose.yaml": SLEEPER})).status_code == 200
    path = f"{CONTAINERS}/{site.mark}-web-1"

    for refused in (
        await site.http.post(f"{path}/stop"),
        await site.http.post(f"{path}/kill"),
        await site.http.delete(path),
    ):
        assert refused.status_code == 409
        assert refused.json()["type"].endswith(":resource-of-environment")
    assert (await site.http.get(path)).json()["environment"] == site.mark
    assert (await site.http.post(f"{path}/restart", params={"force": "true"})).status_code == 200
    gone = {"Prefer": "wait=60"}
    assert (
        await site.http.delete(f"/api/v1/environments/{site.mark}", headers=gone)
    ).status_code == 200


async def test_they_reach_neither_each_other_nor_the_host(site: Site) -> None:
    if reason := missing():
        engine.skip_or_fail(reason)
    serve = "mkdir /www; echo -n web > /www/index.html; exec httpd -f -p 80 -h /www"
    web = await site.run("web", ["sh", "-c", serve])
    other = await site.run("other")
    address, gateway = (other["networks"][0][key] for key in ("ip_address", "gateway"))
    web_address = web["networks"][0]["ip_address"]
    assert IPv4Network(f"{address}/32").subnet_of(IPv4Network(site.pool))
    firewall = IptablesFirewall(MemoryLog(), chain=f"T{site.mark[2:10].upper()}")

    try:
        with service() as port:
            assert (await firewall.protect(site.pool)).active

            async def answer(to: str, port: int) -> str:
                return (
                    await docker("exec", site.name("other"), "sh", "-c", GET.format(to, port))
                ).decode()

            assert await answer(web_address, 80) == ""
            assert await answer(gateway, port) == ""
            # Else nobody would have answered anyway.
            async with httpx.AsyncClient(trust_env=False) as http:
                assert (await http.get(f"http://{web_address}/index.html")).text == "web"
    finally:
        await firewall.withdraw()


async def test_fifty_followers_cost_the_rest_nothing_and_leave_nothing_behind(site: Site) -> None:
    await site.run("web", ["sh", "-c", "while :; do echo tick; sleep 0.2; done"])
    pid = site.agent.process.pid

    alone = used(pid)
    await fifty_follow(site)
    with anyio.fail_after(20):
        files = -1
        while files != (files := used(pid).files):
            await anyio.sleep(1)
    # Connections that are kept for short calls are there by now.
    before = used(pid)
    during = await fifty_follow(site)

    assert during.files >= before.files + 60
    with anyio.fail_after(20):
        while used(pid).files > before.files + 20:
            await anyio.sleep(0.05)
    # Threads for short calls stay for ten seconds, in case they are needed again.
    with anyio.fail_after(30):
        while used(pid).threads > alone.threads + 10:
            await anyio.sleep(0.2)


async def fifty_follow(site: Site) -> "Used":
    """Lets fifty follow for a while; what the agent had open meanwhile."""
    base, key, heard = str(site.http.base_url), dict(site.http.headers), 0

    async def follow(accept: str) -> None:
        nonlocal heard
        path = f"{CONTAINERS}/{site.name('web')}/logs"
        async with (
            httpx.AsyncClient(base_url=base, headers={**key, "accept": accept}) as http,
            http.stream("GET", path, params={"follow": "true"}, timeout=60) as answer,
        ):
            async for piece in answer.aiter_raw():
                heard += piece.count(b"tick")

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(50):
                forms = ("text/plain", "text/event-stream", "application/x-ndjson")
                group.start_soon(follow, forms[number % 3])
            while heard < 500:
                await anyio.sleep(0.05)
            began = anyio.current_time()
            assert (await site.http.get(CONTAINERS)).status_code == 200
            assert anyio.current_time() - began < 10
            found = used(site.agent.process.pid)
            group.cancel_scope.cancel()
    return found


class Used:
    """What a process has open."""

    def __init__(self, pid: int) -> None:
        self.files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a count is all
        self.threads = len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208


def used(pid: int) -> Used:
    """How many files and threads a process has open."""
    return Used(pid)


async def test_a_follower_is_told_of_the_agents_end(site: Site) -> None:
    await site.run("web")
    url = f"{CONTAINERS}/{site.name('web')}/logs"

    async with site.http.stream(
        "GET", url, params={"follow": "true"}, headers={"accept": "text/event-stream"}
    ) as answer:
        site.agent.process.terminate()
        with anyio.fail_after(20):
            text = b"".join([piece async for piece in answer.aiter_raw()])

    told, end = text.split(b"event: end\n")
    assert b'"stream":"agent"' in told
    assert b"stop" in told
    assert end == b"data: {}\n\n"


async def test_pruning_takes_what_has_stopped_and_nobody_needs(site: Site) -> None:
    await site.run("once", ["sh", "-c", "dd if=/dev/zero of=/x bs=1k count=64 2>/dev/null"])
    await site.run("web")
    await site.ended("once")
    mine = {"label": f"test={site.mark}"}

    dry = await site.http.post(f"{CONTAINERS}/prune", params={**mine, "dry_run": "true"})
    wet = await site.http.post(f"{CONTAINERS}/prune", params=mine)

    for answer in (dry.json(), wet.json()):
        (gone,) = answer["containers"]
        assert gone["name"] == site.name("once")
        assert answer["space_reclaimed_bytes"] == gone["size_bytes"] >= 65_536
    left = await docker("ps", "-a", "--format", "{{.Names}}", "--filter", f"label=test={site.mark}")
    assert left.decode().split() == [site.name("web")]
