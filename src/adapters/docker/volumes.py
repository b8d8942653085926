"""The Engine's volumes on docker-py."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from docker import APIClient

from adapters.docker.client import EngineClient
from adapters.docker.moments import moment
from adapters.docker.named import named
from adapters.docker.refusals import refused
from domain.containers import HELPER_LABEL
from domain.engine_volumes import EngineVolume, VolumeOrder, VolumeUser

_Json = Mapping[str, Any]

# Docker marks volumes so whose name it made up.
_ANONYMOUS = "com.docker.volume.anonymous"


class DockerVolumes:
    """All volumes of the host."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def list(self) -> Sequence[EngineVolume]:
        """All, sorted by name; one call."""
        answer = await self._client.ask("listing volumes", lambda api: api.volumes())
        return sorted((_volume(row) for row in answer["Volumes"] or []), key=lambda v: v.name)

    async def inspect(self, name: str) -> EngineVolume:
        """One volume."""
        with named("volume", name):
            return _volume(
                await self._client.ask("looking at a volume", lambda api: api.inspect_volume(name))
            )

    async def sizes(self) -> Mapping[str, int]:
        """Volume → bytes, as far as the Engine can tell."""
        rows = await self._client.change("measuring volumes", _usage)
        sizes = {row["Name"]: int((row.get("UsageData") or {}).get("Size", -1)) for row in rows}
        return {name: size for name, size in sizes.items() if size >= 0}

    async def users(self) -> Mapping[str, Sequence[VolumeUser]]:
        """Volume → the containers that mount it, stopped ones too, sorted by name."""
        rows = await self._client.ask(
            "looking who mounts volumes", lambda api: api.containers(all=True)
        )
        found: dict[str, set[VolumeUser]] = defaultdict(set)
        for row in rows:
            if HELPER_LABEL not in (row.get("Labels") or {}):
                for volume in _mounted(row):
                    found[volume].add(_user(row))
        return {volume: sorted(users) for volume, users in found.items()}

    async def create(self, order: VolumeOrder) -> EngineVolume:
        """Makes a volume."""
        with named("volume", order.name):
            row = await self._client.change(
                "making a volume",
                lambda api: api.create_volume(
                    order.name or None,
                    driver=order.driver,
                    driver_opts=dict(order.options) or None,
                    labels=dict(order.labels),
                ),
            )
        return _volume(row)

    async def remove(self, name: str) -> None:
        """Removes a volume with what it holds."""
        with named("volume", name):
            await self._client.change("removing a volume", lambda api: api.remove_volume(name))


def _usage(api: APIClient) -> Sequence[_Json]:
    # docker-py's own call measures images and the builder's cache as well.
    url = f"{api.base_url}/v{api.api_version}/system/df"
    response = api.get(url, params={"type": "volume"})
    if response.status_code != 200:
        raise refused("measuring volumes", response.status_code, response.text)
    answer: _Json = response.json()
    return answer.get("Volumes") or []


def _mounted(row: _Json) -> Sequence[str]:
    return [m["Name"] for m in row.get("Mounts") or [] if m.get("Type") == "volume" and m["Name"]]


def _user(row: _Json) -> VolumeUser:
    name = next(iter(row.get("Names") or ()), "").lstrip("/")
    running = row.get("State") in {"running", "paused", "restarting"}
    return VolumeUser(name=name, id=row["Id"], running=running)


def _volume(row: _Json) -> EngineVolume:
    labels = row.get("Labels") or {}
    return EngineVolume(
        name=row["Name"],
        driver=row.get("Driver", ""),
        labels=labels,
        options=row.get("Options") or {},
        created_at=moment(row.get("CreatedAt", "")),
        anonymous=_ANONYMOUS in labels,
    )
