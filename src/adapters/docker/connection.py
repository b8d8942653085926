"""Connections to the Engine that end with the call that they serve.

A time limit of docker-py is one of each wait for a piece of an answer: a call of many requests, or
an answer that drips, goes on for as long as it likes, and whoever gave up on it leaves its thread
behind. Here each call knows its end. When that comes, its connection is shut down, so that its
thread finds out whatever it waits for, and it cannot send anything more.
"""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import docker.errors
from docker import APIClient
from docker.utils import parse_host
from requests import PreparedRequest, Request, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

_CONNECT_SECONDS = 5.0
"""How long an Engine across the network may take to take a connection."""

# So that the end of an Engine across the network is noticed within half a minute.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class Call:
    """One call to the Engine, however many requests it takes; entered by the thread that works.

    Args:
        seconds: how long it may take from now on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = False
        """Whether a thread has got to it."""
        self._until: float | None = time.monotonic() + seconds
        self._silence_seconds: float | None = None
        self._over = threading.Event()
        self._connection: _Connection | None = None

    def __enter__(self) -> Self:
        _thread.call = self
        self.begun = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _thread.call = None
        # It is kept for others from here on.
        self._connection = None

    @property
    def over(self) -> bool:
        """Whether it was ended."""
        return self._over.is_set()

    def left(self) -> float | None:
        """Seconds that what it waits for may take now; None for any.

        Raises:
            TimeoutError: there are none, or nobody waits for it any more.
        """
        left = self._silence_seconds
        if self._until is not None:
            left = self._until - time.monotonic()
        if self.over or (left is not None and left <= 0):
            raise TimeoutError(f"The call took longer than {self.seconds:g} s.")
        return left

    def end(self) -> None:
        """Ends it from another thread, whatever it waits for. May be repeated."""
        self._over.set()
        connection = self._connection
        if connection is not None:
            connection.cut(self)

    def pause(self, seconds: float) -> None:
        """Waits so long, or until it is ended."""
        self._over.wait(seconds)

    def go_on(self, silence_seconds: float | None) -> None:
        """Lets an answer that has begun go on until ``end``, with pauses of so many seconds."""
        self._silence_seconds = silence_seconds
        self._until = None

    def take(self, connection: "_Connection") -> None:
        """Takes the connection that its next request goes out on.

        Raises:
            TimeoutError: it is over; then nothing is sent.
        """
        self._connection = connection
        # After, so that one of both sees the other: ``end`` the connection, or this the end.
        self.left()


class _Thread(threading.local):
    call: Call | None = None
    """The call that this thread works for."""


_thread = _Thread()


def _current() -> Call:
    if _thread.call is None:
        raise RuntimeError("The Engine is asked outside of any call.")
    return _thread.call


class _Socket(socket.socket):
    """Waits for each piece no longer than the call has time, so that no answer can drip."""

    call: Call

    def recv_into(self, *args: Any) -> int:
        self.settimeout(self.call.left())
        return super().recv_into(*args)


class _Connection(HTTPConnection):
    """Serves calls one after another, each as long as it lasts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._passing_on = threading.Lock()
        # ``sock`` goes when the last answer begins, which may never end.
        self._open: _Socket | None = None
        self._serves: Call | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        call = _current()
        with self._passing_on:
            self._serves = call
            if self._open is not None:
                self._open.call = call
        call.take(self)
        super().request(*args, **kwargs)

    def connect(self) -> None:
        super().connect()
        self.sock = self._open = _Socket(fileno=self.sock.detach())
        self._open.call = _current()
        self._open.settimeout(self._open.call.left())

    def cut(self, call: Call) -> None:
        """Ends what it does for a call, in another thread; another call is left alone."""
        with self._passing_on:
            # It may have been closed, or have lost its other side, just now.
            if self._serves is call and self._open is not None:
                with suppress(OSError):
                    self._open.shutdown(socket.SHUT_RDWR)


class _UnixConnection(_Connection):
    def __init__(self, *args: Any, path: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._path = path

    def _new_conn(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            found.settimeout(self.timeout)
            found.connect(self._path)
        except BaseException:
            found.close()
            raise
        return found


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _UnixPool(HTTPConnectionPool):
    ConnectionCls = _UnixConnection


class Door(HTTPAdapter):
    """The way to one Engine, with connections that are kept for the next call.

    Args:
        base_url: address of the Engine.
        keep: how many connections are kept.
    """

    def __init__(self, base_url: str, *, keep: int) -> None:
        self.base_url = base_url
        self._keep = keep
        self._pool = _pool(base_url, keep)
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        """The one pool, whatever is asked for."""
        return self._pool

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:  # noqa: ARG002
        """The path alone; there is no proxy on the way to the Engine."""
        return str(request.path_url)

    def close(self) -> None:
        """Closes the connections that are kept, and the others when they are done with."""
        closed, self._pool = self._pool, _pool(self.base_url, self._keep)
        closed.close()


def _pool(base_url: str, keep: int) -> HTTPConnectionPool:
    address = str(parse_host(base_url))
    if address.startswith("http+unix://"):
        path = "/" + address.removeprefix("http+unix://").lstrip("/")
        return _UnixPool("localhost", maxsize=keep, path=path)
    parts = urlsplit(address)
    options = [*HTTPConnection.default_socket_options, *_KEEPALIVE]
    return _Pool(parts.hostname or "", parts.port, maxsize=keep, socket_options=options)


class EngineApi(APIClient):
    """docker-py's client, on connections that end with their calls.

    Args:
        door: the way to the Engine.
        version: of the API that is spoken.
    """

    def __init__(self, door: Door, version: str) -> None:
        super().__init__(door.base_url, version=version)
        # It follows no redirection: the Engine only sends them to clean a path up.
        self.max_redirects = 0
        self.mount(self.base_url.partition("//")[0] + "//", door)

    def prepare_request(self, request: Request) -> PreparedRequest:
        """A request as it is sent.

        Raises:
            NotFound: it names what nothing can be named, and would reach something else.
        """
        # Before the address is brought into its shortest form, which would hide it.
        _refuse_detours(urlsplit(str(request.url)).path)
        return super().prepare_request(request)

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Sends a request of the call that this thread works for.

        Raises:
            TimeoutError: the call has no time left, or nobody waits for it any more.
        """
        left = _current().left()
        connect = _CONNECT_SECONDS if left is None else min(left, _CONNECT_SECONDS)
        return super().send(request, **{**kwargs, "timeout": (connect, left)})


def _refuse_detours(path: str) -> None:
    """Refuses what joining a name to a path would lead elsewhere: ``/images/../containers/a``."""
    if not {"", ".", ".."}.isdisjoint(path.split("/")[1:]):
        raise docker.errors.NotFound("Nothing in the Engine can have such a name.")
