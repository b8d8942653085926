"""Bodies of requests, read as they come."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import anyio
import msgspec
from litestar import Request

from domain.errors import RequestTooLarge, RequestTooSlow, RequestUnreadable

T = TypeVar("T")

PAUSE_SECONDS = 60.0
"""How long a body may pause before it is given up."""

LEAST_BYTES_PER_SECOND = 256
"""How slowly a body may come on average, once ``PAUSE_SECONDS`` are over."""

MAX_JSON_BYTES = 4 * 1024 * 1024


async def chunks(request: Request[Any, Any, Any], *, max_bytes: int) -> AsyncIterator[bytes]:
    """A body in pieces, however long it takes as long as it goes on.

    Raises:
        RequestTooLarge: it is longer than ``max_bytes``.
        RequestTooSlow: it pauses for too long, or only drips.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    size, began = 0, anyio.current_time()
    stream = aiter(request.stream())
    while True:
        try:
            with anyio.fail_after(PAUSE_SECONDS):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as fault:
            raise RequestTooSlow(f"The request paused for {PAUSE_SECONDS:g} s.") from fault
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if size < (anyio.current_time() - began - PAUSE_SECONDS) * LEAST_BYTES_PER_SECOND:
            raise RequestTooSlow(
                f"The request came at less than {LEAST_BYTES_PER_SECOND} bytes a second."
            )
        yield piece


async def read_json(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """A JSON body of a kind; an empty one counts as an empty object.

    Raises:
        RequestTooLarge: it is longer than ``MAX_JSON_BYTES``.
        RequestTooSlow: it pauses for too long.
        RequestUnreadable: it is no such thing.
    """
    body = bytearray()
    async for piece in chunks(request, max_bytes=MAX_JSON_BYTES):
        body += piece
    return decoded(bytes(body) or b"{}", kind)


def decoded(text: bytes, kind: type[T]) -> T:
    """What JSON text stands for.

    Raises:
        RequestUnreadable: it is not of that kind.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as fault:
        raise RequestUnreadable(f"The request cannot be read: {fault}.") from fault
    except RecursionError as fault:
        raise RequestUnreadable("The request is nested too deeply.") from fault


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request is longer than the {max_bytes} bytes that are read.")
