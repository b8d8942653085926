"""Bundles for tests: honest ones, and such as attackers send."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Mapping

COMPOSE = b"services: {web: {image: busybox}}\n"

Content = str | bytes


def zip_bundle(files: Mapping[str, Content], *, modes: Mapping[str, int] | None = None) -> bytes:
    """A zip of files; names that end with a slash are folders."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            kind = stat.S_IFDIR if name.endswith("/") else stat.S_IFREG
            info.external_attr = (kind | (modes or {}).get(name, 0o644)) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def tar_bundle(files: Mapping[str, Content], *, compressed: bool = True) -> bytes:
    """A tar, or tar.gz, of files."""
    return tar_of(
        [(tarfile.TarInfo(name), _bytes(content)) for name, content in files.items()],
        compressed=compressed,
    )


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]], *, compressed: bool = True) -> bytes:
    """A tar, or tar.gz, of members as they are given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue()) if compressed else buffer.getvalue()


def _bytes(content: Content) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _zip_with(name: str, kind: int, content: bytes = b"/etc/passwd") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("compose.yaml", COMPOSE)
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, content)
    return buffer.getvalue()


def _tar_with(kind: bytes, name: str = "evil", target: str = "/etc/passwd") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return tar_of([(tarfile.TarInfo("compose.yaml"), COMPOSE), (info, b"")])


def _header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _tar_sparse() -> bytes:
    """A member that says of itself, in extended headers, that it is sparse."""
    info = tarfile.TarInfo("evil")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "e"}
    return tar_of([(tarfile.TarInfo("compose.yaml"), COMPOSE), (info, b"0\n" + b"\0" * 510)])


def _tar_damaged() -> bytes:
    """A tar whose second header does not bear out its checksum."""
    data = bytearray(tar_bundle({"compose.yaml": COMPOSE, "lost": b"x"}, compressed=False))
    data[1024 + 3] ^= 1
    return bytes(data)


def _gzip_twice() -> bytes:
    """A tar cut between two members and compressed in two pieces."""
    data = tar_bundle({"compose.yaml": COMPOSE, "lost": b"x"}, compressed=False)
    return gzip.compress(data[:1024]) + gzip.compress(data[1024:])


def header_bomb(megabytes: int, *, behind_folder: bool = False) -> bytes:
    """A small tar.gz with one extended header that unpacks to a thousand times its size.

    ``behind_folder`` puts a folder before it that claims to have content of that size itself.
    """
    size = megabytes * 1024 * 1024
    folder = _header(tarfile.DIRTYPE, size) if behind_folder else b""
    return gzip.compress(folder + _header(tarfile.XHDTYPE, size) + bytes(size))


def sparse_bomb(megabytes: int) -> bytes:
    """A small tar.gz with a map of holes that the library would read into memory."""
    info = tarfile.TarInfo("evil")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "e"}
    info.size = megabytes * 1024 * 1024
    numbers = b"9999999\n" + b"0\n" * (info.size // 2)
    return gzip.compress(info.tobuf(tarfile.PAX_FORMAT) + numbers[: info.size])


def plain_header(kilobytes: int) -> bytes:
    """A tar with one extended header of that size, in front of a Compose file."""
    info = tarfile.TarInfo("compose.yaml")
    info.pax_headers = {"comment": "x" * kilobytes * 1024}
    return tar_of([(info, COMPOSE)], compressed=False)


def hidden_table(entries: int) -> bytes:
    """A zip with more entries than it says, whose last record hides from a search backwards."""
    magic = b"PK\x01\x02"
    table = b"".join(
        struct.pack("<4sBBBBHHHHIIIHHHHHII", magic, 20, 3, 20, *[0] * 8, 8, *[0] * 6) + b"%08d" % n
        for n in range(entries)
    )
    offset = struct.unpack("<I", b"PK\x05\x06")[0]
    start = b"PK\x03\x04" + bytes(60)
    return (
        start + table + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(table), offset, 0)
    )


def zip_in_other_order() -> bytes:
    """A zip whose table of contents lists its entries backwards."""
    data = zip_bundle({"compose.yaml": COMPOSE, "other": b"x"})
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 1)
    end = data.index(b"PK\x05\x06")
    return data[:first] + data[second:end] + data[first:second] + data[end:]


def _zip_named(written: str, name: bytes) -> bytes:
    """A zip with an entry whose name is written over by another of the same length."""
    data = zip_bundle({"compose.yaml": COMPOSE, written: b"x"})
    return data.replace(written.encode(), name)


def _zip_compressed_by(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("compose.yaml", COMPOSE)
    return buffer.getvalue()


def _zip_twice(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("compose.yaml", COMPOSE)
        archive.writestr(name, "one")
        info = zipfile.ZipInfo(name)
        archive.NameToInfo.pop(name)
        archive.writestr(info, "two")
    return buffer.getvalue()


def _encrypted() -> bytes:
    data = bytearray(zip_bundle({"compose.yaml": COMPOSE}))
    # The flags stand at offset 6 of the entry and 8 of the directory's copy of it.
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _overlapping() -> bytes:
    """Two entries in the directory that share one entry's bytes."""
    data = zip_bundle({"compose.yaml": COMPOSE, "other.yaml": COMPOSE})
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 1)
    changed = bytearray(data)
    changed[second + 42 : second + 46] = struct.pack("<I", 0)
    return bytes(changed)


