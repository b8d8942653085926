"""The SQLite file of records: damage, kills, and a disk that does not answer."""

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from adapters.memory.log import MemoryLog
from adapters.sqlite_store import SqliteStore
from domain.environments import Environment, EnvironmentState
from domain.errors import StoreUnavailable
from domain.names import EnvironmentName

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def environment(name: str) -> Environment:
    return Environment(
        name=EnvironmentName(name),
        state=EnvironmentState.RUNNING,
        created_at=NOON,
        updated_at=NOON,
        reason="r" * 500,
    )


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with some pages of records, closed."""
    path = tmp_path / "agent.db"
    async with SqliteStore.open(path, log=MemoryLog()) as store:
        for number in range(40):
            await store.environments.put(environment(f"lab-{number}"))
    return path


async def names(path: Path, log: MemoryLog) -> list[str]:
    """The records that an agent finds that starts now."""
    async with SqliteStore.open(path, log=log) as store:
        await store.check()
        return [record.name for record in await store.environments.list()]


def statement(text: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(text)

    return run


def cut_to(size: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:size])


def overwritten_at(start: int) -> Callable[[Path], None]:
    def overwrite(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[:start] + b"\xff" * 4096 + content[start + 4096 :])

    return overwrite


@pytest.mark.parametrize(
    "damage",
    [
        *[cut_to(size) for size in (10, 99, 101, 4095, 4096, 8192, 20_000)],
        *[overwritten_at(start) for start in (0, 100, 4096, 8192)],
        statement("DROP TABLE environments"),
        statement("UPDATE environments SET document = x'7b' WHERE name = 'lab-7'"),
    ],
)
async def test_a_damaged_file_is_set_aside_once_and_begun_anew(
    path: Path, damage: Callable[[Path], object]
) -> None:
    damage(path)
    log = MemoryLog()

    assert await names(path, log) == []
    assert await names(path, log) == []

    told = log.named("store damaged, set aside and begun anew")
    aside = [str(p) async for p in anyio.Path(path.parent).glob("*.damaged-*Z")]
    assert [fields["aside"] for fields in told] == aside
    assert len(aside) == 1


async def test_what_is_set_aside_never_replaces_what_was_before(path: Path) -> None:
    for content in (b"one" * 500, b"two" * 500):
        await anyio.Path(path).write_bytes(content)
        await names(path, MemoryLog())

    aside = sorted([p async for p in anyio.Path(path.parent).glob("*.damaged-*Z")])
    assert [await p.read_bytes() for p in aside] == [b"one" * 500, b"two" * 500]


async def test_whole_records_are_not_set_aside_for_a_schema_that_cannot_be_reached(
    path: Path,
) -> None:
    statement("PRAGMA user_version = 0")(path)
    log = MemoryLog()

    with pytest.raises(StoreUnavailable, match="cannot be brought to schema 1"):
        await names(path, log)

    assert log.events == []


async def test_a_file_of_a_newer_agent_stays_as_it_is_and_the_refusal_tells_what_to_do(
    path: Path,
) -> None:
    statement("PRAGMA user_version = 99")(path)

    with pytest.raises(StoreUnavailable) as refusal:
        await names(path, MemoryLog())

    assert "schema 99" in refusal.value.message
    assert refusal.value.hint == "Run that agent, or move the file away."
    assert [p.name async for p in anyio.Path(path.parent).glob("*")] == ["agent.db"]


async def test_a_path_that_cannot_be_a_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=str(tmp_path)):
        await names(tmp_path, MemoryLog())


async def test_a_record_damaged_while_the_agent_runs_is_unavailable(path: Path) -> None:
    async with SqliteStore.open(path, log=MemoryLog()) as store:
        await store.run(lambda c: c.execute("UPDATE environments SET document = x'7b'"))

        with pytest.raises(StoreUnavailable):
            await store.environments.get(EnvironmentName("lab-1"))
        with pytest.raises(StoreUnavailable):
            await store.environments.list()


async def test_of_work_that_fails_nothing_is_kept(path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM environments")
        connection.execute("DELETE FROM nowhere")

    async with SqliteStore.open(path, log=MemoryLog()) as store:
        with pytest.raises(StoreUnavailable):
            await store.run(half)

        assert len(await store.environments.list()) == 40


async def test_a_full_disk_is_unavailable_and_keeps_what_was_there(path: Path) -> None:
    async with SqliteStore.open(path, log=MemoryLog()) as store:

        def grow(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA max_page_count = 1")
            connection.execute("INSERT INTO environments VALUES ('big', zeroblob(9999999))")

        with pytest.raises(StoreUnavailable, match="full") as fault:
            await store.run(grow)

        assert "STATE_DIR" in fault.value.hint
        assert len(await store.environments.list()) == 40


async def test_a_check_does_not_wait_for_ever(path: Path) -> None:
    answer = threading.Event()
    async with SqliteStore.open(path, log=MemoryLog(), check_seconds=0.05) as store:
        async with anyio.create_task_group() as group:
            group.start_soon(store.run, lambda _: answer.wait(20))
            await anyio.wait_all_tasks_blocked()

            with pytest.raises(StoreUnavailable, match=r"0\.05 s"):
                await store.check()
            answer.set()

        await store.check()


async def test_a_check_that_was_given_up_disturbs_nobody(path: Path) -> None:
    async with SqliteStore.open(path, log=MemoryLog(), check_seconds=0.05) as store:
        with _held(path), pytest.raises(StoreUnavailable):
            await store.check()

        await store.environments.put(environment("new"))
        assert len(await store.environments.list()) == 41


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Another process writes to the file and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


WRITER = """
import sys
from pathlib import Path
import anyio
from adapters.memory.log import MemoryLog
from adapters.sqlite_store import SqliteStore
from tests.unit.test_sqlite_store import environment

async def main():
    async with SqliteStore.open(Path(sys.argv[1]), log=MemoryLog()) as store:
        for number in range(1_000_000):
            await store.environments.put(environment(f"kept-{number}"))
            print(number, flush=True)

anyio.run(main)
"""


def _written_until_killed(path: Path, records: int) -> set[str]:
    """The names that a process wrote, and knew to be written, before it was killed at it."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(records):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    return {f"kept-{number}" for number in range(records + len(rest))}


async def test_of_an_agent_that_is_killed_while_it_writes_no_record_is_lost(tmp_path: Path) -> None:
    path, log = tmp_path / "agent.db", MemoryLog()

    written = _written_until_killed(path, 25)

    assert written <= set(await names(path, log))
    assert log.events == []
