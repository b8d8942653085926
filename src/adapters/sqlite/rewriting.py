"""Files of records that take the place of others, whole or not at all."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

SUFFIXES = ("", "-wal", "-shm")
"""Of the file, of what was written to it last, and of the index of that."""

_HELD_SECONDS = 5.0
"""How long another process may keep the records from being copied."""


def put_in_place(connection: sqlite3.Connection, path: Path) -> Path | None:
    """Writes all that is in an open file to ``path``, and sets aside what lies there.

    An agent that is killed meanwhile loses none of it: ``finish`` goes on where it ended. May be
    repeated where it failed.

    Returns:
        Where that lies now; None where nothing lay there.

    Raises:
        sqlite3.Error: it cannot be read, or there is no room.
        OSError: the folder cannot be made or written, or another process holds the records.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _discard(path)
    copy = _copy(path)
    try:
        # Made before SQLite does, which would leave it readable for everybody.
        copy.touch(mode=0o600)
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target, progress=_patience())
        return _take_the_place(path)
    except BaseException:
        # It takes room that may be needed, and would be out of date at the next start.
        with suppress(OSError):
            _discard(path)
        raise


def finish(path: Path) -> None:
    """Before a file is opened: brings to its end what a kill cut off in ``put_in_place``."""
    copy = _copy(path)
    if copy.exists() and _whole(copy):
        _take_the_place(path)
    else:
        _discard(path)


def set_aside(path: Path, why: str) -> Path | None:
    """Where what lies at the path is now; None if nothing lies there."""
    # To the microsecond, so that an earlier one is not written over.
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.{why}-{moment}")
    found = False
    for suffix in SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.is_symlink() or part.exists():
            part.rename(aside.with_name(aside.name + suffix))
            found = True
    return aside if found else None


def _take_the_place(path: Path) -> Path | None:
    # With what was written to it last: to another file that would be nonsense.
    aside = set_aside(path, "displaced")
    _copy(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return aside


def _whole(copy: Path) -> bool:
    """Whether it was written to its end; what was not is rolled back by opening it."""
    try:
        with closing(sqlite3.connect(copy)) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error:
        return False
    return bool(tables) and verdict == "ok"


def _discard(path: Path) -> None:
    copy = _copy(path)
    for suffix in (*SUFFIXES, "-journal"):
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)


def _copy(path: Path) -> Path:
    """A name that nobody gives to a copy of their own."""
    return path.with_name(f".{path.name}.rewriting")


def _patience() -> Callable[[int, int, int], None]:
    """Gives up on others in time; without it, a copy waits for them as long as they like."""
    until = time.monotonic() + _HELD_SECONDS

    def give_up(status: int, _remaining: int, _total: int) -> None:
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and time.monotonic() > until:
            raise TimeoutError("another process holds the records")

    return give_up
