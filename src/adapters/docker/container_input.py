"""What containers read on their standard input."""

import socket
from contextlib import closing, suppress
from typing import Any, Self

import anyio
import anyio.to_thread
import docker.constants
from docker import APIClient

from adapters.docker.client import translated
from domain.shortage import shortages_told

_ANSWER_SECONDS = 60.0

_PATIENCE_SECONDS = 1.0
"""How long it is waited for a container to take something."""


class ContainerInput:
    """A container's standard input, on a connection of its own.

    Args:
        base_url: address of the Engine.
        container: that reads it; made to do so, and not started yet.
        threads: for those who wait until it takes what it is sent.
    """

    def __init__(self, base_url: str, container: str, threads: anyio.CapacityLimiter) -> None:
        self._base_url = base_url
        self._container = container
        self._threads = threads
        self._api: APIClient | None = None
        self._stream: Any = None

    async def __aenter__(self) -> Self:
        with shortages_told():
            await anyio.to_thread.run_sync(self._open, limiter=self._threads)
        return self

    def _open(self) -> None:
        with translated("writing to a container"):
            # Not the agent's own kind, since it does not end with one call.
            self._api = APIClient(
                self._base_url,
                version=docker.constants.MINIMUM_DOCKER_API_VERSION,
                timeout=int(_ANSWER_SECONDS),
            )
            parameters = {"stdin": 1, "stream": 1}
            self._stream = self._api.attach_socket(self._container, params=parameters)
            self._socket().settimeout(_PATIENCE_SECONDS)

    def _socket(self) -> socket.socket:
        # docker-py gives the file of a socket where the Engine listens on a path.
        found: socket.socket = getattr(self._stream, "_sock", self._stream)
        return found

    async def write(self, data: memoryview) -> int:
        """Writes what the container takes at once, or within a second; how many bytes.

        Zero may mean that it never takes more: the Engine does not hang up on whoever writes to a
        container that has ended. An ``OSError`` where it is known to read no more.
        """
        with shortages_told():
            return await anyio.to_thread.run_sync(
                self._send, data, abandon_on_cancel=True, limiter=self._threads
            )

    def _send(self, data: memoryview) -> int:
        try:
            return self._socket().send(data)
        except TimeoutError:
            return 0

    async def end(self) -> None:
        """Tells the container that nothing more comes."""
        with suppress(OSError):
            self._socket().shutdown(socket.SHUT_WR)

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        if self._stream is not None:
            # Wakes a thread that still writes, which closing alone does not.
            with suppress(OSError):
                self._socket().shutdown(socket.SHUT_RDWR)
            with suppress(OSError), closing(self._stream):
                self._socket().close()
        if self._api is not None:
            self._api.close()
