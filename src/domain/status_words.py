"""The Engine's words for how long something has been so, kept true while time passes.

The Engine tells ``Up 3 minutes`` and not since when; asking it for that takes a call for each
container.
"""

import re
from collections.abc import Collection, Iterable

import msgspec

from domain.containers import Container

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WEEK, _MONTH, _YEAR = 7 * _DAY, 30 * _DAY, 365 * _DAY

# The Engine rounds hours to the nearest, and counts longer times in whole hours of that kind.
_ROUNDED = _HOUR / 2

_AGED = re.compile(r"(Up |(?:Exited|Restarting) \(-?\d+\) )(.+?)( ago| \(.+\)|)")
_COUNTED = re.compile(r"(\d+) (second|minute|hour|day|week|month|year)s?")

_SHORTEST = {
    "second": lambda count: count,
    "minute": lambda count: count * _MINUTE,
    "hour": lambda count: count * _HOUR - _ROUNDED,
    "day": lambda count: count * _DAY - _ROUNDED,
    "week": lambda count: count * _WEEK - _ROUNDED,
    "month": lambda count: count * _MONTH - _ROUNDED,
    "year": lambda count: count * _YEAR,
}
_SPOKEN = {"Less than a second": 0, "About a minute": _MINUTE, "About an hour": _HOUR}


def duration_words(seconds: float) -> str:
    """A time as the Engine puts it: ``Less than a second``, ``About an hour``, ``3 weeks``."""
    hours = int((seconds + _ROUNDED) / _HOUR)
    if seconds < _HOUR:
        return _short_words(int(seconds))
    if hours == 1:
        return "About an hour"
    for unit, length, most in (
        ("hours", _HOUR, 2 * _DAY),
        ("days", _DAY, 2 * _WEEK),
        ("weeks", _WEEK, 2 * _MONTH),
        ("months", _MONTH, 2 * _YEAR),
    ):
        if hours * _HOUR < most:
            return f"{hours * _HOUR // length} {unit}"
    return f"{int(seconds) // _YEAR} years"


def _short_words(seconds: int) -> str:
    if seconds < 1:
        return "Less than a second"
    if seconds < _MINUTE:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = seconds // _MINUTE
    return "About a minute" if minutes == 1 else f"{minutes} minutes"


def shortest_seconds(words: str) -> float | None:
    """The shortest time that is put so; None if it is no time."""
    if words in _SPOKEN:
        return _SPOKEN[words]
    counted = _COUNTED.fullmatch(words)
    return _SHORTEST[counted[2]](int(counted[1])) if counted else None


class Ages:
    """Since when each container is as it is.

    What is said is never ahead of the Engine, and behind it by at most a second for one whose last
    change was seen; for others by as much as the Engine's words leave open, until it is asked next.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def note(self, containers: Iterable[Container], *, asked: float, answered: float) -> None:
        """Takes what the Engine has just told.

        Args:
            containers: with the Engine's own words.
            asked: when, on a clock that does not jump.
            answered: when the answer came.
        """
        for container in containers:
            aged = _AGED.fullmatch(container.status)
            shortest = shortest_seconds(aged[2]) if aged else None
            if aged is None or shortest is None:
                self._since.pop(container.id, None)
            elif not self._agrees(container.id, aged[2], asked, answered):
                self._since[container.id] = answered - shortest

    def _agrees(self, container_id: str, words: str, asked: float, answered: float) -> bool:
        since = self._since.get(container_id)
        if since is None:
            return False
        return words in {duration_words(asked - since), duration_words(answered - since)}

    def keep(self, ids: Collection[str]) -> None:
        """Forgets all other containers."""
        self._since = {each: since for each, since in self._since.items() if each in ids}

    def told(self, containers: Iterable[Container], now: float) -> tuple[Container, ...]:
        """The containers with words that are true now."""
        return tuple(self._aged(container, now) for container in containers)

    def _aged(self, container: Container, now: float) -> Container:
        since = self._since.get(container.id)
        aged = _AGED.fullmatch(container.status) if since is not None else None
        if since is None or aged is None:
            return container
        words = duration_words(now - since)
        if words == aged[2]:
            return container
        return msgspec.structs.replace(container, status=f"{aged[1]}{words}{aged[3]}")
