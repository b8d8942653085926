"""What every store of records does: SQLite, and its in-memory twin."""

import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from adapters.memory.log import MemoryLog
from adapters.memory.store import MemoryStore
from adapters.sqlite.store import SqliteStore
from domain.audit import AuditEntry, Outcome
from domain.bundles import BundleRecord
from domain.container_exec import OpenCommand
from domain.container_orders import OpenOrder
from domain.environments import Environment, EnvironmentState, Hold, ServiceRecord
from domain.errors import StoreUnavailable
from domain.images import ImageRecord
from domain.limits import ContainerLimits, HeldLimits
from domain.names import BundleDigest, EnvironmentName, OperationId
from domain.operations import (
    Asked,
    EventKind,
    Operation,
    OperationEvent,
    OperationKind,
    OperationState,
    Replacement,
    Step,
)
from domain.ports.store import Store
from domain.timeline import EntryKind, TimelineEntry

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LAB, OTHER = EnvironmentName("lab"), EnvironmentName("other")


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


def bundle(letter: str, **changed: int) -> BundleRecord:
    return BundleRecord(
        digest=BundleDigest(f"sha256:{letter * 64}"),
        size_bytes=changed.get("size_bytes", 10),
        unpacked_bytes=20,
        entries=2,
        services=("db", "web"),
        created_at=NOON,
        used_at=NOON + MINUTE,
    )


def image(tag: str, *, environment: EnvironmentName | None = None) -> ImageRecord:
    return ImageRecord(tag=tag, created_at=NOON, used_at=NOON, environment=environment, pulled=True)


def event(number: int, text: str = "one") -> OperationEvent:
    return OperationEvent(id=number, at=NOON, kind=EventKind.OUTPUT, text=text)


def entry(text: str, *, name: EnvironmentName = LAB, minutes: int = 0) -> TimelineEntry:
    return TimelineEntry(
        at=NOON + minutes * MINUTE, environment=name, kind=EntryKind.STEP, text=text
    )


async def texts(store: Store, name: EnvironmentName = LAB, limit: int = 100) -> list[str]:
    """An environment's timeline."""
    return [entry.text for entry in await store.timeline.of(name, limit)]


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


async def test_what_was_left_open_has_not_ended_and_is_not_pruned(store: Store) -> None:
    left = structs.replace(operation(1, OperationState.INTERRUPTED), left_open=True)
    await store.operations.put(left)
    await store.operations.put(operation(2, OperationState.INTERRUPTED))

    await store.operations.prune(0)
    assert list(await store.operations.unended()) == [left]

    await store.operations.put(structs.replace(left, left_open=False))
    assert list(await store.operations.unended()) == []


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


async def test_all_that_is_known_of_an_environment_is_got_back(store: Store) -> None:
    limits = HeldLimits(cpus=0.5, memory_bytes=2**33, pids=7, log_bytes=4096)
    record = structs.replace(
        environment("lab"),
        bundle=BundleDigest(f"sha256:{'a' * 64}"),
        labels={"course": "Übung"},
        limits=ContainerLimits(cpus=0.5),
        expires_at=NOON,
        hold=Hold(owner="teacher", reason="exam", until=NOON),
        services=(ServiceRecord(name="web", replicas=2, limits=limits),),
        networks={"default": "10.213.0.0/28"},
        images={"web": "container-host-agent/own:1"},
    )

    await store.environments.put(record)

    assert await store.environments.get(LAB) == record


async def test_bundles_are_kept_by_digest_and_listed_by_it(store: Store) -> None:
    for letter in "bca":
        await store.bundles.put(bundle(letter))
    await store.bundles.put(bundle("b", size_bytes=99))

    assert await store.bundles.get(bundle("c").digest) == bundle("c")
    listed = [record.digest[7] + str(record.size_bytes) for record in await store.bundles.list()]
    assert listed == ["a10", "b99", "c10"]


async def test_a_removed_bundle_is_gone_and_may_be_removed_again(store: Store) -> None:
    await store.bundles.put(bundle("a"))

    await store.bundles.remove(bundle("a").digest)
    await store.bundles.remove(bundle("a").digest)

    assert await store.bundles.get(bundle("a").digest) is None
    assert list(await store.bundles.list()) == []


async def test_images_are_kept_by_tag_and_listed_by_it(store: Store) -> None:
    for tag in ("b:1", "c:1", "a:1"):
        await store.images.put(image(tag))
    await store.images.put(image("b:1", environment=LAB))

    assert await store.images.get("b:1") == image("b:1", environment=LAB)
    assert [record.tag for record in await store.images.list()] == ["a:1", "b:1", "c:1"]


