"""The room that the file of records takes up, and how it is given back to the disk."""

import errno
import sqlite3
from contextlib import suppress

MOST_LOG_BYTES = 4 * 1024 * 1024
"""How large the file of what was written last may stay."""

_SLACK_PAGES = 64
"""How many unused pages stay in the file, so that it does not grow and shrink with each record."""

_PAGES_AT_ONCE = 4096
"""How many are given back in one transaction, for which all others wait."""

_CONVERTED_BYTES = 64 * 1024 * 1024
"""Up to which size an earlier agent's file is written anew, which takes that much room for it."""

_INCREMENTAL = 2

_FULL = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}


def is_full(fault: BaseException | None, *, opening: bool = False) -> bool:
    """Whether a disk without room may be what a fault comes from.

    Args:
        fault: of the library or the system.
        opening: it came in opening the file, where the library does not tell why.
    """
    if isinstance(fault, OSError):
        return fault.errno in {errno.ENOSPC, errno.EDQUOT}
    code = getattr(fault, "sqlite_errorcode", None)
    return code in _FULL or (opening and code == sqlite3.SQLITE_CANTOPEN)


def let_shrink(connection: sqlite3.Connection) -> None:
    """Lets a file shrink in steps; only one that is empty still heeds it at once."""
    connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    connection.execute(f"PRAGMA journal_size_limit = {MOST_LOG_BYTES}")


def convert(connection: sqlite3.Connection) -> None:
    """Writes an earlier agent's file anew, so that it can shrink.

    One that is too large, or whose disk has no room for a second one, stays as it is: it grows no
    further than its records, whose number is bounded, and pages that are free are used again.
    """
    if _number(connection, "auto_vacuum") == _INCREMENTAL:
        return
    if _number(connection, "page_count") * _number(connection, "page_size") <= _CONVERTED_BYTES:
        with suppress(sqlite3.OperationalError):
            connection.execute("VACUUM")
            checkpoint(connection)


def give_back(connection: sqlite3.Connection) -> bool:
    """Cuts unused pages off the file, when it is next brought up to date; whether any.

    In a transaction of its own.
    """
    surplus = min(_number(connection, "freelist_count") - _SLACK_PAGES, _PAGES_AT_ONCE)
    if surplus <= 0 or _number(connection, "auto_vacuum") != _INCREMENTAL:
        return False
    # It takes a page at each step, of which anything but a script takes the first alone.
    connection.executescript(f"PRAGMA incremental_vacuum({surplus})")
    return True


def checkpoint(connection: sqlite3.Connection) -> None:
    """Brings the file up to date, and empties the one of what was written last."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (number,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)
