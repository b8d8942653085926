"""The host's volumes: ``/api/v1/volumes``."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from domain.engine_volumes import VolumeOrder
from domain.usecases.volumes import OwnedVolume
from entrypoints.agent import Agent
from entrypoints.http import sse
from entrypoints.http.audit import tell
from entrypoints.http.bodies import chunks, read_json
from entrypoints.http.responses import problems
from entrypoints.http.selection import labelled

AnyRequest = Request[Any, Any, Any]

TAR = "application/x-tar"

Limit = Annotated[int, QueryParameter(ge=1, le=5000)]


class VolumeView(msgspec.Struct, frozen=True, kw_only=True):
    """One volume."""

    name: str
    driver: str
    labels: Mapping[str, str]
    options: Mapping[str, str]
    """Where it lies, if that is not Docker's own folder."""
    created_at: datetime | None
    anonymous: bool
    """Whether Docker made its name up."""
    containers: tuple[str, ...]
    """Names of those that mount it, stopped ones too."""
    environment: str | None
    """To which it belongs."""
    size_bytes: int | None
    """Null where nobody asked for it."""


class VolumeList(msgspec.Struct, frozen=True, kw_only=True):
    """Volumes, sorted by name."""

    volumes: tuple[VolumeView, ...]


class VolumeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A volume that shall be, on the host's own disk."""

    name: str
    labels: Mapping[str, str] = {}


class PrunedVolumes(msgspec.Struct, frozen=True, kw_only=True):
    """Volumes that went, or would go."""

    dry_run: bool
    volumes: tuple[str, ...]
    """Their names, sorted."""
    freed_bytes: int


def _view(owned: OwnedVolume) -> VolumeView:
    volume = owned.volume
    return VolumeView(
        name=volume.name,
        driver=volume.driver,
        labels=volume.labels,
        options=volume.options,
        created_at=volume.created_at,
        anonymous=volume.anonymous,
        containers=owned.containers,
        environment=owned.environment,
        size_bytes=owned.size_bytes,
    )


@get("/", responses=problems(401, 422, 502, 503))
async def list_volumes(
    request: AnyRequest,
    name: FromQuery[str | None] = None,
    label: FromQuery[list[str] | None] = None,
    environment: FromQuery[str | None] = None,
    unused: FromQuery[bool] = False,
    sizes: FromQuery[bool] = False,
    limit: Limit = 500,
) -> VolumeList:
    """All volumes of the host, with who mounts each.

    `name` is a part of the name, `label` is `key` or `key=value`, `unused=true` those that no
    container mounts; `sizes=true` measures them, which takes its time.
    """
    found = [
        view
        for view in map(_view, await _agent(request).volumes.list(sizes=sizes))
        if (name is None or name in view.name)
        and labelled(view.labels, label)
        and environment in {None, view.environment}
        and not (unused and view.containers)
    ]
    return VolumeList(volumes=tuple(found[:limit]))


@get("/{name:str}", responses=problems(401, 404, 422, 502, 503))
async def inspect_volume(request: AnyRequest, name: FromPath[str]) -> VolumeView:
    """One volume, with its size."""
    return _view(await _agent(request).volumes.inspect(name))


@post("/", responses=problems(401, 408, 409, 413, 422, 502, 503, 507))
async def create_volume(request: AnyRequest) -> Response[VolumeView]:
    """Makes a volume."""
    wanted = await read_json(request, VolumeRequest)
    tell(request, target=wanted.name)
    order = VolumeOrder(name=wanted.name, labels=wanted.labels)
    view = _view(await _agent(request).volumes.create(order))
    location = f"/api/v1/volumes/{view.name}"
    return Response(view, status_code=201, headers={"location": location})


@delete("/{name:str}", status_code=204, responses=problems(401, 404, 409, 422, 502, 503))
async def remove_volume(
    request: AnyRequest, name: FromPath[str], force: FromQuery[bool] = False
) -> None:
    """Removes a volume that no container mounts; `force=true` also one of an environment."""
    await _agent(request).volumes.remove(name, force=force)


@post("/prune", responses=problems(401, 422, 502, 503))
async def prune_volumes(
    request: AnyRequest, anonymous: FromQuery[bool] = True, dry_run: FromQuery[bool] = False
) -> Response[PrunedVolumes]:
    """Removes volumes that no container mounts and no environment owns.

    Those whose name Docker made up, with `anonymous=false` all; `dry_run=true` tells which, and how
    much that would free.
    """
    gone = await _agent(request).volumes.prune(anonymous=anonymous, dry_run=dry_run)
    view = PrunedVolumes(
        dry_run=dry_run,
        volumes=tuple(owned.volume.name for owned in gone),
        freed_bytes=sum(owned.size_bytes or 0 for owned in gone),
    )
    return Response(view, status_code=200)


@get(
    "/{name:str}/archive",
    media_type=TAR,
    responses={
        200: ResponseSpec(bytes, description="What the volume holds, as a tar.", media_type=TAR),
        **problems(401, 404, 422, 502, 503),
    },
)
async def back_up_volume(request: AnyRequest, name: FromPath[str]) -> Stream:
    """What a volume holds, as a tar; containers may write to it meanwhile."""
    stack = AsyncExitStack()
    pieces = await stack.enter_async_context(_agent(request).volumes.back_up(name))
    headers = {**sse.HEADERS, "content-disposition": f'attachment; filename="{name}.tar"'}
    return Stream(_closing(stack, pieces), media_type=TAR, headers=headers)


async def _closing(stack: AsyncExitStack, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with stack:
        async for piece in pieces:
            yield piece


@put(
    "/{name:str}/archive",
    request_max_body_size=None,
    responses=problems(401, 404, 408, 409, 413, 422, 502, 503, 507),
)
async def restore_volume(
    request: AnyRequest,
    name: FromPath[str],
    clear: FromQuery[bool] = False,
    force: FromQuery[bool] = False,
) -> VolumeView:
    """Unpacks a tar, plain or compressed by gzip, into a volume, which is made if need be.

    One that holds something is left alone, unless `clear=true` removes that first. `force=true`
    also writes into the volume of an environment, or one that containers mount.
    """
    agent = _agent(request)
    body = chunks(request, max_bytes=agent.settings.max_unpacked_bytes)
    return _view(await agent.volumes.restore(name, body, clear=clear, force=force))


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/volumes",
    route_handlers=[
        list_volumes,
        create_volume,
        prune_volumes,
        inspect_volume,
        back_up_volume,
        restore_volume,
        remove_volume,
    ],
    tags=["volumes"],
    security=[{"serverKey": []}],
)
