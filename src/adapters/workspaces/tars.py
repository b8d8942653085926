"""Tars from strangers, plain or through gzip."""

import stat
import tarfile
import zlib
from typing import BinaryIO, Self, cast

from adapters.workspaces.writer import CHUNK_BYTES, Member, Writer, not_a_file
from domain.bundles import member_path
from domain.errors import BundleRefused

_GZIP_MAGIC = b"\x1f\x8b"

_DAMAGED = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined]  # typeshed lacks it
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]  # typeshed lacks it
)

_LONGEST_HEADERS = 256 * 1024
"""Bytes of headers in front of one member. The library keeps them in memory, and copies those that
are said to hold for all members for each one."""


def unpack_tar(file: BinaryIO, writer: Writer) -> None:
    """Unpacks a tar or tar.gz through ``writer``.

    Raises:
        BundleRefused: it is none, breaks a limit, or holds what no bundle may.
        tarfile.TarError: it is broken, as other errors of the library tell as well.
        OSError: the disk refuses.
    """
    compressed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    source = _Source(_Inflated(file, writer) if compressed else file, writer)
    with _opened(source) as archive:
        for info in archive:
            writer.entry()
            member = _member(info)
            # Of what a folder claims to hold nothing is read, and leave for it would be left over.
            source.expect(0 if member.folder else info.size)
            writer.write(member, None if member.folder else archive.extractfile(info))
            # The library remembers every member, which nobody asks for here.
            archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it
    source.finish()


def _opened(source: "_Source") -> tarfile.TarFile:
    stream = cast("BinaryIO", source)  # the library only reads from it
    try:
        return tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", tarinfo=_SoundInfo)
    except tarfile.ReadError as fault:
        raise BundleRefused(
            "The bundle is not a zip, tar or tar.gz archive.",
            hint="Zip the Compose file with all that it refers to.",
        ) from fault


def _member(info: tarfile.TarInfo) -> Member:
    if not (info.isreg() or info.isdir()) or info.issparse():
        raise not_a_file(info.name)
    if info.size < 0:
        raise BundleRefused(f"The bundle's entry {info.name!r} has a size below nothing.")
    return Member(
        parts=member_path(info.name),
        folder=info.isdir(),
        executable=bool(info.mode & stat.S_IXUSR),
    )


class _SoundInfo(tarfile.TarInfo):
    """A member's header; the library itself takes a damaged one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next member.

        Raises:
            ReadError: its header is damaged or cut off.
        """
        try:
            return super().fromtarfile(archive)
        except _DAMAGED as fault:
            # The first header tells whether this is a tar at all, which the library reports.
            if archive.offset == 0:
                raise
            raise tarfile.ReadError(f"the header at byte {archive.offset} is damaged") from fault


class _Source:
    """The bytes of a tar, of which the library takes no more at once than it was given leave to."""

    def __init__(self, file: "BinaryIO | _Inflated", writer: Writer) -> None:
        self._file = file
        self._writer = writer
        self._leave = _LONGEST_HEADERS

    def expect(self, content_bytes: int) -> None:
        """Gives leave to read a member's content and the headers of the next one."""
        self._leave = content_bytes + _LONGEST_HEADERS

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        self._leave -= size
        if self._leave < 0:
            raise BundleRefused("The bundle holds an entry with headers that are too large.")
        self._writer.check_inflated(0)
        return self._file.read(size)

    def finish(self) -> None:
        """Sees to it that a compressed archive is whole.

        Raises:
            EOFError: it ends too early.
            zlib.error: it is damaged.
            ValueError: something follows it.
        """
        if isinstance(self._file, _Inflated):
            self._file.finish()


class _Inflated:
    """A gzip stream that counts what it gives, headers included, and is whole only at its end."""

    def __init__(self, file: BinaryIO, writer: Writer) -> None:
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
        """Reads to the end, where the checksum stands, and looks that nothing else follows."""
        while self.read(CHUNK_BYTES):
            pass
        rest = self._inflate.unused_data
        while rest:
            # A second gzip stream may follow in theory; nobody would see what it holds.
            if rest.strip(b"\0"):
                raise ValueError("something follows the end of its gzip stream")
            rest = self._file.read(CHUNK_BYTES)
