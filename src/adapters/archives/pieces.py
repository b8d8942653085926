"""A stream of bytes, read in the sizes that its reader wants, and inflated where need be."""

import zlib
from collections.abc import AsyncIterable, AsyncIterator

import anyio.to_thread

from domain.errors import RequestTooLarge, RequestUnreadable

_PIECE_BYTES = 256 * 1024

_GZIP = b"\x1f\x8b"
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_LONGEST_MAGIC = 5


class Pieces:
    """What is read of a stream, piece by piece.

    Args:
        stream: gives bytes as they come.
        max_bytes: how many may come.
    """

    def __init__(self, stream: AsyncIterable[bytes], *, max_bytes: int) -> None:
        self._stream = aiter(stream)
        self._max_bytes = max_bytes
        self._taken = 0
        self._piece = b""
        self._at = 0

    async def some(self, most: int) -> bytes:
        """The next bytes, at most so many; none at the end.

        Raises:
            RequestTooLarge: more have come than may.
        """
        while self._at == len(self._piece):
            piece = await anext(self._stream, None)
            if piece is None:
                return b""
            self._taken += len(piece)
            if self._taken > self._max_bytes:
                raise RequestTooLarge(
                    f"The archive is longer than the {self._max_bytes} bytes that are read."
                )
            self._piece, self._at = piece, 0
        found = self._piece[self._at : self._at + most]
        self._at += len(found)
        return found

    async def exactly(self, size: int) -> bytes:
        """The next bytes, just so many.

        Raises:
            RequestUnreadable: the stream ends before.
        """
        found = bytearray()
        while len(found) < size:
            piece = await self.some(size - len(found))
            if not piece:
                raise RequestUnreadable("The archive ends in the middle.")
            found += piece
        return bytes(found)

    async def content(self, size: int) -> AsyncIterator[bytes]:
        """The next bytes, just so many, as they come.

        Raises:
            RequestUnreadable: the stream ends before.
        """
        while size:
            piece = await self.some(min(size, _PIECE_BYTES))
            if not piece:
                raise RequestUnreadable("The archive ends in the middle.")
            size -= len(piece)
            yield piece

    async def drain(self) -> None:
        """Takes the rest, which means nothing."""
        while await self.some(_PIECE_BYTES):
            pass


async def inflated(stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, those of gzip inflated.

    Raises:
        RequestUnreadable: they are compressed in another way, or damaged.
    """
    pieces, head = aiter(stream), b""
    while len(head) < _LONGEST_MAGIC and (piece := await anext(pieces, None)) is not None:
        head += piece
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise RequestUnreadable(
                f"The archive is compressed with {name}.", hint="Send it plain, or through gzip."
            )
    if head.startswith(_GZIP):
        async for piece in _gunzipped(head, pieces):
            yield piece
        return
    yield head
    async for piece in pieces:
        yield piece


async def _gunzipped(head: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    inflate = zlib.decompressobj(wbits=31)
    raw: bytes | None = head
    while raw is not None and not inflate.eof:
        while raw and not inflate.eof:
            # A small piece can be a thousand times as large; only so much is made of it at once.
            try:
                found = await anyio.to_thread.run_sync(inflate.decompress, raw, _PIECE_BYTES)
            except zlib.error as fault:
                raise RequestUnreadable("The archive's compression is damaged.") from fault
            if found:
                yield found
            raw = inflate.unconsumed_tail
        raw = await anext(pieces, None)
    if not inflate.eof:
        raise RequestUnreadable("The archive ends in the middle.")
    async for _ in pieces:
        pass
