"""Fifty environments stand: how soon after a kill, or after the Engine's return, all is right."""

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.support.private_engine import PrivateEngine, missing, private_engine

from benchmarks import Stopwatch, show, timed_row
from benchmarks.agent import Agent, agent_in
from benchmarks.labs import RUN, small_lab, zipped
from entrypoints.cli.demo.processes import pause

_ENVIRONMENTS = 50
_CHANGED = 10
_ROUNDS = 3
_LONGEST_SECONDS = 120.0
_NAMES = [f"{RUN}-stands-{number}" for number in range(_ENVIRONMENTS)]


def run_after_kill(folder: Path) -> None:
    """Measures from the start of an agent until it is able to work, and prints."""
    with _standing(folder) as own:
        idle = [_killed(folder, own, _nothing) for _ in range(_ROUNDS)]
        busy = [_killed(folder, own, _change_some) for _ in range(_ROUNDS)]
        listing = [_seconds_of(own, "docker", "ps", "--all") for _ in range(_ROUNDS)]
        projects = [_seconds_of(own, "docker", "compose", "ls", "--all") for _ in range(_ROUNDS)]
        show(
            f"An agent that was killed, with {_ENVIRONMENTS} environments; {_ROUNDS} rounds",
            [
                timed_row("docker ps --all", listing),
                timed_row("docker compose ls --all", projects, listing),
                timed_row("from its start until /ready, nothing was under way", idle, listing),
                timed_row(f"the same, {_CHANGED} were being changed", busy, listing),
            ],
        )


def run_after_return(folder: Path) -> None:
    """Measures from the Engine's first answer until states are right, and prints."""
    with _standing(folder) as own, _agent(folder, own) as ours:
        rounds = [_returned(own, ours) for _ in range(_ROUNDS)]
        ready, right = zip(*rounds, strict=True)
        show(
            f"An Engine that was killed and is back, with {_ENVIRONMENTS} environments; "
            f"{_ROUNDS} rounds",
            [
                timed_row("from its first answer until /ready", ready),
                timed_row("until the states are what docker ps shows", right),
            ],
        )


@contextmanager
def _standing(folder: Path) -> Iterator[PrivateEngine]:
    """An Engine of its own, on which an agent has deployed, and does no longer run."""
    if reason := missing():
        raise RuntimeError(f"there is no Engine of its own: {reason}")
    with private_engine() as own:
        with _agent(folder, own) as ours:
            digest = ours.upload(zipped(small_lab()))
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda name: ours.deploy(name, digest), _NAMES))
            ours.kill()
        yield own


def _agent(folder: Path, own: PrivateEngine) -> AbstractContextManager[Agent]:
    return agent_in(folder, DOCKER_SOCKET=own.address)


def _nothing(_: Agent) -> None:
    """Nothing is asked for."""


def _change_some(ours: Agent) -> None:
    for name in _NAMES[:_CHANGED]:
        ours.change(name, "reset")
    pause(0.5)


def _killed(folder: Path, own: PrivateEngine, before: Callable[[Agent], None]) -> float:
    """How long the agent takes that starts after another was killed, in seconds."""
    with _agent(folder, own) as ours:
        before(ours)
        ours.kill()
    with _agent(folder, own) as ours:
        seconds = ours.ready_seconds
        ours.wait_until_idle()
        ours.kill()
    return seconds


def _returned(own: PrivateEngine, ours: Agent) -> tuple[float, float]:
    """How long after the Engine's first answer the agent can work, and knows what runs."""
    own.kill()
    _until(lambda: not ours.is_ready())
    own.start()
    watch = Stopwatch()
    _until(ours.is_ready)
    ready = watch.seconds
    _until(lambda: _right(own, ours))
    seconds = watch.seconds
    for name in _NAMES:
        ours.change(name, "start")
    ours.wait_until_idle()
    return ready, seconds


def _right(own: PrivateEngine, ours: Agent) -> bool:
    with own.client() as api:
        rows = api.containers(filters={"status": "running"})
    running = {row["Labels"].get("com.docker.compose.project") for row in rows}
    states = ours.states()
    return all((states[name] == "running") == (name in running) for name in _NAMES)


def _until(condition: Callable[[], bool]) -> None:
    watch = Stopwatch()
    while not condition():
        if watch.seconds > _LONGEST_SECONDS:
            raise RuntimeError(f"It was not so within {_LONGEST_SECONDS:g} s.")
        pause(0.02)


def _seconds_of(own: PrivateEngine, *command: str) -> float:
    watch = Stopwatch()
    environment = {**os.environ, "DOCKER_HOST": own.address}
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    return watch.seconds
