"""Keeps beside each model what a lost record is made anew of."""

from domain.environments import Environment
from domain.memo import lasting, remembered, with_memo
from domain.names import EnvironmentName
from domain.ports.workspaces import Workspaces


class Memos:
    """Writes memos, and knows which are as they should be."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        self._written: dict[EnvironmentName, Environment] = {}

    async def keep(self, record: Environment) -> bool:
        """Writes what is worth keeping of a record beside its model; whether it was another.

        Nothing is written where there is no model, as for what an earlier agent deployed.

        Raises:
            StorageFull, StorageFailed: the disk refuses.
        """
        if not record.modelled or self._written.get(record.name) == lasting(record):
            return False
        document = await self._workspaces.model(record.name)
        if document is None:
            return False
        known = remembered(document)
        if changed := known is None or lasting(known) != lasting(record):
            await self._workspaces.replace_model(record.name, with_memo(document, record))
        self._written[record.name] = lasting(record)
        return changed

    def forget(self, names: set[EnvironmentName]) -> None:
        """Forgets all but these environments."""
        self._written = {name: memo for name, memo in self._written.items() if name in names}
