"""What volumes hold, as archives: ``/api/v1/volumes/{name}/archive``."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from litestar import Request, Router, get, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from domain.errors import RequestUnreadable
from entrypoints.agent import Agent
from entrypoints.http import sse
from entrypoints.http.bodies import chunks
from entrypoints.http.documented_bodies import takes_bytes
from entrypoints.http.parameters import (
    VolumeName,
    VolumeReference,
)
from entrypoints.http.responses import problems
from entrypoints.http.volumes import VolumeView, volume_view

AnyRequest = Request[Any, Any, Any]

_TAR = "application/x-tar"
_ARCHIVES = (_TAR, "application/gzip", "application/octet-stream")


@get(
    "/{reference:str}/archive",
    media_type=_TAR,
    responses={
        200: ResponseSpec(bytes, description="A tar.", media_type=_TAR, generate_examples=False),
        **problems(401, 404, 409, 422, 502, 503),
    },
)
async def back_up_volume(request: AnyRequest, reference: VolumeReference) -> Stream:
    """What a volume holds, as a tar, with owners, modes and links; sent as it is read.

    Containers may write to it meanwhile: stop them for an archive of one moment. An answer that
    breaks off before its end is no whole archive, and `PUT` refuses it.
    """
    stack = AsyncExitStack()
    pieces = await stack.enter_async_context(_agent(request).volumes.archiving.back_up(reference))
    headers = {
        **sse.HEADERS,
        "content-type": _TAR,
        "content-disposition": f'attachment; filename="{reference}.tar"',
    }
    return Stream(_passed_on(stack, pieces), headers=headers)


async def _passed_on(stack: AsyncExitStack, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with stack:
        async for piece in pieces:
            yield piece


@put(
    "/{name:str}/archive",
    operation_class=takes_bytes(_ARCHIVES),
    request_max_body_size=None,
    responses=problems(401, 404, 408, 409, 413, 422, 502, 503, 507),
)
async def restore_volume(
    request: AnyRequest,
    name: VolumeName,
    clear: Annotated[
        bool,
        QueryParameter(
            description="`true` lets go what the volume holds; else one that holds something is "
            "left alone (409)."
        ),
    ] = False,
    force: Annotated[
        bool,
        QueryParameter(
            description="`true` also writes into a volume that containers mount, or that an "
            "environment owns."
        ),
    ] = False,
) -> VolumeView:
    """Unpacks a tar, plain or through gzip, into a volume, which is made if need be.

    All or nothing: the raw body is unpacked beside what the volume holds and takes its place once
    it is whole; what breaks off or is refused leaves the volume as it was. One that holds something
    is left alone, unless `clear=true` lets that go. `force=true` also writes into the volume of an
    environment, or one that containers mount.

    Owners, modes and links come back as they were. An archive with devices, or with names that lead
    out of the volume, is refused.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise RequestUnreadable(
            "An archive is sent as the raw body, not as a form.",
            hint="With curl: -T data.tar.",
        )
    agent = _agent(request)
    body = chunks(request, max_bytes=agent.settings.max_volume_bytes)
    restored = await agent.volumes.archiving.restore(name, body, clear=clear, force=force)
    return volume_view(restored)


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/volumes",
    route_handlers=[back_up_volume, restore_volume],
    tags=["volumes"],
    security=[{"serverKey": []}],
)