async def test_a_removed_image_is_gone_and_may_be_removed_again(store: Store) -> None:
    await store.images.put(image("a:1"))

    await store.images.remove("a:1")
    await store.images.remove("a:1")

    assert await store.images.get("a:1") is None
    assert list(await store.images.list()) == []


async def test_open_commands_are_kept_by_mark_until_they_are_removed(store: Store) -> None:
    one, other = (OpenCommand(mark=mark, container="c", execution="e") for mark in "ab")
    for command in (other, one):
        await store.open_commands.put(command)
    assert list(await store.open_commands.list()) == [one, other]

    await store.open_commands.remove("a")
    await store.open_commands.remove("a")

    assert await store.open_commands.get("a") is None
    assert await store.open_commands.get("b") == other


async def test_open_orders_are_kept_by_mark_until_they_are_removed(store: Store) -> None:
    one, other = (OpenOrder(mark=mark, name="web", at=NOON) for mark in "ab")
    for order in (other, one):
        await store.open_orders.put(order)
    assert list(await store.open_orders.list()) == [one, other]

    await store.open_orders.remove("a")
    await store.open_orders.remove("a")

    assert await store.open_orders.get("a") is None
    assert await store.open_orders.get("b") == other


async def test_the_latest_operations_come_newest_first_and_only_so_many(store: Store) -> None:
    for number, minutes in enumerate((2, 0, 3, 1)):
        await store.operations.put(operation(number, minutes=minutes))

    assert [o.id for o in await store.operations.latest(None, 3)] == ["op-2", "op-0", "op-3"]
    assert [o.id for o in await store.operations.latest("lab", 99)][-1] == "op-1"
    assert list(await store.operations.latest(None, 0)) == []


async def test_the_latest_operations_of_one_subject_are_its_own(store: Store) -> None:
    digest = bundle("a").digest
    await store.operations.put(operation(1))
    await store.operations.put(structs.replace(operation(2), environment=OTHER))
    build = structs.replace(operation(3), environment=None, bundle=digest)
    await store.operations.put(build)

    assert [o.id for o in await store.operations.latest("lab", 9)] == ["op-1"]
    assert [o.id for o in await store.operations.latest(f"bundle {digest}", 9)] == ["op-3"]
    assert list(await store.operations.latest("nobody", 9)) == []
    assert len(await store.operations.latest(None, 9)) == 3


async def test_operations_of_one_moment_come_in_the_same_order_each_time(store: Store) -> None:
    for number in (2, 1, 3):
        await store.operations.put(operation(number))

    assert [o.id for o in await store.operations.latest("lab", 9)] == ["op-3", "op-2", "op-1"]


async def test_a_key_finds_the_newest_operation_that_was_asked_for_with_it(store: Store) -> None:
    asked = Asked(by="manager", idempotency_key="key-1", fingerprint="f")
    for number, minutes in enumerate((1, 2, 0)):
        await store.operations.put(structs.replace(operation(number, minutes=minutes), asked=asked))
    await store.operations.put(operation(9, minutes=9))

    found = await store.operations.by_key("key-1")

    assert found is not None
    assert (found.id, found.asked) == ("op-1", asked)
    assert await store.operations.by_key("key-2") is None


async def test_events_replace_those_that_were_written_before(store: Store) -> None:
    await store.operations.put(operation(1))
    await store.operations.put_events(OperationId("op-1"), [event(1)])

    await store.operations.put_events(OperationId("op-1"), [event(1), event(2, "zwei „2“")])

    found = await store.operations.events(OperationId("op-1"))
    assert list(found) == [event(1), event(2, "zwei „2“")]


async def test_events_outlive_a_new_record_of_their_operation(store: Store) -> None:
    await store.operations.put(operation(1, OperationState.RUNNING))
    await store.operations.put_events(OperationId("op-1"), [event(1)])

    await store.operations.put(operation(1))

    assert list(await store.operations.events(OperationId("op-1"))) == [event(1)]


async def test_an_operation_without_events_has_none(store: Store) -> None:
    await store.operations.put(operation(1))

    assert list(await store.operations.events(OperationId("op-1"))) == []
    assert list(await store.operations.events(OperationId("op-2"))) == []


