"""Stops environments, and takes for stopped only what runs no more."""

from collections.abc import Sequence

from domain.errors import StepFailed, StepTimedOut, StopFailed
from domain.names import EnvironmentName
from domain.operations import Step
from domain.ports.clock import Clock
from domain.ports.compose import Compose
from domain.usecases.inventory import InventoryWatch
from domain.usecases.runs import Run

_PAUSES_SECONDS = (0.0, 0.1, 0.4, 1.0, 3.0)
"""Before each look: the Engine lists a container as running for a moment after it has ended."""


class Stopping:
    """Lets Compose stop environments, and looks afterwards."""

    def __init__(self, compose: Compose, inventory: InventoryWatch, clock: Clock) -> None:
        self._compose = compose
        self._inventory = inventory
        self._clock = clock

    async def stop(self, run: Run, name: EnvironmentName) -> None:
        """Stops all containers of an environment.

        Raises:
            StopFailed: containers run on; it names them.
            StepTimedOut: it took too long; its hint names those that run.
            StepFailed: Compose failed, though nothing runs.
            EngineUnavailable: the Engine does not answer, so that nobody knows what runs.
            EngineRefused: it answers with an error, with the same consequence.
        """
        await run.step(Step.STOP)
        try:
            await self._compose.stop(name, run.line)
        except StepTimedOut as fault:
            running = await self._running(name)
            fault.hint = f"Still running: {', '.join(running) or 'nothing'}."
            raise
        except StepFailed as fault:
            await self._require_stopped(name, fault.output or (fault.message,))
            raise
        await self._require_stopped(name)

    async def _require_stopped(self, name: EnvironmentName, output: tuple[str, ...] = ()) -> None:
        if running := await self._running(name):
            raise StopFailed(running, output=output)

    async def _running(self, name: EnvironmentName) -> Sequence[str]:
        """What runs, once the Engine's list has had time to know what ended."""
        for pause in _PAUSES_SECONDS:
            await self._clock.sleep(pause)
            picture = await self._inventory.refresh()
            running = [c.name for c in picture.of_project(name) if c.running]
            if not running:
                break
        return running
