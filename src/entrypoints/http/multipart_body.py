"""A form (multipart/form-data, RFC 7578) read as it comes: its file is handed on in pieces, so that
memory does not grow with it.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

import anyio
import msgspec

# A single module without type hints that mypy would read; what is used of it is declared below.
from multipart import MultipartError, PushMultipartParser  # type: ignore[import-untyped]

from domain.errors import RequestTooLarge, RequestUnreadable

FILE_PART = "bundle"
"""The one part that may be large."""

MAX_PARTS = 100

MAX_FIELD_BYTES = 1024 * 1024
"""How long one field may be."""

MAX_FIELDS_BYTES = 4 * MAX_FIELD_BYTES
"""How long all fields may be together."""

_BLOCK_BYTES = 64 * 1024

_MAX_CONTENT_TYPE_LENGTH = 1000

_BOUNDARY = re.compile(
    r';[ \t]*boundary=(?:"(?P<quoted>[^"]*)"|(?P<plain>[^";\s]*))[ \t]*(?=;|$)', re.IGNORECASE
)
_VALID_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_PLAIN_ENCODINGS = frozenset({"7bit", "8bit", "binary"})

T = TypeVar("T")


class Form(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A form, read to its end."""

    fields: Mapping[str, bytes]
    """The content of every part but the file, by name."""
    file: T | None
    """What became of the file; None where the form has none."""


async def read_form(
    content_type: str,
    chunks: AsyncIterator[bytes],
    take_file: Callable[[AsyncIterator[bytes]], Awaitable[T]],
    *,
    discard: Callable[[T], Awaitable[None]],
    max_bytes: int,
) -> Form[T]:
    """The form that a body is; what became of its file is the caller's from then on.

    Sets no time limit: the caller does. File names that come with parts are never looked at.

    Args:
        content_type: the header of the request.
        chunks: the body.
        take_file: called once, while the part ``bundle`` comes, with its content. What it leaves
            unread is passed over.
        discard: undoes ``take_file``, for when it has ended well and the rest of the body fails or
            the call is cancelled.
        max_bytes: how long the body may be, all in all.

    Raises:
        RequestTooLarge: the body is longer than ``max_bytes``.
        RequestUnreadable: it is not such a form.
        Exception: whatever ``take_file`` and ``chunks`` raise, as it is.
    """
    parts = _Parts(_boundary(content_type), _Blocks(chunks, max_bytes))
    fields = _Fields()
    taken: list[T] = []
    try:
        await _read(parts, take_file, fields, taken)
    except BaseException:
        for value in taken:
            with anyio.CancelScope(shield=True):
                await discard(value)
        raise
    return Form(fields=fields.contents, file=taken[0] if taken else None)


def _boundary(content_type: str) -> str:
    """The text that parts the body, from the Content-Type header.

    Raises:
        RequestUnreadable: the header is not that of a form, or names no boundary that can be.
    """
    if len(content_type) > _MAX_CONTENT_TYPE_LENGTH:
        raise _unreadable("its Content-Type is absurdly long")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise _unreadable(f"its Content-Type is {media_type[:100]!r}")
    named = [match["quoted"] or match["plain"] or "" for match in _BOUNDARY.finditer(content_type)]
    if len(named) != 1:
        raise _unreadable(f"its Content-Type names {'more than one' if named else 'no'} boundary")
    if not _VALID_BOUNDARY.fullmatch(named[0]):
        raise _unreadable(
            "the boundary in its Content-Type is not 1 to 70 letters, digits and '()+_,-./:=?"
        )
    return named[0]


def _unreadable(why: str) -> RequestUnreadable:
    """The refusal of a body that is not a form."""
    return RequestUnreadable(
        f"The body is not a form: {why}.",
        hint=f"Send multipart/form-data with the archive in the part {FILE_PART},"
        f" as curl -F {FILE_PART}=@lab.zip does.",
    )


class _Part(Protocol):
    """What the parser tells of a part before its content."""

    name: str
    content_type: str | None
    headerlist: list[tuple[str, str]]


_Event = _Part | bytes | None
"""What the parser finds: each part, then its content in pieces, then None for its end."""


class _Blocks:
    """The body in blocks of one size.

    What the parser makes of some broken bodies depends on where they are cut. Cut here, a body
    means the same however it travelled.
    """

    def __init__(self, chunks: AsyncIterator[bytes], max_bytes: int) -> None:
        self._chunks = chunks
        self._max_bytes = max_bytes
        self._received = 0
        self._waiting = bytearray()

    async def next_block(self) -> bytes:
        """The next block; empty at the end."""
        while len(self._waiting) < _BLOCK_BYTES:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                break
            self._received += len(chunk)
            if self._received > self._max_bytes:
                raise RequestTooLarge(
                    f"The request is longer than the {self._max_bytes} bytes that are read."
                )
            self._waiting += chunk
        block = bytes(self._waiting[:_BLOCK_BYTES])
        del self._waiting[:_BLOCK_BYTES]
        return block


