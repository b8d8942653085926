"""One kept connection that asks the same again and again, so lean that it measures the server."""

import multiprocessing
import socket
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import NamedTuple

_PIECE = 256 * 1024
_CLIENTS = 8


class Question(NamedTuple):
    """What is asked, and where."""

    address: str | tuple[str, int]
    """A socket's path, or a host and port."""
    request: bytes


def question(address: str | tuple[str, int], path: str, **headers: str) -> Question:
    """A question by GET; underscores in headers' names stand for hyphens."""
    given = {"Host": "localhost", **{name.replace("_", "-"): v for name, v in headers.items()}}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return Question(address, "\r\n".join([*lines, "", ""]).encode())


class KeptConnection:
    """A connection to one server."""

    def __init__(self, asked: Question) -> None:
        self._request = asked.request
        if isinstance(asked.address, str):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(asked.address)
        else:
            self._socket = socket.create_connection(asked.address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """One answer, with its head."""
        self._socket.sendall(self._request)
        answer = self._socket.recv(_PIECE)
        while not _whole(answer):
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise ConnectionError("The server has hung up.")
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"It was answered {answer[:300]!r}.")
        return answer

    def close(self) -> None:
        """Ends it."""
        self._socket.close()


def _whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    _, named, length = head.lower().partition(b"content-length:")
    if not named:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(length.split(b"\r\n", 1)[0])


def seconds_each(asked: Question, times: int) -> list[float]:
    """How long each of so many answers took, one after another on one connection."""
    connection = KeptConnection(asked)
    try:
        return [_seconds(connection.ask) for _ in range(times)]
    finally:
        connection.close()


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def answers_per_second(asked: Question, seconds: float) -> float:
    """How many answers eight clients get together, each a process of its own."""
    with multiprocessing.get_context("fork").Pool(_CLIENTS) as clients:
        # So that all have begun before any is measured.
        clients.starmap(_count, [(asked, 0.1)] * _CLIENTS, chunksize=1)
        counts = clients.starmap(_count, [(asked, seconds)] * _CLIENTS, chunksize=1)
        clients.close()
        clients.join()
    return sum(counts) / seconds


def _count(asked: Question, seconds: float) -> int:
    connection, count, until = KeptConnection(asked), 0, monotonic() + seconds
    try:
        while monotonic() < until:
            connection.ask()
            count += 1
    finally:
        connection.close()
    return count
