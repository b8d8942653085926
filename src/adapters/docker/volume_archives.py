"""What volumes hold, read and written through short-lived containers.

Reading is the Engine's own archive call on a container that never runs. Writing is not: that call
has led out of containers before, so a ``tar`` in a container unpacks what comes on its input.
"""

import io
import socket
import tarfile
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from secrets import token_hex
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
import docker.constants
import docker.errors
from docker import APIClient
from docker.types import LogConfig

from adapters.docker.client import CHANGE_SECONDS, EngineClient, translated
from adapters.docker.named import named
from adapters.docker.streams import Answer, Feed, Streams
from domain.errors import AgentError, EngineRefused, RequestUnreadable, ResourceConflict

T = TypeVar("T")

THREADS = 16
"""How many volumes are read at once."""

_EMPTY_IMAGE = "container-host-agent/empty:latest"
"""Holds nothing; containers of it never run."""

_MOST_PIECES = 32
_PAUSE_SECONDS = 60.0
_NOT_EMPTY = 73
_GZIP = b"\x1f\x8b"

_UNPACK = (
    "cd /volume || exit 1; "
    'if [ "$CLEAR" = yes ]; then rm -rf ./* ./.[!.]* ./..?*; fi; '
    f'if [ -n "$(ls -A . | head -n 1)" ]; then exit {_NOT_EMPTY}; fi; '
    "exec tar -x -p $COMPRESSED -f -"
)


class DockerVolumeArchives:
    """Reads and writes volumes.

    Args:
        base_url: address of the Engine.
        client: for short calls.
        agent_image: an image with a shell and ``tar``; None where there is none.
    """

    def __init__(self, base_url: str, client: EngineClient, *, agent_image: str | None) -> None:
        self._base_url = base_url
        self._client = client
        self._agent_image = agent_image
        self._streams = Streams(THREADS)

    def end(self) -> None:
        """Ends all that is being read; for the agent's own end."""
        self._streams.end()

    @asynccontextmanager
    async def read(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """A volume as a tar, in pieces."""
        await self._require(name)
        async with self._container(_EMPTY_IMAGE, name, ["none"], None) as container:
            feed: Feed[bytes] = Feed(lossy=False, most=_MOST_PIECES)

            def pump(answer: Answer) -> None:
                for piece in answer.pieces():
                    feed.put(piece)

            path = f"/containers/{container}/archive"
            async with self._streams.open() as stream:
                answer = Answer(self._base_url, path, {"path": "/volume/."})
                await stream.start(answer, feed, pump)
                yield _pieces(feed)

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, clear: bool) -> None:
        """Unpacks a tar into a volume that stands."""
        if self._agent_image is None:
            raise EngineRefused(
                "The agent has no image to unpack archives with.",
                hint="Set AGENT_IMAGE to the agent's own image.",
            )
        await self._require(name)
        pieces = aiter(chunks)
        first = await anext(pieces, b"")
        variables = {
            "CLEAR": "yes" if clear else "no",
            # Some cannot tell by themselves from what comes through a pipe.
            "COMPRESSED": "-z" if first.startswith(_GZIP) else "",
        }
        command = ["sh", "-c", _UNPACK]
        async with (
            self._container(self._agent_image, name, command, variables) as container,
            _Input(self._base_url, container) as entry,
        ):
            await self._change("unpacking into a volume", lambda api: api.start(container))
            # It reads no more when it has found a fault, which its end then tells.
            with suppress(OSError):
                await entry.write(first)
                async for chunk in pieces:
                    await entry.write(chunk)
            await entry.end()
            await self._check_end(container)

    async def _check_end(self, container: str) -> None:
        status, output = await self._client.call(
            "unpacking into a volume",
            lambda api: (
                api.wait(container)["StatusCode"],
                api.logs(container, tail=3).decode(errors="replace").strip(),
            ),
            seconds=CHANGE_SECONDS,
        )
        if status == _NOT_EMPTY:
            raise ResourceConflict(
                "The volume holds something already.", hint="Add ?clear=true to remove it first."
            )
        if status != 0:
            raise RequestUnreadable(f"The archive cannot be unpacked: {output[:300]}")

    async def _require(self, name: str) -> None:
        # The Engine would make one that is missing.
        with named("volume", name):
            await self._client.call("looking at a volume", lambda api: api.inspect_volume(name))

    @asynccontextmanager
    async def _container(
        self, image: str, volume: str, command: list[str], variables: dict[str, str] | None
    ) -> AsyncIterator[str]:
        """A container that sees nothing but the volume, gone when the block is left.

        Without variables it never runs, and may not write.
        """
        container = f"container-host-agent-volume-{token_hex(8)}"

        def create(api: APIClient) -> None:
            if image == _EMPTY_IMAGE:
                _provide_empty_image(api)
            api.create_container(
                image,
                name=container,
                labels=_HELPER_LABELS,
                entrypoint=command,
                user="0:0",
                environment=variables,
                stdin_open=True,
                healthcheck={"test": ["NONE"]},
                network_disabled=True,
                host_config=_host_config(api, volume, read_only=variables is None),
            )

        try:
            await self._change("looking into a volume", create)
            yield container
        finally:
            with anyio.CancelScope(shield=True), suppress(AgentError):
                await self._change("removing a helper", lambda api: _remove(api, container))

    async def _change(self, what: str, work: Callable[[APIClient], T]) -> T:
        return await self._client.call(what, work, seconds=CHANGE_SECONDS)


_HELPER_LABELS = {"container-host-agent.helper": "volume"}


def _host_config(api: APIClient, volume: str, *, read_only: bool) -> Any:
    return api.create_host_config(
        binds=[f"{volume}:/volume:{'ro' if read_only else 'rw'},nocopy"],
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"],
        security_opt=["no-new-privileges"],
        read_only=True,
        log_config=LogConfig(type="json-file", config={"max-size": "64k", "max-file": "1"}),
    )


def _provide_empty_image(api: APIClient) -> None:
    if api.images(_EMPTY_IMAGE):
        return
    nothing = io.BytesIO()
    with tarfile.open(fileobj=nothing, mode="w"):
        pass
    repository, _, tag = _EMPTY_IMAGE.partition(":")
    api.import_image_from_data(nothing.getvalue(), repository=repository, tag=tag)


def _remove(api: APIClient, container: str) -> None:
    with suppress(docker.errors.NotFound):
        api.remove_container(container, force=True)


async def _pieces(feed: Feed[bytes]) -> AsyncIterator[bytes]:
    while True:
        piece, _ = await feed.next()
        if piece is None:
            return
        yield piece


class _Input:
    """A container's standard input, on a connection of its own."""

    def __init__(self, base_url: str, container: str) -> None:
        self._base_url = base_url
        self._container = container
        self._api: APIClient | None = None
        self._stream: Any = None

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self._open)
        return self

    def _open(self) -> None:
        with translated("unpacking into a volume"):
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
        await anyio.to_thread.run_sync(self._socket().sendall, chunk, abandon_on_cancel=True)

    async def end(self) -> None:
        """Tells the container that nothing more comes."""
        with suppress(OSError):
            self._socket().shutdown(socket.SHUT_WR)

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        if self._stream is not None:
            with suppress(OSError), closing(self._stream):
                self._socket().close()
        if self._api is not None:
            self._api.close()
