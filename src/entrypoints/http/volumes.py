"""The host's volumes: ``/api/v1/volumes``."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import QueryParameter

from domain.engine_volumes import LOCAL, VolumeOrder, VolumeUser
from domain.usecases.volume_pruning import PrunedVolumes, VolumePruneWish
from domain.usecases.volumes import OwnedVolume, VolumeFilter
from entrypoints.agent import Agent
from entrypoints.http.audit import tell
from entrypoints.http.bodies import read_json
from entrypoints.http.documented_bodies import takes_json
from entrypoints.http.moments import ago
from entrypoints.http.parameters import (
    DryRun,
    Force,
    Labels,
    Limit,
    NamePart,
    OfDriver,
    OfEnvironment,
    OlderThan,
    VolumeReference,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


_EXAMPLE = {"name": "web-101-data", "labels": {"course": "web-101"}}


class VolumeView(msgspec.Struct, frozen=True, kw_only=True):
    """One volume."""

    name: str
    driver: str
    labels: Mapping[str, str]
    options: Mapping[str, str]
    """What its driver was told: where it lies, if that is not Docker's own folder."""
    created_at: datetime | None
    anonymous: bool
    """Whether Docker made its name up."""
    used_by: tuple[VolumeUser, ...]
    """Containers that mount it, stopped ones too."""
    environment: str | None
    """To which it belongs."""
    size_bytes: int | None
    """Null where nobody asked for it, or Docker cannot tell."""


class VolumeList(msgspec.Struct, frozen=True, kw_only=True):
    """Volumes, sorted by name."""

    volumes: tuple[VolumeView, ...]
    total: int
    """How many there are, with those beyond `limit`."""


class VolumeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A volume that shall be."""

    name: str
    """Empty for one that Docker makes up."""
    driver: str = LOCAL
    options: Mapping[str, str] = {}
    """For its driver; only where the policy is `trusted`, as they can name any folder."""
    labels: Mapping[str, str] = {}


def volume_view(owned: OwnedVolume) -> VolumeView:
    """A volume as the API shows it."""
    volume = owned.volume
    return VolumeView(
        name=volume.name,
        driver=volume.driver,
        labels=volume.labels,
        options=volume.options,
        created_at=volume.created_at,
        anonymous=volume.anonymous,
        used_by=owned.users,
        environment=owned.environment,
        size_bytes=owned.size_bytes,
    )


@get("/", responses=problems(401, 422, 502, 503))
async def list_volumes(
    request: AnyRequest,
    name: NamePart = "",
    label: Labels = (),
    driver: OfDriver = "",
    environment: OfEnvironment = "",
    unused: Annotated[
        bool | None,
        QueryParameter(
            description="`true` lists only those that no container mounts, `false` only others."
        ),
    ] = None,
    size: Annotated[
        bool,
        QueryParameter(
            description="`true` measures what they hold, for which Docker looks through all files."
        ),
    ] = False,
    limit: Limit = 500,
) -> VolumeList:
    """All volumes of the host, with who mounts each, sorted by name.

    `name` is a part of the name; `label=key` and `label=key=value` may come several times;
    `environment` is one that they belong to; `unused=true` are those that no container mounts.
    `size=true` measures them, for which Docker looks through all files.
    """
    wanted = VolumeFilter(
        name=name,
        labels=label,
        driver=driver,
        environment=environment,
        unused=unused,
    )
    found = await _agent(request).volumes.host.list(wanted, sizes=size)
    return VolumeList(volumes=tuple(map(volume_view, found[:limit])), total=len(found))


@get("/{reference:str}", responses=problems(401, 404, 409, 422, 502, 503))
async def inspect_volume(
    request: AnyRequest,
    reference: VolumeReference,
    size: Annotated[
        bool,
        QueryParameter(
            description="`true` measures what they hold, for which Docker looks through all files."
        ),
    ] = True,
) -> VolumeView:
    """One volume, by its name or, where Docker made that up, by how it begins.

    `size=false` spares Docker to measure it.
    """
    return volume_view(await _agent(request).volumes.host.inspect(reference, size=size))


@post(
    "/",
    status_code=201,
    operation_class=takes_json(VolumeRequest, _EXAMPLE),
    responses=problems(401, 408, 409, 413, 422, 502, 503, 507),
)
async def create_volume(request: AnyRequest) -> Response[VolumeView]:
    """Makes a volume, held to the same policy as those of bundles: 422 with every finding.

    Drivers other than `local`, and options, which could make it any folder of the host, are for
    hosts with the policy `trusted`.
    """
    wanted = await read_json(request, VolumeRequest)
    tell(request, target=wanted.name)
    order = VolumeOrder(
        name=wanted.name, driver=wanted.driver, options=wanted.options, labels=wanted.labels
    )
    view = volume_view(await _agent(request).volumes.host.create(order))
    location = f"/api/v1/volumes/{view.name}"
    return Response(view, status_code=201, headers={"location": location})


@delete("/{reference:str}", status_code=204, responses=problems(401, 404, 409, 422, 502, 503))
async def remove_volume(
    request: AnyRequest, reference: VolumeReference, force: Force = False
) -> None:
    """Removes a volume that no container mounts; `force=true` also one of an environment."""
    await _agent(request).volumes.host.remove(reference, force=force)


@post("/prune", status_code=200, responses=problems(401, 422, 502, 503))
async def prune_volumes(
    request: AnyRequest,
    all_unused: Annotated[
        bool, QueryParameter(name="all", description="`true` takes those too that somebody named.")
    ] = False,
    dry_run: DryRun = False,
    label: Labels = (),
    older_than: OlderThan = None,
) -> PrunedVolumes:
    """Removes volumes that no container mounts, stopped ones counted, and no environment owns.

    Those whose name Docker made up, with `all=true` also those that somebody named; `dry_run=true`
    only tells which would go, and how much they hold. `label=key` or `label=key=value` and
    `older_than=24h` leave others out. What could not go stands in `kept`, with the reason.
    """
    agent = _agent(request)
    wish = VolumePruneWish(
        all_unused=all_unused,
        labels=label,
        before=None if older_than is None else ago(agent, older_than),
        dry_run=dry_run,
    )
    return await agent.volumes.pruning.prune(wish)


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/volumes",
    route_handlers=[list_volumes, create_volume, prune_volumes, inspect_volume, remove_volume],
    tags=["volumes"],
    security=[{"serverKey": []}],
)
