"""The picture of the containers, while a real Engine changes them behind the agent's back."""

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.events import DockerEvents
from adapters.docker.runtime import DockerContainers, DockerEngine
from adapters.memory.log import MemoryLog
from adapters.system_clock import SystemClock
from domain.containers import PROJECT_LABEL
from domain.errors import AgentError
from domain.usecases.engine_events import EventHub
from domain.usecases.inventory import InventoryWatch
from domain.usecases.live_inventory import LiveInventory
from domain.usecases.news import News
from tests.support import engine
from tests.support.cut_socket import CutSocket, cut_socket

pytestmark = [pytest.mark.anyio, pytest.mark.engine, pytest.mark.timeout(300)]

COUNT = 100
RIGHT_WITHIN_SECONDS = 1.0
TICK_SECONDS = 0.01

Row = tuple[str, str, str, str]


class Lab:
    """Containers of one project, and whoever changes them without asking the agent."""

    def __init__(self, host: engine.Host) -> None:
        self.api = host.client
        self.project = f"t-{uuid4().hex[:12]}"
        host.projects.append(self.project)
        self.ids: list[str] = []

    def make(self, count: int) -> None:
        """Lets so many containers run."""
        with ThreadPoolExecutor(4) as threads:
            self.ids += threads.map(self._run, range(len(self.ids), len(self.ids) + count))

    def _run(self, number: int) -> str:
        created = self.api.create_container(
            engine.BASE_IMAGE,
            ["sleep", "600"],
            name=f"{self.project}-{number:03}",
            labels={PROJECT_LABEL: self.project},
            host_config=self.api.create_host_config(network_mode="none"),
        )
        self.api.start(created["Id"])
        return str(created["Id"])

    def change(self, ids: list[str]) -> None:
        """Does one of several things to each of some containers."""
        changes: list[Callable[[str], object]] = [
            self.api.kill,
            self.api.pause,
            lambda each: self.api.rename(each, f"{self.project}-new-{each[:12]}"),
            lambda each: self.api.remove_container(each, force=True),
            lambda each: self.api.restart(each, timeout=0),
        ]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda pair: changes[pair[0] % 5](pair[1]), enumerate(ids)))

    def rows(self) -> list[Row]:
        """What the Engine lists."""
        found = self.api.containers(all=True, filters={"label": f"{PROJECT_LABEL}={self.project}"})
        rows = [(r["Id"], r["Names"][0].lstrip("/"), r["State"], r["Image"]) for r in found]
        return sorted(rows, key=lambda row: row[1])


class Watch:
    """An inventory that follows the Engine."""

    def __init__(self, inventory: InventoryWatch, project: str) -> None:
        self.inventory = inventory
        self._project = project

    def up(self) -> bool:
        """Whether the Engine answers, as the picture has it."""
        return self.inventory.picture.engine_up

    def rows(self) -> list[Row]:
        """What the picture shows of the project."""
        found = self.inventory.picture.of_project(self._project)
        return [(c.id, c.name, c.state.value, c.image) for c in found]

    async def right_after(self, lab: Lab, within: float = RIGHT_WITHIN_SECONDS) -> float:
        """In how many seconds the picture is as the Engine lists it.

        What the machine takes comes on top of what the agent may: to connect anew and ask the
        Engine twice, since a change is looked at twice, with a pause of four times as long in
        between; and all the time by which this process is woken too late.
        """
        began = anyio.current_time()
        real = await anyio.to_thread.run_sync(lab.rows)
        asked, late = anyio.current_time() - began, 0.0
        began = anyio.current_time()
        while self.rows() != real and anyio.current_time() - began < within + 8 * asked + late:
            before = anyio.current_time()
            await anyio.sleep(TICK_SECONDS)
            late += anyio.current_time() - before - TICK_SECONDS
        assert self.rows() == real
        return anyio.current_time() - began - 8 * asked - late


@asynccontextmanager
async def following(socket_url: str, project: str) -> AsyncIterator[Watch]:
    """An inventory that follows the Engine behind a socket, and looks at nothing unasked."""
    client, clock, log = EngineClient(socket_url), SystemClock(), MemoryLog()
    inventory = InventoryWatch(DockerContainers(client), DockerEngine(client), clock, log, News())
    hub = EventHub(DockerEvents(socket_url), clock, log)
    async with anyio.create_task_group() as group:
        group.start_soon(LiveInventory(inventory, hub, clock, log).run)
        group.start_soon(hub.run)
        with anyio.fail_after(10):
            while not inventory.picture.engine_up:
                await anyio.sleep(0.01)
        yield Watch(inventory, project)
        group.cancel_scope.cancel()
    await client.aclose()


