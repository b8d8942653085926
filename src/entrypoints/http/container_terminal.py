"""Commands that are spoken with over a WebSocket, with a terminal or without one."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import QueryParameter

from domain.container_exec import MOST_COLUMNS, MOST_ROWS, OutputPiece, TerminalSize
from domain.errors import AgentError, KeyExpired, RequestUnreadable
from domain.keys import Caller
from domain.ports.clock import Clock
from domain.usecases.terminals import Ending, EndOfInput, Farewell, Said, Terminal
from entrypoints.agent import Agent
from entrypoints.http.exec_requests import terminal_order
from entrypoints.http.expiry import before
from entrypoints.http.parameters import (
    ContainerReference,
)
from entrypoints.http.problems import MEDIA_TYPE, Problem
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]
AnySocket = WebSocket[Any, Any, Any]

_SHELL = ("sh",)
_CHANNELS = {"stdout": b"\x01", "stderr": b"\x02"}

_LONGEST_REASON = 120
"""Of a close frame, in bytes at most 123."""

Columns = Annotated[
    int,
    QueryParameter(
        ge=1, le=MOST_COLUMNS, description="How wide the terminal is at first, in characters."
    ),
]
Rows = Annotated[
    int,
    QueryParameter(ge=1, le=MOST_ROWS, description="How high the terminal is at first, in lines."),
]
Tty = Annotated[
    bool,
    QueryParameter(
        description="`false` runs it without a terminal: stdout and stderr are told apart, and "
        "input can end."
    ),
]
Command = Annotated[
    tuple[str, ...],
    QueryParameter(
        description="A program and its arguments, one for each time.",
        examples=[Example(value=["sh", "-c", "exec top -d 1"])],
    ),
]
Env = Annotated[
    tuple[str, ...],
    QueryParameter(
        description="Variables beside the container's own, one for each time.",
        examples=[Example(value=["LANG=C", "TERM=xterm-256color"])],
    ),
]
WorkingDir = Annotated[
    str,
    QueryParameter(
        description="A folder of the container to run in; else the container's own.",
        examples=[Example(value="/etc/nginx")],
    ),
]
User = Annotated[
    str,
    QueryParameter(
        description="A name or number of the container, perhaps with a group; else the "
        "container's own.",
        examples=[Example(value="1000:1000")],
    ),
]
Path = "/{reference:str}/exec/terminal"


class Resize(msgspec.Struct, frozen=True, tag="resize", forbid_unknown_fields=True):
    """The terminal has another size now."""

    columns: int
    rows: int


class CloseInput(msgspec.Struct, frozen=True, tag="close-input", forbid_unknown_fields=True):
    """Nothing more is sent; without a terminal, the command finds the end of its input."""


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """How it ended: the last message before the socket is closed."""

    reason: str
    """`exited`, `idle`, `unread`, `stopping`, or the code of a problem, as `key-expired`."""
    detail: str
    exit_code: int | None = None
    """Of a command that has `exited`; null where it went down with its container."""


_DETAILS = {
    Ending.EXITED: "The command has ended.",
    Ending.GONE: "",
    Ending.IDLE: "Nothing was said for as long as EXEC_IDLE, so the command was ended.",
    Ending.UNREAD: "The command does not read what it is sent, so it was ended.",
    Ending.STOPPING: "The agent is stopping, and the command was ended with it.",
}

_CODES = {Ending.EXITED: 1000, Ending.IDLE: 1008, Ending.UNREAD: 1008, Ending.STOPPING: 1001}
"""How the socket is closed (RFC 6455)."""


@get(
    Path,
    status_code=426,
    responses={
        101: ResponseSpec(None, description="The WebSocket is open, and the command runs."),
        426: ResponseSpec(
            Problem,
            description="The request is no handshake of a WebSocket.",
            media_type=MEDIA_TYPE,
            generate_examples=False,
        ),
        **problems(401, 404, 409, 422, 502, 503),
    },
)
async def describe_terminal(
    request: AnyRequest,
    reference: ContainerReference,  # noqa: ARG001 - for the document
    command: Command = (),  # noqa: ARG001
    env: Env = (),  # noqa: ARG001
    working_dir: WorkingDir = "",  # noqa: ARG001
    user: User = "",  # noqa: ARG001
    tty: Tty = True,  # noqa: ARG001
    columns: Columns = 80,  # noqa: ARG001
    rows: Rows = 24,  # noqa: ARG001
) -> Response[Problem]:
    """A command to speak with, over a WebSocket: by default `sh` in a terminal.

    `command` comes once for each word, `env=NAME=value` once for each variable. Binary messages are
    bytes: to the command's input, and of its output. With `tty=true` that is all that its terminal
    shows; without, each message begins with one byte, 1 for stdout and 2 for stderr. Text messages
    are JSON: `{"type": "resize", "columns": 120, "rows": 40}` and `{"type": "close-input"}` from
    the caller; `{"type": "end", "reason": "exited", "detail": "…", "exit_code": 0}` before the
    agent closes the socket. A handshake that is refused is answered with a problem.
    """
    problem = Problem(
        type="about:blank",
        title="Upgrade Required",
        status=426,
        detail="Speak to this path over a WebSocket: with Connection: Upgrade, Upgrade: websocket.",
        instance=request.url.path,
    )
    headers = {"upgrade": "websocket"}
    return Response(problem, status_code=426, media_type=MEDIA_TYPE, headers=headers)


@websocket(Path)
async def speak(
    socket: AnySocket,
    reference: ContainerReference,
    command: Command = (),
    env: Env = (),
    working_dir: WorkingDir = "",
    user: User = "",
    tty: Tty = True,
    columns: Columns = 80,
    rows: Rows = 24,
) -> None:
    """Passes on what a caller and a command say to each other."""
    agent: Agent = socket.app.state.agent
    size = TerminalSize(columns=columns, rows=rows) if tty else None
    order = terminal_order(command or _SHELL, env, working_dir=working_dir, user=user, size=size)
    began = agent.clock.monotonic()
    async with agent.containers.execution.terminal(reference, order) as terminal:
        if not await _accepted(socket):
            return
        peer = _SocketPeer(socket, agent.clock, channels=not tty)
        ended = await _conversation(terminal, peer)
        await _close(socket, *ended)
    agent.log.info(
        "terminal ended",
        container=terminal.container,
        reason=ended[0].reason,
        exit_code=ended[0].exit_code,
        seconds=round(agent.clock.monotonic() - began, 1),
    )


async def _accepted(socket: AnySocket) -> bool:
    """Whether whoever asked is still there."""
    try:
        await socket.accept()
    except (OSError, WebSocketDisconnect):
        return False
    return True


async def _conversation(terminal: Terminal, peer: "_SocketPeer") -> tuple[Ended, int | None]:
    """How it ended, and the code to close the socket with; None where it is closed."""
    try:
        farewell = await terminal.converse(peer)
    except AgentError as fault:
        code = 1008 if isinstance(fault, RequestUnreadable | KeyExpired) else 1011
        return Ended(reason=fault.code, detail=fault.detail), code
    return _ended(farewell), _CODES.get(farewell.ending)


def _ended(farewell: Farewell) -> Ended:
    return Ended(
        reason=farewell.ending,
        detail=_DETAILS[farewell.ending],
        exit_code=farewell.exit_code,
    )


async def _close(socket: AnySocket, ended: Ended, code: int | None) -> None:
    if code is None:
        return
    try:
        await socket.send_text(msgspec.json.encode(ended).decode())
        await socket.close(code, ended.detail.encode()[:_LONGEST_REASON].decode(errors="ignore"))
    except (OSError, WebSocketDisconnect):
        return


class _SocketPeer:
    """Whoever is at the other end of a WebSocket.

    Args:
        socket: which was accepted.
        clock: tells when the key is good no more.
        channels: let each piece of output begin with the number of its stream.
    """

    def __init__(self, socket: AnySocket, clock: Clock, *, channels: bool) -> None:
        self._socket = socket
        self._clock = clock
        self._channels = channels
        caller: Caller = socket.scope["state"]["caller"]
        self._expires_at = caller.expires_at

    async def receive(self) -> Said | None:
        """What it says next; None once it has gone.

        Raises:
            RequestUnreadable: it is nothing that can be said.
            KeyExpired: its key is good no more.
        """
        message: Any = await before(self._expires_at, self._clock, self._socket.receive)
        if message["type"] != "websocket.receive":
            return None
        data = message.get("bytes")
        if data is not None:
            return bytes(data)
        return _control(message.get("text") or "")

    async def send(self, piece: OutputPiece) -> bool:
        """Shows it what the command prints; whether it is still there."""
        channel = _CHANNELS[piece.stream] if self._channels else b""
        try:
            await self._socket.send_bytes(channel + piece.data)
        except (OSError, WebSocketDisconnect):
            return False
        return True


def _control(text: str) -> Said:
    try:
        said = msgspec.json.decode(text, type=Resize | CloseInput)
    except (msgspec.MsgspecError, RecursionError) as fault:
        raise RequestUnreadable(
            f"A text message cannot be read: {fault}.", hint="Send input as binary messages."
        ) from fault
    if isinstance(said, CloseInput):
        return EndOfInput()
    return TerminalSize(columns=said.columns, rows=said.rows).checked()
