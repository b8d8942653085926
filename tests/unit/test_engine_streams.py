"""Long answers of an Engine that hangs, hangs up, goes away or comes back."""

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from adapters.docker.client import EngineClient, EngineLimits
from adapters.docker.events import THREADS, DockerEvents
from adapters.docker.logs import DockerLogs, _History
from adapters.docker.streams import THREAD_NAME, Answer, Feed, Streams
from domain.containers import Container, ContainerState, LogLine
from domain.engine_events import EngineEvent, Gap
from domain.errors import EngineRefused, EngineUnavailable
from tests.support.fake_engine import (
    FakeEngine,
    Reply,
    answers,
    drips,
    ends,
    fake_engine,
    hangs,
    streams,
    until,
    vanishes,
)

pytestmark = pytest.mark.anyio

EVENT = {
    "Type": "container",
    "Action": "die",
    "timeNano": 1_767_268_800_000_000_000,
    "Actor": {"ID": "1", "Attributes": {"name": "lab-a", "exitCode": "0"}},
}
LINE = b"2026-01-01T00:00:00.000000000Z one\n"
LOGS = "GET /containers/id-a/logs"
CONTAINER = Container(id="id-a", name="lab-a", image="busybox", state=ContainerState.RUNNING)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as engine:
        engine.on("GET /containers/id-a/json", answers({"Config": {"Tty": True}}))
        yield engine


@pytest.fixture
def events(engine: FakeEngine) -> DockerEvents:
    return DockerEvents(engine.url, begin_seconds=0.5)


@pytest.fixture
async def logs(engine: FakeEngine) -> AsyncIterator[DockerLogs]:
    client = EngineClient(engine.url, limits=EngineLimits(ask_seconds=0.5))
    yield DockerLogs(engine.url, client)
    await client.aclose()


def event() -> bytes:
    return json.dumps(EVENT).encode() + b"\n"


def reading() -> int:
    """How many threads read."""
    return [thread.name for thread in threading.enumerate()].count(THREAD_NAME)


async def nothing_stays(engine: FakeEngine) -> None:
    """No thread reads, and what is open are connections that are kept for calls."""
    assert reading() == 0
    await until(lambda: engine.connections <= 1)


async def follow(events: DockerEvents, found: list[str] | None = None) -> None:
    """Follows events for as long as they come."""
    async with events.follow() as happening:
        async for one in happening:
            if found is not None and isinstance(one, EngineEvent):
                found.append(one.attributes["name"])


async def read(logs: DockerLogs, found: list[str], *, on: bool = False) -> None:
    """Reads lines for as long as they come."""
    async with logs.read([CONTAINER], follow=on) as lines:
        async for line in lines:
            found.append(line.text)  # noqa: PERF401 - what came before a fault counts


class TestEvents:
    """What happens to containers."""

    @pytest.mark.parametrize("asked", ["GET /version", "GET /events"])
    @pytest.mark.parametrize("reply", [hangs, drips])
    async def test_an_engine_that_does_not_begin_is_unavailable_in_time(
        self, engine: FakeEngine, events: DockerEvents, asked: str, reply: Reply
    ) -> None:
        engine.on(asked, reply)

        with anyio.fail_after(5), pytest.raises(EngineUnavailable, match="it took too long"):
            await follow(events)

        await nothing_stays(engine)

    @pytest.mark.parametrize("asked", ["GET /version", "GET /events"])
    @pytest.mark.parametrize("reply", [hangs, drips])
    async def test_one_that_does_not_wait_any_longer_leaves_nothing_behind(
        self, engine: FakeEngine, asked: str, reply: Reply
    ) -> None:
        engine.on(asked, reply)
        patient = DockerEvents(engine.url, begin_seconds=60)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for _ in range(THREADS):
                    group.start_soon(follow, patient)
                await until(lambda: len(engine.asked(asked)) == THREADS)
                group.cancel_scope.cancel()

        await nothing_stays(engine)

    async def test_silence_is_no_fault_and_leaving_it_leaves_nothing_behind(
        self, engine: FakeEngine, events: DockerEvents
    ) -> None:
        engine.on("GET /events", streams(event()))
        found: list[str] = []

        with anyio.move_on_after(0.8):
            await follow(events, found)

        assert found == ["lab-a"]
        await nothing_stays(engine)

    @pytest.mark.parametrize("then", [vanishes, ends])
    async def test_an_engine_that_goes_ends_them_with_an_error(
        self, engine: FakeEngine, events: DockerEvents, then: Reply
    ) -> None:
        engine.on("GET /events", streams(event(), then=then))
        found: list[str] = []

        with anyio.fail_after(5), pytest.raises(EngineUnavailable):
            await follow(events, found)

        assert found == ["lab-a"]
        await nothing_stays(engine)

    async def test_they_can_be_followed_again_when_it_has_come_back(
        self, engine: FakeEngine, events: DockerEvents
    ) -> None:
        engine.stop()
        with pytest.raises(EngineUnavailable):
            await follow(events)
        engine.on("GET /events", streams(event()))
        engine.start()

        async with events.follow() as happening:
            assert await anext(happening) == Gap()
            died = await anext(happening)
            assert isinstance(died, EngineEvent)
            assert died.attributes["name"] == "lab-a"