@pytest.fixture
def lab() -> Iterator[Lab]:
    for host in engine.host():
        yield Lab(host)


@pytest.fixture
def between() -> Iterator[CutSocket]:
    with cut_socket(Path(engine.SOCKET.removeprefix("unix://"))) as between:
        yield between


async def test_a_hundred_changes_are_seen_within_a_second_although_the_stream_is_cut(
    lab: Lab, between: CutSocket
) -> None:
    async with following(between.url, lab.project) as watch:
        await anyio.to_thread.run_sync(lab.make, COUNT)
        await watch.right_after(lab)
        async with anyio.create_task_group() as group:
            group.start_soon(cut_again_and_again, between)
            await anyio.to_thread.run_sync(lab.change, lab.ids)
            between.cut()
            group.cancel_scope.cancel()
        await watch.right_after(lab)

        assert between.cuts >= 2
        await anyio.sleep(1)
        await watch.right_after(lab, within=0)


async def cut_again_and_again(between: CutSocket) -> None:
    """Breaks off all connections twice a second."""
    while True:
        await anyio.sleep(0.5)
        between.cut()


async def test_what_happens_while_the_engine_cannot_be_reached_is_seen_when_it_is_back(
    lab: Lab, between: CutSocket
) -> None:
    async with following(between.url, lab.project) as watch:
        await anyio.to_thread.run_sync(lab.make, 10)
        await watch.right_after(lab)
        with between.away():
            began = anyio.current_time()
            await anyio.to_thread.run_sync(lab.change, lab.ids)
            await anyio.sleep(2)
            assert not watch.up()
            away = anyio.current_time() - began
        # It says that it does not know until it asks again: less often the longer it is away.
        with anyio.fail_after(RIGHT_WITHIN_SECONDS + away / 2):
            while not watch.up():
                await anyio.sleep(TICK_SECONDS)

        await watch.right_after(lab)


async def test_one_change_is_seen_in_a_moment(lab: Lab, between: CutSocket) -> None:
    async with following(between.url, lab.project) as watch:
        await anyio.to_thread.run_sync(lab.make, 1)
        await watch.right_after(lab)
        await anyio.sleep(1)
        await anyio.to_thread.run_sync(lab.api.pause, lab.ids[0])

        assert await watch.right_after(lab) < 0.5


async def test_the_words_for_times_are_the_engines(lab: Lab, between: CutSocket) -> None:
    async with following(between.url, lab.project) as watch:
        await anyio.to_thread.run_sync(lab.make, 1)
        await watch.right_after(lab)
        with between.away():  # from now on nothing is asked
            seen = {status(watch)}
            for _ in range(30):
                await anyio.sleep(0.1)
                seen.add(status(watch))
        assert len(seen) <= 2  # an Engine that is away tells no times
        with anyio.fail_after(5):
            while not watch.up():
                await anyio.sleep(0.05)
        await anyio.sleep(1.5)

        real = await anyio.to_thread.run_sync(lab.api.containers)
        words = {row["Id"]: row["Status"] for row in real}[lab.ids[0]]
        assert abs(int(status(watch).split()[1]) - int(words.split()[1])) <= 1


def status(watch: Watch) -> str:
    """The words of the only container."""
    (container,) = watch.inventory.picture.of_project(watch._project)
    return container.status


async def test_a_health_check_that_fails_is_seen(lab: Lab, between: CutSocket) -> None:
    def run_ailing() -> None:
        created = lab.api.create_container(
            engine.BASE_IMAGE,
            ["sleep", "600"],
            labels={PROJECT_LABEL: lab.project},
            healthcheck={"test": ["CMD", "false"], "interval": 100_000_000, "retries": 1},
            host_config=lab.api.create_host_config(network_mode="none"),
        )
        lab.api.start(created["Id"])

    async with following(between.url, lab.project) as watch:
        await anyio.to_thread.run_sync(run_ailing)
        with anyio.fail_after(10):
            while [c.health for c in watch.inventory.picture.of_project(lab.project)] != [
                "unhealthy"
            ]:
                await anyio.sleep(0.05)


async def test_an_engine_that_was_never_there_is_told(tmp_path: Path) -> None:
    client, clock, log = EngineClient(f"unix://{tmp_path}/none.sock"), SystemClock(), MemoryLog()
    inventory = InventoryWatch(DockerContainers(client), DockerEngine(client), clock, log, News())

    with pytest.raises(AgentError):
        await inventory.refresh()
    assert inventory.picture.seen_at is None
