"""The images of the host: who uses them, their names, and their removal."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from domain.engine_images import EngineImage, ImageDetails, ImageNeeds, ImageRemoval, ImageUsers
from domain.errors import ImageRefused, ResourceConflict, ResourceNotFound, ResourceOwned
from domain.image_names import OwnImages, familiar, is_identifier
from domain.ports.engine_images import EngineImages
from domain.ports.store import Environments
from domain.references import image_reference
from domain.usecases.builds import Builds
from domain.usecases.inventory import InventoryWatch

_KIND = "image"


class UsedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image, and who uses it."""

    image: EngineImage
    users: ImageUsers


class ImageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which images are wanted; what is None lets all through."""

    name: str | None = None
    """Part of a name."""
    labels: tuple[str, ...] = ()
    """``key`` or ``key=value``, all of which an image must have."""
    dangling: bool | None = None
    unused: bool | None = None
    before: datetime | None = None
    """Only those that were made before; not those of which nobody knows when."""

    def takes(self, found: UsedImage) -> bool:
        """Whether it lets an image through."""
        image = found.image
        return (
            (self.name is None or any(self.name in name for name in image.names))
            and all(labelled(image, label) for label in self.labels)
            and self.dangling in {None, image.dangling}
            and self.unused in {None, not found.users.any}
            and (self.before is None or _older(image, self.before))
        )


def _older(image: EngineImage, moment: datetime) -> bool:
    return image.created_at is not None and image.created_at < moment


def labelled(image: EngineImage, wanted: str) -> bool:
    """Whether an image has a label: ``key`` or ``key=value``."""
    key, sign, value = wanted.partition("=")
    return key in image.labels and (not sign or image.labels[key] == value)


class HostImages:
    """Shows, names and removes images.

    Args:
        own: names that only the agent gives.
    """

    def __init__(
        self,
        *,
        images: EngineImages,
        inventory: InventoryWatch,
        environments: Environments,
        builds: Builds,
        own: OwnImages,
    ) -> None:
        self._images = images
        self._inventory = inventory
        self._environments = environments
        self._builds = builds
        self._own = own

    async def list(
        self, wanted: ImageFilter, *, fresh: bool = False, without: Collection[str] = ()
    ) -> Sequence[UsedImage]:
        """The images that a filter lets through, by name.

        Args:
            wanted: the filter.
            fresh: ask the Engine who uses them, too.
            without: identifiers of containers that are taken for gone.
        """
        found = await self._images.list()
        needs = await self.needs(fresh=fresh, without=without)
        used = (UsedImage(image=image, users=needs.users(image)) for image in found)
        return [one for one in used if wanted.takes(one)]

    async def inspect(
        self, reference: str, *, fresh: bool = False
    ) -> tuple[ImageDetails, ImageUsers]:
        """All about one image.

        Args:
            reference: the image.
            fresh: ask the Engine who uses it, too.

        Raises:
            InvalidReference: ``reference`` can name none.
            ResourceNotFound: there is none.
        """
        details = await self._images.inspect(image_reference(reference))
        return details, (await self.needs(fresh=fresh)).users(details.image)

    async def needs(self, *, fresh: bool = True, without: Collection[str] = ()) -> ImageNeeds:
        """Who needs which image at the moment, but for some containers."""
        inventory = self._inventory
        picture = await (inventory.refresh() if fresh else inventory.require_engine())
        if without:
            staying = tuple(c for c in picture.containers if c.id not in without)
            picture = msgspec.structs.replace(picture, containers=staying)
        return ImageNeeds(picture, await self._environments.list())

    async def tag(self, source: str, target: str, *, force: bool = False) -> UsedImage:
        """Gives an image one name more.

        Args:
            source: the image.
            target: the name, which may mean another image until now.
            force: also where an environment counts on what the name means now.

        Raises:
            InvalidReference: one of them can name no image.
            ImageRefused: only the agent gives such names.
            ResourceNotFound: there is no such image.
            ResourceOwned: an environment needs what the name means now.
        """
        source, target = image_reference(source), image_reference(target)
        self.require_nameable(target)
        details = await self._images.inspect(source)
        needs = await self.needs()
        async with self._builds.alone([familiar(target)]):
            if not force:
                await self._refuse_moving(target, details.image.id, needs)
            await self._images.tag(details.image.id, target)
            await self._builds.forget([target])
        named = await self._images.inspect(details.image.id)
        return UsedImage(image=named.image, users=needs.users(named.image))

    def require_nameable(self, name: str) -> None:
        """Returns if a name may be given to an image.

        Raises:
            ImageRefused: it may not.
        """
        if is_identifier(name) or "@" in name:
            raise ImageRefused(f"{name!r} is no name that an image could be given.")
        if self._own.holds(name):
            raise ImageRefused(
                f"Only the agent itself may give an image the name {name!r}.",
                hint="Take another name.",
            )

    async def _refuse_moving(self, name: str, image_id: str, needs: ImageNeeds) -> None:
        try:
            meant = (await self._images.inspect(familiar(name))).image.id
        except ResourceNotFound:
            return
        if meant != image_id:
            await self._refuse_needed(name, [name], needs)

    async def remove(self, reference: str, *, force: bool = False) -> ImageRemoval:
        """Takes a name from an image, or an image with all its names.

        Args:
            reference: a name takes that name, and the image where it was the last one; an
                identifier takes the image.
            force: also where an environment or a stopped container needs it, or it has many names.

        Raises:
            InvalidReference: ``reference`` can name none.
            ResourceNotFound: there is none.
            ResourceOwned: an environment needs it.
            ResourceConflict: a container needs it, or a change under way, or the agent.
        """
        reference = image_reference(reference)
        image = (await self._images.inspect(reference)).image
        name = familiar(reference)
        by_name = name in image.repo_tags
        names = [name] if by_name else image.names
        async with self._builds.alone(names):
            if not force:
                await self._refuse_needed(reference, names, await self.needs())
            # The identifier in full, as a part of it could mean another one by now.
            removal = await self._images.remove(name if by_name else image.id, force=force)
            await self._builds.forget(removal.untagged)
        return removal

    async def _refuse_needed(
        self, reference: str, names: Collection[str], needs: ImageNeeds
    ) -> None:
        if owners := needs.environments(names):
            raise ResourceOwned(_KIND, reference, owners[0])
        if needed(names, await self._builds.used()):
            raise ResourceConflict(
                f"Image {reference!r} is needed by a change under way.",
                hint="Try again when that has ended, or add ?force=true.",
            )
        if any(self._own.is_agents(name) for name in names):
            raise ResourceConflict(
                f"Image {reference!r} is the agent's own.", hint="Add ?force=true if you mean it."
            )


def needed(names: Collection[str], used: Collection[str]) -> bool:
    """Whether one of ``names`` is among those that are used."""
    return not {familiar(name) for name in names}.isdisjoint(familiar(tag) for tag in used if tag)
