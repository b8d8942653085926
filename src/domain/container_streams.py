"""What containers give bit by bit: their output, and their files."""

from datetime import datetime
from enum import StrEnum

import msgspec


class OutputChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a container's output is wanted."""

    stdout: bool = True
    stderr: bool = True
    tail: int | None = None
    """Only so many of the last lines of what was printed before."""
    since: datetime | None = None
    until: datetime | None = None
    follow: bool = False
    """Go on with what is printed from now on."""


class OutputLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line, or a part of a very long one, that a container printed."""

    at: str
    """When, to the nanosecond, as the Engine writes it (RFC 3339); empty in a remark."""
    stream: str
    """``stdout``, ``stderr``, or ``agent`` for a remark of the agent's own."""
    data: bytes
    """Without the end of the line."""
    partial: bool = False
    """Whether the line goes on in the next one of the same stream."""


class FileKind(StrEnum):
    """What stands at a path of a container."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"
    """A device, a socket or a pipe."""


class FileStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the Engine knows of a path of a container."""

    name: str
    kind: FileKind
    size_bytes: int
    mode: int
    """Permission bits."""
    modified_at: datetime | None
    link_target: str = ""
    """Where a link leads, as seen in the container; empty for anything else."""
