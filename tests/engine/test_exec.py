"""Commands in containers of a real Engine: what ``docker exec`` gives, and what is left behind."""

import base64
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support import engine
from tests.support.agent_process import KEY, Process, agent_process
from tests.support.containers import CONTAINERS
from tests.support.terminals import conversation

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


class Site:
    """An agent, and a container that sleeps."""

    def __init__(self, agent: Process, host: engine.Host) -> None:
        self.agent = agent
        self.host = host
        self.port = agent.http.base_url.port or 0
        project = f"t-{uuid4().hex[:12]}"
        host.projects.append(project)
        self.name = f"{project}-web"
        host.client.create_container(
            engine.BASE_IMAGE,
            ["sleep", "600"],
            name=self.name,
            labels={"com.docker.compose.project": project},
            host_config=host.client.create_host_config(network_mode="none", init=True),
        )
        host.client.start(self.name)

    async def run(self, *command: str, **fields: Any) -> Any:
        """Runs a command to its end."""
        answer = await self.agent.http.post(
            f"{CONTAINERS}/{self.name}/exec", json={"command": command, **fields}, timeout=100
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def speak(self, **query: Any) -> Any:
        """Speaks with a command."""
        return conversation(self.port, self.name, headers={"X-Server-Key": KEY}, **query)

    def processes(self) -> list[str]:
        """What runs in the container beside what it was made for."""
        found = self.host.client.top(self.name, "-o pid,args")["Processes"]
        return [row[1] for row in found if not row[1].endswith("sleep 600")]

    async def until_quiet(self, seconds: float) -> None:
        """Returns when nothing else runs in the container any more."""
        began = anyio.current_time()
        self.processes()
        # What the machine takes to look comes on top of what the agent may take.
        with anyio.fail_after(seconds + 10 * (anyio.current_time() - began)):
            while self.processes():
                await anyio.sleep(0.05)


@pytest.fixture
async def site(tmp_path: Path, host: engine.Host) -> AsyncIterator[Site]:
    async with agent_process(tmp_path) as agent:
        yield Site(agent, host)


async def docker_exec(*arguments: str) -> tuple[int, bytes, bytes]:
    """Exit code and streams of ``docker exec``."""
    done = await anyio.run_process(["docker", "exec", *arguments], check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "exit 255",
        "kill -9 $$",
        "echo out; echo err >&2; exit 3",
        "printf '\\377\\000\\033[31m'; printf 'é' >&2",
        "dd if=/dev/urandom of=/tmp/r bs=1M count=3 2>/dev/null; cat /tmp/r; md5sum /tmp/r >&2",
        "pwd; id; echo $TERM; tty",
    ],
)
async def test_it_is_what_docker_exec_gives(site: Site, script: str) -> None:
    # Made once, so that both print the same.
    script = script.replace("dd if=/dev/urandom", "[ -e /tmp/r ] || dd if=/dev/urandom")

    code, out, err = await docker_exec(site.name, "sh", "-c", script)
    found = await site.run("sh", "-c", script, encoding="base64", output_limit="4m")

    assert found["exit_code"] == code
    assert base64.b64decode(found["stdout"]["base64"]) == out
    assert base64.b64decode(found["stderr"]["base64"]) == err


async def test_one_that_takes_too_long_is_gone_from_the_container(site: Site) -> None:
    found = await site.run(
        "sh", "-c", "trap '' TERM; echo begun; sleep 601 & sleep 602", timeout=0.5
    )

    assert (found["timed_out"], found["may_run_on"]) == (True, False)
    assert found["stdout"]["text"] == "begun\n"
    assert site.processes() == []


async def test_one_whose_caller_goes_is_gone_within_a_second(site: Site) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await site.agent.http.post(
            f"{CONTAINERS}/{site.name}/exec", json={"command": ["sleep", "601"]}, timeout=1
        )

    await site.until_quiet(1)


async def test_a_terminal_is_one(site: Site) -> None:
    async with site.speak(columns=99, rows=33) as talk:
        await talk.say(b"stty size; tty; echo $TERM; echo $((6*7))\n")
        await talk.until(b"42\r\n")
        await talk.control("resize", columns=132, rows=50)
        await anyio.sleep(0.5)
        await talk.say(b"stty size\n")
        await talk.until(b"50 132\r\n")
        await talk.say(b"sleep 601\n")
        await anyio.sleep(0.5)
        await talk.say(b"\x03")
        await talk.say(b"exit 7\n")
        await talk.to_end()

    assert b"33 99\r\n/dev/pts/" in talk.output
    assert b"xterm\r\n" in talk.output
    assert talk.end is not None
    assert talk.end["exit_code"] == 7


async def test_megabytes_go_both_ways(site: Site) -> None:
    data = os.urandom(8 * 1024 * 1024)
    async with (
        site.speak(command="cat", tty="false") as talk,
        anyio.create_task_group() as group,
    ):

        async def send() -> None:
            for at in range(0, len(data), 200_000):
                await talk.say(data[at : at + 200_000])
            await talk.control("close-input")

        group.start_soon(send)
        with anyio.fail_after(60):
            await talk.to_end()

    assert b"".join(piece[1:] for piece in talk.pieces) == data
    assert talk.end is not None
    assert talk.end["exit_code"] == 0


