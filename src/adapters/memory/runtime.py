"""The in-memory runtime: containers, images, networks and volumes of an Engine that is not there.

A part of the product (``RUNTIME=memory``) and the twin that tests run against.
"""

from collections.abc import Collection, Mapping, Sequence

import anyio
import anyio.lowlevel
import msgspec

from adapters.memory.happenings import Happenings, NotedContainers
from domain.arrangement import ENVIRONMENT_LABEL, WORKSPACE_LABEL
from domain.container_details import FileChange
from domain.container_orders import ContainerOrder
from domain.containers import PROJECT_LABEL, Container, ContainerState, EngineInfo, Image, Marked
from domain.errors import EngineUnavailable
from domain.limits import HeldLimits


class MemoryEngine:
    """The state that the twins of runtime and Compose share.

    ``fault`` makes every call fail as an Engine that is away; ``hang`` makes it wait for good.

    Args:
        happenings: takes what happens, for those who follow the Engine's events.
    """

    def __init__(self, happenings: Happenings | None = None) -> None:
        self.happenings = happenings or Happenings()
        self.containers = NotedContainers(self.happenings)
        self.networks: dict[str, str] = {}
        """Network → project."""
        self.subnets: dict[str, str] = {}
        """Network → address range."""
        self.volumes: dict[str, str] = {}
        """Volume → project."""
        self.labels: dict[str, Mapping[str, str]] = {}
        """Labels of networks and volumes, and of images by their identifier."""
        self.images: dict[str, tuple[str, str]] = {}
        """Image identifier → project and labels' digest."""
        self.tags: dict[str, str] = {}
        """Tag → image identifier."""
        self.repo_digests: dict[str, str] = {}
        """Name with a registry's digest → image identifier."""
        self.layers: dict[str, tuple[tuple[str, int], ...]] = {}
        """Image identifier → digests and sizes of its layers, where it has others than one of its
        own."""
        self.ports: dict[int, str] = {}
        """Published port → container's name."""
        self.orders: dict[str, tuple[ContainerOrder, HeldLimits]] = {}
        """Container's identifier → what it was made by, where it was made one by one."""
        self.times: dict[str, tuple[int, int]] = {}
        """Container's identifier → when it last started and ended, in seconds; 0 for never."""
        self.file_changes: dict[str, tuple[FileChange, ...]] = {}
        """Container's identifier → how its files differ from its image's."""
        self.volume_options: set[str] = set()
        """Volumes whose options lead elsewhere."""
        self.stuck: set[str] = set()
        """Names of containers that do not end in time, whoever asks for it."""
        self.erased: list[str] = []
        self.news = anyio.Event()
        """Set, and then replaced, when a container changes or prints."""
        self.fault: str = ""
        self.hang: bool = False
        self._serial = 0
        self._moments = 0

    async def answer(self) -> None:
        """Returns as an Engine in good health does.

        Raises:
            EngineUnavailable: ``fault`` is set.
        """
        await anyio.lowlevel.checkpoint()
        if self.hang:
            await anyio.sleep_forever()
        if self.fault:
            raise EngineUnavailable(f"The Docker Engine did not answer: {self.fault}")

    def new_id(self) -> str:
        """An identifier in the Engine's form."""
        self._serial += 1
        return f"{self._serial:064x}"

    def run(
        self,
        name: str,
        *,
        image: str = "busybox",
        project: str | None = None,
        state: ContainerState = ContainerState.RUNNING,
    ) -> Container:
        """Lets a container stand, as somebody else's ``docker run`` would."""
        labels = {PROJECT_LABEL: project} if project is not None else {}
        container = Container(
            id=self.new_id(),
            name=name,
            image=image,
            image_id=self.tags.get(_with_version(image), ""),
            state=state,
            status="Up 1 second" if state is ContainerState.RUNNING else "Exited (0) 1 second ago",
            labels=labels,
        )
        self.containers[name] = container
        self.times[container.id] = (self._moment(), 0)
        return container

    def _moment(self) -> int:
        self._moments += 1
        return self._moments

    def pull(self, image: str) -> None:
        """Makes an image be at hand, if it is not."""
        self.tags.setdefault(_with_version(image), f"sha256:{self.new_id()}")

    def at_hand(self, image: str) -> bool:
        """Whether a tag names an image."""
        return _with_version(image) in self.tags

    def start(self, name: str) -> None:
        """Lets a container run that stands."""
        if not self.containers[name].running:
            container = self.containers[name].id
            self.times[container] = (self._moment(), self.times.get(container, (0, 0))[1])
        self.containers[name] = msgspec.structs.replace(
            self.containers[name], state=ContainerState.RUNNING, status="Up 1 second"
        )
        self.tell()

    def stop(self, name: str, *, exit_code: int = 137) -> None:
        """Ends a container."""
        container = self.containers[name].id
        self.times[container] = (self.times.get(container, (0, 0))[0], self._moment())
        self.containers[name] = msgspec.structs.replace(
            self.containers[name],
            state=ContainerState.EXITED,
            status=f"Exited ({exit_code}) 1 second ago",
        )
        self.tell()

    def remove(self, name: str) -> None:
        """Takes a container away, with the ports it published."""
        gone = self.containers.pop(name, None)
        if gone is not None:
            for known in (self.orders, self.times, self.file_changes):
                known.pop(gone.id, None)
        self.ports = {port: owner for port, owner in self.ports.items() if owner != name}
        self.tell()

    def tell(self) -> None:
        """Lets all know who wait for anything to happen."""
        self.news.set()
        self.news = anyio.Event()

    def of_project(self, project: str) -> Sequence[str]:
        """Names of one project's containers."""
        return [name for name, c in self.containers.items() if c.project == project]


