"""Containers that only stand there, and what processes of the host take meanwhile."""

import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import engine

from benchmarks.labs import LABELS, RUN, client

COUNTS = (1, 10, 50, 100)
"""How many containers run, one after another."""


class Standing:
    """Containers that run and do nothing, on Docker's bridge; ``labs.clear`` removes them."""

    def __init__(self) -> None:
        self._count = 0

    def become(self, count: int) -> None:
        """Starts as many as are lacking."""
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(self._run, range(self._count, count)))
        self._count = count

    def _run(self, number: int) -> None:
        api = client()
        try:
            created = api.create_container(
                engine.BASE_IMAGE,
                ["sleep", "36000"],
                name=f"{RUN}-{number:03}",
                labels={**LABELS, "com.docker.compose.project": f"{RUN}-{number // 2}"},
                host_config=api.create_host_config(init=True),
            )
            api.start(created["Id"])
        finally:
            api.close()


def running_containers() -> int:
    """How many containers run on the host, other people's included."""
    api = client()
    try:
        return len(api.containers())
    finally:
        api.close()


def engine_process() -> int | None:
    """The Engine's process; None where it is not to be seen, as on another host."""
    if not engine.SOCKET.startswith("unix://"):
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(engine.SOCKET.removeprefix("unix://"))
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    (process_id, _, _) = struct.unpack("3i", credentials)
    # Where systemd holds its socket, it is systemd that is told of.
    return process_id if process_id and _name(process_id) == "dockerd" else None


def _name(process_id: int) -> str:
    return Path(f"/proc/{process_id}/comm").read_text().strip()


def cpu_seconds(process_id: int) -> float:
    """What a process has used since it began, without the processes that it has started."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(process_id: int) -> float:
    """Its resident memory, in millions of bytes."""
    fields = Path(f"/proc/{process_id}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
