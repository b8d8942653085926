"""The Engine's volumes on docker-py."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from adapters.docker.client import CHANGE_SECONDS, EngineClient
from adapters.docker.named import named
from domain.engine_volumes import LOCAL, EngineVolume, VolumeOrder

_Json = Mapping[str, Any]

# Docker marks volumes so whose name it made up.
_ANONYMOUS = "com.docker.volume.anonymous"


class DockerVolumes:
    """All volumes of the host."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def list(self) -> Sequence[EngineVolume]:
        """All, sorted by name; one call."""
        answer = await self._client.call("listing volumes", lambda api: api.volumes())
        return sorted((_volume(row) for row in answer["Volumes"] or []), key=lambda v: v.name)

    async def inspect(self, name: str) -> EngineVolume:
        """One volume."""
        with named("volume", name):
            return _volume(
                await self._client.call("looking at a volume", lambda api: api.inspect_volume(name))
            )

    async def sizes(self) -> Mapping[str, int]:
        """Volume → bytes, as far as the Engine can tell."""
        answer = await self._client.call(
            "measuring volumes", lambda api: api.df(), seconds=CHANGE_SECONDS
        )
        sizes = {
            row["Name"]: int((row.get("UsageData") or {}).get("Size", -1))
            for row in answer.get("Volumes") or []
        }
        return {name: size for name, size in sizes.items() if size >= 0}

    async def users(self) -> Mapping[str, Sequence[str]]:
        """Volume → names of the containers that mount it, stopped ones too, sorted."""
        rows = await self._client.call(
            "looking who mounts volumes", lambda api: api.containers(all=True)
        )
        found: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            for mount in row.get("Mounts") or []:
                if mount.get("Type") == "volume":
                    found[mount["Name"]] |= {name.lstrip("/") for name in row.get("Names") or []}
        return {volume: sorted(names) for volume, names in found.items()}

    async def create(self, order: VolumeOrder) -> EngineVolume:
        """Makes a volume on the host's own disk."""
        with named("volume", order.name):
            row = await self._client.call(
                "making a volume",
                lambda api: api.create_volume(order.name, driver=LOCAL, labels=dict(order.labels)),
                seconds=CHANGE_SECONDS,
            )
        return _volume(row)

    async def remove(self, name: str) -> None:
        """Removes a volume with what it holds."""
        with named("volume", name):
            await self._client.call(
                "removing a volume", lambda api: api.remove_volume(name), seconds=CHANGE_SECONDS
            )


def _volume(row: _Json) -> EngineVolume:
    labels = row.get("Labels") or {}
    return EngineVolume(
        name=row["Name"],
        driver=row.get("Driver", ""),
        labels=labels,
        options=row.get("Options") or {},
        created_at=_moment(row.get("CreatedAt", "")),
        anonymous=_ANONYMOUS in labels,
    )


def _moment(text: str) -> datetime | None:
    try:
        moment = msgspec.convert(text, datetime, strict=False)
    except msgspec.ValidationError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else None
