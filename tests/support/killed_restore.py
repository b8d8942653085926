"""Restores half an archive and waits to be killed.

``python -m tests.support.killed_restore VOLUME OWNER`` prints ``half`` once that is on its way.
"""

import sys
from collections.abc import AsyncIterator

import anyio

from adapters.docker.client import EngineClient
from adapters.docker.volume_archives import DockerVolumeArchives
from tests.support import engine
from tests.support.bundles import tar_bundle


async def _half() -> AsyncIterator[bytes]:
    archive = tar_bundle({"new": b"2", "big": bytes(1_000_000)}, compressed=False)
    yield archive[: len(archive) // 2]
    yield archive[len(archive) // 2 :][:1000]
    print("half", flush=True)
    await anyio.sleep_forever()


async def _restore(volume: str, owner: str) -> None:
    client = EngineClient(engine.SOCKET)
    archives = DockerVolumeArchives(
        engine.SOCKET, client, agent_image=engine.BASE_IMAGE, owner=owner
    )
    await archives.write(volume, _half(), clear=True)


if __name__ == "__main__":
    anyio.run(_restore, sys.argv[1], sys.argv[2])
