"""An Engine on a socket of its own, in threads, that answers, drips, hangs or hangs up as told."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

import anyio

Reply = Callable[[socket.socket], bool]
"""Answers one request on a connection; whether the connection goes on."""

_pause = threading.Event().wait


def answers(body: object, status: int = 200) -> Reply:
    """Answers as an Engine in good health."""
    content = json.dumps(body).encode()

    def reply(connection: socket.socket) -> bool:
        connection.sendall(_head(status, f"Content-Length: {len(content)}") + content)
        return True

    return reply


def hangs(connection: socket.socket) -> bool:
    """Takes the request, and says nothing until whoever asked has gone."""
    with suppress(OSError):
        connection.recv(1)
    return False


def takes(seconds: float, then: Reply) -> Reply:
    """Answers after a while."""

    def reply(connection: socket.socket) -> bool:
        _pause(seconds)
        return then(connection)

    return reply


def drips(connection: socket.socket) -> bool:
    """Begins its answer, and then sends a byte now and then, without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    with suppress(OSError):
        while True:
            connection.sendall(b"x")
            _pause(0.02)
    return False


def drips_its_body(connection: socket.socket) -> bool:
    """The same, once the head of the answer is through."""
    connection.sendall(_head(200, "Content-Length: 1000000") + b'["')
    with suppress(OSError):
        while True:
            connection.sendall(b"x")
            _pause(0.02)
    return False


def hangs_up(connection: socket.socket) -> bool:
    """Closes the connection in the middle of its answer."""
    connection.sendall(_head(200, "Content-Length: 1000") + b"[")
    return False


def streams(*pieces: bytes, then: Reply = hangs) -> Reply:
    """Begins an answer in pieces, and goes on as told."""

    def reply(connection: socket.socket) -> bool:
        connection.sendall(_head(200, "Transfer-Encoding: chunked"))
        for piece in pieces:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        return then(connection)

    return reply


def ends(connection: socket.socket) -> bool:
    """Ends an answer in pieces as it should be."""
    connection.sendall(b"0\r\n\r\n")
    return True


def vanishes(_connection: socket.socket) -> bool:
    """Hangs up."""
    return False


def _head(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


class FakeEngine:
    """One Engine; a request that it was told nothing of hangs.

    Args:
        path: of its socket; None for a port of this machine.
    """

    def __init__(self, path: Path | None) -> None:
        self.url = f"unix://{path}"
        self.requests: list[str] = []
        """What it was asked, in that order: ``GET /containers/json``."""
        self._bodies: list[bytes] = []
        self._path = path
        self._replies: list[tuple[re.Pattern[str], Reply]] = []
        self._noting = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.on("GET /version", answers({"ApiVersion": "1.45"}))

    def on(self, request: str, reply: Reply) -> None:
        """Lets it answer so what matches a regular expression; the latest word counts."""
        self._replies.insert(0, (re.compile(request), reply))

    def asked(self, request: str) -> list[str]:
        """The requests so far that match a regular expression."""
        return [one for one in self.requests if re.fullmatch(request, one)]

    def bodies(self, request: str) -> list[bytes]:
        """What came with them."""
        pairs = zip(self.requests, self._bodies, strict=True)
        return [body for one, body in pairs if re.fullmatch(request, one)]

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def start(self) -> None:
        """Comes, or comes back."""
        if self._path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self._path))
        self._listener.listen(128)
        self._run(self._accept, self._listener)

    def stop(self) -> None:
        """Goes away, with all its connections."""
        if self._listener is not None:
            _shut(self._listener)
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener = None

    def _run(self, work: Callable[[socket.socket], None], on: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(on,), name="fake-engine", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._connections.add(connection)
                self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as received:
            while line := received.readline().decode():
                body = _rest(received)
                method, path, _ = line.split()
                asked = f"{method} {re.sub(r'^/v[0-9.]+', '', path.partition('?')[0])}"
                with self._noting:
                    self.requests.append(asked)
                    self._bodies.append(body)
                if not self._reply(asked)(connection):
                    break
        self._connections.discard(connection)

    def _reply(self, asked: str) -> Reply:
        return next((reply for form, reply in self._replies if form.fullmatch(asked)), hangs)


def _rest(received: BufferedReader) -> bytes:
    length = 0
    for line in received:
        name, _, value = line.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
        if not line.strip():
            break
    return received.read(length)


def _shut(listener: socket.socket) -> None:
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@contextmanager
def fake_engine(folder: Path | None) -> Iterator[FakeEngine]:
    """An Engine that has come, and goes at the end; on a port where there is no folder for it."""
    engine = FakeEngine(folder and folder / "docker.sock")
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Returns when something has come true that threads do."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.005)
