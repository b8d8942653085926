"""Bodies of HTTP that come in chunks, many chunks at a time.

The Engine sends a container's output as one chunk for each line, and the library beneath docker-py
gives each of them out alone, at a price of some twenty microseconds of the interpreter's time.
"""

import re
from collections.abc import Callable, Iterator
from typing import Protocol

import urllib3.exceptions

PIECE_BYTES = 32 * 1024
"""How much is read at once, at most."""

# The end of the chunk before, if there was one, and how long the next one is.
_HEAD = re.compile(rb"(?:\r\n)?([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_BEGUN = re.compile(rb"\r?|(?:\r\n)?(?:[0-9a-fA-F]{1,15}[ \t]*(?:;[^\r\n]*)?\r?)?")
_LONGEST_HEAD = 1024


class Source(Protocol):
    """Bytes as they come."""

    def read1(self, size: int, /) -> bytes:
        """Those that are there, or come next; none at the end."""
        ...


class Chunks:
    """Takes a body in chunks apart, wherever it is cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0
        self.ended = False
        """Whether the last chunk has come."""

    def feed(self, data: bytes) -> bytes:
        """The content of what has come.

        Raises:
            ProtocolError: it is no body in chunks.
        """
        if self.ended:
            # Whatever comes behind it, nobody has asked for.
            return b""
        if self._rest:
            data, self._rest = self._rest + data, b""
        found: list[bytes] = []
        at, left, head = 0, self._left, _HEAD.match
        while True:
            if left:
                found.append(data[at : at + left])
                taken = len(found[-1])
                at, left = at + taken, left - taken
                if left:
                    break
            begin = head(data, at)
            if begin is None:
                self._keep(data[at:])
                break
            at, left = begin.end(), int(begin[1], 16)
            if not left:
                self.ended = True
                break
        self._left = left
        return b"".join(found)

    def _keep(self, rest: bytes) -> None:
        """Keeps the beginning of a chunk's head until more of it comes."""
        if len(rest) > _LONGEST_HEAD or not _BEGUN.fullmatch(rest):
            raise urllib3.exceptions.ProtocolError("It does not send the chunks that it says.")
        self._rest = rest


def contents(source: Source, gather: Callable[[int], None]) -> Iterator[bytes]:
    """The content of a body in chunks, in pieces as they come, to its end.

    Args:
        source: the body.
        gather: may wait until more has come, and is told how much came last.

    Raises:
        ProtocolError: it is no body in chunks, or breaks off.
    """
    chunks = Chunks()
    while not chunks.ended:
        data = source.read1(PIECE_BYTES)
        if not data:
            raise urllib3.exceptions.ProtocolError("It hung up before the end of its answer.")
        if content := chunks.feed(data):
            yield content
        if not chunks.ended:
            gather(len(data))
