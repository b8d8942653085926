"""The Litestar application."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import anyio
from litestar import Litestar
from litestar.concurrency import set_asyncio_executor
from litestar.datastructures import State
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import HTTPException, LitestarException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import AgentError, KeyExpired, NotAccepting
from entrypoints.agent import Agent, Exposition
from entrypoints.http import (
    audit,
    bundles,
    consistency,
    containers,
    contract,
    environments,
    events,
    image_transfers,
    images,
    networks,
    operations,
    pages,
    registries,
    system,
    system_disk,
    volume_archives,
    volumes,
)
from entrypoints.http.allowed import allowed_methods, answer_options
from entrypoints.http.auth import require_key
from entrypoints.http.expiry import Expiring
from entrypoints.http.handshakes import handshake_status, note_refusal, shake_hands
from entrypoints.http.heads import answer_head
from entrypoints.http.introduction import DESCRIPTION, TAGS
from entrypoints.http.problems import (
    agent_problem,
    http_problem,
    send_problem,
    unexpected_problem,
)
from entrypoints.http.unread import refuse_unread

_CUT_OFF = NotAccepting(
    "The agent is stopping and could not wait for the end of this request.",
    hint="Try again shortly.",
    retry_after=10,
)


_RENDERERS = 2
"""Threads that render metrics and pages."""


def render_in_own_threads() -> None:
    """Lets what is rendered take no places of look-ups of names; before there is an event loop."""
    set_asyncio_executor(ThreadPoolExecutor(_RENDERERS, thread_name_prefix="renderer"))


def create_app(agent: Agent, exposition: Exposition) -> ASGIApp:
    """The application that serves ``agent``."""
    app = Litestar(
        route_handlers=[
            contract.router,
            environments.router,
            operations.router,
            bundles.router,
            audit.router,
            consistency.router,
            images.router,
            image_transfers.router,
            registries.router,
            containers.router,
            networks.router,
            events.router,
            system_disk.router,
            system.router,
            pages.router,
            volumes.router,
            volume_archives.router,
        ],
        guards=[require_key, refuse_unread],
        exception_handlers={
            AgentError: agent_problem,
            HTTPException: http_problem,
            Exception: unexpected_problem,
        },
        after_exception=[note_refusal],
        state=State({"agent": agent, "exposition": exposition, "pages": pages.Pages()}),
        openapi_config=_openapi(agent.version),
        request_max_body_size=agent.settings.max_body_bytes,
        logging_config=None,
    )
    return _Observed(app, allowed_methods(app), agent, exposition)


def _openapi(version: str) -> OpenAPIConfig:
    scheme = SecurityScheme(type="apiKey", name="X-Server-Key", security_scheme_in="header")
    return OpenAPIConfig(
        title="Container Host Agent",
        version=version,
        description=DESCRIPTION,
        tags=TAGS,
        components=Components(security_schemes={"serverKey": scheme}),
        use_handler_docstrings=True,
        render_plugins=[],
    )


def _broken_off(fault: BaseException | None) -> str | None:
    """Why an answer that had begun could not be brought to its end; None where that is a bug."""
    while fault is not None:
        if isinstance(fault, AgentError):
            return fault.detail
        if isinstance(fault, BaseExceptionGroup) and len(fault.exceptions) == 1:
            fault = fault.exceptions[0]
        else:
            fault = fault.__cause__
    return None


_CALLER_GONE = 499
"""What is noted of a request whose caller went away before there was an answer."""


class _Exchange:
    """What passes between a caller and the agent."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._gone = False
        self.status: int | None = None
        """Of the answer; None until that begins."""

    async def receive(self) -> Any:
        """What the caller sends."""
        message = await self._receive()
        self._gone = self._gone or message["type"] == "http.disconnect"
        return message

    async def send(self, message: Message) -> None:
        """Sends something to the caller."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    @property
    def outcome(self) -> int:
        """The status that is noted; nobody gets the answer of a request that broke off."""
        failed = self.status in {None, HTTPStatus.INTERNAL_SERVER_ERROR}
        if failed and self._gone:
            return _CALLER_GONE
        return self.status or HTTPStatus.INTERNAL_SERVER_ERROR


class _Observed:
    """Measures and logs each request, those that no route takes included."""

    def __init__(
        self, app: ASGIApp, allowed: Mapping[str, str], agent: Agent, exposition: Exposition
    ) -> None:
        self._app = app
        self._allowed = allowed
        self._agent = agent
        self._exposition = exposition

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != ScopeType.HTTP:
            await self._serve_socket(scope, receive, send)
            return
        began, exchange = time.perf_counter(), _Exchange(receive, send)
        try:
            await self._answer(scope, exchange.receive, exchange.send)
        except KeyExpired as fault:
            self._broke_off(scope, fault.detail)
        except anyio.get_cancelled_exc_class():
            # Only the server cuts requests off, and only those that outlast the agent's end.
            if not self._agent.operations.stopping:
                raise
            if exchange.status is None:
                await send_problem(scope, receive, exchange.send, _CUT_OFF)
        except LitestarException as fault:
            reason = _broken_off(fault)
            if exchange.status is None or reason is None:
                raise
            self._broke_off(scope, reason)
        finally:
            self._tell(scope, exchange.outcome, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            scope["method"] = HttpMethod.GET
            await answer_head(self._app, scope, receive, send)
        elif scope["type"] == ScopeType.HTTP and scope["method"] == "OPTIONS":
            await answer_options(self._app, self._allowed, scope, receive, send)
        else:
            await Expiring(scope, receive, send, self._agent.clock).serve(self._app)

    def _broke_off(self, scope: Scope, reason: str) -> None:
        # The server closes the connection, so that nobody takes it for the whole answer.
        self._agent.log.warning("answer broke off", path=scope["path"][:200], reason=reason)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One WebSocket; what is noted is its handshake, however long it stays open."""
        began = time.perf_counter()
        told = False

        async def note(message: Message) -> None:
            nonlocal told
            if not told and (status := handshake_status(message)) is not None:
                told = True
                self._tell(scope, status, time.perf_counter() - began)
            await send(message)

        await shake_hands(self._app, scope, receive, note)

    def _tell(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        method = scope.get("method", "GET")
        # Routes, not paths, so that nobody can grow the metrics by asking for made-up ones.
        route = scope.get("path_template") or "unmatched"
        self._exposition.request(method, route, status, seconds)
        if audit.audited(method, status) or scope["type"] == ScopeType.WEBSOCKET:
            self._agent.audit.note(audit.entry_of(self._agent, scope, route, status))
        self._agent.log.debug(
            "request",
            method=method,
            path=scope["path"][:200],
            status=status,
            milliseconds=round(seconds * 1000, 1),
        )
