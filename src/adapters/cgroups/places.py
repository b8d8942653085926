"""Where the groups of containers lie: it depends on the Engine, its driver and its settings."""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator

SEARCH_SECONDS = 30.0
"""Pause between two searches for groups that are not where others are."""

MOST_FOLDERS = 20_000
"""How many folders one search looks at."""

_MOST_PATTERNS = 32

_GROUP = re.compile(r"(?P<before>(?:[a-z]+-)?)(?P<id>[0-9a-f]{64})(?P<after>(?:\.scope)?)")


class Places:
    """Knows where groups lie, from where others lie; searches where that does not help.

    Args:
        now: seconds since an unknown moment.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._patterns: deque[tuple[str, str]] = deque(maxlen=_MOST_PATTERNS)
        self._searched = -SEARCH_SECONDS

    def of(self, ids: Collection[str], anchor: str) -> dict[str, str]:
        """The places of containers' groups, those that can be found: identifier → path.

        Args:
            ids: the containers.
            anchor: the folder below which the paths lead.
        """
        found = self._known(ids, anchor)
        missing = [each for each in ids if each not in found]
        if missing and self._now() - self._searched >= SEARCH_SECONDS:
            self._search(frozenset(missing), anchor)
            self._searched = self._now()
            found |= self._known(missing, anchor)
        return found

    def _known(self, ids: Collection[str], anchor: str) -> dict[str, str]:
        found = {}
        for each in ids:
            for before, after in self._patterns:
                if os.access(f"{anchor}/{before}{each}{after}", os.F_OK):
                    found[each] = f"{before}{each}{after}"
                    break
        return found

    def _search(self, ids: Collection[str], anchor: str) -> None:
        """Learns from the groups that it comes across where containers' groups lie."""
        for parent, name in _folders(anchor):
            group = _GROUP.fullmatch(name)
            if group is not None and group["id"] in ids:
                pattern = (f"{parent}{group['before']}", group["after"])
                if pattern not in self._patterns:
                    self._patterns.appendleft(pattern)


def _folders(anchor: str) -> Iterator[tuple[str, str]]:
    """Folders below one, those that are not deep first: the path to them, and their name."""
    waiting, count = deque([""]), 0
    while waiting and count < MOST_FOLDERS:
        parent = waiting.popleft()
        try:
            with os.scandir(f"{anchor}/{parent}") as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # it has gone meanwhile
        for name in names:
            count += 1
            yield parent, name
            waiting.append(f"{parent}{name}/")
