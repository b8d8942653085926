"""How the Engine's frames become lines and bytes again, wherever they are cut in pieces."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.docker.message_frames import (
    LONGEST_BYTES,
    FramedLines,
    Frames,
    TerminalLines,
)
from domain.container_streams import OutputLine

STAMP = "2026-01-31T12:00:00.123456789Z"
KINDS = {"stdout": 1, "stderr": 2}


def frame(stream: str, content: bytes) -> bytes:
    return struct.pack(">BxxxL", KINDS[stream], len(content)) + content


def stamped(content: bytes) -> bytes:
    return STAMP.encode() + b" " + content


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def framed(pieces: Sequence[bytes]) -> list[OutputLine]:
    lines = FramedLines()
    return [*(line for piece in pieces for line in lines.feed(piece)), *lines.end()]


def on_terminal(pieces: Sequence[bytes]) -> list[OutputLine]:
    lines = TerminalLines()
    return [*(line for piece in pieces for line in lines.feed(piece)), *lines.end()]


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=50))),
    st.integers(1, 40),
)
def test_bytes_come_as_they_were_printed_however_they_are_cut(
    printed: list[tuple[str, bytes]], size: int
) -> None:
    frames = Frames()
    pieces = cut(b"".join(frame(*one) for one in printed), size)

    assert [one for piece in pieces for one in frames.feed(piece)] == printed


@given(st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b""))))
def test_lines_have_their_moment_their_stream_and_their_very_bytes(printed: list[bytes]) -> None:
    data = b"".join(frame("stderr", stamped(line + b"\n")) for line in printed)

    assert framed(cut(data, 7)) == [
        OutputLine(at=STAMP, stream="stderr", data=line) for line in printed
    ]


def test_a_line_in_parts_says_that_it_goes_on() -> None:
    data = frame("stdout", stamped(b"first ")) + frame("stdout", stamped(b"second\n"))

    assert framed([data]) == [
        OutputLine(at=STAMP, stream="stdout", data=b"first ", partial=True),
        OutputLine(at=STAMP, stream="stdout", data=b"second"),
    ]


@pytest.mark.parametrize("letter", ["é", "€", "🙂"])
def test_no_character_is_cut_in_two_where_a_line_is(letter: str) -> None:
    coded = letter.encode()
    for at in range(1, len(coded)):
        parts = [b"a" + coded[:at], coded[at:] + b"b\n"]
        lines = framed([frame("stdout", stamped(part)) for part in parts])

        assert [line.data for line in lines] == [b"a", coded + b"b"]


def test_bytes_that_are_no_text_are_held_back_by_nothing() -> None:
    lines = framed([frame("stdout", stamped(b"\xff\xfe\x80\x80\x80\x80"))])

    assert b"".join(line.data for line in lines) == b"\xff\xfe\x80\x80\x80\x80"


def test_a_part_of_a_character_at_the_very_end_is_told_too() -> None:
    lines = framed([frame("stdout", stamped(b"a\xf0\x9f"))])

    assert b"".join(line.data for line in lines) == b"a\xf0\x9f"


@given(st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b""))))
def test_a_terminals_lines_come_without_frames(printed: list[bytes]) -> None:
    data = b"".join(stamped(line + b"\n") for line in printed)

    assert on_terminal(cut(data, 5)) == [
        OutputLine(at=STAMP, stream="stdout", data=line) for line in printed
    ]


def test_a_terminals_endless_line_comes_in_parts_with_one_moment() -> None:
    lines = on_terminal(cut(stamped(b"x" * 40_000 + b"\nnext"), 8192))

    assert [(line.at, line.partial) for line in lines] == [
        (STAMP, True),
        (STAMP, True),
        (STAMP, False),
        ("", False),
    ]
    assert b"".join(line.data for line in lines) == b"x" * 40_000 + b"next"
    assert all(len(line.data) <= LONGEST_BYTES for line in lines)
