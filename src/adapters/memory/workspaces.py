"""Bundles and workspaces that are dictionaries of files."""

from collections.abc import AsyncIterable, Mapping, Sequence

import anyio.lowlevel
import anyio.to_thread

from adapters.memory.archives import Files, is_zip, unpacked
from domain.bundles import (
    COMPOSE_FILE_NAMES,
    MAX_COMPOSE_FILE_BYTES,
    BundleLimits,
    compose_files,
)
from domain.errors import BundleRefused, StorageFailed
from domain.names import EnvironmentName, OperationId
from domain.ports.compose import Project
from domain.ports.workspaces import Bundle


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
        if is_zip(archive):
            files = unpacked(archive, self._limits)
        else:
            # The library reads tars through a buffer that may block.
            files = await anyio.to_thread.run_sync(unpacked, archive, self._limits)
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
        """Drops archives nobody waits for; fails as ``remove`` does while anybody is stuck."""
        await anyio.lowlevel.checkpoint()
        for name in sorted(self.stuck):
            raise StorageFailed(
                f"Files of {name} belong to other users.", blocked_by=f"/removed/{name}"
            )
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
    try:
        chosen = compose_files([parts[0] for parts in files if len(parts) == 1])
    except BundleRefused as fault:
        inner = {parts[0] for parts in files if len(parts) == 2 and parts[1] in COMPOSE_FILE_NAMES}
        if len(inner) == 1:
            fault.hint = f"It lies in the folder {inner.pop()!r}; zip what is in it instead."
        raise
    for name in chosen:
        if len(files[name,]) > MAX_COMPOSE_FILE_BYTES:
            raise BundleRefused(f"{name} is larger than {MAX_COMPOSE_FILE_BYTES} bytes.")
    return chosen
