"""Which methods a path takes, as OPTIONS tells it."""

from collections.abc import Mapping

from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_ALLOW = b"allow"


def allowed_methods(app: Litestar) -> Mapping[str, str]:
    """Path of a route → all methods that it takes."""
    found: dict[str, set[str]] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            found.setdefault(route.path_format, set()).update(route.methods)
    return {
        path: ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        for path, methods in found.items()
    }


async def answer_options(
    app: ASGIApp, allowed: Mapping[str, str], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answers OPTIONS; the framework knows only the methods of the handler that came first."""

    async def corrected(message: Message) -> None:
        methods = allowed.get(str(scope.get("path_template")))
        if message["type"] == "http.response.start" and methods:
            others = [pair for pair in message["headers"] if pair[0].lower() != _ALLOW]
            message["headers"] = [*others, (_ALLOW, methods.encode())]
        await send(message)

    await app(scope, receive, corrected)
