"""Credentials that are kept in memory."""

from collections.abc import Sequence

import anyio.lowlevel

from domain.registry_credentials import KeptRegistry, RegistryCredentials


class MemoryCredentials:
    """Twin of ``DockerConfig``."""

    def __init__(self) -> None:
        self.kept: dict[str, RegistryCredentials] = {}
        self.half_written = False
        """Whether somebody left something half written; the twin's own calls leave nothing."""

    async def list(self) -> Sequence[KeptRegistry]:
        """The registries, sorted."""
        await anyio.lowlevel.checkpoint()
        return [
            KeptRegistry(registry=registry, username=credentials.username)
            for registry, credentials in sorted(self.kept.items())
        ]

    async def get(self, registry: str) -> RegistryCredentials | None:
        """What is kept for a registry."""
        await anyio.lowlevel.checkpoint()
        return self.kept.get(registry)

    async def put(self, registry: str, credentials: RegistryCredentials) -> None:
        """Keeps credentials."""
        await anyio.lowlevel.checkpoint()
        self.kept[registry] = credentials

    async def remove(self, registry: str) -> bool:
        """Forgets what is kept for a registry; whether there was anything."""
        await anyio.lowlevel.checkpoint()
        return self.kept.pop(registry, None) is not None

    async def tidy(self) -> None:
        """Removes what is half written."""
        await anyio.lowlevel.checkpoint()
        self.half_written = False
