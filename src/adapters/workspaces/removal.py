"""Removes folders that strangers wrote into: follows no link, and no depth is too deep."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from domain.errors import StorageFailed

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Removes a file, link or folder with all that is in it. May be repeated.

    Raises:
        StorageFailed: files of other users are in the way.
        OSError: the disk refuses for another reason.
    """
    try:
        kind = path.lstat().st_mode
        if not stat.S_ISDIR(kind):
            path.unlink(missing_ok=True)
            return
        with _opened(str(path)) as top:
            _empty(top)
        path.rmdir()
    except FileNotFoundError:
        return
    except PermissionError as fault:
        raise StorageFailed(
            f"Files in {path} belong to other users and cannot be removed: {fault.strerror}.",
            hint="Run the agent as root, set AGENT_IMAGE, or remove the folder by hand.",
            blocked_by=str(path),
        ) from fault


def _empty(top: int) -> None:
    """Empties a folder by lifting what lies deeper up into it, so that nothing ever lies deep."""
    while folders := _clear(top, top):
        for name in folders:
            # Somebody may swap it for a link or take it away meanwhile: the next look will tell.
            with suppress(FileNotFoundError, NotADirectoryError):
                with _opened(name, top) as folder:
                    _clear(folder, top)
                os.rmdir(name, dir_fd=top)


def _clear(folder: int, top: int) -> list[str]:
    """Removes what is no folder, and lifts folders up to ``top``; gives those that lie there."""
    folders = []
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            with suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(name, dir_fd=folder)
        elif folder == top:
            folders.append(name)
        else:
            _lift(name, folder, top)
    return folders


def _lift(name: str, folder: int, top: int) -> None:
    lifted = secrets.token_hex(8)
    try:
        os.rename(name, lifted, src_dir_fd=folder, dst_dir_fd=top)
    except PermissionError:
        # Its entry for the parent changes, for which it must be writable.
        _open_up(name, folder)
        os.rename(name, lifted, src_dir_fd=folder, dst_dir_fd=top)


@contextmanager
def _opened(name: str, parent: int | None = None) -> Iterator[int]:
    try:
        folder = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _open_up(name, parent)
        folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        if os.fstat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(folder, stat.S_IRWXU)
        yield folder
    finally:
        os.close(folder)


def _open_up(name: str, parent: int | None) -> None:
    """Lets the owner into a folder that was closed to everybody."""
    handle = os.open(name, _HANDLE, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{handle}").chmod(stat.S_IRWXU)
    finally:
        os.close(handle)
