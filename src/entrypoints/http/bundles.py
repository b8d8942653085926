"""Bundles: ``/api/v1/bundles``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import QueryParameter

from domain.bundles import BundleEntry, BundleRecord
from domain.compose_policy import PolicyProfile
from domain.errors import RequestUnreadable
from domain.labels import check_variables
from domain.names import bundle_digest
from entrypoints.agent import Agent
from entrypoints.http.bodies import chunks, read_json
from entrypoints.http.changes import OperationView, asked, change
from entrypoints.http.documented_bodies import takes_bytes
from entrypoints.http.documented_headers import CONTENT_DIGEST, ChangeOperation
from entrypoints.http.parameters import (
    BundleInPath,
)
from entrypoints.http.request_headers import content_digest
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


class BundleList(msgspec.Struct, frozen=True, kw_only=True):
    """The bundles that are kept, sorted by digest."""

    bundles: tuple[BundleRecord, ...]


class BundleDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle and what it holds."""

    bundle: BundleRecord
    files: tuple[BundleEntry, ...]
    """The first files by path; `bundle.entries` says how many there are."""


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle would be deployed with."""

    variables: Mapping[str, str] = {}
    """For `${…}` in the Compose file."""


class CheckedService(msgspec.Struct, frozen=True, kw_only=True):
    """A service that would run."""

    name: str
    image: str | None
    """None where it is built."""
    replicas: int


class BundleCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that this host allows."""

    allowed: bool
    policy: PolicyProfile
    services: tuple[CheckedService, ...]


@dataclass
class _CheckOperation(Operation):
    """The body is read by hand, as it may be left out."""

    def __post_init__(self) -> None:
        schema = Schema(
            type=OpenAPIType.OBJECT,
            properties={
                "variables": Schema(
                    type=OpenAPIType.OBJECT,
                    additional_properties=Schema(type=OpenAPIType.STRING),
                    description="For `${…}` in the Compose file.",
                )
            },
            additional_properties=False,
        )
        example = {"variables": {"FLAG": "flag{…}"}}
        content = {"application/json": OpenAPIMediaType(schema=schema, example=example)}
        self.request_body = RequestBody(content=content, required=False)


_ARCHIVES = ("application/zip", "application/gzip", "application/x-tar", "application/octet-stream")


@post(
    "/",
    status_code=201,
    operation_class=takes_bytes(_ARCHIVES, CONTENT_DIGEST),
    request_max_body_size=None,
    responses={
        200: ResponseSpec(BundleRecord, description="It was there already."),
        **problems(400, 401, 408, 413, 422, 500, 503, 507),
    },
)
async def upload_bundle(request: AnyRequest) -> Response[BundleRecord]:
    """Keeps a bundle: a zip, tar or tar.gz as the raw body, with a Compose file at its top.

    `Content-Digest: sha-256=:…:` is checked where it is sent. The same content is kept once.
    """
    agent = _agent(request)
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise RequestUnreadable(
            "A bundle is uploaded as the raw body, not as a form.",
            hint="With curl: --data-binary @lab.zip.",
        )
    sha256 = content_digest(request.headers.getall("content-digest", []))
    body = chunks(request, max_bytes=agent.settings.max_bundle_bytes)
    record, new = await agent.library.add(body, sha256=sha256)
    location = {"location": f"/api/v1/bundles/{record.digest}"}
    return Response(record, status_code=201 if new else 200, headers=location)


@get("/", responses=problems(401, 422, 503))
async def list_bundles(request: AnyRequest) -> BundleList:
    """The bundles that are kept."""
    return BundleList(bundles=tuple(await _agent(request).library.list()))


@get("/{digest:str}", responses=problems(401, 404, 422, 500, 503, 507))
async def get_bundle(
    request: AnyRequest,
    digest: BundleInPath,
    limit: Annotated[
        int,
        QueryParameter(
            ge=0, le=10_000, description="How many files are listed at most, of the first by path."
        ),
    ] = 1000,
) -> BundleDetails:
    """One bundle: its size, its services, its files."""
    library = _agent(request).library
    name = bundle_digest(digest)
    contents = await library.contents(name)
    return BundleDetails(bundle=await library.get(name), files=contents.entries[:limit])


@delete("/{digest:str}", status_code=204, responses=problems(401, 404, 409, 422, 500, 503))
async def delete_bundle(request: AnyRequest, digest: BundleInPath) -> None:
    """Removes a bundle; environments that were deployed from it stay."""
    await _agent(request).library.remove(bundle_digest(digest))


@post(
    "/{digest:str}/build",
    status_code=202,
    operation_class=ChangeOperation,
    responses={
        200: ResponseSpec(OperationView, description="It has ended (with `Prefer: wait`)."),
        **problems(401, 404, 409, 422, 500, 502, 503, 504, 507),
    },
)
async def build_bundle(request: AnyRequest, digest: BundleInPath) -> Response[OperationView]:
    """Builds a bundle's images ahead of its deploys, so that these find them at hand."""
    agent, wanted = _agent(request), asked(request)
    return await change(
        request, wanted, lambda: agent.library.build(bundle_digest(digest), asked=wanted)
    )


@post(
    "/{digest:str}/check",
    status_code=200,
    operation_class=_CheckOperation,
    responses=problems(401, 404, 408, 413, 422, 500, 503, 504, 507),
)
async def check_bundle(request: AnyRequest, digest: BundleInPath) -> BundleCheck:
    """Whether this host would deploy a bundle; nothing is built or started.

    422 with every finding in `errors` where it would not, as a deploy would answer.
    """
    agent = _agent(request)
    name, wanted = bundle_digest(digest), await read_json(request, CheckRequest)
    check_variables(wanted.variables)
    model = await agent.library.check(name, wanted.variables)
    return BundleCheck(
        allowed=True,
        policy=agent.policy.profile,
        services=tuple(
            CheckedService(
                name=service.name,
                image=None if service.builds else service.image,
                replicas=service.replicas,
            )
            for service in model.services
        ),
    )


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/bundles",
    route_handlers=[
        upload_bundle,
        list_bundles,
        get_bundle,
        delete_bundle,
        build_bundle,
        check_bundle,
    ],
    tags=["bundles"],
    security=[{"serverKey": []}],
)
