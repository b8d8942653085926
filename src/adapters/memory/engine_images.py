"""The images of the in-memory Engine, one by one."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from adapters.memory.engine import MemoryEngine
from adapters.memory.references import found
from domain.containers import Container
from domain.engine_images import EngineImage, HistoryStep, ImageDetails, ImageRemoval
from domain.errors import ResourceConflict, ResourceNotFound
from domain.image_names import familiar

_KIND = "image"
_CREATED = datetime(2026, 1, 1, tzinfo=UTC)
_LAYER_BYTES = 1_000_000


class MemoryEngineImages:
    """Twin of ``DockerEngineImages``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def list(self) -> Sequence[EngineImage]:
        """All images, in their own order."""
        await self._engine.answer("list images")
        images = [self._image(identifier) for identifier in self._identifiers()]
        return sorted(images, key=lambda image: image.order)

    async def inspect(self, reference: str) -> ImageDetails:
        """One image with its history."""
        await self._engine.answer(f"look at image {reference}")
        return self._details(self.found(reference))

    async def describe(self, identifiers: Sequence[str]) -> Sequence[ImageDetails]:
        """Several images; those that have gone meanwhile are left out."""
        await self._engine.answer("look at images")
        known = self._identifiers()
        return [self._details(identifier) for identifier in identifiers if identifier in known]

    async def tag(self, reference: str, target: str) -> None:
        """Lets the name ``target`` mean an image."""
        await self._engine.answer(f"tag {target}", partial(self._tag, reference, target))

    def _tag(self, reference: str, target: str) -> None:
        self._engine.tags[familiar(target)] = self.found(reference)

    async def remove(self, reference: str, *, force: bool = False) -> ImageRemoval:
        """Takes a name away, and the image with it when that was its last."""
        removed: list[ImageRemoval] = []

        def change() -> None:
            removed.append(self._remove(reference, force=force))

        await self._engine.answer(f"remove image {reference}", change)
        return removed[0]

    def _remove(self, reference: str, *, force: bool) -> ImageRemoval:
        identifier = self.found(reference)
        tags = self._tags(identifier)
        if familiar(reference) in tags:
            return self._untag(identifier, familiar(reference), force=force)
        self._refuse_used(identifier, force=force, running_too=True)
        if len(tags) > 1 and not force:
            raise ResourceConflict(
                f"The Docker Engine refused removing an image: {identifier} has several names."
            )
        return self._forget(identifier, tags)

    def found(self, reference: str) -> str:
        """The identifier of the image that a reference means."""
        names = {**self._engine.tags, **self._engine.repo_digests}
        if familiar(reference) in names:
            return names[familiar(reference)]
        digits = {i.removeprefix("sha256:"): i for i in self._identifiers()}
        begun = reference.removeprefix("sha256:")
        if begun != reference or "/" not in reference:
            return digits[found(_KIND, begun, {digit: digit for digit in digits})]
        raise ResourceNotFound(_KIND, reference)

    def _identifiers(self) -> Mapping[str, None]:
        every = (self._engine.images, self._engine.layers, self._engine.tags.values())
        return dict.fromkeys(identifier for known in every for identifier in known)

    def _tags(self, identifier: str) -> tuple[str, ...]:
        return tuple(sorted(t for t, image in self._engine.tags.items() if image == identifier))

    def _digests(self, identifier: str) -> tuple[str, ...]:
        known = self._engine.repo_digests.items()
        return tuple(sorted(name for name, image in known if image == identifier))

    def _layers(self, identifier: str) -> tuple[tuple[str, int], ...]:
        return self._engine.layers.get(identifier, ((identifier, _LAYER_BYTES),))

    def _image(self, identifier: str) -> EngineImage:
        others = {
            layer
            for other in self._identifiers()
            if other != identifier
            for layer, _ in self._layers(other)
        }
        layers = self._layers(identifier)
        return EngineImage(
            id=identifier,
            repo_tags=self._tags(identifier),
            repo_digests=self._digests(identifier),
            created_at=_CREATED,
            size_bytes=sum(size for _, size in layers),
            shared_bytes=sum(size for layer, size in layers if layer in others),
            labels=self._engine.labels.get(identifier, {}),
        )

    def _details(self, identifier: str) -> ImageDetails:
        image, layers = self._image(identifier), self._layers(identifier)
        steps = [
            HistoryStep(created_at=_CREATED, created_by="COPY", size_bytes=size)
            for _, size in reversed(layers)
        ]
        return ImageDetails(
            image=image,
            architecture="amd64",
            os="linux",
            layers=tuple(layer for layer, _ in layers),
            history=tuple(steps),
        )

    def _using(self, identifier: str) -> Sequence[Container]:
        return [c for c in self._engine.containers.values() if c.image_id == identifier]

    def _refuse_used(self, identifier: str, *, force: bool, running_too: bool) -> None:
        for container in self._using(identifier):
            if not force or (container.running and running_too):
                raise ResourceConflict(
                    "The Docker Engine refused removing an image: container "
                    f"{container.id[:12]} is using its image {identifier}"
                )

    def _untag(self, identifier: str, tag: str, *, force: bool) -> ImageRemoval:
        if len(self._tags(identifier)) > 1:
            del self._engine.tags[tag]
            return ImageRemoval(untagged=(tag,))
        self._refuse_used(identifier, force=force, running_too=False)
        if self._using(identifier):
            # Forced: the image stays, without its name.
            self._engine.layers.setdefault(identifier, self._layers(identifier))
            del self._engine.tags[tag]
            return ImageRemoval(untagged=(tag,))
        return self._forget(identifier, (tag,))

    def _forget(self, identifier: str, tags: tuple[str, ...]) -> ImageRemoval:
        digests = self._digests(identifier)
        for tag in tags:
            del self._engine.tags[tag]
        for digest in digests:
            del self._engine.repo_digests[digest]
        for known in (self._engine.images, self._engine.layers, self._engine.labels):
            known.pop(identifier, None)
        return ImageRemoval(untagged=(*tags, *digests), deleted=(identifier,))
