"""Members of a tar, read from a stream and written into another."""

import tarfile
from collections.abc import AsyncIterator, Mapping

import msgspec

from adapters.archives.headers import (
    BLOCK,
    GLOBAL,
    TELLING,
    header_content,
    info_of,
    size_of,
    told_by,
)
from adapters.archives.pieces import Pieces
from domain.errors import RequestUnreadable

_MOST_MEMBERS = 50_000
_LONGEST_NAME = 255


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


async def members(pieces: Pieces) -> AsyncIterator[Member]:
    """The files and symbolic links of an archive; folders are passed over.

    Whoever takes one must take its content and padding from ``pieces`` before the next.

    Raises:
        RequestUnreadable: it is no tar, or holds anything else.
    """
    told: dict[str, str] = {}
    count = 0
    while True:
        block = await pieces.exactly(BLOCK)
        if not any(block):
            return
        count += 1
        if count > _MOST_MEMBERS:
            raise RequestUnreadable(f"The archive has more than {_MOST_MEMBERS} members.")
        info = info_of(block)
        if info.type in TELLING:
            content = await header_content(pieces, info)
            if info.type != GLOBAL:
                told |= told_by(info.type, content)
            continue
        member = _member(info, told)
        told = {}
        if member is not None:
            yield member


def _member(info: tarfile.TarInfo, told: Mapping[str, str]) -> Member | None:
    if info.type == tarfile.DIRTYPE:
        return None
    name = _plain(told.get("path", info.name))
    if info.type in {tarfile.REGTYPE, tarfile.AREGTYPE}:
        return Member(name=name, size=size_of(told.get("size"), info.size))
    if info.type == tarfile.SYMTYPE:
        return Member(name=name, size=0, link=told.get("linkpath", info.linkname))
    raise RequestUnreadable(f"The archive's member {name!r} is neither a file nor a folder.")


def _plain(name: str) -> str:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    plain = "/".join(parts)
    sound = plain.isascii() and plain.isprintable() and 0 < len(plain) <= _LONGEST_NAME
    if name.startswith("/") or ".." in parts or not sound:
        raise RequestUnreadable(f"The archive's member {name[:80]!r} has no plain relative path.")
    return plain
