"""Container counters out of the kernel's files, of either version, wherever the groups lie."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from adapters.cgroups.places import SEARCH_SECONDS, Places
from adapters.cgroups.usage import CgroupUsage
from domain.container_usage import ContainerUsage
from domain.containers import Container, ContainerState

pytestmark = pytest.mark.anyio

ID, OTHER = "a" * 64, "b" * 64
PLACES = {
    "cgroupfs": "docker/{}",
    "systemd": "system.slice/docker-{}.scope",
    "rootless": "user.slice/user-1000.slice/user@1000.service/user.slice/docker-{}.scope",
    "in a container": f"docker/{'c' * 64}/docker/{{}}",
    "a parent of one's own": "labs/deeper/{}",
}

USAGE = ContainerUsage(
    cpu_seconds=1.5,
    memory_bytes=3_000_000,
    memory_limit_bytes=64_000_000,
    processes=4,
    network_received_bytes=1100,
    network_sent_bytes=220,
    block_read_bytes=4096,
    block_written_bytes=8192,
)
NET = """Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo: 9999 8 0 0 0 0 0 0 9999 8 0 0 0 0 0 0
  eth0:    1000       8    0    0    0     0          0         0        200       3    0    0
  eth1: 100 8 0 0 0 0 0 0 20 3 0 0 0 0 0 0
  tun0: 5555 8 0 0 0 0 0 0 5555 8 0 0 0 0 0 0
"""


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Writes files, with their folders."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


class Host:
    """Files as a kernel shows them."""

    def __init__(self, folder: Path, version: str) -> None:
        self.version = version
        self.root, self.proc = folder / "cgroup", folder / "proc"
        write(self.proc, {"meminfo": "MemTotal:       1000000 kB\nMemFree: 1 kB\n"})
        self.root.mkdir()
        if version == "two":
            write(self.root, {"cgroup.controllers": "cpu io memory pids\n"})
        self.usages = CgroupUsage(self.root, self.proc)

    def group(
        self, place: str, *, process: int = 17, changed: Mapping[str, str] | None = None
    ) -> None:
        """Makes a container's group, and its first process."""
        files = VERSION_ONE if self.version == "one" else VERSION_TWO
        filled = {name.format(place): text for name, text in files.items()}
        for name, text in (changed or {}).items():
            (path,) = (path for path in filled if path.endswith(f"/{name}"))
            filled[path] = text
        procs = f"memory/{place}/cgroup.procs" if self.version == "one" else f"{place}/cgroup.procs"
        write(self.root, {**filled, procs: f"{process}\n18\n"})
        write(self.proc, {f"{process}/net/dev": NET})

    async def used(self, *containers: Container) -> Mapping[str, ContainerUsage]:
        """What is read."""
        return await self.usages.usage(containers)


VERSION_ONE = {
    "cpuacct/{}/cpuacct.usage": "1500000000\n",
    "memory/{}/memory.usage_in_bytes": "5000000\n",
    "memory/{}/memory.limit_in_bytes": "64000000\n",
    "memory/{}/memory.stat": (
        "cache 1\ninactive_file 1\ntotal_inactive_file 2000000\ntotal_unevictable 0\n"
    ),
    "pids/{}/pids.current": "4\n",
    "blkio/{}/blkio.bfq.io_service_bytes_recursive": "Total 0\n",
    "blkio/{}/blkio.throttle.io_service_bytes": (
        "8:0 Read 4000\n8:0 Write 8000\n8:0 Sync 12000\n8:0 Total 12000\n"
        "8:16 Read 96\n8:16 Write 192\nTotal 12288\n"
    ),
}
VERSION_TWO = {
    "{}/cpu.stat": "usage_usec 1500000\nuser_usec 1\nsystem_usec 1\n",
    "{}/memory.current": "5000000\n",
    "{}/memory.max": "64000000\n",
    "{}/memory.stat": "anon 1\nfile 1\ninactive_file 2000000\nactive_file 7\n",
    "{}/pids.current": "4\n",
    "{}/io.stat": (
        "8:0 rbytes=4000 wbytes=8000 rios=1 wios=1 dbytes=0 dios=0\n"
        "8:16 rbytes=96 wbytes=192 rios=1 wios=1 dbytes=7 dios=0\n"
    ),
}


