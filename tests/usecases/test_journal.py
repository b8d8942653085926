"""The journal of the host: one ring for all who follow, and for those who come back."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from adapters.memory.clock import MemoryClock
from adapters.memory.engine import MemoryEngine
from adapters.memory.happenings import Happenings
from adapters.memory.log import MemoryLog
from adapters.memory.store import MemoryStore
from adapters.memory.streams import MemoryEvents
from domain.host_events import EventFilter, Happened, HostEvent, Source
from domain.usecases import journal as journal_module
from domain.usecases.engine_entries import EngineEntries
from domain.usecases.engine_events import EventHub
from domain.usecases.journal import KEPT, Journal, Lost, Told

pytestmark = pytest.mark.anyio

ALL = EventFilter()


class World:
    """A journal, and somebody who lets things happen."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.journal = Journal(self.clock)

    def happen(self, *names: str, kind: str = "volume") -> None:
        """Lets something happen to things of these names, one after another."""
        for name in names:
            self.journal.note(
                Happened(
                    at=self.clock.now(), source=Source.ENGINE, kind=kind, action="create", name=name
                )
            )

    async def told(
        self, wanted: EventFilter = ALL, *, after: str = "", journal: Journal | None = None
    ) -> list[Told]:
        """What one is told who wants to know no more than there is."""
        follow = (journal or self.journal).follow(wanted, after=after, go_on=False)
        return [one async for one in follow]


def names(told: list[Told]) -> list[str]:
    return [_name(one) for one in told if one.item is not None]


def _name(one: Told) -> str:
    return one.item.name if isinstance(one.item, HostEvent) else "lost"


@pytest.fixture
def world() -> World:
    return World()


class TestFollowing:
    """Those who stay."""

    async def test_one_who_follows_is_told_of_what_happens_from_then_on(self, world: World) -> None:
        world.happen("before")
        async with aclosing(world.journal.follow(ALL)) as follow:
            begin = await anext(follow)
            world.happen("a", "b")

            assert begin.item is None
            assert names([await anext(follow), await anext(follow)]) == ["a", "b"]

    async def test_ids_never_come_twice_and_grow(self, world: World) -> None:
        world.happen("a", "b")
        later = World()
        later.clock = world.clock
        await world.clock.advance(1)
        other_life = Journal(world.clock)

        since = EventFilter(since=world.clock.now() - timedelta(days=1))
        ids = [one.id for one in await world.told(since)]
        other_life.note(Happened(at=world.clock.now(), source=Source.AGENT, kind="x", action="y"))
        ids += [one.id for one in await world.told(since, journal=other_life)][1:]

        assert len(set(ids)) == len(ids) == 4
        lives = [
            (int(life, 16), int(number)) for life, _, number in (i.partition("-") for i in ids)
        ]
        assert lives == sorted(lives)

    async def test_one_who_reads_slowly_loses_the_oldest_and_is_told_how_many(
        self, world: World
    ) -> None:
        async with aclosing(world.journal.follow(ALL)) as slow:
            await anext(slow)
            world.happen(*(str(number) for number in range(KEPT + 7)))

            first, second = await anext(slow), await anext(slow)

            assert first.item == Lost(reason=journal_module._TOO_SLOW, events=7)
            assert names([second]) == ["7"]

    async def test_what_is_lost_between_two_reads_is_told_too(self, world: World) -> None:
        async with aclosing(world.journal.follow(ALL)) as slow:
            await anext(slow)
            world.happen("a")
            assert names([await anext(slow)]) == ["a"]
            world.happen(*(str(number) for number in range(3 * KEPT)))

            told = [await anext(slow) for _ in range(KEPT + 1)]

            assert isinstance(told[0].item, Lost)
            assert told[0].item.events == 2 * KEPT
            assert names(told[1:]) == [str(number) for number in range(2 * KEPT, 3 * KEPT)]

    async def test_all_who_follow_end_with_what_there_is_when_the_agent_ends(
        self, world: World
    ) -> None:
        heard: list[list[str]] = []

        async def follow() -> None:
            heard.append(names([one async for one in world.journal.follow(ALL)]))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(follow)
                await world.clock.advance(0)
                world.happen("last")
                world.journal.end()

        assert heard == [["last"]] * 50

    async def test_a_quiet_time_is_told_of_with_a_place_to_come_back_to(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal_module, "QUIET_SECONDS", 0.02)
        async with aclosing(world.journal.follow(EventFilter(kinds=frozenset({"image"})))) as quiet:
            begin = await anext(quiet)
            world.happen("not wanted")

            with anyio.fail_after(5):
                later = await anext(quiet)
                while later.id == begin.id:
                    later = await anext(quiet)

            assert later.item is None

    async def test_a_last_moment_ends_it(self, world: World) -> None:
        until = world.clock.now() + timedelta(seconds=10)
        heard: list[str] = []

        async def follow() -> None:
            heard.extend(names([o async for o in world.journal.follow(EventFilter(until=until))]))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                await world.clock.advance(5)
                world.happen("in time")
                await world.clock.advance(6)
                world.happen("late")

        assert heard == ["in time"]


