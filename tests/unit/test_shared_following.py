"""One reading for all who follow the same."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import anyio
import pytest

from adapters.docker.message_frames import Frame, FramedLines
from adapters.docker.moments import engine_stamp
from adapters.docker.printed_lines import (
    Following,
    Printed,
    Turns,
    feed_of_printed,
    lost_text,
    printed,
)
from adapters.docker.shared_following import KEPT, LOST_SECONDS, Place, Reading, Readings
from adapters.docker.streams import Feed
from domain.container_streams import OutputLine
from domain.errors import EngineUnavailable

pytestmark = pytest.mark.anyio


def mark(lost: int | None) -> OutputLine:
    return OutputLine(at="", stream="agent", data=lost_text(lost).encode())


def frame(text: str, *, seconds_ago: float = 0) -> Frame:
    """A line as the Engine sends it."""
    stamp = engine_stamp(time.time_ns() - int(seconds_ago * 1e9))
    return "stdout", stamp + b" " + text.encode() + b"\n"


class Engine:
    """What a reading is begun with: a feed that a thread writes to."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.feeds: list[Feed[Printed[OutputLine]]] = []
        self.readings: Readings[OutputLine] = Readings()

    async def opening(
        self, _reading: Reading[OutputLine], stack: AsyncExitStack, _since: int
    ) -> Following[OutputLine]:
        feed: Feed[Printed[OutputLine]] = feed_of_printed(lossy=True)
        feed.open()
        self.feeds.append(feed)
        self.begun += 1
        stack.callback(self._end, feed)
        return Following(feed, Turns(), mark)

    def _end(self, feed: Feed[Printed[OutputLine]]) -> None:
        self.ended += 1
        feed.close()

    def new(self) -> Reading[OutputLine]:
        return Reading(self.opening, mark, time.time_ns())

    async def say(self, *texts: str) -> None:
        """Prints lines, together."""
        frames = [frame(text) for text in texts]
        feed = self.feeds[-1]
        decoder = FramedLines()
        await in_thread(lambda: feed.put(printed(decoder, frames, live=False)))

    async def end(self, fault: EngineUnavailable | None = None) -> None:
        """Ends the stream."""
        await in_thread(lambda: self.feeds[-1].end(fault))


async def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        await anyio.sleep(0.001)


def texts(lines: Sequence[OutputLine]) -> list[str]:
    return [line.data.decode() for line in lines]


async def all_of(place: Place[OutputLine]) -> list[str]:
    found: list[str] = []
    while lines := await place.next():
        found += texts(lines)
    return found


async def test_all_hear_all_from_when_they_came_and_one_stream_serves_them() -> None:
    engine = Engine()
    async with engine.readings.joined("a", engine.new) as one:
        await one.begin()
        await engine.say("first")
        assert texts(await one.next()) == ["first"]
        async with engine.readings.joined("a", engine.new) as two:
            await two.begin()
            await engine.say("second", "third")
            await engine.end()

            assert await all_of(two) == ["second", "third"]
            assert await all_of(one) == ["second", "third"]
    assert (engine.begun, engine.ended) == (1, 1)


async def test_what_is_made_of_a_batch_for_one_serves_all() -> None:
    engine = Engine()
    async with (
        engine.readings.joined("a", engine.new) as one,
        engine.readings.joined("a", engine.new) as two,
    ):
        await one.begin()
        await engine.say("x")

        assert await one.next() is await two.next()


async def test_others_are_read_apart() -> None:
    engine = Engine()
    async with (
        engine.readings.joined("a", engine.new) as one,
        engine.readings.joined("b", engine.new) as two,
    ):
        await one.begin()
        await two.begin()

    assert engine.begun == 2


async def test_the_stream_goes_on_when_the_one_who_reads_for_all_leaves() -> None:
    engine = Engine()
    async with engine.readings.joined("a", engine.new) as two:
        async with anyio.create_task_group() as group:

            async def leave_in_the_midst() -> None:
                async with engine.readings.joined("a", engine.new) as one:
                    await one.begin()
                    await one.next()

            group.start_soon(leave_in_the_midst)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert engine.ended == 0

        await engine.say("still here")
        with anyio.fail_after(5):
            assert texts(await two.next()) == ["still here"]
    assert engine.ended == 1


async def test_one_can_join_while_another_waits_for_a_line() -> None:
    engine = Engine()
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            async with engine.readings.joined("a", engine.new) as one:
                await one.begin()
                await one.next()

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(1):
            async with engine.readings.joined("a", engine.new) as two:
                await two.begin()
        group.cancel_scope.cancel()
    assert engine.begun == 1


