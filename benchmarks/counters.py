"""The counters of all containers, beside ``docker stats``."""

import os
import subprocess
from functools import partial
from pathlib import Path
from statistics import median

import anyio
from tests.support import engine

from adapters.cgroups.usage import CgroupUsage
from adapters.docker.client import EngineClient
from adapters.docker.runtime import DockerContainers
from adapters.docker.stats import DockerUsage
from benchmarks import Row, Stopwatch, show
from benchmarks.agent import Agent, agent
from benchmarks.kept_connection import KeptConnection
from benchmarks.standing import COUNTS, Standing, running_containers
from domain.ports.container_usage import ContainerUsages

_ROUNDS = 5
_AIM = "at most 0.020"

# Those who ask within a second get what was read before.
_APART_SECONDS = 1.1


def run(_folder: Path) -> None:
    """Measures and prints."""
    standing = Standing()
    with agent() as ours:
        for count in COUNTS:
            standing.become(count)
            show(
                f"The counters of {running_containers()} running containers; {_ROUNDS} rounds",
                _compared(ours),
            )


def _compared(ours: Agent) -> list[Row]:
    shown, scraped = [], []
    for _ in range(_ROUNDS):
        shown.append(_docker_stats())
        scraped.append(_scrape(ours))
    kernel, told = anyio.run(_read)
    return [
        _row("docker stats --no-stream", shown, shown),
        _row("agent, from the kernel's files", kernel, shown, _AIM),
        _row("agent, a scrape of /metrics with them", scraped, shown, _AIM),
        _row("agent, from the Engine where it cannot see the files", told, shown),
    ]


def _row(what: str, seconds: list[float], measure: list[float], aim: str = "") -> Row:
    figure = f"{median(seconds) * 1000:.1f} ms"
    if seconds is measure:
        return Row(what=what, figure=figure)
    ratio = f"{median(seconds) / median(measure):.4f}"
    return Row(what=what, figure=f"{figure}, {ratio} of it", aim=aim)


def _docker_stats() -> float:
    watch = Stopwatch()
    subprocess.run(
        ["docker", "stats", "--no-stream"],
        env={**os.environ, "DOCKER_HOST": engine.SOCKET},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return watch.seconds


def _scrape(ours: Agent) -> float:
    connection = KeptConnection(ours.question("/metrics"))
    try:
        watch = Stopwatch()
        connection.ask()
        return watch.seconds
    finally:
        connection.close()


async def _read() -> tuple[list[float], list[float]]:
    """How long it takes to read all counters, from the kernel and from the Engine."""
    client = EngineClient(engine.SOCKET)
    try:
        return await _seconds(CgroupUsage(), client), await _seconds(DockerUsage(client), client)
    finally:
        await client.aclose()


async def _seconds(source: ContainerUsages, client: EngineClient) -> list[float]:
    containers = await DockerContainers(client).list()
    read = partial(source.usage, containers)
    if len(await read()) < sum(container.running for container in containers):
        print("Not all could be read.")
    found = []
    for _ in range(_ROUNDS):
        watch = Stopwatch()
        await read()
        found.append(watch.seconds)
    return found
