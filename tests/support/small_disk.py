"""A disk of a few megabytes, to be filled to the last page or the last inode."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import engine

AGENTS_FOLDERS = ("apart", "bundles", "library", "models", "operations", "removed")


class SmallDisk:
    """A file system in memory of its own.

    Args:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"
        self._ballast.mkdir()

    def fill(self, *, pages: int = 0) -> None:
        """Takes all its bytes but those of some pages."""
        found = os.statvfs(self.path)
        size = (found.f_bavail - pages) * found.f_frsize
        if size > 0:
            self._take(self._ballast / f"bytes-{found.f_favail}", size)

    def _take(self, path: Path, size: int) -> None:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def fill_inodes(self, *, left: int = 0) -> None:
        """Takes all its inodes but some."""
        for number in range(os.statvfs(self.path).f_favail - left):
            (self._ballast / f"file-{number}").touch()

    def make_room(self) -> None:
        """Gives back what was taken."""
        for path in self._ballast.iterdir():
            path.unlink()


@contextmanager
def small_disk(path: Path, *, megabytes: int, inodes: int = 4096) -> Iterator[SmallDisk]:
    """A disk at ``path``; a test that may not have one is skipped with the reason.

    With ``REQUIRE_ENGINE=1`` it fails instead, if it runs as root.
    """
    path.mkdir(parents=True)
    options = f"size={megabytes}m,nr_inodes={inodes},mode=0755"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        _skip(f"no file system can be mounted here: {ended.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _skip(reason: str) -> None:
    if engine.REQUIRED and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)


def left_in(workspace: Path) -> list[str]:
    """What lies in a workspace, but for the agent's own folders."""
    own = {".agent", *(f".agent/{folder}" for folder in AGENTS_FOLDERS)}
    found = {str(path.relative_to(workspace)) for path in workspace.rglob("*")}
    return sorted(found - own)
