"""What is written to a connection goes out together, and never stays behind."""

import asyncio
import socket

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


class Writer(asyncio.Protocol):
    """One who can be held, at the end of a real connection."""

    def __init__(self) -> None:
        self.held = False

    def pause_writing(self) -> None:
        self.held = True


async def test_whoever_writes_to_one_who_has_gone_is_held_and_nobody_is_warned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        wire, writer = await loop.connect_accepted_socket(Writer, ours)
        transport = WritesTogether(wire, loop)
        transport.write(b"before")
        wire.abort()
        held = []
        for _ in range(20):
            transport.write(MUCH)
            held.append(writer.held)
        await asyncio.sleep(0.01)

    assert held == [True] * 20
    assert caplog.records == []


async def test_what_waits_for_one_who_leaves_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        wire, writer = await loop.connect_accepted_socket(Writer, ours)
        transport = WritesTogether(wire, loop)
        transport.write(b"late")
        wire.abort()
        await asyncio.sleep(0.01)

        assert theirs.recv(10) == b""
    assert writer.held
    assert caplog.records == []
