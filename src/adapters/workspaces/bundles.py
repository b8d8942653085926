"""Archives on their way into a workspace."""

import os
import secrets
from collections.abc import AsyncIterable
from pathlib import Path

import anyio

from adapters.workspaces.removal import remove_tree
from adapters.workspaces.storage import Storage
from domain.bundles import BundleLimits
from domain.ports.workspaces import Bundle

_BATCH_BYTES = 1024 * 1024


class DiskBundles:
    """Keeps archives as files in a folder of the agent's own."""

    def __init__(self, folder: Path, limits: BundleLimits, storage: Storage) -> None:
        self._folder = folder
        self._limits = limits
        self._storage = storage

    def path(self, bundle: Bundle) -> Path:
        """Where the archive lies."""
        return self._folder / bundle.id

    async def receive(self, chunks: AsyncIterable[bytes]) -> Bundle:
        """Keeps an archive as it comes."""
        path = self._folder / secrets.token_hex(12)
        descriptor = await self._storage.run("receiving the bundle", lambda: _create(path))
        try:
            try:
                size = await self._write(descriptor, chunks)
            finally:
                os.close(descriptor)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._storage.run("removing the bundle", lambda: remove_tree(path))
            raise
        return Bundle(id=path.name, size_bytes=size)

    async def _write(self, descriptor: int, chunks: AsyncIterable[bytes]) -> int:
        size = 0
        batch = bytearray()
        async for chunk in chunks:
            size += len(chunk)
            self._limits.check_archive(size)
            batch += chunk
            if len(batch) >= _BATCH_BYTES:
                await self._append(descriptor, bytes(batch))
                batch.clear()
        await self._append(descriptor, bytes(batch))
        return size

    async def _append(self, descriptor: int, data: bytes) -> None:
        await self._storage.run("receiving the bundle", lambda: _write_all(descriptor, data))

    async def discard(self, bundle: Bundle) -> None:
        """Removes the archive."""
        await self._storage.run(
            "removing the bundle", lambda: self.path(bundle).unlink(missing_ok=True)
        )


def _create(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
