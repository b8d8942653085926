"""Whether the file of records that is open is still the one that a start would find."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from adapters.sqlite.rewriting import SUFFIXES


class OpenedFile:
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
