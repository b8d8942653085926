"""Starts, stops and removes single containers, with definite answers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress

from domain.capacity import Demand
from domain.container_details import ContainerDetails, FileChange, ProcessColumn, ProcessTable
from domain.containers import ContainerState
from domain.errors import AgentError, ChangeUnfinished, EngineUnavailable, ResourceNotFound
from domain.ports.clock import Clock
from domain.ports.container_changes import ContainerChanges
from domain.ports.container_details import ContainerLookup
from domain.usecases.admission import Admission
from domain.usecases.container_access import ContainerAccess
from domain.usecases.container_names import ContainerNames
from domain.usecases.container_surroundings import Surroundings
from domain.usecases.inventory import InventoryWatch
from domain.usecases.operations import Operations
from domain.usecases.ownership import Ownership

Reached = Callable[[ContainerDetails], bool]
"""Whether a container is as a change was to make it."""


class ContainerControl:
    """Does one thing to one container, and tells how it is then.

    What interrupts a container of an environment, or the agent's own, is refused unless it is
    forced. Whatever the Engine does not finish in time is looked at again, so that nobody is told
    that it does not answer when it only works on.
    """

    def __init__(
        self,
        *,
        access: ContainerAccess,
        changes: ContainerChanges,
        lookup: ContainerLookup,
        names: ContainerNames,
        ownership: Ownership,
        surroundings: Surroundings,
        operations: Operations,
        admission: Admission,
        inventory: InventoryWatch,
        clock: Clock,
    ) -> None:
        self._access = access
        self._changes = changes
        self._lookup = lookup
        self._names = names
        self._ownership = ownership
        self._surroundings = surroundings
        self._operations = operations
        self._admission = admission
        self._inventory = inventory
        self._clock = clock

    async def processes(self, text: str, columns: Collection[ProcessColumn] = ()) -> ProcessTable:
        """The processes of a container that runs, with what is asked for of each."""
        return await self._lookup.processes((await self._access.find(text)).id, columns)

    async def file_changes(self, text: str) -> Sequence[FileChange]:
        """How its file system differs from its image."""
        return await self._lookup.file_changes((await self._access.find(text)).id)

    async def start(self, text: str) -> ContainerDetails:
        """Lets a container run, if the host has room."""
        self._operations.require_open()
        found = await self._access.find(text)
        async with self._place(found):
            return await self._done("starting", found, self._changes.start(found.id), _runs)

    async def restart(
        self, text: str, grace_seconds: int | None, *, force: bool
    ) -> ContainerDetails:
        """Stops and starts a container; one that does not run, if the host has room."""
        self._operations.require_open()
        found = await self._access.interruptible(text, force=force)

        def again(now: ContainerDetails) -> bool:
            return _runs(now) and now.state.started_at != found.state.started_at

        async with self._place(found):
            change = self._changes.restart(found.id, grace_seconds)
            return await self._done("restarting", found, change, again)

    async def stop(self, text: str, grace_seconds: int | None, *, force: bool) -> ContainerDetails:
        """Tells a container to end, and kills it after the grace."""
        found = await self._access.interruptible(text, force=force)
        change = self._changes.stop(found.id, grace_seconds)
        return await self._done("stopping", found, change, lambda now: not _runs(now))

    async def kill(self, text: str, signal: str, *, force: bool) -> ContainerDetails:
        """Sends a signal to the first process of a container."""
        found = await self._access.interruptible(text, force=force)
        change = self._changes.kill(found.id, signal)
        return await self._done("killing", found, change, lambda now: not _runs(now))

    async def pause(self, text: str, *, force: bool) -> ContainerDetails:
        """Freezes the processes of a container."""
        found = await self._access.interruptible(text, force=force)
        return await self._done("pausing", found, self._changes.pause(found.id), _is_paused)

    async def unpause(self, text: str) -> ContainerDetails:
        """Lets the processes of a container go on."""
        found = await self._access.find(text)
        change = self._changes.unpause(found.id)
        return await self._done("unpausing", found, change, lambda now: not _is_paused(now))

    async def rename(self, text: str, name: str, *, force: bool) -> ContainerDetails:
        """Gives a container another name."""
        found = await self._access.interruptible(text, force=force)
        change = self._changes.rename(found.id, await self._names.check(name))
        return await self._done("renaming", found, change, lambda now: now.name == name)

    async def remove(self, text: str, *, force: bool, volumes: bool) -> None:
        """Takes a container away.

        Args:
            text: names it.
            force: also while it runs, and whosesoever it is.
            volumes: its volumes without a name go too.
        """
        found = await self._access.interruptible(text, force=force)
        change = self._changes.remove(found.id, force=force, volumes=volumes)
        with suppress(ResourceNotFound):
            await self._done("removing", found, change, lambda _: False, gone=True)

    @asynccontextmanager
    async def _place(self, found: ContainerDetails) -> AsyncIterator[None]:
        """A place on the host, and a network, for one that does not run.

        Those of an environment have had theirs since it was deployed.
        """
        if found.state.running or await self._ownership.owner(found.labels) is not None:
            yield
            return
        place = f"container:{found.id}:{self._clock.new_id()}"
        await self._admission.admit(place, Demand(containers=1))
        try:
            if any(network.name == self._surroundings.apart for network in found.networks):
                await self._surroundings.require_apart()
            yield
        finally:
            self._admission.release(place)

    async def _done(
        self,
        what: str,
        found: ContainerDetails,
        change: Awaitable[None],
        reached: Reached,
        *,
        gone: bool = False,
    ) -> ContainerDetails:
        """How the container is once it was changed.

        Raises:
            ChangeUnfinished: the Engine goes on with it.
            ResourceNotFound: it is gone by now.
        """
        try:
            await change
        except EngineUnavailable as fault:
            now = await self._looked_at(found, fault)
            if not reached(now):
                raise _unfinished(what, found) from fault
        finally:
            with suppress(AgentError):
                await self._inventory.update({found.id})
        return found if gone else await self._access.find(found.id)

    async def _looked_at(
        self, found: ContainerDetails, fault: EngineUnavailable
    ) -> ContainerDetails:
        """The container as it is now; the same fault where the Engine says nothing at all."""
        try:
            return await self._lookup.inspect(found.id)
        except EngineUnavailable:
            raise fault from None


def _runs(container: ContainerDetails) -> bool:
    return container.state.running


def _is_paused(container: ContainerDetails) -> bool:
    return container.state.status is ContainerState.PAUSED


def _unfinished(what: str, container: ContainerDetails) -> ChangeUnfinished:
    return ChangeUnfinished(
        f"The Docker Engine has not finished {what} container {container.name!r} in time, and goes "
        "on with it.",
        hint="Look at it again; one that does not end can be killed, or removed by force.",
    )