class MemoryContainers:
    """Twin of ``DockerContainers``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def list(self, ids: Collection[str] | None = None) -> Sequence[Container]:
        """The containers, sorted by name."""
        await self._engine.answer()
        found = self._engine.containers.values()
        return sorted(
            (container for container in found if ids is None or container.id in ids),
            key=lambda container: (container.name, container.id),
        )


class MemoryEngineInfo:
    """Twin of ``DockerEngine``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def info(self) -> EngineInfo:
        """What an in-memory Engine says of itself."""
        await self._engine.answer()
        return EngineInfo(
            version="memory", api_version="memory", storage_driver="memory", root_dir=""
        )

    async def prune_build_cache(self) -> int:
        """There is none."""
        await self._engine.answer()
        return 0


class MemoryNetworks:
    """Twin of ``DockerNetworks``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def subnets(self) -> Sequence[tuple[str, str]]:
        """Pairs of a network's name and an address range that it has."""
        await self._engine.answer()
        return sorted(self._engine.subnets.items())


class MemoryProjectResources:
    """Twin of ``DockerProjectResources``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def images(self, project: str) -> Sequence[Image]:
        """The images that were built for the project, sorted by identifier."""
        await self._engine.answer()
        return [
            Image(id=image, tags=self._tags(image), labels=self._engine.labels.get(image, {}))
            for image, (owner, _) in sorted(self._engine.images.items())
            if owner == project
        ]

    def _tags(self, image_id: str) -> tuple[str, ...]:
        return tuple(sorted(tag for tag, image in self._engine.tags.items() if image == image_id))

    async def missing_images(self, tags: Sequence[str]) -> Sequence[str]:
        """Those of ``tags`` that name no image on this host."""
        await self._engine.answer()
        return [tag for tag in tags if _with_version(tag) not in self._engine.tags]

    async def image_ids(self, tags: Sequence[str]) -> Mapping[str, str]:
        """The images that ``tags`` name on this host."""
        await self._engine.answer()
        found = {tag: self._engine.tags.get(_with_version(tag)) for tag in tags}
        return {tag: image for tag, image in found.items() if image is not None}

    async def are_plain(self, tags: Sequence[str]) -> bool:
        """Whether all ``tags`` are at hand; the twin's images bring no steps."""
        return not await self.missing_images(tags)

    async def tag(self, image_id: str, tag: str) -> None:
        """Lets ``tag`` name the image."""
        await self._engine.answer()
        self._engine.tags[_with_version(tag)] = image_id

    async def untag(self, tag: str) -> None:
        """Takes the tag away, and the image with it if nothing else needs it."""
        await self._engine.answer()
        tag = _with_version(tag)
        image = self._engine.tags.get(tag)
        if image is not None and not self._used(tag):
            del self._engine.tags[tag]
            await self.remove_image(image)

    async def remove_image(self, image_id: str) -> None:
        """Removes an image that no tag names and no container uses."""
        await self._engine.answer()
        if image_id not in self._engine.tags.values():
            self._engine.images.pop(image_id, None)
            self._engine.labels.pop(image_id, None)

    def _used(self, tag: str) -> bool:
        return any(_with_version(c.image) == tag for c in self._engine.containers.values())

    async def volumes(self, project: str) -> Sequence[str]:
        """Names of the project's named volumes, sorted."""
        await self._engine.answer()
        return sorted(name for name, owner in self._engine.volumes.items() if owner == project)

    async def marked(self, workspace: str) -> Sequence[Marked]:
        """Networks and volumes that an agent with this workspace made."""
        await self._engine.answer()
        standing = [
            *(("network", name) for name in self._engine.networks),
            *(("volume", name) for name in self._engine.volumes),
        ]
        return sorted(
            Marked(kind=kind, name=name, environment=labels[ENVIRONMENT_LABEL])
            for kind, name in standing
            if (labels := self._engine.labels.get(name, {})).get(WORKSPACE_LABEL) == workspace
            and ENVIRONMENT_LABEL in labels
        )

    async def sweep(
        self,
        project: str,
        *,
        keep_volumes: Collection[str] = (),
        cut_off: bool = False,  # noqa: ARG002
    ) -> None:
        """Removes the project's containers, networks and volumes; nothing ever comes late here."""
        await self._engine.answer()
        for name in self._engine.of_project(project):
            self._engine.remove(name)
        for network in [n for n, owner in self._engine.networks.items() if owner == project]:
            del self._engine.networks[network]
            self._engine.labels.pop(network, None)
            self._engine.subnets.pop(network, None)
        for volume in await self.volumes(project):
            if volume not in keep_volumes:
                del self._engine.volumes[volume]
                self._engine.labels.pop(volume, None)

    async def erase(self, directory: str) -> None:
        """Notes that the folder was to be emptied; there is no Engine to do it."""
        await self._engine.answer()
        self._engine.erased.append(directory)


def _with_version(tag: str) -> str:
    return tag if ":" in tag.rsplit("/", 1)[-1] else f"{tag}:latest"
