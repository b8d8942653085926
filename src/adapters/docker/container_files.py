"""Files and folders of containers, read through the Engine's archive call."""

import base64
import re
import tarfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import IO, Any, cast
from urllib.parse import quote

import msgspec

from adapters.docker.client import EngineClient
from adapters.docker.moments import moment
from adapters.docker.named import named, short
from adapters.docker.refusals import refused
from adapters.docker.streams import Answer, Feed, Streams
from domain.container_streams import FileKind, FileStatus
from domain.errors import (
    EngineRefused,
    EngineUnavailable,
    RequestUnreadable,
    ResourceNotFound,
)
from domain.ports.container_files import PAUSE_SECONDS, OpenFile

THREADS = 32
"""How many are read at once."""

_WAITING_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_STATUS_HEADER = "X-Docker-Container-Path-Stat"

# Of the mode, as Go writes it.
_FOLDER, _LINK, _OTHER = 1 << 31, 1 << 27, (1 << 26) | (1 << 25) | (1 << 24) | (1 << 21) | (1 << 19)


_MISSING = re.compile(
    r"could not find the file|not a directory|no such file|file name too long"
    r"|too many (?:levels|links)",
    re.IGNORECASE,
)


class _Status(msgspec.Struct, frozen=True):
    name: str
    size: int
    mode: int
    mtime: str
    linkTarget: str = ""  # noqa: N815 - the Engine's own spelling


class DockerContainerFiles:
    """Reads files and folders of containers.

    Args:
        base_url: address of the Engine.
        client: for short calls.
    """

    def __init__(self, base_url: str, client: EngineClient) -> None:
        self._base_url = base_url
        self._client = client
        self._streams = Streams(THREADS, wait_seconds=client.limits.ask_seconds)

    async def status(self, container_id: str, path: str) -> FileStatus:
        """What stands at a path; of a link, the link itself."""
        what = f"looking at {path} in container {short(container_id)}"
        with named("container", container_id), _found(path):
            return _status(
                await self._client.look(what, lambda api: _header(api, what, container_id, path))
            )

    @asynccontextmanager
    async def tar(self, container_id: str, path: str) -> AsyncIterator[OpenFile]:
        """A file or folder as a tar archive, as Docker gives it."""
        status = await self.status(container_id, path)

        def pump(answer: Answer, feed: Feed[bytes]) -> None:
            for piece in answer.pieces():
                feed.put(piece)

        async with self._read(container_id, path, pump) as feed:
            yield OpenFile(status, _pieces(feed))

    @asynccontextmanager
    async def regular(self, container_id: str, path: str) -> AsyncIterator[OpenFile]:
        """The bytes of one regular file; the size in its status is how many come."""
        status = await self.status(container_id, path)
        if status.kind is FileKind.LINK:
            # The Engine has followed it to its end, within the container.
            path = status.link_target
            status = await self.status(container_id, path)
        if status.kind is not FileKind.FILE:
            raise _no_file(path)

        def pump(answer: Answer, feed: Feed[bytes]) -> None:
            with _only_member(answer, path) as (size, content):
                feed.put(str(size).encode())
                while piece := content.read(_PIECE_BYTES):
                    feed.put(piece)

        async with self._read(container_id, path, pump) as feed:
            # As it is now, which is not what it was before.
            size, _ = await feed.next()
            yield OpenFile(
                msgspec.structs.replace(status, size_bytes=int(size or 0)), _pieces(feed)
            )

    @asynccontextmanager
    async def _read(
        self, container_id: str, path: str, pump: Callable[[Answer, Feed[bytes]], None]
    ) -> AsyncIterator[Feed[bytes]]:
        feed: Feed[bytes] = Feed(
            lossy=False, most=_WAITING_BYTES, weigh=len, patience_seconds=PAUSE_SECONDS
        )
        answer = Answer(
            self._base_url,
            f"/containers/{quote(container_id, safe='')}/archive",
            {"path": path},
            seconds=self._client.limits.ask_seconds,
            endless=False,
        )

        def read(answer: Answer) -> None:
            with named("container", container_id), _found(path):
                pump(answer, feed)

        async with self._streams.open() as stream:
            await stream.start(answer, feed, read)
            yield feed


def _header(api: Any, what: str, container_id: str, path: str) -> str:
    """What the Engine tells of a path in a header."""
    url = f"{api.base_url}/v{api.api_version}/containers/{container_id}/archive"
    response = api.head(url, params={"path": path})
    if response.status_code != 200:
        # The answer to a HEAD has no words; this one begins with them, or with the header.
        response = api.get(url, params={"path": path}, stream=True)
    with closing(response):
        if response.status_code != 200:
            raise refused(what, response.status_code, response.text)
        return str(response.headers.get(_STATUS_HEADER, ""))


@contextmanager
def _found(path: str) -> Iterator[None]:
    """Tells a path that is not there from a container that is not."""
    try:
        yield
    except EngineRefused as fault:
        if _MISSING.search(fault.reason):
            raise ResourceNotFound("file", path, place="in the container") from fault
        raise


async def _pieces(feed: Feed[bytes]) -> AsyncIterator[bytes]:
    while (item := (await feed.next())[0]) is not None:
        yield item


def _status(header: str) -> FileStatus:
    found = msgspec.json.decode(base64.b64decode(header), type=_Status)
    return FileStatus(
        name=found.name,
        kind=_kind(found.mode),
        size_bytes=found.size,
        mode=found.mode & 0o777,
        modified_at=moment(found.mtime),
        link_target=found.linkTarget,
    )


def _kind(mode: int) -> FileKind:
    if mode & _FOLDER:
        return FileKind.FOLDER
    if mode & _LINK:
        return FileKind.LINK
    return FileKind.OTHER if mode & _OTHER else FileKind.FILE


def _no_file(path: str) -> RequestUnreadable:
    return RequestUnreadable(
        f"{path[:200]!r} is no regular file.", hint="Ask for it as an archive, with form=tar."
    )


class _Reader:
    """An answer as something to read from, in a thread."""

    def __init__(self, answer: Answer) -> None:
        self._pieces = cast("Generator[bytes]", answer.pieces())
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def close(self) -> None:
        """Gives the connection back."""
        self._pieces.close()


@contextmanager
def _only_member(answer: Answer, path: str) -> Iterator[tuple[int, IO[bytes]]]:
    """Size and bytes of the one file that an archive holds."""
    reader = _Reader(answer)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", reader), mode="r|") as archive:
            member = archive.next()
            content = archive.extractfile(member) if member and member.isfile() else None
            if member is None or content is None:
                raise _no_file(path)
            yield member.size, content
    except tarfile.TarError as fault:
        raise EngineUnavailable(f"What was read of {path[:200]!r} broke off: {fault}.") from fault
    finally:
        reader.close()
