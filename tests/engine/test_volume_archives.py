"""Volumes as a real Engine and the programs in containers see them."""

import io
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.volume_archives import DockerVolumeArchives
from adapters.docker.volume_helpers import Script, Task, VolumeHelpers
from adapters.docker.volume_scripts import FULL, REPLACE, STAGE, UNPACK
from adapters.docker.volumes import DockerVolumes
from domain.containers import PROJECT_LABEL
from domain.engine_volumes import VolumeOrder
from domain.errors import EngineUnavailable, ResourceConflict, StorageFull
from tests.contracts.test_engine_volumes import engine_archives, packed
from tests.support import engine
from tests.support.cut_socket import cut_socket

pytestmark = [pytest.mark.anyio, pytest.mark.engine]


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


@pytest.fixture
async def client(host: engine.Host) -> AsyncIterator[EngineClient]:
    client = EngineClient(engine.SOCKET)
    yield client
    await client.aclose()


async def _once(archive: bytes) -> AsyncIterator[bytes]:
    yield archive


async def test_owners_modes_and_links_come_back_as_they_were(
    host: engine.Host, client: EngineClient
) -> None:
    project = f"t-{uuid4().hex[:12]}"
    host.projects.append(project)
    archives = engine_archives(client)
    volumes = DockerVolumes(client)
    for name in ("one", "other"):
        labels = {PROJECT_LABEL: project}
        await volumes.create(VolumeOrder(name=f"{project}-{name}", labels=labels))
    _run(
        host,
        f"{project}-one",
        "cd /v; echo x > f; chmod 4750 f; chown 123:456 f; mkdir d; ln -s ../../etc/passwd d/l; "
        "ln f d/h",
    )

    async with archives.read(f"{project}-one") as pieces:
        archive = b"".join([piece async for piece in pieces])
    await archives.write(f"{project}-other", _once(archive), clear=False)

    what = "cd /v; stat -c '%n %a %u:%g %h' f d/h; readlink d/l; cat d/h"
    assert _run(host, f"{project}-other", what) == _run(host, f"{project}-one", what)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getmember("./d/l").issym()


async def test_no_helper_stays(host: engine.Host, client: EngineClient) -> None:
    project = f"t-{uuid4().hex[:12]}"
    host.projects.append(project)
    archives = engine_archives(client)
    order = VolumeOrder(name=f"{project}-one", labels={PROJECT_LABEL: project})
    await DockerVolumes(client).create(order)

    async with archives.read(order.name) as pieces:
        assert [row["Names"] for row in _helpers(host, order.name)]
        await anext(pieces)

    assert _helpers(host, order.name) == []


async def test_an_archive_that_does_not_fit_is_refused_as_such(
    host: engine.Host, client: EngineClient
) -> None:
    project = f"t-{uuid4().hex[:12]}"
    host.projects.append(project)
    small = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    order = VolumeOrder(name=f"{project}-s", options=small, labels={PROJECT_LABEL: project})
    await DockerVolumes(client).create(order)

    with anyio.fail_after(40), pytest.raises(StorageFull, match="no room"):
        await engine_archives(client).write(
            order.name, _once(packed({"f": bytes(10_000_000)})), clear=False
        )


@pytest.mark.parametrize(
    ("archive", "status"),
    [(packed({"f": bytes(10_000_000)}), FULL), (b"no archive at all", 1), (packed({"f": b"1"}), 0)],
    ids=["too large", "broken", "whole"],
)
async def test_a_script_without_room_says_so_without_words(
    host: engine.Host, archive: bytes, status: int
) -> None:
    room = ("--tmpfs", "/volume:size=1m", "--env", "STAGE=s", "--env", "CLEAR=no")
    quiet = ("--rm", "--interactive", "--network", "none", "--log-driver", "none")
    command = ["docker", "run", *quiet, *room, engine.BASE_IMAGE, "sh", "-c", UNPACK]

    # What it reads no more is not told to whoever sends.
    run = partial(subprocess.run, command, input=archive, capture_output=True, check=False)
    ended = await anyio.to_thread.run_sync(run)

    assert ended.returncode == status


async def test_without_an_image_the_agent_says_what_it_lacks(
    host: engine.Host, client: EngineClient
) -> None:
    archives = DockerVolumeArchives(engine.SOCKET, client, agent_image=None, owner="tests")

    with pytest.raises(ResourceConflict, match="no image") as refused:
        await archives.write(await _volume(host, client), _once(packed({})), clear=False)

    assert "AGENT_IMAGE" in refused.value.hint


async def test_what_a_killed_agent_had_unpacked_in_part_goes_at_the_next_start(
    host: engine.Host, client: EngineClient
) -> None:
    volume, owner = await _volume(host, client), f"owner-{uuid4().hex[:12]}"
    archives = engine_archives(client, owner)
    await archives.write(volume, _once(packed({"old": b"1"})), clear=False)
    await anyio.to_thread.run_sync(_killed_in_the_middle, volume, owner)
    assert len(_helpers(host, volume)) == 1

    assert await archives.end_left_over() == 1

    assert _helpers(host, volume) == []
    assert _run(host, volume, "cd /v; ls -A; cat old") == "old\n1"


