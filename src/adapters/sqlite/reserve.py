"""Room on disk that is held for the time when there is none left."""

import os
from pathlib import Path

FILES = 4
FILE_BYTES = 1024 * 1024

_MARGIN = 2
"""How many times its own size must be free before it is made anew.

A disk that is full to the brim would else give it and take it by turns.
"""


class Reserve:
    """Files that are given up when a record cannot be written: what is written then makes room.

    Several of them, since a disk can run out of files as well.

    Args:
        folder: holds them, and nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def whole(self) -> bool:
        """Whether it is there."""
        return all(path.exists() for path in self._files())

    def release(self) -> bool:
        """Gives its room back to the disk; whether there was any."""
        released = False
        for path in self._files():
            if path.exists():
                path.unlink()
                released = True
        return released

    def restore(self) -> bool:
        """Makes what is missing of it, where the disk has room enough; whether it is whole."""
        if not self.whole and self._has_room():
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                for path in self._files():
                    _fill(path)
            except OSError:
                self.release()
        return self.whole

    def _files(self) -> list[Path]:
        return [self._folder / str(number) for number in range(FILES)]

    def _has_room(self) -> bool:
        disk = os.statvfs(self._folder.parent)
        files = disk.f_favail if disk.f_files else _MARGIN * FILES
        free_bytes = disk.f_bavail * disk.f_frsize
        return files >= _MARGIN * FILES and free_bytes >= _MARGIN * FILES * FILE_BYTES


def _fill(path: Path) -> None:
    # Chance, since some disks make nothing of zeros.
    with path.open("wb") as file:
        file.write(os.urandom(FILE_BYTES))
        file.flush()
        os.fsync(file.fileno())
