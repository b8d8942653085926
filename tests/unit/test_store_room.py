"""The file of records gets small again, and so does the one of what was written last."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread  # noqa: TID251 - files as they are on disk
import pytest

from adapters.memory.log import MemoryLog
from adapters.sqlite import room, store
from adapters.sqlite.reserve import FILE_BYTES, FILES, Reserve
from adapters.sqlite.store import SqliteStore
from domain.environments import Environment, EnvironmentState
from domain.errors import HostExhausted
from domain.names import EnvironmentName

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MEGABYTE = 1024 * 1024


def environment(name: str, kilobytes: int = 100) -> Environment:
    return Environment(
        name=EnvironmentName(name),
        state=EnvironmentState.FAILED,
        created_at=NOON,
        updated_at=NOON,
        reason="r" * kilobytes * 1024,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore.open(path, log=MemoryLog()) as opened:
        yield opened


async def fill_and_empty(opened: SqliteStore, megabytes: int = 20) -> None:
    """Writes so many megabytes of records, and removes them again."""
    for number in range(megabytes * 10):
        await opened.environments.put(environment(f"lab-{number}"))
    for number in range(megabytes * 10):
        await opened.environments.remove(EnvironmentName(f"lab-{number}"))


def size(path: Path) -> int:
    return path.stat(follow_symlinks=False).st_size if path.exists() else 0


class Sizes:
    """Sizes of the files, looked at in a transaction so that the loop stays free."""

    def __init__(self, opened: SqliteStore, path: Path) -> None:
        self._opened = opened
        self._path = path

    async def of(self, suffix: str = "") -> int:
        """Of the file of records, or the one beside it."""
        path = self._path.with_name(self._path.name + suffix)
        return await self._opened.run(lambda _: size(path))


async def test_room_that_records_no_longer_take_goes_back_to_the_disk(
    opened: SqliteStore, path: Path
) -> None:
    sizes = Sizes(opened, path)
    await fill_and_empty(opened)
    large = await sizes.of()

    for _ in range(5):
        await opened.compact()

    assert large > 15 * MEGABYTE
    assert await sizes.of() < MEGABYTE
    assert await sizes.of("-wal") < MEGABYTE


async def test_it_goes_back_some_at_a_time_so_that_others_need_not_wait_long(
    opened: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_PAGES_AT_ONCE", 100)
    sizes = Sizes(opened, path)
    await fill_and_empty(opened, megabytes=2)
    before = await sizes.of()

    await opened.compact()

    assert before - await sizes.of() == 100 * 4096


async def test_the_file_of_what_was_written_last_stays_small(
    opened: SqliteStore, path: Path
) -> None:
    sizes = Sizes(opened, path)
    for number in range(400):
        await opened.environments.put(environment("lab", kilobytes=50 + number % 7))

    assert await sizes.of("-wal") <= 2 * room.MOST_LOG_BYTES


async def earlier(path: Path, megabytes: int) -> None:
    """A file of an agent that never gave room back, most of it empty."""
    await anyio.to_thread.run_sync(_write_earlier, path, megabytes)  # noqa: TID251


def _write_earlier(path: Path, megabytes: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        store._migrate(connection, path)
        connection.execute("BEGIN")
        for number in range(megabytes * 10):
            row = (f"filler-{number}", b"x" * 100_000)
            connection.execute("INSERT INTO images VALUES (?, ?)", row)
        connection.execute("DELETE FROM images")
        connection.execute("COMMIT")
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)


async def test_an_earlier_agents_file_is_made_to_shrink(path: Path) -> None:
    await earlier(path, 10)
    before = size(path)

    async with SqliteStore.open(path, log=MemoryLog()) as opened:
        await opened.environments.put(environment("kept", kilobytes=1))
        after = await Sizes(opened, path).of()
        await fill_and_empty(opened, megabytes=3)
        await opened.compact()
        later = await Sizes(opened, path).of()

        assert [e.name for e in await opened.environments.list()] == ["kept"]
    assert before > 9 * MEGABYTE
    assert after < MEGABYTE
    assert later < MEGABYTE


async def test_one_that_is_too_large_to_write_anew_is_used_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_CONVERTED_BYTES", MEGABYTE)
    await earlier(path, 3)
    before = size(path)

    async with SqliteStore.open(path, log=MemoryLog()) as opened:
        await fill_and_empty(opened, megabytes=2)
        await opened.compact()

        assert await Sizes(opened, path).of() == before
        await opened.check()


async def test_a_store_that_gets_no_memory_says_so_and_works_again(opened: SqliteStore) -> None:
    def without_memory(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM environments")
        raise MemoryError

    await opened.environments.put(environment("lab", kilobytes=1))
    with pytest.raises(HostExhausted):
        await opened.run(without_memory)

    assert len(await opened.environments.list()) == 1


async def test_a_transaction_that_could_not_even_be_taken_back_does_not_stop_the_next(
    opened: SqliteStore,
) -> None:
    await opened.environments.put(environment("lab", kilobytes=1))
    opened._connection.execute("BEGIN IMMEDIATE")
    opened._connection.execute("DELETE FROM environments")

    assert len(await opened.environments.list()) == 1


class TestReserve:
    def test_it_takes_its_room_and_gives_it_back(self, tmp_path: Path) -> None:
        reserve = Reserve(tmp_path / "reserve")
        absent = reserve.whole

        assert reserve.restore()
        held = sum(size(found) for found in (tmp_path / "reserve").iterdir())
        assert reserve.release()

        assert not absent
        assert held == FILES * FILE_BYTES
        assert list((tmp_path / "reserve").iterdir()) == []
        assert not reserve.release()

    def test_what_is_missing_of_it_is_made_again(self, tmp_path: Path) -> None:
        reserve = Reserve(tmp_path / "reserve")
        reserve.restore()
        (tmp_path / "reserve" / "2").unlink()

        assert not reserve.whole
        assert reserve.restore()
        assert reserve.whole

    def test_where_it_cannot_be_made_nothing_is_left(self, tmp_path: Path) -> None:
        (tmp_path / "reserve").write_text("in its place")

        assert not Reserve(tmp_path / "reserve").restore()
