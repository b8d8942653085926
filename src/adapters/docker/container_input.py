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

_PAUSE_SECONDS = 60.0
"""How long a container may take no more of what it is sent."""


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
                timeout=int(_PAUSE_SECONDS),
            )
            parameters = {"stdin": 1, "stream": 1}
            self._stream = self._api.attach_socket(self._container, params=parameters)
            self._socket().settimeout(_PAUSE_SECONDS)

    def _socket(self) -> socket.socket:
        # docker-py gives the file of a socket where the Engine listens on a path.
        found: socket.socket = getattr(self._stream, "_sock", self._stream)
        return found

    async def write(self, chunk: bytes) -> None:
        """Writes all of it; an ``OSError`` where the container reads no more."""
        with shortages_told():
            await anyio.to_thread.run_sync(
                self._socket().sendall, chunk, abandon_on_cancel=True, limiter=self._threads
            )

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
