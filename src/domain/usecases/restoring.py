"""Makes records of environments that stand without one: an earlier agent's, or lost ones."""

from domain.containers import Inventory
from domain.environments import Environment, observed_state
from domain.memo import remembered, restored
from domain.names import EnvironmentName
from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.store import Environments
from domain.ports.workspaces import Workspaces


class Restoring:
    """Writes records anew, from what lies beside the models and from what Docker shows."""

    def __init__(
        self, *, environments: Environments, workspaces: Workspaces, clock: Clock, log: Log
    ) -> None:
        self._environments = environments
        self._workspaces = workspaces
        self._clock = clock
        self._log = log

    async def restore(self, name: EnvironmentName, picture: Inventory) -> str:
        """Writes a record if an environment stands under the name; in words what it was made of.

        Empty where none stands: a folder that nothing runs from can be anybody's.
        """
        project = await self._workspaces.project(name)
        if project is None:
            return ""
        known = await self._remembered(name)
        if known is not None:
            state = known.observed(picture.of_project(name))
            await self._environments.put(restored(known, state, self._clock.now()))
            return f"Its record was made anew from its model; it is {state}."
        return await self._take_over(name, picture)

    async def _remembered(self, name: EnvironmentName) -> Environment | None:
        document = await self._workspaces.model(name)
        known = remembered(document) if document is not None else None
        return known if known is not None and known.name == name else None

    async def _take_over(self, name: EnvironmentName, picture: Inventory) -> str:
        """Adopts what an earlier agent deployed: a folder, and its Compose project on the host."""
        containers = picture.of_project(name)
        if not containers:
            return ""
        now, state = self._clock.now(), observed_state(containers)
        await self._environments.put(
            Environment(name=name, state=state, created_at=now, updated_at=now, adopted=True)
        )
        self._log.info("environment taken over", environment=name, state=state.value)
        return f"It was taken over from an earlier agent; it is {state}."
