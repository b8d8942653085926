"""A JSON object read as it comes, for the one body that may be too large to hold: a launch's.

Libraries that stream JSON hold each text whole; here the text is what is large.
"""

import re
from collections.abc import AsyncIterator

import msgspec

from domain.errors import RequestTooLarge, RequestUnreadable

MAX_FIELD_NAME_BYTES = 1024

_WHITESPACE = b" \t\r\n"

# The inside of a JSON text, up to its closing quote or to an escape that is not whole.
_INSIDE = re.compile(rb'(?:[^"\\]+|\\(?:u[0-9a-fA-F]{4}|[^u]))*', re.DOTALL)
_LONGEST_ESCAPE = len(rb"\u0000")

# What stands for itself in a JSON text, and is all that base64 is made of.
_PLAIN = re.compile(rb"[A-Za-z0-9+/=]*")

_SCALAR = re.compile(rb"[-+.0-9a-zA-Z]*")
_LONGEST_SCALAR = 64


class JsonObjectReader:
    """Reads one flat JSON object from chunks, field by field.

    After each ``next_field`` the value is read with exactly one of ``text``, ``pieces``, ``skip``.
    All raise ``RequestUnreadable`` where the body is not such an object, and ``RequestTooLarge``
    where it is longer than it may be.

    Args:
        chunks: the body.
        max_bytes: how long it may be.
    """

    def __init__(self, chunks: AsyncIterator[bytes], max_bytes: int) -> None:
        self._chunks = chunks
        self._max_bytes = max_bytes
        self._received = 0
        self._buffer = b""
        self._before_field = b"{"

    async def next_field(self) -> str | None:
        """The name of the next field; None after the last one."""
        first = self._before_field == b"{"
        if first:
            await self._expect(b"{")
        mark = await self._next()
        if mark == b"}":
            self._take(1)
            if await self._next():
                raise unreadable("there is more after its end")
            return None
        if not first:
            await self._expect(b",")
        self._before_field = b","
        name = await self.text(MAX_FIELD_NAME_BYTES)
        await self._expect(b":")
        return name

    async def pieces(self) -> AsyncIterator[bytes]:
        """The text that stands next, in pieces as they come; what is not ASCII comes as ``?``."""
        await self._expect(b'"')
        while True:
            end = self._end_of_inside()
            if end:
                yield _as_ascii(self._take(end))
            if self._buffer.startswith(b'"'):
                self._take(1)
                return
            await self._fill()

    async def text(self, max_bytes: int) -> str:
        """The text that stands next, whole, of at most ``max_bytes``."""
        await self._expect(b'"')
        while True:
            end = self._end_of_inside()
            if end > max_bytes:
                raise unreadable(f"a text in it is longer than {max_bytes} bytes")
            if self._buffer[end : end + 1] == b'"':
                return _unescaped(self._take(end + 1)[:-1])
            await self._fill()

    async def skip(self) -> None:
        """Passes over the text, number or word that stands next."""
        if await self._next() == b'"':
            async for _ in self.pieces():
                pass
            return
        while (end := _end_of_scalar(self._buffer)) == len(self._buffer):
            if end > _LONGEST_SCALAR:
                break
            await self._fill()
        try:
            msgspec.json.decode(self._take(end))
        except msgspec.DecodeError as fault:
            raise unreadable("a field that no launch has is neither text nor number") from fault

    async def is_text(self) -> bool:
        """Whether a text stands next."""
        return await self._next() == b'"'

    def _end_of_inside(self) -> int:
        match = _INSIDE.match(self._buffer)
        end = match.end() if match else 0
        rest = len(self._buffer) - end
        if rest >= _LONGEST_ESCAPE and self._buffer[end : end + 1] == b"\\":
            raise unreadable("a text in it has a broken escape")
        return end

    async def _next(self) -> bytes:
        """The next byte that is not white space, which stays; empty at the end of the body."""
        while True:
            self._buffer = self._buffer.lstrip(_WHITESPACE)
            if self._buffer or not await self._received_more():
                return self._buffer[:1]

    async def _expect(self, wanted: bytes) -> None:
        found = await self._next()
        if found != wanted:
            shown = repr(found.decode(errors="replace")) if found else "its end"
            raise unreadable(f"{wanted.decode()!r} was expected where {shown} came")
        self._take(1)

    def _take(self, count: int) -> bytes:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    async def _fill(self) -> None:
        if not await self._received_more():
            raise unreadable("it ends too early")

    async def _received_more(self) -> bool:
        async for chunk in self._chunks:
            self._received += len(chunk)
            if self._received > self._max_bytes:
                raise RequestTooLarge(
                    f"The request is longer than the {self._max_bytes} bytes that are read."
                )
            if chunk:
                self._buffer += chunk
                return True
        return False


def unreadable(why: str) -> RequestUnreadable:
    """The refusal of a body that is not a launch."""
    return RequestUnreadable(
        f"The body is not a launch: {why}.",
        hint="Send a JSON object with name, docker_zip_base64 and vpn_conf_base64, all text.",
    )


def _end_of_scalar(data: bytes) -> int:
    match = _SCALAR.match(data)
    return match.end() if match else 0


def _as_ascii(raw: bytes) -> bytes:
    """A piece of a text; what is plain is not read as JSON.

    That costs time, and the library breaks off the whole process where there is no memory for it.
    """
    if _PLAIN.fullmatch(raw):
        return raw
    return _unescaped(raw).encode("ascii", errors="replace")


def _unescaped(raw: bytes) -> str:
    try:
        return msgspec.json.decode(b'"' + raw + b'"', type=str)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise unreadable("a text in it is not valid JSON in UTF-8") from fault
