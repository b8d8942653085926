"""One deploy through the agent beside plain ``docker compose up -d`` of the same lab."""

from collections.abc import Callable
from pathlib import Path

from benchmarks import Row, show, timed_row
from benchmarks.agent import Agent, agent
from benchmarks.labs import RUN, Files, Plain, built_lab, unbuilt_lab, zipped

_ROUNDS = 9
_AIM = "at most 1.10"


def run(folder: Path) -> None:
    """Measures and prints."""
    plain = Plain(folder)
    with agent() as ours:
        show(
            f"One deploy until it stands: two services, one of them built; {_ROUNDS} rounds",
            _compared(ours, plain, "built", built_lab),
        )
        show(
            f"The same, all images at hand; {_ROUNDS} rounds",
            _compared(ours, plain, "unbuilt", unbuilt_lab),
        )


def _compared(ours: Agent, plain: Plain, kind: str, lab: Callable[[], Files]) -> list[Row]:
    through_api, through_manager, without = [], [], []
    # What is done for the first time is slow on either side.
    for number in range(-1, _ROUNDS):
        name = f"{RUN}-{kind}-{number + 1}"
        api, manager = _deployed(ours, name, lab)
        compose = _started(plain, f"{name}-plain", lab())
        if number >= 0:
            through_api.append(api)
            through_manager.append(manager)
            without.append(compose)
    return [
        timed_row("docker compose up -d", without),
        timed_row("agent, bundle uploaded before", through_api, without, _AIM),
        timed_row("agent, the manager's call with the bundle in it", through_manager, without),
    ]


def _deployed(ours: Agent, name: str, lab: Callable[[], Files]) -> tuple[float, float]:
    """Through the API, and by the manager's call."""
    digest = ours.upload(zipped(lab()))
    api = ours.deploy(name, digest)
    ours.remove(name)
    manager = ours.launch(name, zipped(lab()))
    ours.remove(name)
    return api, manager


def _started(plain: Plain, name: str, files: Files) -> float:
    folder = plain.unpacked(name, files)
    try:
        return plain.up(name, folder)
    finally:
        plain.down(name, folder)