class TestLogs:
    """What containers print."""

    @pytest.mark.parametrize("asked", ["GET /containers/id-a/json", LOGS])
    async def test_an_engine_that_does_not_begin_is_unavailable_in_time(
        self, engine: FakeEngine, logs: DockerLogs, asked: str
    ) -> None:
        engine.on(asked, hangs)

        with anyio.fail_after(5), pytest.raises(EngineUnavailable, match="it took too long"):
            await read(logs, [])

        await nothing_stays(engine)

    async def test_what_was_printed_before_comes_without_long_pauses_or_not_at_all(
        self, engine: FakeEngine, logs: DockerLogs
    ) -> None:
        engine.on(LOGS, streams(LINE))
        found: list[str] = []

        with anyio.fail_after(5), pytest.raises(EngineUnavailable, match="it took too long"):
            await read(logs, found)

        assert found == ["one"]

        await nothing_stays(engine)

    async def test_an_engine_that_hangs_up_in_the_middle_is_told_of(
        self, engine: FakeEngine, logs: DockerLogs
    ) -> None:
        engine.on(LOGS, streams(LINE, then=vanishes))
        found: list[str] = []

        with anyio.fail_after(5), pytest.raises(EngineUnavailable, match="hung up"):
            await read(logs, found)

        assert found == ["one"]

    async def test_one_who_follows_waits_for_as_long_as_it_takes(
        self, engine: FakeEngine, logs: DockerLogs
    ) -> None:
        engine.on(LOGS, _ends_first_then_hangs(engine))
        found: list[str] = []

        with anyio.move_on_after(0.9):
            await read(logs, found, on=True)

        assert found == ["one", "two"]
        await nothing_stays(engine)

    async def test_the_agents_end_is_no_fault_of_an_engine_that_does_not_begin(
        self, engine: FakeEngine
    ) -> None:
        engine.on(LOGS, streams(LINE, then=_ends_and_then_does_not_begin(engine)))
        client = EngineClient(engine.url, limits=EngineLimits(ask_seconds=60))
        logs = DockerLogs(engine.url, client)

        async def end() -> None:
            await until(lambda: len(engine.asked(LOGS)) == 2)
            logs.end()

        with anyio.fail_after(5):
            async with (
                logs.read([CONTAINER], follow=True) as lines,
                anyio.create_task_group() as group,
            ):
                group.start_soon(end)
                assert [line.text async for line in lines] == ["one"]

        await client.aclose()
        await nothing_stays(engine)

    async def test_an_identifier_is_one_part_of_the_path(
        self, engine: FakeEngine, logs: DockerLogs
    ) -> None:
        for identifier in ("../images/a", "a?b", ".."):
            strange = Container(id=identifier, name="a", image="b", state=ContainerState.RUNNING)
            engine.on("GET /containers/.*", answers({"message": "no such container"}, 404))
            async with logs.read([strange]) as lines:
                assert [line async for line in lines] == []

        asked = {one for one in engine.requests if "/version" not in one}
        assert asked <= {"GET /containers/a%3Fb/json", "GET /containers/a%3Fb/logs"} | {
            "GET /containers/..%2Fimages%2Fa/logs"
        }


