"""Files of in-memory containers."""

import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from adapters.memory.engine import MemoryEngine
from adapters.memory.references import found
from domain.container_streams import FileKind, FileStatus
from domain.errors import EngineUnavailable, RequestUnreadable, ResourceNotFound
from domain.ports.container_files import OpenFile

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_PIECE_BYTES = 64 * 1024


class MemoryContainerFiles:
    """Twin of ``DockerContainerFiles``; containers have the files that tests give them."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._files: dict[str, dict[str, bytes]] = {}
        """Container's name → path → content, or where a link leads."""
        self.broken: set[str] = set()
        """Paths whose content breaks off after its first half."""
        self._links: dict[tuple[str, str], str] = {}

    def write(self, container: str, path: str, content: bytes) -> None:
        """Lets a file be there, with the folders around it."""
        self._files.setdefault(container, {})[path] = content

    def link(self, container: str, path: str, target: str) -> None:
        """Lets a link be there."""
        self._links[container, path] = target

    async def status(self, container_id: str, path: str) -> FileStatus:
        """What stands at a path; of a link, the link itself."""
        name = await self._name(container_id)
        path = "/" + path.strip("/")
        files = self._files.get(name, {})
        link = self._links.get((name, path), "")
        if path in files:
            return _status(path, FileKind.FILE, len(files[path]))
        if link and link != path:
            return _status(path, FileKind.LINK, len(link), link)
        if path == "/" or any(known.startswith(f"{path}/") for known in files):
            return _status(path, FileKind.FOLDER, 4096)
        raise ResourceNotFound("file", path, place="in the container")

    async def _name(self, container_id: str) -> str:
        await self._engine.answer("read files")
        known = {name: c.id for name, c in self._engine.containers.items()}
        return found("container", container_id, known)

    @asynccontextmanager
    async def tar(self, container_id: str, path: str) -> AsyncIterator[OpenFile]:
        """A file or folder as a tar archive."""
        status = await self.status(container_id, path)
        name = await self._name(container_id)
        yield OpenFile(status, _pieces(self._archive(name, "/" + path.strip("/"), status)))

    def _archive(self, name: str, path: str, status: FileStatus) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            if status.kind is FileKind.FOLDER:
                entry = tarfile.TarInfo(f"{status.name}/")
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            for known, content in sorted(self._files.get(name, {}).items()):
                if known == path or known.startswith(f"{path.rstrip('/')}/"):
                    entry = tarfile.TarInfo(status.name + known.removeprefix(path))
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()

    @asynccontextmanager
    async def regular(self, container_id: str, path: str) -> AsyncIterator[OpenFile]:
        """The bytes of one regular file."""
        status = await self.status(container_id, path)
        if status.kind is FileKind.LINK:
            path = status.link_target
            status = await self.status(container_id, path)
        if status.kind is not FileKind.FILE:
            raise RequestUnreadable(
                f"{path[:200]!r} is no regular file.",
                hint="Ask for it as an archive, with form=tar.",
            )
        name, path = await self._name(container_id), "/" + path.strip("/")
        content = self._files[name][path]
        broken = path in self.broken
        yield OpenFile(status, _halves(content) if broken else _pieces(content))


async def _halves(content: bytes) -> AsyncIterator[bytes]:
    yield content[: len(content) // 2]
    raise EngineUnavailable("The in-memory Engine hung up.")


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), _PIECE_BYTES):
        yield content[at : at + _PIECE_BYTES]


def _status(path: str, kind: FileKind, size: int, link_target: str = "") -> FileStatus:
    return FileStatus(
        name=path.rpartition("/")[2] or "/",
        kind=kind,
        size_bytes=size,
        mode=0o755 if kind is FileKind.FOLDER else 0o644,
        modified_at=_FIRST,
        link_target=link_target,
    )