async def test_one_who_reads_slowly_loses_the_oldest_and_is_told_how_many() -> None:
    engine = Engine()
    async with (
        engine.readings.joined("a", engine.new) as slow,
        engine.readings.joined("a", engine.new) as quick,
    ):
        await quick.begin()
        for number in range(KEPT + 3):
            await engine.say(f"{number}a", f"{number}b")
            await quick.next()

        lines = texts(await slow.next())

    assert lines == ["… 6 lines were left out, as they were not read in time", "3a", "3b"]


async def test_what_is_known_already_is_not_told_as_lost() -> None:
    engine = Engine()
    async with (
        engine.readings.joined("a", engine.new) as slow,
        engine.readings.joined("a", engine.new) as quick,
    ):
        await quick.begin()
        for number in range(KEPT + 3):
            await engine.say(str(number))
            await quick.next()

        slow.pass_over(lambda line: int(line.data) <= 3)

        assert texts(await slow.next()) == ["3"]


async def test_what_ends_the_stream_ends_it_for_all() -> None:
    engine = Engine()
    async with (
        engine.readings.joined("a", engine.new) as one,
        engine.readings.joined("a", engine.new) as two,
    ):
        await one.begin()
        await engine.say("last")
        await engine.end(EngineUnavailable("It hung up."))

        for place in (one, two):
            assert texts(await place.next()) == ["last"]
            with pytest.raises(EngineUnavailable, match="hung up"):
                await place.next()


async def test_after_its_end_it_is_begun_anew() -> None:
    engine = Engine()
    async with engine.readings.joined("a", engine.new) as one:
        await one.begin()
        await engine.end()
        assert await one.next() == ()
        async with engine.readings.joined("a", engine.new) as two:
            await two.begin()
            await engine.say("again")
            assert texts(await two.next()) == ["again"]


async def test_nobody_joins_a_reading_that_is_behind() -> None:
    engine = Engine()
    made: list[Reading[OutputLine]] = []

    def new() -> Reading[OutputLine]:
        made.append(engine.new())
        return made[-1]

    async with engine.readings.joined("a", new):
        made[0].note(frame("now"))
        made[0].note(frame("old", seconds_ago=5))
        async with engine.readings.joined("a", new):
            assert len(made) == 2
            made[1].note(frame("now"))
            async with engine.readings.joined("a", new):
                assert len(made) == 2


async def test_who_joins_can_begin_with_what_others_were_told_before() -> None:
    engine = Engine()
    async with engine.readings.joined("a", engine.new) as one:
        await one.begin()
        for text in ("old", "new", "newer"):
            await engine.say(text)
            await one.next()
        async with engine.readings.joined("a", engine.new) as two:
            two.look_back(lambda line: line.data != b"old")
            await engine.end()

            assert await all_of(two) == ["new", "newer"]


async def test_no_further_back_than_what_is_kept() -> None:
    engine = Engine()
    async with engine.readings.joined("a", engine.new) as one:
        await one.begin()
        for number in range(KEPT + 2):
            await engine.say(str(number))
            await one.next()
        async with engine.readings.joined("a", engine.new) as two:
            two.look_back(lambda _: True)
            await engine.end()

            assert await all_of(two) == [str(number) for number in range(2, KEPT + 2)]


async def test_a_reading_that_is_far_behind_goes_on_with_now_and_a_mark() -> None:
    engine = Engine()
    reading = engine.new()
    async with engine.readings.joined("a", lambda: reading) as one:
        await one.begin()
        await engine.say("long ago")
        reading.note(frame("now"))
        reading.note(frame("long ago", seconds_ago=LOST_SECONDS + 5))

        (told,) = texts(await one.next())
        await engine.say("now")

        assert "were left out" in told
        assert texts(await one.next()) == ["now"]
        assert (engine.begun, engine.ended) == (2, 1)
    assert engine.ended == 2


async def test_an_engine_whose_clock_is_late_is_not_taken_for_one_that_is_behind() -> None:
    engine = Engine()
    reading = engine.new()
    async with engine.readings.joined("a", lambda: reading) as one:
        await one.begin()
        await engine.say("one")
        for _ in range(2):
            reading.note(frame("one", seconds_ago=3600))

        assert texts(await one.next()) == ["one"]
        assert not reading.behind
