"""Archives taken apart in memory, by the same rules as on disk."""

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

import msgspec

from domain.bundles import BundleLimits, member_path
from domain.errors import BundleRefused

Files = dict[tuple[str, ...], bytes]

_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP_BEGINS = b"\x1f\x8b"
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_UNIX = 3


class _Member(msgspec.Struct, frozen=True):
    name: str
    kind: int
    content: bytes = b""


def is_zip(archive: bytes) -> bool:
    """Whether an archive is a zip, and so neither a tar nor a tar.gz."""
    return archive.startswith(_ZIP_BEGINS)


def unpacked(archive: bytes, limits: BundleLimits) -> Files:
    """The files of a zip, tar or tar.gz.

    Raises:
        BundleRefused: it is broken, breaks a limit, or holds what no bundle may.
    """
    tree = _Tree(limits, len(archive))
    try:
        for member in _zip(archive) if is_zip(archive) else _tar(_tar_bytes(archive, tree)):
            tree.add(member)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as fault:
        raise BundleRefused(f"The bundle is a broken archive: {fault}.") from fault
    except (RuntimeError, NotImplementedError, ValueError) as fault:
        raise BundleRefused(f"The bundle cannot be unpacked: {fault}.") from fault
    return tree.files


class _Tree:
    """Files and folders as they come out of an archive."""

    def __init__(self, limits: BundleLimits, archive_bytes: int) -> None:
        self.files: Files = {}
        self._folders: set[tuple[str, ...]] = {()}
        self._limits = limits
        self._archive_bytes = archive_bytes
        self._entries = 0
        self._bytes = 0

    def check_inflated(self, inflated_bytes: int) -> None:
        """Holds what came out of a compressed stream to the limits."""
        self._limits.check_unpacked(inflated_bytes, archive_bytes=self._archive_bytes)

    def add(self, member: _Member) -> None:
        """Takes a member in."""
        self._entry()
        if member.kind not in {S_IFREG, S_IFDIR}:
            raise BundleRefused(f"The bundle's entry {member.name!r} is neither file nor folder.")
        parts = member_path(member.name)
        if member.kind == S_IFDIR:
            self._folder(parts, implied=len(parts) - 1)
        else:
            self._file(parts, member)

    def _entry(self) -> None:
        self._entries += 1
        self._limits.check_entries(self._entries)

    def _folder(self, parts: tuple[str, ...], *, implied: int) -> None:
        for depth in range(1, len(parts) + 1):
            path = parts[:depth]
            if path in self.files:
                raise BundleRefused(f"The bundle holds {'/'.join(path)!r} as file and folder.")
            if path not in self._folders and depth <= implied:
                self._entry()
            self._folders.add(path)

    def _file(self, parts: tuple[str, ...], member: _Member) -> None:
        if parts in self.files or parts in self._folders:
            raise BundleRefused(f"The bundle holds {member.name!r} twice.")
        self._folder(parts[:-1], implied=len(parts) - 1)
        self._bytes += len(member.content)
        self.check_inflated(self._bytes)
        self.files[parts] = member.content


def _zip(archive: bytes) -> Iterator[_Member]:
    with zipfile.ZipFile(BytesIO(archive)) as opened:
        end = 0
        for info in sorted(opened.infolist(), key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise BundleRefused(f"The bundle's entry {info.filename!r} overlaps with another.")
            end = info.header_offset + info.compress_size
        if end > len(archive):
            raise zipfile.BadZipFile("entries lie beyond its end")
        for info in opened.infolist():
            yield _zip_member(opened, info)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    name = info.orig_filename
    kind = S_IFMT(info.external_attr >> 16) if info.create_system == _UNIX else 0
    if info.flag_bits & _ENCRYPTED:
        raise BundleRefused(f"The bundle's entry {name!r} is encrypted.")
    if kind == S_IFDIR or (kind in {0, S_IFREG} and name.endswith("/")):
        return _Member(name, S_IFDIR)
    if kind not in {0, S_IFREG}:
        return _Member(name, kind)
    if info.compress_type not in _METHODS:
        raise BundleRefused(f"The bundle's entry {name!r} is compressed in an unsupported way.")
    return _Member(name, S_IFREG, archive.read(info))


def _tar_bytes(archive: bytes, tree: _Tree) -> bytes:
    if not archive.startswith(_GZIP_BEGINS):
        return archive
    inflate = zlib.decompressobj(wbits=31)
    data = inflate.decompress(archive)
    if not inflate.eof:
        raise EOFError("it ends too early")
    if inflate.unused_data.strip(b"\0"):
        raise ValueError("something follows the end of its gzip stream")
    tree.check_inflated(len(data))
    return data


def _tar(data: bytes) -> Iterator[_Member]:
    # As a stream, in which nothing can lead back to where it was.
    with tarfile.open(fileobj=BytesIO(data), mode="r|", encoding="utf-8") as opened:
        for info in opened:
            if info.size < 0:
                raise BundleRefused(f"The bundle's entry {info.name!r} has a size below nothing.")
            if info.isdir():
                yield _Member(info.name, S_IFDIR)
            elif info.isreg() and not info.issparse():
                content = opened.extractfile(info)
                yield _Member(info.name, S_IFREG, content.read() if content is not None else b"")
            else:
                yield _Member(info.name, S_IFLNK)
        # The library takes a damaged header for the end, which is a block of zeros.
        last = data[opened.offset : opened.offset + tarfile.BLOCKSIZE]
        if any(last) or len(last) % tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"the header at byte {opened.offset} is damaged")
