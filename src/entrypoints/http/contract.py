"""The manager's calls, ``/agent/…``, with exactly the statuses and bodies it expects."""

from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

from domain.containers import Container
from domain.errors import StepTimedOut
from domain.names import EnvironmentName, environment_name
from domain.usecases.deploy import DeployRequest
from domain.usecases.runs import Ticket
from entrypoints.agent import Agent
from entrypoints.http.audit import tell
from entrypoints.http.launch_body import read_launch
from entrypoints.http.parameters import (
    EnvironmentInPath,
)
from entrypoints.http.responses import problems

LAUNCH_SECONDS = 590.0
"""The manager waits 600 s for a launch."""

CHANGE_SECONDS = 25.0
"""The manager waits 30 s for a restart or a removal."""

AnyRequest = Request[Any, Any, Any]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an environment."""

    name: str
    status: str


class PendingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change that takes longer than the manager waits, and goes on."""

    name: str
    status: str
    operation: str
    """The identifier under which the log tells of it."""
    detail: str


class ListedContainer(msgspec.Struct, frozen=True, kw_only=True):
    """One running container of the host."""

    id: str
    name: str
    image: str
    status: str


class HostHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The host as the manager asks for it."""

    uptime_seconds: int
    """Of the host."""
    running_containers: int
    mem_percent: float
    cpu_percent: float


_TEXT = Schema(type=OpenAPIType.STRING)
_BASE64 = Schema(type=OpenAPIType.STRING, content_encoding="base64")

_LAUNCH_EXAMPLE = {
    "name": "my-lab",
    # A zip with a compose.yaml of one line.
    "docker_zip_base64": (
        "UEsDBBQAAAAAAABgP1yNPlnGIAAAACAAAAAMAAAAY29tcG9zZS55YW1sc2VydmljZXM6IHt3ZWI6"
        "IHtpbWFnZTogbmdpbnh9fQpQSwECFAMUAAAAAAAAYD9cjT5ZxiAAAAAgAAAADAAAAAAAAAAAAAAA"
        "gAEAAAAAY29tcG9zZS55YW1sUEsFBgAAAAABAAEAOgAAAEoAAAAAAA=="
    ),
    "vpn_conf_base64": "Y2xpZW50Cg==",
}


@dataclass
class _LaunchOperation(Operation):
    """The body is read as it comes and so unknown to the framework; this documents it."""

    def __post_init__(self) -> None:
        properties: dict[str, Reference | Schema] = {
            "name": Schema(type=OpenAPIType.STRING, pattern="^[a-z0-9][a-z0-9_-]{0,62}$"),
            "docker_zip_base64": _BASE64,
            "vpn_conf_base64": _BASE64,
        }
        schema = Schema(
            type=OpenAPIType.OBJECT,
            properties=properties,
            required=["name", "docker_zip_base64"],
        )
        self.request_body = RequestBody(
            content={"application/json": OpenAPIMediaType(schema=schema, example=_LAUNCH_EXAMPLE)},
            required=True,
        )


@post(
    "/containers",
    status_code=201,
    operation_class=_LaunchOperation,
    responses=problems(401, 408, 409, 413, 422, 500, 502, 503, 504, 507),
)
async def launch(request: AnyRequest) -> Change:
    """Deploys a bundle under a name, in place of an environment of that name.

    Answers when it runs. It belongs to the agent: a client that goes away changes nothing.
    """
    agent = _agent(request)
    wanted = await read_launch(request, agent.bundles, agent.settings.max_body_bytes)
    tell(request, target=wanted.name)
    ticket = await agent.deploy.launch(
        DeployRequest(name=wanted.name, bundle=wanted.bundle, vpn_profile=wanted.vpn_profile)
    )
    tell(request, target=wanted.name, operation=ticket.operation.id)
    if not await ticket.finished(LAUNCH_SECONDS):
        raise StepTimedOut(
            "launch", f"operation {ticket.operation.id} goes on; see GET /agent/containers."
        )
    return Change(name=wanted.name, status="started")


@post(
    "/containers/{name:str}/restart",
    status_code=200,
    responses={
        202: ResponseSpec(PendingChange, description="It takes longer and goes on."),
        **problems(401, 404, 409, 422, 500, 502, 503, 504, 507),
    },
)
async def restart(request: AnyRequest, name: EnvironmentInPath) -> Response[Change | PendingChange]:
    """Builds the images of an environment anew and recreates its containers."""
    environment = environment_name(name)
    ticket = await _agent(request).lifecycle.rebuild(environment)
    tell(request, target=environment, operation=ticket.operation.id)
    return await _answer(ticket, environment, done="restarted", going="restarting")


@delete(
    "/containers/{name:str}",
    status_code=200,
    responses={
        202: ResponseSpec(PendingChange, description="It takes longer and goes on."),
        **problems(401, 404, 422, 500, 502, 503, 504, 507),
    },
)
async def remove(request: AnyRequest, name: EnvironmentInPath) -> Response[Change | PendingChange]:
    """Removes an environment with its containers, networks, volumes, images and files.

    A launch or restart of it that is under way is cut off first.
    """
    environment = environment_name(name)
    ticket = await _agent(request).lifecycle.delete(environment)
    tell(request, target=environment, operation=ticket.operation.id)
    return await _answer(ticket, environment, done="removed", going="removing")


async def _answer(
    ticket: Ticket, name: EnvironmentName, *, done: str, going: str
) -> Response[Change | PendingChange]:
    if await ticket.finished(CHANGE_SECONDS):
        return Response(Change(name=name, status=done), status_code=200)
    operation = ticket.operation
    pending = PendingChange(
        name=name,
        status=going,
        operation=operation.id,
        detail=(
            f"Operation {operation.id} is {operation.state} after {CHANGE_SECONDS:g} s and goes on;"
            " see GET /agent/containers for what runs."
        ),
    )
    return Response(pending, status_code=202)


@get("/containers", responses=problems(401, 502, 503))
async def containers(request: AnyRequest) -> Response[list[ListedContainer]]:
    """The running containers of the host."""
    picture = await _agent(request).inventory.require_engine()
    return Response(cast("list[ListedContainer]", _listed(picture.containers)))


class _Listing:
    """The list as bytes, made anew only when the containers are others."""

    def __init__(self) -> None:
        self._containers: tuple[Container, ...] = ()
        self._bytes = b"[]"

    def __call__(self, containers: tuple[Container, ...]) -> bytes:
        """The list of those that run."""
        if containers is not self._containers:
            rows = [
                ListedContainer(id=c.id, name=c.name, image=c.image, status=c.state.value)
                for c in containers
                if c.running
            ]
            self._containers, self._bytes = containers, msgspec.json.encode(rows)
        return self._bytes


_listed = _Listing()


@get("/health", responses=problems(401))
async def health(request: AnyRequest) -> HostHealth:
    """The host's uptime and load; answers at once, from what the agent last saw."""
    agent = _agent(request)
    usage = await agent.host.usage()
    return HostHealth(
        uptime_seconds=int(await agent.host.uptime_seconds()),
        running_containers=len(agent.inventory.picture.running),
        mem_percent=round(usage.memory.percent, 1),
        cpu_percent=round(usage.cpu_percent, 1),
    )


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/agent",
    route_handlers=[launch, restart, remove, containers, health],
    tags=["manager"],
    security=[{"serverKey": []}],
)
