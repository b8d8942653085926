"""What an in-memory Engine would keep on a disk."""

from adapters.memory.engine import MemoryEngine
from adapters.memory.engine_images import MemoryEngineImages
from domain.disk_usage import DiskUsage, KindUsage


class MemoryDiskUsages:
    """Twin of ``DockerDiskUsages``; what containers and volumes hold is what is said of them."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._images = MemoryEngineImages(engine)
        self.written: dict[str, int] = {}
        """Container's or volume's name → bytes."""

    async def measure(self) -> DiskUsage:
        """What all kinds take up now."""
        images = await self._images.list()
        containers = self._engine.containers.values()
        used = {container.image_id for container in containers}
        layers: dict[str, int] = {}
        for image in images:
            layers.update(self._engine.layers.get(image.id, ((image.id, image.size_bytes),)))
        total = sum(layers.values())
        own = sum(i.size_bytes - i.shared_bytes for i in images if i.id in used)
        return DiskUsage(
            images=KindUsage(
                count=len(images),
                active=sum(image.id in used for image in images),
                size_bytes=total,
                reclaimable_bytes=max(0, total - own),
            ),
            containers=self._kind({c.name: c.running for c in containers}),
            volumes=self._kind(dict.fromkeys(self._engine.volumes, False) | self._mounted()),
            build_cache=self._cache(),
        )

    def _kind(self, active: dict[str, bool]) -> KindUsage:
        return KindUsage(
            count=len(active),
            active=sum(active.values()),
            size_bytes=sum(self.written.get(name, 0) for name in active),
            reclaimable_bytes=sum(
                self.written.get(name, 0) for name, used in active.items() if not used
            ),
        )

    def _mounted(self) -> dict[str, bool]:
        orders = (order for order, _ in self._engine.orders.values())
        names = {mount.source for order in orders for mount in order.volumes}
        return dict.fromkeys(names & self._engine.volumes.keys(), True)

    def _cache(self) -> KindUsage:
        entries = self._engine.build_cache.values()
        own = [entry for entry in entries if not entry.shared]
        return KindUsage(
            count=len(entries),
            active=sum(entry.in_use for entry in entries),
            size_bytes=sum(entry.size_bytes for entry in own),
            reclaimable_bytes=sum(entry.size_bytes for entry in own if not entry.in_use),
        )
