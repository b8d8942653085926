"""Keeps what belongs to environments from being torn from them by accident."""

from collections.abc import Mapping

from domain.arrangement import ENVIRONMENT_LABEL
from domain.containers import PROJECT_LABEL
from domain.errors import ResourceOwned
from domain.names import EnvironmentName
from domain.ports.store import Environments


class Ownership:
    """Knows which environment something on the Engine belongs to."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    async def owner(self, labels: Mapping[str, str]) -> EnvironmentName | None:
        """The environment that something with these labels belongs to.

        A label alone decides nothing: there must be a record of the environment too.
        """
        for label in (ENVIRONMENT_LABEL, PROJECT_LABEL):
            if (name := labels.get(label)) is not None:
                record = await self._environments.get(EnvironmentName(name))
                if record is not None and record.deployed:
                    return record.name
        return None

    async def require_free(
        self, kind: str, name: str, labels: Mapping[str, str], *, force: bool
    ) -> None:
        """Returns if something may be changed.

        Args:
            kind: ``container``, ``network`` or ``volume``, for the message.
            name: its name.
            labels: its labels.
            force: whoever asks knows that it belongs to an environment.

        Raises:
            ResourceOwned: it belongs to an environment, and nobody said so.
        """
        owner = None if force else await self.owner(labels)
        if owner is not None:
            raise ResourceOwned(kind, name, owner)
