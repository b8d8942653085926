"""What containers use on a real Engine, beside what ``docker stats`` prints of them."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx
import psutil
import pytest

from domain.quantities import byte_size
from tests.engine.test_containers import CONTAINERS, Site, docker
from tests.support import engine
from tests.support.agent_process import agent_process, some_pool

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(180)]

MIB = 1024**2

_DECIMAL = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
async def site(tmp_path: Path, host: engine.Host) -> AsyncIterator[Site]:
    # The Engine is shared, and full of others' containers.
    many = {"MAX_COMMITTED_CPU_PERCENT": "1000000", "MAX_COMMITTED_MEMORY_PERCENT": "1000000"}
    pool = some_pool()
    async with agent_process(tmp_path, NETWORK_POOL=pool, **many) as agent:
        found = Site(agent, host, pool)
        try:
            yield found
        finally:
            found.clear()


async def printed(site: Site, part: str) -> dict[str, Any]:
    """What ``docker stats`` prints of a container."""
    form = ("--no-stream", "--no-trunc", "--format", "{{json .}}")
    found: dict[str, Any] = json.loads(await docker("stats", *form, site.name(part)))
    return found


async def told(site: Site, part: str) -> Any:
    answer = await site.ask(part, "stats")
    assert answer.status_code == 200, answer.text
    return answer.json()


def decimal(text: str) -> float:
    """Bytes, as the command writes network and disks: 1.5kB."""
    number = text.rstrip("kMGB")
    return float(number) * _DECIMAL[text.removeprefix(number)]


async def test_a_quiet_container_is_told_of_as_docker_stats_tells_it(site: Site) -> None:
    hold = "head -c 20000000 /dev/zero > /fast/x; exec sleep 600"
    made = await site.run(
        "quiet",
        ["sh", "-c", hold],
        limits={"memory": "64m"},
        volumes=[{"type": "tmpfs", "target": "/fast", "size": "32m"}],
    )
    await anyio.sleep(2)

    theirs, ours = await printed(site, "quiet"), await told(site, "quiet")

    used, limit = theirs["MemUsage"].split(" / ")
    assert ours["id"] == theirs["ID"] == made["id"]
    assert ours["name"] == theirs["Name"]
    assert ours["memory_limit_bytes"] == byte_size(limit) == 64 * MIB
    assert ours["pids"] == int(theirs["PIDs"]) > 0
    assert ours["memory_bytes"] == pytest.approx(byte_size(used), rel=0.02, abs=MIB / 4)
    assert ours["memory_bytes"] > 19 * MIB
    assert ours["memory_percent"] == pytest.approx(float(theirs["MemPerc"].rstrip("%")), abs=0.5)
    assert ours["cpu_percent"] == pytest.approx(0.0, abs=2.0)


async def test_files_that_the_kernel_can_take_back_do_not_count(site: Site) -> None:
    read = "head -c 30000000 /dev/zero > /x; cat /x > /dev/null; exec sleep 600"
    await site.run("reader", ["sh", "-c", read], limits={"memory": "128m"})
    await anyio.sleep(3)

    theirs, ours = await printed(site, "reader"), await told(site, "reader")

    used = byte_size(theirs["MemUsage"].split(" / ")[0])
    assert ours["memory_bytes"] == pytest.approx(used, rel=0.1, abs=MIB)


async def test_a_busy_one_uses_what_docker_stats_says(site: Site) -> None:
    await site.run(
        "busy", ["sh", "-c", "while :; do :; done"], limits={"cpus": 0.3, "memory": "64m"}
    )
    await anyio.sleep(1)

    theirs = [float((await printed(site, "busy"))["CPUPerc"].rstrip("%")) for _ in range(2)]
    before = await told(site, "busy")
    await anyio.sleep(2)
    ours = await told(site, "busy")

    # The limit that the kernel holds it to, however busy the host is otherwise.
    assert ours["interval_seconds"] >= 1.5
    assert 1 < ours["cpu_percent"] <= 36
    assert ours["cpu_percent"] == pytest.approx(sum(theirs) / 2, abs=15)
    assert ours["cpu_seconds"] > before["cpu_seconds"]


async def file_from(address: str) -> httpx.Response | None:
    """What a container serves; None while it does not listen."""
    with suppress(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            return await http.get(f"http://{address}/x")
    return None


async def test_network_and_disks_are_counted(site: Site) -> None:
    listen = ["sh", "-c", "head -c 3000000 /dev/zero > /x; sync; exec httpd -f -p 80 -h /"]
    await site.run("web", listen)
    (network,) = (await site.ask("web")).json()["networks"]
    # From the host, whose way into the network no rule closes.
    with anyio.fail_after(90):
        # It listens when all the host's disks have been written to.
        while (answer := await file_from(network["ip_address"])) is None:
            await anyio.sleep(0.2)
        assert len(answer.content) == 3_000_000
    await anyio.sleep(1)

    theirs, ours = await printed(site, "web"), await told(site, "web")

    received, sent = (decimal(text) for text in theirs["NetIO"].split(" / "))
    read, written = (decimal(text) for text in theirs["BlockIO"].split(" / "))
    assert ours["network_sent_bytes"] == pytest.approx(sent, rel=0.05)
    assert ours["network_sent_bytes"] > 3_000_000
    assert ours["network_received_bytes"] == pytest.approx(received, rel=0.1, abs=2000)
    assert ours["block_written_bytes"] == pytest.approx(written, rel=0.1, abs=65536)
    assert ours["block_read_bytes"] == pytest.approx(read, rel=0.1, abs=65536)


async def test_all_that_run_are_told_of(site: Site) -> None:
    await site.run("one")
    await site.run("two")
    await site.run("ended", ["true"])
    await site.ended("ended")
    await anyio.sleep(1)

    found = (await site.http.get(f"{CONTAINERS}/stats")).json()["containers"]

    mine = [one["name"] for one in found if one["name"].startswith(site.mark)]
    assert mine == [site.name("one"), site.name("two")]
    assert (await site.ask("ended", "stats")).status_code == 409


async def test_fifty_followers_cost_no_threads_and_end_with_the_container(site: Site) -> None:
    await site.run("web")
    agent = psutil.Process(site.agent.process.pid)
    ended: list[str] = []

    async def follow(task_status: anyio.abc.TaskStatus[None]) -> None:
        path = f"{CONTAINERS}/{site.name('web')}/stats?follow=true"
        async with site.http.stream("GET", path, timeout=60) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if line == "event: stats":
                    break
            task_status.started()
            rest = [line async for line in lines]
        ended.append(rest[-3])

    await told(site, "web")
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(anyio.create_task_group())
        await group.start(follow)
        with_one = agent.num_threads()
        for _ in range(49):
            await group.start(follow)
        await anyio.sleep(3)
        assert agent.num_threads() <= with_one + 15
        await site.act("web", "kill")
        with anyio.fail_after(10):
            while len(ended) < 50:
                await anyio.sleep(0.05)

    assert ended == ["event: end"] * 50
