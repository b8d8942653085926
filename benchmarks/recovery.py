"""How soon an agent that was killed is able to work again, beside what Docker's own lists take."""

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.private_engine import PrivateEngine, missing, private_engine

from benchmarks import Stopwatch, show, timed_row
from benchmarks.agent import Agent, agent_in
from benchmarks.labs import RUN, small_lab, unbuilt_lab, zipped
from entrypoints.cli.demo.processes import pause

_ENVIRONMENTS = 50
_CHANGED = 10
_ROUNDS = 5
_AMID_SECONDS = 1.0
_AIM = "2 s"


def run(folder: Path) -> None:
    """Measures and prints."""
    if reason := missing():
        print(f"Nothing was measured: {reason}.")
        return
    with private_engine() as own:
        names = [f"{RUN}-{number}" for number in range(_ENVIRONMENTS)]
        settings = {"DOCKER_SOCKET": own.address, "MAX_CONTAINERS": "1000"}
        with agent_in(folder, **settings) as ours:
            _deploy_all(ours, names)
            ours.kill()
        quiet = [_ready_seconds(folder, settings, lambda _: None) for _ in range(_ROUNDS)]
        busy = [
            _ready_seconds(folder, settings, lambda ours: _change_some(ours, names))
            for _ in range(_ROUNDS)
        ]
        listed = [_command_seconds(own, "docker", "ps", "-a") for _ in range(_ROUNDS)]
        projects = [_command_seconds(own, "docker", "compose", "ls") for _ in range(_ROUNDS)]
        show(
            f"From the start of an agent that was killed to /ready, {_ENVIRONMENTS} environments "
            f"of two containers; {_ROUNDS} rounds",
            [
                timed_row("docker ps -a", listed),
                timed_row("docker compose ls", projects, listed),
                timed_row("agent, all at rest", quiet, listed, _AIM),
                timed_row(f"agent, {_CHANGED} were being changed", busy, listed),
            ],
        )


def _deploy_all(ours: Agent, names: Sequence[str]) -> None:
    digest = ours.upload(zipped(unbuilt_lab()))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: ours.deploy(name, digest), names))


def _ready_seconds(folder: Path, settings: dict[str, str], begin: Callable[[Agent], None]) -> float:
    """How long the agent takes that follows one which was killed amid something."""
    with agent_in(folder, **settings) as ours:
        begin(ours)
        ours.kill()
    with agent_in(folder, **settings) as ours:
        ours.wait_until_idle()
        return ours.ready_seconds


def _change_some(ours: Agent, names: Sequence[str]) -> None:
    """Begins changes of every kind, in each of them of several environments."""
    digest = ours.upload(zipped(small_lab()))
    for number, name in enumerate(names[:_CHANGED]):
        match number % 3:
            case 0:
                ours.replace(name, digest)
            case 1:
                ours.change(name, "restart")
            case _:
                ours.change(name, "reset")
    pause(_AMID_SECONDS)


def _command_seconds(own: PrivateEngine, *command: str) -> float:
    watch = Stopwatch()
    environment = {**os.environ, "DOCKER_HOST": own.address}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return watch.seconds
