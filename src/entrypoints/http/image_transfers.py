"""Images from registries and archives, and into archives: ``/api/v1/images``."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import QueryParameter
from litestar.response import Stream

from domain.errors import AgentError, RequestUnreadable
from domain.pulls import PulledImage
from domain.registry_credentials import RegistryCredentials
from domain.usecases.pulls import PullKey, Pulls
from entrypoints.agent import Agent
from entrypoints.http import sse
from entrypoints.http.audit import tell
from entrypoints.http.bodies import chunks, read_json
from entrypoints.http.disconnects import while_connected
from entrypoints.http.documented_bodies import takes_bytes, takes_json
from entrypoints.http.parameters import (
    Force,
)
from entrypoints.http.problems import problem_of
from entrypoints.http.registries import CredentialsRequest
from entrypoints.http.request_headers import accepted
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]

_JSON = "application/json"

_TAR = "application/x-tar"
_ARCHIVES = (_TAR, "application/gzip", "application/octet-stream")


class PullRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image that is to come from its registry."""

    image: str
    """Its name, with tag or digest; without either `latest` is meant."""
    credentials: CredentialsRequest | None = None
    """For this pull only; without any, those that are kept for the registry are taken."""


class LoadedImages(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of an archive."""

    images: tuple[str, ...]
    """Names, or identifiers where the archive gave none."""


_PULL_EXAMPLE = {
    "image": "registry.example.com/labs/web:1",
    "credentials": {"username": "jana", "password": "…"},
}


@dataclass
class _PullOperation(takes_json(PullRequest, _PULL_EXAMPLE)):  # type: ignore[misc]
    """Its answer comes in one of two forms."""

    def __post_init__(self) -> None:
        super().__post_init__()
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content is not None:
            text = Schema(type=OpenAPIType.STRING, description="Server-Sent Events.")
            answer.content[sse.MEDIA_TYPE] = OpenAPIMediaType(schema=text)


@post(
    "/pull",
    status_code=200,
    operation_class=_PullOperation,
    responses={
        200: ResponseSpec(PulledImage, description="It is here.", generate_examples=False),
        **problems(401, 403, 404, 408, 413, 422, 502, 503, 504, 507),
    },
)
async def pull_image(request: AnyRequest) -> Response[PulledImage] | Stream:
    """Pulls an image: waits for it, or with `Accept: text/event-stream` tells how far it is.

    Events are `progress` (percent, bytes, layers), at last `end` with the digest, or `problem` with
    what a plain call would be answered. Many who want the same image share one pull, which ends
    when the last of them has gone away.
    """
    pulls = _agent(request).images.pulls
    wanted = await read_json(request, PullRequest)
    tell(request, target=wanted.image)
    key = await pulls.admitted(wanted.image, _credentials(wanted))
    accept = request.headers.getall("accept", [])
    if accepted(accept, (sse.MEDIA_TYPE, _JSON), otherwise=_JSON) == sse.MEDIA_TYPE:
        headers = {**sse.HEADERS, "content-type": sse.MEDIA_TYPE}
        return Stream(_events(request, pulls, key), status_code=200, headers=headers)
    async with pulls.follow(key) as pull:
        return Response(await while_connected(request, pull.result))


def _credentials(wanted: PullRequest) -> RegistryCredentials | None:
    return None if wanted.credentials is None else wanted.credentials.parsed()


async def _events(request: AnyRequest, pulls: Pulls, key: PullKey) -> AsyncIterator[bytes]:
    try:
        async with pulls.follow(key) as pull:
            async for progress in pull.progress():
                yield sse.KEEP_ALIVE if progress is None else sse.event("progress", progress)
            yield sse.event("end", await pull.result())
    except AgentError as fault:
        yield sse.event("problem", problem_of(request, fault))


@post(
    "/load",
    status_code=200,
    operation_class=takes_bytes(_ARCHIVES),
    request_max_body_size=None,
    responses=problems(401, 408, 409, 413, 422, 502, 503, 504, 507),
)
async def load_images(request: AnyRequest, force: Force = False) -> Response[LoadedImages]:
    """Takes images from an archive as `docker save` writes it, plain or through gzip.

    The raw body goes to the Engine as it comes. An archive that gives an image one of the agent's
    own names is refused, and nothing of it is taken; one with a name that an environment counts on
    needs `force=true`.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise RequestUnreadable(
            "An archive is sent as the raw body, not as a form.",
            hint="With curl: --data-binary @images.tar, or -T images.tar.",
        )
    agent = _agent(request)
    body = chunks(request, max_bytes=agent.settings.max_image_bytes)
    loaded = await agent.images.archiving.load(body, force=force)
    tell(request, target=", ".join(loaded))
    return Response(LoadedImages(images=tuple(loaded)))


@get(
    "/save",
    media_type=_TAR,
    responses={
        200: ResponseSpec(bytes, description="A tar.", media_type=_TAR, generate_examples=False),
        **problems(401, 404, 409, 422, 502, 503),
    },
)
async def save_images(
    request: AnyRequest,
    image: Annotated[list[str], QueryParameter(description="Names or identifiers.")],
) -> Stream:
    """An archive of images, for `load` or `docker load`; `image` may be given several times."""
    saving = await _agent(request).images.archiving.save(image)
    headers = {"content-type": _TAR, "content-disposition": 'attachment; filename="images.tar"'}
    return Stream(_passed_on(saving), headers=headers)


async def _passed_on(
    saving: AbstractAsyncContextManager[AsyncIterator[bytes]],
) -> AsyncIterator[bytes]:
    async with saving as pieces:
        async for piece in pieces:
            yield piece


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/images",
    route_handlers=[pull_image, load_images, save_images],
    tags=["images"],
    security=[{"serverKey": []}],
)