@pytest.fixture(params=["one", "two"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, request.param)


def container(identifier: str = ID, network_mode: str = "bridge") -> Container:
    return Container(
        id=identifier,
        name="a",
        image="busybox",
        state=ContainerState.RUNNING,
        network_mode=network_mode,
    )


@pytest.mark.parametrize("where", PLACES)
async def test_all_counters_are_read_wherever_the_groups_lie(host: Host, where: str) -> None:
    host.group(PLACES[where].format(ID))

    assert await host.used(container()) == {ID: USAGE}


async def test_a_second_container_is_found_where_the_first_one_was(host: Host) -> None:
    host.group(f"docker/{ID}")
    await host.used(container())
    host.group(f"docker/{OTHER}", process=19)

    assert set(await host.used(container(), container(OTHER))) == {ID, OTHER}


async def test_what_has_no_group_is_left_out(host: Host) -> None:
    host.group(f"docker/{ID}")

    assert set(await host.used(container(), container(OTHER))) == {ID}


async def test_what_does_not_run_is_not_looked_for(host: Host) -> None:
    host.group(f"docker/{ID}")
    ended = Container(id=ID, name="a", image="busybox", state=ContainerState.EXITED)

    assert await host.used(ended) == {}


async def test_nothing_is_found_where_no_groups_are_to_be_seen(tmp_path: Path) -> None:
    assert await CgroupUsage(tmp_path / "none", tmp_path).usage([container()]) == {}


async def test_processes_of_another_world_are_none_of_ours(host: Host) -> None:
    # What the kernel writes where a group's processes are not to be seen from here.
    host.group(f"docker/{ID}", process=0)

    assert await host.used(container()) == {}


async def test_a_process_that_has_ended_meanwhile_leaves_its_container_out(host: Host) -> None:
    host.group(f"docker/{ID}")
    (host.proc / "17/net/dev").unlink()

    assert await host.used(container()) == {}


async def test_a_container_that_keeps_its_processes_in_groups_of_its_own_is_read(
    host: Host,
) -> None:
    host.group(f"docker/{ID}")
    tree = host.root / "memory" if host.version == "one" else host.root
    write(tree, {f"docker/{ID}/cgroup.procs": "", f"docker/{ID}/init.scope/cgroup.procs": "17\n"})

    assert await host.used(container()) == {ID: USAGE}


async def test_a_group_of_the_second_version_may_be_named_like_a_tree_of_the_first(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path, "two")
    host.group(f"memory/{ID}")

    assert await host.used(container()) == {ID: USAGE}


async def test_the_hosts_network_is_not_the_containers(host: Host) -> None:
    host.group(f"docker/{ID}")
    host.group(f"docker/{OTHER}", process=19)
    used = await host.used(
        container(network_mode="host"), container(OTHER, network_mode=f"container:{ID}")
    )

    assert [each.network_sent_bytes for each in used.values()] == [0, 0]


async def test_a_network_that_is_shared_counts_for_both(host: Host) -> None:
    host.group(f"docker/{ID}")
    host.group(f"docker/{OTHER}", process=19)
    used = await host.used(container(), container(OTHER, network_mode=f"container:{ID}"))

    assert [each.network_sent_bytes for each in used.values()] == [220, 220]


@pytest.mark.parametrize(
    ("version", "file", "text"),
    [
        ("one", "memory.limit_in_bytes", "9223372036854771712\n"),
        ("two", "memory.max", "max\n"),
    ],
)
async def test_who_has_no_limit_has_the_hosts_memory(
    tmp_path: Path, version: str, file: str, text: str
) -> None:
    host = Host(tmp_path, version)
    host.group(f"docker/{ID}", changed={file: text})

    (used,) = (await host.used(container())).values()
    assert used.memory_limit_bytes == 1_000_000 * 1024


async def test_disks_that_are_told_of_by_their_scheduler_are_read_there(tmp_path: Path) -> None:
    host = Host(tmp_path, "one")
    bfq = "8:0 Read 1\n8:0 Write 2\nTotal 3\n"
    host.group(f"docker/{ID}", changed={"blkio.bfq.io_service_bytes_recursive": bfq})

    (used,) = (await host.used(container())).values()
    assert (used.block_read_bytes, used.block_written_bytes) == (1, 2)


async def test_what_the_kernel_does_not_count_is_none(host: Host) -> None:
    host.group(f"docker/{ID}")
    for name in ("pids.current", "io.stat", "blkio.throttle.io_service_bytes"):
        for file in host.root.rglob(name):
            file.unlink()

    (used,) = (await host.used(container())).values()
    assert (used.processes, used.block_read_bytes) == (0, 0)


def test_places_are_searched_for_now_and_then_only(
    tmp_path: Path,
) -> None:
    now = [0.0]
    places = Places(lambda: now[0])
    assert places.of([ID], str(tmp_path)) == {}
    (tmp_path / "labs" / ID).mkdir(parents=True)

    assert places.of([ID], str(tmp_path)) == {}
    now[0] += SEARCH_SECONDS
    assert places.of([ID], str(tmp_path)) == {ID: f"labs/{ID}"}
