"""Twenty deploys of one bundle at once, beside plain Compose and the Engine's bare calls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
from tests.support import engine

from benchmarks import Stopwatch, show, timed_row
from benchmarks.agent import agent
from benchmarks.labs import LABELS, RUN, Plain, built_lab, client, zipped

_ROUNDS = 3
_ENVIRONMENTS = 20
_COMPOSE_AT_ONCE = 4
_CALLS_AT_ONCE = 8
_AIM = "at most 0.60"


def run(folder: Path) -> None:
    """Measures and prints."""
    through_agent, plain, bare = [], [], []
    for number in range(_ROUNDS):
        names = [f"{RUN}-many-{number}-{each}" for each in range(_ENVIRONMENTS)]
        plain.append(_compose_seconds(Plain(folder), names))
        through_agent.append(_agent_seconds(names))
        bare.append(_engine_seconds(names))
    show(
        f"{_ENVIRONMENTS} environments of one lab, its image not built before; {_ROUNDS} rounds",
        [
            timed_row(f"docker compose up -d, {_COMPOSE_AT_ONCE} at a time", plain),
            timed_row("agent, all asked for at once", through_agent, plain, _AIM),
            timed_row(f"bare Engine calls, {_CALLS_AT_ONCE} threads, no build", bare, plain),
            timed_row("agent, to the bare calls", through_agent, bare),
        ],
    )


def _at_once(number: int, work: Callable[[str], object], names: list[str]) -> float:
    """How long the work on all names takes, in seconds."""
    watch = Stopwatch()
    with ThreadPoolExecutor(number) as threads:
        list(threads.map(work, names))
    return watch.seconds


def _agent_seconds(names: list[str]) -> float:
    with agent() as ours:
        digest = ours.upload(zipped(built_lab()))
        seconds = _at_once(len(names), lambda name: ours.deploy(name, digest), names)
        ours.remove(*names)
    return seconds


def _compose_seconds(plain: Plain, names: list[str]) -> float:
    lab = built_lab()
    folders = {name: plain.unpacked(name, lab) for name in names}
    seconds = _at_once(_COMPOSE_AT_ONCE, lambda name: plain.up(name, folders[name]), names)
    _at_once(_COMPOSE_AT_ONCE, lambda name: plain.down(name, folders[name]), names)
    return seconds


def _engine_seconds(names: list[str]) -> float:
    api = client()
    try:
        seconds = _at_once(_CALLS_AT_ONCE, lambda name: _make(api, name), names)
        _at_once(_CALLS_AT_ONCE, lambda name: _unmake(api, name), names)
    finally:
        api.close()
    return seconds


def _make(api: docker.APIClient, name: str) -> None:
    network = f"{name}_default"
    api.create_network(network, driver="bridge", labels=LABELS)
    # The limits are those that the agent gives where a bundle asks for none.
    limited = api.create_host_config(
        init=True,
        network_mode=network,
        nano_cpus=10**9,
        mem_limit=2**30,
        memswap_limit=2**30,
        pids_limit=512,
    )
    for service in ("web", "side"):
        container = api.create_container(
            engine.BASE_IMAGE,
            ["sleep", "3600"],
            name=f"{name}-{service}-1",
            labels=LABELS,
            host_config=limited,
        )
        api.start(container)


def _unmake(api: docker.APIClient, name: str) -> None:
    for service in ("web", "side"):
        api.remove_container(f"{name}-{service}-1", force=True)
    api.remove_network(f"{name}_default")
