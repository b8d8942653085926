"""Clears away images that nobody needs."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from domain.engine_images import EngineImage, ImageDetails, freed_bytes
from domain.errors import ResourceConflict, ResourceNotFound
from domain.image_names import OwnImages
from domain.ports.engine_images import EngineImages
from domain.usecases.builds import Builds
from domain.usecases.host_images import HostImages, ImageFilter, needed


class PrunedImages(msgspec.Struct, frozen=True, kw_only=True):
    """Images that went, or would."""

    images: tuple[EngineImage, ...]
    """By name."""
    reclaimed_bytes: int
    """What their layers take up that no image which stays has. Layers that the builder keeps for
    the next build stay until its cache is cleared."""


class ImagePruning:
    """Removes images that no container was made from, that no environment would start, and that no
    change under way needs; never by the Engine's own call, which knows only of the first.
    """

    def __init__(
        self, *, host_images: HostImages, images: EngineImages, builds: Builds, own: OwnImages
    ) -> None:
        self._host_images = host_images
        self._images = images
        self._builds = builds
        self._own = own

    async def plan(
        self,
        *,
        all_unused: bool,
        labels: Sequence[str] = (),
        before: datetime | None = None,
        without: Collection[str] = (),
    ) -> PrunedImages:
        """What would go.

        Args:
            all_unused: also those that have names; else only dangling ones.
            labels: only images with all of these.
            before: only images that were made before.
            without: identifiers of containers that are taken for gone.
        """
        every = await self._images.list()
        wanted = _wanted(all_unused=all_unused, labels=labels, before=before)
        going = await self._unneeded(wanted, without)
        details = await self._images.describe([image.id for image in going])
        return await self._result(going, details, every)

    async def prune(
        self,
        *,
        all_unused: bool,
        labels: Sequence[str] = (),
        before: datetime | None = None,
        without: Collection[str] = (),
    ) -> PrunedImages:
        """Removes them; one that somebody began to use meanwhile stays."""
        every = await self._images.list()
        wanted = _wanted(all_unused=all_unused, labels=labels, before=before)
        going = await self._unneeded(wanted, without)
        # Once they have gone nobody can tell how large they were.
        details = await self._images.describe([image.id for image in going])
        gone = [image for image in going if await self._remove(image)]
        return await self._result(gone, details, every)

    async def _result(
        self,
        gone: Sequence[EngineImage],
        details: Sequence[ImageDetails],
        every: Sequence[EngineImage],
    ) -> PrunedImages:
        identifiers = {image.id for image in gone}
        sharing = [i.id for i in every if i.shared_bytes and i.id not in identifiers]
        reclaimed = freed_bytes(
            [known for known in details if known.image.id in identifiers],
            await self._images.describe(sharing) if gone else (),
        )
        return PrunedImages(images=tuple(gone), reclaimed_bytes=reclaimed)

    async def _unneeded(
        self, wanted: ImageFilter, without: Collection[str]
    ) -> Sequence[EngineImage]:
        used = await self._builds.used()
        return [
            found.image
            for found in await self._host_images.list(wanted, fresh=True, without=without)
            if not self._kept(found.image.names, used)
        ]

    def _kept(self, names: Collection[str], used: Collection[str]) -> bool:
        return needed(names, used) or any(self._own.is_agents(name) for name in names)

    async def _remove(self, image: EngineImage) -> bool:
        async with self._builds.alone(image.names):
            if self._kept(image.names, await self._builds.used()):
                return False
            try:
                # By each of its names, as the Engine takes no image from under several.
                for reference in image.repo_tags or (image.id,):
                    removal = await self._images.remove(reference)
                    await self._builds.forget(removal.untagged)
            except ResourceConflict:
                return False
            except ResourceNotFound:
                return True
        return True


def _wanted(*, all_unused: bool, labels: Sequence[str], before: datetime | None) -> ImageFilter:
    return ImageFilter(
        labels=tuple(labels), unused=True, dangling=None if all_unused else True, before=before
    )