class TestComingBack:
    """Those who were away for a while."""

    async def test_one_gets_what_was_missed_once_and_whole(self, world: World) -> None:
        world.happen("a", "b", "c")
        told = await world.told(EventFilter(since=world.clock.now()))

        for number, one in enumerate(told):
            again = await world.told(after=one.id)
            assert names(again) == ["a", "b", "c"][number:]

    async def test_an_id_that_is_too_old_is_told_of_first(self, world: World) -> None:
        world.happen("a", "b")
        first = (await world.told(EventFilter(since=world.clock.now())))[1]
        world.happen(*(str(number) for number in range(KEPT)))

        again = await world.told(after=first.id)

        assert again[0].item == Lost(reason=journal_module._NOT_KEPT, events=1)
        assert names(again[1:]) == [str(number) for number in range(KEPT)]

    async def test_the_mark_itself_is_a_place_to_come_back_to(self, world: World) -> None:
        world.happen(*(str(number) for number in range(KEPT + 5)))
        mark = (await world.told(after=f"{world.journal._life}-1"))[0]

        again = await world.told(after=mark.id)

        assert names(again)[:1] == ["5"]

    @pytest.mark.parametrize("after", ["", "0"])
    async def test_an_id_of_an_earlier_life_begins_with_a_mark_and_all_that_is_kept(
        self, world: World, after: str
    ) -> None:
        world.happen("a")
        earlier = (await world.told(EventFilter(since=world.clock.now())))[-1].id
        await world.clock.advance(1)
        now = World()
        now.clock, now.journal = world.clock, Journal(world.clock)
        now.happen("new")

        assert names(await now.told(after=earlier + after)) == ["lost", "new"]

    @pytest.mark.parametrize("text", ["17", "-", "x-y", "a-١", "0-" + "9" * 400, "{life}-999"])
    async def test_what_is_no_id_is_taken_for_one_of_another_life(
        self, world: World, text: str
    ) -> None:
        world.happen("a")

        assert names(await world.told(after=text.format(life=world.journal._life))) == ["lost", "a"]

    async def test_what_has_happened_since_a_moment_is_told(self, world: World) -> None:
        world.happen("a")
        await world.clock.advance(10)
        moment = world.clock.now()
        world.happen("b")

        assert names(await world.told(EventFilter(since=moment))) == ["b"]

    async def test_a_moment_before_the_agents_start_is_marked(self, world: World) -> None:
        world.happen("a")
        long_ago = world.clock.now() - timedelta(days=1)

        assert names(await world.told(EventFilter(since=long_ago))) == ["lost", "a"]


class TestEngine:
    """What the Engine tells."""

    @pytest.fixture
    def engine(self, world: World) -> MemoryEngine:
        return MemoryEngine(Happenings(world.clock.now))

    @asynccontextmanager
    async def heard(
        self, world: World, engine: MemoryEngine
    ) -> AsyncIterator[tuple[MemoryEvents, MemoryStore]]:
        events, store = MemoryEvents(engine), MemoryStore()
        hub = EventHub(events, world.clock, MemoryLog())
        news = EngineEntries(hub, store.environments, world.journal, world.clock)
        async with anyio.create_task_group() as group:
            group.start_soon(news.run)
            group.start_soon(hub.run)
            await world.clock.advance(0)
            yield events, store
            group.cancel_scope.cancel()

    async def test_events_come_with_name_and_attributes(
        self, world: World, engine: MemoryEngine
    ) -> None:
        async with self.heard(world, engine):
            engine.happenings.tell("container", "die", "a1", {"name": "web", "exitCode": "3"})
            await world.clock.advance(0)

        (event,) = [
            o.item for o in await world.told(EventFilter(since=world.clock.now())) if o.item
        ]
        assert isinstance(event, HostEvent)
        assert (event.kind, event.action, event.id, event.name) == ("container", "die", "a1", "web")
        assert event.attributes["exitCode"] == "3"
        assert event.environment == ""

    async def test_an_engine_that_is_away_is_one_mark_though_it_was_quiet_before(
        self, world: World, engine: MemoryEngine
    ) -> None:
        async with self.heard(world, engine) as (events, _):
            engine.fault = "no such file"
            events.cut()
            await world.clock.advance(60)
            engine.fault = ""
            await world.clock.advance(60)
            engine.happenings.tell("volume", "create", "after", {"name": "after"})
            await world.clock.advance(0)

        assert await self.happened(world) == [("gap", ""), ("create", "after")]

    async def test_each_time_that_the_stream_breaks_off_is_a_mark(
        self, world: World, engine: MemoryEngine
    ) -> None:
        async with self.heard(world, engine) as (events, _):
            for name in ("one", "two"):
                engine.happenings.tell("volume", "create", name, {"name": name})
                await world.clock.advance(0)
                events.cut()
                await world.clock.advance(10)

        assert await self.happened(world) == [
            ("create", "one"),
            ("gap", ""),
            ("create", "two"),
            ("gap", ""),
        ]

    async def happened(self, world: World) -> list[tuple[str, str]]:
        """Actions and names of all that is kept."""
        long_ago = EventFilter(since=world.clock.now() - timedelta(days=1))
        told = [one.item for one in await world.told(long_ago)]
        return [(event.action, event.name) for event in told if isinstance(event, HostEvent)]

    async def test_attributes_take_up_a_bounded_amount(
        self, world: World, engine: MemoryEngine
    ) -> None:
        many = {f"a{number:04}": "x" * 10_000 for number in range(1000)}
        async with self.heard(world, engine):
            engine.happenings.tell("container", "start", "a1", {**many, "name": "web"})
            await world.clock.advance(0)

        (event,) = [
            o.item for o in await world.told(EventFilter(since=world.clock.now())) if o.item
        ]
        assert isinstance(event, HostEvent)
        assert event.attributes["name"] == "web"
        assert sum(len(k) + len(v) for k, v in event.attributes.items()) < 64 * 1024
