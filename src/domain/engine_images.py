"""The images of the Engine, as the agent shows them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from domain.containers import Inventory
from domain.environments import Environment
from domain.image_names import familiar


class EngineImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image, as a list tells of it."""

    id: str
    """The Engine's full identifier: `sha256:` and 64 digits."""
    repo_tags: tuple[str, ...] = ()
    """Names with their tags, sorted."""
    repo_digests: tuple[str, ...] = ()
    """Names with the digest by which a registry knows the image; none where no registry does."""
    created_at: datetime | None = None
    size_bytes: int = 0
    """Of all its layers."""
    shared_bytes: int = 0
    """Of those of its layers that other images on this host have, too."""
    labels: Mapping[str, str] = {}

    @property
    def dangling(self) -> bool:
        """Whether no name leads to it any more, with a tag or with a digest."""
        return not self.names

    @property
    def names(self) -> tuple[str, ...]:
        """All names that lead to it."""
        return (*self.repo_tags, *self.repo_digests)

    @property
    def order(self) -> tuple[bool, str, str]:
        """By name, then by identifier; those without a name come last."""
        return (self.dangling, next(iter(self.names), ""), self.id)


class HistoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step by which an image came to be."""

    created_at: datetime | None = None
    created_by: str = ""
    """The instruction, as the builder wrote it down."""
    size_bytes: int = 0
    """What it added; 0 where it changed the configuration alone."""
    comment: str = ""
    repo_tags: tuple[str, ...] = ()
    """Names of the image as it was after this step."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What containers of an image begin with, where nobody says otherwise."""

    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    healthcheck_test: tuple[str, ...] = ()


class ImageDetails(msgspec.Struct, frozen=True, kw_only=True):
    """All that the Engine knows of an image."""

    image: EngineImage
    architecture: str = ""
    variant: str = ""
    os: str = ""
    author: str = ""
    comment: str = ""
    config: ImageConfig = ImageConfig()
    layers: tuple[str, ...] = ()
    """Digests of its layers, the lowest first."""
    history: tuple[HistoryStep, ...] = ()
    """The newest step first, as `docker history` shows it."""


class ImageRemoval(msgspec.Struct, frozen=True, kw_only=True):
    """What went with an image."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    """Identifiers of images and layers that nothing else needed."""


class ImageUsers(msgspec.Struct, frozen=True, kw_only=True):
    """Who uses an image."""

    containers: tuple[str, ...] = ()
    """Names of the containers, running or not, that were made from it."""
    environments: tuple[str, ...] = ()
    """Names of the environments that run it, or would if they were started."""

    @property
    def any(self) -> bool:
        """Whether anybody does."""
        return bool(self.containers or self.environments)


class ImageNeeds:
    """Which images are used, by the inventory and the records."""

    def __init__(self, inventory: Inventory, environments: Iterable[Environment]) -> None:
        self._inventory = inventory
        self._by_tag: dict[str, set[str]] = {}
        for record in environments:
            if record.deployed:
                for tag in record.image_tags:
                    self._by_tag.setdefault(familiar(tag), set()).add(record.name)

    def environments(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Names of the environments that need any of ``tags``, sorted."""
        found: set[str] = set()
        for tag in tags:
            found |= self._by_tag.get(familiar(tag), set())
        return tuple(sorted(found))

    def users(self, image: EngineImage) -> ImageUsers:
        """Who uses an image."""
        tags = set(image.repo_tags)
        containers = [
            c.name
            for c in self._inventory.containers
            if (c.image_id == image.id if c.image_id else familiar(c.image) in tags)
        ]
        return ImageUsers(
            containers=tuple(sorted(containers)),
            environments=self.environments(image.names),
        )


def freed_bytes(going: Sequence[ImageDetails], staying: Sequence[ImageDetails]) -> int:
    """How much room images take up that those which stay do not."""
    freed: dict[str, int] = {}
    for details in going:
        freed |= zip(_chains(details.layers), _layer_sizes(details), strict=True)
    for details in staying:
        for chain in _chains(details.layers):
            freed.pop(chain, None)
    return sum(freed.values())


def _chains(layers: Sequence[str]) -> Sequence[str]:
    """Each layer with all that lie below it; only then is it the same one for the Engine."""
    chains: list[str] = []
    for layer in layers:
        chains.append(f"{chains[-1] if chains else ''}/{layer}")
    return chains


def _layer_sizes(details: ImageDetails) -> Sequence[int]:
    """Bytes of each layer, the lowest first.

    The history does not say which step made which layer. Steps that added something made one each;
    where layers are left over, those are empty, and the lowest steps of no size made them.
    """
    empty = len(details.layers) - sum(1 for step in details.history if step.size_bytes)
    sizes: list[int] = []
    for step in reversed(details.history):
        if step.size_bytes or empty > 0:
            sizes.append(step.size_bytes)
            empty -= not step.size_bytes
    return [*sizes, *[0] * len(details.layers)][: len(details.layers)]
