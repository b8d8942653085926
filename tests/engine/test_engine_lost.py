"""The Engine stopped, killed or frozen amid work, and back again: the agent mends by itself."""

import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

import anyio
import anyio.to_thread
import msgspec
import psutil
import pytest

from domain.usecases.consistency import AGAIN_SECONDS
from tests.support import engine
from tests.support.agent_process import Process, agent_process, some_pool
from tests.support.expectations import NOTHING, Expected, after, departures, seen
from tests.support.ground_truth import commands, disagreements, records
from tests.support.manager_server import ManagerServer, manager_server
from tests.support.private_engine import PrivateEngine, missing, private_engine
from tests.support.steady_requests import SteadyRequests, steady_requests
from tests.support.versioned_labs import Lab, LabKind

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(900)]

LOSSES = int(os.environ.get("CHAOS_LOSSES", "2"))
"""How often the Engine is lost in either way."""

_SOON_SECONDS = AGAIN_SECONDS + 25.0
"""How long all may take to be right; much of it is Docker's own time.

An image that the Engine finished though its command was killed is found at the next look.
"""

_NOTICED_SECONDS = 15.0

_ENDED_SECONDS = 100.0
"""How long operations may take to end while the Engine is away."""


@pytest.fixture
def own() -> Iterator[PrivateEngine]:
    if reason := missing():
        engine.skip_or_fail(reason)
    with private_engine("--live-restore") as own:
        yield own


class Host:
    """One agent that goes on, and its Engine that does not."""

    def __init__(
        self, agent: Process, own: PrivateEngine, manager: ManagerServer, health: SteadyRequests
    ) -> None:
        self.agent = agent
        self._own = own
        self._manager = manager
        self._health = health
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
            # One after another: the limits of these tests are for one deploy, not for all together.
            assert await self.agent.idle(60)
        assert await self.faults() == []
        stands = {name for name, expected in self._expected.items() if expected.lab}
        assert stands == set(names), self._operations()
        with self._own.client() as client:
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
            if await self._ready():
                faults = await self.faults(running=running)
        assert faults == [], "\n".join([*faults, "", *self._operations()])
        took = time.monotonic() - began
        report = await self.agent.consistency()
        assert report["consistent"], report
        return took

    async def _ready(self) -> bool:
        return (await self.agent.http.get("/ready")).status_code == 200

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
        with self._own.client() as client:
            found = [*departures(client, root, expected), *disagreements(client, root)]
        if not found:
            self._expected = expected
            self._known |= {operation.id for operation in new}
        return found

    async def known_to_be_away(self) -> None:
        """Returns when the agent says that it cannot work, and the manager has been told so.

        What it is told is that the host is full, and never that nothing runs there.
        """
        with anyio.fail_after(_NOTICED_SECONDS):
            while await self._ready():
                await anyio.sleep(0.1)
            told = len(self._manager.requests)
            while len(self._manager.requests) < told + 2:
                await anyio.sleep(0.1)
        for request in self._manager.requests[told + 1 :]:
            report = json.loads(request.partition(b"\r\n\r\n")[2])
            assert report["cpu"] == 100
            assert report["containers"] > 0

    def stayed_well(self) -> None:
        """Health was told all the while, and never waited for the Engine.

        How fast it is told is for the benchmarks; here other tests keep the machine busy.
        """
        answers = self._health.answers
        assert {answer.status for answer in answers} == {200}
        seconds = [answer.seconds for answer in answers]
        assert median(seconds) < 1.0, f"the longest took {max(seconds):.3f} s"


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
    ):
        address, output = str(agent.http.base_url), root / "health"
        with steady_requests(address, "/health", seconds=0.05, output=output) as health:
            yield Host(agent, own, manager, health)


async def much(host: Host) -> None:
    """Asks for work of every kind at once; ``still`` is left alone."""
    await host.deploy("new", LabKind.SLOW)
    await host.deploy("again", LabKind.SLOW)
    await host.deploy("plain-again", LabKind.APART)
    for name, what in {"gone": "delete", "restarted": "restart", "rebuilt": "rebuild"}.items():
        answer = await host.agent.change(name, what)
        assert answer.status_code == 202, answer.text


STANDING = ("again", "plain-again", "gone", "restarted", "rebuilt", "still")


@pytest.mark.parametrize("seed", range(LOSSES))
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
        await lab_host.known_to_be_away()
        await anyio.to_thread.run_sync(own.start)
        took = await lab_host.right(running=True)

        print(f"Lost after {delay:.1f} s; right {took:.1f} s after its return")
        lab_host.stayed_well()


async def test_an_engine_that_froze_and_went_on_leaves_nothing_half_done(
    tmp_path: Path, own: PrivateEngine
) -> None:
    # Each limit ends while the Engine is frozen, so that what it takes up late is nobody's.
    waits = {"START_TIMEOUT": "15", "STOP_TIMEOUT": "10", "BUILD_TIMEOUT": "15"}
    calls = {"ENGINE_TIMEOUT": "3", "ENGINE_CHANGE_TIMEOUT": "5"}
    limits = {**waits, **calls, "DEPLOY_TIMEOUT": "20"}
    async with host(tmp_path, own, **limits) as lab_host:
        await lab_host.stand(*STANDING)
        await much(lab_host)
        await anyio.sleep(1.2)
        own.freeze()

        await lab_host.ended()
        await lab_host.known_to_be_away()
        own.thaw()
        took = await lab_host.right(running=True)

        print(f"Right {took:.1f} s after it went on")
        lab_host.stayed_well()


async def test_without_its_containers_an_engine_comes_back_to_states_that_say_so(
    tmp_path: Path,
) -> None:
    if reason := missing():
        engine.skip_or_fail(reason)
    with private_engine() as own:
        async with host(tmp_path, own) as lab_host:
            await lab_host.stand("one", "two")
            await anyio.to_thread.run_sync(own.kill)
            await lab_host.known_to_be_away()
            await anyio.to_thread.run_sync(own.start)
            await lab_host.right(running=False)

            states = {n: r.state for n, r in records(tmp_path).environments.items()}
            assert states == dict.fromkeys(("one", "two"), "stopped")


async def test_a_command_that_is_killed_ends_its_operation_and_leaves_nothing(
    tmp_path: Path, own: PrivateEngine
) -> None:
    dice = random.Random(1)  # noqa: S311 - moments that can be repeated
    async with host(tmp_path, own) as lab_host:
        await lab_host.stand("again", "plain-again")
        killed = 0
        for number in range(8):
            await lab_host.deploy(f"new-{number}", LabKind.SLOW)
            await lab_host.deploy("again", LabKind.SLOW)
            await lab_host.deploy("plain-again", LabKind.PLAIN)
            await anyio.sleep(dice.uniform(0.1, 2.0))
            for command in commands(tmp_path):
                with suppress(psutil.NoSuchProcess):
                    command.kill()
                    killed += 1
            await lab_host.ended()
            await lab_host.right(running=True)

        assert killed
        print(f"{killed} commands killed")
