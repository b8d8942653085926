"""How a body in chunks becomes plain bytes again, wherever it is cut, and whatever it is."""

import io

import pytest
import urllib3.exceptions
from hypothesis import given
from hypothesis import strategies as st

from adapters.docker.chunks import Chunks, contents

END = b"0\r\n\r\n"


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(content), extension, content)


def gathered(body: bytes) -> list[int]:
    """After how many bytes a reader may wait for more, while it reads a body."""
    found: list[int] = []
    list(contents(io.BytesIO(body), found.append))
    return found


@given(st.lists(st.binary(min_size=1, max_size=60)), st.integers(1, 40))
def test_the_content_is_the_same_however_it_is_cut(parts: list[bytes], size: int) -> None:
    body = b"".join(chunk(part) for part in parts) + END
    chunks = Chunks()

    found = [chunks.feed(body[at : at + size]) for at in range(0, len(body), size)]

    assert b"".join(found) == b"".join(parts)
    assert chunks.ended


def test_many_chunks_that_come_together_are_given_together() -> None:
    body = b"".join(chunk(b"line %d\n" % number) for number in range(1000))

    assert Chunks().feed(body) == b"".join(b"line %d\n" % number for number in range(1000))


def test_content_that_looks_like_chunks_is_content() -> None:
    content = chunk(b"x") + END

    assert Chunks().feed(chunk(content) + END) == content


def test_what_stands_behind_a_length_is_passed_over() -> None:
    assert Chunks().feed(chunk(b"one", b" ;a=b") + chunk(b"two")) == b"onetwo"


def test_content_comes_before_its_chunk_is_whole() -> None:
    assert Chunks().feed(b"ff\r\nbegun") == b"begun"


@given(st.binary(max_size=200), st.integers(1, 40))
def test_any_bytes_are_read_or_refused_as_what_they_are(body: bytes, size: int) -> None:
    chunks = Chunks()

    try:
        found = [chunks.feed(body[at : at + size]) for at in range(0, len(body), size)]
    except urllib3.exceptions.ProtocolError:
        return

    assert len(b"".join(found)) <= len(body)


@pytest.mark.parametrize(
    "body",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5\nhello\n",
        b"5\r\nhello!\r\n",
        b"1" * 2000,
        b"5;" + b"a" * 2000,
        b"\r\n\r\n\r\n",
    ],
)
def test_what_is_no_chunk_is_refused(body: bytes) -> None:
    with pytest.raises(urllib3.exceptions.ProtocolError):
        Chunks().feed(body)


def test_a_body_that_breaks_off_is_taken_for_whole_by_nobody() -> None:
    source = io.BytesIO(chunk(b"one") + b"5\r\ntw")
    pieces = contents(source, lambda _: None)

    assert next(pieces) == b"onetw"
    with pytest.raises(urllib3.exceptions.ProtocolError, match="hung up"):
        next(pieces)


def test_a_reader_waits_for_nothing_more_once_the_end_has_come() -> None:
    assert gathered(chunk(b"one") + END) == []
