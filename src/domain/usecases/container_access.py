"""Which containers may be touched: found by name, and kept from accidents."""

import msgspec

from domain.container_details import ContainerDetails
from domain.errors import ResourceConflict
from domain.ports.container_details import ContainerLookup
from domain.references import name_or_id
from domain.usecases.ownership import Ownership

HIDDEN = "…"
"""What stands in place of a value that is nobody's affair."""


class ContainerAccess:
    """Finds containers, and keeps those of environments and the agent's own from accidents.

    Args:
        lookup: knows the containers.
        ownership: knows the environments.
        own_id: the identifier of the agent's own container; None where it runs in none.
    """

    def __init__(
        self, lookup: ContainerLookup, ownership: Ownership, *, own_id: str | None
    ) -> None:
        self._lookup = lookup
        self._ownership = ownership
        self._own_id = own_id

    def is_own(self, container_id: str) -> bool:
        """Whether it is the agent's own."""
        return self._own_id is not None and container_id == self._own_id

    async def find(self, text: str) -> ContainerDetails:
        """The container that a text from outside names.

        The variables of the agent's own hold its keys, so they are hidden.

        Raises:
            InvalidReference: it can name none.
            ResourceNotFound: there is none.
            ResourceAmbiguous: several have an identifier that begins so.
        """
        found = await self._lookup.inspect(name_or_id("container", text))
        if not self.is_own(found.id):
            return found
        hidden = dict.fromkeys(found.env, HIDDEN)
        return msgspec.structs.replace(found, env=hidden)

    async def interruptible(self, text: str, *, force: bool) -> ContainerDetails:
        """The same, if it may be interrupted or changed.

        Args:
            text: names it.
            force: whoever asks knows whose it is.

        Raises:
            ResourceOwned: it belongs to an environment, and nobody said so.
            ResourceConflict: it is the agent's own, and nobody said so.
        """
        found = await self.find(text)
        if self.is_own(found.id) and not force:
            raise ResourceConflict(
                f"Container {found.name!r} is the agent's own.",
                hint="Whoever means it adds ?force=true.",
            )
        await self._ownership.require_free("container", found.name, found.labels, force=force)
        return found

    async def readable(self, text: str) -> ContainerDetails:
        """The same, if its files may be read.

        Raises:
            ResourceConflict: it is the agent's own, whose files hold its records and keys.
        """
        found = await self.find(text)
        if self.is_own(found.id):
            raise ResourceConflict(f"Container {found.name!r} is the agent's own; nobody reads it.")
        return found

    async def enterable(self, text: str) -> ContainerDetails:
        """The same, if commands may be run in it.

        Raises:
            ResourceConflict: it is the agent's own, where any command could read its keys.
        """
        found = await self.find(text)
        if self.is_own(found.id):
            raise ResourceConflict(
                f"Container {found.name!r} is the agent's own; nothing else runs in it."
            )
        return found
