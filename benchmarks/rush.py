"""Two hundred launches at once: how soon the agent answers others meanwhile, and what it takes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from threading import Event, Thread

from tests.support.private_engine import missing, private_engine
from tests.support.steady_requests import Answer, steady_requests

from benchmarks import Row, Stopwatch, show
from benchmarks.agent import Agent, agent
from benchmarks.labs import RUN, small_lab, zipped
from entrypoints.cli.demo.processes import pause

_LAUNCHES = 200
_BUILDS = 4
_PAUSE_SECONDS = 0.02
_IDLE_SECONDS = 15.0
_LOOK_SECONDS = 0.25
_AIM = "99 % within 50 ms"


def run(folder: Path) -> None:
    """Measures and prints."""
    if reason := missing():
        print(f"Nothing was measured: {reason}.")
        return
    settings = {"MAX_BUILDS": str(_BUILDS), "MAX_CONTAINERS": str(_LAUNCHES)}
    with private_engine() as own, agent(DOCKER_SOCKET=own.address, **settings) as ours:
        idle = _asked(folder, own.address, ours, lambda: pause(_IDLE_SECONDS))
        builds, before, watch = _Builds(ours), ours.memory_mb("VmRSS"), Stopwatch()
        busy = _asked(folder, own.address, ours, lambda: builds.counted(_launch_all, ours))
        peak = f"{before:.0f} MB, at its peak {ours.memory_mb('VmHWM'):.0f} MB"
        show(
            f"{_LAUNCHES} launches asked for at once; another asks every {_PAUSE_SECONDS:g} s",
            [
                _row("GET /health, idle", idle[0]),
                _row("GET /health, while they queue and run", busy[0], _AIM),
                _row("the Engine's GET /_ping, idle", idle[1]),
                _row("the Engine's GET /_ping, while they do", busy[1]),
                Row(what="until all stood", figure=f"{watch.seconds:.0f} s"),
                Row(what="built at once", figure=str(builds.most), aim=f"at most {_BUILDS}"),
                Row(what="agent's memory", figure=peak),
            ],
        )


def _asked(
    folder: Path, engine: str, ours: Agent, meanwhile: Callable[[], object]
) -> tuple[Sequence[Answer], Sequence[Answer]]:
    """The answers of the agent and of the Engine while something goes on."""
    agents, engines = folder / "agent", folder / "engine"
    with (
        steady_requests(ours.address, "/health", seconds=_PAUSE_SECONDS, output=agents) as health,
        steady_requests(engine, "/_ping", seconds=_PAUSE_SECONDS, output=engines) as ping,
    ):
        meanwhile()
        return health.answers, ping.answers


def _row(what: str, answers: Sequence[Answer], aim: str = "") -> Row:
    wrong = sum(answer.status != 200 for answer in answers)
    milliseconds = [answer.seconds * 1000 for answer in answers]
    cuts = quantiles(milliseconds, n=100)
    figure = f"{cuts[49]:.1f} ms; 99 % {cuts[98]:.1f} ms; worst {max(milliseconds):.0f} ms"
    return Row(what=what, figure=figure + (f"; {wrong} unanswered" if wrong else ""), aim=aim)


def _launch_all(ours: Agent) -> None:
    names = [f"{RUN}-rush-{number}" for number in range(_LAUNCHES)]
    with ThreadPoolExecutor(_LAUNCHES) as threads:
        list(threads.map(lambda name: ours.launch(name, zipped(small_lab())), names))


class _Builds:
    """Looks how many builds run at once."""

    def __init__(self, ours: Agent) -> None:
        self.most = 0
        self._ours = ours
        self._over = Event()

    def counted(self, work: Callable[[Agent], None], ours: Agent) -> None:
        """Does work, and counts meanwhile."""
        looking = Thread(target=self._look)
        looking.start()
        try:
            work(ours)
        finally:
            self._over.set()
            looking.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            building = [command for command in self._ours.commands() if command[-1] == "build"]
            self.most = max(self.most, len(building))
