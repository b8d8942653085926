"""Copies of folders that containers write to while they are read; no link is ever followed."""

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.bundles import MAX_PATH_DEPTH, BundleLimits
from domain.errors import BundleRefused

_CHUNK_BYTES = 256 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not waiting, in case it is a pipe by now.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Something else lies there by now: a link, a pipe or a socket.
_SWAPPED = {errno.ELOOP, errno.ENXIO}

Checkpoint = Callable[[], None]


def copy_parts(
    source: Path,
    target: Path,
    parts: Collection[str],
    limits: BundleLimits,
    checkpoint: Checkpoint,
    *,
    most_file_bytes: int | None = None,
) -> None:
    """Copies files and folders of ``source`` into the empty folder ``target``.

    What is neither, such as a link or a pipe, is left out, and so is what is gone meanwhile.

    Args:
        source: whose parts are copied.
        target: where they come to lie, under the same paths.
        parts: relative paths; the empty one for everything.
        limits: how much may be copied.
        checkpoint: called between pieces of work; raises where it is to be given up.
        most_file_bytes: larger files are left out.

    Raises:
        BundleRefused: there is more than the limits allow.
        OSError: the disk refuses.
    """
    copy = _Copy(limits, checkpoint, most_file_bytes)
    outermost = {p for p in parts if not any(p != q and _lies_in(p, q) for q in parts)}
    with _opened(str(source)) as top, _opened(str(target)) as new:
        for part in sorted(outermost):
            copy.way([name for name in part.split("/") if name], top, new)


def _lies_in(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


@contextmanager
def _opened(path: str, *, within: int | None = None) -> Iterator[int]:
    handle = os.open(path, _FOLDER, dir_fd=within)
    try:
        yield handle
    finally:
        os.close(handle)


class _Copy:
    """One copy, counting as it goes."""

    def __init__(
        self, limits: BundleLimits, checkpoint: Checkpoint, most_file_bytes: int | None
    ) -> None:
        self._limits = limits
        self._checkpoint = checkpoint
        self._most_file_bytes = most_file_bytes
        self._bytes = 0
        self._entries = 0

    def way(self, names: list[str], source: int, target: int) -> None:
        """Copies what lies at the end of a way."""
        if not names:
            self._folder(source, target, depth=0)
            return
        name, *rest = names
        if not rest:
            self._entry(name, source, target, depth=0)
            return
        try:
            with _opened(name, within=source) as deeper:
                _make_folder(name, target)
                with _opened(name, within=target) as new:
                    self.way(rest, deeper, new)
        except (FileNotFoundError, NotADirectoryError):
            return

    def _folder(self, source: int, target: int, *, depth: int) -> None:
        if depth > MAX_PATH_DEPTH:
            raise BundleRefused(f"Folders lie deeper in each other than {MAX_PATH_DEPTH}.")
        for name in sorted(os.listdir(source)):
            self._checkpoint()
            self._entry(name, source, target, depth=depth)

    def _entry(self, name: str, source: int, target: int, *, depth: int) -> None:
        try:
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._count()
                with _opened(name, within=source) as deeper:
                    _make_folder(name, target)
                    with _opened(name, within=target) as new:
                        self._folder(deeper, new, depth=depth + 1)
            elif stat.S_ISREG(status.st_mode):
                self._count()
                self._file(name, source, target)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as fault:
            if fault.errno not in _SWAPPED:
                raise

    def _count(self) -> None:
        self._entries += 1
        self._limits.check_entries(self._entries)

    def _file(self, name: str, source: int, target: int) -> None:
        handle = os.open(name, _READ, dir_fd=source)
        with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(handle)
            large = self._most_file_bytes is not None and status.st_size > self._most_file_bytes
            if large or not stat.S_ISREG(status.st_mode):
                return
            written = os.open(name, _WRITE, 0o600, dir_fd=target)
            with open(written, "wb") as copy:  # noqa: PTH123 - a descriptor, not a path
                os.fchmod(written, stat.S_IMODE(status.st_mode) & 0o777)
                while chunk := file.read(_CHUNK_BYTES):
                    self._checkpoint()
                    self._bytes += len(chunk)
                    self._limits.check_unpacked(self._bytes, archive_bytes=self._bytes)
                    copy.write(chunk)


def _make_folder(name: str, within: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=within)
    except FileExistsError:
        return
    os.chmod(name, 0o755, dir_fd=within)  # noqa: S103 - as bundles are unpacked