@pytest.mark.parametrize("done", ["", 'mv "$STAGE" "$STAGE-whole"; mv "$STAGE-whole/b" .'])
async def test_what_was_about_to_take_its_place_does_so_at_the_next_start(
    host: engine.Host, client: EngineClient, done: str
) -> None:
    volume, owner = await _volume(host, client), f"owner-{uuid4().hex[:12]}"
    stage = f"{STAGE}0123"
    _run(host, volume, f"cd /v; STAGE={stage}; mkdir $STAGE; echo 1 > $STAGE/a; echo > $STAGE/b")
    _run(host, volume, f"cd /v; STAGE={stage}; {done or 'echo > old'}")
    script = Script(task=Task.REPLACE, text=REPLACE, stage=stage, clear=True)
    left = AsyncExitStack()
    await left.enter_async_context(
        VolumeHelpers(client, owner=owner).writer(engine.BASE_IMAGE, volume, script)
    )

    assert await engine_archives(client, owner).end_left_over() == 1

    left.pop_all()
    assert _run(host, volume, "cd /v; ls -A; cat a") == "a\nb\n1\n"


async def test_what_could_not_be_undone_as_the_engine_was_away_is_undone_later(
    host: engine.Host, client: EngineClient
) -> None:
    volume, owner = await _volume(host, client), f"owner-{uuid4().hex[:12]}"
    await engine_archives(client, owner).write(volume, _once(packed({"old": b"1"})), clear=False)
    with cut_socket(Path(engine.SOCKET.removeprefix("unix://"))) as way, ExitStack() as lost:
        broken = EngineClient(way.url)
        archives = DockerVolumeArchives(way.url, broken, agent_image=engine.BASE_IMAGE, owner=owner)
        archive = packed({"new": b"2", "big": bytes(1_000_000)})

        async def pieces() -> AsyncIterator[bytes]:
            yield archive[:-5000]
            await anyio.sleep(0.3)
            lost.enter_context(way.away())
            yield archive[-5000:]

        with pytest.raises(EngineUnavailable):
            await archives.write(volume, pieces(), clear=True)
        assert _helpers(host, volume)
        lost.close()
        with pytest.raises(ResourceConflict, match="about to be cleared away"):
            await archives.write(volume, _once(archive), clear=True)

        assert await archives.end_left_over() >= 1

        await broken.aclose()
    assert _helpers(host, volume) == []
    assert _run(host, volume, "cd /v; ls -A; cat old") == "old\n1"


async def test_whoever_ends_does_not_wait_for_a_long_replacement_which_goes_on(
    host: engine.Host, client: EngineClient
) -> None:
    volume, owner = await _volume(host, client), f"owner-{uuid4().hex[:12]}"
    helpers = VolumeHelpers(client, owner=owner)
    long = "sleep 9; echo > /volume/done"
    script = Script(task=Task.REPLACE, text=long, stage=f"{STAGE}0123", clear=True)
    began = anyio.current_time()

    with anyio.move_on_after(0.5):
        await helpers.run(engine.BASE_IMAGE, volume, script)

    assert anyio.current_time() - began < 9
    assert len(_helpers(host, volume)) == 1
    assert await engine_archives(client, owner).end_left_over() == 1
    assert _run(host, volume, "ls -A /v") == "done\n"


async def test_helpers_of_other_agents_are_left_alone(
    host: engine.Host, client: EngineClient
) -> None:
    volume = await _volume(host, client)
    helpers = VolumeHelpers(client, owner=f"owner-{uuid4().hex[:12]}")
    async with helpers.reader(volume):
        assert await engine_archives(client, f"owner-{uuid4().hex[:12]}").end_left_over() == 0
        assert len(_helpers(host, volume)) == 1


def _killed_in_the_middle(volume: str, owner: str) -> None:
    command = [sys.executable, "-m", "tests.support.killed_restore", volume, owner]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        try:
            assert agent.stdout.readline() == b"half\n"
        finally:
            agent.kill()


async def _volume(host: engine.Host, client: EngineClient) -> str:
    project = f"t-{uuid4().hex[:12]}"
    host.projects.append(project)
    order = VolumeOrder(name=f"{project}-one", labels={PROJECT_LABEL: project})
    return (await DockerVolumes(client).create(order)).name


def _helpers(host: engine.Host, volume: str) -> list[dict[str, object]]:
    return list(host.client.containers(all=True, filters={"volume": volume}))


def _run(host: engine.Host, volume: str, script: str) -> str:
    """What a script prints that sees the volume at ``/v``."""
    api = host.client
    container = api.create_container(
        engine.BASE_IMAGE,
        ["sh", "-c", script],
        host_config=api.create_host_config(binds=[f"{volume}:/v"], network_mode="none"),
    )
    try:
        api.start(container["Id"])
        assert api.wait(container["Id"])["StatusCode"] == 0, api.logs(container["Id"])
        return str(api.logs(container["Id"]).decode())
    finally:
        api.remove_container(container["Id"], force=True)
