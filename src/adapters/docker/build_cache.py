"""The cache of the Engine's builder."""

from collections.abc import Mapping, Sequence
from typing import Any

from docker import APIClient

from adapters.docker.client import EngineClient
from adapters.docker.moments import moment
from adapters.docker.refusals import refused
from domain.build_cache import CacheEntry, PrunedCache

# What docker-py gives is the Engine's JSON as it came.
_Json = Mapping[str, Any]


class DockerBuildCache:
    """What builds left."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def entries(self) -> Sequence[CacheEntry]:
        """All that is kept, sorted by identifier."""
        rows = await self._client.survey("listing the build cache", _rows)
        return sorted((_entry(row) for row in rows), key=lambda entry: entry.id)

    async def prune(self, *, all_unused: bool, unused_seconds: float | None = None) -> PrunedCache:
        """Removes what no build uses now."""
        filters: Any = {} if unused_seconds is None else {"until": f"{unused_seconds:.3f}s"}
        answer: _Json = await self._client.change(
            "clearing the build cache",
            lambda api: api.prune_builds(filters=filters, all=all_unused),
        )
        return PrunedCache(
            ids=tuple(sorted(answer.get("CachesDeleted") or ())),
            reclaimed_bytes=int(answer.get("SpaceReclaimed") or 0),
        )


def _rows(api: APIClient) -> Sequence[_Json]:
    # docker-py cannot ask for one kind alone, and volumes take long to measure.
    address = f"{api.base_url}/v{api.api_version}/system/df"
    answer = api.get(address, params={"type": "build-cache"})
    if answer.status_code != 200:
        raise refused("listing the build cache", answer.status_code, answer.text)
    rows: Sequence[_Json] = answer.json().get("BuildCache") or ()
    return rows


def _entry(row: _Json) -> CacheEntry:
    # Some Engines write a blank before the word.
    parents = row.get("Parents") or row.get(" Parents") or ()
    older = row.get("Parent")
    return CacheEntry(
        id=row["ID"],
        parents=tuple(parents) or ((older,) if older else ()),
        kind=row.get("Type") or "regular",
        description=row.get("Description") or "",
        in_use=bool(row.get("InUse")),
        shared=bool(row.get("Shared")),
        size_bytes=row.get("Size") or 0,
        used_at=moment(row.get("LastUsedAt") or row.get("CreatedAt")),
    )
