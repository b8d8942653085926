"""The host has no files, threads or memory to spare for the agent, and after a while it has again.

The limits of a running agent are tightened to what it uses, and loosened again.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import httpx
import pytest

from tests.support.agent_process import Process, agent_process
from tests.support.api import BUNDLES
from tests.support.bundles import zip_bundle
from tests.support.limits import NOBODY, as_user, limited, open_files, status

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(90)]

FILES = {"compose.yaml": "services: {web: {image: 'nginx:1'}}"}
SMALL = zip_bundle(FILES)
ALONE = {"RUNTIME": "memory", "MIN_FREE_PERCENT": "0"}


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Process]:
    async with agent_process(tmp_path, **ALONE) as agent:
        assert (await agent.launch("before", SMALL)).status_code == 201
        yield agent


def told(answer: httpx.Response) -> bool:
    """Whether a refusal says that the host is short of something, and when to come again."""
    return (
        answer.status_code == 503
        and "The host has run out of" in answer.json()["detail"]
        and int(answer.headers["retry-after"]) > 0
    )


async def assert_works(agent: Process, *also: str) -> None:
    """All is well again, and nothing is left of what was refused.

    Args:
        agent: which one.
        also: states in which operations may have ended, beside those that are right anyway.
    """
    with anyio.fail_after(20):
        await agent.ready()
        while (await agent.launch("after", SMALL)).status_code != 201:
            await anyio.sleep(0.2)
    assert (await agent.remove("after")).status_code == 200
    assert (await agent.remove("before")).status_code == 200
    assert [path for path in agent.workspace() if "library" not in path] == []
    operations = (await agent.http.get("/api/v1/operations")).json()["operations"]
    assert {operation["state"] for operation in operations} <= {"succeeded", "failed", *also}


async def health(agent: Process) -> int:
    """What ``/health`` answers on a connection of its own."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.get(agent.http.base_url.join("/health"), timeout=15)).status_code


async def test_without_files_to_open_it_refuses_and_takes_up_work_when_there_are_some(
    agent: Process,
) -> None:
    with limited(agent, "nofile", open_files(agent)) as limit:
        launched = await agent.launch("lab", SMALL)
        uploaded = await agent.http.post(BUNDLES, content=SMALL)
        alive = await agent.http.get("/health")
        async with anyio.create_task_group() as group:
            # One that knocks now is let in when there is a file for it.
            group.start_soon(health, agent)
            await anyio.sleep(2.5)
            limit.loosen()

    assert told(launched), launched.text
    assert told(uploaded), uploaded.text
    assert alive.status_code == 200
    await assert_works(agent)


async def test_without_memory_it_refuses_and_leaves_nothing(agent: Process) -> None:
    answers: dict[str, httpx.Response | None] = {}
    archive = zip_bundle({**FILES, "data": os.urandom(2_000_000)})

    async def ask(name: str) -> None:
        # Not even the connection, or the task that answers, may find room.
        answers[name] = None
        with suppress(httpx.TransportError), anyio.move_on_after(20):
            answers[name] = await agent.launch(name, archive)

    # It gets a little more than it has, and 40 bundles at once need much more.
    with limited(agent, "as", (status(agent, "VmSize") + 4096) * 1024):
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(ask, f"lab-{number}")
        await anyio.sleep(3)

    refused = [a for a in answers.values() if a is not None and a.status_code != 201]
    assert refused or None in answers.values()
    assert all(told(answer) for answer in refused)
    async with _alive(agent) as survivor:
        for name in answers:
            await survivor.remove(name)
        await assert_works(survivor, *([] if survivor is agent else ["interrupted"]))


@asynccontextmanager
async def _alive(agent: Process) -> AsyncIterator[Process]:
    """The agent, or the one that its restart policy starts in its place.

    Where no page is left, the interpreter itself can break off on a pointer that is null; there
    is nothing that a program in it can do about that but to find all in order afterwards.
    """
    if not agent.gone():
        yield agent
        return
    assert await agent.process.wait() < 0
    async with agent_process(agent.root, **ALONE) as next_one:
        yield next_one


@pytest.fixture
async def agent_of_nobody() -> AsyncIterator[Process]:
    """An agent of a user of its own, without the rights by which the kernel counts nothing."""
    through = as_user(NOBODY)
    root = Path(tempfile.mkdtemp())
    try:
        shutil.chown(root, NOBODY, NOBODY)
        async with agent_process(
            root, through=through, RUNTIME="memory", MIN_FREE_PERCENT="0"
        ) as agent:
            yield agent
    finally:
        shutil.rmtree(root)


async def test_without_threads_it_refuses_and_takes_up_work_when_there_are_some(
    agent_of_nobody: Process,
) -> None:
    agent = agent_of_nobody
    assert (await agent.launch("before", SMALL)).status_code == 201
    answers: dict[str, httpx.Response] = {}

    async def ask(name: str) -> None:
        answers[name] = await agent.launch(name, SMALL)

    # Threads that wait for work are there still, and none is started beside them.
    with limited(agent, "nproc", 1, as_user(NOBODY)):
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(ask, f"lab-{number}")
        alive = await agent.http.get("/health")

    assert alive.status_code == 200
    refused = [answer for answer in answers.values() if answer.status_code != 201]
    assert refused or None in answers.values()
    assert all(told(answer) for answer in refused)
    for name in answers:
        await agent.remove(name)
    await assert_works(agent)


COMMAND = """
import os, resource, sys
from pathlib import Path
import anyio, anyio.to_thread
from adapters.compose import process
from domain.errors import HostExhausted

def tasks():
    return sum(1 for _ in Path("/proc/self/task").iterdir())

async def main():
    spare, marker = int(sys.argv[1]), sys.argv[2]
    # A thread that waits for work, as an agent always has some.
    await anyio.to_thread.run_sync(int)
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (tasks() + spare, hard))
    command = ["sh", "-c", f"echo begun > {marker}; while :; do sleep 0.1; done"]
    try:
        await process.run(
            command, directory="/", environment={"PATH": os.environ["PATH"]}, seconds=2,
            on_line=print,
        )
    except HostExhausted as fault:
        print("refused:", fault.message)
    except process.TimedOut:
        print("ran")

anyio.run(main)
"""


@pytest.mark.parametrize("spare", [0, 1])
def test_a_command_that_nobody_could_wait_for_is_refused_and_ended(spare: int) -> None:
    """With one task to spare the command begins, and the thread that waits for it does not."""
    user = NOBODY + 10_000 * (1 + spare)
    with tempfile.TemporaryDirectory() as folder:
        shutil.chown(folder, user)
        marker = Path(folder, "marker")
        ended = subprocess.run(
            [*as_user(user), sys.executable, "-c", COMMAND, str(spare), str(marker)],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
        )

    assert "refused: The host has run out of" in ended.stdout
    assert not _processes_of(user)


def _processes_of(user: int) -> list[str]:
    found = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [entry.name for entry in found if _owner(entry) == user]


def _owner(path: Path) -> int | None:
    # Any process may end meanwhile.
    with suppress(OSError):
        return path.stat().st_uid
    return None
