"""Moves the moments that records age by, where the clock was set."""

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import msgspec

from adapters.sqlite.records import sortable
from domain.bundles import BundleRecord
from domain.environments import Environment
from domain.images import ImageRecord
from domain.moments import Shift, moved

T = TypeVar("T")
Used = TypeVar("Used", BundleRecord, ImageRecord)

_COLUMNS = (("operations", "ages_from"), ("timeline", "at"), ("audit", "at"))
"""What these tables age by is a column of its own, so that the documents tell what was."""


def move_all(connection: sqlite3.Connection, shift: Shift) -> None:
    """Moves them in one transaction."""
    connection.create_function("moved", 1, lambda text: _moved(text, shift), deterministic=True)
    for table, column in _COLUMNS:
        # Names of tables and columns cannot be parameters; these are our own.
        connection.execute(f"UPDATE {table} SET {column} = moved({column})")  # noqa: S608

    _rewrite(connection, "bundles", "digest", BundleRecord, lambda r: _used(r, shift))
    _rewrite(connection, "images", "tag", ImageRecord, lambda r: _used(r, shift))
    _rewrite(
        connection, "environments", "name", Environment, lambda r: r.moved(shift(r.created_at))
    )


def _used(record: Used, shift: Shift) -> Used:
    moment = record.used_at
    return msgspec.structs.replace(record, used_at=moved(moment, shift(moment)))


def _moved(text: str, shift: Shift) -> str:
    moment = datetime.fromisoformat(text)
    return sortable(moved(moment, shift(moment)))


def _rewrite(
    connection: sqlite3.Connection, table: str, key: str, kind: type[T], change: Callable[[T], T]
) -> None:
    rows = connection.execute(f"SELECT {key}, document FROM {table}").fetchall()  # noqa: S608
    statement = f"UPDATE {table} SET document = ? WHERE {key} = ?"  # noqa: S608
    for name, document in rows:
        record = msgspec.json.decode(document, type=kind)
        connection.execute(statement, (msgspec.json.encode(change(record)), name))
