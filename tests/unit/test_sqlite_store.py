"""The SQLite file of records: damage, kills, and a disk that does not answer."""

import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path

import anyio
import msgspec
import pytest

from adapters.memory.log import MemoryLog
from adapters.sqlite.rewriting import put_in_place
from adapters.sqlite.store import SqliteStore
from domain.environments import Environment, EnvironmentState
from domain.errors import StoreUnavailable
from domain.names import EnvironmentName, OperationId
from domain.operations import BY_MANAGER, Operation, OperationKind, OperationState, Step
from domain.timeline import EntryKind, TimelineEntry

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
    with pytest.raises(StoreUnavailable, match=re.escape(str(tmp_path))):
        await names(tmp_path, MemoryLog())


async def test_a_record_damaged_while_the_agent_runs_is_unavailable(path: Path) -> None:
    async with SqliteStore.open(path, log=MemoryLog()) as store:
        await store.run(lambda c: c.execute("UPDATE environments SET document = x'7b'"))

        with pytest.raises(StoreUnavailable):
            await store.environments.get(EnvironmentName("lab-1"))
        with pytest.raises(StoreUnavailable):
            await store.environments.list()


@pytest.mark.parametrize(
    "damage",
    [
        *[cut_to(size) for size in (10, 4096, 8192, 20_000)],
        *[overwritten_at(start) for start in (0, 8192)],
        statement("DROP TABLE environments"),
        statement("UPDATE environments SET document = x'7b' WHERE name = 'lab-7'"),
    ],
)
async def test_a_file_damaged_while_the_agent_runs_is_set_aside_and_begun_anew(
    path: Path, damage: Callable[[Path], object]
) -> None:
    log = MemoryLog()
    async with SqliteStore.open(path, log=log) as store:
        assert len(await store.environments.list()) == 40
        assert not await store.mend()
        # Somebody else's write, so that nothing is read from memory.
        for text in ("UPDATE environments SET name = name", "PRAGMA wal_checkpoint(TRUNCATE)"):
            statement(text)(path)
        damage(path)
        with suppress(StoreUnavailable):
            await store.environments.put(environment("lab-1"))
        with pytest.raises(StoreUnavailable):
            await store.environments.list()

        assert await store.mend()

        assert list(await store.environments.list()) == []
        await store.environments.put(environment("new"))
        await store.check()
        assert not await store.mend()

    assert await names(path, log) == ["new"]
    (told,) = log.named("store damaged, set aside and begun anew")
    assert [str(p) async for p in anyio.Path(path.parent).glob("*.damaged-*Z")] == [told["aside"]]


def unlinked(*suffixes: str) -> Callable[[Path], None]:
    def unlink(path: Path) -> None:
        for suffix in suffixes:
            path.with_name(path.name + suffix).unlink()

    return unlink


gone = unlinked("", "-wal", "-shm")


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def moved_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replaced(path: Path) -> None:
    """A copy of an earlier day comes in its place."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def without_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    "displace",
    [
        unlinked(""),
        unlinked("-wal"),
        unlinked("-shm"),
        gone,
        emptied,
        moved_away,
        replaced,
        made_a_folder,
        without_folder,
    ],
)
async def test_of_a_file_that_is_taken_from_under_the_agent_nothing_is_lost(
    tmp_path: Path, displace: Callable[[Path], object]
) -> None:
    path, log = tmp_path / "state" / "agent.db", MemoryLog()
    async with SqliteStore.open(path, log=log) as store:
        await store.environments.put(environment("before"))
        displace(path)
        await store.environments.put(environment("after"))

        assert await store.mend()

        assert len(log.named("store displaced by others, written again")) == 1
        await store.environments.put(environment("mended"))
        assert not await store.mend()
        # As a start would find them that follows a kill.
        with closing(sqlite3.connect(path)) as start:
            found = start.execute("SELECT name FROM environments ORDER BY name").fetchall()
        assert found == [("after",), ("before",), ("mended",)]
        mode = stat.S_IMODE((await anyio.Path(path).stat()).st_mode)
        assert mode == 0o600

    assert await names(path, log) == ["after", "before", "mended"]
    assert len(log.events) == 1


async def test_what_lies_in_the_place_of_the_file_is_set_aside(path: Path) -> None:
    log = MemoryLog()
    async with SqliteStore.open(path, log=log) as store:
        await anyio.Path(path).unlink()
        await anyio.Path(path).write_bytes(b"somebody's")

        await store.mend()

        (told,) = log.named("store displaced by others, written again")
        assert await anyio.Path(str(told["aside"])).read_bytes() == b"somebody's"
        assert len(await store.environments.list()) == 40
    assert len(await names(path, log)) == 40


def test_nothing_is_left_of_a_copy_that_failed(tmp_path: Path) -> None:
    closed = sqlite3.connect(":memory:")
    closed.close()

    with pytest.raises(sqlite3.Error):
        put_in_place(closed, tmp_path / "agent.db")

    assert list(tmp_path.glob("*")) == []


async def test_a_copy_that_was_cut_off_goes_at_the_next_start(path: Path) -> None:
    await anyio.Path(path.with_name(".agent.db.rewriting")).write_bytes(b"half of it")

    assert len(await names(path, MemoryLog())) == 40

    assert [p.name async for p in anyio.Path(path.parent).glob("*")] == ["agent.db"]


KILLED_IN_REWRITING = """
import os, signal, sys
from pathlib import Path
import anyio
from adapters.memory.log import MemoryLog
from adapters.sqlite.store import SqliteStore
from tests.unit import test_sqlite_store as cases

