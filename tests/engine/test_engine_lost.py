"""The Engine stopped, killed or frozen amid work, and back again: the agent mends by itself."""

import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles

import anyio
import anyio.to_thread
import msgspec
import pytest

from tests.support import engine
from tests.support.agent_process import Process, agent_process, some_pool
from tests.support.expectations import NOTHING, Expected, after, departures, seen
from tests.support.ground_truth import disagreements, records
from tests.support.manager_server import ManagerServer, manager_server
from tests.support.private_engine import PrivateEngine, missing, private_engine
from tests.support.versioned_labs import Lab, LabKind

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(300)]

_SOON_SECONDS = 20.0
"""How long after the Engine's return all may take to be right; much of it is Docker's own time."""

_ENDED_SECONDS = 100.0
"""How long operations may take to end while the Engine is away."""


@pytest.fixture
def own() -> Iterator[PrivateEngine]:
    if reason := missing():
        engine.skip_or_fail(reason)
    with private_engine("--live-restore") as own:
        yield own


class Watch:
    """Asks after the agent's health all the time."""

    def __init__(self, agent: Process) -> None:
        self._agent = agent
        self.seconds: list[float] = []
        """How long each answer took."""
        self.ready: list[int] = []
        """What ``/ready`` was answered with."""

    async def run(self) -> None:
        """Asks until cancelled."""
        while True:
            began = time.perf_counter()
            answer = await self._agent.http.get("/health")
            self.seconds.append(time.perf_counter() - began)
            assert answer.status_code == 200
            self.ready.append((await self._agent.http.get("/ready")).status_code)
            await anyio.sleep(0.05)


class Host:
    """One agent that goes on, and its Engine that does not."""

    def __init__(self, agent: Process, own: PrivateEngine, manager: ManagerServer) -> None:
        self.agent = agent
        self.own = own
        self.manager = manager
        self.watch = Watch(agent)
        self._versions = iter(f"v{number}" for number in range(1000))
        self._labs: dict[str, Lab] = {}
        self._expected: dict[str, Expected] = {}
        self._known: set[str] = set()

    async def deploy(self, name: str, kind: LabKind) -> None:
        """Asks for a deploy."""
        lab = Lab(version=next(self._versions), kind=kind)
        self._labs[lab.digest] = lab
        self._expected.setdefault(name, NOTHING)
        answer = await self.agent.deploy(name, lab.archive)
        assert answer.status_code == 202, answer.text

    async def stand(self, *names: str) -> None:
        """Lets environments stand, and waits for that."""
        for name in names:
            await self.deploy(name, LabKind.BUILT)
        assert await self.agent.idle(60)
        assert await self.faults() == []
        with self.own.client() as client:
            self._expected = {n: seen(client, e, n) for n, e in self._expected.items()}

    async def ended(self) -> None:
        """Returns when every operation has ended."""
        assert await self.agent.idle(_ENDED_SECONDS), records(self.agent.root).operations

    async def right(self, *, running: bool) -> float:
        """Returns when all is right again; how long that took.

        Args:
            running: whether containers have gone on without the Engine.
        """
        began = time.monotonic()
        faults = ["the agent is not ready"]
        while faults and time.monotonic() - began < _SOON_SECONDS:
            await anyio.sleep(0.2)
            if (await self.agent.http.get("/ready")).status_code == 200:
                faults = await self.faults(running=running)
        assert faults == [], "\n".join([*faults, "", *self._operations()])
        return time.monotonic() - began

    def _operations(self) -> list[str]:
        return [
            f"{o.kind} of {o.subject}: {o.state} in {o.step}, {o.reason}"
            for o in records(self.agent.root).operations
        ]

    async def faults(self, *, running: bool = True) -> list[str]:
        """What is wrong now."""
        new = [o for o in records(self.agent.root).operations if o.id not in self._known]
        if open_ones := [f"{o.id} is {o.state}" for o in new if not o.state.ended]:
            return open_ones
        expected = {}
        for name, before in self._expected.items():
            of_it = [operation for operation in new if operation.environment == name]
            wanted = after(before, of_it, self._labs)
            expected[name] = wanted if running else msgspec.structs.replace(wanted, running=None)
        root = self.agent.root
        with self.own.client() as client:
            found = [*departures(client, root, expected), *disagreements(client, root)]
        if not found:
            self._expected = expected
            self._known |= {operation.id for operation in new}
        return found

    def reported(self) -> list[Mapping[str, int]]:
        """What the manager was told."""
        return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in self.manager.requests]


@asynccontextmanager
async def host(root: Path, own: PrivateEngine, **variables: str) -> AsyncIterator[Host]:
    """An agent on the private Engine, under watch, with a manager."""
    async with (
        manager_server() as manager,
        agent_process(
            root,
            DOCKER_SOCKET=own.address,
            NETWORK_POOL=some_pool(),
            MANAGER_URL=manager.url,
            HOST_ID="6f1b0a52-0000-4000-8000-000000000001",
            HEARTBEAT_INTERVAL="1",
            LOG_LEVEL="DEBUG",
            **variables,
        ) as agent,
        anyio.create_task_group() as group,
    ):
        found = Host(agent, own, manager)
        group.start_soon(found.watch.run)
        yield found
        group.cancel_scope.cancel()


async def much(host: Host) -> None:
    """Asks for work of every kind at once; ``still`` is left alone."""
    await host.deploy("new", LabKind.SLOW)
    await host.deploy("again", LabKind.SLOW)
    await host.deploy("plain-again", LabKind.APART)
    for name, what in {"gone": "delete", "restarted": "restart", "rebuilt": "rebuild"}.items():
        answer = await host.agent.change(name, what)
        assert answer.status_code == 202, answer.text


def assert_stayed_well(host: Host) -> None:
    """Health was told in milliseconds all the while, and the manager was sent no work."""
    *_, slow = quantiles(host.watch.seconds, n=20)
    assert slow < 0.1, (
        f"one in twenty took {slow:.3f} s, the longest {max(host.watch.seconds):.3f} s"
    )
    assert max(host.watch.seconds) < 2.0
    away = [report for report in host.reported() if report["cpu"] == 100]
    assert away, "the manager was never told that nothing can be placed here"
    assert all(report["containers"] > 0 for report in away)


STANDING = ("again", "plain-again", "gone", "restarted", "rebuilt", "still")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_an_engine_that_went_and_came_back_leaves_nothing_half_done(
    tmp_path: Path, own: PrivateEngine, how: str, seed: int
) -> None:
    lose = {"stop": own.stop, "kill": own.kill}[how]
    delay = random.Random(f"{how}/{seed}").uniform(0.1, 2.5)  # noqa: S311 - to be repeated
    async with host(tmp_path, own) as lab_host:
        await lab_host.stand(*STANDING)
        await much(lab_host)
        await anyio.sleep(delay)
        await anyio.to_thread.run_sync(lose)

        await lab_host.ended()
        with anyio.fail_after(10):
            while lab_host.watch.ready[-1] != 503:
                await anyio.sleep(0.1)
        await anyio.to_thread.run_sync(own.start)
        took = await lab_host.right(running=True)

        print(f"Lost after {delay:.1f} s; right {took:.1f} s after its return")
        assert_stayed_well(lab_host)
