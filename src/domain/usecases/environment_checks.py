"""Compares each environment's record with what stands of it on the Engine and on disk."""

from collections.abc import Sequence
from functools import partial

import anyio
import msgspec

from domain.arrangement import ENVIRONMENT_LABEL, WORKSPACE_LABEL, resource_name
from domain.consistency import DifferenceKind, Findings
from domain.containers import Container, Inventory, Marked
from domain.environments import Environment, EnvironmentState
from domain.errors import AgentError, EnvironmentNotFound
from domain.names import EnvironmentName
from domain.operations import BY_AGENT
from domain.ports.runtime import ProjectResources
from domain.ports.store import Environments
from domain.ports.workspaces import Workspaces
from domain.usecases.inventory import InventoryWatch
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.memos import Memos
from domain.usecases.mending import Mending
from domain.usecases.operations import Operations
from domain.usecases.restoring import Restoring
from domain.usecases.side_by_side import side_by_side

AT_ONCE = 8
"""How many environments are brought in order side by side."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a look knows of the Engine."""

    picture: Inventory
    built_tags: frozenset[str]
    """Tags of the images that agents have built."""
    networks: frozenset[str]
    """Names of the networks that this agent has made for environments."""


class EnvironmentChecks:
    """Brings environments in order that nobody changes just now."""

    def __init__(
        self,
        *,
        environments: Environments,
        workspaces: Workspaces,
        operations: Operations,
        inventory: InventoryWatch,
        resources: ProjectResources,
        mending: Mending,
        restoring: Restoring,
        lifecycle: Lifecycle,
        memos: Memos,
    ) -> None:
        self._environments = environments
        self._workspaces = workspaces
        self._operations = operations
        self._inventory = inventory
        self._resources = resources
        self._mending = mending
        self._restoring = restoring
        self._lifecycle = lifecycle
        self._memos = memos

    async def run(self, found: Findings, sight: Sight, *, seconds: float) -> None:
        """Looks at all environments.

        Args:
            found: takes what is found.
            sight: the Engine as it was seen just now.
            seconds: how long bringing one in order may take.

        Raises:
            StoreUnavailable: the records cannot be had.
            StorageFailed: the disk refuses.
        """
        records = await self._environments.list()
        known = {record.name for record in records}
        self._memos.forget(known)
        folders = [project.name for project in await self._workspaces.projects()]
        models = await self._workspaces.stray_models()
        pieces = [
            *(partial(self._look, record, found, sight, seconds) for record in records),
            *(partial(self._restore, n, found, sight) for n in folders if n not in known),
            *(partial(self._drop_model, name) for name in models if name not in known),
        ]
        await side_by_side(pieces, at_once=AT_ONCE)

    async def _look(
        self, record: Environment, found: Findings, sight: Sight, seconds: float
    ) -> None:
        match record.state:
            case EnvironmentState.DEPLOYING:
                await self._undo(record.name, found, seconds)
            case EnvironmentState.DELETING:
                await self._go_on_removing(record.name, found)
            case EnvironmentState.FAILED:
                await self._sweep(record, found, sight, seconds)
            case _:
                await self._compare(record, found, sight)

    async def _undo(self, name: EnvironmentName, found: Findings, seconds: float) -> None:
        async with self._operations.alone(name) as alone:
            if not alone:
                return
            what = "A deploy that had failed could not be undone then"
            try:
                with anyio.fail_after(seconds):
                    undone = await self._mending.left_over(name)
            except (AgentError, TimeoutError) as fault:
                hint = "The agent tries again by itself; see that the Engine and the disk are well."
                detail = f"{what}, and still cannot be: {_reason(fault, seconds)}"
                found.differs(DifferenceKind.NOT_UNDONE, name, detail, hint=hint)
            else:
                if undone:
                    found.heals(DifferenceKind.NOT_UNDONE, name, f"{what}, and is undone now.")

    async def _go_on_removing(self, name: EnvironmentName, found: Findings) -> None:
        if self._operations.under_way(name) is not None:
            return
        try:
            await self._lifecycle.delete(name, cut_off=True, asked=BY_AGENT)
        except EnvironmentNotFound:
            return
        except AgentError as fault:
            detail = f"Its removal cannot go on: {fault.detail}"
            found.differs(DifferenceKind.NOT_REMOVED, name, detail)
        else:
            found.heals(DifferenceKind.NOT_REMOVED, name, "Its removal goes on.")

    async def _sweep(
        self, record: Environment, found: Findings, sight: Sight, seconds: float
    ) -> None:
        """Removes what came late of a deploy that failed, if all of it is the agent's own."""
        containers = sight.picture.of_project(record.name)
        if not containers or not all(self._is_own(container) for container in containers):
            return
        async with self._operations.alone(record.name) as alone:
            now_known = await self._environments.get(record.name)
            if not alone or now_known is None or now_known.deployed:
                return
            names = ", ".join(container.name for container in containers)
            try:
                with anyio.fail_after(seconds):
                    await self._mending.sweep(record.name)
            except (AgentError, TimeoutError) as fault:
                detail = f"Its deploy failed and {names} cannot be removed: "
                found.differs(
                    DifferenceKind.NOT_UNDONE, record.name, detail + _reason(fault, seconds)
                )
            else:
                detail = f"Its deploy had failed; removed what came late of it: {names}."
                found.heals(DifferenceKind.NOT_UNDONE, record.name, detail)

    def _is_own(self, container: Container) -> bool:
        labels = container.labels
        return (
            labels.get(ENVIRONMENT_LABEL) == container.project
            and labels.get(WORKSPACE_LABEL) == self._workspaces.root
        )

    async def _compare(self, record: Environment, found: Findings, sight: Sight) -> None:
        async with self._operations.alone(record.name) as alone:
            now_known = await self._environments.get(record.name)
            if not alone or now_known is None or not now_known.settled:
                return
            project = await self._workspaces.project(record.name)
            if project is None:
                found.differs(
                    DifferenceKind.FOLDER_MISSING,
                    record.name,
                    f"Its folder {self._workspaces.home(record.name)}, or the Compose file in it, "
                    "is gone.",
                    hint="Deploy it again, or delete it.",
                )
            elif record.modelled and project.model is None:
                found.differs(
                    DifferenceKind.MODEL_MISSING,
                    record.name,
                    "The model that it runs is gone, so it cannot be started again.",
                    hint="Deploy it again, or delete it.",
                )
            elif await self._memos.keep(now_known):
                found.heals(
                    DifferenceKind.MEMO_OLD, record.name, "What is kept beside its model is new."
                )
            await self._finish_replacing(record.name, found)
            self._compare_engine(now_known, found, sight)
            await self._compare_networks(now_known, found, sight)

    async def _finish_replacing(self, name: EnvironmentName, found: Findings) -> None:
        containers = self._inventory.picture.of_project(name)
        if not any(container.stands_in_for for container in containers):
            return
        mended = ", ".join(await self._mending.finish_replacing(name))
        if mended:
            await self._inventory.refresh()
            detail = f"Removed or renamed, as a change of it was cut off: {mended}."
            found.heals(DifferenceKind.HALF_REPLACED, name, detail)

    def _compare_engine(self, record: Environment, found: Findings, sight: Sight) -> None:
        gone = sorted(set(record.images.values()) - sight.built_tags)
        # Of the latest picture, since a change may have ended after this look began.
        lacking = record.lacking(self._inventory.picture.of_project(record.name))
        if lacking:
            found.differs(
                DifferenceKind.CONTAINERS_MISSING,
                record.name,
                f"Containers of {', '.join(lacking)} are gone; somebody removed them.",
                hint=f"POST /api/v1/environments/{record.name}/{'rebuild' if gone else 'start'} "
                "makes them anew.",
            )
        if gone:
            found.differs(
                DifferenceKind.IMAGES_MISSING,
                record.name,
                f"Images that were built for it are gone: {', '.join(gone)}.",
                hint=f"POST /api/v1/environments/{record.name}/rebuild builds them again.",
            )

    async def _compare_networks(self, record: Environment, found: Findings, sight: Sight) -> None:
        wanted = {resource_name(record.name, network) for network in record.networks}
        # Containers that are made anew get new networks with them.
        if wanted <= sight.networks or not self._inventory.picture.of_project(record.name):
            return
        # A change may have ended after this look began.
        marked = await self._resources.marked(self._workspaces.root)
        if gone := sorted(wanted - networks_of(marked)):
            found.differs(
                DifferenceKind.NETWORKS_MISSING,
                record.name,
                f"Somebody removed its networks: {', '.join(gone)}. Its containers cannot reach "
                "each other, and do not start again.",
                hint=f"POST /api/v1/environments/{record.name}/rebuild makes networks and "
                "containers anew; volumes stay.",
            )

    async def _restore(self, name: EnvironmentName, found: Findings, sight: Sight) -> None:
        async with self._operations.alone(name) as alone:
            if not alone or await self._environments.get(name) is not None:
                return
            if made_of := await self._restoring.restore(name, sight.picture):
                found.heals(DifferenceKind.NOT_RECORDED, name, made_of)
            elif await self._workspaces.project(name) is not None:
                found.differs(
                    DifferenceKind.UNKNOWN_FOLDER,
                    name,
                    f"Folder {self._workspaces.home(name)} is no environment's, and nothing runs "
                    "from it.",
                    hint="Move or remove it if nobody needs it.",
                )

    async def _drop_model(self, name: EnvironmentName) -> None:
        async with self._operations.alone(name) as alone:
            if alone and await self._environments.get(name) is None:
                await self._workspaces.remove(name)


def networks_of(marked: Sequence[Marked]) -> frozenset[str]:
    """Names of the networks among what an agent has made."""
    return frozenset(one.name for one in marked if one.kind == "network")


def _reason(fault: Exception, seconds: float) -> str:
    if isinstance(fault, AgentError):
        return fault.detail
    return f"it took longer than {seconds:g} s."
