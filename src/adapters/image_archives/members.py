"""Members of a tar, read from a stream and written into another."""

import tarfile
from collections.abc import AsyncIterator, Mapping

import msgspec

from adapters.image_archives.pieces import Pieces
from domain.errors import RequestUnreadable

_BLOCK = 512
_MOST_MEMBERS = 50_000
_LONGEST_HEADER = 64 * 1024
_LONGEST_NAME = 255

_EXTENDED = {b"x", b"X"}
_GLOBAL = b"g"
_LONG_NAME, _LONG_LINK = b"L", b"K"

END = bytes(2 * _BLOCK)
"""The end of an archive."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in front of a member's content."""

    name: str
    """A plain relative path."""
    size: int
    link: str | None = None
    """Where a symbolic link leads; None for a file."""

    def header(self) -> bytes:
        """The same, as it is written."""
        info = tarfile.TarInfo(self.name)
        info.size = self.size
        if self.link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, self.link
        return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What fills content up to whole blocks."""
    return bytes(-size % _BLOCK)


async def members(pieces: Pieces) -> AsyncIterator[Member]:
    """The files and symbolic links of an archive; folders are passed over.

    Whoever takes one must take its content and padding from ``pieces`` before the next.

    Raises:
        RequestUnreadable: it is no tar, or holds anything else.
    """
    told: dict[str, str] = {}
    count = 0
    while True:
        block = await pieces.exactly(_BLOCK)
        if not any(block):
            return
        count += 1
        if count > _MOST_MEMBERS:
            raise RequestUnreadable(f"The archive has more than {_MOST_MEMBERS} members.")
        info = _info(block)
        if info.type in _EXTENDED | {_GLOBAL, _LONG_NAME, _LONG_LINK}:
            told |= _told(info.type, await _header_content(pieces, info))
            continue
        member = _member(info, told)
        told = {}
        if member is not None:
            yield member


def _info(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as fault:
        raise RequestUnreadable("It is no archive of images, or damaged.") from fault


async def _header_content(pieces: Pieces, info: tarfile.TarInfo) -> bytes:
    if not 0 <= info.size <= _LONGEST_HEADER:
        raise RequestUnreadable("The archive has a member with headers that are too long.")
    content = await pieces.exactly(info.size)
    await pieces.exactly(len(padding(info.size)))
    return content


def _told(kind: bytes, content: bytes) -> Mapping[str, str]:
    """What a header says of the member that follows, as far as it matters."""
    if kind in {_LONG_NAME, _LONG_LINK}:
        key = "path" if kind == _LONG_NAME else "linkpath"
        return {key: content.rstrip(b"\0").decode(errors="surrogateescape")}
    return {} if kind == _GLOBAL else _records(content)


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


def _member(info: tarfile.TarInfo, told: Mapping[str, str]) -> Member | None:
    if info.type == tarfile.DIRTYPE:
        return None
    name = _plain(told.get("path", info.name))
    if info.type in {tarfile.REGTYPE, tarfile.AREGTYPE}:
        return Member(name=name, size=_size(told.get("size"), info.size))
    if info.type == tarfile.SYMTYPE:
        return Member(name=name, size=0, link=told.get("linkpath", info.linkname))
    raise RequestUnreadable(f"The archive's member {name!r} is neither a file nor a folder.")


def _size(told: str | None, size: int) -> int:
    if told is not None:
        size = int(told) if told.isascii() and told.isdigit() and len(told) < 16 else -1
    if size < 0:
        raise RequestUnreadable("The archive has a member with a size that is none.")
    return size


def _plain(name: str) -> str:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    plain = "/".join(parts)
    sound = plain.isascii() and plain.isprintable() and 0 < len(plain) <= _LONGEST_NAME
    if name.startswith("/") or ".." in parts or not sound:
        raise RequestUnreadable(f"The archive's member {name[:80]!r} has no plain relative path.")
    return plain
