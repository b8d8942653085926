"""Reads archives from strangers: what they hold is only ever files and folders, within limits.

Nothing is trusted that the archive says of itself: sizes are counted as bytes come, and names,
kinds and numbers are judged before anything is written.
"""

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.workspaces.tars import unpack_tar
from adapters.workspaces.writer import Checkpoint, Writer
from adapters.workspaces.zips import unpack_zip
from domain.bundles import BundleLimits
from domain.errors import BundleRefused

# The first member of a zip, or the end of an empty one. What the library looks for at the end
# would also be found in a tar whose last file is a zip.
_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")


def unpack(archive: Path, folder_fd: int, limits: BundleLimits, checkpoint: Checkpoint) -> None:
    """Unpacks an archive into an empty folder.

    What was written stays when it fails; whoever made the folder removes it.

    Args:
        archive: a zip, tar or tar.gz, told by its content.
        folder_fd: the folder, open.
        limits: how much there may be.
        checkpoint: called between pieces.

    Raises:
        BundleRefused: it is broken, breaks a limit, or holds what no bundle may.
        OSError: the disk refuses.
    """
    size = archive.stat().st_size
    writer = Writer(folder_fd, limits, size, checkpoint)
    with archive.open("rb") as file, _refusing_broken_archives():
        begins_as_zip = file.read(4) in _ZIP_BEGINS
        file.seek(0)
        if begins_as_zip:
            unpack_zip(file, size, limits, writer)
        else:
            unpack_tar(file, writer)


@contextmanager
def _refusing_broken_archives() -> Iterator[None]:
    """Turns what the archive libraries raise for broken ones into a refusal."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, struct.error) as fault:
        raise BundleRefused(f"The bundle is a broken archive: {fault}.") from fault
    except (NotImplementedError, ValueError, UnicodeError, RuntimeError, OverflowError) as fault:
        raise BundleRefused(f"The bundle cannot be unpacked: {fault}.") from fault