async def test_events_go_with_their_operation(store: Store) -> None:
    for number in (1, 2):
        await store.operations.put(operation(number, minutes=number))
        await store.operations.put_events(OperationId(f"op-{number}"), [event(1)])

    await store.operations.prune(1)

    assert list(await store.operations.events(OperationId("op-1"))) == []
    assert list(await store.operations.events(OperationId("op-2"))) == [event(1)]


async def test_pruning_takes_what_was_asked_for_before_a_moment(store: Store) -> None:
    for number in range(4):
        await store.operations.put(operation(number, minutes=number))
    await store.operations.put(operation(9, OperationState.QUEUED, minutes=-5))
    # The same moment, written as people east of it do.
    before = (NOON + 2 * MINUTE).astimezone(timezone(timedelta(hours=5)))

    await store.operations.prune(99, before=before)

    assert [o.id for o in await store.operations.latest(None, 99)] == ["op-3", "op-2", "op-9"]


async def test_pruning_by_number_and_by_age_take_what_either_would(store: Store) -> None:
    for number in range(6):
        await store.operations.put(operation(number, minutes=number))

    await store.operations.prune(2, before=NOON + 3 * MINUTE)
    assert [o.id for o in await store.operations.latest(None, 99)] == ["op-5", "op-4"]

    await store.operations.prune(2, before=NOON + 5 * MINUTE)
    assert [o.id for o in await store.operations.latest(None, 99)] == ["op-5"]

    await store.operations.prune(0)
    assert list(await store.operations.latest(None, 99)) == []


async def test_every_list_of_environments_shows_what_was_written_before_it(store: Store) -> None:
    async def listed() -> list[tuple[str, str]]:
        return [(each.name, each.reason) for each in await store.environments.list()]

    assert await listed() == []
    await store.environments.put(environment("lab"))
    assert await listed() == [("lab", "why")]
    await store.environments.update(LAB, lambda e: structs.replace(e, reason="now"))
    assert await listed() == [("lab", "now")]
    await store.environments.remove(LAB)
    assert await listed() == []


async def test_lists_that_are_read_while_others_write_show_the_last_in_the_end(
    store: Store,
) -> None:
    async def write(number: int) -> None:
        await store.environments.put(environment(f"e{number:02}"))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(write, number)
            group.start_soon(store.environments.list)

    assert len(await store.environments.list()) == 20


async def test_a_timeline_tells_the_newest_entries_oldest_first(store: Store) -> None:
    for number in range(4):
        await store.timeline.append(entry(f"e{number}"))
    await store.timeline.append(entry("elsewhere", name=OTHER))

    assert await texts(store) == ["e0", "e1", "e2", "e3"]
    assert await texts(store, limit=2) == ["e2", "e3"]
    assert await texts(store, limit=0) == []
    assert await texts(store, EnvironmentName("nobody")) == []


async def test_a_timeline_keeps_the_order_in_which_it_was_told(store: Store) -> None:
    for text, minutes in (("first", 5), ("second", 1), ("third", 3)):
        await store.timeline.append(entry(text, minutes=minutes))

    assert await texts(store) == ["first", "second", "third"]


async def test_an_entry_is_got_back_the_same(store: Store) -> None:
    full = TimelineEntry(
        at=NOON,
        environment=LAB,
        kind=EntryKind.CONTAINER,
        text="lab-web-1 ended „schlecht“",
        operation=OperationId("op-1"),
        by="engine",
        container="lab-web-1",
        exit_code=0,
    )

    await store.timeline.append(full)

    assert list(await store.timeline.of(LAB, 1)) == [full]


async def test_pruning_a_timeline_takes_what_is_old_and_what_is_too_much_of_one_name(
    store: Store,
) -> None:
    for number in range(5):
        await store.timeline.append(entry(f"e{number}", minutes=number))
    await store.timeline.append(entry("old", name=OTHER, minutes=-1))
    await store.timeline.append(entry("new", name=OTHER, minutes=9))

    await store.timeline.prune(before=NOON, keep=3)
    assert await texts(store) == ["e2", "e3", "e4"]
    assert await texts(store, OTHER) == ["new"]

    await store.timeline.prune(before=NOON + 4 * MINUTE, keep=3)
    assert await texts(store) == ["e4"]


async def test_of_a_timeline_nothing_may_be_kept(store: Store) -> None:
    await store.timeline.append(entry("e"))

    await store.timeline.prune(before=NOON, keep=0)

    assert await texts(store) == []


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
        monkeypatch.setattr("adapters.sqlite.store.BUSY_SECONDS", 0.1)
        path = tmp_path / "agent.db"
        async with SqliteStore.open(path, log=MemoryLog()) as store:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")

                with pytest.raises(StoreUnavailable):
                    await store.check()

            await store.check()


