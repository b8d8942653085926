"""Zips from strangers."""

import io
import stat
import zipfile
from typing import BinaryIO, cast

from adapters.workspaces.writer import Member, Writer, not_a_file
from domain.bundles import BundleLimits, member_path
from domain.errors import BundleRefused

_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}

_TABLE_BYTES_FOR_EACH_ENTRY = 256
_SMALLEST_TABLE_LIMIT = 1024 * 1024


def unpack_zip(file: BinaryIO, size_bytes: int, limits: BundleLimits, writer: Writer) -> None:
    """Unpacks a zip of ``size_bytes`` through ``writer``.

    Raises:
        BundleRefused: it breaks a limit, or holds what no bundle may.
        zipfile.BadZipFile: it is broken, as other errors of the library tell as well.
        OSError: the disk refuses.
    """
    most = max(_SMALLEST_TABLE_LIMIT, limits.max_entries * _TABLE_BYTES_FOR_EACH_ENTRY)
    bounded = cast("BinaryIO", _BoundedReads(file, size_bytes, most))  # reading is all that is done
    with zipfile.ZipFile(bounded) as archive:
        members = archive.infolist()
        limits.check_entries(len(members))
        _check_overlaps(members, size_bytes)
        for info in members:
            writer.entry()
            member = _member(info)
            if member.folder:
                writer.write(member, None)
            else:
                with archive.open(info) as content:
                    writer.write(member, content)


class _BoundedReads:
    """A file of which nobody reads much at once.

    The library takes the whole table of contents into memory in one read and makes some hundred
    bytes of each of its entries. How long the table is says a record that can be hidden from
    whoever else looks for it, so the read itself is what is stopped.
    """

    def __init__(self, file: BinaryIO, size_bytes: int, most: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._most = most
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes, or all that are left."""
        wanted = self._size_bytes - self._file.tell() if size < 0 else size
        if wanted > self._most:
            raise BundleRefused("The bundle's table of contents is too large.")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place in the file."""
        return self._file.seek(offset, whence)


def _check_overlaps(members: list[zipfile.ZipInfo], size_bytes: int) -> None:
    """Members that share bytes are how small archives unpack to huge ones."""
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise BundleRefused(f"The bundle's entry {info.filename!r} overlaps with another.")
        end = info.header_offset + info.compress_size
    if end > size_bytes:
        raise BundleRefused("The bundle is a broken archive: entries lie beyond its end.")


def _member(info: zipfile.ZipInfo) -> Member:
    # The library cuts names at NUL; the name as it stands in the archive is what counts.
    name = info.orig_filename
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode) if info.create_system == 3 else 0  # 3: made on Unix
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise not_a_file(name)
    if info.flag_bits & _ENCRYPTED:
        raise BundleRefused(f"The bundle's entry {name!r} is encrypted.")
    folder = name.endswith("/") or kind == stat.S_IFDIR
    if not folder and info.compress_type not in _METHODS:
        raise BundleRefused(
            f"The bundle's entry {name!r} is compressed in a way that is not supported; "
            "use deflate, as zip does by default."
        )
    return Member(parts=member_path(name), folder=folder, executable=bool(mode & stat.S_IXUSR))
