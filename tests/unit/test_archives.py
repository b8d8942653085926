"""Archives of any shape: nothing outside of the folder is ever touched."""

import io
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.workspaces.archives import unpack
from domain.bundles import BundleLimits
from domain.errors import BundleRefused
from tests.support.bundles import COMPOSE, tar_bundle, zip_bundle

LIMITS = BundleLimits(max_unpacked_bytes=1_000_000, max_entries=50)

PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "A",
        "b",
        "link",
        "outside",
        "C:",
        "~",
        "a\\b",
        "..\\..",
        "n\0n",
        "\n",
        "é",
    ]
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
TARGETS = st.sampled_from(["../outside", "..", "/", "../outside/file", "a", "link"])
ZIP_KINDS = st.sampled_from([0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO])
TAR_KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
TAR_FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def a_zip(members: list[tuple[str, int, str]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, kind, target in members:
            info = zipfile.ZipInfo("placeholder")
            # Set afterwards, since the library tidies names that it is made with.
            info.filename = name
            info.create_system, info.external_attr = 3, (kind | 0o777) << 16
            archive.NameToInfo.clear()
            archive.writestr(info, target)
    return buffer.getvalue()


def a_tar(members: list[tuple[str, bytes, str]], style: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=style) as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, 0o6777
            info.size = len(target) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(target.encode()))
    return buffer.getvalue()


ARCHIVES = st.one_of(
    st.lists(st.tuples(NAMES, ZIP_KINDS, TARGETS), max_size=8).map(a_zip),
    st.builds(a_tar, st.lists(st.tuples(NAMES, TAR_KINDS, TARGETS), max_size=8), TAR_FORMATS),
)


@contextmanager
def _sentinel() -> Iterator[Path]:
    """A place with a folder to unpack into and one that must stay as it is."""
    with tempfile.TemporaryDirectory() as place:
        outside = Path(place, "outside")
        outside.mkdir()
        (outside / "file").write_bytes(b"kept")
        Path(place, "inside").mkdir()
        yield Path(place)
        assert {path.name for path in Path(place).iterdir()} == {"archive", "inside", "outside"}
        assert [path.name for path in outside.iterdir()] == ["file"]
        assert (outside / "file").read_bytes() == b"kept"
        assert (outside / "file").stat().st_nlink == 1


def _unpacked(place: Path, archive: bytes) -> bool:
    """Whether an archive was taken; whatever lies inside then is an ordinary file or folder."""
    (place / "archive").write_bytes(archive)
    inside = os.open(place / "inside", os.O_RDONLY)
    try:
        unpack(place / "archive", inside, LIMITS, lambda: None)
    except BundleRefused:
        return False
    finally:
        os.close(inside)
        for path in (place / "inside").rglob("*"):
            mode = path.lstat().st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode)
            assert not mode & (stat.S_ISUID | stat.S_ISGID)
    return True


@settings(max_examples=200, deadline=None)
@given(ARCHIVES)
def test_whatever_the_members_are_called_nothing_outside_is_touched(archive: bytes) -> None:
    with _sentinel() as place:
        _unpacked(place, archive)


HONEST = {"compose.yaml": COMPOSE, "src/app.py": b"print('lab')\n" * 30, "data/": b""}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [zip_bundle(HONEST), tar_bundle(HONEST), tar_bundle(HONEST, compressed=False)[:4096]]
    ),
    st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=4)), max_size=4),
    st.floats(0.5, 1),
)
def test_a_damaged_archive_is_taken_or_refused_and_never_another_failure(
    archive: bytes, damages: list[tuple[float, bytes]], kept: float
) -> None:
    damaged = bytearray(archive)
    for place, content in damages:
        start = int(place * len(damaged))
        damaged[start : start + len(content)] = content
    with _sentinel() as folder:
        _unpacked(folder, bytes(damaged[: int(len(damaged) * kept)]))


def test_an_honest_archive_is_taken() -> None:
    for archive in (zip_bundle(HONEST), tar_bundle(HONEST)):
        with _sentinel() as place:
            assert _unpacked(place, archive)
            assert (place / "inside" / "compose.yaml").read_bytes() == COMPOSE
