"""Refuses what a call would not read: a misspelt ``dry_run`` must not prune in earnest."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from litestar import Request
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.typing import FieldDefinition

from domain.errors import RequestTooLarge, RequestUnreadable
from entrypoints.http.auth import Connection
from entrypoints.http.bodies import chunks
from entrypoints.http.query_parameters import query_parameters

_PLACE = "/api/v1/"
"""Where it is refused; the manager's calls and what is scraped stay as lenient as they were."""

_SAY_NOTHING = frozenset({b"", b"{}", b"null"})
"""Some clients always send one of these, with spaces and line ends as they like."""

_MOST_BYTES = 16
_WITH_BODIES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


async def refuse_unread(connection: Connection, handler: BaseRouteHandler) -> None:
    """Guards a route; a coroutine, since Litestar would run a plain function in a thread.

    Raises:
        RequestUnreadable: the query has a parameter that the call does not know, or twice where it
            takes one value; or there is a body where it takes none.
        RequestTooSlow: the body does not come.
    """
    method = cast("str", connection.scope.get("method", "GET"))
    if method == "OPTIONS" or not connection.scope["path"].startswith(_PLACE):
        return
    known = query_parameters(handler)
    for name, values in connection.query_params.dict().items():
        _require_read(name, len(values), known)
    if method in _WITH_BODIES and not _takes_body(handler) and await _has_body(connection):
        raise RequestUnreadable("This call takes no body.", hint=_in_the_query(known))


def _require_read(name: str, times: int, known: Mapping[str, FieldDefinition]) -> None:
    if name not in known:
        raise RequestUnreadable(
            f"This call has no parameter {name[:80]!r}.", hint=_in_the_query(known)
        )
    if times > 1 and not known[name].is_non_string_sequence:
        raise RequestUnreadable(f"{name} is there {times} times.", hint="Say it once.")


def _in_the_query(known: Collection[str]) -> str:
    if not known:
        return "It takes nothing but its path."
    return f"What it takes stands in the query: {', '.join(known)}."


def _takes_body(handler: BaseRouteHandler) -> bool:
    """Whether a call takes a body: handlers read theirs themselves, and document what they take."""
    return (
        isinstance(handler, HTTPRouteHandler) and handler.operation_class().request_body is not None
    )


async def _has_body(connection: Connection) -> bool:
    headers = connection.headers
    if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
        return False
    body = b""
    try:
        pieces = chunks(cast("Request[Any, Any, Any]", connection), max_bytes=_MOST_BYTES)
        async for piece in pieces:
            body += piece
    except RequestTooLarge:
        return True
    return b"".join(body.split()) not in _SAY_NOTHING
