"""Looks for what belongs to nobody: on the Engine, on disk, and among the records."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

from domain.arrangement import ENVIRONMENT_LABEL, WORKSPACE_LABEL
from domain.consistency import DifferenceKind, Findings
from domain.containers import Container, Image
from domain.errors import EngineRefused, StorageFailed
from domain.images import BUILD_PROJECT, REPOSITORY
from domain.names import EnvironmentName, names_environment
from domain.operations import OperationState
from domain.ports.runtime import ProjectResources
from domain.ports.store import Store
from domain.ports.workspaces import Workspaces
from domain.usecases.builds import Builds
from domain.usecases.clearing import Clearing
from domain.usecases.inventory import InventoryWatch
from domain.usecases.library import Library
from domain.usecases.mending import Mending
from domain.usecases.operations import Operations
from domain.usecases.staging import Staging


class LeftoverChecks:
    """Clears away what only the agent can have left, and tells of the rest."""

    def __init__(
        self,
        *,
        store: Store,
        workspaces: Workspaces,
        resources: ProjectResources,
        inventory: InventoryWatch,
        operations: Operations,
        staging: Staging,
        mending: Mending,
        builds: Builds,
        library: Library,
        clearing: Clearing,
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._resources = resources
        self._inventory = inventory
        self._operations = operations
        self._staging = staging
        self._mending = mending
        self._builds = builds
        self._library = library
        self._clearing = clearing

    async def run(self, found: Findings) -> None:
        """Looks everywhere, once what is to be undone is undone.

        Raises:
            AgentError: records, Engine or disk cannot be had.
        """
        await self._operations_left_open(found)
        await self._staged_files(found)
        await self._stuck_files(found)
        await self._left_over(found)
        await self._images(found, await self._resources.images(BUILD_PROJECT))
        await self._bundles(found)

    async def _operations_left_open(self, found: Findings) -> None:
        # What has ended, and could not be written down then.
        await self._operations.write_ends()
        for operation in await self._store.operations.unended():
            # What is left open for the next agent is no fault of this one.
            if self._operations.live(operation.id) is None and not operation.left_open:
                await self._mending.close(operation, OperationState.INTERRUPTED)
                detail = f"Its record said {operation.state}, and nobody was at it."
                found.heals(DifferenceKind.OPERATION_OPEN, operation.id, detail)

    async def _staged_files(self, found: Findings) -> None:
        for operation in await self._workspaces.unfinished():
            if self._staging.in_use(operation):
                continue
            try:
                await self._clearing.run(partial(self._workspaces.commit, operation))
            except (StorageFailed, EngineRefused) as fault:
                detail = f"What it left staged cannot be removed: {fault.detail}"
                found.differs(DifferenceKind.STAGED_FILES, operation, detail)
            else:
                detail = "What it had left staged was removed."
                found.heals(DifferenceKind.STAGED_FILES, operation, detail)

    async def _stuck_files(self, found: Findings) -> None:
        try:
            # One that the Engine did not remove may still be at it.
            await self._clearing.end_left_over()
            await self._clearing.run(self._workspaces.finish_removals)
        except (StorageFailed, EngineRefused) as fault:
            found.differs(DifferenceKind.STUCK_FILES, "removed files", fault.detail)

    async def _left_over(self, found: Findings) -> None:
        suspects = await self._nobodys()
        if not suspects:
            return
        # Seen again after the records were read: what was being removed meanwhile is gone by now.
        await self._inventory.refresh()
        still = await self._nobodys()
        for name in sorted(suspects.keys() & still.keys()):
            found.differs(
                DifferenceKind.LEFT_OVER,
                name,
                f"There is no record of an environment {name!r}, but on the Engine there are: "
                f"{', '.join(still[name])}.",
                hint=f"Remove them with: docker compose --project-name {name} down --volumes",
            )

    async def _nobodys(self) -> Mapping[str, Sequence[str]]:
        """What bears this agent's labels for an environment that there is no record of."""
        found: dict[str, list[str]] = defaultdict(list)
        for container in self._inventory.picture.containers:
            if (owner := self._owner(container)) is not None:
                found[owner].append(f"container {container.name}")
        for marked in await self._resources.marked(self._workspaces.root):
            found[marked.environment].append(f"{marked.kind} {marked.name}")
        known = {record.name for record in await self._store.environments.list()}
        return {
            name: things
            for name, things in found.items()
            # Images bring labels along that their author wrote, and the hint is to be pasted.
            if names_environment(name)
            and name not in known
            and self._operations.under_way(EnvironmentName(name)) is None
        }

    def _owner(self, container: Container) -> str | None:
        own = container.labels.get(WORKSPACE_LABEL) == self._workspaces.root
        return container.labels.get(ENVIRONMENT_LABEL) if own else None

    async def _images(self, found: Findings, built: Sequence[Image]) -> None:
        """Records of built images: lost ones made anew, so that unused images go in time."""
        own = {
            tag
            for image in built
            if image.labels.get(WORKSPACE_LABEL) == self._workspaces.root
            for tag in image.tags
            if tag.startswith(f"{REPOSITORY}/")
        }
        adopted, forgotten = await self._builds.reconcile(
            own=own, at_hand={tag for image in built for tag in image.tags}
        )
        for tag in adopted:
            found.heals(DifferenceKind.IMAGE_NOT_RECORDED, tag, "It is known again.")
        for tag in forgotten:
            found.heals(DifferenceKind.IMAGE_GONE, tag, "Somebody removed it; it is forgotten.")

    async def _bundles(self, found: Findings) -> None:
        adopted, forgotten = await self._library.reconcile()
        for digest in adopted:
            found.heals(DifferenceKind.BUNDLE_NOT_RECORDED, digest, "It is known again.")
        for digest in forgotten:
            found.heals(DifferenceKind.BUNDLE_GONE, digest, "Its archive is gone or damaged.")
