"""HEAD, for whatever answers GET: the same status and headers, without the content (RFC 9110)."""

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.types.asgi_types import HTTPDisconnectEvent, ReceiveMessage


async def answer_head(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serves a request as GET, whose ``scope`` it is, and sends only the head of the answer.

    What would go on as a stream is told that its reader has gone, as when one leaves.
    """
    begun = False

    async def listen() -> ReceiveMessage:
        gone: HTTPDisconnectEvent = {"type": "http.disconnect"}
        return gone if begun else await receive()

    async def head_of(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start":
            begun = True
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    await app(scope, listen, head_of)
