"""The runtime ports on docker-py."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
import docker.errors
from docker import APIClient
from docker.utils import parse_repository_tag

from adapters.docker import erasing
from adapters.docker.client import EngineClient
from adapters.docker.removal import Sweep, project_label, remove_container, volumes
from domain.arrangement import ENVIRONMENT_LABEL, WORKSPACE_LABEL
from domain.containers import (
    Container,
    ContainerState,
    EngineInfo,
    Image,
    Marked,
    PublishedPort,
)
from domain.errors import EngineRefused

_STATES = {state.value: state for state in ContainerState}

# The Engine finishes what it was asked to create although whoever asked has hung up.
_LATE_SECONDS = (0.3, 0.7, 1.5)

# What docker-py gives is the Engine's JSON as it came.
_Json = Mapping[str, Any]


class DockerContainers:
    """The containers of the host."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def list(self, ids: Collection[str] | None = None) -> Sequence[Container]:
        """The containers, stopped ones too; one call, whatever their number."""
        if ids is not None and not ids:
            return []  # the Engine would take it for all
        filters = {"id": sorted(ids)} if ids is not None else None

        def work(api: APIClient) -> Sequence[Container]:
            return [_container(row) for row in api.containers(all=True, filters=filters)]

        found = await self._client.ask("listing containers", work)
        return sorted(found, key=lambda container: (container.name, container.id))


def _container(row: _Json) -> Container:
    # Links of the legacy kind add names with two slashes; the container's own has one.
    names = [name.removeprefix("/") for name in row.get("Names") or []]
    own = [name for name in names if "/" not in name]
    return Container(
        id=row["Id"],
        name=(own or names or [row["Id"][:12]])[0],
        image=row.get("Image", ""),
        image_id=row.get("ImageID", ""),
        state=_STATES.get(row.get("State", ""), ContainerState.UNKNOWN),
        status=row.get("Status", ""),
        labels=row.get("Labels") or {},
        created_at=datetime.fromtimestamp(row["Created"], UTC) if row.get("Created") else None,
        ports=tuple(_ports(row.get("Ports") or [])),
        network_mode=(row.get("HostConfig") or {}).get("NetworkMode", ""),
    )


def _ports(rows: Sequence[_Json]) -> Sequence[PublishedPort]:
    found = {
        PublishedPort(
            container_port=row["PrivatePort"],
            protocol=row.get("Type", "tcp"),
            host_address=row.get("IP", ""),
            host_port=row["PublicPort"],
        )
        for row in rows
        if row.get("PublicPort")
    }
    return sorted(found, key=lambda port: (port.container_port, port.protocol, port.host_address))


class DockerNetworks:
    """The networks of the host."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def subnets(self) -> Sequence[tuple[str, str]]:
        """Pairs of a network's name and an address range that it has."""
        rows = await self._client.ask("listing networks", lambda api: api.networks())
        return [
            (row["Name"], entry["Subnet"])
            for row in rows
            for entry in (row.get("IPAM") or {}).get("Config") or []
            if entry.get("Subnet")
        ]


