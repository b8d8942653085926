"""Look-ups of names that hang: they hold up neither others nor the end."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import anyio
import pytest

from entrypoints.look_ups import MOST_AT_ONCE, LookUps


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """What look-ups wait for that hang."""
    event = threading.Event()
    yield event
    event.set()


async def use(look_ups: LookUps) -> None:
    asyncio.get_running_loop().set_default_executor(look_ups)


def test_a_name_is_looked_up() -> None:
    async def look_up() -> list[str]:
        await use(LookUps())
        found = await anyio.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        return [address[0] for *_, address in found]

    assert anyio.run(look_up) == ["127.0.0.1"]


def test_one_that_fails_says_why() -> None:
    def fail() -> None:
        raise OSError("no such name")

    async def look_up() -> None:
        await use(LookUps())
        with pytest.raises(OSError, match="no such name"):
            await asyncio.get_running_loop().run_in_executor(None, fail)

    anyio.run(look_up)


def test_the_end_does_not_wait_for_one_that_hangs(hanging: threading.Event) -> None:
    async def look_up() -> None:
        await use(LookUps())
        with anyio.move_on_after(0.05):
            await asyncio.get_running_loop().run_in_executor(None, hanging.wait)

    began = time.monotonic()
    anyio.run(look_up)

    assert time.monotonic() - began < 2


def test_those_that_hang_leave_room_for_others_up_to_a_limit(hanging: threading.Event) -> None:
    look_ups = LookUps()
    for _ in range(MOST_AT_ONCE - 1):
        look_ups.submit(hanging.wait)
    assert look_ups.submit(lambda: 7).result(5) == 7
    _until_there_is_room(look_ups, hanging)

    with pytest.raises(OSError, match="is the name server away"):
        look_ups.submit(hanging.wait)


def _until_there_is_room(look_ups: LookUps, hanging: threading.Event) -> None:
    """Takes the place of one that has ended, as soon as its thread has given it back."""
    until = time.monotonic() + 5
    while True:
        try:
            look_ups.submit(hanging.wait)
        except OSError:
            if time.monotonic() > until:
                raise
        else:
            return
