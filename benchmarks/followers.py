"""What those who follow containers that print without end cost all others."""

import multiprocessing
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from time import monotonic, perf_counter

from docker.types import LogConfig
from tests.support import engine

from benchmarks import Row, labs, show
from benchmarks.agent import Agent, agent
from benchmarks.kept_connection import KeptConnection, Question
from benchmarks.standing import cpu_seconds
from entrypoints.cli.demo.processes import pause

_COUNTS = (1, 10)
"""How many containers print, one after another."""

_SECONDS = 15
_SETTLE_SECONDS = 3
_BETWEEN_SECONDS = 0.02
_PIECE = 1024 * 1024
_AIM = "half below 20 ms, 99 % below 200 ms"


def run(_folder: Path) -> None:
    """Measures and prints."""
    with agent() as ours:
        for number in range(max(_COUNTS)):
            _print_without_end(number)
            if number + 1 in _COUNTS:
                show(f"{number + 1} printing without end, at 0.3 CPUs", _rows(ours, number + 1))


def _rows(ours: Agent, containers: int) -> list[Row]:
    pause(_SETTLE_SECONDS)
    alone = _asked(ours)
    rows = [Row(what="/health, nobody follows", figure=_told(alone))]
    for count, what in ((50, "50 follow"), (25, "25 follow and read nothing")):
        with _following(ours, containers, count, reading=count == 50):
            pause(_SETTLE_SECONDS)
            before = cpu_seconds(ours.process_id)
            found = _asked(ours)
            share = (cpu_seconds(ours.process_id) - before) / _SECONDS
        figure = f"{_told(found)}, agent's CPU {share:.0%}"
        ratio = _part(found, 0.5) / _part(alone, 0.5)
        rows.append(Row(what=f"/health, {what}", figure=figure, ratio=ratio, aim=_AIM))
    return rows


def _print_without_end(number: int) -> None:
    api = labs.client()
    try:
        created = api.create_container(
            engine.BASE_IMAGE,
            ["yes", "a" * 32],
            name=_name(number),
            labels=labs.LABELS,
            host_config=api.create_host_config(
                init=True, nano_cpus=300_000_000, log_config=LogConfig(type="local")
            ),
        )
        api.start(created["Id"])
    finally:
        api.close()


def _name(number: int) -> str:
    return f"{labs.RUN}-flood-{number}"


def _asked(ours: Agent) -> Sequence[float]:
    """How long answers took, in seconds, the shortest first."""
    connection = KeptConnection(ours.question("/health"))
    found = []
    end = monotonic() + _SECONDS
    while monotonic() < end:
        began = perf_counter()
        connection.ask()
        found.append(perf_counter() - began)
        pause(_BETWEEN_SECONDS)
    connection.close()
    return sorted(found)


def _part(found: Sequence[float], part: float) -> float:
    return found[min(len(found) - 1, int(len(found) * part))]


def _told(found: Sequence[float]) -> str:
    half, most = _part(found, 0.5) * 1000, _part(found, 0.99) * 1000
    return f"half in {half:.1f} ms, 99 % in {most:.1f} ms"


@contextmanager
def _following(ours: Agent, containers: int, count: int, *, reading: bool) -> Iterator[None]:
    """So many who follow, in a process of their own."""
    asked = []
    for number in range(count):
        path = f"/api/v1/containers/{_name(number % containers)}/logs?follow=true&tail=0"
        asked.append(ours.question(path))
    over = multiprocessing.Event()
    process = multiprocessing.Process(target=_follow, args=(asked, over, reading), daemon=True)
    process.start()
    try:
        yield
    finally:
        over.set()
        process.join()


def _follow(asked: Sequence[Question], over: Event, reading: bool) -> None:
    selector = DefaultSelector()
    for address, request in asked:
        connection = socket.create_connection(address)  # type: ignore[arg-type]
        connection.sendall(request.replace(b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\n\r\n"))
        selector.register(connection, EVENT_READ)
    while not over.wait(_BETWEEN_SECONDS):
        for key, _ in selector.select(0) if reading else ():
            with suppress(OSError):
                key.fileobj.recv(_PIECE)  # type: ignore[union-attr]
