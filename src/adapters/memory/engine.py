"""The state of an Engine that is not there, and the requests by which it changes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import anyio
import anyio.lowlevel
import msgspec

from adapters.memory.happenings import Happenings, NotedContainers
from domain.build_cache import CacheEntry
from domain.container_details import FileChange
from domain.container_orders import ContainerOrder
from domain.containers import PROJECT_LABEL, Container, ContainerState
from domain.errors import AgentError, EngineRefused, EngineUnavailable
from domain.limits import HeldLimits

Change = Callable[[], None]
"""What one request changes; raises ``EngineRefused``, or what that means, where it cannot be."""

Watch = Callable[[str, Change | None], Awaitable[None]]
"""Sees a request, and what it would change, before it is answered; may fail it."""


class MemoryEngine:
    """The state that the twins of runtime and Compose share.

    Whatever comes through ports comes in requests, one for each thing that changes; between two of
    them others are served, and anything may fail. ``fault`` makes every request fail as an Engine
    that is away; ``hang`` makes it wait for good. Containers that are ``stuck`` run on, whoever
    stops or removes them.

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
        self.contents: dict[str, str] = {}
        """Volume → what containers left in it; goes with the volume."""
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
        self.build_cache: dict[str, CacheEntry] = {}
        """By identifier."""
        self.volume_options: set[str] = set()
        """Volumes whose options lead elsewhere."""
        self.erased: list[str] = []
        self.news = anyio.Event()
        """Set, and then replaced, when a container changes or prints."""
        self.commands: dict[str, Callable[[], Awaitable[bool]]] = {}
        """How commands in containers are ended that were ever started."""
        self.fault: str = ""
        self.hang: bool = False
        self.stuck: set[str] = set()
        self.watch: Watch | None = None
        """Who sees all requests."""
        self.late: list[Change] = []
        """What was asked for by those who hung up, and is still to be done."""
        self._serial = 0
        self._moments = 0

    async def answer(self, request: str, change: Change | None = None) -> None:
        """Answers a request as an Engine in good health does.

        Args:
            request: in words.
            change: what is done for it, if anything.

        Raises:
            EngineUnavailable: ``fault`` is set.
            AgentError: the change cannot be.
        """
        await anyio.lowlevel.checkpoint()
        if self.watch is not None:
            await self.watch(request, change)
        if self.hang:
            await anyio.sleep_forever()
        if self.fault:
            raise EngineUnavailable(f"The Docker Engine did not answer: {self.fault}")
        if change is not None:
            change()

    def catch_up(self) -> None:
        """Does what those asked for who have hung up, as far as it can be done still."""
        late, self.late = self.late, []
        for change in late:
            with suppress(AgentError):
                change()

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
            image_id=self.tags.get(with_version(image), ""),
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

    def create(self, container: Container) -> None:
        """Lets a container stand that does not run.

        Raises:
            EngineRefused: its name is taken.
        """
        if container.name in self.containers:
            raise EngineRefused(f"Conflict. The container name {container.name!r} is in use.")
        image_id = container.image_id or self.tags.get(with_version(container.image), "")
        self.containers[container.name] = msgspec.structs.replace(container, image_id=image_id)

    def start(self, container_id: str) -> None:
        """Lets a container run that stands.

        Raises:
            EngineRefused: it is gone, or a port that it publishes is taken.
        """
        container = self._found(container_id)
        for port in container.ports:
            if self.ports.get(port.host_port, container.name) != container.name:
                raise EngineRefused(
                    f"Bind for {port.host_address}:{port.host_port} failed: "
                    "port is already allocated"
                )
        if not container.running:
            self.times[container.id] = (self._moment(), self._times(container)[1])
        self.ports.update({port.host_port: container.name for port in container.ports})
        self.containers[container.name] = msgspec.structs.replace(
            container, state=ContainerState.RUNNING, status="Up 1 second"
        )
        self.tell()

    def stop(self, name: str, *, exit_code: int = 137) -> None:
        """Ends a container, whose ports are free by that."""
        container = self.containers[name]
        self.times[container.id] = (self._times(container)[0], self._moment())
        self.containers[name] = msgspec.structs.replace(
            container,
            state=ContainerState.EXITED,
            status=f"Exited ({exit_code}) 1 second ago",
        )
        self._free_ports(name)
        self.tell()

    def _times(self, container: Container) -> tuple[int, int]:
        return self.times.get(container.id, (0, 0))

    def rename(self, container_id: str, name: str) -> None:
        """Gives a container another name.

        Raises:
            EngineRefused: it is gone, or the name is taken.
        """
        container = self._found(container_id)
        if name in self.containers:
            raise EngineRefused(f"Conflict. The container name {name!r} is in use.")
        self.containers.rename(container.name, name)
        self.ports = {
            port: name if owner == container.name else owner for port, owner in self.ports.items()
        }
        self.tell()

    def remove(self, name: str) -> None:
        """Takes a container away, with the ports it published."""
        gone = self.containers.pop(name, None)
        if gone is not None:
            for known in (self.orders, self.times, self.file_changes):
                known.pop(gone.id, None)
        self._free_ports(name)
        self.tell()

    def ended(self, container_id: str) -> None:
        """Ends a container if it stands and runs."""
        for name, container in self.containers.items():
            if container.id == container_id and container.running:
                return self.stop(name)
        return None

    def removed(self, container_id: str) -> None:
        """Takes a container away if it still stands."""
        for name, container in self.containers.items():
            if container.id == container_id:
                return self.remove(name)
        return None

    def _found(self, container_id: str) -> Container:
        for container in self.containers.values():
            if container.id == container_id:
                return container
        raise EngineRefused(f"No such container: {container_id}")

    def _free_ports(self, name: str) -> None:
        self.ports = {port: owner for port, owner in self.ports.items() if owner != name}

    def create_network(
        self, name: str, project: str, subnet: str | None, labels: Mapping[str, str]
    ) -> None:
        """Makes a network, if it is not there."""
        if name not in self.networks:
            self.networks[name], self.labels[name] = project, labels
            if subnet is not None:
                self.subnets[name] = subnet

    def remove_network(self, name: str) -> None:
        """Takes a network away, if it is there."""
        self.networks.pop(name, None)
        self.labels.pop(name, None)
        self.subnets.pop(name, None)

    def create_volume(self, name: str, project: str, labels: Mapping[str, str]) -> None:
        """Makes a volume, if it is not there."""
        if name not in self.volumes:
            self.volumes[name], self.labels[name], self.contents[name] = project, labels, ""

    def remove_volume(self, name: str) -> None:
        """Takes a volume away with what it holds, if it is there."""
        self.volumes.pop(name, None)
        self.labels.pop(name, None)
        self.contents.pop(name, None)

    def pull(self, image: str) -> None:
        """Makes an image be at hand, if it is not."""
        self.tags.setdefault(with_version(image), f"sha256:{self.new_id()}")

    def at_hand(self, image: str) -> bool:
        """Whether a tag names an image."""
        return with_version(image) in self.tags

    def keep_image(
        self, image_id: str, project: str, service: str, labels: Mapping[str, str]
    ) -> None:
        """Keeps what a build made, which has no name by that."""
        self.images[image_id], self.labels[image_id] = (project, service), labels

    def tag(self, image_id: str, tag: str) -> None:
        """Lets a tag name an image.

        Raises:
            EngineRefused: there is no such image.
        """
        if image_id not in self.images and image_id not in self.tags.values():
            raise EngineRefused(f"No such image: {image_id}")
        self.tags[with_version(tag)] = image_id

    def untag(self, tag: str) -> None:
        """Takes a tag away, and the image with its last one, unless a container uses it."""
        tag = with_version(tag)
        if any(with_version(c.image) == tag for c in self.containers.values()):
            return
        image = self.tags.pop(tag, None)
        if image is not None:
            self.remove_image(image)

    def remove_image(self, image_id: str) -> None:
        """Takes an image away that no tag names."""
        if image_id not in self.tags.values():
            self.images.pop(image_id, None)
            self.labels.pop(image_id, None)

    def tell(self) -> None:
        """Lets all know who wait for anything to happen."""
        self.news.set()
        self.news = anyio.Event()

    def of_project(self, project: str) -> Sequence[str]:
        """Names of one project's containers."""
        return [name for name, c in self.containers.items() if c.project == project]


def with_version(tag: str) -> str:
    """A tag as the Engine keeps it."""
    return tag if ":" in tag.rsplit("/", 1)[-1] else f"{tag}:latest"
