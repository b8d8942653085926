"""The second environment of a lab whose build is slow, beside the first."""

from pathlib import Path

from benchmarks import show, timed_row
from benchmarks.agent import agent
from benchmarks.labs import RUN, Plain, built_lab, zipped

_ROUNDS = 5
_STEP_SECONDS = 3


def run(folder: Path) -> None:
    """Measures and prints."""
    through_agent, plain = [], []
    with agent() as ours:
        for number in range(_ROUNDS):
            names = [f"{RUN}-again-{number}-{each}" for each in range(2)]
            digest = ours.upload(zipped(built_lab(slow_seconds=_STEP_SECONDS)))
            through_agent.append([ours.deploy(name, digest) for name in names])
            ours.remove(*names)
            plain.append(_compose_seconds(Plain(folder), names))
    first, second = zip(*through_agent, strict=True)
    plain_first, plain_second = zip(*plain, strict=True)
    show(
        f"Two environments of one lab, a step of its build takes {_STEP_SECONDS} s; "
        f"{_ROUNDS} rounds",
        [
            timed_row("agent, first", first),
            timed_row("agent, second", second, first, "its image is not built again"),
            timed_row("docker compose up -d, first", plain_first),
            timed_row("docker compose up -d, second, to its first", plain_second, plain_first),
            timed_row("agent, second, to Compose's second", second, plain_second),
        ],
    )


def _compose_seconds(plain: Plain, names: list[str]) -> list[float]:
    lab = built_lab(slow_seconds=_STEP_SECONDS)
    folders = {name: plain.unpacked(name, lab) for name in names}
    seconds = [plain.up(name, folder) for name, folder in folders.items()]
    for name, folder in folders.items():
        plain.down(name, folder)
    return seconds
