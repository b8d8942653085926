"""Who may call which route: every one wants the key, unless it says otherwise of itself."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from domain.errors import KeyRefused
from entrypoints.agent import Agent

KEY_HEADER = "x-server-key"

_KEY = KEY_HEADER.encode()

OPEN = {"access": "open"}
"""Option of routes that want no key."""

MONITORING = {"access": "monitoring"}
"""Option of routes that want the key only with ``MONITORING_AUTH``."""

Connection = ASGIConnection[Any, Any, Any, Any]


async def require_key(connection: Connection, handler: BaseRouteHandler) -> None:
    """Guards a route; a coroutine, since Litestar would run a plain function in a thread.

    Raises:
        KeyRefused: it wants a key and none that is right came, or more than one.
    """
    agent: Agent = connection.app.state.agent
    access = handler.opt.get("access")
    if access == "open" or (access == "monitoring" and not agent.settings.monitoring_auth):
        return
    keys = _values(connection, _KEY)
    if access == "monitoring":
        keys += _bearers(connection)
    if len(keys) != 1:
        raise KeyRefused
    connection.scope["state"]["caller"] = agent.authentication.caller(keys[0])


def _values(connection: Connection, name: bytes) -> list[str]:
    """All of one header's; as they came, since each request would have to index all headers."""
    headers = connection.scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _bearers(connection: Connection) -> list[str]:
    parts = [value.partition(" ") for value in _values(connection, b"authorization")]
    return [key.strip() for scheme, _, key in parts if scheme.lower() == "bearer"]
