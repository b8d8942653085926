"""The upload of a large bundle: the agent's memory, and its speed beside a plain copy."""

import hashlib
import shutil
import zipfile
from pathlib import Path
from statistics import median

import msgspec

from benchmarks import Row, Stopwatch, show, timed_row
from benchmarks.agent import agent
from benchmarks.labs import unbuilt_lab, write_large_bundle, zipped

_ROUNDS = 3
_MEGABYTES = 500
_AIM_MB = 32
_CHUNK_BYTES = 1024 * 1024
_SETTINGS = {"MAX_BUNDLE_BYTES": str(2 * 10**9), "MAX_UNPACKED_BYTES": str(4 * 10**9)}


class _Upload(msgspec.Struct, frozen=True, kw_only=True):
    """What one upload took."""

    seconds: float
    before_mb: float
    peak_mb: float

    @property
    def growth_mb(self) -> float:
        return self.peak_mb - self.before_mb


def run(folder: Path) -> None:
    """Measures and prints."""
    archive = folder / "large.zip"
    write_large_bundle(archive, _MEGABYTES)
    uploads, copies, unpacked = [], [], []
    for _ in range(_ROUNDS):
        copies.append(_copy_seconds(archive, folder / "copy.zip"))
        unpacked.append(copies[-1] + _unpack_seconds(archive, folder / "unpacked"))
        uploads.append(_upload(archive))
    _show(uploads, copies, unpacked)


def _show(uploads: list[_Upload], copies: list[float], unpacked: list[float]) -> None:
    seconds = [upload.seconds for upload in uploads]
    worst = max(uploads, key=lambda upload: upload.growth_mb)
    show(
        f"Upload of a bundle of {_MEGABYTES} MB; {_ROUNDS} rounds",
        [
            timed_row("plain copy with its SHA-256", copies),
            timed_row("the same, and unpacked", unpacked, copies),
            timed_row("agent, until it is kept", seconds, copies),
            Row(
                what="agent, to the copy that is unpacked too",
                figure="",
                ratio=median(seconds) / median(unpacked),
            ),
            Row(what="agent's throughput", figure=f"{_MEGABYTES / median(seconds):.0f} MB/s"),
            Row(what="agent's memory before", figure=f"{worst.before_mb:.1f} MB"),
            Row(what="agent's memory at its peak", figure=f"{worst.peak_mb:.1f} MB"),
            Row(what="growth", figure=f"{worst.growth_mb:.1f} MB", aim=f"at most {_AIM_MB} MB"),
        ],
    )


def _upload(archive: Path) -> _Upload:
    with agent(**_SETTINGS) as ours:
        # A small one first, so that what any first request loads is not taken for growth.
        ours.upload(zipped(unbuilt_lab()))
        before = ours.memory_mb("VmRSS")
        watch = Stopwatch()
        ours.upload_file(archive)
        return _Upload(seconds=watch.seconds, before_mb=before, peak_mb=ours.memory_mb("VmHWM"))


def _copy_seconds(source: Path, target: Path) -> float:
    watch, digest = Stopwatch(), hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
    seconds = watch.seconds
    target.unlink()
    return seconds


def _unpack_seconds(archive: Path, folder: Path) -> float:
    watch = Stopwatch()
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    shutil.rmtree(folder)
    return watch.seconds