def _lying_size() -> bytes:
    """An entry that unpacks to more than it says."""
    data = bytearray(zip_bundle({"compose.yaml": COMPOSE, "big": b"0" * 100_000}))
    last = data.rindex(b"PK\x01\x02")
    data[last + 24 : last + 28] = struct.pack("<I", 10)
    return bytes(data)


def bomb(megabytes: int) -> bytes:
    """A zip whose one file unpacks to a thousand times its size."""
    return zip_bundle({"compose.yaml": COMPOSE, "zeros": b"\0" * (megabytes * 1024 * 1024)})


def many(entries: int) -> bytes:
    """A zip of many empty files."""
    return zip_bundle({"compose.yaml": COMPOSE, **{f"f{n}": b"" for n in range(entries)}})


def hostile() -> dict[str, bytes]:
    """What no bundle may be or hold, by what is wrong with it."""
    honest = zip_bundle({"compose.yaml": COMPOSE, "Dockerfile": b"FROM scratch\n" * 200})
    whole_tar = tar_bundle({"compose.yaml": COMPOSE, "Dockerfile": b"FROM scratch\n" * 200})
    return {
        "empty": b"",
        "no archive": b"services: {web: {image: busybox}}\n" * 50,
        "cut off": honest[: len(honest) // 2],
        "tar cut off": whole_tar[: len(whole_tar) - 20],
        "damaged": honest[:60] + b"\xff" * 20 + honest[80:],
        "points outside": zip_bundle({"compose.yaml": COMPOSE, "../evil": b"x"}),
        "points outside further in": zip_bundle({"compose.yaml": COMPOSE, "a/../../evil": b"x"}),
        "tar points outside": tar_bundle({"compose.yaml": COMPOSE, "../evil": b"x"}),
        "absolute": zip_bundle({"compose.yaml": COMPOSE, "/tmp/evil": b"x"}),
        "tar absolute": tar_bundle({"compose.yaml": COMPOSE, "/tmp/evil": b"x"}),
        "drive letter": zip_bundle({"compose.yaml": COMPOSE, "C:/evil": b"x"}),
        "backslash": zip_bundle({"compose.yaml": COMPOSE, "..\\evil": b"x"}),
        "newline": zip_bundle({"compose.yaml": COMPOSE, "a\nb": b"x"}),
        "name too long": zip_bundle({"compose.yaml": COMPOSE, "n" * 300: b"x"}),
        "too deep": zip_bundle({"compose.yaml": COMPOSE, "/".join("d" * 200): b"x"}),
        "link": _zip_with("evil", stat.S_IFLNK),
        "link for the Compose file": _zip_with("compose.yml", stat.S_IFLNK),
        "device": _zip_with("evil", stat.S_IFCHR),
        "pipe": _zip_with("evil", stat.S_IFIFO),
        "tar link": _tar_with(tarfile.SYMTYPE),
        "tar hard link": _tar_with(tarfile.LNKTYPE, target="compose.yaml"),
        "tar device": _tar_with(tarfile.CHRTYPE),
        "tar pipe": _tar_with(tarfile.FIFOTYPE),
        "twice": _zip_twice("a"),
        "file and folder": zip_bundle({"compose.yaml": COMPOSE, "a": b"x", "a/b": b"y"}),
        "folder and file": zip_bundle({"compose.yaml": COMPOSE, "a/b": b"y", "a": b"x"}),
        "encrypted": _encrypted(),
        "overlapping": _overlapping(),
        "lies about its size": _lying_size(),
        "name with NUL": _zip_named("evil.txt", b"evil\0txt"),
        "name not in UTF-8": tar_of(
            [(tarfile.TarInfo("compose.yaml"), COMPOSE), (tarfile.TarInfo("\udcff"), b"x")]
        ),
        "link that ends as a folder": _zip_with("evil/", stat.S_IFLNK),
        "file without a name": _zip_with(".", stat.S_IFREG),
        "folder, then file": zip_bundle({"compose.yaml": COMPOSE, "a/": b"", "a": b"x"}),
        "compressed by bzip2": _zip_compressed_by(zipfile.ZIP_BZIP2),
        "compressed by lzma": _zip_compressed_by(zipfile.ZIP_LZMA),
        "tar twice": tar_of(
            [(tarfile.TarInfo(name), COMPOSE) for name in ("compose.yaml", "a", "./a")]
        ),
        "tar sparse": _tar_sparse(),
        "tar sparse, of old": _tar_with(tarfile.GNUTYPE_SPARSE),
        "tar with a size below nothing": _header(tarfile.REGTYPE, -512) + bytes(1024),
        "tar with a size beyond its end": _header(tarfile.REGTYPE, 1 << 40) + bytes(1024),
        "tar damaged": _tar_damaged(),
        "gzip in two pieces": _gzip_twice(),
        "gzip with something after it": whole_tar + b"more",
        "no Compose file": zip_bundle({"README": b"x"}),
        "Compose file further in": zip_bundle({"lab/compose.yaml": COMPOSE}),
        "Compose file is a folder": zip_bundle({"compose.yaml/": b""}),
        "Compose file too large": zip_bundle({"compose.yaml": b"#" * (1024 * 1024 + 1)}),
    }
