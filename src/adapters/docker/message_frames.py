"""What the Engine sends of one container's output, as lines or as plain bytes, exactly."""

import re
import struct
from collections.abc import Generator, Iterator

from domain.container_streams import OutputLine

_HEADER = struct.Struct(">BxxxL")
_STREAMS = {2: "stderr"}
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ")

LONGEST_BYTES = 16 * 1024
"""The Engine keeps longer lines in parts of this size."""

_LONGEST_CHARACTER = 4


class Frames:
    """Takes apart what the Engine sends: one frame for each line, or part of a line."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, piece: bytes) -> Iterator[tuple[str, bytes]]:
        """The frames that a piece completes, each with its stream."""
        self._data += piece
        at = 0
        while len(self._data) - at >= _HEADER.size:
            kind, size = _HEADER.unpack_from(self._data, at)
            end = at + _HEADER.size + size
            if len(self._data) < end:
                break
            yield _STREAMS.get(kind, "stdout"), bytes(self._data[at + _HEADER.size : end])
            at = end
        del self._data[:at]


class FramedLines:
    """Lines of a container that prints to pipes; the Engine must tell when they were printed."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._rests = {"stdout": b"", "stderr": b""}

    def feed(self, piece: bytes) -> Iterator[OutputLine]:
        """The lines, and parts of very long ones, that a piece completes."""
        for stream, content in self._frames.feed(piece):
            stamp, data = _split(content)
            yield self._line(stream, stamp, self._rests[stream] + data)

    def end(self) -> Iterator[OutputLine]:
        """What was held back of a line that was never ended."""
        for stream, rest in self._rests.items():
            if rest:
                yield OutputLine(at="", stream=stream, data=rest, partial=True)

    def _line(self, stream: str, stamp: str, data: bytes) -> OutputLine:
        whole = data.endswith(b"\n")
        data, rest = (data[:-1], b"") if whole else _between_characters(data)
        self._rests[stream] = rest
        return OutputLine(at=stamp, stream=stream, data=data, partial=not whole)


class TerminalLines:
    """Lines of a container that prints to a terminal, which come without frames."""

    def __init__(self) -> None:
        self._rest = b""
        self._stamp: str | None = None
        """Of the line that goes on; None at the beginning of one."""

    def feed(self, piece: bytes) -> Iterator[OutputLine]:
        """The lines, and parts of very long ones, that a piece completes."""
        *lines, rest = (self._rest + piece).split(b"\n")
        for line in lines:
            last = yield from self._parts(line)
            yield self._line(last)
        self._rest = yield from self._parts(rest)

    def _parts(self, data: bytes) -> Generator[OutputLine, None, bytes]:
        """Parts of a very long line; what is left for its last one."""
        while len(data) > LONGEST_BYTES:
            part, cut = _between_characters(data[:LONGEST_BYTES])
            data = cut + data[LONGEST_BYTES:]
            yield self._line(part, partial=True)
        return data

    def end(self) -> Iterator[OutputLine]:
        """A line that was never ended."""
        if self._rest:
            yield self._line(self._rest)

    def _line(self, data: bytes, *, partial: bool = False) -> OutputLine:
        stamp = self._stamp
        if stamp is None:
            stamp, data = _split(data)
        self._stamp = stamp if partial else None
        return OutputLine(at=stamp, stream="stdout", data=data, partial=partial)


def _split(content: bytes) -> tuple[str, bytes]:
    """The moment before a line, and the line."""
    stamp = _STAMP.match(content)
    return (stamp[0][:-1].decode(), content[stamp.end() :]) if stamp else ("", content)


def _between_characters(data: bytes) -> tuple[bytes, bytes]:
    """Bytes up to the end of a character of UTF-8, and the beginning of the one cut in two."""
    for back in range(1, min(_LONGEST_CHARACTER, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return (data[:-back], data[-back:]) if length > back else (data, b"")
    return data, b""
