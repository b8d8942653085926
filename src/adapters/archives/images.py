"""Lets archives of images through, written anew, so that nothing is in them that was not seen."""

import re
from collections.abc import AsyncGenerator, AsyncIterable

from adapters.archives.headers import END, padding
from adapters.archives.members import Member, members
from adapters.archives.naming import NAMING, read
from adapters.archives.pieces import Pieces, inflated
from domain.errors import RequestUnreadable
from domain.ports.image_archives import JudgeNames

_LONGEST_NAMING = 4 * 1024 * 1024

# The Engine used to write a layer that stands in several images only once.
_LAYER = re.compile(r"[0-9a-f]{64}/layer\.tar")
_LINKED = re.compile(r"\.\./[0-9a-f]{64}/layer\.tar")


class ScreenedArchives:
    """Reads archives as they pass through."""

    async def screened(
        self, archive: AsyncIterable[bytes], judge: JudgeNames, *, max_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        """The same images in an archive that can be read in one way only."""
        pieces = Pieces(inflated(archive), max_bytes=max_bytes)
        naming: dict[str, bytes] = {}
        names: list[str] = []
        seen: set[str] = set()
        async for member in members(pieces):
            _check(member, seen)
            if member.name in NAMING:
                naming[member.name], found = await _naming(pieces, member)
                names += found
                continue
            yield member.header()
            async for piece in pieces.content(member.size):
                yield piece
            yield await pieces.exactly(len(padding(member.size)))
        await pieces.drain()
        if not naming:
            raise RequestUnreadable(
                "The archive holds no images.", hint="Send what `docker save` writes."
            )
        judge(names)
        for name, content in sorted(naming.items()):
            yield Member(name=name, size=len(content)).header()
            yield content + padding(len(content))
        yield END


def _check(member: Member, seen: set[str]) -> None:
    if member.name in seen:
        raise RequestUnreadable(f"The archive's member {member.name!r} stands in it twice.")
    seen.add(member.name)
    if member.link is not None and not (
        _LAYER.fullmatch(member.name) and _LINKED.fullmatch(member.link)
    ):
        raise RequestUnreadable(f"The archive's member {member.name!r} is a link.")


async def _naming(pieces: Pieces, member: Member) -> tuple[bytes, list[str]]:
    if member.size > _LONGEST_NAMING:
        raise RequestUnreadable(f"The archive's {member.name} is too long.")
    content = await pieces.exactly(member.size)
    await pieces.exactly(len(padding(member.size)))
    return read(member.name, content)
