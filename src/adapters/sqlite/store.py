"""The agent's records in an embedded SQLite file."""

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from adapters.sqlite.audit import SqliteAudit
from adapters.sqlite.moments import move_all
from adapters.sqlite.opened import OpenedFile
from adapters.sqlite.records import (
    DOCUMENTS,
    SqliteBundles,
    SqliteEnvironments,
    SqliteImages,
    SqliteOpenCommands,
    SqliteOpenOrders,
    SqliteOperations,
    SqliteTimeline,
)
from adapters.sqlite.reserve import Reserve
from adapters.sqlite.rewriting import finish, put_in_place, set_aside
from adapters.sqlite.room import checkpoint, convert, give_back, is_full, let_shrink
from domain.errors import StoreUnavailable
from domain.moments import Shift
from domain.ports.log import Log
from domain.shortage import shortages_told

T = TypeVar("T")

BUSY_SECONDS = 5.0
"""How long a transaction waits for one before it, or another process that holds the file."""

_HELD_SECONDS = 0.1
"""How long it waits while another process has held the file for longer: those who ask wait behind
each other."""

CHECK_SECONDS = 10.0
"""How long ``check`` waits for a disk that does not answer."""


class _Damaged(Exception):
    """The file is no store, or not a whole one."""


class SqliteStore:
    """Records in one file, written by one connection in one thread at a time.

    What cannot be written since the disk is full is written all the same, as long as ``reserve``
    gives the room for it.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        opened: OpenedFile,
        log: Log,
        check_seconds: float = CHECK_SECONDS,
        reserve: Reserve | None = None,
        short: bool = False,
    ) -> None:
        self._path = path
        self._connection = connection
        self._opened = opened
        self._log = log
        self._held = False
        """Whether another process held the file when it was needed last."""
        self._suspect = False
        """Whether there was something that could not be read in the file."""
        self._check_seconds = check_seconds
        self._reserve = reserve
        self._short = short
        self._limiter = anyio.CapacityLimiter(1)
        self._one_at_a_time = threading.Lock()
        self._environments = SqliteEnvironments(self)
        self._bundles = SqliteBundles(self)
        self._images = SqliteImages(self)
        self._open_commands = SqliteOpenCommands(self)
        self._open_orders = SqliteOpenOrders(self)
        self._operations = SqliteOperations(self)
        self._timeline = SqliteTimeline(self)
        self._audit = SqliteAudit(self)

    @property
    def environments(self) -> SqliteEnvironments:
        """Records of environments."""
        return self._environments

    @property
    def bundles(self) -> SqliteBundles:
        """Records of kept bundles."""
        return self._bundles

    @property
    def images(self) -> SqliteImages:
        """Records of images."""
        return self._images

    @property
    def open_commands(self) -> SqliteOpenCommands:
        """Records of commands that run in containers."""
        return self._open_commands

    @property
    def open_orders(self) -> SqliteOpenOrders:
        """Records of containers that are being made."""
        return self._open_orders

    @property
    def timeline(self) -> SqliteTimeline:
        """What happened to environments."""
        return self._timeline

    @property
    def audit(self) -> SqliteAudit:
        """Who asked for what."""
        return self._audit

    @property
    def operations(self) -> SqliteOperations:
        """Records of operations."""
        return self._operations

    @property
    def short_of_room(self) -> str:
        """Why nothing should be asked for but what makes room; empty while there is enough."""
        if not self._short:
            return ""
        return f"The disk at {self._path.parent} is full; what is left of it is held for removals."

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        log: Log,
        check_seconds: float = CHECK_SECONDS,
        reserve: Reserve | None = None,
    ) -> AsyncIterator["SqliteStore"]:
        """The store in the file at ``path``, made where there is none.

        A damaged file is set aside and begun anew: what runs is found again from Docker and disk.

        Raises:
            StoreUnavailable: it cannot be opened or made, or is of a newer agent.
            HostExhausted: the host has no memory or thread to spare for it.
        """
        with shortages_told():
            connection, short = await anyio.to_thread.run_sync(_open_with_room, path, log, reserve)
            opened = await anyio.to_thread.run_sync(OpenedFile, path, connection)
        store = cls(
            path,
            connection,
            opened=opened,
            log=log,
            check_seconds=check_seconds,
            reserve=reserve,
            short=short,
        )
        try:
            yield store
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(store._close, limiter=store._limiter)

    async def check(self) -> None:
        """Returns if records can be written; gives up on a disk that does not answer."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO environments VALUES ('?', x'')")
            connection.execute("DELETE FROM environments WHERE name = '?'")

        def work() -> None:
            self._transaction(write)
            if self._reserve is not None:
                self._short = not self._reserve.restore()

        await self._in_time(work)

    async def mend(self) -> bool:
        """Sees to a file that was damaged, changed, moved or removed by others while it was open.

        Damaged, it is set aside and begun anew. Where its path leads elsewhere, all of it is
        written there again, and what was found there is set aside.

        Returns:
            Whether records may be others than those that the agent wrote.

        Raises:
            StoreUnavailable: it cannot be looked through, begun anew or written again.
        """
        return await self._in_time(self._mend)

    def _mend(self) -> bool:
        with _translated(self._path), self._alone():
            others = self._look_for_others()
            if not self._opened.displaced:
                return others
            self._write_again()
            return True

    def _look_for_others(self) -> bool:
        """Whether there are others' records now, or none any more since they were damaged."""
        try:
            touched = self._opened.touched()
            if touched or self._suspect:
                _look_through(self._connection)
        except (sqlite3.Error, msgspec.MsgspecError) as fault:
            if not _tells_of_content(fault):
                raise
            self._connection.close()
            self._take(_begin_anew(self._path, str(fault), self._log))
            return True
        self._suspect = False
        if touched:
            self._log.warning("store changed by others", path=str(self._path))
            with self._environments.writing():
                pass
        return touched

    def _write_again(self) -> None:
        try:
            aside = put_in_place(self._connection, self._path)
        except sqlite3.Error as fault:
            if not is_full(fault):
                self._suspect = self._suspect or _tells_of_content(fault)
                raise
            self._make_room()
            aside = put_in_place(self._connection, self._path)
        self._log.error(
            "store displaced by others, written again",
            path=str(self._path),
            aside=str(aside) if aside else None,
        )
        displaced = self._connection
        self._take(_open_or_begin_anew(self._path, self._log))
        # Last of all: as its path leads elsewhere by now, it takes nothing away there.
        displaced.close()

    def _take(self, connection: sqlite3.Connection) -> None:
        with self._environments.writing():
            self._connection = connection
        self._opened = OpenedFile(self._path, connection)
        self._suspect = self._held = False

    async def _in_time(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, if the disk answers in time."""
        with anyio.move_on_after(self._check_seconds), shortages_told():
            return await anyio.to_thread.run_sync(
                work, limiter=self._limiter, abandon_on_cancel=True
            )
        raise StoreUnavailable(
            f"The agent's records in {self._path} do not answer within {self._check_seconds:g} s.",
            hint="Is the disk that holds STATE_DIR well?",
        )

    async def move(self, shift: Shift) -> None:
        """Moves what records age by, and when environments expire."""
        with self._environments.writing():
            await self.run(lambda connection: move_all(connection, shift))

    async def compact(self) -> None:
        """Gives room back to the disk that records no longer take."""
        with shortages_told():
            await anyio.to_thread.run_sync(self._compact, limiter=self._limiter)

    def _compact(self) -> None:
        with _translated(self._path), self._alone():
            if give_back(self._connection):
                checkpoint(self._connection)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` gives, done in one transaction that is on disk when this returns.

        Where the disk is full it is called again, once there is room.

        Raises:
            StoreUnavailable: it could not be done, and nothing of it was.
            HostExhausted: the same, for want of memory or a thread.
        """
        with shortages_told():
            return await anyio.to_thread.run_sync(self._transaction, work, limiter=self._limiter)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with _translated(self._path), self._alone():
            try:
                return self._attempt(work)
            except (sqlite3.Error, msgspec.MsgspecError) as fault:
                if not is_full(fault):
                    self._know_held(_is_held(fault))
                    self._suspect = self._suspect or _tells_of_content(fault)
                    raise
                self._make_room()
            return self._attempt(work)

    def _know_held(self, held: bool) -> None:
        if held is not self._held:
            seconds = _HELD_SECONDS if held else BUSY_SECONDS
            self._connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
            self._held = held

    def _make_room(self) -> None:
        """Gives up the room that was held, and what was written last and stands twice."""
        if self._reserve is not None:
            self._short = True
            self._reserve.release()
        with suppress(sqlite3.Error):
            checkpoint(self._connection)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection.in_transaction:
            # Left by one that could not even be taken back, for want of memory.
            self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._connection)
            self._connection.execute("COMMIT")
            self._know_held(False)
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result

    def _close(self) -> None:
        # Closed under somebody's hands, the library would crash. On a disk that hangs the end of
        # the process closes it.
        if self._one_at_a_time.acquire(timeout=2 * BUSY_SECONDS):
            self._connection.close()
            self._one_at_a_time.release()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps others off the connection, also while a check that was given up still hangs."""
        if not self._one_at_a_time.acquire(timeout=BUSY_SECONDS):
            raise TimeoutError("the disk does not answer")
        try:
            yield
        finally:
            self._one_at_a_time.release()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        with shortages_told():
            yield
    except (sqlite3.Error, msgspec.MsgspecError, OSError) as fault:
        raise StoreUnavailable(
            f"The agent's records in {path} cannot be read or written: {fault}.", hint=_hint(fault)
        ) from fault


def _hint(fault: Exception) -> str:
    if is_full(fault):
        return "Make room on the disk that holds STATE_DIR."
    if _is_held(fault):
        return "Another program holds the file: end it."
    return "Is the disk full, or STATE_DIR not the agent's own?"


def _is_held(fault: BaseException) -> bool:
    """Whether another process holds the file."""
    return getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY


def _open_with_room(
    path: Path, log: Log, reserve: Reserve | None
) -> tuple[sqlite3.Connection, bool]:
    """The open file, and whether there is no room to hold any of it."""
    try:
        connection = _open_or_begin_anew(path, log)
    except StoreUnavailable as fault:
        full = is_full(fault.__cause__, opening=True)
        if reserve is None or not full or not reserve.release():
            raise
        connection = _open_or_begin_anew(path, log)
    return connection, reserve is not None and not reserve.restore()


def _open_or_begin_anew(path: Path, log: Log) -> sqlite3.Connection:
    with _translated(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        finish(path)
        try:
            return _open(path)
        except _Damaged as fault:
            return _begin_anew(path, str(fault), log)


def _begin_anew(path: Path, reason: str, log: Log) -> sqlite3.Connection:
    aside = set_aside(path, "damaged")
    log.error(
        "store damaged, set aside and begun anew", path=str(path), aside=str(aside), reason=reason
    )
    return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    # Made before SQLite does, which would leave it readable for everybody.
    path.touch(mode=0o600)
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection, path)
    except BaseException as fault:
        connection.close()
        if _tells_of_content(fault):
            raise _Damaged(str(fault)) from fault
        raise
    return connection


def _tells_of_content(fault: BaseException) -> bool:
    """Whether the fault lies in what the file holds, not in how it can be had: locked, full."""
    if isinstance(fault, sqlite3.OperationalError):
        # A statement that makes no sense here: the tables are others than ours.
        return getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(fault, sqlite3.DatabaseError | msgspec.MsgspecError)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    let_shrink(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    # Records must outlive a power cut, not only the agent.
    connection.execute("PRAGMA synchronous = FULL")
    _quick_check(connection)
    _migrate(connection, path)
    convert(connection)
    _decode_all(connection)


def _look_through(connection: sqlite3.Connection) -> None:
    _quick_check(connection)
    _decode_all(connection)


def _quick_check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _decode_all(connection: sqlite3.Connection) -> None:
    for table, kind in DOCUMENTS:
        # Names of tables cannot be parameters; these are our own.
        for (document,) in connection.execute(f"SELECT document FROM {table}"):  # noqa: S608
            msgspec.json.decode(document, type=kind)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    scripts = sorted(
        (entry.name, entry.read_text())
        for entry in files("adapters.sqlite.migrations").iterdir()
        if entry.name.endswith(".sql")
    )
    if version > len(scripts):
        raise StoreUnavailable(
            f"The records in {path} are of a newer agent (schema {version}, known {len(scripts)}).",
            hint="Run that agent, or move the file away.",
        )
    for number, (_, script) in enumerate(scripts[version:], start=version + 1):
        try:
            connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
        except sqlite3.OperationalError as fault:
            # Records that are whole must not be set aside for what a new agent makes of them.
            raise StoreUnavailable(
                f"The records in {path} cannot be brought to schema {number}: {fault}.",
                hint="Run the agent that wrote them, or move the file away.",
            ) from fault
