"""The agent as a process, on a real Engine, as the deployed manager uses it."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.abc
import httpx
import pytest

from entrypoints.cli.demo.processes import free_port
from tests.support import engine
from tests.support.agent_process import KEY, Process, agent_process, starting_agent
from tests.support.bundles import zip_bundle

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

LAB_FILES = {
    "docker-compose.yml": (
        "services:\n"
        "  web:\n"
        "    build: .\n"
        "    cap_add: [NET_ADMIN]\n"
        '    devices: ["/dev/net/tun:/dev/net/tun"]\n'
        "    restart: on-failure\n"
        '    ports: ["127.0.0.1:{port}:80"]\n'
        '    volumes: ["data:/data", "./site:/site"]\n'
        '    healthcheck: {{test: ["CMD", "true"], interval: 1s}}\n'
        "  side:\n"
        "    image: busybox\n"
        "    command: sleep 600\n"
        "    depends_on: {{web: {{condition: service_healthy}}}}\n"
        "volumes: {{data: {{}}}}\n"
    ),
    "dockerfile": (
        "FROM busybox\nCOPY vpn.ovpn /etc/vpn.ovpn\n"
        'CMD ["httpd", "-f", "-p", "80", "-h", "/site"]\n'
    ),
    "site/index.html": "version {version}\n",
}


def lab(port: int, *, version: str = "1", **files: str) -> bytes:
    """A lab like those in use today."""
    filled = {name: text.format(port=port, version=version) for name, text in LAB_FILES.items()}
    return zip_bundle({**filled, **files})


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
def name(host: engine.Host) -> str:
    name = str(uuid4())
    host.projects.append(name)
    return name


async def page(port: int) -> str:
    """The lab's page, through its published port."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.get(f"http://127.0.0.1:{port}/index.html")).text


async def test_a_labs_whole_life(tmp_path: Path, host: engine.Host, name: str) -> None:
    port = free_port()
    async with agent_process(tmp_path) as agent:
        launched = await agent.launch(name, lab(port))
        assert (201, {"name": name, "status": "started"}) == (
            launched.status_code,
            launched.json(),
        )
        assert await page(port) == "version 1\n"
        rows = (await agent.http.get("/agent/containers")).json()
        assert [f"{name}-side-1", f"{name}-web-1"] == [
            row["name"] for row in rows if name in row["name"]
        ]

        replaced = await agent.launch(name, lab(port, version="2"))
        assert replaced.status_code == 201
        assert await page(port) == "version 2\n"

        restarted = await agent.restart(name)
        assert (200, {"name": name, "status": "restarted"}) == (
            restarted.status_code,
            restarted.json(),
        )
        assert await page(port) == "version 2\n"

        removed = await agent.remove(name)
        assert (200, {"name": name, "status": "removed"}) == (removed.status_code, removed.json())
        assert (await agent.remove(name)).status_code == 404
        assert host.holds(name) == engine.NOTHING
        assert agent.workspace() == []


@pytest.mark.parametrize(
    ("broken", "step", "words"),
    [
        ({"dockerfile": "FROM busybox\nRUN echo the-reason; exit 7\n"}, "build", "the-reason"),
        ({"dockerfile": "FROM busybox\nCMD exit 3\n"}, "start", "dependency failed"),
        ({"docker-compose.yml": "services: {web: {imago: x}}"}, "check", "imago"),
    ],
    ids=["build", "start", "check"],
)
async def test_a_deploy_that_fails_leaves_nothing_and_says_why(
    tmp_path: Path,
    host: engine.Host,
    name: str,
    broken: dict[str, str],
    step: str,
    words: str,
) -> None:
    archive = lab(free_port(), **broken)
    if step == "start":
        archive = lab(
            free_port(),
            **{
                "docker-compose.yml": (
                    "services:\n  web: {build: ., volumes: ['data:/data']}\n"
                    "  after:\n    image: busybox\n    command: sleep 600\n"
                    "    depends_on: {web: {condition: service_completed_successfully}}\n"
                    "volumes: {data: {}}\n"
                ),
                **broken,
            },
        )
        words = "exit 3"
    async with agent_process(tmp_path) as agent:
        answer = await agent.launch(name, archive)

        assert answer.status_code == 422
        assert f"Step '{step}' failed" in answer.json()["detail"]
        assert words in answer.json()["detail"]
        assert host.holds(name) == engine.NOTHING
        assert agent.workspace() == []


