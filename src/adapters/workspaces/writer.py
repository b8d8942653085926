"""Writes what archives hold into an empty folder, within limits, and follows no link."""

import os
from collections.abc import Callable
from typing import IO

import msgspec

from domain.bundles import BundleLimits
from domain.errors import BundleRefused

CHUNK_BYTES = 256 * 1024

Checkpoint = Callable[[], None]
"""Called between pieces of work; raises where the work is to be given up."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One file or folder of an archive."""

    parts: tuple[str, ...]
    folder: bool
    executable: bool = False


class Writer:
    """Writes members into a folder, counting as it goes."""

    def __init__(
        self, folder_fd: int, limits: BundleLimits, archive_bytes: int, checkpoint: Checkpoint
    ) -> None:
        self._folder_fd = folder_fd
        self._limits = limits
        self._archive_bytes = archive_bytes
        self._checkpoint = checkpoint
        self._entries = 0
        self._bytes = 0
        self._folders: set[tuple[str, ...]] = {()}
        self._files: set[tuple[str, ...]] = set()

    def check_inflated(self, inflated_bytes: int) -> None:
        """Holds all that came out of a compressed stream to the limits, padding included."""
        self._limits.check_unpacked(inflated_bytes, archive_bytes=self._archive_bytes)
        self._checkpoint()

    def entry(self) -> None:
        """Takes a member into account."""
        self._entries += 1
        self._limits.check_entries(self._entries)
        self._checkpoint()

    def write(self, member: Member, content: IO[bytes] | None) -> None:
        """Writes a member.

        Raises:
            BundleRefused: its place is taken, or a limit is passed.
            OSError: the disk refuses.
        """
        if member.folder:
            self._folder(member.parts, implied=len(member.parts) - 1)
        else:
            self._file(member, content)

    def _folder(self, parts: tuple[str, ...], *, implied: int) -> None:
        """Makes a folder with those above it, of which the first ``implied`` have no entry."""
        for depth in range(1, len(parts) + 1):
            path = parts[:depth]
            if path in self._files:
                raise BundleRefused(f"The bundle holds {_shown(path)} as a file and as a folder.")
            if path not in self._folders:
                # Folders that only names imply take up the disk as others do.
                if depth <= implied:
                    self.entry()
                os.mkdir("/".join(path), 0o755, dir_fd=self._folder_fd)
                # The agent's umask is no business of those who mount or copy the folder.
                os.chmod("/".join(path), 0o755, dir_fd=self._folder_fd)  # noqa: S103
                self._folders.add(path)

    def _file(self, member: Member, content: IO[bytes] | None) -> None:
        parts = member.parts
        if not parts or parts in self._files or parts in self._folders:
            raise BundleRefused(f"The bundle holds {_shown(parts)} twice.")
        self._folder(parts[:-1], implied=len(parts) - 1)
        self._files.add(parts)
        # The folder was empty and is the agent's own, so that O_EXCL alone keeps links out.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open("/".join(parts), flags, 0o600, dir_fd=self._folder_fd)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            os.fchmod(descriptor, 0o755 if member.executable else 0o644)
            while content is not None and (chunk := content.read(CHUNK_BYTES)):
                self._count(len(chunk))
                file.write(chunk)

    def _count(self, unpacked_bytes: int) -> None:
        self._bytes += unpacked_bytes
        self._limits.check_unpacked(self._bytes, archive_bytes=self._archive_bytes)
        self._checkpoint()


def not_a_file(name: str) -> BundleRefused:
    """The refusal of a member that is neither file nor folder."""
    return BundleRefused(
        f"The bundle's entry {name!r} is neither file nor folder: links, devices and pipes are "
        "not taken."
    )


def _shown(parts: tuple[str, ...]) -> str:
    return repr("/".join(parts))
