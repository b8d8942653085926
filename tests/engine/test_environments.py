"""Environments on a real Engine: limits, reuse, isolation, lifetime, as their users see them."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx
import pytest

from tests.support import engine
from tests.support.agent_process import Process, agent_process
from tests.support.bundles import zip_bundle

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

SLEEPER = "services: {web: {image: busybox, init: true, command: sleep 600}}\n"


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
def names(host: engine.Host) -> list[str]:
    """Names that are cleared away afterwards."""
    found = [f"t-{uuid4().hex[:12]}" for _ in range(4)]
    host.projects.extend(found)
    return found


async def upload(agent: Process, files: Mapping[str, str]) -> str:
    """Keeps a bundle; gives its digest."""
    answer = await agent.http.post("/api/v1/bundles", content=zip_bundle(files))
    assert answer.status_code in {200, 201}, answer.text
    digest: str = answer.json()["digest"]
    return digest


async def deploy(
    agent: Process, name: str, files: Mapping[str, str], **more: Any
) -> httpx.Response:
    """Deploys files under a name and waits for it."""
    body = {"name": name, "bundle": await upload(agent, files), **more}
    return await agent.http.post("/api/v1/environments", json=body, headers={"Prefer": "wait=120"})


async def change(agent: Process, name: str, what: str) -> httpx.Response:
    """Asks for a change and waits for it."""
    return await agent.http.post(
        f"/api/v1/environments/{name}/{what}", headers={"Prefer": "wait=60"}
    )


async def shown(agent: Process, name: str) -> Any:
    """An environment as it is shown."""
    return (await agent.http.get(f"/api/v1/environments/{name}")).json()


async def timeline(agent: Process, name: str) -> str:
    """What happened to an environment, in words."""
    entries = (await agent.http.get(f"/api/v1/environments/{name}/timeline")).json()["entries"]
    return " ".join(entry["text"] for entry in entries)


def container(host: engine.Host, name: str) -> Any:
    """A container as the Engine tells of it."""
    return host.client.inspect_container(name)


def output(host: engine.Host, container: str, *command: str) -> tuple[int, str]:
    """What a command in a container prints, and its exit code."""
    started = host.client.exec_create(container, list(command))
    text = host.client.exec_start(started["Id"]).decode(errors="replace")
    return host.client.exec_inspect(started["Id"])["ExitCode"], text


def group_of(root: Path, identifier: str) -> Path:
    """The control group of a container; others may go meanwhile."""
    return next(Path(at) for at, _, _ in os.walk(root) if identifier in Path(at).name)


def kernel_limits(identifier: str) -> dict[str, str]:
    """What the kernel holds a container to; cgroup v1 or v2."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        names = {"memory": "memory.max", "cpu": "cpu.max", "pids": "pids.max"}
        place = group_of(root, identifier)
        return {kind: (place / file).read_text().strip() for kind, file in names.items()}
    files = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "pids": "pids.max"}
    return {
        kind: (group_of(root / kind, identifier) / file).read_text().strip()
        for kind, file in files.items()
    }


