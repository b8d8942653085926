"""What waits between a thread that reads the Engine and whoever reads from it."""

import threading
from collections.abc import Callable

import anyio
import pytest

from adapters.docker.streams import Feed, Losses
from domain.errors import EngineUnavailable

pytestmark = pytest.mark.anyio


async def written(feed: Feed[bytes], work: Callable[[], None]) -> None:
    """Returns when a thread has written."""
    feed.open()

    def run() -> None:
        try:
            work()
        finally:
            feed.end(None)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        await anyio.sleep(0.005)


async def test_the_oldest_go_until_the_newest_fit_and_their_number_is_told() -> None:
    feed: Feed[bytes] = Feed(lossy=True, most=10, weigh=len)

    def write() -> None:
        for item in (b"aaaaa", b"bbbbb", b"cccccccc", b"d"):
            feed.put(item)

    await written(feed, write)

    assert await feed.next() == (b"cccccccc", 2)
    assert await feed.next() == (b"d", 0)
    assert await feed.next() == (None, 0)


async def test_one_item_alone_passes_however_heavy_it_is() -> None:
    feed: Feed[bytes] = Feed(lossy=False, most=1, weigh=len)

    await written(feed, lambda: feed.put(b"x" * 1000))

    assert await feed.next() == (b"x" * 1000, 0)


async def test_a_thread_waits_for_room_where_nothing_may_be_lost() -> None:
    feed: Feed[bytes] = Feed(lossy=False, most=10, weigh=len)
    found = []

    def write() -> None:
        for _ in range(50):
            feed.put(b"x" * 10)

    async with anyio.create_task_group() as group:
        group.start_soon(written, feed, write)
        await anyio.sleep(0.05)
        while (item := (await feed.next())[0]) is not None:
            found.append(item)

    assert len(found) == 50


async def test_a_thread_waits_for_a_reader_only_as_long_as_it_was_told() -> None:
    feed: Feed[bytes] = Feed(lossy=False, most=1, weigh=len, patience_seconds=0.1)

    def write() -> None:
        feed.put(b"x")
        with pytest.raises(EngineUnavailable, match="Nobody read on"):
            feed.put(b"y")

    with anyio.fail_after(5):
        await written(feed, write)


async def test_single_items_may_go_where_others_may_not() -> None:
    feed: Feed[bytes] = Feed(lossy=False, most=3, weigh=len)

    def write() -> None:
        feed.put(b"old")
        for item in (b"one", b"two"):
            feed.put(item, lossy=True)

    await written(feed, write)

    assert await feed.next() == (b"two", 2)


def test_losses_of_all_readers_together_have_one_pace_after_a_first_rush() -> None:
    now = [100.0]
    losses = Losses(per_second=10, at_once=3, clock=lambda: now[0])

    waits = [round(losses.turn(), 3) for _ in range(5)]
    now[0] += 60
    later = [round(losses.turn(), 3) for _ in range(4)]

    assert waits == [0.0, 0.0, 0.0, 0.1, 0.2]
    assert later == [0.0, 0.0, 0.0, 0.1]


async def test_a_thread_that_must_lose_items_does_it_no_faster_than_it_may() -> None:
    feed: Feed[bytes] = Feed(lossy=True, most=1, losses=Losses(per_second=20, at_once=1))

    def write() -> None:
        for number in range(4):
            feed.put(b"%d" % number)

    began = anyio.current_time()
    await written(feed, write)

    assert anyio.current_time() - began >= 0.09
    assert await feed.next() == (b"3", 3)


async def test_a_thread_that_waits_to_lose_an_item_goes_on_when_somebody_reads_or_leaves() -> None:
    feed: Feed[bytes] = Feed(lossy=True, most=1, losses=Losses(per_second=0.001, at_once=0.001))

    def write() -> None:
        for number in range(3):
            feed.put(b"%d" % number)

    thread = threading.Thread(target=write)
    feed.open()
    thread.start()

    with anyio.fail_after(5):
        assert await feed.next() == (b"0", 0)
        assert await feed.next() == (b"1", 0)
        feed.close()
        while thread.is_alive():
            await anyio.sleep(0.005)
