"""What the agent takes while nothing happens, beside the Engine."""

from pathlib import Path

from benchmarks import Row, show
from benchmarks.agent import agent
from benchmarks.standing import (
    COUNTS,
    Standing,
    cpu_seconds,
    engine_process,
    resident_mb,
    running_containers,
)
from entrypoints.cli.demo.processes import pause

_SETTLE_SECONDS = 15
_SECONDS = 60
_AIM = "at most 0.30 s"


def run(_folder: Path) -> None:
    """Measures and prints."""
    standing = Standing()
    with agent() as ours:
        for count in COUNTS:
            standing.become(count)
            show(
                f"At rest with {running_containers()} running containers, for {_SECONDS} s",
                _rows({"agent": ours.process_id, "Engine": engine_process()}),
            )
    show("The same without the agent", _rows({"Engine": engine_process()}))


def _rows(processes: dict[str, int | None]) -> list[Row]:
    known = {who: process for who, process in processes.items() if process is not None}
    pause(_SETTLE_SECONDS)
    before = {who: cpu_seconds(process) for who, process in known.items()}
    pause(_SECONDS)
    return [
        Row(
            what=f"{who}, CPU and resident memory",
            figure=f"{cpu_seconds(process) - before[who]:.2f} s, {resident_mb(process):.0f} MB",
            aim=_AIM if who == "agent" else "",
        )
        for who, process in known.items()
    ]
