"""Reads archives from strangers: what they hold is only ever files and folders, within limits.

Nothing is trusted that the archive says of itself: sizes are counted as bytes come, and names,
kinds and numbers are judged before anything is written.
"""

import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec

from domain.bundles import BundleLimits, member_path
from domain.errors import BundleRefused

CHUNK_BYTES = 256 * 1024

_GZIP_MAGIC = b"\x1f\x8b"
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}

# A zip's directory entry is at least this long; more entries than fit were announced falsely.
_END_OF_DIRECTORY = b"PK\x05\x06"
_LONGEST_COMMENT = 65535 + 22

Checkpoint = Callable[[], None]
"""Called between pieces of work; raises where the work is to be given up."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One file or folder of an archive."""

    parts: tuple[str, ...]
    folder: bool
    executable: bool = False


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
    writer = _Writer(folder_fd, limits, size, checkpoint)
    with archive.open("rb") as file, _refusing_broken_archives():
        if zipfile.is_zipfile(file):
            _unpack_zip(file, size, limits, writer)
        else:
            file.seek(0)
            _unpack_tar(file, writer)


@contextmanager
def _refusing_broken_archives() -> Iterator[None]:
    """Turns what the archive libraries raise for broken ones into a refusal."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, struct.error) as fault:
        raise BundleRefused(f"The bundle is a broken archive: {fault}.") from fault
    except (NotImplementedError, ValueError, UnicodeError, RuntimeError, OverflowError) as fault:
        raise BundleRefused(f"The bundle cannot be unpacked: {fault}.") from fault


class _Writer:
    """Writes members into a folder, counting as it goes, and follows no link."""

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

    def count(self, unpacked_bytes: int) -> None:
        """Takes bytes into account that came out of the archive."""
        self._bytes += unpacked_bytes
        self._limits.check_unpacked(self._bytes, archive_bytes=self._archive_bytes)
        self._checkpoint()

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
        """Writes a member."""
        if member.folder:
            self._folder(member.parts)
        else:
            self._file(member, content)

    def _folder(self, parts: tuple[str, ...]) -> None:
        for depth in range(1, len(parts) + 1):
            path = parts[:depth]
            if path in self._files:
                raise BundleRefused(f"The bundle holds {_shown(path)} as a file and as a folder.")
            if path not in self._folders:
                os.mkdir("/".join(path), 0o755, dir_fd=self._folder_fd)
                self._folders.add(path)
                # Folders that only names imply take up the disk as others do.
                if depth < len(parts):
                    self.entry()

    def _file(self, member: Member, content: IO[bytes] | None) -> None:
        parts = member.parts
        if not parts or parts in self._files or parts in self._folders:
            raise BundleRefused(f"The bundle holds {_shown(parts)} twice.")
        self._folder(parts[:-1])
        self._files.add(parts)
        # The folder was empty and is the agent's own, so that O_EXCL alone keeps links out.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        mode = 0o755 if member.executable else 0o644
        descriptor = os.open("/".join(parts), flags, mode, dir_fd=self._folder_fd)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            while content is not None and (chunk := content.read(CHUNK_BYTES)):
                self.count(len(chunk))
                file.write(chunk)


def _shown(parts: tuple[str, ...]) -> str:
    return repr("/".join(parts))


def _unpack_zip(file: BinaryIO, size: int, limits: BundleLimits, writer: _Writer) -> None:
    _check_directory(file, size, limits)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_overlaps(members, size)
        for info in members:
            writer.entry()
            member = _zip_member(info)
            if not member.parts:
                continue
            if member.folder:
                writer.write(member, None)
            else:
                with archive.open(info) as content:
                    writer.write(member, content)


def _check_directory(file: BinaryIO, size: int, limits: BundleLimits) -> None:
    """Looks at the number of entries before the library reads them all into memory."""
    file.seek(max(0, size - _LONGEST_COMMENT))
    tail = file.read(_LONGEST_COMMENT)
    position = tail.rfind(_END_OF_DIRECTORY)
    if position >= 0 and len(tail) >= position + 16:
        entries, directory_bytes = struct.unpack_from("<HI", tail, position + 10)
        if entries == 0xFFFF or directory_bytes == 0xFFFFFFFF:
            # Zip64: the numbers stand elsewhere; the directory can hold no more than the file.
            directory_bytes = size
        limits.check_entries(entries if entries != 0xFFFF else 0)
        if directory_bytes > limits.max_entries * 4096:
            raise BundleRefused("The bundle's table of contents is too large.")
    file.seek(0)


def _check_overlaps(members: list[zipfile.ZipInfo], size: int) -> None:
    """Members that share bytes are how small archives unpack to huge ones."""
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise BundleRefused(f"The bundle's entry {info.filename!r} overlaps with another.")
        end = info.header_offset + info.compress_size
    if end > size:
        raise BundleRefused("The bundle is a broken archive: entries lie beyond its end.")


def _zip_member(info: zipfile.ZipInfo) -> Member:
    # The library cuts names at NUL; the name as it stands in the archive is what counts.
    name = info.orig_filename
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode) if info.create_system == 3 else 0  # 3: made on Unix
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _not_a_file(name)
    if info.flag_bits & _ENCRYPTED:
        raise BundleRefused(f"The bundle's entry {name!r} is encrypted.")
    folder = name.endswith("/") or kind == stat.S_IFDIR
    if not folder and info.compress_type not in _METHODS:
        raise BundleRefused(
            f"The bundle's entry {name!r} is compressed in a way that is not supported; "
            "use deflate, as zip does by default."
        )
    return Member(parts=member_path(name), folder=folder, executable=bool(mode & stat.S_IXUSR))


def _not_a_file(name: str) -> BundleRefused:
    return BundleRefused(
        f"The bundle's entry {name!r} is neither file nor folder: links, devices and pipes are "
        "not taken."
    )


def _unpack_tar(file: BinaryIO, writer: _Writer) -> None:
    compressed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    source = _Inflated(file, writer) if compressed else _Counted(file, writer)
    try:
        stream = cast("BinaryIO", source)  # the library only reads from it
        archive = tarfile.open(fileobj=stream, mode="r|", encoding="utf-8")  # noqa: SIM115
    except tarfile.ReadError as fault:
        raise BundleRefused(
            "The bundle is not a zip, tar or tar.gz archive.",
            hint="Zip the Compose file with all that it refers to.",
        ) from fault
    with archive:
        for info in archive:
            writer.entry()
            member = _tar_member(info)
            if member.parts or not member.folder:
                content = None if member.folder else archive.extractfile(info)
                writer.write(member, content)
            # The library remembers every member, which nobody asks for here.
            archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it
    source.finish()


def _tar_member(info: tarfile.TarInfo) -> Member:
    if not (info.isreg() or info.isdir()) or info.issparse():
        raise _not_a_file(info.name)
    return Member(
        parts=member_path(info.name),
        folder=info.isdir(),
        executable=bool(info.mode & stat.S_IXUSR),
    )


class _Counted:
    """A plain tar, which unpacks to what it is."""

    def __init__(self, file: BinaryIO, writer: _Writer) -> None:
        self._file = file
        self._writer = writer

    def read(self, size: int) -> bytes:
        """The next bytes."""
        self._writer.count(0)
        return self._file.read(size)

    def finish(self) -> None:
        """Nothing needs to be true of the rest."""


class _Inflated:
    """A gzip stream that counts what it gives, headers included, and is whole only at its end."""

    def __init__(self, file: BinaryIO, writer: _Writer) -> None:
        self._file = file
        self._writer = writer
        self._inflate = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._inflated = 0

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        while len(self._pending) < size and not self._inflate.eof:
            raw = self._inflate.unconsumed_tail or self._file.read(CHUNK_BYTES)
            if not raw:
                raise EOFError("it ends too early")
            piece = self._inflate.decompress(raw, CHUNK_BYTES)
            self._pending += piece
            self._inflated += len(piece)
            self._writer.check_inflated(self._inflated)
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken

    def finish(self) -> None:
        """Reads to the end, where the checksum stands."""
        while self.read(CHUNK_BYTES):
            pass
