"""Server-Sent Events."""

from typing import Any

import msgspec

MEDIA_TYPE = "text/event-stream"

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""So that nothing on the way holds events back."""

KEEP_ALIVE = b": still here\n\n"
"""A comment that readers pass over."""


class ServerSentEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event, as the OpenAPI document shows it."""

    event: str
    """What kind it is of; `end` is the last."""
    data: str
    """JSON on one line."""
    id: str = ""
    """Its number, for `Last-Event-ID`."""


def event(kind: str, data: Any, *, number: int | None = None) -> bytes:
    """One event; ``data`` as JSON on one line."""
    identifier = f"id: {number}\n" if number is not None else ""
    return f"{identifier}event: {kind}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
