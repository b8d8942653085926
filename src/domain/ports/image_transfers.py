"""Images on their way: from registries, from archives, into archives.

A call that is cancelled ends within a second, in the Engine too. All may raise
``EngineUnavailable`` when the Engine does not answer, or hangs up in the middle, and
``EngineRefused`` when it answers with an error of its own.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from domain.pulls import PullStep
from domain.registry_credentials import RegistryCredentials

TakeStep = Callable[[PullStep], None]
"""Takes a step as the Engine tells of it."""


class ImageTransfers(Protocol):
    """Brings images to the Engine and out of it. How long a call may take is up to its caller."""

    async def pull(
        self, reference: str, credentials: RegistryCredentials | None, on_step: TakeStep
    ) -> str:
        """Takes an image from its registry; the digest by which the registry knows it.

        Success means that the name means that image now. Layers that came before a failure stay
        with the Engine for a while, and are not loaded again.

        Raises:
            RegistryRefused: the registry wants other credentials.
            ImageNotInRegistry: it has no such image.
            EngineRefused: the registry cannot be reached, or breaks its own rules.
        """
        ...

    async def log_in(self, registry: str, credentials: RegistryCredentials) -> None:
        """Returns if a registry takes the credentials.

        Raises:
            RegistryRefused: it does not.
            EngineRefused: it cannot be reached.
        """
        ...

    async def load(self, archive: AsyncIterable[bytes]) -> Sequence[str]:
        """Takes images from an archive; their names, or identifiers where they have none.

        Nothing is taken of an archive whose end does not come: what ``archive`` raises is raised.

        Raises:
            RequestUnreadable: it is no archive of images.
        """
        ...

    def save(self, references: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """An archive of images, as it comes; leaving it ends it.

        Raises:
            ResourceNotFound: there is none that one of ``references`` means.
        """
        ...