path, displace, left = Path(sys.argv[1]), getattr(cases, sys.argv[2]), int(sys.argv[3])

def killing(move):
    def moved(*arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return move(*arguments)
    return moved

async def work():
    async with SqliteStore.open(path, log=MemoryLog()) as store:
        displace(path)
        await store.environments.put(cases.environment("after"))
        Path.rename, Path.replace = killing(Path.rename), killing(Path.replace)
        await store.mend()

anyio.run(work)
"""


@pytest.mark.parametrize(
    ("displace", "moves"),
    [("gone", 0), ("replaced", 0), ("replaced", 1), ("replaced", 2), ("replaced", 3)],
)
async def test_an_agent_that_is_killed_while_it_writes_again_loses_nothing(
    path: Path, displace: str, moves: int
) -> None:
    command = [sys.executable, "-c", KILLED_IN_REWRITING, str(path), displace, str(moves)]
    run = partial(subprocess.run, command, capture_output=True, check=False)
    ended = await anyio.to_thread.run_sync(run)  # noqa: TID251 - another process
    assert ended.returncode == -signal.SIGKILL, ended.stderr

    assert len(await names(path, MemoryLog())) == 41
    left = {p.name async for p in anyio.Path(path.parent).glob("*")}
    assert {name for name in left if ".displaced-" not in name} == {"agent.db"}


async def test_somebody_elses_copy_is_left_alone(path: Path) -> None:
    await anyio.Path(path.with_name("agent.db.copy")).write_bytes(b"a backup")

    await names(path, MemoryLog())

    assert await anyio.Path(path.with_name("agent.db.copy")).read_bytes() == b"a backup"


async def test_an_emptied_file_whose_content_nothing_else_holds_is_begun_anew(path: Path) -> None:
    log = MemoryLog()
    async with SqliteStore.open(path, log=log) as store:
        for text in ("UPDATE environments SET name = name", "PRAGMA wal_checkpoint(TRUNCATE)"):
            statement(text)(path)
        emptied(path)

        assert await store.mend()

        await store.environments.put(environment("new"))
        assert not await store.mend()
    assert await names(path, log) == ["new"]
    assert len(log.named("store damaged, set aside and begun anew")) == 1


async def test_a_file_that_cannot_be_written_again_is_unavailable_until_it_can(path: Path) -> None:
    log = MemoryLog()
    async with SqliteStore.open(path, log=log) as store:
        folder = anyio.Path(path.parent)
        await folder.rename(folder.with_name("elsewhere"))
        await folder.write_bytes(b"in the way")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=re.escape(str(path))):
                await store.mend()

        await folder.unlink()
        await store.mend()

        assert len(await store.environments.list()) == 40
        await store.check()
    assert len(await names(path, log)) == 40


async def test_what_others_write_is_seen_and_told(path: Path) -> None:
    log = MemoryLog()
    async with SqliteStore.open(path, log=log) as store:
        assert len(await store.environments.list()) == 40
        statement("DELETE FROM environments WHERE name <> 'lab-7'")(path)

        assert await store.mend()

        assert [record.name for record in await store.environments.list()] == ["lab-7"]
        assert not await store.mend()
    assert len(log.named("store changed by others")) == 1


async def test_what_the_agent_writes_itself_is_nobody_elses(path: Path) -> None:
    log = MemoryLog()
    async with SqliteStore.open(path, log=log) as store:
        for number in range(3):
            await store.environments.put(environment(f"new-{number}"))
            await store.check()
            await store.compact()
            with closing(sqlite3.connect(path)) as reader:
                reader.execute("SELECT * FROM environments").fetchall()

            assert not await store.mend()
    assert log.events == []


async def test_whole_records_are_not_set_aside_for_work_that_makes_no_sense(path: Path) -> None:
    log = MemoryLog()
    async with SqliteStore.open(path, log=log) as store:
        with pytest.raises(StoreUnavailable):
            await store.run(lambda c: c.execute("DELETE FROM nowhere"))

        assert not await store.mend()
        assert len(await store.environments.list()) == 40

    assert log.events == []


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
    async with SqliteStore.open(path, log=MemoryLog(), check_seconds=1) as store:
        async with anyio.create_task_group() as group:
            group.start_soon(store.run, lambda _: answer.wait(20))
            await anyio.wait_all_tasks_blocked()

            with pytest.raises(StoreUnavailable, match=r"1 s"):
                await store.check()
            answer.set()

        await store.check()


async def test_a_check_that_was_given_up_disturbs_nobody(path: Path) -> None:
    async with SqliteStore.open(path, log=MemoryLog(), check_seconds=0.05) as store:
        with _held(path), pytest.raises(StoreUnavailable):
            await store.check()

        await store.environments.put(environment("new"))
        assert len(await store.environments.list()) == 41


async def test_of_many_who_need_a_file_that_another_program_holds_only_the_first_waits_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.sqlite.store.BUSY_SECONDS", 2.0)
    refused: list[StoreUnavailable] = []
    async with SqliteStore.open(path, log=MemoryLog()) as store:

        async def ask() -> None:
            with pytest.raises(StoreUnavailable) as refusal:
                await store.environments.get(EnvironmentName("lab-1"))
            refused.append(refusal.value)

        with _held(path), anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(ask)
        assert {refusal.hint for refusal in refused} == {"Another program holds the file: end it."}
        assert len(refused) == 20

        # Once it has been let go, it is waited for as before.
        await store.check()
        (waits,) = await store.run(lambda c: c.execute("PRAGMA busy_timeout").fetchone())
        assert waits == 2000


EARLIER_ENVIRONMENT = {
    "name": "lab",
    "state": "running",
    "created_at": "2026-01-01T12:00:00Z",
    "updated_at": "2026-01-01T12:05:00Z",
    "operation": "op-2",
    "adopted": False,
    "reason": "",
}
EARLIER_OPERATION = {
    "id": "op-1",
    "kind": "deploy",
    "environment": "lab",
    "state": "succeeded",
    "requested_at": "2026-01-01T12:00:00Z",
    "started_at": "2026-01-01T12:00:01Z",
    "ended_at": "2026-01-01T12:05:00Z",
    "step": "start",
    "replaces": {"image_tags": {"lab-web:latest": "sha256:1"}, "volumes": ["lab_data"]},
    "pulls": ["busybox"],
    "error": "",
    "reason": "",
    "output": ["one", "two"],
}
CUT_OFF_OPERATION = {
    **EARLIER_OPERATION,
    "id": "op-2",
    "kind": "restart",
    "state": "running",
    "requested_at": "2026-01-01T12:06:00Z",
    "ended_at": None,
    "step": None,
    "replaces": None,
}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The store of an agent that knew only the first schema, with records as it wrote them."""
    path = tmp_path / "earlier.db"
    schema = files("adapters.sqlite.migrations").joinpath("0001_records.sql").read_text()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {schema} PRAGMA user_version = 1; COMMIT;")
        connection.execute(
            "INSERT INTO environments VALUES ('lab', ?)",
            (msgspec.json.encode(EARLIER_ENVIRONMENT),),
        )
        for document, ended, minute in ((EARLIER_OPERATION, 1, 0), (CUT_OFF_OPERATION, 0, 6)):
            moment = f"2026-01-01T12:{minute:02}:00.000000+00:00"
            row = (document["id"], ended, moment, msgspec.json.encode(document))
            connection.execute("INSERT INTO operations VALUES (?, ?, ?, ?)", row)
    return path


async def test_an_earlier_agents_environments_are_readable_with_nothing_unknown_made_up(
    earlier: Path,
) -> None:
    log = MemoryLog()
    async with SqliteStore.open(earlier, log=log) as store:
        found = await store.environments.get(EnvironmentName("lab"))

    assert found == Environment(
        name=EnvironmentName("lab"),
        state=EnvironmentState.RUNNING,
        created_at=NOON,
        updated_at=NOON.replace(minute=5),
        operation=OperationId("op-2"),
    )
    assert (found.modelled, found.services, found.networks) == (False, (), {})
    assert log.events == []


async def test_an_earlier_agents_operations_are_readable_as_the_managers(earlier: Path) -> None:
    async with SqliteStore.open(earlier, log=MemoryLog()) as store:
        found = await store.operations.get(OperationId("op-1"))
        (unended,) = await store.operations.unended()

    assert found is not None
    assert (found.subject, found.asked, found.builds) == ("lab", BY_MANAGER, ())
    assert (found.kind, found.state, found.step) == (
        OperationKind.DEPLOY,
        OperationState.SUCCEEDED,
        Step.START,
    )
    assert found.replaces is not None
    assert (found.replaces.volumes, found.replaces.record) == (("lab_data",), None)
    assert (unended.id, unended.kind) == ("op-2", OperationKind.RESTART)


async def test_what_an_earlier_agent_did_is_found_by_its_subject(earlier: Path) -> None:
    async with SqliteStore.open(earlier, log=MemoryLog()) as store:
        found = await store.operations.latest("lab", 9)

    assert [operation.id for operation in found] == ["op-2", "op-1"]


async def test_a_store_that_was_brought_up_to_date_takes_all_kinds_of_records(
    earlier: Path,
) -> None:
    entry = TimelineEntry(
        at=NOON, environment=EnvironmentName("lab"), kind=EntryKind.STEP, text="build"
    )
    later = Operation(
        id=OperationId("op-3"),
        kind=OperationKind.RESET,
        environment=EnvironmentName("lab"),
        state=OperationState.QUEUED,
        requested_at=NOON.replace(minute=9),
    )
    async with SqliteStore.open(earlier, log=MemoryLog()) as store:
        await store.timeline.append(entry)
        await store.operations.put(later)

    async with SqliteStore.open(earlier, log=MemoryLog()) as store:
        await store.check()
        assert list(await store.timeline.of(EnvironmentName("lab"), 9)) == [entry]
        assert [o.id for o in await store.operations.unended()] == ["op-2", "op-3"]
        assert list(await store.bundles.list()) == []
        assert list(await store.images.list()) == []


async def test_an_earlier_agents_operations_are_pruned_by_age_as_all_others(earlier: Path) -> None:
    async with SqliteStore.open(earlier, log=MemoryLog()) as store:
        await store.operations.prune(99, before=NOON.replace(minute=30))

        assert await store.operations.get(OperationId("op-1")) is None
        assert [o.id for o in await store.operations.unended()] == ["op-2"]


async def test_bringing_up_to_date_is_done_once(earlier: Path) -> None:
    versions = []
    for _ in range(2):
        async with SqliteStore.open(earlier, log=MemoryLog()) as store:
            (version,) = await store.run(lambda c: c.execute("PRAGMA user_version").fetchone())
            versions.append(version)

    scripts = [e for e in files("adapters.sqlite.migrations").iterdir() if e.name.endswith(".sql")]
    assert versions == [len(scripts)] * 2


@pytest.mark.parametrize("table", ["environments", "operations"])
async def test_damage_in_an_earlier_agents_records_is_damage_still(
    earlier: Path, table: str
) -> None:
    statement(f"UPDATE {table} SET document = x'7b'")(earlier)  # noqa: S608
    log = MemoryLog()

    assert await names(earlier, log) == []

    assert len(log.named("store damaged, set aside and begun anew")) == 1


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
from adapters.sqlite.store import SqliteStore
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
