"""The images of the Engine, one by one, on docker-py."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import docker.errors
from docker import APIClient

from adapters.docker.client import EngineClient
from adapters.docker.named import named
from adapters.docker.refusals import refused
from domain.engine_images import (
    EngineImage,
    HistoryStep,
    ImageConfig,
    ImageDetails,
    ImageRemoval,
)
from domain.image_names import familiar

_KIND = "image"

_NOBODY = "<none>"
"""What the Engine writes where there is no name."""

# What docker-py gives is the Engine's JSON as it came.
_Json = Mapping[str, Any]


class DockerEngineImages:
    """All images of the host."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def list(self) -> Sequence[EngineImage]:
        """All images but those that are only steps of others, in their own order."""
        rows = await self._client.ask("listing images", _rows)
        return sorted((_listed(row) for row in rows), key=lambda image: image.order)

    async def inspect(self, reference: str) -> ImageDetails:
        """One image with its history."""
        with named(_KIND, reference):
            return await self._client.ask(
                "looking at an image", lambda api: _described(api, reference)
            )

    async def describe(self, identifiers: Sequence[str]) -> Sequence[ImageDetails]:
        """Several images; those that have gone meanwhile are left out."""

        def work(api: APIClient) -> list[ImageDetails]:
            found = [_if_there(api, identifier) for identifier in identifiers]
            return [details for details in found if details is not None]

        return await self._client.survey("looking at images", work)

    async def tag(self, reference: str, target: str) -> None:
        """Lets the name ``target`` mean an image."""
        repository, _, version = familiar(target).rpartition(":")
        with named(_KIND, reference):
            await self._client.change(
                "tagging an image",
                lambda api: api.tag(reference, repository, version, force=True),
            )

    async def remove(self, reference: str, *, force: bool = False) -> ImageRemoval:
        """Takes a name away, and the image with it when that was its last."""
        with named(_KIND, reference):
            rows = await self._client.change(
                "removing an image",
                lambda api: api.remove_image(reference, force=force),
            )
        return ImageRemoval(untagged=_values(rows, "Untagged"), deleted=_values(rows, "Deleted"))


def _rows(api: APIClient) -> Sequence[_Json]:
    # docker-py cannot ask how much images share.
    address = f"{api.base_url}/v{api.api_version}/images/json"
    answer = api.get(address, params={"shared-size": "1"})
    if answer.status_code != 200:
        raise refused("listing images", answer.status_code, answer.text)
    rows: Sequence[_Json] = answer.json()
    return rows


def _values(rows: Iterable[_Json], key: str) -> tuple[str, ...]:
    return tuple(row[key] for row in rows if key in row)


def _named(names: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(sorted(name for name in names or () if not name.startswith(_NOBODY)))


def _listed(row: _Json) -> EngineImage:
    return EngineImage(
        id=row["Id"],
        repo_tags=_named(row.get("RepoTags")),
        repo_digests=_named(row.get("RepoDigests")),
        created_at=_since_epoch(row.get("Created")),
        size_bytes=row.get("Size") or 0,
        shared_bytes=max(0, row.get("SharedSize") or 0),
        labels=row.get("Labels") or {},
    )


def _if_there(api: APIClient, identifier: str) -> ImageDetails | None:
    try:
        return _described(api, identifier)
    except docker.errors.NotFound:
        return None


def _described(api: APIClient, reference: str) -> ImageDetails:
    row: _Json = api.inspect_image(reference)  # type: ignore[no-untyped-call]
    # By its identifier, as the name can mean another one by now.
    steps: Sequence[_Json] = api.history(row["Id"])  # type: ignore[no-untyped-call]
    config = row.get("Config") or {}
    image = EngineImage(
        id=row["Id"],
        repo_tags=_named(row.get("RepoTags")),
        repo_digests=_named(row.get("RepoDigests")),
        created_at=_moment(row.get("Created")),
        size_bytes=row.get("Size") or 0,
        labels=config.get("Labels") or {},
    )
    return ImageDetails(
        image=image,
        architecture=row.get("Architecture") or "",
        variant=row.get("Variant") or "",
        os=row.get("Os") or "",
        author=row.get("Author") or "",
        comment=row.get("Comment") or "",
        config=_config(config),
        layers=tuple((row.get("RootFS") or {}).get("Layers") or ()),
        history=tuple(_step(step) for step in steps),
    )


def _config(row: _Json) -> ImageConfig:
    return ImageConfig(
        env=tuple(row.get("Env") or ()),
        cmd=tuple(row.get("Cmd") or ()),
        entrypoint=tuple(row.get("Entrypoint") or ()),
        working_dir=row.get("WorkingDir") or "",
        user=row.get("User") or "",
        exposed_ports=tuple(sorted(row.get("ExposedPorts") or ())),
        volumes=tuple(sorted(row.get("Volumes") or ())),
        stop_signal=row.get("StopSignal") or "",
        shell=tuple(row.get("Shell") or ()),
        on_build=tuple(row.get("OnBuild") or ()),
        healthcheck_test=tuple((row.get("Healthcheck") or {}).get("Test") or ()),
    )


def _step(row: _Json) -> HistoryStep:
    return HistoryStep(
        created_at=_since_epoch(row.get("Created")),
        created_by=row.get("CreatedBy") or "",
        size_bytes=row.get("Size") or 0,
        comment=row.get("Comment") or "",
        repo_tags=_named(row.get("Tags")),
    )


def _since_epoch(seconds: int | None) -> datetime | None:
    # Builders that want the same image twice give it no time, or the year 1.
    return datetime.fromtimestamp(seconds, UTC) if seconds and seconds > 0 else None


def _moment(text: str | None) -> datetime | None:
    moment = datetime.fromisoformat(text) if text else None
    return moment if moment is not None and moment.year > 1 else None
