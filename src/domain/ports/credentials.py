"""Credentials that are kept for registries."""

from collections.abc import Sequence
from typing import Protocol

from domain.registry_credentials import KeptRegistry, RegistryCredentials


class KeptCredentials(Protocol):
    """Keeps credentials where nobody reads them but the agent, and Compose when it pulls.

    All raise ``StorageFailed`` or ``StorageFull`` when the disk refuses.
    """

    async def list(self) -> Sequence[KeptRegistry]:
        """The registries, sorted; never a secret."""
        ...

    async def get(self, registry: str) -> RegistryCredentials | None:
        """What is kept for a registry."""
        ...

    async def put(self, registry: str, credentials: RegistryCredentials) -> None:
        """Keeps credentials, in place of earlier ones; on disk when this returns."""
        ...

    async def remove(self, registry: str) -> bool:
        """Forgets what is kept for a registry; whether there was anything."""
        ...

    async def tidy(self) -> None:
        """Removes what an agent that was killed has left half written, as it may hold secrets."""
        ...
