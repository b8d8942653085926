"""The disk that Docker fills: ``/api/v1/system/disk`` and ``/api/v1/system/prune``."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import QueryParameter

from domain.disk_usage import DiskUsage
from domain.errors import RequestUnreadable
from domain.usecases.system_pruning import PruneKind, SystemPruned, SystemPruneWish
from entrypoints.agent import Agent
from entrypoints.http.documented_answers import answers_with
from entrypoints.http.moments import ago, moment_or_ago
from entrypoints.http.parameters import (
    DryRun,
    Labels,
    OlderThan,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


class DiskView(DiskUsage, frozen=True, kw_only=True):
    """What Docker keeps on its disk, by kind."""

    total_bytes: int


def _kind(count: int, active: int, size_bytes: int, reclaimable_bytes: int) -> dict[str, int]:
    return {
        "count": count,
        "active": active,
        "size_bytes": size_bytes,
        "reclaimable_bytes": reclaimable_bytes,
    }


_DISK_EXAMPLE = {
    "images": _kind(12, 4, 1_012_215_067, 731_204_112),
    "containers": _kind(9, 8, 4_718_592, 12_288),
    "volumes": _kind(3, 2, 52_428_800, 1_048_576),
    "build_cache": _kind(47, 0, 1_137_033, 1_137_033),
    "total_bytes": 1_070_499_492,
}

_PRUNE_EXAMPLE = {
    "dry_run": True,
    "kinds": [
        {
            "kind": "containers",
            "items": [{"id": "4f1c" * 16, "name": "try-out", "size_bytes": 12_288}],
            "kept": [],
            "reclaimed_bytes": 12_288,
            "fault": "",
        },
        {
            "kind": "images",
            "items": [{"id": "sha256:" + "9ab3" * 16, "name": "", "size_bytes": 537_277_262}],
            "kept": [],
            "reclaimed_bytes": 74_999_403,
            "fault": "",
        },
    ],
    "reclaimed_bytes": 75_011_691,
}


@get(
    "/disk",
    operation_class=answers_with(DiskView, _DISK_EXAMPLE),
    responses=problems(401, 422, 502, 503),
)
async def disk_usage(request: AnyRequest) -> DiskView:
    """What Docker keeps on its disk, by kind, counted as `docker system df` counts it.

    `reclaimable_bytes` is what Docker would give back. Less goes when it is pruned here, since
    environments that are stopped need their images, too.
    """
    usage = await _agent(request).disk.usage()
    return DiskView(**msgspec.structs.asdict(usage), total_bytes=usage.size_bytes)


@post(
    "/prune",
    status_code=200,
    operation_class=answers_with(SystemPruned, _PRUNE_EXAMPLE),
    responses=problems(401, 422, 502, 503),
)
async def prune_system(
    request: AnyRequest,
    kind: Annotated[
        tuple[PruneKind, ...],
        QueryParameter(
            description="What is pruned; left out, all kinds but volumes. May come several times."
        ),
    ] = (),
    dry_run: DryRun = False,
    all_unused: Annotated[
        bool,
        QueryParameter(
            name="all",
            description="`true` takes all images and volumes that nobody uses, named ones too.",
        ),
    ] = False,
    label: Labels = (),
    older_than: OlderThan = None,
    until: Annotated[
        str | None,
        QueryParameter(
            description="Only what was made before this moment, or so long ago; in place of "
            "`older_than`."
        ),
    ] = None,
) -> Response[SystemPruned]:
    """Removes what nobody needs, of every `kind` that is named; `dry_run=true` only tells what.

    Without `kind`, all but volumes, which hold data. Never goes what belongs to an environment,
    what a change under way needs, or what is the agent's own. Images are those without a name, and
    volumes those whose name Docker made up, or with `all=true` all that nobody uses. `label=key` or
    `label=key=value`, `older_than=24h` and `until` (a moment, or so long ago) leave others out;
    build cache has no labels, and stays where some are asked for.
    """
    agent = _agent(request)
    wish = SystemPruneWish(
        kinds=frozenset(kind),
        dry_run=dry_run,
        all_unused=all_unused,
        labels=label,
        before=_before(agent, older_than, until),
    )
    return Response(await agent.pruning.prune(wish))


def _before(agent: Agent, older_than: str | None, until: str | None) -> datetime | None:
    if older_than is not None and until is not None:
        raise RequestUnreadable("Say older_than or until, not both.")
    if older_than is not None:
        return ago(agent, older_than)
    return moment_or_ago(agent, until)


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/system",
    route_handlers=[disk_usage, prune_system],
    tags=["system"],
    security=[{"serverKey": []}],
)