def audit(target: str, *, status: int = 200, subject: str = "host", minutes: int = 0) -> AuditEntry:
    return AuditEntry(
        at=NOON + minutes * MINUTE,
        subject=subject,
        key_id="k",
        address="10.0.0.1",
        method="POST",
        route="/x/{name}",
        path=f"/x/{target}",
        target=target,
        operation="op-1",
        status=status,
    )


async def targets(store: Store, limit: int = 100, **filters: Any) -> list[str]:
    """What the newest audit entries are about."""
    return [found.target for found in await store.audit.latest(limit, **filters)]


async def test_audit_entries_come_newest_first_and_numbered(store: Store) -> None:
    await store.audit.append([audit("a"), audit("b")])
    await store.audit.append([audit("c")])

    found = await store.audit.latest(2)

    assert [structs.replace(e, number=0) for e in found] == [audit("c"), audit("b")]
    assert found[0].number > found[1].number > 0
    assert await targets(store, before=found[1].number) == ["a"]


async def test_audit_entries_are_found_by_subject_target_and_outcome(store: Store) -> None:
    await store.audit.append(
        [audit("a"), audit("a", status=422), audit("b", status=500, subject=""), audit("c")]
    )

    assert await targets(store, target="a") == ["a", "a"]
    assert await targets(store, subject="") == ["b"]
    assert await targets(store, outcome=Outcome.REFUSED) == ["a"]
    assert await targets(store, outcome=Outcome.FAILED) == ["b"]
    assert await targets(store, outcome=Outcome.OK, target="a") == ["a"]


async def test_pruning_audit_entries_takes_what_is_old_and_what_is_too_much(store: Store) -> None:
    await store.audit.append([audit(f"e{number}", minutes=number) for number in range(5)])

    await store.audit.prune(before=NOON + MINUTE, keep=3)
    assert await targets(store) == ["e4", "e3", "e2"]

    await store.audit.prune(before=NOON, keep=0)
    assert await targets(store) == []


async def test_audit_numbers_are_not_given_twice(store: Store) -> None:
    await store.audit.append([audit("a")])
    (first,) = await store.audit.latest(1)
    await store.audit.prune(before=NOON, keep=0)

    await store.audit.append([audit("b")])

    assert (await store.audit.latest(1))[0].number > first.number


async def test_a_timeline_knows_when_something_of_a_kind_was_last_told(store: Store) -> None:
    assert await store.timeline.newest(EntryKind.CONTAINER) is None
    for minutes, kind in ((5, EntryKind.CONTAINER), (3, EntryKind.CONTAINER), (9, EntryKind.HOLD)):
        at = NOON + timedelta(minutes=minutes, microseconds=1)
        await store.timeline.append(TimelineEntry(at=at, environment=LAB, kind=kind, text="it"))

    newest = await store.timeline.newest(EntryKind.CONTAINER)
    assert newest == NOON + timedelta(minutes=5, microseconds=1)


HOUR = timedelta(hours=1)


def asked(number: int, *, minutes: int, key: str | None = None) -> Operation:
    """An operation that was asked for as the number-th, at a minute by the clock as it was."""
    found = operation(number, OperationState.QUEUED, minutes=minutes)
    return structs.replace(found, number=number, asked=Asked(by="somebody", idempotency_key=key))


async def test_operations_are_ordered_by_number_whatever_the_clock_said(store: Store) -> None:
    for number, minutes in ((3, -500), (1, 10), (2, 0)):
        await store.operations.put(asked(number, minutes=minutes, key="same"))

    assert [o.id for o in await store.operations.unended()] == ["op-1", "op-2", "op-3"]
    assert [o.id for o in await store.operations.latest("lab", 2)] == ["op-3", "op-2"]
    newest = await store.operations.by_key("same")
    assert newest is not None
    assert newest.id == "op-3"


async def test_the_newest_by_number_are_kept(store: Store) -> None:
    for number, minutes in ((3, -500), (1, 10), (2, 0)):
        record = structs.replace(asked(number, minutes=minutes), state=OperationState.FAILED)
        await store.operations.put(record)

    await store.operations.prune(2)

    assert [o.id for o in await store.operations.latest(None, 9)] == ["op-3", "op-2"]