async def test_a_replacement_that_fails_keeps_the_earlier_one(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    port = free_port()
    async with agent_process(tmp_path) as agent:
        await agent.launch(name, lab(port))
        before = host.holds(name)

        for broken in (
            {"dockerfile": "FROM busybox\nRUN exit 7\n"},
            {"docker-compose.yml": "services: {web: {build: .}, x: {image: 'localhost:1/no'}}"},
        ):
            answer = await agent.launch(name, lab(port, version="2", **broken))
            assert answer.status_code == 422
            assert await page(port) == "version 1\n"
            assert host.holds(name) == before


async def test_nothing_of_the_agents_reaches_a_bundle(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    compose = (
        "services:\n  web:\n    build: {context: ., args: [SERVER_KEY]}\n"
        "    command: sleep 600\n"
        "    environment: [JWT_SECRET, 'X=${SERVER_KEY}', 'Y=${NONE:-${JWT_SECRET}}']\n"
    )
    dockerfile = "FROM busybox\nARG SERVER_KEY\nENV Z=${SERVER_KEY}\n"
    archive = zip_bundle({"compose.yaml": compose, "Dockerfile": dockerfile})
    async with agent_process(tmp_path) as agent:
        assert (await agent.launch(name, archive)).status_code == 201

        seen = str(host.client.inspect_container(f"{name}-web-1")["Config"])

    assert KEY not in seen
    assert "platforms-secret" not in seen


async def test_a_manager_that_hangs_up_does_not_cut_a_launch_in_half(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    port = free_port()
    slow = f"FROM busybox\nRUN echo {uuid4()}; sleep 2\nCMD httpd -f -p 80 -h /site\n"
    async with agent_process(tmp_path) as agent:
        with anyio.move_on_after(1):
            await agent.launch(name, lab(port, dockerfile=slow))

        with anyio.fail_after(30):
            while len(host.holds(name)["containers"]) < 2 or await state(agent):
                await anyio.sleep(0.1)
        assert await page(port) == "version 1\n"


async def state(agent: Process) -> int:
    """How many operations are under way."""
    operations: int = (await agent.http.get("/health")).json()["operations"]
    return operations


async def test_removal_and_restart_answer_while_builds_run(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    port = free_port()
    building = f"{name}-b"
    host.projects.append(building)
    slow = f"FROM busybox\nRUN echo {uuid4()}; sleep 150\n"
    async with agent_process(tmp_path, MAX_BUILDS="1") as agent:
        await agent.launch(name, lab(port))
        async with anyio.create_task_group() as group:
            group.start_soon(agent.launch, building, lab(free_port(), dockerfile=slow))
            while not await state(agent):
                await anyio.sleep(0.05)
            with anyio.fail_after(100):
                assert (await agent.restart(name)).status_code == 200
                assert (await agent.remove(name)).status_code == 200
                assert (await agent.remove(building)).status_code == 200

        assert host.holds(name) == engine.NOTHING
        assert host.holds(building) == engine.NOTHING


async def test_killed_in_the_middle_of_a_build_it_undoes_it_at_the_next_start(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    slow = f"FROM busybox\nRUN echo {uuid4()}; sleep 3\n"
    async with agent_process(tmp_path) as agent, anyio.create_task_group() as group:
        group.start_soon(_expect_no_answer, agent, name, lab(free_port(), dockerfile=slow))
        while not await state(agent):
            await anyio.sleep(0.05)
        await anyio.sleep(0.5)
        agent.process.send_signal(signal.SIGKILL)
        await agent.process.wait()

    async with agent_process(tmp_path) as agent:
        assert host.holds(name) == engine.NOTHING
        assert agent.workspace() == []
        assert (await agent.launch(name, lab(free_port()))).status_code == 201
        assert (await agent.remove(name)).status_code == 200


async def _expect_no_answer(agent: Process, name: str, archive: bytes) -> None:
    with pytest.raises(httpx.TransportError):
        await agent.launch(name, archive)


async def test_what_ran_when_it_was_killed_runs_on(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    port = free_port()
    async with agent_process(tmp_path) as agent:
        await agent.launch(name, lab(port))
        before = {row["Id"] for row in host.client.containers(filters={"name": name})}
        agent.process.send_signal(signal.SIGKILL)
        await agent.process.wait()

    async with agent_process(tmp_path) as agent:
        after = {row["Id"] for row in host.client.containers(filters={"name": name})}
        assert before == after
        assert (await agent.restart(name)).status_code == 200
        assert (await agent.remove(name)).status_code == 200


async def test_told_to_stop_it_ends_well_and_leaves_no_process(tmp_path: Path) -> None:
    if reason := engine.missing():
        engine.skip_or_fail(reason)
    async with agent_process(tmp_path) as agent:
        agent.process.send_signal(signal.SIGTERM)
        with anyio.fail_after(15):
            assert await agent.process.wait() == 0


async def test_told_to_stop_in_the_middle_of_a_build_it_undoes_it_and_ends_every_stream(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    port = free_port()
    building = f"{name}-b"
    host.projects.append(building)
    slow = f"FROM busybox\nRUN echo {uuid4()}; sleep 60\n"
    chatty = "FROM busybox\nCMD while true; do date; sleep 0.1; done\n"
    lines: list[str] = []

    async def follow_logs() -> None:
        path = f"/api/v1/environments/{name}/logs?follow=true"
        events = {"accept": "text/event-stream"}
        async with agent.http.stream("GET", path, headers=events) as answer:
            lines.extend([line async for line in answer.aiter_lines() if line])

    async with agent_process(tmp_path, SHUTDOWN_TIMEOUT="1") as agent:
        assert (await agent.launch(name, lab(port, dockerfile=chatty))).status_code == 201
        before = host.holds(name)
        async with anyio.create_task_group() as group:
            group.start_soon(follow_logs)
            group.start_soon(_expect_interruption, agent, building, lab(0, dockerfile=slow))
            while not await state(agent):
                await anyio.sleep(0.05)
            await anyio.sleep(1)
            agent.process.send_signal(signal.SIGTERM)
            with anyio.fail_after(25):
                assert await agent.process.wait() == 0

    assert host.holds(name) == before
    assert host.holds(building) == engine.NOTHING
    assert len(lines) > 10
    assert lines[-2:] == ["event: end", "data: {}"]


async def _expect_interruption(agent: Process, name: str, archive: bytes) -> None:
    answer = await agent.launch(name, archive)
    assert answer.status_code >= 500
    assert "stopped before" in answer.json()["detail"]


async def test_an_environment_of_an_earlier_agent_is_taken_over(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    folder = anyio.Path(tmp_path, "ws", name)
    await folder.mkdir(parents=True)
    await (folder / "docker-compose.yml").write_text(
        "services: {web: {build: ., command: sleep 600}}\n"
    )
    await (folder / "Dockerfile").write_text("FROM busybox\nCOPY vpn.ovpn /vpn.ovpn\n")
    await (folder / "vpn.ovpn").write_text("client\n")
    await anyio.run_process(["docker", "compose", "up", "-d", "--build"], cwd=str(folder))
    before = {row["Id"] for row in host.client.containers(filters={"name": name})}

    async with agent_process(tmp_path) as agent:
        rows = (await agent.http.get("/agent/containers")).json()
        assert before == {row["id"] for row in rows if name in row["name"]}

        assert (await agent.restart(name)).status_code == 200
        assert (await agent.remove(name)).status_code == 200
        assert host.holds(name) == engine.NOTHING
        assert agent.workspace() == []


@pytest.mark.parametrize(("mode", "told"), [(0o755, True), (0o700, False)])
async def test_a_workspace_that_others_can_enter_is_warned_of(
    tmp_path: Path, mode: int, told: bool
) -> None:
    if reason := engine.missing():
        engine.skip_or_fail(reason)
    await anyio.Path(tmp_path, "ws").mkdir(mode=mode)
    async with agent_process(tmp_path):
        log = await anyio.Path(tmp_path, "agent.log").read_text()

    assert ("chmod 0700" in log) is told


async def test_without_an_engine_it_starts_degraded(tmp_path: Path) -> None:
    if reason := engine.missing():
        engine.skip_or_fail(reason)
    log = anyio.Path(tmp_path, "agent.log")
    nowhere = {"DOCKER_SOCKET": "unix:///nowhere/docker.sock"}
    async with starting_agent(tmp_path, nowhere) as agent:
        with anyio.fail_after(60):
            while "engine does not answer" not in await log.read_text():
                await anyio.sleep(0.1)
        assert (await answer_of(agent, "/ready")).status_code == 503
        assert (await answer_of(agent, "/health")).json()["status"] == "degraded"
    assert "ERROR" in await log.read_text()


async def answer_of(agent: Process, path: str) -> httpx.Response:
    """What an agent answers that may not listen yet."""
    with anyio.fail_after(60):
        while True:
            with suppress(httpx.TransportError):
                return await agent.http.get(path)
            await anyio.sleep(0.1)
