"""The list of running containers, beside the Engine's own."""

from pathlib import Path
from statistics import median

from tests.support import engine

from benchmarks import Row, show
from benchmarks.agent import Agent, agent
from benchmarks.kept_connection import Question, answers_per_second, question, seconds_each
from benchmarks.standing import COUNTS, Standing, running_containers

_ROUNDS = 5
_TIMES = 200
_LOAD_SECONDS = 3.0
_AIM = "below 1.00"

_PATHS = ("/agent/containers", "/api/v1/containers")


def run(_folder: Path) -> None:
    """Measures and prints."""
    standing = Standing()
    with agent() as ours:
        for count in COUNTS:
            standing.become(count)
            _compare(ours)


def _compare(ours: Agent) -> None:
    theirs = question(engine.SOCKET.removeprefix("unix://"), "/containers/json")
    paths = [path for path in _PATHS if ours.serves(path)]
    asked = {"Engine, /containers/json": theirs}
    asked |= {f"agent, {path}": ours.question(path) for path in paths}
    show(
        f"The list of {running_containers()} running containers, on a kept connection; "
        f"medians of {_ROUNDS * _TIMES}",
        _alone(asked),
    )
    show("The same, eight clients at once", _together(asked))


def _alone(asked: dict[str, Question]) -> list[Row]:
    seconds: dict[str, list[float]] = {what: [] for what in asked}
    for _ in range(_ROUNDS):
        for what, each in asked.items():
            seconds[what] += seconds_each(each, _TIMES)
    medians = {what: median(found) for what, found in seconds.items()}
    return _rows({what: (f"{s * 1000:.2f} ms", s) for what, s in medians.items()})


def _together(asked: dict[str, Question]) -> list[Row]:
    rates = {what: answers_per_second(each, _LOAD_SECONDS) for what, each in asked.items()}
    return _rows({what: (f"{rate:.0f} /s", 1 / rate) for what, rate in rates.items()})


def _rows(found: dict[str, tuple[str, float]]) -> list[Row]:
    """Lines, each with its ratio to the first one."""
    (first, (figure, measure)), *others = found.items()
    return [
        Row(what=first, figure=figure),
        *(
            Row(what=what, figure=figure, ratio=seconds / measure, aim=_AIM)
            for what, (figure, seconds) in others
        ),
    ]
