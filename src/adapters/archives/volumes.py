"""Lets archives of files through to a volume, each member once it was looked at."""

import tarfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping

from adapters.archives.headers import (
    BLOCK,
    END,
    GLOBAL,
    TELLING,
    header_content,
    info_of,
    padding,
    size_of,
    told_by,
)
from adapters.archives.pieces import Pieces, inflated
from domain.errors import RequestUnreadable

MOST_MEMBERS = 500_000
"""Each takes up an inode of the host."""

_MOST_LINKS = 100_000
_LONGEST_PATH = 4096
_PIECE_BYTES = 256 * 1024

_FILES = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_WITHOUT_CONTENT = frozenset({tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE})

_Path = tuple[str, ...]


class ScreenedVolumeArchives:
    """Reads archives as they pass through."""

    async def screened(
        self, archive: AsyncIterable[bytes], *, max_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        """The same archive, plain and whole."""
        pieces = Pieces(inflated(archive), max_bytes=max_bytes)
        waiting = bytearray()
        async for piece in _members(pieces):
            waiting += piece
            if len(waiting) >= _PIECE_BYTES:
                yield bytes(waiting)
                waiting.clear()
        # What comes after the end means nothing, but the request shall be read to its own.
        await pieces.drain()
        yield bytes(waiting) + END


async def _members(pieces: Pieces) -> AsyncIterator[bytes]:
    screen = _Screen()
    told: dict[str, str] = {}
    while any(block := await pieces.exactly(BLOCK)):
        info = info_of(block)
        yield block
        if info.type in TELLING:
            content = await header_content(pieces, info)
            told |= _told(info.type, content)
            yield content + padding(len(content))
            continue
        screen.check(info, told)
        size = size_of(told.get("size"), info.size) if info.type in _FILES else 0
        told = {}
        async for piece in pieces.content(size):
            yield piece
        yield await pieces.exactly(len(padding(size)))


def _told(kind: bytes, content: bytes) -> Mapping[str, str]:
    told = told_by(kind, content)
    if kind == GLOBAL and told:
        raise RequestUnreadable("The archive has a header that gives several members one name.")
    return told


class _Screen:
    """Knows where links of an archive lie, so that nothing is written through one."""

    def __init__(self) -> None:
        self._count = 0
        self._links: set[_Path] = set()

    def check(self, info: tarfile.TarInfo, told: Mapping[str, str]) -> None:
        """Refuses a member that would lead elsewhere, or is more than files, folders and links.

        Raises:
            RequestUnreadable: it is such a one.
        """
        self._count += 1
        if self._count > MOST_MEMBERS:
            raise RequestUnreadable(f"The archive has more than {MOST_MEMBERS} members.")
        name = told.get("path", info.name)
        path = self._inside(name)
        if info.type not in _FILES | _WITHOUT_CONTENT:
            raise RequestUnreadable(
                f"The archive's member {_shown(name)} is a device, sparse or of an unknown kind.",
                hint="Only files, folders, links and pipes are restored.",
            )
        if info.type not in _FILES and size_of(told.get("size"), info.size):
            raise RequestUnreadable(f"The archive's member {_shown(name)} cannot have content.")
        if info.type == tarfile.LNKTYPE:
            target = self._inside(told.get("linkpath", info.linkname))
            if target in self._links:
                self._note(path)
                return
        if info.type == tarfile.SYMTYPE:
            self._note(path)
        else:
            self._links.discard(path)

    def _note(self, path: _Path) -> None:
        self._links.add(path)
        if len(self._links) > _MOST_LINKS:
            raise RequestUnreadable(f"The archive has more than {_MOST_LINKS} symbolic links.")

    def _inside(self, name: str) -> _Path:
        path = tuple(part for part in name.split("/") if part not in {"", "."})
        if name.startswith("/") or ".." in path or "\0" in name or len(name) > _LONGEST_PATH:
            raise RequestUnreadable(
                f"The archive's member {_shown(name)} leads out of the volume.",
                hint="Names must be relative, without '..'.",
            )
        for length in range(1, len(path)):
            if path[:length] in self._links:
                raise RequestUnreadable(
                    f"The archive's member {_shown(name)} lies beyond a symbolic link."
                )
        return path


def _shown(name: str) -> str:
    return ascii(name[:80])
