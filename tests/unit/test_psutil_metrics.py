"""The machine's own counters: what the kernel counts twice, and file systems that hang."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from adapters import psutil_metrics
from adapters.memory.clock import MemoryClock
from adapters.psutil_metrics import PsutilMetrics
from domain.resources import CpuTimes, NetworkCounters

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

    def __call__(self, path: str) -> os.statvfs_result:
        self.looks += 1
        if path == "/dead":
            self.back.wait(30)
        return os.statvfs("/")


@pytest.fixture
def dead() -> Iterator[DeadServer]:
    dead = DeadServer()
    yield dead
    dead.back.set()


class TestFileSystems:
    """Looks at file systems end, whatever these do."""

    async def test_one_that_hangs_is_not_seen(self, dead: DeadServer) -> None:
        metrics = PsutilMetrics(MemoryClock(), call_seconds=0.3, statvfs=dead)

        assert await metrics.file_system("docker", "/dead") is None

    async def test_one_that_hangs_costs_one_thread_and_no_more(self, dead: DeadServer) -> None:
        clock = MemoryClock()
        metrics = PsutilMetrics(clock, call_seconds=0.3, statvfs=dead)
        for _ in range(5):
            assert await metrics.file_system("docker", "/dead") is None
            await clock.advance(15)

        assert dead.looks == 1

    async def test_others_are_seen_all_the_while(self, dead: DeadServer) -> None:
        metrics = PsutilMetrics(MemoryClock(), call_seconds=0.5, statvfs=dead)
        await metrics.file_system("docker", "/dead")

        assert await metrics.file_system("root", "/") is not None

    async def test_one_that_comes_back_is_seen_again(self, dead: DeadServer) -> None:
        clock = MemoryClock()
        metrics = PsutilMetrics(clock, call_seconds=0.5, statvfs=dead)
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

    async def test_it_is_as_full_as_df_says(self, tmp_path: Path) -> None:
        found = await PsutilMetrics(MemoryClock()).file_system("state", str(tmp_path))

        assert found is not None
        theirs = psutil.disk_usage(str(tmp_path))
        assert found.total_bytes == theirs.total
        assert found.percent == pytest.approx(theirs.percent, abs=0.5)


class Traffic:
    """Bytes over one interface, as psutil tells them."""

    def __init__(self, received: int, sent: int) -> None:
        self.bytes_recv = received
        self.bytes_sent = sent


class TestNetwork:
    """What counts is what the host exchanges with others."""

    def test_interfaces_add_up(self) -> None:
        interfaces = {"eth0": Traffic(10, 20), "wg0": Traffic(1, 2)}

        assert psutil_metrics._network(interfaces) == NetworkCounters(
            received_bytes=11, sent_bytes=22
        )

    def test_traffic_of_the_machine_with_itself_is_none(self) -> None:
        interfaces = {"eth0": Traffic(10, 20), "lo": Traffic(500, 500)}

        assert psutil_metrics._network(interfaces) == NetworkCounters(
            received_bytes=10, sent_bytes=20
        )

    def test_what_is_counted_does_not_fall_when_a_container_goes(self) -> None:
        lasting = {"eth0": Traffic(10, 20), "docker0": Traffic(7, 7)}
        passing = {"veth0a1b2c3": Traffic(900, 900), "br-e08ddacf68e9": Traffic(90, 90)}

        assert psutil_metrics._network(lasting | passing) == psutil_metrics._network(lasting)
