"""What every store of records does: SQLite, and its in-memory twin."""

import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from adapters.memory.log import MemoryLog
from adapters.memory.store import MemoryStore
from adapters.sqlite_store import SqliteStore
from domain.environments import Environment, EnvironmentState
from domain.errors import StoreUnavailable
from domain.names import EnvironmentName, OperationId
from domain.operations import Operation, OperationKind, OperationState, Replacement, Step
from domain.ports.store import Store

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    async with SqliteStore.open(tmp_path / "state" / "agent.db", log=MemoryLog()) as store:
        yield store


def environment(name: str, state: EnvironmentState = EnvironmentState.RUNNING) -> Environment:
    return Environment(
        name=EnvironmentName(name), state=state, created_at=NOON, updated_at=NOON, reason="why"
    )


def operation(
    number: int, state: OperationState = OperationState.SUCCEEDED, *, minutes: int = 0
) -> Operation:
    return Operation(
        id=OperationId(f"op-{number}"),
        kind=OperationKind.DEPLOY,
        environment=EnvironmentName("lab"),
        state=state,
        requested_at=NOON + timedelta(minutes=minutes),
        step=Step.BUILD,
        replaces=Replacement(image_tags={"lab-web:latest": "sha256:1"}, volumes=("lab_data",)),
        output=("one", "two"),
    )


async def test_what_was_put_is_got_back_the_same(store: Store) -> None:
    await store.environments.put(environment("lab"))
    await store.operations.put(operation(1))

    assert await store.environments.get(EnvironmentName("lab")) == environment("lab")
    assert await store.operations.get(OperationId("op-1")) == operation(1)


async def test_what_was_never_put_is_none(store: Store) -> None:
    assert await store.environments.get(EnvironmentName("lab")) is None
    assert await store.operations.get(OperationId("op-1")) is None


async def test_a_record_replaces_the_earlier_one(store: Store) -> None:
    await store.environments.put(environment("lab"))
    stopped = environment("lab", EnvironmentState.STOPPED)

    await store.environments.put(stopped)

    assert list(await store.environments.list()) == [stopped]


async def test_records_are_listed_by_name(store: Store) -> None:
    for name in ("b", "c", "a"):
        await store.environments.put(environment(name))

    assert [record.name for record in await store.environments.list()] == ["a", "b", "c"]


async def test_a_removed_record_is_gone_and_may_be_removed_again(store: Store) -> None:
    await store.environments.put(environment("lab"))

    await store.environments.remove(EnvironmentName("lab"))
    await store.environments.remove(EnvironmentName("lab"))

    assert list(await store.environments.list()) == []


async def test_operations_that_have_not_ended_come_oldest_first(store: Store) -> None:
    await store.operations.put(operation(1, OperationState.QUEUED, minutes=2))
    await store.operations.put(operation(2, OperationState.RUNNING, minutes=1))
    await store.operations.put(operation(3, OperationState.FAILED))

    assert [o.id for o in await store.operations.unended()] == ["op-2", "op-1"]


async def test_requests_are_ordered_by_the_moment_however_it_is_written(store: Store) -> None:
    east = timezone(timedelta(hours=5))
    later = NOON + timedelta(microseconds=1)
    for number, moment in enumerate([later.astimezone(east), NOON, later + timedelta(hours=1)]):
        queued = operation(number, OperationState.QUEUED)
        await store.operations.put(structs.replace(queued, requested_at=moment))

    assert [o.id for o in await store.operations.unended()] == ["op-1", "op-0", "op-2"]


async def test_pruning_keeps_the_newest_and_all_that_have_not_ended(store: Store) -> None:
    for number in range(5):
        await store.operations.put(operation(number, minutes=number))
    await store.operations.put(operation(9, OperationState.RUNNING, minutes=-5))

    await store.operations.prune(2)

    kept = [n for n in (*range(5), 9) if await store.operations.get(OperationId(f"op-{n}"))]
    assert kept == [3, 4, 9]


async def test_a_store_in_good_health_checks_without_a_trace(store: Store) -> None:
    await store.check()

    assert list(await store.environments.list()) == []


class TestSqlite:
    """What only a file can show."""

    async def test_records_outlive_the_store(self, tmp_path: Path) -> None:
        path = tmp_path / "agent.db"
        async with SqliteStore.open(path, log=MemoryLog()) as store:
            await store.environments.put(environment("lab"))

        async with SqliteStore.open(path, log=MemoryLog()) as store:
            assert await store.environments.get(EnvironmentName("lab")) == environment("lab")

    async def test_only_the_agent_can_read_it(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "agent.db"
        async with SqliteStore.open(path, log=MemoryLog()):
            modes = [
                stat.S_IMODE((await anyio.Path(p).stat()).st_mode) for p in (path, path.parent)
            ]

        assert modes == [0o600, 0o700]

    async def test_records_survive_a_kill(self, tmp_path: Path) -> None:
        path = tmp_path / "agent.db"
        script = (
            "import anyio, os, signal\n"
            "from pathlib import Path\n"
            "from tests.contracts.test_store import *\n"
            "async def main():\n"
            f"    async with SqliteStore.open(Path({str(path)!r}), log=MemoryLog()) as store:\n"
            "        await store.environments.put(environment('lab'))\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "anyio.run(main)\n"
        )
        await anyio.run_process([sys.executable, "-c", script], check=False)  # noqa: TID251

        async with SqliteStore.open(path, log=MemoryLog()) as store:
            assert len(await store.environments.list()) == 1

    @pytest.mark.parametrize(
        "content",
        [b"no database at all, but long enough" * 100, b"SQLite format 3\0" + b"\xff" * 5000],
    )
    async def test_a_damaged_file_is_set_aside_and_told(
        self, tmp_path: Path, content: bytes
    ) -> None:
        path = tmp_path / "agent.db"
        await anyio.Path(path).write_bytes(content)
        log = MemoryLog()

        async with SqliteStore.open(path, log=log) as store:
            await store.environments.put(environment("lab"))

        aside = [p async for p in anyio.Path(tmp_path).glob("agent.db.damaged-*")]
        assert [content] == [await p.read_bytes() for p in aside if not p.name.endswith("-wal")][:1]
        assert [level for level, *_ in log.events] == ["ERROR"]

    async def test_a_record_that_cannot_be_read_counts_as_damage(self, tmp_path: Path) -> None:
        path = tmp_path / "agent.db"
        async with SqliteStore.open(path, log=MemoryLog()) as store:
            await store.environments.put(environment("lab"))
            await store.run(lambda c: c.execute("UPDATE environments SET document = x'7b'"))
        log = MemoryLog()

        async with SqliteStore.open(path, log=log) as store:
            assert list(await store.environments.list()) == []
        assert log.events[0][0] == "ERROR"

    async def test_records_of_a_newer_agent_are_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "agent.db"
        async with SqliteStore.open(path, log=MemoryLog()) as store:
            await store.run(lambda c: c.execute("PRAGMA user_version = 99"))

        with pytest.raises(StoreUnavailable, match="newer agent"):
            async with SqliteStore.open(path, log=MemoryLog()):
                pass

    async def test_a_file_that_somebody_else_holds_is_unavailable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("adapters.sqlite_store.BUSY_SECONDS", 0.1)
        path = tmp_path / "agent.db"
        async with SqliteStore.open(path, log=MemoryLog()) as store:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")

                with pytest.raises(StoreUnavailable):
                    await store.check()

            await store.check()
