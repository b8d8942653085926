"""Handshakes of WebSockets that are refused, answered as any other request is."""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import AgentError
from entrypoints.http.problems import Problem, agent_problem, http_problem, unexpected_problem

_REFUSAL = "handshake_refusal"
_EXTENSION = "websocket.http.response"
_BROKEN = 1011
"""How a socket is closed that cannot go on by a fault of ours (RFC 6455)."""


async def note_refusal(fault: Exception, scope: Scope) -> None:
    """Keeps what a handshake failed by; the framework would answer all with the same status."""
    if scope["type"] == ScopeType.WEBSOCKET:
        scope["state"][_REFUSAL] = fault


def handshake_status(message: Message) -> int | None:
    """The status that a message answers a handshake with; None where it answers none."""
    match message["type"]:
        case "websocket.accept":
            return HTTPStatus.SWITCHING_PROTOCOLS
        case "websocket.http.response.start":
            return int(message["status"])
        case "websocket.close":
            return HTTPStatus.FORBIDDEN
        case _:
            return None


async def shake_hands(app: ASGIApp, scope: Any, receive: Receive, send: Send) -> None:
    """Serves one WebSocket; a refusal before it was accepted becomes a problem document."""
    begun = False

    async def answer(message: Message) -> None:
        nonlocal begun
        refusal = (scope.get("state") or {}).get(_REFUSAL)
        if message["type"] != "websocket.close" or refusal is None:
            begun = True
            await send(message)
            return
        # Also where nobody is told of it any more: what is a fault of ours stands in the log.
        problem = _problem(scope, refusal)
        if begun or _EXTENSION not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": _BROKEN, "reason": ""})
            return
        await _refuse(problem, send)

    await app(scope, receive, answer)


async def _refuse(problem: Response[Problem], send: Any) -> None:
    body = msgspec.json.encode(problem.content)
    headers = {**problem.headers, "content-type": problem.media_type or ""}
    start = {
        "type": "websocket.http.response.start",
        "status": problem.status_code or HTTPStatus.INTERNAL_SERVER_ERROR,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def _problem(scope: Any, fault: Exception) -> Response[Problem]:
    # The same state, so that the problem is noted for the audit trail.
    asked: Any = {**scope, "type": "http", "method": "GET"}
    request: Request[Any, Any, Any] = Request(asked)
    if isinstance(fault, AgentError):
        return agent_problem(request, fault)
    if isinstance(fault, HTTPException):
        return http_problem(request, fault)
    return unexpected_problem(request, fault)
