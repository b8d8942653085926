"""What the Engine keeps on its disk, counted as Docker's own command counts it."""

from collections.abc import Mapping, Sequence
from typing import Any

from docker import APIClient

from adapters.docker.client import EngineClient
from domain.disk_usage import DiskUsage, KindUsage

_AT_WORK = frozenset({"running", "paused", "restarting"})

# What docker-py gives is the Engine's JSON as it came.
_Json = Mapping[str, Any]


class DockerDiskUsages:
    """Measures what the Engine keeps."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def measure(self) -> DiskUsage:
        """What all kinds take up now."""
        return usage_of(await self._client.survey("measuring its disk", _measured))


def _measured(api: APIClient) -> _Json:
    found: _Json = api.df()
    return found


def usage_of(told: _Json) -> DiskUsage:
    """What the Engine tells, in numbers for each kind."""
    return DiskUsage(
        images=_images(told.get("Images") or (), told.get("LayersSize") or 0),
        containers=_containers(told.get("Containers") or ()),
        volumes=_volumes(told.get("Volumes") or ()),
        build_cache=_build_cache(told.get("BuildCache") or ()),
    )


def _images(rows: Sequence[_Json], layers_bytes: int) -> KindUsage:
    # -1 stands for what was not measured.
    used = [r for r in rows if r["Containers"] and r["Size"] >= 0 and r["SharedSize"] >= 0]
    own = (row["Size"] - row["SharedSize"] for row in used)
    return KindUsage(
        count=len(rows),
        active=sum(row["Containers"] > 0 for row in rows),
        size_bytes=layers_bytes,
        reclaimable_bytes=max(0, layers_bytes - sum(own)),
    )


def _containers(rows: Sequence[_Json]) -> KindUsage:
    idle = [row for row in rows if row["State"] not in _AT_WORK]
    return KindUsage(
        count=len(rows),
        active=len(rows) - len(idle),
        size_bytes=sum(row.get("SizeRw") or 0 for row in rows),
        reclaimable_bytes=sum(row.get("SizeRw") or 0 for row in idle),
    )


def _volumes(rows: Sequence[_Json]) -> KindUsage:
    measured = [row.get("UsageData") or {} for row in rows]
    return KindUsage(
        count=len(rows),
        active=sum(one.get("RefCount", 0) > 0 for one in measured),
        size_bytes=sum(max(0, one.get("Size", 0)) for one in measured),
        reclaimable_bytes=sum(
            max(0, one.get("Size", 0)) for one in measured if one.get("RefCount") == 0
        ),
    )


def _build_cache(rows: Sequence[_Json]) -> KindUsage:
    # What is shared counts with the images.
    own = [row for row in rows if not row["Shared"]]
    return KindUsage(
        count=len(rows),
        active=sum(bool(row["InUse"]) for row in rows),
        size_bytes=sum(row["Size"] for row in own),
        reclaimable_bytes=sum(row["Size"] for row in own if not row["InUse"]),
    )
