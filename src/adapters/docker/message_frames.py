"""What the Engine sends of one container's output, as lines or as plain bytes, exactly."""

import re
import struct
from collections.abc import Generator, Iterable, Iterator
from datetime import datetime

from adapters.docker.moments import moment
from domain.container_streams import OutputLine

_HEADER = struct.Struct(">BxxxL")
_STDERR = 2
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ")

LONGEST_BYTES = 16 * 1024
"""The Engine keeps longer lines in parts of this size."""

_LONGEST_CHARACTER = 4

# A line of a terminal that is longer is cut anywhere.
_LONGEST_HELD = 4 * LONGEST_BYTES


Frame = tuple[str, bytes]
"""A stream, and what was printed to it."""


class Frames:
    """Takes apart what the Engine sends: one frame for each line, or part of a line."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that a piece completes, each with its stream."""
        data = self._with_begun(piece)
        found: list[Frame] = []
        at, size, unpack = 0, len(data), _HEADER.unpack_from
        while size - at >= _HEADER.size:
            kind, length = unpack(data, at)
            begin = at + _HEADER.size
            if size - begin < length:
                break
            at = begin + length
            found.append(("stderr" if kind == _STDERR else "stdout", data[begin:at]))
        self._begun += data[at:]
        return found

    def contents(self, piece: bytes) -> bytes:
        """What was printed in the frames that a piece completes, to whichever stream."""
        return b"".join([content for _, content in self.feed(piece)])

    def end(self) -> list[Frame]:
        """None: what breaks off in the midst of a frame is not known."""
        return []

    def _with_begun(self, piece: bytes) -> bytes:
        """A piece behind the frame that has begun; nothing where that does not end in it."""
        begun = self._begun
        if not begun:
            return piece
        begun += piece
        if len(begun) < _HEADER.size:
            return b""
        if len(begun) - _HEADER.size < _HEADER.unpack_from(begun)[1]:
            return b""
        data = bytes(begun)
        begun.clear()
        return data


class WholeLines:
    """Cuts what a container prints to a terminal, which comes without frames, between lines."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, piece: bytes) -> list[Frame]:
        """The lines that a piece completes, together."""
        begun = self._begun
        begun += piece
        end = len(begun) if len(begun) > _LONGEST_HELD else begun.rfind(b"\n") + 1
        data = bytes(begun[:end])
        del begun[:end]
        return [("stdout", data)] if data else []

    def end(self) -> list[Frame]:
        """A line that was never ended."""
        return [("stdout", bytes(self._begun))] if self._begun else []


class FramedLines:
    """Lines of a container that prints to pipes; the Engine must tell when they were printed."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._rests = {"stdout": b"", "stderr": b""}

    def feed(self, piece: bytes) -> list[OutputLine]:
        """The lines, and parts of very long ones, that a piece completes."""
        return self.decode(self._frames.feed(piece))

    def decode(self, frames: Iterable[Frame]) -> list[OutputLine]:
        """The lines, and parts of very long ones, of frames."""
        found = []
        for stream, content in frames:
            stamp, data = _split(content)
            found.append(self._line(stream, stamp, self._rests[stream] + data))
        return found

    def skip(self) -> None:
        """Goes on behind frames that were lost."""
        self._rests = dict.fromkeys(self._rests, b"")

    def end(self) -> list[OutputLine]:
        """What was held back of a line that was never ended."""
        return [
            OutputLine(at="", stream=stream, data=rest, partial=True)
            for stream, rest in self._rests.items()
            if rest
        ]

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

    def decode(self, frames: Iterable[Frame]) -> list[OutputLine]:
        """The lines, and parts of very long ones, that what was printed completes."""
        return [line for _, content in frames for line in self.feed(content)]

    def skip(self) -> None:
        """Goes on behind something that was lost."""
        self._rest, self._stamp = b"", None

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

    def end(self) -> list[OutputLine]:
        """A line that was never ended."""
        return [self._line(self._rest)] if self._rest else []

    def _line(self, data: bytes, *, partial: bool = False) -> OutputLine:
        stamp = self._stamp
        if stamp is None:
            stamp, data = _split(data)
        self._stamp = stamp if partial else None
        return OutputLine(at=stamp, stream="stdout", data=data, partial=partial)


def is_after(frame: Frame, stamp: bytes) -> bool:
    """Whether a frame says that it was printed after a moment, which is written as it is there."""
    said = _STAMP.match(frame[1])
    return said is not None and said[0] > stamp


def printed_at(frame: Frame) -> datetime | None:
    """When a frame says that it was printed."""
    said = _STAMP.match(frame[1])
    return moment(said[0][:-1].decode()) if said else None


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
