"""Bundles and workspaces that are dictionaries of files."""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from io import BytesIO
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

import anyio.lowlevel
import anyio.to_thread

from domain.bundles import MAX_COMPOSE_FILE_BYTES, BundleLimits, compose_files, member_path
from domain.errors import BundleRefused, StorageFailed
from domain.names import EnvironmentName, OperationId
from domain.ports.compose import Project
from domain.ports.workspaces import Bundle

Files = dict[tuple[str, ...], bytes]


class MemoryBundles:
    """Twin of ``DiskBundles``."""

    def __init__(self, limits: BundleLimits) -> None:
        self._limits = limits
        self.archives: dict[str, bytes] = {}
        self._serial = 0

    async def receive(self, chunks: AsyncIterable[bytes]) -> Bundle:
        """Keeps an archive as it comes."""
        archive = bytearray()
        async for chunk in chunks:
            archive += chunk
            self._limits.check_archive(len(archive))
        self._serial += 1
        bundle = Bundle(id=f"bundle-{self._serial}", size_bytes=len(archive))
        self.archives[bundle.id] = bytes(archive)
        return bundle

    async def discard(self, bundle: Bundle) -> None:
        """Removes the archive."""
        await anyio.lowlevel.checkpoint()
        self.archives.pop(bundle.id, None)


class MemoryWorkspaces:
    """Twin of ``DiskWorkspaces``.

    ``stuck`` names environments whose files belong to others, until ``erased`` says otherwise.
    """

    def __init__(self, limits: BundleLimits) -> None:
        self._limits = limits
        self.bundles = MemoryBundles(limits)
        self.standing: dict[EnvironmentName, Files] = {}
        self.staged: dict[OperationId, Files] = {}
        self.previous: dict[OperationId, Files | None] = {}
        self.stuck: set[str] = set()

    async def stage(self, operation: OperationId, name: EnvironmentName, bundle: Bundle) -> Project:
        """Unpacks a bundle into the operation's staging folder."""
        archive = self.bundles.archives[bundle.id]
        if zipfile.is_zipfile(BytesIO(archive)):
            files = _unpacked(archive, self._limits)
        else:
            # The library reads tars through a buffer that may block.
            files = await anyio.to_thread.run_sync(_unpacked, archive, self._limits)
        project = Project(name=name, directory=f"/staged/{operation}", files=_compose_files(files))
        self.staged[operation] = files
        return project

    async def place(self, operation: OperationId, file_name: str, content: bytes) -> None:
        """Writes a file at the top of a staged project."""
        await anyio.lowlevel.checkpoint()
        files = self.staged[operation]
        if any(parts[0] == file_name and len(parts) > 1 for parts in files):
            raise BundleRefused(f"The bundle holds a folder named {file_name}.")
        files[file_name,] = content

    async def install(self, operation: OperationId, name: EnvironmentName) -> Project:
        """Moves the staged project to its place."""
        await anyio.lowlevel.checkpoint()
        self.previous[operation] = self.standing.get(name)
        self.standing[name] = self.staged.pop(operation)
        return self._project(name)

    async def roll_back(self, operation: OperationId, name: EnvironmentName) -> None:
        """Undoes ``install`` and ``stage``."""
        await anyio.lowlevel.checkpoint()
        self.staged.pop(operation, None)
        if operation in self.previous:
            earlier = self.previous.pop(operation)
            if earlier is None:
                self.standing.pop(name, None)
            else:
                self.standing[name] = earlier

    async def commit(self, operation: OperationId) -> None:
        """Removes what the operation put aside or left staged."""
        await anyio.lowlevel.checkpoint()
        self.staged.pop(operation, None)
        self.previous.pop(operation, None)

    async def project(self, name: EnvironmentName) -> Project | None:
        """The project that stands."""
        await anyio.lowlevel.checkpoint()
        try:
            return self._project(name) if name in self.standing else None
        except BundleRefused:
            return None

    async def projects(self) -> Sequence[Project]:
        """All that stand, sorted by name."""
        found = [await self.project(name) for name in sorted(self.standing)]
        return [project for project in found if project is not None]

    async def unfinished(self) -> Sequence[OperationId]:
        """Operations that left something staged or put aside."""
        await anyio.lowlevel.checkpoint()
        return sorted({*self.staged, *self.previous})

    async def remove(self, name: EnvironmentName) -> None:
        """Removes the environment's folder with all that is in it."""
        await anyio.lowlevel.checkpoint()
        if name in self.stuck:
            raise StorageFailed(
                f"Files of {name} belong to other users.", blocked_by=f"/removed/{name}"
            )
        self.standing.pop(name, None)

    async def tidy(self) -> None:
        """Drops archives nobody waits for."""
        await anyio.lowlevel.checkpoint()
        self.bundles.archives.clear()

    async def read(self, project: Project, name: str) -> bytes | None:
        """A file of a project; for the twin of Compose."""
        await anyio.lowlevel.checkpoint()
        place, _, key = project.directory.strip("/").partition("/")
        if place == "staged":
            files = self.staged.get(OperationId(key), {})
        else:
            files = self.standing.get(EnvironmentName(key), {})
        return files.get(tuple(name.split("/")))

    def files(self, name: EnvironmentName) -> Mapping[str, bytes]:
        """What stands in an environment's folder."""
        return {"/".join(parts): data for parts, data in self.standing.get(name, {}).items()}

    def _project(self, name: EnvironmentName) -> Project:
        files = _compose_files(self.standing[name])
        return Project(name=name, directory=f"/standing/{name}", files=files)


