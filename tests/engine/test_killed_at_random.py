"""The agent killed at random moments of much work: nothing is lost, and nothing is left.

``CHAOS_KILLS`` kills it so many times instead (at least 100 by default), ``CHAOS_SEED`` repeats the
choices of an earlier run. When what happens falls between them differs all the same.
"""

import os
import random
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from domain.operations import Operation
from tests.support import engine
from tests.support.agent_process import Process, agent_process, some_pool, starting_agent
from tests.support.expectations import (
    NOTHING,
    Expected,
    after,
    departures,
    seen,
    unexpected_ends,
)
from tests.support.ground_truth import disagreements, records
from tests.support.private_engine import PrivateEngine, missing, private_engine
from tests.support.versioned_labs import FAILING, GOOD, Lab, LabKind

KILLS = int(os.environ.get("CHAOS_KILLS", "104"))

HOSTS = 4
"""How many hosts share the kills side by side, each with an agent and an Engine of its own."""

_SECONDS_FOR_A_KILL = 60
_SETTLED_SECONDS = 90.0
_NAMES = [f"lab-{number}" for number in range(5)]

_EMPTY = 1
"""How many names may be free before much is asked for."""

_QUICK = ("--iptables=false", "--ip6tables=false", "--userland-proxy=false")
"""Nobody outside reaches these labs, and rules of the packet filter take their time."""

_AGAIN = 0.6
"""How often the next agent is killed too, while it brings the host in order."""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.engine,
    pytest.mark.timeout(120 + _SECONDS_FOR_A_KILL * KILLS // HOSTS),
]


@pytest.fixture
def engines() -> Iterator[Sequence[PrivateEngine]]:
    if reason := missing():
        engine.skip_or_fail(reason)
    with ExitStack() as stack:
        yield [stack.enter_context(private_engine(*_QUICK)) for _ in range(HOSTS)]


