"""What is written to a connection goes out together, and never stays behind."""

import asyncio

import pytest

from entrypoints.connections import WritesTogether

pytestmark = pytest.mark.anyio

MUCH = b"x" * 40_000


class Wire(asyncio.Transport):
    """Takes what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Sender:
    """One who writes."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.transport = WritesTogether(self.wire, asyncio.get_running_loop())


async def test_what_is_written_in_one_go_is_sent_at_once() -> None:
    sender = Sender()
    for piece in (b"head", b"body", b""):
        sender.transport.write(piece)
    assert sender.wire.sent == []

    await asyncio.sleep(0)
    assert sender.wire.sent == [b"headbody"]


async def test_what_is_written_later_is_sent_later() -> None:
    sender = Sender()
    sender.transport.write(b"one")
    await asyncio.sleep(0)
    sender.transport.write(b"two")
    await asyncio.sleep(0)

    assert sender.wire.sent == [b"one", b"two"]


async def test_much_is_not_kept_until_others_have_had_their_turn() -> None:
    sender = Sender()
    sender.transport.write(MUCH)
    sender.transport.write(MUCH)

    assert sender.wire.sent == [MUCH + MUCH]
    await asyncio.sleep(0)
    assert len(sender.wire.sent) == 1


async def test_what_waits_is_sent_before_the_end() -> None:
    sender = Sender()
    sender.transport.write(b"last")
    sender.transport.close()

    assert sender.wire.sent == [b"last"]
    assert sender.transport.is_closing()
    await asyncio.sleep(0)
