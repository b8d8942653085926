"""Archives on their way into a workspace."""

import hashlib
import os
import secrets
from collections.abc import AsyncIterable, Sequence
from pathlib import Path

import anyio

from adapters.workspaces.storage import Storage
from domain.bundles import BundleLimits
from domain.names import BundleDigest
from domain.ports.workspaces import Bundle

# Many may be received at once, and each holds as much.
_BATCH_BYTES = 256 * 1024


class DiskBundles:
    """Keeps archives as files in folders of the agent's own.

    Args:
        folder: of archives that are being received, or wait for one deploy.
        library: of archives that are kept, named by their digest; on the same file system.
        limits: how large they may be.
        storage: runs the work.
    """

    def __init__(self, folder: Path, library: Path, limits: BundleLimits, storage: Storage) -> None:
        self._folder = folder
        self._library = library
        self._limits = limits
        self._storage = storage
        self._waited_for: set[str] = set()

    def path(self, bundle: Bundle) -> Path:
        """Where the archive lies."""
        return self._kept_path(bundle.digest) if bundle.kept else self._folder / bundle.id

    def _kept_path(self, digest: BundleDigest) -> Path:
        return self._library / digest.removeprefix("sha256:")

    async def receive(self, chunks: AsyncIterable[bytes]) -> Bundle:
        """Keeps an archive as it comes."""
        path = self._folder / secrets.token_hex(12)
        self._waited_for.add(path.name)
        try:
            descriptor = await self._storage.run("receiving the bundle", lambda: _create(path))
            try:
                size, digest = await self._write(descriptor, chunks)
            finally:
                os.close(descriptor)
        except BaseException:
            self._waited_for.discard(path.name)
            with anyio.CancelScope(shield=True):
                await self._storage.clear(
                    "removing the bundle", lambda: path.unlink(missing_ok=True)
                )
            raise
        return Bundle(id=path.name, size_bytes=size, digest=digest)

    async def _write(
        self, descriptor: int, chunks: AsyncIterable[bytes]
    ) -> tuple[int, BundleDigest]:
        size, digest, batch = 0, hashlib.sha256(), bytearray()

        async def write(data: bytearray) -> None:
            def work() -> None:
                digest.update(data)
                _write_all(descriptor, data)

            await self._storage.run("receiving the bundle", work)

        async for chunk in chunks:
            size += len(chunk)
            self._limits.check_archive(size)
            batch += chunk
            if len(batch) >= _BATCH_BYTES:
                await write(batch)
                batch = bytearray()
        await write(batch)
        return size, BundleDigest(f"sha256:{digest.hexdigest()}")

    async def discard(self, bundle: Bundle) -> None:
        """Removes the archive, unless it is kept."""
        self._waited_for.discard(bundle.id)
        if not bundle.kept:
            await self._storage.clear(
                "removing the bundle", lambda: self.path(bundle).unlink(missing_ok=True)
            )

    async def keep(self, bundle: Bundle) -> Bundle:
        """Keeps a received archive for later deploys."""
        if not bundle.kept:
            target = self._kept_path(bundle.digest)
            await self._storage.run(
                "keeping the bundle", lambda: self.path(bundle).replace(target) and None
            )
            self._waited_for.discard(bundle.id)
        return Bundle(
            id=bundle.digest, size_bytes=bundle.size_bytes, digest=bundle.digest, kept=True
        )

    async def drop_forgotten(self) -> None:
        """Removes archives that nobody waits for and that could not be removed in their time."""

        def work() -> None:
            for archive in self._folder.iterdir():
                if archive.name not in self._waited_for:
                    archive.unlink(missing_ok=True)

        await self._storage.clear("dropping old bundles", work)

    async def kept(self, digest: BundleDigest) -> Bundle | None:
        """The kept archive of this digest."""

        def work() -> Bundle | None:
            try:
                size = self._kept_path(digest).lstat().st_size
            except FileNotFoundError:
                return None
            return Bundle(id=digest, size_bytes=size, digest=digest, kept=True)

        return await self._storage.run("looking for a bundle", work)

    async def digests(self) -> Sequence[BundleDigest]:
        """The digests of all kept archives."""

        def work() -> list[BundleDigest]:
            names = sorted(entry.name for entry in self._library.iterdir())
            return [BundleDigest(f"sha256:{name}") for name in names]

        return await self._storage.run("looking for bundles", work)

    async def forget(self, digest: BundleDigest) -> None:
        """Removes a kept archive."""
        await self._storage.clear(
            "removing a bundle", lambda: self._kept_path(digest).unlink(missing_ok=True)
        )


def _create(path: Path) -> int:
    # Not with what is above it: where the workspace's disk is not mounted, nothing is made below.
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _write_all(descriptor: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
