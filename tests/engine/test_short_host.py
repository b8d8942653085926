"""On a real Engine: no files to open, no processes to start, and after a while there are again."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import httpx
import pytest

from tests.support import engine
from tests.support.agent_process import Process, agent_process
from tests.support.bundles import zip_bundle
from tests.support.limits import NOBODY, as_user, limited, open_files

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

LAB = zip_bundle(
    {
        "compose.yaml": "services: {web: {build: .}}",
        "Dockerfile": "FROM busybox\nCMD sleep 600\n",
    }
)


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
def name(host: engine.Host) -> str:
    name = str(uuid4())
    host.projects.append(name)
    return name


@asynccontextmanager
async def agent_of(user: int, through: Sequence[str]) -> AsyncIterator[Process]:
    """An agent of another user."""
    root = Path(tempfile.mkdtemp())
    try:
        shutil.chown(root, user, user)
        async with agent_process(root, through=through) as agent:
            yield agent
    finally:
        shutil.rmtree(root)


def refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0


async def assert_works(agent: Process, host: engine.Host, name: str) -> None:
    with anyio.fail_after(60):
        await agent.ready()
        while (await agent.launch(name, LAB)).status_code != 201:
            await anyio.sleep(0.5)
    assert (await agent.restart(name)).status_code == 200
    assert (await agent.remove(name)).status_code == 200
    assert host.holds(name) == engine.NOTHING
    assert agent.workspace() == []


async def test_without_files_to_open_nothing_is_half_done(
    tmp_path: Path, host: engine.Host, name: str
) -> None:
    async with agent_process(tmp_path) as agent:
        with limited(agent, "nofile", open_files(agent)):
            refused(await agent.launch(name, LAB))
            assert (await agent.http.get("/health")).status_code == 200

        assert host.holds(name) == engine.NOTHING
        await assert_works(agent, host, name)


async def test_without_processes_to_start_nothing_is_half_done(
    host: engine.Host, name: str
) -> None:
    """With none to spare Compose does not begin; with a few it does, and gets no threads."""
    through = as_user(NOBODY)
    statuses = []
    async with agent_of(NOBODY, through) as agent:
        for spare in range(9):
            with limited(agent, "nproc", _tasks(agent) + spare, through):
                answer = await agent.launch(name, LAB)
                statuses.append(answer.status_code)
                assert (await agent.http.get("/health")).status_code == 200
            if answer.status_code == 201:
                assert (await agent.remove(name)).status_code == 200
                continue
            refused(answer)
            with anyio.fail_after(30):
                # What could not be undone for want of a thread is soon.
                while host.holds(name) != engine.NOTHING:
                    await anyio.sleep(0.5)

        await assert_works(agent, host, name)
    assert 503 in statuses


def _tasks(agent: Process) -> int:
    return len(list(Path(f"/proc/{agent.process.pid}/task").iterdir()))
