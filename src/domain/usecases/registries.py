"""Credentials for registries: kept, forgotten, and found when an image is pulled."""

from collections.abc import Sequence

import anyio

from domain.errors import RegistryNotKept, StepTimedOut
from domain.image_names import registry
from domain.ports.credentials import KeptCredentials
from domain.ports.image_transfers import ImageTransfers
from domain.registry_credentials import KeptRegistry, RegistryCredentials, registry_name
from domain.usecases.pull_policy import PullPolicy

LOG_IN_SECONDS = 60.0
"""How long a registry may take to say whether it takes credentials."""


class Registries:
    """Keeps credentials.

    Args:
        kept: where.
        transfers: tries them.
        policy: where images may come from.
    """

    def __init__(
        self, kept: KeptCredentials, transfers: ImageTransfers, policy: PullPolicy
    ) -> None:
        self._kept = kept
        self._transfers = transfers
        self._policy = policy

    async def list(self) -> Sequence[KeptRegistry]:
        """The registries that credentials are kept for, sorted."""
        return await self._kept.list()

    async def keep(
        self, text: str, credentials: RegistryCredentials, *, check: bool = True
    ) -> KeptRegistry:
        """Keeps credentials for a registry, in place of earlier ones.

        Args:
            text: the registry.
            credentials: for it.
            check: try them first.

        Raises:
            RequestUnreadable: it is no registry, or they are no credentials.
            ImageRefused: images may not come from there.
            RegistryRefused: it does not take them.
            EngineRefused: it cannot be reached.
            StepTimedOut: it does not answer.
        """
        name = registry_name(text)
        credentials.check()
        self._policy.require_registry(name)
        if check:
            await self._try(name, credentials)
        await self._kept.put(name, credentials)
        return KeptRegistry(registry=name, username=credentials.username)

    async def _try(self, registry: str, credentials: RegistryCredentials) -> None:
        try:
            with anyio.fail_after(LOG_IN_SECONDS):
                await self._transfers.log_in(registry, credentials)
        except TimeoutError as fault:
            raise StepTimedOut(
                "log in", f"{registry} did not answer within {LOG_IN_SECONDS:g} s."
            ) from fault

    async def forget(self, text: str) -> None:
        """Forgets what is kept for a registry.

        Raises:
            RequestUnreadable: it is no registry.
            RegistryNotKept: nothing is kept for it.
        """
        name = registry_name(text)
        if not await self._kept.remove(name):
            raise RegistryNotKept(name)

    async def for_image(self, reference: str) -> RegistryCredentials | None:
        """What is kept for the registry that an image comes from."""
        return await self._kept.get(registry(reference))
