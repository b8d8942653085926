"""The in-memory runtime: containers, images, networks and volumes of an Engine that is not there.

A part of the product (``RUNTIME=memory``) and the twin that tests run against.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import msgspec

from adapters.memory.engine import MemoryEngine, with_version
from domain.arrangement import ENVIRONMENT_LABEL, WORKSPACE_LABEL
from domain.containers import ERASER_LABEL, Container, EngineInfo, Image, Marked
from domain.errors import EngineUnavailable


class MemoryContainers:
    """Twin of ``DockerContainers``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def list(self, ids: Collection[str] | None = None) -> Sequence[Container]:
        """The containers, sorted by name."""
        await self._engine.answer("list containers")
        standing = self._engine.containers.values()
        found = [_listed(c) for c in standing if ids is None or c.id in ids]
        return sorted(found, key=lambda container: (container.name, container.id))


def _listed(container: Container) -> Container:
    """A container as the Engine lists it; only those that run publish ports."""
    if container.running or not container.ports:
        return container
    return msgspec.structs.replace(container, ports=())


class MemoryEngineInfo:
    """Twin of ``DockerEngine``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def info(self) -> EngineInfo:
        """What an in-memory Engine says of itself."""
        await self._engine.answer("tell about itself")
        return EngineInfo(
            version="memory", api_version="memory", storage_driver="memory", root_dir=""
        )

    async def prune_build_cache(self) -> int:
        """There is none."""
        await self._engine.answer("prune the cache of builds")
        return 0


class MemoryNetworks:
    """Twin of ``DockerNetworks``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def subnets(self) -> Sequence[tuple[str, str]]:
        """Pairs of a network's name and an address range that it has."""
        await self._engine.answer("list networks")
        return sorted(self._engine.subnets.items())


class MemoryProjectResources:
    """Twin of ``DockerProjectResources``."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    async def images(self, project: str) -> Sequence[Image]:
        """The images that were built for the project, sorted by identifier."""
        await self._engine.answer("list images")
        return [
            Image(id=image, tags=self._tags(image), labels=self._engine.labels.get(image, {}))
            for image, (owner, _) in sorted(self._engine.images.items())
            if owner == project
        ]

    def _tags(self, image_id: str) -> tuple[str, ...]:
        return tuple(sorted(tag for tag, image in self._engine.tags.items() if image == image_id))

    async def missing_images(self, tags: Sequence[str]) -> Sequence[str]:
        """Those of ``tags`` that name no image on this host."""
        await self._engine.answer("look for images")
        return [tag for tag in tags if not self._engine.at_hand(tag)]

    async def image_ids(self, tags: Sequence[str]) -> Mapping[str, str]:
        """The images that ``tags`` name on this host."""
        await self._engine.answer("look for images")
        found = {tag: self._engine.tags.get(with_version(tag)) for tag in tags}
        return {tag: image for tag, image in found.items() if image is not None}

    async def are_plain(self, tags: Sequence[str]) -> bool:
        """Whether all ``tags`` are at hand; the twin's images bring no steps."""
        return not await self.missing_images(tags)

    async def tag(self, image_id: str, tag: str) -> None:
        """Lets ``tag`` name the image."""
        await self._engine.answer(f"tag {tag}", partial(self._engine.tag, image_id, tag))

    async def untag(self, tag: str) -> None:
        """Takes the tag away, and the image with it if nothing else needs it."""
        await self._engine.answer(f"untag {tag}", partial(self._engine.untag, tag))

    async def remove_image(self, image_id: str) -> None:
        """Removes an image that no tag names and no container uses."""
        await self._engine.answer("remove image", partial(self._engine.remove_image, image_id))

    async def volumes(self, project: str) -> Sequence[str]:
        """Names of the project's named volumes, sorted."""
        await self._engine.answer("list volumes")
        return sorted(_of(project, self._engine.volumes))

    async def marked(self, workspace: str) -> Sequence[Marked]:
        """Networks and volumes that an agent with this workspace made."""
        await self._engine.answer("list networks and volumes")
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

    async def finish_replacing(self, project: str) -> Sequence[str]:
        """Brings in order what Compose left that was cut off while it made containers anew."""
        await self._engine.answer("list containers")
        standing = self._engine.containers
        found = [standing[name] for name in sorted(self._engine.of_project(project))]
        stand_ins = [(c, c.stands_in_for) for c in found if c.stands_in_for is not None]
        for container, earlier in stand_ins:
            if earlier in standing:
                remove = partial(self._engine.removed, container.id)
                await self._engine.answer(f"remove container {container.name}", remove)
            else:
                rename = partial(self._engine.rename, container.id, earlier)
                await self._engine.answer(f"rename container {container.name}", rename)
        return [container.name for container, _ in stand_ins]

    async def sweep(
        self, project: str, *, keep_volumes: Collection[str] = (), cut_off: bool = False
    ) -> None:
        """Removes the project's containers, networks and volumes, those too that come late."""
        engine = self._engine
        await engine.answer("list what is left")
        if cut_off:
            engine.catch_up()
        stuck = [name for name in engine.of_project(project) if name in engine.stuck]
        for name in [n for n in engine.of_project(project) if n not in stuck]:
            change = partial(engine.removed, engine.containers[name].id)
            await engine.answer(f"remove container {name}", change)
        for name in _of(project, engine.networks):
            await engine.answer(f"remove network {name}", partial(engine.remove_network, name))
        for name in _of(project, engine.volumes):
            if name not in keep_volumes:
                await engine.answer(f"remove volume {name}", partial(engine.remove_volume, name))
        for name in stuck:
            raise EngineUnavailable(
                f"The Docker Engine did not answer when removing container {name}: it took too "
                "long."
            )

    async def erase(self, directory: str) -> None:
        """Notes that the folder was to be emptied; there is no Engine to do it."""
        await self._engine.answer(f"erase {directory}")
        self._engine.erased.append(directory)

    async def end_erasers(self) -> int:
        """Removes erasers that somebody put there; the twin's own calls leave none."""
        await self._engine.answer("list erasers")
        found = [n for n, c in self._engine.containers.items() if ERASER_LABEL in c.labels]
        for name in found:
            self._engine.remove(name)
        return len(found)


def _of(project: str, owned: Mapping[str, str]) -> list[str]:
    return [name for name, owner in owned.items() if owner == project]
