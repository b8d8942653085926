"""Removes what the Engine holds for a project; what hangs keeps nothing else from going."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
import docker.errors
import msgspec
from docker import APIClient

from adapters.docker.client import EngineClient
from domain.containers import PROJECT_LABEL
from domain.errors import AgentError, EngineUnavailable

_AT_ONCE = 4
"""How much of one project is removed side by side: so much of it may hang, and the rest goes on."""
_Removal = Callable[[APIClient, str], None]
"""Removes something by its identifier, in a thread."""


class _Thing(msgspec.Struct, frozen=True):
    """Something of a project's."""

    kind: str
    id: str
    name: str


def project_label(project: str) -> str:
    """What the Engine finds a project's things by."""
    return f"{PROJECT_LABEL}={project}"


class Sweep:
    """Removes one project's containers, networks and volumes, as often as it is run.

    Args:
        client: the Engine.
        project: the project.
        keep_volumes: names of volumes that stay.
    """

    def __init__(self, client: EngineClient, project: str, keep_volumes: Collection[str]) -> None:
        self._client = client
        self._project = project
        self._keep_volumes = keep_volumes
        self._faults: dict[_Thing, AgentError] = {}
        self._engine_away = False

    async def run(self) -> None:
        """Removes what is there now; what hung the last time is not tried again.

        Raises:
            EngineUnavailable: the Engine does not answer at all.
        """
        self._faults = {t: f for t, f in self._faults.items() if isinstance(f, EngineUnavailable)}
        await self._remove_all(_containers, remove_container)
        await self._remove_all(_networks, _remove_network)
        await self._remove_all(self._volumes, _remove_volume)

    def end(self) -> None:
        """Tells of what stays.

        Raises:
            AgentError: the first fault of all.
        """
        for fault in self._faults.values():
            raise fault

    def _volumes(self, api: APIClient, project: str) -> Sequence[_Thing]:
        found = volumes(api, project)
        return [_Thing("volume", name, name) for name in found if name not in self._keep_volumes]

    async def _remove_all(
        self, listed: Callable[[APIClient, str], Sequence[_Thing]], remove: _Removal
    ) -> None:
        what = f"listing what is left of project {self._project}"
        found = await self._client.ask(what, lambda api: listed(api, self._project))
        turns = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as group:
            for thing in found:
                if thing not in self._faults:
                    group.start_soon(self._remove, turns, thing, remove)
        if self._engine_away:
            self.end()

    async def _remove(self, turns: anyio.CapacityLimiter, thing: _Thing, remove: _Removal) -> None:
        async with turns:
            if self._engine_away:
                return
            try:
                await self._client.change(
                    f"removing {thing.kind} {thing.name}", lambda api: remove(api, thing.id)
                )
            except AgentError as fault:
                self._faults[thing] = fault
                self._engine_away |= isinstance(fault, EngineUnavailable) and await self._is_away()

    async def _is_away(self) -> bool:
        """Whether it is the Engine that hangs, and not what was to be removed."""
        try:
            await self._client.ask("asking whether it is there", lambda api: api.ping())
        except AgentError:
            return True
        return False


def _containers(api: APIClient, project: str) -> Sequence[_Thing]:
    rows = api.containers(all=True, filters={"label": project_label(project)})
    names = [(row.get("Names") or [row["Id"][:12]])[0].lstrip("/") for row in rows]
    return [_Thing("container", row["Id"], name) for row, name in zip(rows, names, strict=True)]


def _networks(api: APIClient, project: str) -> Sequence[_Thing]:
    rows = api.networks(filters={"label": project_label(project)})
    return [_Thing("network", row["Id"], row["Name"]) for row in rows]


def volumes(api: APIClient, project: str) -> Sequence[str]:
    """Names of a project's volumes."""
    answer = api.volumes(filters={"label": project_label(project)})
    return [row["Name"] for row in answer["Volumes"] or []]


def remove_container(api: APIClient, container: str) -> None:
    """Removes a container, running or not, with its anonymous volumes; one that is gone too.

    Raises:
        APIError: it cannot be removed.
    """
    try:
        api.remove_container(container, v=True, force=True)
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as fault:
        # 409: somebody else, such as a Compose that was cut off, is removing it already.
        if fault.status_code != 409:
            raise
        _wait_until_removed(api, container)


def _wait_until_removed(api: APIClient, container: str) -> None:
    with suppress(docker.errors.NotFound):
        answer: Mapping[str, Any] = {**api.wait(container, condition="removed")}
        if trouble := (answer.get("Error") or {}).get("Message"):
            raise docker.errors.APIError(trouble)


def _remove_network(api: APIClient, network: str) -> None:
    with suppress(docker.errors.NotFound):
        for endpoint in api.inspect_network(network).get("Containers") or {}:
            api.disconnect_container_from_network(endpoint, network, force=True)
        api.remove_network(network)


def _remove_volume(api: APIClient, name: str) -> None:
    with suppress(docker.errors.NotFound):
        api.remove_volume(name, force=True)