async def test_killed_at_any_moment_it_loses_and_leaves_nothing(
    tmp_path: Path, engines: Sequence[PrivateEngine]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", secrets.randbelow(10**9)))
    print(f"To repeat: CHAOS_SEED={seed} CHAOS_KILLS={KILLS}")
    hosts = []
    for number, own in enumerate(engines):
        (root := tmp_path / f"host-{number}").mkdir()
        dice = random.Random(f"{seed}/{number}")  # noqa: S311 - to be repeated, not to be secret
        hosts.append(Chaos(dice, own, root))
    async with anyio.create_task_group() as group:
        for host in hosts:
            group.start_soon(host.run, KILLS // HOSTS)
    for host in hosts:
        print(f"{host.root.name}: {host.kills} kills in {host.rounds} rounds: {host.tally}")
    if reports := [host.report for host in hosts if host.report]:
        pytest.fail("\n\n".join(reports), pytrace=False)


class Lost(Exception):
    """Something was lost, or left; tells all about it."""


class Chaos:
    """Agents of one host, one after another, each killed amid its work."""

    def __init__(self, dice: random.Random, own: PrivateEngine, root: Path) -> None:
        self.root = root
        self.report = ""
        """What was wrong; empty while nothing was."""
        self.kills = 0
        self.rounds = 0
        self.tally: dict[str, int] = {}
        """How many operations ended how."""
        self._dice = dice
        self._own = own
        self._variables = {
            "DOCKER_SOCKET": own.address,
            "NETWORK_POOL": some_pool(),
            "LOG_LEVEL": "DEBUG",
        }
        self._expected: dict[str, Expected] = dict.fromkeys(_NAMES, NOTHING)
        self._labs: dict[str, Lab] = {}
        self._known: set[str] = set()
        """Operations of earlier rounds."""
        self._accepted: set[str] = set()
        """Operations that an answer told of."""
        self._asked: list[str] = []

    async def run(self, kills: int) -> None:
        """Kills one agent after another until something is wrong, or it has killed enough."""
        try:
            with self._own.client() as self._client:
                await self._run(kills)
        except Lost as fault:
            self.report = str(fault)

    async def _run(self, kills: int) -> None:
        while self.kills < kills:
            async with agent_process(self.root, **self._variables) as agent:
                await self._check(agent)
                await self._own_word(agent)
                await self._fill(agent)
                await self._killed_at_work(agent)
            if self._dice.random() < _AGAIN:
                # Amid what it makes of what the one before it had begun.
                async with starting_agent(self.root, self._variables) as agent:
                    await anyio.sleep(self._dice.uniform(0.7, 3.0))
                    await self._kill(agent)
        async with agent_process(self.root, **self._variables) as agent:
            await self._check(agent)
            await self._remove_all(agent)

    async def _fill(self, agent: Process) -> None:
        """Lets some environments stand in peace, as else hardly one ever would."""
        self._asked = []
        empty = [name for name, expected in self._expected.items() if expected.lab is None]
        async with anyio.create_task_group() as group:
            for name in empty[: max(0, len(empty) - _EMPTY)]:
                lab = self._lab(self._dice.choice(GOOD))
                group.start_soon(self._ask, self._deploy(agent, name, lab))
        if len(empty) > _EMPTY:
            await self._check(agent)

    async def _killed_at_work(self, agent: Process) -> None:
        """Asks for much, and kills the agent amid it."""
        self.rounds += 1
        self._asked = []
        async with anyio.create_task_group() as group:
            for work in self._work(agent):
                group.start_soon(self._ask, work)
            await anyio.sleep(self._dice.choice([0.8, 2.0, 4.0]) * self._dice.random())
            await self._kill(agent)
            if self._dice.random() < 0.3:
                # What it had started goes on without it.
                await anyio.sleep(self._dice.uniform(0, 1.0))
            group.cancel_scope.cancel()

    async def _kill(self, agent: Process) -> None:
        await agent.kill()
        self.kills += 1

    async def _ask(self, work: Any) -> None:
        with suppress(httpx.TransportError):
            answer = await work
            if answer.status_code == 202:
                self._accepted.add(answer.json()["id"])

    def _work(self, agent: Process) -> list[Any]:
        """Requests that are made at once."""
        names = self._dice.sample(_NAMES, self._dice.randint(2, 4))
        work = [self._of(agent, name) for name in names]
        if self._dice.random() < 0.4:
            # Behind the first one of its environment.
            work.append(self._of(agent, names[0]))
        if self._dice.random() < 0.4:
            work.append(self._upload(agent))
        if self._dice.random() < 0.3:
            work.append(self._build(agent))
        if self._dice.random() < 0.3:
            work.append(self._cancel(agent, names[-1], self._dice.random()))
        return work

    def _of(self, agent: Process, name: str) -> Any:
        stands = self._expected[name].lab is not None
        wanted = {"deploy": 30, "delete": 12, "restart": 10, "rebuild": 10, "reset": 10}
        wanted |= {"stop": 10, "start": 6, "amend": 8}
        choice = self._dice.choices([*wanted], [*wanted.values()])[0] if stands else "deploy"
        if choice == "deploy":
            kinds = GOOD if self._dice.random() < 0.65 else FAILING
            lab = self._lab(self._dice.choice(kinds))
            return self._deploy(agent, name, lab)
        self._asked.append(f"{choice} {name}")
        if choice == "amend":
            labels = {"labels": {"note": self._token()}}
            return agent.http.patch(f"/api/v1/environments/{name}", json=labels)
        return agent.change(name, choice)

    def _lab(self, kind: LabKind) -> Lab:
        lab = Lab(version=self._token(), kind=kind)
        if kind in {LabKind.BUILT, LabKind.SLOW} and self._dice.random() < 0.3:
            # The same image as another one's.
            same = [known for known in self._labs.values() if known.kind is kind]
            lab = self._dice.choice(same) if same else lab
        self._labs[lab.digest] = lab
        return lab

    def _token(self) -> str:
        return f"v{self._dice.getrandbits(40):010x}"

    def _deploy(self, agent: Process, name: str, lab: Lab) -> Any:
        self._asked.append(f"deploy {lab} as {name}")
        if lab.kind is LabKind.OWN or self._dice.random() < 0.3:
            return agent.launch(name, lab.archive)
        fields = {"ttl": "3s"} if self._dice.random() < 0.1 else {}
        return agent.deploy(name, lab.archive, **fields)

    def _upload(self, agent: Process) -> Any:
        self._asked.append("upload")
        lab = self._lab(self._dice.choice(GOOD))
        return agent.http.post("/api/v1/bundles", content=lab.archive)

    async def _build(self, agent: Process) -> httpx.Response:
        lab = self._lab(LabKind.SLOW)
        self._asked.append(f"build {lab}")
        digest = (await agent.http.post("/api/v1/bundles", content=lab.archive)).json()["digest"]
        return await agent.http.post(f"/api/v1/bundles/{digest}/build")

    async def _cancel(self, agent: Process, name: str, after: float) -> httpx.Response:
        self._asked.append(f"cancel what is under way of {name} after {after:.1f} s")
        await anyio.sleep(after)
        newest = await agent.http.get(f"/api/v1/operations?environment={name}&limit=1")
        (operation,) = newest.json()["operations"] or [{"id": "none"}]
        return await agent.http.delete(f"/api/v1/operations/{operation['id']}")

    async def _settled(self, agent: Process) -> None:
        """Returns when nothing is under way any more."""
        if not await agent.idle(_SETTLED_SECONDS):
            told = records(self.root).operations
            raise Lost(self._told(["operations are under way for ever"], told))

    async def _check(self, agent: Process) -> None:
        """Waits until nothing is under way, and compares; again if a lifetime ends meanwhile."""
        new: list[Operation] = []
        until = anyio.current_time() + _SETTLED_SECONDS
        while True:
            await self._settled(agent)
            told = records(self.root).operations
            if not all(operation.state.ended for operation in told):
                continue
            new += self._taken_in(told)
            faults = [
                *unexpected_ends(new, self._labs),
                *(f"{lost} was accepted and is lost" for lost in self._accepted - self._known),
                *await self._faults(),
            ]
            if not faults:
                break
            if records(self.root).operations == told or anyio.current_time() > until:
                raise Lost(self._told(faults, new))
        for name, expected in self._expected.items():
            self._expected[name] = seen(self._client, expected, name)

    def _taken_in(self, told: Sequence[Operation]) -> Sequence[Operation]:
        """The operations that were not known yet; what they make of the labs is expected now."""
        new = [operation for operation in told if operation.id not in self._known]
        self._known |= {operation.id for operation in new}
        for operation in new:
            end = f"{operation.kind} {operation.state}"
            self.tally[end] = self.tally.get(end, 0) + 1
        for name, before in self._expected.items():
            of_it = [operation for operation in new if operation.environment == name]
            self._expected[name] = after(before, of_it, self._labs)
        return new

    async def _own_word(self, agent: Process) -> None:
        """The agent finds all in order too."""
        report = await agent.consistency()
        if not report["consistent"]:
            told = [f"the agent finds {difference}" for difference in report["differences"]]
            raise Lost(self._told(told, []))

    async def _faults(self) -> list[str]:
        """What is wrong still after a moment, as what containers do takes one."""
        faults: list[str] = []
        for _ in range(10):
            faults = [
                *departures(self._client, self.root, self._expected),
                *disagreements(self._client, self.root),
            ]
            if not faults:
                break
            await anyio.sleep(0.3)
        return faults

    def _told(self, faults: list[str], operations: Sequence[Operation]) -> str:
        return "\n".join(
            [
                f"{self.root.name} after {self.kills} kills, in round {self.rounds}:",
                *(f"- {fault}" for fault in faults),
                "Asked was:",
                *(f"- {asked}" for asked in self._asked),
                "Operations:",
                *(
                    f"- {o.id} {o.kind} of {o.subject} by {o.asked.by}: {o.state} in {o.step} "
                    f"{o.reason!r}"
                    for o in operations
                ),
                f"The agent's log: {self.root / 'agent.log'}",
            ]
        )

    async def _remove_all(self, agent: Process) -> None:
        """Removes all environments: nothing may be left then but bundles and images on record."""
        for name in _NAMES:
            await agent.change(name, "delete")
        await self._settled(agent)
        self._expected = dict.fromkeys(_NAMES, msgspec.structs.replace(NOTHING, failed=None))
        await self._check(agent)
