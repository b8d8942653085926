"""Pulls images, each once for all who want it, and only as long as anybody does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import anyio
import anyio.abc

from domain.errors import (
    AgentError,
    CapacityExceeded,
    NotAccepting,
    ResourceNotFound,
    StepTimedOut,
)
from domain.image_names import familiar
from domain.ports.engine_images import EngineImages
from domain.ports.image_transfers import ImageTransfers
from domain.ports.log import Log
from domain.pulls import PulledImage, PullProgress, PullStep
from domain.registry_credentials import RegistryCredentials
from domain.usecases.builds import Builds
from domain.usecases.pull_policy import PullPolicy
from domain.usecases.registries import Registries
from domain.usecases.space import Space

QUIET_SECONDS = 15.0
"""After how long without news followers are told that there are none."""

MOST_PULLS = 50
"""How many images may be pulled at once."""

PullKey = tuple[str, RegistryCredentials | None]
"""What is pulled, and with what: who sends other credentials must not gain by those of others."""


class Pull:
    """One pull under way, however many follow it."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.followers = 0
        self.scope = anyio.CancelScope()
        self._progress = PullProgress()
        self._news = anyio.Event()
        self._ended = anyio.Event()
        self._result: PulledImage | None = None
        self._fault = _cut_off()

    def step(self, step: PullStep) -> None:
        """Takes what the Engine tells."""
        progress = self._progress.after(step)
        if progress != self._progress:
            self._progress = progress
            self._wake()

    def end(self, result: PulledImage | AgentError) -> None:
        """Notes how it ended."""
        if isinstance(result, AgentError):
            self._fault = result
        else:
            self._result = result
        self._ended.set()
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def progress(self) -> AsyncIterator[PullProgress | None]:
        """How far it is, whenever it has come further, until it ends.

        Whoever reads slowly is told of the newest only. None where nothing has come for a while.
        """
        told = PullProgress()
        while not self._ended.is_set():
            news, now = self._news, self._progress
            if now != told:
                told = now
                yield now
                continue
            with anyio.move_on_after(QUIET_SECONDS):
                await news.wait()
            if not news.is_set():
                yield None

    async def result(self) -> PulledImage:
        """What came of it, once it has ended.

        Raises:
            AgentError: why it failed.
        """
        await self._ended.wait()
        if self._result is None:
            raise self._fault
        return self._result


class Pulls:
    """Pulls for all who ask; an ``async with``, whose end ends them.

    Args:
        seconds: how long one may take.
    """

    def __init__(
        self,
        *,
        transfers: ImageTransfers,
        images: EngineImages,
        registries: Registries,
        policy: PullPolicy,
        builds: Builds,
        space: Space,
        log: Log,
        seconds: float,
    ) -> None:
        self._transfers = transfers
        self._images = images
        self._registries = registries
        self._policy = policy
        self._builds = builds
        self._space = space
        self._log = log
        self._seconds = seconds
        self._pulls: dict[PullKey, Pull] = {}
        self._group: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        group, self._group = self._group, None
        self.end()
        return await group.__aexit__(kind, fault, trace) if group is not None else None

    def end(self) -> None:
        """Ends all pulls, for the agent's own end."""
        for pull in self._pulls.values():
            pull.scope.cancel()

    async def admitted(self, reference: str, credentials: RegistryCredentials | None) -> PullKey:
        """What is to be pulled, with which credentials.

        Args:
            reference: the image.
            credentials: that came with the request; without any, those that are kept are taken.

        Raises:
            InvalidReference: ``reference`` can name no image.
            ImageRefused: it may not be pulled.
            RequestUnreadable: they are no credentials.
            StorageFull: the disk is as good as full.
        """
        reference = familiar(self._policy.require(reference))
        if credentials is not None:
            credentials.check()
        await self._space.require()
        return reference, credentials or await self._registries.for_image(reference)

    @asynccontextmanager
    async def follow(self, key: PullKey) -> AsyncIterator[Pull]:
        """A pull that goes on at least as long as the ``async with``, if it does not end by itself.

        Raises:
            CapacityExceeded: too many others go on.
            NotAccepting: the agent is stopping.
        """
        pull = self._pulls.get(key) or self._begin(key)
        pull.followers += 1
        try:
            yield pull
        finally:
            pull.followers -= 1
            if not pull.followers:
                pull.scope.cancel()
                self._forget(key, pull)

    def _begin(self, key: PullKey) -> Pull:
        if self._group is None:
            raise _cut_off()
        if len(self._pulls) >= MOST_PULLS:
            raise CapacityExceeded(f"{MOST_PULLS} images are being pulled already.")
        pull = self._pulls[key] = Pull(key[0])
        self._group.start_soon(self._run, key, pull)
        return pull

    def _forget(self, key: PullKey, pull: Pull) -> None:
        if self._pulls.get(key) is pull:
            del self._pulls[key]

    async def _run(self, key: PullKey, pull: Pull) -> None:
        result: PulledImage | AgentError = _cut_off()
        try:
            with pull.scope:
                result = await self._pull(key, pull)
        finally:
            self._forget(key, pull)
            pull.end(result)
        self._tell(pull, result)

    async def _pull(self, key: PullKey, pull: Pull) -> PulledImage | AgentError:
        reference, credentials = key
        try:
            before = await self._identifier(reference)
            with anyio.fail_after(self._seconds):
                digest = await self._transfers.pull(reference, credentials, pull.step)
            # Whoever pulls it by name wants it to stay, whatever environments need.
            await self._builds.forget([reference])
            found = await self._identifier(reference)
        except TimeoutError:
            return StepTimedOut("pull", f"it took longer than {self._seconds:g} s.")
        except AgentError as fault:
            return fault
        return PulledImage(reference=reference, id=found, digest=digest, updated=before != found)

    async def _identifier(self, reference: str) -> str:
        try:
            return (await self._images.inspect(reference)).image.id
        except ResourceNotFound:
            return ""

    def _tell(self, pull: Pull, result: PulledImage | AgentError) -> None:
        if isinstance(result, PulledImage):
            self._log.info("image pulled", image=pull.reference, digest=result.digest)
        elif pull.followers:
            self._log.warning("image not pulled", image=pull.reference, reason=result.detail)
        else:
            self._log.info("pull ended, as nobody waits for it", image=pull.reference)


def _cut_off() -> AgentError:
    return NotAccepting("The agent is starting or stopping, and pulls nothing.")
