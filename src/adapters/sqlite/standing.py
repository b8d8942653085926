"""Whether the file of records that is open is still the one that a start would find."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

SUFFIXES = ("", "-wal", "-shm")
"""Of the file, of what was written to it last, and of the index of that."""


class Standing:
    """An open file as it was found; made when it has been written to and read.

    Args:
        path: by which it was opened.
        connection: by which it is open.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._opened = _found(path)
        self._version = _version(connection)

    @property
    def displaced(self) -> bool:
        """Whether its path, or that of a file beside it, leads nowhere by now, or elsewhere.

        What is written is then gone with the process, though each write succeeds. The same holds
        where it is empty, as a start throws away what was written last to an empty file.
        """
        return _found(self._path) != self._opened or self._path.stat().st_size == 0

    def touched(self) -> bool:
        """Whether another process has written to it since this was asked last."""
        earlier, self._version = self._version, _version(self._connection)
        return self._version != earlier


def copy_of(connection: sqlite3.Connection, path: Path) -> Path:
    """A whole copy of an open file, on disk beside ``path``; may be repeated.

    Raises:
        sqlite3.Error: it cannot be read, or there is no room.
        OSError: the folder cannot be made or written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    discard_copy(path)
    copy = _copy(path)
    try:
        # Made before SQLite does, which would leave it readable for everybody.
        copy.touch(mode=0o600)
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
    except BaseException:
        # On a full disk it takes the room that is needed for what is under way.
        with suppress(OSError):
            discard_copy(path)
        raise
    return copy


def discard_copy(path: Path) -> None:
    """Removes what is left of a copy that was cut off."""
    copy = _copy(path)
    for suffix in (*SUFFIXES, "-journal"):
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)


def _copy(path: Path) -> Path:
    return path.with_name(f"{path.name}.copy")


def _found(path: Path) -> Sequence[tuple[int, int] | None]:
    return [_identity(path.with_name(path.name + suffix)) for suffix in SUFFIXES]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)
