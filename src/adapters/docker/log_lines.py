"""What the Engine sends of a container's output, as lines."""

import re
import struct
from collections.abc import Iterator
from datetime import UTC, datetime

from domain.containers import Container, LogLine
from domain.operations import OUTPUT_LINE_LENGTH

_HEADER = struct.Struct(">BxxxL")
_STREAMS = {0: "stdout", 1: "stdout", 2: "stderr"}
_MAX_REST_BYTES = OUTPUT_LINE_LENGTH * 4

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d) ?")

# Nothing that a container prints may steer the terminal or page that shows it; tabs are harmless.
_CONTROL = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\t")}, "\N{REPLACEMENT CHARACTER}")


class LogDecoder:
    """Takes apart what the Engine sends of one container.

    Args:
        container: whose.
        terminal: it prints to a terminal, so that its output comes as it is.
    """

    def __init__(self, container: Container, *, terminal: bool) -> None:
        self._container = container
        self._terminal = terminal
        self._data = b""
        self._rests: dict[str, bytes] = {}

    def feed(self, piece: bytes) -> Iterator[LogLine]:
        """The lines that a piece completes."""
        if self._terminal:
            yield from self._take("stdout", piece)
            return
        self._data += piece
        while len(self._data) >= _HEADER.size:
            kind, size = _HEADER.unpack_from(self._data)
            if len(self._data) < _HEADER.size + size:
                return
            content = self._data[_HEADER.size : _HEADER.size + size]
            self._data = self._data[_HEADER.size + size :]
            yield from self._take(_STREAMS.get(kind, "stdout"), content)

    def end(self) -> Iterator[LogLine]:
        """The lines that were never ended."""
        for stream, rest in self._rests.items():
            if rest:
                yield self._line(stream, rest)
        self._rests.clear()

    def _take(self, stream: str, content: bytes) -> Iterator[LogLine]:
        *lines, rest = (self._rests.get(stream, b"") + content).split(b"\n")
        for line in lines:
            yield self._line(stream, line)
        # One that never ends its line must not grow the agent's memory.
        self._rests[stream] = rest[:_MAX_REST_BYTES]

    def _line(self, stream: str, line: bytes) -> LogLine:
        stamp = _STAMP.match(line)
        text = line[stamp.end() :] if stamp else line
        shown = text.rstrip(b"\r").decode(errors="replace").translate(_CONTROL)
        return LogLine(
            at=_moment(stamp) if stamp else None,
            container=self._container.name,
            service=self._container.service,
            stream=stream,
            text=shown[:OUTPUT_LINE_LENGTH],
        )


def _moment(stamp: re.Match[bytes]) -> datetime:
    """A moment, to the microsecond."""
    fraction = (stamp[2] or b".0")[:7].decode()
    zone = "+00:00" if stamp[3] == b"Z" else stamp[3].decode()
    return datetime.fromisoformat(f"{stamp[1].decode()}{fraction.ljust(7, '0')}{zone}").astimezone(
        UTC
    )
