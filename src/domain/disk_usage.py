"""What Docker keeps on its disk, by kind."""

import msgspec


class KindUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What the things of one kind take up."""

    count: int
    active: int
    """How many of them are in use: images by a container, containers that run, volumes that a
    container has, build cache that a build reads just now."""
    size_bytes: int
    """What is shared counts once."""
    reclaimable_bytes: int
    """What those take up that are not in use. Environments may need them all the same, so that less
    of it goes when it is pruned."""


class DiskUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What all kinds take up, as `docker system df` counts it."""

    images: KindUsage
    containers: KindUsage
    """Of their own layers."""
    volumes: KindUsage
    build_cache: KindUsage

    @property
    def size_bytes(self) -> int:
        """Of all kinds together."""
        kinds = (self.images, self.containers, self.volumes, self.build_cache)
        return sum(kind.size_bytes for kind in kinds)
