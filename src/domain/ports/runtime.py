"""What runs containers: the Docker Engine, or the in-memory one.

Every call ends: whatever it asks the Engine for has a time limit. When one has returned or raised,
or was cancelled, it asks the Engine for nothing more. All may raise ``EngineUnavailable`` when the
Engine does not answer in time, and ``EngineRefused`` when it answers with an error of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from domain.containers import Container, EngineInfo, Image, Marked


class Containers(Protocol):
    """The containers of the host."""

    async def list(self, ids: Collection[str] | None = None) -> Sequence[Container]:
        """The containers, stopped ones too, sorted by name and identifier.

        Args:
            ids: only those of these identifiers that there are; costs the Engine as much as they
                are, and not as all are.
        """
        ...


class ProjectResources(Protocol):
    """What the Engine holds for one Compose project, found by Compose's own labels."""

    async def images(self, project: str) -> Sequence[Image]:
        """The images that were built for the project, sorted by identifier."""
        ...

    async def missing_images(self, tags: Sequence[str]) -> Sequence[str]:
        """Those of ``tags`` that name no image on this host, in the order they came."""
        ...

    async def image_ids(self, tags: Sequence[str]) -> Mapping[str, str]:
        """The images that ``tags`` name on this host: tag → identifier; those missing left out."""
        ...

    async def are_plain(self, tags: Sequence[str]) -> bool:
        """Whether all ``tags`` are at hand and none brings steps for builds that start from it."""
        ...

    async def tag(self, image_id: str, tag: str) -> None:
        """Lets ``tag`` name the image, whatever it named before."""
        ...

    async def untag(self, tag: str) -> None:
        """Takes the tag away, and the image with it if nothing else needs it.

        May be repeated: a tag that is not there, or whose image a container uses, is no error.
        """
        ...

    async def remove_image(self, image_id: str) -> None:
        """Removes an image that no tag names and no container uses; anything else stays."""
        ...

    async def volumes(self, project: str) -> Sequence[str]:
        """Names of the project's named volumes, sorted."""
        ...

    async def marked(self, workspace: str) -> Sequence[Marked]:
        """Networks and volumes that an agent with this workspace made for its environments.

        Sorted by kind and name.
        """
        ...

    async def finish_replacing(self, project: str) -> Sequence[str]:
        """Brings in order what Compose left that was cut off while it made containers anew.

        What was to take the place of a container goes if that one stands still, with whatever it
        was to run; else it takes its name. Nothing is started. May be repeated.

        Returns:
            The names of the containers that went or were renamed, sorted.
        """
        ...

    async def sweep(
        self, project: str, *, keep_volumes: Collection[str] = (), cut_off: bool = False
    ) -> None:
        """Removes whatever is left of the project: containers, networks, volumes, running or not.

        Anonymous volumes go with their containers. May be repeated. Needs no Compose file, so it
        also clears what a damaged one left. Images stay. What hangs or is refused keeps nothing
        else from going: the first fault is raised when all has been tried.

        Args:
            project: the project.
            keep_volumes: names of volumes that stay.
            cut_off: Compose failed or was ended while it started the project. The Engine may still
                be creating what it was asked for, so this takes some seconds to see that nothing
                more comes.
        """
        ...

    async def erase(self, directory: str) -> None:
        """Empties a folder of the host with the Engine's rights.

        Containers write files into their environment's folder that belong to other users, which an
        agent that runs as an ordinary user cannot remove.

        Raises:
            EngineRefused: the agent has no image to do it with (``AGENT_IMAGE``), or it failed.
        """
        ...

    async def end_erasers(self) -> int:
        """Ends what earlier calls of ``erase`` left at work when they were cut off; how many.

        Those of an earlier life of the agent, and of times when the Engine was away. What does not
        end is left to the next time.
        """
        ...


class Networks(Protocol):
    """The networks of the host."""

    async def subnets(self) -> Sequence[tuple[str, str]]:
        """Pairs of a network's name and an address range that it has."""
        ...


class Engine(Protocol):
    """The Engine itself."""

    async def info(self) -> EngineInfo:
        """What the Engine says of itself."""
        ...

    async def prune_build_cache(self) -> int:
        """Removes what earlier builds left to be quicker the next time; how many bytes went."""
        ...
