"""Volumes as a real Engine and the programs in containers see them."""

import io
import tarfile
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from adapters.docker.client import EngineClient
from adapters.docker.volume_archives import DockerVolumeArchives
from adapters.docker.volumes import DockerVolumes
from domain.containers import PROJECT_LABEL
from domain.engine_volumes import VolumeOrder
from tests.support import engine

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
    archives = DockerVolumeArchives(engine.SOCKET, client, agent_image=engine.BASE_IMAGE)
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
    archives = DockerVolumeArchives(engine.SOCKET, client, agent_image=engine.BASE_IMAGE)
    order = VolumeOrder(name=f"{project}-one", labels={PROJECT_LABEL: project})
    await DockerVolumes(client).create(order)

    async with archives.read(order.name) as pieces:
        assert [row["Names"] for row in _helpers(host, order.name)]
        await anext(pieces)

    assert _helpers(host, order.name) == []


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
