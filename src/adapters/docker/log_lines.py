"""What the Engine sends of a container's output, as lines."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from adapters.docker.message_frames import Frame
from domain.containers import Container, LogLine
from domain.operations import OUTPUT_LINE_LENGTH

_MAX_REST_BYTES = OUTPUT_LINE_LENGTH * 4

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d) ?")

# Nothing that a container prints may steer the terminal or page that shows it; tabs are harmless.
_CONTROL = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\t")}, "\N{REPLACEMENT CHARACTER}")


class LogDecoder:
    """Makes lines of what one container printed.

    Args:
        container: whose.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._rests: dict[str, bytes] = {}

    def decode(self, frames: Iterable[Frame]) -> list[LogLine]:
        """The lines that frames complete."""
        return [
            self._line(stream, line)
            for stream, content in frames
            for line in self._whole(stream, content)
        ]

    def skip(self) -> None:
        """Goes on behind frames that were lost."""
        self._rests.clear()

    def end(self) -> list[LogLine]:
        """The lines that were never ended."""
        found = [self._line(stream, rest) for stream, rest in self._rests.items() if rest]
        self._rests.clear()
        return found

    def _whole(self, stream: str, content: bytes) -> list[bytes]:
        *lines, rest = (self._rests.get(stream, b"") + content).split(b"\n")
        # One that never ends its line must not grow the agent's memory.
        self._rests[stream] = rest[:_MAX_REST_BYTES]
        return lines

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
