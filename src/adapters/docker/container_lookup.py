"""Asks the Engine about single containers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from adapters.docker.client import EngineClient
from adapters.docker.container_inspection import details
from adapters.docker.named import named, short
from adapters.docker.refusals import refused
from domain.container_details import (
    ChangeKind,
    ContainerDetails,
    FileChange,
    ProcessColumn,
    ProcessTable,
    told_columns,
)
from domain.errors import ResourceConflict
from domain.ports.container_details import MOST_CHANGES

_MOST_CHANGES_BYTES = 64 * 1024 * 1024
_KINDS = (ChangeKind.MODIFIED, ChangeKind.ADDED, ChangeKind.DELETED)


class _Change(msgspec.Struct, frozen=True):
    path: str = msgspec.field(name="Path")
    kind: int = msgspec.field(name="Kind")


class DockerContainerLookup:
    """Tells of single containers."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def inspect(self, reference: str) -> ContainerDetails:
        """One container, whole."""
        with named("container", reference):
            return details(
                await self._client.look(
                    f"looking at container {short(reference)}",
                    lambda api: api.inspect_container(reference),
                )
            )

    async def processes(
        self, reference: str, columns: Collection[ProcessColumn] = ()
    ) -> ProcessTable:
        """The processes of one that runs."""
        asked = f"-eo {','.join(told_columns(columns))}" if columns else None
        with named("container", reference):
            found = await self._client.look(
                f"looking at the processes of container {short(reference)}",
                lambda api: api.top(reference, ps_args=asked),
            )
        return ProcessTable(
            titles=tuple(found.get("Titles") or ()),
            processes=tuple(tuple(row) for row in found.get("Processes") or ()),
        )

    async def file_changes(self, reference: str) -> Sequence[FileChange]:
        """How its file system differs from its image, sorted by path."""
        what = f"comparing the files of container {short(reference)}"
        with named("container", reference):
            body = await self._client.look(what, lambda api: _changes(api, what, reference))
        found = msgspec.json.decode(body, type=list[_Change] | None) or []
        if len(found) > MOST_CHANGES:
            raise _too_many(reference)
        return sorted(FileChange(path=row.path, kind=_KINDS[row.kind]) for row in found)

    async def sizes(self) -> Mapping[str, int]:
        """How many bytes each container's own layer takes: identifier → bytes."""
        rows = await self._client.survey(
            "measuring containers", lambda api: api.containers(all=True, size=True)
        )
        return {row["Id"]: row.get("SizeRw") or 0 for row in rows}


def _changes(api: Any, what: str, reference: str) -> bytes:
    """The Engine's answer, which a container could make as long as it likes."""
    url = f"{api.base_url}/v{api.api_version}/containers/{reference}/changes"
    response = api.get(url, stream=True)
    try:
        if response.status_code != 200:
            raise refused(what, response.status_code, response.text)
        body: bytes = response.raw.read(_MOST_CHANGES_BYTES + 1, decode_content=True)
    finally:
        response.close()
    if len(body) > _MOST_CHANGES_BYTES:
        raise _too_many(reference)
    return body


def _too_many(reference: str) -> ResourceConflict:
    return ResourceConflict(
        f"The files of container {reference!r} differ from its image in more than {MOST_CHANGES} "
        "places."
    )