async def test_an_operation_keeps_the_number_that_it_was_first_written_with(store: Store) -> None:
    for number in (1, 2):
        await store.operations.put(asked(number, minutes=0))
    await store.operations.put(structs.replace(asked(1, minutes=0), number=9))

    assert [o.id for o in await store.operations.latest(None, 9)] == ["op-2", "op-1"]


async def test_a_record_ages_from_the_end_of_its_operation(store: Store) -> None:
    long = structs.replace(operation(1), ended_at=NOON + HOUR)
    await store.operations.put(long)

    await store.operations.prune(9, before=NOON + MINUTE)
    still = await store.operations.get(long.id)
    await store.operations.prune(9, before=NOON + 2 * HOUR)

    assert still == long
    assert await store.operations.get(long.id) is None


async def test_of_events_the_newest_are_kept_up_to_a_size(store: Store) -> None:
    for number in range(4):
        await store.operations.put(structs.replace(operation(number), number=number + 1))
        await store.operations.put_events(OperationId(f"op-{number}"), [event(1, "x" * 1000)])

    await store.operations.prune(9, event_bytes=2500)

    left = [len(await store.operations.events(OperationId(f"op-{n}"))) for n in range(4)]
    assert left == [0, 0, 1, 1]
    assert len(await store.operations.latest(None, 9)) == 4


class TestMoving:
    """What records age by moves with the clock; what they tell stays."""

    async def test_operations_entries_and_audit_age_from_later_on(self, store: Store) -> None:
        await store.operations.put(operation(1))
        await store.timeline.append(entry("one"))
        await store.audit.append([audit("one")])

        await store.move(lambda _: 2 * HOUR)

        for before, left in ((NOON + HOUR, 1), (NOON + 3 * HOUR, 0)):
            await store.operations.prune(9, before=before)
            await store.timeline.prune(before=before, keep=9)
            await store.audit.prune(before=before, keep=9)
            assert len(await store.operations.latest(None, 9)) == left
            assert len(await texts(store)) == left
            assert len(await targets(store)) == left

    async def test_they_tell_the_same_as_before(self, store: Store) -> None:
        await store.operations.put(operation(1))
        await store.timeline.append(entry("one"))
        await store.audit.append([audit("one")])

        await store.move(lambda _: -2 * HOUR)

        assert await store.operations.latest(None, 9) == [operation(1)]
        assert list(await store.timeline.of(LAB, 9)) == [entry("one")]
        assert [found.at for found in await store.audit.latest(9)] == [NOON]

    async def test_uses_of_bundles_and_images_move(self, store: Store) -> None:
        await store.bundles.put(bundle("a"))
        await store.images.put(image("one:1"))

        await store.move(lambda _: HOUR)

        (moved,) = await store.bundles.list()
        assert moved == structs.replace(bundle("a"), used_at=NOON + MINUTE + HOUR)
        (used,) = await store.images.list()
        assert used == structs.replace(image("one:1"), used_at=NOON + HOUR)

    async def test_environments_move_with_their_end_and_their_hold(self, store: Store) -> None:
        hold = Hold(owner="jana", reason="exam", until=NOON + HOUR)
        record = structs.replace(environment("lab"), expires_at=NOON + 2 * HOUR, hold=hold)
        await store.environments.put(record)
        await store.environments.put(environment("other"))
        await store.environments.list()

        await store.move(lambda _: HOUR)

        found = await store.environments.get(LAB)
        assert found in await store.environments.list()
        assert found is not None
        assert (found.created_at, found.expires_at) == (NOON + HOUR, NOON + 3 * HOUR)
        assert found.hold == Hold(owner="jana", reason="exam", until=NOON + 2 * HOUR)
        other = await store.environments.get(OTHER)
        assert other is not None
        assert (other.expires_at, other.hold) == (None, None)

    async def test_each_moves_by_what_its_own_moment_asks_for(self, store: Store) -> None:
        for minutes in (0, 10):
            await store.timeline.append(entry(f"at {minutes}", minutes=minutes))

        await store.move(lambda at: HOUR if at > NOON + MINUTE else timedelta(0))
        await store.timeline.prune(before=NOON + 5 * MINUTE, keep=9)

        assert await texts(store) == ["at 10"]


async def test_room_that_is_given_back_takes_nothing_from_what_is_there(store: Store) -> None:
    for number in range(20):
        await store.environments.put(environment(f"lab-{number}"))
    for number in range(10):
        await store.environments.remove(EnvironmentName(f"lab-{number}"))

    await store.compact()
    await store.compact()

    assert len(await store.environments.list()) == 10
    assert store.short_of_room == ""
