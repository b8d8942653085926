"""Images in and out as archives."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

import anyio

from domain.errors import RequestUnreadable, ResourceOwned, StepTimedOut
from domain.ports.engine_images import EngineImages
from domain.ports.image_archives import ImageArchives
from domain.ports.image_transfers import ImageTransfers
from domain.references import image_reference
from domain.usecases.builds import Builds
from domain.usecases.host_images import HostImages
from domain.usecases.space import Space

LOAD_SECONDS = 3600.0
"""How long a load may take, however large it is."""

MOST_SAVED = 100
"""How many images one archive may hold."""


class ImageArchiving:
    """Loads and saves.

    Args:
        max_bytes: how long an archive that is loaded may be when unpacked.
    """

    def __init__(
        self,
        *,
        host_images: HostImages,
        images: EngineImages,
        transfers: ImageTransfers,
        archives: ImageArchives,
        builds: Builds,
        space: Space,
        max_bytes: int,
    ) -> None:
        self._host_images = host_images
        self._images = images
        self._transfers = transfers
        self._archives = archives
        self._builds = builds
        self._space = space
        self._max_bytes = max_bytes

    async def load(self, archive: AsyncIterable[bytes], *, force: bool = False) -> Sequence[str]:
        """Takes images from an archive; their names, or identifiers where they have none.

        Either all of its images come, or none.

        Args:
            archive: as ``docker save`` writes it.
            force: also where an environment counts on what one of the names means now.

        Raises:
            RequestUnreadable: it is no archive of images.
            RequestTooLarge: it is longer than it may be.
            ImageRefused: it gives an image a name that only the agent gives.
            ResourceOwned: an environment needs what one of its names means now.
            StorageFull: the disk is as good as full.
        """
        await self._space.require()
        needs = await self._host_images.needs()

        def judge(names: Sequence[str]) -> None:
            for name in names:
                self._host_images.require_nameable(image_reference(name))
                if not force and (owners := needs.environments([name])):
                    raise ResourceOwned("image", name, owners[0])

        async with aclosing(
            self._archives.screened(archive, judge, max_bytes=self._max_bytes)
        ) as screened:
            try:
                with anyio.fail_after(LOAD_SECONDS):
                    loaded = await self._transfers.load(screened)
            except TimeoutError as fault:
                raise StepTimedOut("load", f"it took longer than {LOAD_SECONDS:g} s.") from fault
        await self._builds.forget(loaded)
        return loaded

    async def save(
        self, references: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """An archive of images, which comes as it is read.

        Raises:
            InvalidReference: one of ``references`` can name none.
            RequestUnreadable: there are none, or too many.
            ResourceNotFound: there is no such image.
        """
        if not 0 < len(references) <= MOST_SAVED:
            raise RequestUnreadable(f"An archive holds 1 to {MOST_SAVED} images.")
        names = [image_reference(reference) for reference in references]
        for name in names:
            # Before anything is sent, as it cannot be taken back then.
            await self._images.inspect(name)
        return self._transfers.save(names)
