"""What every host's counters do: the machine's own, and the in-memory one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from adapters.memory.clock import MemoryClock
from adapters.memory.metrics import MemoryMetrics
from adapters.psutil_metrics import PsutilMetrics
from adapters.system_clock import SystemClock
from domain.ports.metrics import HostMetrics
from domain.resources import MemoryUsage, usage_between

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class World:
    """A host's counters, and a way to let time pass."""

    metrics: HostMetrics
    wait: Callable[[float], Awaitable[None]]


@pytest.fixture(params=["memory", "psutil"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        clock = MemoryClock()
        return World(MemoryMetrics(clock), clock.advance)
    return World(PsutilMetrics(SystemClock()), anyio.sleep)


def is_sound(usage: MemoryUsage) -> bool:
    """Whether the figures can be true together."""
    parts = (usage.used_bytes, usage.available_bytes)
    return all(0 <= part <= usage.total_bytes for part in parts) and 0 <= usage.percent <= 100


class TestPort:
    """What the port promises."""

    async def test_the_host_has_a_name_a_system_and_a_size(self, world: World) -> None:
        identity = await world.metrics.identity()

        texts = (
            identity.hostname,
            identity.operating_system,
            identity.kernel,
            identity.architecture,
        )
        assert all(texts)
        assert identity.cpus >= 1
        assert identity.memory_bytes > 0
        assert identity.boot_time_epoch_seconds > 0

    async def test_the_host_stays_the_same(self, world: World) -> None:
        assert await world.metrics.identity() == await world.metrics.identity()

    async def test_counters_only_grow(self, world: World) -> None:
        earlier = await world.metrics.sample()
        await world.wait(0.05)
        later = await world.metrics.sample()

        assert later.monotonic_seconds > earlier.monotonic_seconds
        assert later.cpu.busy_seconds >= earlier.cpu.busy_seconds
        assert later.cpu.total_seconds >= earlier.cpu.total_seconds
        assert later.network.received_bytes >= earlier.network.received_bytes
        assert later.network.sent_bytes >= earlier.network.sent_bytes

    async def test_all_cores_together_are_the_cpu(self, world: World) -> None:
        sample = await world.metrics.sample()

        busy = sum(core.busy_seconds for core in sample.cores)
        total = sum(core.total_seconds for core in sample.cores)
        assert (sample.cpu.busy_seconds, sample.cpu.total_seconds) == pytest.approx((busy, total))
        assert len(sample.cores) == (await world.metrics.identity()).cpus

    async def test_no_core_is_busier_than_time_allows(self, world: World) -> None:
        sample = await world.metrics.sample()

        for core in (*sample.cores, sample.cpu):
            assert 0 <= core.busy_seconds <= core.total_seconds

    async def test_memory_and_swap_add_up(self, world: World) -> None:
        sample = await world.metrics.sample()

        assert sample.memory.total_bytes > 0
        assert is_sound(sample.memory)
        assert is_sound(sample.swap)
        assert all(load >= 0 for load in sample.load)

    async def test_a_file_system_is_told_with_its_role_and_path(
        self, world: World, tmp_path: Path
    ) -> None:
        found = await world.metrics.file_system("workspace", str(tmp_path))

        assert found is not None
        assert (found.role, found.path) == ("workspace", str(tmp_path))
        assert found.total_bytes > 0
        assert 0 <= found.used_bytes <= found.total_bytes
        assert 0 <= found.free_bytes <= found.total_bytes
        assert 0 <= found.percent <= 100

    async def test_a_file_system_tells_how_many_files_it_can_hold(
        self, world: World, tmp_path: Path
    ) -> None:
        found = await world.metrics.file_system("workspace", str(tmp_path))

        assert found is not None
        assert 0 <= found.free_inodes <= found.total_inodes
        assert 0 <= found.free_inodes_percent <= 100
        assert 0 <= found.free_bytes_percent <= 100

    async def test_a_path_that_cannot_be_seen_has_none(self, world: World) -> None:
        assert await world.metrics.file_system("docker", "/not-there/at/all") is None


class TestMemoryMetrics:
    """A host as busy as it is told."""

    @pytest.mark.parametrize("percent", [0.0, 12.5, 90.0, 100.0])
    async def test_between_two_samples_it_is_as_busy_as_was_set(self, percent: float) -> None:
        clock = MemoryClock()
        metrics = MemoryMetrics(clock, cores=4)
        metrics.cpu_percent, metrics.memory_percent = percent, 100 - percent

        earlier = await metrics.sample()
        await clock.advance(15)
        usage = usage_between(earlier, await metrics.sample())

        assert (usage.cpu_percent, usage.memory.percent) == pytest.approx((percent, 100 - percent))
        assert usage.core_percents == pytest.approx((percent,) * 4)

    async def test_a_change_counts_from_the_last_sample_on(self) -> None:
        clock = MemoryClock()
        metrics = MemoryMetrics(clock)
        first = await metrics.sample()
        metrics.cpu_percent = 100.0
        await clock.advance(10)
        second = await metrics.sample()
        metrics.cpu_percent = 50.0
        await clock.advance(10)
        third = await metrics.sample()

        percents = [usage_between(first, second), usage_between(second, third)]
        assert [usage.cpu_percent for usage in percents] == pytest.approx([100.0, 50.0])
        assert usage_between(first, third).cpu_percent == pytest.approx(75.0)