def _compose_files(files: Files) -> tuple[str, ...]:
    chosen = compose_files([parts[0] for parts in files if len(parts) == 1])
    for name in chosen:
        if len(files[name,]) > MAX_COMPOSE_FILE_BYTES:
            raise BundleRefused(f"{name} is larger than {MAX_COMPOSE_FILE_BYTES} bytes.")
    return chosen


def _unpacked(archive: bytes, limits: BundleLimits) -> Files:
    files: Files = {}
    total = 0
    try:
        members = _zip(archive) if zipfile.is_zipfile(BytesIO(archive)) else _tar(archive)
        for number, (name, kind, content) in enumerate(members, start=1):
            limits.check_entries(number)
            if kind not in {S_IFREG, S_IFDIR}:
                raise BundleRefused(f"The bundle's entry {name!r} is neither file nor folder.")
            parts = member_path(name)
            if kind == S_IFDIR:
                _refuse_file_above(files, parts)
                continue
            total += len(content)
            limits.check_unpacked(total, archive_bytes=len(archive))
            if not parts or parts in files or any(p[: len(parts)] == parts for p in files):
                raise BundleRefused(f"The bundle holds {name!r} twice.")
            _refuse_file_above(files, parts[:-1])
            files[parts] = content
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as fault:
        raise BundleRefused(f"The bundle is a broken archive: {fault}.") from fault
    except (RuntimeError, NotImplementedError, ValueError) as fault:
        raise BundleRefused(f"The bundle cannot be unpacked: {fault}.") from fault
    return files


def _refuse_file_above(files: Files, parts: tuple[str, ...]) -> None:
    if any(parts[:depth] in files for depth in range(1, len(parts) + 1)):
        raise BundleRefused(f"The bundle holds {'/'.join(parts)!r} as a file and as a folder.")


def _zip(archive: bytes) -> Iterator[tuple[str, int, bytes]]:
    with zipfile.ZipFile(BytesIO(archive)) as opened:
        end = 0
        for info in opened.infolist():
            if info.header_offset < end:
                raise BundleRefused(f"The bundle's entry {info.filename!r} overlaps with another.")
            end = info.header_offset + info.compress_size
            kind = S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
            if info.orig_filename.endswith("/"):
                yield info.orig_filename, S_IFDIR, b""
            else:
                yield info.orig_filename, kind or S_IFREG, opened.read(info)


def _tar(archive: bytes) -> Iterator[tuple[str, int, bytes]]:
    data = gzip.decompress(archive) if archive.startswith(b"\x1f\x8b") else archive
    with tarfile.open(fileobj=BytesIO(data), mode="r:") as opened:
        for info in opened:
            if info.isdir():
                yield info.name, S_IFDIR, b""
            elif info.isreg() and not info.issparse():
                content = opened.extractfile(info)
                yield info.name, S_IFREG, content.read() if content is not None else b""
            else:
                yield info.name, S_IFLNK, b""
