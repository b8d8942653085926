"""What the agent costs, side by side with the real thing: ``python -m benchmarks NAME``.

Each benchmark measures both sides in one run, in turns, since absolute figures move with the
machine. An aim stands beside each result; nothing fails where it is missed.
"""

from collections.abc import Sequence
from statistics import median
from time import monotonic

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a result."""

    what: str
    figure: str
    ratio: float | None = None
    """To the line that is the measure; None for that line itself."""
    aim: str = ""


def show(title: str, rows: Sequence[Row]) -> None:
    """Prints a result."""
    print(f"\n{title}")
    cells = [("", "measured", "ratio", "aim"), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    for what, figure, ratio, aim in cells:
        line = f"{what:<{widths[0]}}  {figure:>{widths[1]}}  {ratio:>{widths[2]}}  {aim}"
        print(f"  {line.rstrip()}", flush=True)


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.what, row.figure, "" if row.ratio is None else f"{row.ratio:.2f}", row.aim


def timed_row(
    what: str, seconds: Sequence[float], measure: Sequence[float] = (), aim: str = ""
) -> Row:
    """A line with the median of some durations, and its ratio to the median of others."""
    spread = f" ({min(seconds):.2f} to {max(seconds):.2f})" if len(seconds) > 1 else ""
    ratio = median(seconds) / median(measure) if measure else None
    return Row(what=what, figure=f"{median(seconds):.2f} s{spread}", ratio=ratio, aim=aim)


class Stopwatch:
    """Measures from its making."""

    def __init__(self) -> None:
        self._start = monotonic()

    @property
    def seconds(self) -> float:
        """How long it runs."""
        return monotonic() - self._start
