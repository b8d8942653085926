"""Undoes a deploy that did not come up, or that a killed agent left half done; or forgoes that.

Everything here may be repeated, and works from what the operation wrote down before it acted.
"""

from datetime import datetime

import msgspec

from domain.environments import Environment, EnvironmentState
from domain.errors import (
    AgentError,
    EngineRefused,
    EngineUnavailable,
    StorageFailed,
    StorageFull,
)
from domain.names import EnvironmentName
from domain.operations import Operation, Replacement, Step
from domain.ports.clock import Clock
from domain.ports.compose import Compose, OutputLine
from domain.ports.log import Log
from domain.ports.runtime import ProjectResources
from domain.ports.store import Environments
from domain.ports.workspaces import Workspaces
from domain.usecases.builds import Builds
from domain.usecases.clearing import Clearing
from domain.usecases.standing import Standing

_BEFORE_REPLACING = {None, Step.UNPACK, Step.CHECK, Step.BUILD, Step.STOP}


_LONGEST_STOP_SECONDS = 30.0


class Undo:
    """Brings a host back to where it was before a deploy.

    Args:
        stop_seconds: how long the Engine may go on stopping containers when whoever asked has gone.
    """

    def __init__(
        self,
        *,
        environments: Environments,
        workspaces: Workspaces,
        compose: Compose,
        resources: ProjectResources,
        clearing: Clearing,
        builds: Builds,
        standing: Standing,
        clock: Clock,
        log: Log,
        stop_seconds: float,
    ) -> None:
        self._environments = environments
        self._workspaces = workspaces
        self._compose = compose
        self._resources = resources
        self._clearing = clearing
        self._builds = builds
        self._standing = standing
        self._clock = clock
        self._log = log
        self._stop_seconds = min(stop_seconds, _LONGEST_STOP_SECONDS)

    async def deploy(self, operation: Operation, reason: str, on_line: OutputLine) -> None:
        """Removes what the deploy made, and brings back what it replaced.

        Images that it built or pulled go too, but those that others need.
        The record ends as failed where there was nothing before, else as what was there.

        Raises:
            AgentError: something could not be undone; call again later.
        """
        if operation.replaces is None:
            await self._remove_all(operation)
            await self._discard_images(operation)
            await self._settle(operation, EnvironmentState.FAILED, reason)
        else:
            state = await self._bring_back(operation, operation.replaces, on_line)
            await self._settle(operation, state, reason)
        self._log.info("deploy undone", operation=operation.id, environment=operation.environment)

    async def _remove_all(self, operation: Operation) -> None:
        name = operation.target
        await self._resources.sweep(name, cut_off=operation.step is Step.START)
        await self.forget_images(name, keep=Replacement())
        await self._clearing.run(lambda: self._workspaces.roll_back(operation.id, name))

    async def _bring_back(
        self, operation: Operation, earlier: Replacement, on_line: OutputLine
    ) -> EnvironmentState:
        name = operation.target
        stands, stopping = operation.step in _BEFORE_REPLACING, operation.step is Step.STOP
        if stopping and not operation.state.ended:
            # The Engine goes on stopping what it was told to, though nobody waits for it.
            await self._clock.sleep(self._stop_seconds)
        if not stands:
            await self._resources.sweep(name, keep_volumes=earlier.volumes, cut_off=True)
        await self._clearing.run(lambda: self._workspaces.roll_back(operation.id, name))
        for tag, image in earlier.image_tags.items():
            await self._resources.tag(image, tag)
        await self.forget_images(name, keep=earlier)
        await self._discard_images(operation)
        state = earlier.record.state if earlier.record else EnvironmentState.RUNNING
        if stands and (not stopping or state is EnvironmentState.STOPPED):
            return state
        modelled = earlier.record is not None and earlier.record.modelled
        return await self._restart(name, state, on_line, recreate=not stands, modelled=modelled)

    async def _discard_images(self, operation: Operation) -> None:
        """Before the record tells that all is undone, so that this is repeated if it is cut off."""
        try:
            await self._builds.discard(operation)
        except EngineRefused as fault:
            # It must not keep what stood before from coming back.
            self._log.warning("images stay", operation=operation.id, reason=fault.detail)

    async def _restart(
        self,
        name: EnvironmentName,
        state: EnvironmentState,
        on_line: OutputLine,
        *,
        recreate: bool,
        modelled: bool,
    ) -> EnvironmentState:
        """Makes the earlier containers anew; those of one that was stopped are not started."""
        stopped = state is EnvironmentState.STOPPED
        try:
            project = await self._standing.project(name, modelled=modelled)
            if project is None:
                return EnvironmentState.STOPPED
            await self._compose.up(project, on_line, recreate=recreate, start=not stopped)
        except (EngineUnavailable, StorageFailed, StorageFull):
            # It is brought back when these are well again.
            raise
        except AgentError as fault:
            self._log.error(
                "earlier environment not brought back", environment=name, reason=fault.detail
            )
            return EnvironmentState.DEGRADED
        return EnvironmentState.STOPPED if stopped else EnvironmentState.RUNNING

    async def forgo(self, operation: Operation) -> None:
        """Clears away what a deploy has replaced that stands, and that can be undone no more.

        Raises:
            AgentError: something stays; call again later.
        """
        name = operation.target
        await self._clearing.run(lambda: self._workspaces.commit(operation.id))
        record = await self._environments.get(name)
        if record is not None:
            await self._builds.forget_own(name, keep=record.images.values())
        replaces = operation.replaces or Replacement()
        for tag, image in replaces.image_tags.items():
            # Images of an agent that gave them the environment's name.
            await self._resources.untag(tag)
            await self._resources.remove_image(image)

    async def forget_images(self, name: EnvironmentName, *, keep: Replacement) -> None:
        """Removes the images built for an environment, but those that ``keep`` names."""
        for image in await self._resources.images(name):
            for tag in image.tags:
                if keep.image_tags.get(tag) != image.id:
                    await self._resources.untag(tag)
        for image in await self._resources.images(name):
            if not image.tags:
                await self._resources.remove_image(image.id)

    async def _settle(self, operation: Operation, state: EnvironmentState, reason: str) -> None:
        record = await self._environments.get(operation.target)
        if record is None or record.state is not EnvironmentState.DEPLOYING:
            return
        earlier = operation.replaces.record if operation.replaces else None
        await self._environments.put(
            _settled(record, earlier or record, state, reason, self._clock.now())
        )


def _settled(
    record: Environment, earlier: Environment, state: EnvironmentState, reason: str, now: datetime
) -> Environment:
    if state is EnvironmentState.FAILED:
        return record.failed(at=now, reason=reason)
    return msgspec.structs.replace(
        earlier,
        state=state,
        updated_at=now,
        operation=record.operation,
        reason="" if state is EnvironmentState.RUNNING else reason,
        last_error=reason,
    )
