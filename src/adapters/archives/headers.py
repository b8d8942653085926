"""Headers of a tar: what stands in front of members, and what is told of them beforehand."""

import tarfile
from collections.abc import Mapping

from adapters.archives.pieces import Pieces
from domain.errors import RequestUnreadable

BLOCK = 512
_LONGEST_HEADER = 64 * 1024

_EXTENDED = {b"x", b"X"}
GLOBAL = b"g"
_LONG_NAME, _LONG_LINK = b"L", b"K"
TELLING = frozenset({*_EXTENDED, GLOBAL, _LONG_NAME, _LONG_LINK})
"""Kinds of headers that tell of the members that follow."""

END = bytes(2 * BLOCK)
"""The end of an archive."""


def padding(size: int) -> bytes:
    """What fills content up to whole blocks."""
    return bytes(-size % BLOCK)


def info_of(block: bytes) -> tarfile.TarInfo:
    """What a block says of a member.

    Raises:
        RequestUnreadable: it is no header.
    """
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as fault:
        raise RequestUnreadable("It is no tar archive, or damaged.") from fault


async def header_content(pieces: Pieces, info: tarfile.TarInfo) -> bytes:
    """What a header tells of the members that follow, its padding taken too.

    Raises:
        RequestUnreadable: it is too long, or cut off.
    """
    if not 0 <= info.size <= _LONGEST_HEADER:
        raise RequestUnreadable("The archive has a member with headers that are too long.")
    content = await pieces.exactly(info.size)
    await pieces.exactly(len(padding(info.size)))
    return content


def told_by(kind: bytes, content: bytes) -> Mapping[str, str]:
    """What a header says of the members that follow, as far as it matters.

    Raises:
        RequestUnreadable: it is damaged, or tells of a sparse member.
    """
    if kind in {_LONG_NAME, _LONG_LINK}:
        key = "path" if kind == _LONG_NAME else "linkpath"
        return {key: content.rstrip(b"\0").decode(errors="surrogateescape")}
    return _records(content)


def _records(content: bytes) -> Mapping[str, str]:
    """The records of an extended header: ``LENGTH KEY=VALUE`` and the end of the line, each."""
    found: dict[str, str] = {}
    while content:
        length, space, _ = content.partition(b" ")
        size = int(length) if length.isdigit() and len(length) < 8 else 0
        record, content = content[:size], content[size:]
        key, sign, value = record[len(length) + 1 : -1].partition(b"=")
        if not space or not sign or not record.endswith(b"\n"):
            raise RequestUnreadable("The archive has a member with damaged headers.")
        if key in {b"path", b"linkpath", b"size"}:
            found[key.decode()] = value.decode(errors="surrogateescape")
        elif key.startswith(b"GNU.sparse."):
            raise RequestUnreadable("The archive has a sparse member.")
    return found


def size_of(told: str | None, size: int) -> int:
    """How many bytes a member has, as a header before it told, or as its own says.

    Raises:
        RequestUnreadable: it cannot have so many.
    """
    if told is not None:
        size = int(told) if told.isascii() and told.isdigit() and len(told) < 16 else -1
    if size < 0:
        raise RequestUnreadable("The archive has a member with a size that is none.")
    return size