async def test_limits_hold_in_the_kernel(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    async with agent_process(tmp_path) as agent:
        limits = {"cpus": 0.5, "memory": "64m", "pids": 77, "log": "1m"}
        answer = await deploy(agent, names[0], {"compose.yaml": SLEEPER}, limits=limits)

        assert answer.status_code == 200, answer.text
        found = container(host, f"{names[0]}-web-1")
        held = kernel_limits(found["Id"])
        assert held["memory"] == str(64 * 1024 * 1024)
        assert held["cpu"].split()[0] == "50000"
        assert held["pids"] == "77"
        assert found["HostConfig"]["LogConfig"]["Config"]["max-size"] == str(512 * 1024)


async def test_a_bundle_gets_no_more_than_the_host_allows(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    greedy = "services: {web: {image: busybox, command: sleep 600, mem_limit: 64g, cpus: 900}}"
    async with agent_process(tmp_path, MAX_CONTAINER_MEMORY="2g") as agent:
        assert (await deploy(agent, names[0], {"compose.yaml": greedy})).status_code == 200

        found = container(host, f"{names[0]}-web-1")["HostConfig"]
        assert found["Memory"] == 2 * 1024**3


async def test_the_same_lab_is_built_once_and_may_name_its_containers(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    files = {
        "compose.yaml": (
            "services:\n"
            "  web: {build: ., container_name: the-web, command: sleep 600, init: true}\n"
            "  side: {image: busybox, command: sleep 600, init: true}\n"
        ),
        "Dockerfile": f"FROM busybox\nRUN echo {uuid4()} > /built\n",
    }
    async with agent_process(tmp_path) as agent, anyio.create_task_group() as group:
        codes: list[int] = []

        async def one(name: str) -> None:
            codes.append((await deploy(agent, name, files)).status_code)

        for name in names:
            group.start_soon(one, name)
        with anyio.fail_after(120):
            while len(codes) < len(names):
                await anyio.sleep(0.1)

        assert codes == [200] * len(names)
        assert len({container(host, f"{name}-web-1")["Image"] for name in names}) == 1
        operations = (await agent.http.get("/api/v1/operations")).json()["operations"]
        built = [o for o in operations if any("RUN echo" in line for line in o["output"])]
        assert len(built) == 1
        networks = container(host, f"{names[0]}-web-1")["NetworkSettings"]["Networks"]
        assert "the-web" in networks[f"{names[0]}_default"]["Aliases"]


async def test_an_image_with_a_vpn_profile_is_an_environments_own_and_goes_with_it(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    files = {
        "compose.yaml": "services: {vpn: {build: ., command: sleep 600, init: true}}",
        "Dockerfile": "FROM busybox\nCOPY vpn.ovpn /etc/vpn.ovpn\n",
    }
    async with agent_process(tmp_path) as agent:
        for name in names[:2]:
            answer = await deploy(agent, name, files, vpn_profile=f"client {name}\n")
            assert answer.status_code == 200, answer.text
        images = [container(host, f"{name}-vpn-1")["Image"] for name in names[:2]]
        assert images[0] != images[1]
        assert output(host, f"{names[1]}-vpn-1", "cat", "/etc/vpn.ovpn")[1] == (
            f"client {names[1]}\n"
        )

        await agent.http.delete(f"/api/v1/environments/{names[0]}", headers={"Prefer": "wait=60"})

        at_hand = {row["Id"] for row in host.client.images()}
        assert images[0] not in at_hand
        assert images[1] in at_hand
        await agent.http.delete(f"/api/v1/environments/{names[1]}", headers={"Prefer": "wait=60"})


async def test_a_running_build_is_cancelled_within_seconds_and_leaves_nothing(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    files = {
        "compose.yaml": "services: {web: {build: .}}",
        "Dockerfile": f"FROM busybox\nRUN echo {uuid4()}; sleep 60\n",
    }
    async with agent_process(tmp_path) as agent:
        body = {"name": names[0], "bundle": await upload(agent, files)}
        asked = await agent.http.post("/api/v1/environments", json=body)
        assert asked.status_code == 202
        place = asked.headers["location"]
        with anyio.fail_after(30):
            while (await agent.http.get(place)).json()["step"] != "build":
                await anyio.sleep(0.05)
        await anyio.sleep(0.5)

        with anyio.fail_after(40):
            ended = await agent.http.delete(place, headers={"Prefer": "wait=30"})

        assert ended.json()["state"] == "cancelled"
        assert host.holds(names[0]) == engine.NOTHING
        library = ".agent/library/"
        assert [p for p in agent.workspace() if not p.startswith(library)] == []
        assert not [
            tag
            for row in host.client.images(filters={"label": "container-host-agent.build"})
            for tag in row["RepoTags"] or []
            if body["bundle"] in tag
        ]


async def test_environments_cannot_reach_each_other_and_internal_ones_nothing_else(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    page = "services: {web: {image: busybox, init: true, command: httpd -f -p 80}}"
    async with agent_process(tmp_path) as agent:
        open_one, other, shut, _ = names
        for name, isolation in ((open_one, "open"), (other, "open"), (shut, "internal")):
            answer = await deploy(agent, name, {"compose.yaml": page}, isolation=isolation)
            assert answer.status_code == 200, answer.text

        def address(name: str) -> str:
            networks = container(host, f"{name}-web-1")["NetworkSettings"]["Networks"]
            found: str = networks[f"{name}_default"]["IPAddress"]
            return found

        def reaches(name: str, target: str) -> bool:
            code, _ = output(host, f"{name}-web-1", "nc", "-w", "2", target, "80", "-e", "true")
            return code == 0

        assert reaches(open_one, "127.0.0.1")
        assert not reaches(open_one, address(other))
        assert not reaches(open_one, address(shut))
        assert not reaches(shut, address(other))
        network = host.client.inspect_network(f"{shut}_default")
        assert network["Internal"]
        routes = output(host, f"{shut}-web-1", "ip", "route")[1]
        assert "default" not in routes
        subnets = [(await shown(agent, name))["networks"]["default"] for name in names[:3]]
        assert len(set(subnets)) == 3


async def test_a_reset_gives_fresh_containers_and_volumes_from_the_images_at_hand(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    compose = (
        "services: {web: {image: busybox, init: true, command: sleep 600, volumes: ['data:/d']}}\n"
        "volumes: {data: {}}\n"
    )
    async with agent_process(tmp_path) as agent:
        answer = await deploy(agent, names[0], {"compose.yaml": compose})
        assert answer.status_code == 200, answer.text
        output(host, f"{names[0]}-web-1", "touch", "/d/trace", "/trace")
        before = container(host, f"{names[0]}-web-1")["Id"]

        answer = await change(agent, names[0], "reset")
        assert answer.status_code == 200, answer.text

        assert container(host, f"{names[0]}-web-1")["Id"] != before
        assert output(host, f"{names[0]}-web-1", "ls", "/d")[1] == ""

        for what, state in (("stop", "stopped"), ("start", "running"), ("restart", "running")):
            answer = await change(agent, names[0], what)
            assert answer.status_code == 200, answer.text
            assert (await shown(agent, names[0]))["state"] == state


async def test_a_container_that_used_up_its_memory_is_told_of(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    hungry = (
        "services:\n"
        "  eats: {image: busybox, command: 'sh -c \"sleep 1; tail /dev/zero\"'}\n"
        "  stays: {image: busybox, init: true, command: sleep 600}\n"
    )
    async with agent_process(tmp_path) as agent:
        answer = await deploy(agent, names[0], {"compose.yaml": hungry}, limits={"memory": "32m"})
        assert answer.status_code == 200, answer.text

        with anyio.fail_after(30):
            while (found := await shown(agent, names[0]))["state"] != "degraded":
                await anyio.sleep(0.2)
        assert "eats" in found["reason"]
        with anyio.fail_after(10):
            while "used up its memory" not in (told := await timeline(agent, names[0])):
                await anyio.sleep(0.2)
        assert "exit code 137" in told


async def test_output_of_all_services_comes_in_one_stream(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    talkers = (
        "services:\n"
        "  one: {image: busybox, command: 'sh -c \"echo first; sleep 600\"', init: true}\n"
        "  two: {image: busybox, command: 'sh -c \"echo second >&2; sleep 600\"', init: true}\n"
    )
    async with agent_process(tmp_path) as agent:
        assert (await deploy(agent, names[0], {"compose.yaml": talkers})).status_code == 200
        logs = f"/api/v1/environments/{names[0]}/logs"
        with anyio.fail_after(10):
            while len(lines := (await agent.http.get(logs)).text.splitlines()) < 2:
                await anyio.sleep(0.1)
        records = await agent.http.get(logs, headers={"Accept": "application/x-ndjson"})

        assert sorted(lines) == [f"{names[0]}-one-1 | first", f"{names[0]}-two-1 | second"]
        streams = {(r["service"], r["stream"]) for r in map(json.loads, records.text.splitlines())}
        assert streams == {("one", "stdout"), ("two", "stderr")}
        followed = []
        with anyio.move_on_after(3):
            async with agent.http.stream("GET", logs, params={"follow": "true"}) as answer:
                async for line in answer.aiter_lines():
                    followed.append(line)
                    if len(followed) == 2:
                        break
        assert sorted(followed) == sorted(lines)


async def test_an_environment_expires_also_when_the_agent_was_killed_meanwhile(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    async with agent_process(tmp_path) as agent:
        answer = await deploy(agent, names[0], {"compose.yaml": SLEEPER}, ttl=4)
        assert answer.status_code == 200, answer.text
        agent.process.send_signal(signal.SIGKILL)
        await agent.process.wait()

    async with agent_process(tmp_path) as agent:
        with anyio.fail_after(30):
            while host.holds(names[0]) != engine.NOTHING:
                await anyio.sleep(0.2)
        answer = await agent.http.get(f"/api/v1/environments/{names[0]}/timeline")
        assert "Has expired." in {entry["text"] for entry in answer.json()["entries"]}


async def test_a_redeploy_that_fails_leaves_the_earlier_one_running_and_says_so(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    broken = "services: {web: {image: 'registry.invalid/nobody/nothing:1'}}"
    async with agent_process(tmp_path) as agent:
        assert (await deploy(agent, names[0], {"compose.yaml": SLEEPER})).status_code == 200
        before = (await shown(agent, names[0]))["networks"]

        answer = await agent.http.put(
            f"/api/v1/environments/{names[0]}",
            json={"bundle": await upload(agent, {"compose.yaml": broken})},
            headers={"Prefer": "wait=120"},
        )

        assert answer.status_code == 422
        assert "The earlier environment of this name was kept." in answer.json()["detail"]
        found = await shown(agent, names[0])
        assert found["state"] == "running"
        assert "Step 'start' failed" in found["last_error"]
        assert found["networks"] == before


async def test_a_disk_as_good_as_full_refuses_deploys_with_507(
    tmp_path: Path, host: engine.Host, names: list[str]
) -> None:
    async with agent_process(tmp_path, MIN_FREE_PERCENT="0") as agent:
        digest = await upload(agent, {"compose.yaml": SLEEPER})
    # No disk is as empty as that.
    async with agent_process(tmp_path, MIN_FREE_PERCENT="90") as agent:
        free = (await agent.http.get("/system/resources")).json()["file_systems"]
        if all(disk["percent"] < 10 for disk in free):
            pytest.skip("the disks here are emptier than the limit can be set")

        answer = await agent.http.post(
            "/api/v1/environments", json={"name": names[0], "bundle": digest}
        )

        assert answer.status_code == 507
        assert "MIN_FREE_PERCENT" in answer.json()["detail"]
        assert host.holds(names[0]) == engine.NOTHING
