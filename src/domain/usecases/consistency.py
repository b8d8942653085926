"""Compares records, Engine and disk now and then, and heals or tells what differs."""

from collections import deque

import anyio

from domain.consistency import ConsistencyReport, DifferenceKind, Findings, Healed
from domain.errors import AgentError
from domain.images import BUILD_PROJECT
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.runtime import ProjectResources
from domain.ports.workspaces import Workspaces
from domain.usecases.environment_checks import EnvironmentChecks, Sight, networks_of
from domain.usecases.inventory import InventoryWatch
from domain.usecases.leftover_checks import LeftoverChecks
from domain.usecases.operations import Operations
from domain.usecases.states import States

PAUSE_SECONDS = 180.0
"""Pause between two looks."""

AGAIN_SECONDS = 15.0
"""Pause after a look that could not be finished, or that found what may be healed the next time."""

MEND_SECONDS = 120.0
"""How long bringing one environment in order may take."""

KEEP_HEALED = 100
"""How many of the last things that were healed are told of."""

_MAY_PASS = {DifferenceKind.NOT_UNDONE, DifferenceKind.NOT_REMOVED}


class Consistency:
    """Looks every few minutes, and as soon as the Engine is back."""

    def __init__(
        self,
        *,
        operations: Operations,
        inventory: InventoryWatch,
        resources: ProjectResources,
        workspaces: Workspaces,
        states: States,
        environments: EnvironmentChecks,
        leftovers: LeftoverChecks,
        clock: Clock,
        log: Log,
    ) -> None:
        self._operations = operations
        self._inventory = inventory
        self._resources = resources
        self._workspaces = workspaces
        self._states = states
        self._environments = environments
        self._leftovers = leftovers
        self._clock = clock
        self._log = log
        self._one_at_a_time = anyio.Lock()
        self._trouble = ""
        self._healed: deque[Healed] = deque(maxlen=KEEP_HEALED)
        self.report = ConsistencyReport()
        """What the last look found."""
        self.looked = anyio.Event()
        """Set, and then replaced, when a look has ended."""
        self.healed_total = 0
        """How much was brought in order since the agent's start."""

    async def run(self) -> None:
        """Looks for as long as the agent lives; a look that fails is repeated soon.

        The first look is that of recovery, and nothing is brought in order while the agent ends.
        """
        seconds = PAUSE_SECONDS
        while True:
            await self._pause(seconds)
            seconds = await self._try() if self._operations.accepting else AGAIN_SECONDS

    async def _try(self) -> float:
        try:
            report = await self.look()
        except AgentError as fault:
            if fault.detail != self._trouble:
                self._log.warning("look at consistency not finished", reason=fault.detail)
            self._trouble = fault.detail
            return AGAIN_SECONDS
        self._trouble = ""
        if any(difference.kind in _MAY_PASS for difference in report.differences):
            return AGAIN_SECONDS
        return PAUSE_SECONDS

    async def _pause(self, seconds: float) -> None:
        """Returns after a while, and sooner where there is a reason to look.

        At once when the Engine is back after it was away, soon when an operation left something.
        """

        async def wait() -> None:
            await self._clock.sleep(seconds)
            group.cancel_scope.cancel()

        async def wait_for_reason() -> None:
            await self._operations.left_over.wait()
            await self._clock.sleep(AGAIN_SECONDS)
            self._operations.see_to_left_over()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait_for_reason)
            await self._inventory.returned.wait()
            group.cancel_scope.cancel()

    async def look(self, *, seconds: float = MEND_SECONDS) -> ConsistencyReport:
        """Looks now, and heals what can be.

        Args:
            seconds: how long bringing one environment in order may take.

        Raises:
            AgentError: records, Engine or disk cannot be had; the last report stays.
        """
        async with self._one_at_a_time:
            # What lies in the place of a disk that is not mounted says nothing of this host.
            await self._workspaces.check()
            picture = await self._inventory.refresh()
            await self._states.follow()
            built = await self._resources.images(BUILD_PROJECT)
            tags = frozenset(tag for image in built for tag in image.tags)
            marked = await self._resources.marked(self._workspaces.root)
            found = Findings()
            try:
                sight = Sight(picture=picture, built_tags=tags, networks=networks_of(marked))
                await self._environments.run(found, sight, seconds=seconds)
                await self._leftovers.run(found)
            finally:
                self._take_healed(found)
            self._take_differences(found)
            self.looked.set()
            self.looked = anyio.Event()
            return self.report

    def _take_healed(self, found: Findings) -> None:
        now = self._clock.now()
        for kind, subject, detail in found.healed:
            self.healed_total += 1
            self._healed.appendleft(Healed(at=now, kind=kind, subject=subject, detail=detail))
            self._log.warning("difference healed", kind=kind.value, subject=subject, detail=detail)

    def _take_differences(self, found: Findings) -> None:
        now = self._clock.now()
        earlier = {difference.key for difference in self.report.differences}
        differences = found.since(self.report.differences, now)
        for difference in differences:
            if difference.key not in earlier:
                self._log.error(
                    "difference found",
                    kind=difference.kind.value,
                    subject=difference.subject,
                    detail=difference.detail,
                    hint=difference.hint,
                )
        for kind, subject in sorted(earlier - {difference.key for difference in differences}):
            self._log.info("difference gone", kind=kind, subject=subject)
        self.report = ConsistencyReport(
            checked_at=now,
            consistent=not differences,
            differences=differences,
            healed=tuple(self._healed),
        )
