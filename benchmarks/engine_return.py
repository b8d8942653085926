"""How soon all is right again once an Engine that was killed answers."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.ground_truth import shown_state, standing
from tests.support.private_engine import PrivateEngine, missing, private_engine

from benchmarks import Stopwatch, show, timed_row
from benchmarks.agent import Agent, agent_in
from benchmarks.labs import RUN, lasting_lab, unbuilt_lab, zipped
from entrypoints.cli.demo.processes import pause

_ENVIRONMENTS = 20
_ROUNDS = 5
_LIMIT_SECONDS = 60
_AIM = "seconds"


def run(folder: Path) -> None:
    """Measures and prints."""
    if reason := missing():
        print(f"Nothing was measured: {reason}.")
        return
    with private_engine() as own, agent_in(folder, DOCKER_SOCKET=own.address) as ours:
        _deploy_all(ours)
        ready, right = zip(*(_return_seconds(own, ours) for _ in range(_ROUNDS)), strict=True)
    show(
        f"From the Engine's first answer after it was killed, {_ENVIRONMENTS} environments, half "
        f"of which come back with it; {_ROUNDS} rounds",
        [
            timed_row("until /ready", ready),
            timed_row("until every state is what Docker shows", right, aim=_AIM),
        ],
    )


def _deploy_all(ours: Agent) -> None:
    ends, lasts = ours.upload(zipped(unbuilt_lab())), ours.upload(zipped(lasting_lab()))
    with ThreadPoolExecutor(4) as threads:
        for number in range(_ENVIRONMENTS):
            threads.submit(ours.deploy, f"{RUN}-{number}", lasts if number % 2 else ends)


def _return_seconds(own: PrivateEngine, ours: Agent) -> tuple[float, float]:
    """Until the agent is able to work, and until its states are right."""
    _start_all(ours)
    own.kill()
    while ours.is_ready():
        pause(0.1)
    own.start()
    watch = Stopwatch()
    _wait(watch, ours.is_ready)
    ready = watch.seconds
    _wait(watch, lambda: ours.states() == _shown(own))
    return ready, watch.seconds


def _start_all(ours: Agent) -> None:
    """Lets all run, also those that the last round ended."""
    for name, state in ours.states().items():
        if state != "running":
            ours.change(name, "start")
    ours.wait_until_idle()


def _shown(own: PrivateEngine) -> Mapping[str, str]:
    """The environments' states as Docker shows them."""
    with own.client() as client:
        held = standing(client)
    names = [f"{RUN}-{number}" for number in range(_ENVIRONMENTS)]
    return {name: shown_state(held.of(name)) for name in names}


def _wait(watch: Stopwatch, reached: Callable[[], bool]) -> None:
    while not reached():
        if watch.seconds > _LIMIT_SECONDS:
            raise RuntimeError(f"Nothing was right {_LIMIT_SECONDS} s after the Engine's return.")
        pause(0.02)