class DockerEngine:
    """The Engine itself."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def info(self) -> EngineInfo:
        """What the Engine says of itself."""
        info, version = await self._client.ask(
            "asking for its state", lambda api: (api.info(), api.version(api_version=False))
        )
        return EngineInfo(
            version=version.get("Version", ""),
            api_version=version.get("ApiVersion", ""),
            storage_driver=info.get("Driver", ""),
            root_dir=info.get("DockerRootDir", ""),
            host_name=info.get("Name", ""),
            operating_system=info.get("OperatingSystem", ""),
            cgroup_version=info.get("CgroupVersion", ""),
        )

    async def prune_build_cache(self) -> int:
        """Removes what earlier builds left to be quicker the next time; how many bytes went."""
        answer = await self._client.change(
            "clearing the build cache", lambda api: api.prune_builds()
        )
        return int(answer.get("SpaceReclaimed") or 0)


class DockerProjectResources:
    """What the Engine holds for one Compose project.

    Args:
        client: the Engine.
        agent_image: the agent's own image.
        owner: marks this agent's own containers, and tells them from those of others.
    """

    def __init__(
        self, client: EngineClient, *, agent_image: str | None = None, owner: str = "agent"
    ) -> None:
        self._client = client
        self._agent_image = agent_image
        self._owner = owner
        self._erasers: set[str] = set()

    async def images(self, project: str) -> Sequence[Image]:
        """The images that were built for the project, sorted by identifier."""
        rows = await self._client.ask(
            "listing images", lambda api: api.images(filters={"label": project_label(project)})
        )
        images = (
            Image(id=row["Id"], tags=_tags(row), labels=row.get("Labels") or {}) for row in rows
        )
        return sorted(images, key=lambda image: image.id)

    async def missing_images(self, tags: Sequence[str]) -> Sequence[str]:
        """Those of ``tags`` that name no image on this host."""
        found = await self.image_ids(tags)
        return [tag for tag in tags if tag not in found]

    async def image_ids(self, tags: Sequence[str]) -> Mapping[str, str]:
        """The images that ``tags`` name on this host: tag → identifier."""

        def work(api: APIClient) -> dict[str, str]:
            found = {tag: _image_id(api, tag) for tag in tags}
            return {tag: image for tag, image in found.items() if image is not None}

        return await self._client.ask("looking for images", work) if tags else {}

    async def are_plain(self, tags: Sequence[str]) -> bool:
        """Whether all ``tags`` are at hand and none has ``ONBUILD`` steps."""

        def work(api: APIClient) -> bool:
            found = [_inspected(api, tag) for tag in tags]
            return all(row and not (row.get("Config") or {}).get("OnBuild") for row in found)

        return await self._client.ask("looking at images", work)

    async def tag(self, image_id: str, tag: str) -> None:
        """Lets ``tag`` name the image, whatever it named before."""
        repository, version = parse_repository_tag(tag)
        await self._client.change(
            "tagging an image", lambda api: api.tag(image_id, repository, version, force=True)
        )

    async def untag(self, tag: str) -> None:
        """Takes the tag away, and the image with it if nothing else needs it."""
        await self._client.change("removing an image", lambda api: _remove_image(api, tag))

    async def remove_image(self, image_id: str) -> None:
        """Removes an image that no tag names and no container uses; anything else stays."""

        def work(api: APIClient) -> None:
            rows: Sequence[_Json] = api.images(all=True)
            if any(row["Id"] == image_id and not _tags(row) for row in rows):
                _remove_image(api, image_id)

        await self._client.change("removing an image", work)

    async def volumes(self, project: str) -> Sequence[str]:
        """Names of the project's named volumes, sorted."""
        return sorted(await self._client.ask("listing volumes", lambda api: volumes(api, project)))

    async def marked(self, workspace: str) -> Sequence[Marked]:
        """Networks and volumes that an agent with this workspace made for its environments."""
        filters = {"label": [f"{WORKSPACE_LABEL}={workspace}", ENVIRONMENT_LABEL]}

        def work(api: APIClient) -> list[Marked]:
            networks: Sequence[_Json] = api.networks(filters=filters)
            volumes: Sequence[_Json] = api.volumes(filters=filters)["Volumes"] or []
            return [*_marked("network", networks), *_marked("volume", volumes)]

        return sorted(await self._client.ask("looking for what environments left", work))

    async def finish_replacing(self, project: str) -> Sequence[str]:
        """Brings in order what Compose left that was cut off while it made containers anew."""

        def work(api: APIClient) -> list[str]:
            rows = api.containers(all=True, filters={"label": project_label(project)})
            standing = [_container(row) for row in rows]
            names = {container.name for container in standing}
            found = [(c, c.stands_in_for) for c in standing]
            stand_ins = [(c, earlier) for c, earlier in found if earlier is not None]
            for container, earlier in stand_ins:
                if earlier in names:
                    remove_container(api, container.id)
                else:
                    api.rename(container.id, earlier)
            return sorted(container.name for container, _ in stand_ins)

        return await self._client.change(f"bringing containers of project {project} in order", work)

    async def sweep(
        self, project: str, *, keep_volumes: Collection[str] = (), cut_off: bool = False
    ) -> None:
        """Removes the project's containers, networks and volumes."""
        sweep = Sweep(self._client, project, frozenset(keep_volumes))
        for pause in (0.0, *(_LATE_SECONDS if cut_off else ())):
            await anyio.sleep(pause)
            await sweep.run()
        sweep.end()

    async def erase(self, directory: str) -> None:
        """Empties a folder of the host from a short-lived container of the agent's own image."""
        image = self._agent_image
        if image is None:
            raise EngineRefused(
                f"Files in {directory} belong to other users, and the agent has no image to "
                "remove them with.",
                hint="Set AGENT_IMAGE to the agent's own image, or run the agent as root.",
            )
        await erasing.erase(self._client, image, directory, self._owner, self._erasers)

    async def end_erasers(self) -> int:
        """Removes the containers that ``erase`` left when it was cut off; how many."""
        return await erasing.end_all(self._client, self._owner, self._erasers)


def _marked(kind: str, rows: Sequence[_Json]) -> Sequence[Marked]:
    return [
        Marked(kind=kind, name=row["Name"], environment=row["Labels"][ENVIRONMENT_LABEL])
        for row in rows
    ]


def _image_id(api: APIClient, tag: str) -> str | None:
    found = _inspected(api, tag)
    return None if found is None else str(found["Id"])


def _inspected(api: APIClient, tag: str) -> _Json | None:
    try:
        found: _Json = api.inspect_image(tag)  # type: ignore[no-untyped-call]
    except (docker.errors.NotFound, docker.errors.NullResource):
        return None
    except docker.errors.APIError as fault:
        # What is no reference at all names no image either.
        if fault.status_code == 400:
            return None
        raise
    return found


def _tags(row: _Json) -> tuple[str, ...]:
    return tuple(tag for tag in row.get("RepoTags") or [] if tag != "<none>:<none>")


def _remove_image(api: APIClient, reference: str) -> None:
    try:
        api.remove_image(reference)
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as fault:
        # 409: a container uses it; it goes when that one has gone.
        if fault.status_code != 409:
            raise
