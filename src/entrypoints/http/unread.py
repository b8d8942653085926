"""Refuses what a call would not read: a misspelt ``dry_run`` must not prune in earnest."""

from functools import cache
from typing import Any, cast

import anyio
from litestar import Request
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from domain.errors import RequestUnreadable
from entrypoints.http.auth import Connection
from entrypoints.http.query_parameters import query_parameters

_PLACE = "/api/v1/"
"""Where it is refused; the manager's calls and what is scraped stay as lenient as they were."""

_EMPTY_BYTES = len("{}")
"""An empty object says nothing."""

_PATIENCE_SECONDS = 5.0
_WITH_BODIES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


async def refuse_unread(connection: Connection, handler: BaseRouteHandler) -> None:
    """Guards a route; a coroutine, since Litestar would run a plain function in a thread.

    Raises:
        RequestUnreadable: the query has a parameter that the call does not know, or there is a body
            where it takes none.
    """
    if not connection.scope["path"].startswith(_PLACE):
        return
    known = tuple(query_parameters(handler))
    for name in connection.query_params:
        if name not in known:
            raise RequestUnreadable(
                f"This call has no parameter {name[:80]!r}.", hint=_in_the_query(known)
            )
    if not _takes_body(handler) and await _has_body(connection):
        raise RequestUnreadable("This call takes no body.", hint=_in_the_query(known))


def _in_the_query(known: tuple[str, ...]) -> str:
    if not known:
        return "It takes nothing but its path."
    return f"What it takes stands in the query: {', '.join(known)}."


@cache
def _takes_body(handler: BaseRouteHandler) -> bool:
    """Whether a call takes a body: handlers read theirs themselves, and document what they take."""
    return (
        isinstance(handler, HTTPRouteHandler) and handler.operation_class().request_body is not None
    )


async def _has_body(connection: Connection) -> bool:
    scope: Any = connection.scope
    if scope.get("method") not in _WITH_BODIES:
        return False
    if "transfer-encoding" in connection.headers:
        return await _comes_with_something(cast("Request[Any, Any, Any]", connection))
    length = connection.headers.get("content-length", "0")
    return length.isdigit() and int(length) > _EMPTY_BYTES


async def _comes_with_something(request: Request[Any, Any, Any]) -> bool:
    """Whether a body whose length nobody told says anything."""
    size = 0
    with anyio.move_on_after(_PATIENCE_SECONDS):
        async for piece in request.stream():
            size += len(piece)
            if size > _EMPTY_BYTES:
                return True
        return False
    return True
