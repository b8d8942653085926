"""What volumes hold, read and written through short-lived containers.

Reading is the Engine's own archive call on a container that never runs. Writing is not: that call
has led out of containers before, so a ``tar`` in a container unpacks what comes on its input. It
does so into a folder of the volume that takes the place of what was there once it is whole.
"""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from secrets import token_hex

import anyio

from adapters.docker.client import EngineClient
from adapters.docker.container_input import ContainerInput
from adapters.docker.named import named
from adapters.docker.refusals import tells_of_no_room
from adapters.docker.streams import Answer, Feed, Streams
from adapters.docker.volume_helpers import Ended, LeftHelper, Script, Task, VolumeHelpers
from adapters.docker.volume_scripts import DISCARD, FULL, NOT_EMPTY, REPLACE, STAGE, UNPACK
from domain.errors import (
    AgentError,
    EngineRefused,
    EngineUnavailable,
    RequestUnreadable,
    ResourceConflict,
    ResourceNotFound,
    StorageFull,
)

THREADS = 16
"""How many volumes are read at once, and into how many something is sent at the same moment."""

_WAITING_BYTES = 1024 * 1024
_PAUSE_SECONDS = 60.0
_UNDO_SECONDS = 120.0


class DockerVolumeArchives:
    """Reads and writes volumes.

    Args:
        base_url: address of the Engine.
        client: for short calls.
        agent_image: an image with a shell and ``tar``; None where there is none.
        owner: tells the helpers of agents on one Engine apart.
    """

    def __init__(
        self, base_url: str, client: EngineClient, *, agent_image: str | None, owner: str
    ) -> None:
        self._base_url = base_url
        self._client = client
        self._agent_image = agent_image
        self._helpers = VolumeHelpers(client, owner=owner)
        self._senders = anyio.CapacityLimiter(THREADS)
        self._streams = Streams(THREADS, wait_seconds=client.limits.ask_seconds)

    @asynccontextmanager
    async def read(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """A volume as a tar, in pieces."""
        await self._require(name)
        async with self._helpers.reader(name) as container, self._streams.open() as stream:
            feed: Feed[bytes] = Feed(
                lossy=False, most=_WAITING_BYTES, weigh=len, patience_seconds=_PAUSE_SECONDS
            )

            def pump(answer: Answer) -> None:
                for piece in answer.pieces():
                    feed.put(piece)

            answer = Answer(
                self._base_url,
                f"/containers/{container}/archive",
                {"path": "/volume/."},
                seconds=_PAUSE_SECONDS,
                endless=False,
            )
            await stream.start(answer, feed, pump)
            yield _pieces(feed)

    async def write(self, name: str, chunks: AsyncIterable[bytes], *, clear: bool) -> None:
        """Unpacks a tar into a volume that stands, all or nothing."""
        image = self._require_image()
        await self._require(name)
        await self._require_in_order(name)
        stage = f"{STAGE}{token_hex(8)}"
        unpack = Script(task=Task.UNPACK, text=UNPACK, stage=stage, clear=clear)
        replace = Script(task=Task.REPLACE, text=REPLACE, stage=stage, clear=clear)
        # It stands until all is done, so that whoever looks for what was left knows of it.
        async with self._helpers.writer(image, name, unpack) as container:
            try:
                await self._unpack(container, chunks)
            except ResourceConflict:
                raise
            except BaseException:
                await self._discard(container, image, name, stage)
                raise
            # It stands where that is cut off, so that it is finished, or undone, later.
            self._helpers.keep(container)
            await self._replace(container, image, name, replace)
            self._helpers.keep(container, kept=False)

    async def _unpack(self, container: str, chunks: AsyncIterable[bytes]) -> None:
        async with ContainerInput(self._base_url, container, self._senders) as entry:
            await self._helpers.start(container)
            async for chunk in chunks:
                # It reads no more when it has found a fault, which its end then tells.
                if not await self._taken(entry, container, chunk):
                    break
            await entry.end()
            _check(await self._helpers.end(container))

    async def _taken(self, entry: ContainerInput, container: str, chunk: bytes) -> bool:
        """Whether a container takes all of a chunk; not where it has ended, or pauses too long."""
        rest = memoryview(chunk)
        until = anyio.current_time() + _PAUSE_SECONDS
        while rest:
            try:
                taken = await entry.write(rest)
            except OSError:
                return False
            if taken:
                until = anyio.current_time() + _PAUSE_SECONDS
            elif anyio.current_time() > until or await self._helpers.ended(container):
                return False
            rest = rest[taken:]
        return True

    async def _discard(self, container: str, image: str, name: str, stage: str) -> None:
        """What cannot be removed now goes with ``end_left_over``, which finds the container."""
        self._helpers.keep(container)
        with anyio.move_on_after(_UNDO_SECONDS, shield=True), suppress(AgentError):
            await self._discarded(container, image, name, stage)
            await self._helpers.remove(container)

    async def _discarded(self, container: str, image: str, name: str, stage: str) -> None:
        # Else it may go on to write into what is being removed.
        await self._helpers.halt(container)
        script = Script(task=Task.DISCARD, text=DISCARD, stage=stage)
        ended = await self._helpers.run(image, name, script)
        if ended.status != 0:
            raise EngineRefused(f"What was unpacked into volume {name!r} stays: {ended.output}")

    async def _replace(self, container: str, image: str, name: str, script: Script) -> None:
        try:
            ended = await self._helpers.run(image, name, script)
        except (EngineUnavailable, EngineRefused) as fault:
            raise type(fault)(
                f"What volume {name!r} holds may be old, new or both: {fault.message}",
                hint="The agent brings it in order when the Engine is back: look into it then.",
            ) from fault
        if ended.status == NOT_EMPTY:
            await self._discard(container, image, name, script.stage)
        _check(ended)

    async def end_left_over(self) -> int:
        """Brings in order what was left; how many containers."""
        found = await self._helpers.left_over()
        stuck: dict[str, AgentError] = {}
        for helper in sorted(found, key=lambda one: one.task is not Task.REPLACE):
            if helper.stage and helper.stage in stuck:
                continue
            try:
                await self._end(helper)
            except AgentError as fault:
                stuck[helper.stage] = fault
        if stuck:
            raise next(iter(stuck.values()))
        return len(found)

    async def _end(self, helper: LeftHelper) -> None:
        with suppress(ResourceNotFound):
            await self._finish(helper)
        await self._helpers.remove(helper.container)

    async def _finish(self, helper: LeftHelper) -> None:
        if helper.task is Task.REPLACE:
            await self._helpers.start(helper.container)
            ended = await self._helpers.end(helper.container)
            if ended.status not in {0, NOT_EMPTY}:
                raise EngineRefused(
                    f"Volume {helper.volume!r} holds half of an archive: {ended.output}"
                )
        elif helper.task in {Task.UNPACK, Task.DISCARD} and self._agent_image is not None:
            await self._require(helper.volume)
            await self._discarded(helper.container, self._agent_image, helper.volume, helper.stage)

    async def _require_in_order(self, name: str) -> None:
        left = {helper.volume for helper in await self._helpers.left_over() if helper.stage}
        if name in left:
            raise ResourceConflict(
                f"What an earlier restore left in volume {name!r} is about to be cleared away.",
                hint="Try again in half a minute.",
            )

    def _require_image(self) -> str:
        if self._agent_image is None:
            raise ResourceConflict(
                "The agent has no image to unpack archives with.",
                hint="Set AGENT_IMAGE to the agent's own image.",
            )
        return self._agent_image

    async def _require(self, name: str) -> None:
        # The Engine would make one that is missing.
        with named("volume", name):
            await self._client.ask("looking at a volume", lambda api: api.inspect_volume(name))


def _check(ended: Ended) -> None:
    if ended.status == NOT_EMPTY:
        raise ResourceConflict(
            "The volume holds something already.", hint="Add ?clear=true to replace it."
        )
    if ended.status == FULL or (ended.status != 0 and tells_of_no_room(ended.output)):
        raise StorageFull(
            "The volume has no room for the archive.",
            hint="What it held and the archive must both fit until the restore is done.",
        )
    if ended.status != 0:
        raise RequestUnreadable(f"The archive cannot be unpacked: {ended.output[:300]}")


async def _pieces(feed: Feed[bytes]) -> AsyncIterator[bytes]:
    while (item := (await feed.next())[0]) is not None:
        yield item
