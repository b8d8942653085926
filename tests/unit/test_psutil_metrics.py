"""The machine's own counters: what the kernel counts twice, and file systems that hang."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from adapters import psutil_metrics
from adapters.memory.clock import MemoryClock
from adapters.psutil_metrics import PsutilMetrics
from domain.resources import CpuTimes

pytestmark = pytest.mark.anyio


class Times:
    """Seconds of one core, as psutil tells them."""

    def __init__(self, **seconds: float) -> None:
        self._seconds = seconds

    def _asdict(self) -> dict[str, float]:
        return self._seconds


class TestCpuTimes:
    """How a core's seconds become busy ones."""

    def test_waiting_for_disks_is_not_busy(self) -> None:
        times = Times(user=10.0, system=5.0, idle=80.0, iowait=5.0)

        assert psutil_metrics._cpu_times(times) == CpuTimes(busy_seconds=15.0, total_seconds=100.0)

    def test_a_guests_time_counts_once(self) -> None:
        times = Times(user=30.0, nice=10.0, idle=60.0, iowait=0.0, guest=20.0, guest_nice=5.0)

        assert psutil_metrics._cpu_times(times) == CpuTimes(busy_seconds=40.0, total_seconds=100.0)

    def test_a_system_that_counts_less_is_understood(self) -> None:
        times = Times(user=25.0, idle=75.0)

        assert psutil_metrics._cpu_times(times) == CpuTimes(busy_seconds=25.0, total_seconds=100.0)


class DeadServer:
    """A file system whose server has gone, until it is let go."""

    def __init__(self) -> None:
        self.looks = 0
        self.back = threading.Event()

    def __call__(self, path: str) -> Any:
        self.looks += 1
        if path == "/dead":
            self.back.wait(30)
        return psutil.disk_usage("/")


@pytest.fixture
def dead() -> Iterator[DeadServer]:
    dead = DeadServer()
    yield dead
    dead.back.set()


class TestFileSystems:
    """Looks at file systems end, whatever these do."""

    async def test_one_that_hangs_is_not_seen(self, dead: DeadServer) -> None:
        metrics = PsutilMetrics(MemoryClock(), call_seconds=0.05, disk_usage=dead)

        assert await metrics.file_system("docker", "/dead") is None

    async def test_one_that_hangs_costs_one_thread_and_no_more(self, dead: DeadServer) -> None:
        clock = MemoryClock()
        metrics = PsutilMetrics(clock, call_seconds=0.05, disk_usage=dead)
        for _ in range(5):
            assert await metrics.file_system("docker", "/dead") is None
            await clock.advance(15)

        assert dead.looks == 1

    async def test_others_are_seen_all_the_while(self, dead: DeadServer) -> None:
        metrics = PsutilMetrics(MemoryClock(), call_seconds=0.5, disk_usage=dead)
        await metrics.file_system("docker", "/dead")

        assert await metrics.file_system("root", "/") is not None

    async def test_one_that_comes_back_is_seen_again(self, dead: DeadServer) -> None:
        clock = MemoryClock()
        metrics = PsutilMetrics(clock, call_seconds=0.5, disk_usage=dead)
        assert await metrics.file_system("docker", "/dead") is None
        dead.back.set()
        while metrics._looking_since:
            await clock.advance(0)

        assert await metrics.file_system("docker", "/dead") is not None

    @pytest.mark.parametrize("path", ["", "a\0b", "/etc/passwd/x", "x" * 10_000])
    async def test_a_path_that_is_none_has_no_file_system(self, path: str) -> None:
        assert await PsutilMetrics(MemoryClock()).file_system("root", path) is None

    async def test_a_file_will_do(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")

        found = await PsutilMetrics(MemoryClock()).file_system("state", str(tmp_path / "file"))

        assert found is not None


class TestNetwork:
    """Traffic of the machine with itself is none."""

    async def test_loopback_is_left_out(self) -> None:
        lo = psutil.net_io_counters(pernic=True)["lo"]
        everything = psutil.net_io_counters()

        network = (await PsutilMetrics(MemoryClock()).sample()).network

        assert everything is not None
        assert network.received_bytes >= everything.bytes_recv - lo.bytes_recv
        assert psutil_metrics._network().received_bytes + lo.bytes_recv <= (
            psutil.net_io_counters().bytes_recv
        )
