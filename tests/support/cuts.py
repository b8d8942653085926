"""Cuts work on disk off in its midst, as a kill would: from then on nothing of it changes anything.

``sys.addaudithook`` tells of each change before it is made.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}


class Cut(BaseException):
    """The work is gone, its last wishes included."""


class Cuts:
    """Counts the changes to the disk, and lets through as many as there may be.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self.met = False
        """Whether there would have been more."""

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Looks at what is about to be done.

        Raises:
            Cut: it is a change too many.
        """
        opened_to_write = event == "open" and arguments[2] & os.O_CREAT
        if event in _CHANGES or opened_to_write:
            if self._left == 0:
                self.met = True
                raise Cut
            self._left -= 1


_watching: list[Cuts] = []


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    for cuts in _watching:
        cuts.see(event, arguments)


_hooked: list[bool] = []


@contextmanager
def cut_off(after: int) -> Iterator[Cuts]:
    """Cuts work off after so many changes to the disk, and everything that tries to clean up."""
    if not _hooked:
        # It stays for as long as the process lives.
        sys.addaudithook(_see)
        _hooked.append(True)
    cuts = Cuts(after)
    _watching.append(cuts)
    try:
        yield cuts
    except Cut:
        assert cuts.met
    finally:
        _watching.remove(cuts)