class _Parts:
    """The parts of a form, one after the other; after a failure nothing more can be read."""

    def __init__(self, boundary: str, blocks: _Blocks) -> None:
        self._blocks = blocks
        self._parser = PushMultipartParser(boundary)
        self._events: Iterator[_Event] = iter(())
        self._count = 0
        self._inside = False
        self._fault: Exception | None = None

    async def next_part(self) -> _Part | None:
        """The next part, passing over what is left of the one before; None after the last one."""
        while await self.next_piece() is not None:
            pass
        part = await self._next_event()
        if part is None or isinstance(part, bytes):
            return None
        self._count += 1
        if self._count > MAX_PARTS:
            raise _unreadable(f"it has more than {MAX_PARTS} parts")
        _check(part)
        return part

    async def next_piece(self) -> bytes | None:
        """More of what the part holds; None at its end."""
        event = await self._next_event() if self._inside else None
        return event if isinstance(event, bytes) else None

    async def content(self) -> AsyncGenerator[bytes, None]:
        """What the part holds, in pieces as they come."""
        while (piece := await self.next_piece()) is not None:
            yield piece

    async def _next_event(self) -> _Event:
        """What comes next; None at the end of a part, and where none is open of the form."""
        # A taker of the file may catch what is raised here; the body is broken all the same.
        if self._fault is not None:
            raise self._fault
        try:
            event = await self._parsed()
        except Exception as fault:
            self._fault = fault
            raise
        self._inside = event is not None
        return event

    async def _parsed(self) -> _Event:
        try:
            while True:
                for event in self._events:
                    return event
                block = await self._blocks.next_block()
                if not block:
                    break
                self._events = self._parser.parse(block)
        except MultipartError as fault:
            words = str(fault.args[0])
            raise _unreadable(words[:1].lower() + words[1:]) from fault
        self._close()
        return None

    def _close(self) -> None:
        try:
            self._parser.close()
        except MultipartError as fault:
            if self._count:
                raise _unreadable("it ends in the middle") from fault
            raise _unreadable(
                "it ends before a first part, if it has the boundary of its Content-Type at all"
            ) from fault


class _Fields:
    """The fields that have been read of a form so far."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self._total = 0

    async def read(self, name: str, parts: _Parts) -> None:
        """Reads the field that comes next."""
        if name in self.contents:
            raise _unreadable(f"{name[:100]!r} comes twice")
        content = bytearray()
        while (piece := await parts.next_piece()) is not None:
            content += piece
            if len(content) > MAX_FIELD_BYTES:
                raise _unreadable(f"{name[:100]!r} is longer than {MAX_FIELD_BYTES} bytes")
            if self._total + len(content) > MAX_FIELDS_BYTES:
                raise _unreadable(f"its fields are longer than {MAX_FIELDS_BYTES} bytes together")
        self._total += len(content)
        self.contents[name] = bytes(content)


async def _read(
    parts: _Parts,
    take_file: Callable[[AsyncIterator[bytes]], Awaitable[T]],
    fields: _Fields,
    taken: list[T],
) -> None:
    while (part := await parts.next_part()) is not None:
        if part.name != FILE_PART:
            await fields.read(part.name, parts)
        elif taken:
            raise _unreadable(f"{FILE_PART} comes twice")
        else:
            async with aclosing(parts.content()) as content:
                taken.append(await take_file(content))


def _check(part: _Part) -> None:
    """Refuses what would be read as something else than was meant."""
    names = [name for name, _ in part.headerlist]
    if not part.name:
        raise _unreadable("a part of it has no name")
    if len(names) != len(set(names)):
        raise _unreadable(f"the part {part.name[:100]!r} has a header twice")
    if any(_CONTROL.search(value) for _, value in part.headerlist):
        raise _unreadable(f"the part {part.name[:100]!r} has control characters in a header")
    if (part.content_type or "").startswith("multipart/"):
        raise _unreadable(f"the part {part.name[:100]!r} is a form of its own")
    encoding = dict(part.headerlist).get("Content-Transfer-Encoding", "binary").strip().lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise _unreadable(f"the part {part.name[:100]!r} is encoded; send it as it is")
