"""The two versions of control groups: which file holds what."""

import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from adapters.cgroups.kernel_files import field, read, read_if_there

_UNLIMITED = b"max"

_BLOCK_FILES = (
    ("blkio.bfq.io_service_bytes_recursive", "blkio.io_service_bytes_recursive"),
    ("blkio.throttle.io_service_bytes",),
)
"""The Engine looks at the later ones where the earlier ones tell of no device."""


class Counters(NamedTuple):
    """What one group has used."""

    cpu_seconds: float
    memory_bytes: int
    memory_limit_bytes: int | None
    """None where it has none."""
    processes: int
    block_read_bytes: int
    block_written_bytes: int


class Version(Protocol):
    """Reads the files of one version. All raise OSError or ValueError where they cannot."""

    anchor: str
    """The folder below which the places of all groups are to be found."""

    def counters(self, place: str) -> Counters:
        """What the group at a place has used."""
        ...

    def process_id(self, place: str) -> int:
        """One process of the group; 0 where it is in another world of processes than ours."""
        ...


def version_at(root: str) -> Version | None:
    """The version that is used below a root; None where none can be seen."""
    # First, since a group of the second version may have any name, such as "memory".
    if os.path.isfile(f"{root}/cgroup.controllers"):  # noqa: PTH113 - asked at every reading
        return VersionTwo(root)
    if os.path.isdir(f"{root}/memory"):  # noqa: PTH112 - the same
        return VersionOne(root)
    return None


class VersionOne:
    """A tree for each kind of counter, the same places in all of them."""

    def __init__(self, root: str) -> None:
        self.anchor = f"{root}/memory"
        self._cpu = f"{root}/cpuacct"
        self._processes = f"{root}/pids"
        self._block = f"{root}/blkio"

    def counters(self, place: str) -> Counters:
        """What the group at a place has used."""
        memory = f"{self.anchor}/{place}"
        used = int(read(f"{memory}/memory.usage_in_bytes"))
        idle = field(read(f"{memory}/memory.stat"), b"total_inactive_file")
        read_bytes, written_bytes = self._block_bytes(place)
        return Counters(
            cpu_seconds=int(read(f"{self._cpu}/{place}/cpuacct.usage")) / 1e9,
            memory_bytes=_without(used, idle),
            memory_limit_bytes=int(read(f"{memory}/memory.limit_in_bytes")),
            processes=int(read_if_there(f"{self._processes}/{place}/pids.current") or 0),
            block_read_bytes=read_bytes,
            block_written_bytes=written_bytes,
        )

    def process_id(self, place: str) -> int:
        """One process of the group."""
        return _first_process(f"{self.anchor}/{place}")

    def _block_bytes(self, place: str) -> tuple[int, int]:
        for names in _BLOCK_FILES:
            texts = [read_if_there(f"{self._block}/{place}/{name}") for name in names]
            rows = [row for text in texts for row in _rows(text) if len(row) == 3]
            if rows:
                return _sum(rows, b"Read"), _sum(rows, b"Write")
        return 0, 0


def _rows(text: bytes) -> Iterator[list[bytes]]:
    """Lines such as ``8:0 Read 4096``, in words."""
    return (line.split() for line in text.splitlines())


def _sum(rows: list[list[bytes]], kind: bytes) -> int:
    return sum(int(count) for _, what, count in rows if what == kind)


class VersionTwo:
    """One tree."""

    def __init__(self, root: str) -> None:
        self.anchor = root

    def counters(self, place: str) -> Counters:
        """What the group at a place has used."""
        group = f"{self.anchor}/{place}"
        used = int(read(f"{group}/memory.current"))
        idle = field(read(f"{group}/memory.stat"), b"inactive_file")
        limit = read(f"{group}/memory.max").strip()
        devices = read_if_there(f"{group}/io.stat")
        return Counters(
            cpu_seconds=field(read(f"{group}/cpu.stat"), b"usage_usec") / 1e6,
            memory_bytes=_without(used, idle),
            memory_limit_bytes=None if limit == _UNLIMITED else int(limit),
            processes=int(read_if_there(f"{group}/pids.current") or 0),
            block_read_bytes=_sum_named(devices, b"rbytes="),
            block_written_bytes=_sum_named(devices, b"wbytes="),
        )

    def process_id(self, place: str) -> int:
        """One process of the group."""
        return _first_process(f"{self.anchor}/{place}")


def _sum_named(devices: bytes, name: bytes) -> int:
    """The sum over lines such as ``8:0 rbytes=4096 wbytes=0 rios=1``."""
    words = devices.split()
    return sum(int(word[len(name) :]) for word in words if word.startswith(name))


def _without(used: int, idle: int) -> int:
    """What is used, less the files' pages that can be taken back; as ``docker stats`` has it."""
    return used - idle if idle < used else used


def _first_process(folder: str) -> int:
    """One process of a group, or of one of those in it: systemd in a container makes its own."""
    listed = read(f"{folder}/cgroup.procs").split()
    if not listed:
        listed = [
            process
            for group, _, _ in os.walk(folder)
            for process in read(f"{group}/cgroup.procs").split()[:1]
        ]
    if not listed:
        raise ValueError(f"{folder} has no processes.")
    return int(listed[0])