def _ends_first_then_hangs(engine: FakeEngine) -> Reply:
    """What was printed before ends; what is followed, which begins with its end, does not."""

    def reply(connection: socket.socket) -> bool:
        if len(engine.asked(LOGS)) == 1:
            return streams(LINE, then=ends)(connection)
        return streams(LINE, LINE.replace(b"00.0", b"00.1").replace(b"one", b"two"))(connection)

    return reply


def _ends_and_then_does_not_begin(engine: FakeEngine) -> Reply:
    """What was printed before ends; what is followed does not even begin."""

    def reply(connection: socket.socket) -> bool:
        engine.on(LOGS, hangs)
        return ends(connection)

    return reply


class TestPlaces:
    """How many are read at once."""

    async def test_one_more_than_there_are_places_is_refused_in_time(
        self, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("adapters.docker.events.THREADS", 1)
        engine.on("GET /events", streams(event()))
        events = DockerEvents(engine.url, begin_seconds=0.4)

        async with events.follow() as happening:
            await anext(happening)
            with pytest.raises(EngineUnavailable, match="1 long answers of the Docker Engine"):
                await follow(events)

        async with events.follow() as happening:
            await anext(happening)

    async def test_an_answer_that_has_ended_gives_its_place_back_before_its_reader_goes(
        self, engine: FakeEngine
    ) -> None:
        engine.on("GET /events", answers({"message": "no"}, 500))
        async with Streams(1, wait_seconds=2).open() as stream:
            for _ in range(3):
                feed: Feed[bytes] = Feed(lossy=True)
                answer = Answer(engine.url, "/events", {}, seconds=2, endless=True)
                await stream.start(answer, feed, _read_to_its_end)
                with pytest.raises(EngineRefused):
                    await feed.next()

    async def test_what_cannot_be_understood_is_a_fault_and_no_end(
        self, engine: FakeEngine
    ) -> None:
        def misread(_: Answer) -> None:
            raise ValueError("nonsense")

        engine.on("GET /events", streams(event()))
        async with Streams(1, wait_seconds=2).open() as stream:
            feed: Feed[bytes] = Feed(lossy=True)
            answer = Answer(engine.url, "/events", {}, seconds=2, endless=True)
            await stream.start(answer, feed, misread)

            with pytest.raises(EngineUnavailable, match="nonsense"):
                await feed.next()


def _read_to_its_end(answer: Answer) -> None:
    for _ in answer.pieces():
        pass


class TestJoining:
    """What a follower of containers' logs is told beside what was printed before."""

    BEGAN = 1_767_268_800_123_456_789

    def line(self, nanoseconds: int, container: str = "lab-a") -> LogLine:
        at = datetime.fromtimestamp((self.BEGAN + nanoseconds) // 1000 / 1e6, UTC)
        return LogLine(at=at, container=container, service=None, stream="stdout", text="x")

    def test_every_line_is_told_by_one_of_the_two(self) -> None:
        history = _History(self.BEGAN, None, None)
        until = Decimal(history.parameters["until"])

        for nanoseconds in (-5_000, -1, 0, 1, 210, 211, 212, 5_000):
            line = self.line(nanoseconds)
            is_before = Decimal(self.BEGAN + nanoseconds) / 10**9 <= until
            if is_before:
                history.take([line])
            assert history.lacks(line) is not is_before

    def test_what_was_written_down_too_late_for_the_history_is_told(self) -> None:
        history = _History(self.BEGAN, None, None)
        history.take([self.line(-9_000_000)])

        assert history.lacks(self.line(-1_000_000))
        assert not history.lacks(self.line(-9_000_000))
        assert not history.lacks(self.line(-10_000_000))
        assert history.lacks(self.line(-10_000_000, "lab-b"))

    def test_who_wants_nothing_of_before_is_told_nothing_of_it(self) -> None:
        history = _History(self.BEGAN, None, 0)

        assert not history.lacks(self.line(-1_000_000))
        assert history.lacks(self.line(1_000_000))

    def test_nothing_is_told_of_before_the_moment_asked_for(self) -> None:
        history = _History(self.BEGAN, self.line(-2_000_000).at, None)

        assert not history.lacks(self.line(-3_000_000))
        assert history.lacks(self.line(-1_000_000))