async def test_fifty_terminals_cost_little_and_leave_nothing(site: Site) -> None:
    process = psutil.Process(site.agent.process.pid)
    threads = process.num_threads()
    await _speak_at_once(site, 50)
    # The connections for short calls are kept; those of the terminals close in a moment.
    await anyio.sleep(2)
    files, memory = process.num_fds(), process.memory_info().rss

    async with anyio.create_task_group() as group:
        group.start_soon(_speak_at_once, site, 50)
        with anyio.fail_after(100):
            while len(site.processes()) < 50:
                await anyio.sleep(0.2)
        answer = await site.agent.http.get("/health")

    assert answer.status_code == 200
    # Those of short calls; one for each terminal would be more.
    assert process.num_threads() < threads + 45
    with anyio.fail_after(15):
        while process.num_fds() > files + 10:
            await anyio.sleep(0.1)
    assert process.memory_info().rss < memory + 32 * 1024 * 1024


async def _speak_at_once(site: Site, count: int) -> None:
    """Speaks with so many shells until all of them have answered, and leaves them."""
    ready: list[int] = []
    done = anyio.Event()

    async def speak(number: int) -> None:
        async with site.speak(tty="false" if number % 2 else "true") as talk:
            await talk.say(b"echo $((%d+1000))\n" % number)
            await talk.until(b"%d" % (number + 1000))
            ready.append(number)
            await done.wait()
            if number % 3:
                talk.socket.transport.abort()

    with anyio.fail_after(100):
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(speak, number)
            while len(ready) < count:
                await anyio.sleep(0.1)
            await anyio.sleep(1)
            done.set()
        await site.until_quiet(30)


async def test_one_who_leaves_a_terminal_hangs_it_up_within_a_second(site: Site) -> None:
    async with site.speak() as talk:
        await talk.say(b"sleep 601\n")
        await talk.until(b"sleep 601")
        with anyio.fail_after(20):
            while "sleep 601" not in site.processes():
                await anyio.sleep(0.1)
        talk.socket.transport.abort()
        await site.until_quiet(1.5)


async def test_one_who_does_not_read_holds_up_the_command_alone(site: Site) -> None:
    process = psutil.Process(site.agent.process.pid)
    async with site.speak(command="yes", tty="false") as talk:
        await talk.until(b"y\n")
        await anyio.sleep(1)
        before = process.memory_info().rss
        await anyio.sleep(2)
        assert process.memory_info().rss < before + 4 * 1024 * 1024
        assert (await site.run("true"))["exit_code"] == 0
        talk.socket.transport.abort()
        await site.until_quiet(2)


async def test_the_agents_end_is_that_of_its_terminals(site: Site) -> None:
    async with site.speak(command=["sleep", "601"]) as talk:
        with anyio.fail_after(15):
            site.agent.process.send_signal(signal.SIGTERM)
            await talk.to_end()
            assert await site.agent.process.wait() == 0

    assert talk.end is not None
    assert talk.end["reason"] == "stopping"
    assert talk.code == 1001
    assert site.processes() == []


async def test_a_container_that_goes_takes_its_terminals_with_it(site: Site) -> None:
    async with site.speak() as talk:
        await talk.say(b"echo hi\n")
        await talk.until(b"hi")
        with anyio.fail_after(10):
            site.host.client.kill(site.name)
            await talk.to_end()

    assert talk.end is not None
    assert talk.end["reason"] == "exited"


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare"
)
async def test_an_agent_that_sees_no_processes_of_the_host_ends_commands_too(
    tmp_path: Path, host: engine.Host
) -> None:
    apart = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    async with agent_process(tmp_path, through=apart) as agent:
        site = Site(agent, host)
        found = await site.run("sh", "-c", "sleep 601 | sleep 602", timeout=0.5)
        assert (found["timed_out"], found["may_run_on"]) == (True, False)
        assert site.processes() == []

        async with site.speak() as talk:
            await talk.say(b"sleep 601\n")
            await talk.until(b"sleep 601")
            talk.socket.transport.abort()
            await site.until_quiet(2)


@pytest.mark.parametrize("terminal", [False, True])
async def test_what_a_killed_agent_left_running_ends_with_the_next_start(
    tmp_path: Path, host: engine.Host, terminal: bool
) -> None:
    async with agent_process(tmp_path) as agent, anyio.create_task_group() as group:
        site = Site(agent, host)

        async def run() -> None:
            with suppress(httpx.HTTPError, ConnectionClosed):
                if terminal:
                    async with site.speak(command=["sleep", "601"]) as words:
                        await words.to_end()
                else:
                    await site.run("sleep", "601", timeout="10m")

        group.start_soon(run)
        with anyio.fail_after(30):
            while not any("sleep 601" in process for process in site.processes()):
                await anyio.sleep(0.05)
        await agent.kill()

    async with agent_process(tmp_path):
        await site.until_quiet(10)
