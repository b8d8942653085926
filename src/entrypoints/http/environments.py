"""Environments: ``/api/v1/environments``."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import anyio
import msgspec
from litestar import Request, Response, Router, delete, get, patch, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from domain.containers import Inventory
from domain.environments import Environment, EnvironmentState
from domain.errors import EnvironmentNotFound, RequestUnreadable
from domain.labels import check_labels
from domain.names import BundleDigest, EnvironmentName, environment_name, generated_name
from domain.operations import Asked
from domain.quantities import moment
from domain.timeline import TimelineEntry
from domain.usecases.builds import Rebuild
from domain.usecases.deploy import DeployRequest
from domain.usecases.lifetimes import Amendment
from domain.usecases.runs import Ticket
from entrypoints.agent import Agent
from entrypoints.http.bodies import read_json
from entrypoints.http.changes import OperationView, asked, caller_name, change
from entrypoints.http.documented_headers import ChangeOperation
from entrypoints.http.environment_logs import read_logs
from entrypoints.http.environment_requests import (
    AmendmentOperation,
    AmendmentRequest,
    EnvironmentOperation,
    Received,
    bundle_of,
    lifetime_seconds,
    read_environment,
)
from entrypoints.http.environment_views import EnvironmentView, environment_view
from entrypoints.http.parameters import (
    EnvironmentInPath,
    Fresh,
    Labels,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]

_ENDED = {200: ResponseSpec(OperationView, description="It has ended (with `Prefer: wait`).")}
_STOP = {**_ENDED, **problems(401, 404, 409, 422, 500, 502, 503, 504)}
# A rebuild writes the model anew, and all of these write the one that an earlier agent did not.
_CHANGE = {**_STOP, **problems(507)}
_DEPLOY = {**_ENDED, **problems(401, 404, 408, 409, 413, 422, 500, 502, 503, 504, 507)}


class EnvironmentList(msgspec.Struct, frozen=True, kw_only=True):
    """Environments, sorted by name."""

    environments: tuple[EnvironmentView, ...]


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to an environment, oldest first."""

    entries: tuple[TimelineEntry, ...]


@post(
    "/",
    status_code=202,
    operation_class=EnvironmentOperation,
    request_max_body_size=None,
    responses=_DEPLOY,
)
async def create_environment(request: AnyRequest) -> Response[OperationView]:
    """Deploys a bundle: one that was uploaded before, or one that comes along in a form.

    A name is made up where there is none; one that stands already is refused (409).
    """
    return await _deploy(request, None)


@put(
    "/{name:str}",
    status_code=202,
    operation_class=EnvironmentOperation,
    request_max_body_size=None,
    responses=_DEPLOY,
)
async def replace_environment(
    request: AnyRequest, name: EnvironmentInPath
) -> Response[OperationView]:
    """Deploys a bundle under a name, in place of the environment that stands there.

    The earlier one runs until the new one is built, and comes back if that does not start.
    """
    return await _deploy(request, environment_name(name))


async def _deploy(request: AnyRequest, name: EnvironmentName | None) -> Response[OperationView]:
    agent = _agent(request)
    received = await read_environment(request)
    handed_over = False

    async def submit() -> Ticket:
        nonlocal handed_over
        digest = await _digest(agent, received)
        handed_over = True
        with agent.library.using(digest):
            wanted = await _request(agent, received, name, digest)
            return await agent.deploy.launch(wanted, asked=wanted_asked, replace=name is not None)

    try:
        wanted_asked = asked(request, received.body)
        return await change(request, wanted_asked, submit)
    finally:
        # A repetition, or what was refused before it began, has no use for what came along.
        if received.bundle is not None and not handed_over:
            with anyio.CancelScope(shield=True):
                await agent.bundles.discard(received.bundle)


async def _digest(agent: Agent, received: Received) -> BundleDigest:
    """Of the bundle that came along, which is kept by this, or of the one that is named."""
    if received.bundle is None:
        return bundle_of(received.wanted)
    record, _ = await agent.library.admit(received.bundle)
    return record.digest


async def _request(
    agent: Agent, received: Received, name: EnvironmentName | None, digest: BundleDigest
) -> DeployRequest:
    wanted = received.wanted
    if name is not None and wanted.name not in {None, name}:
        raise RequestUnreadable("The name in the request is not the one in the path.")
    name = name or _named(agent, wanted.name)
    ttl, until = wanted.end()
    expires_at = await agent.lifetimes.end(seconds=ttl, moment=until, earlier=name)
    return DeployRequest(
        name=name,
        bundle=await agent.library.archive(digest),
        vpn_profile=received.vpn_profile,
        variables=wanted.variables,
        labels=wanted.labels,
        limits=wanted.limits.parsed(),
        isolation=wanted.isolation,
        expires_at=expires_at,
        hold=wanted.hold.parsed() if wanted.hold is not None else None,
    )


def _named(agent: Agent, name: str | None) -> EnvironmentName:
    return environment_name(name) if name is not None else generated_name(agent.clock.new_id())


@get("/", responses=problems(401, 422, 502, 503))
async def list_environments(
    request: AnyRequest,
    in_state: Annotated[
        EnvironmentState | None,
        QueryParameter(name="state", description="Only those in this state."),
    ] = None,
    label: Labels = (),
    limit: Annotated[
        int,
        QueryParameter(ge=1, le=10_000, description="How many are listed at most, of the first."),
    ] = 1000,
    fresh: Fresh = False,
) -> EnvironmentList:
    """All environments, or those in a state or with labels (`label=course=web-101`).

    Containers are as the Engine last told; `fresh=true` asks it now.
    """
    agent = _agent(request)
    picture = await _picture(agent, fresh=fresh)
    views = [
        environment_view(record, picture.of_project(record.name))
        for record in await agent.environments.list()
        if _labelled(record, label)
    ]
    chosen = [view for view in views if in_state in {None, view.state}]
    return EnvironmentList(environments=tuple(chosen[:limit]))


def _labelled(record: Environment, wanted: Sequence[str]) -> bool:
    pairs = [text.partition("=") for text in wanted]
    return all(
        name in record.labels and (not sign or record.labels[name] == value)
        for name, sign, value in pairs
    )


@get("/{name:str}", responses=problems(401, 404, 422, 502, 503))
async def get_environment(
    request: AnyRequest, name: EnvironmentInPath, fresh: Fresh = False
) -> EnvironmentView:
    """One environment: its state, its services and containers, its limits and times.

    Containers are as the Engine last told; `fresh=true` asks it now.
    """
    agent = _agent(request)
    record = await _record(agent, environment_name(name))
    picture = await _picture(agent, fresh=fresh)
    return environment_view(record, picture.of_project(record.name))


async def _record(agent: Agent, name: EnvironmentName) -> Environment:
    record = await agent.environments.get(name)
    if record is None:
        raise EnvironmentNotFound(name)
    return record


async def _picture(agent: Agent, *, fresh: bool) -> Inventory:
    """What the Engine says now, or said when it last told."""
    return await agent.inventory.refresh() if fresh else agent.inventory.picture


@patch(
    "/{name:str}",
    operation_class=AmendmentOperation,
    responses=problems(401, 404, 408, 413, 422, 503),
)
async def amend_environment(request: AnyRequest, name: EnvironmentInPath) -> EnvironmentView:
    """Changes lifetime, hold or labels; containers are not touched."""
    agent = _agent(request)
    wanted = await read_json(request, AmendmentRequest)
    if wanted.labels is not msgspec.UNSET:
        check_labels(wanted.labels)
    record = await agent.lifetimes.amend(
        environment_name(name), _amendment(agent, wanted), by=caller_name(request)
    )
    return environment_view(record, agent.inventory.picture.of_project(record.name))


def _amendment(agent: Agent, wanted: AmendmentRequest) -> Amendment:
    given = [w for w in (wanted.ttl, wanted.expires_at) if w is not msgspec.UNSET]
    if len(given) > 1:
        raise RequestUnreadable("ttl and expires_at cannot both be given.")
    until = moment(wanted.expires_at) if isinstance(wanted.expires_at, str) else None
    if isinstance(wanted.ttl, int | float | str):
        until = agent.lifetimes.after(lifetime_seconds(wanted.ttl) or 0.0)
    hold = wanted.hold if wanted.hold is not msgspec.UNSET else None
    return Amendment(
        expires_at=until,
        forever=bool(given) and until is None,
        hold=hold.parsed() if hold is not None else None,
        release=wanted.hold is None,
        labels=wanted.labels if wanted.labels is not msgspec.UNSET else None,
    )


@delete(
    "/{name:str}",
    status_code=202,
    operation_class=ChangeOperation,
    responses={**_ENDED, **problems(401, 404, 409, 422, 500, 502, 503, 504, 507)},
)
async def delete_environment(
    request: AnyRequest,
    name: EnvironmentInPath,
    force: Annotated[
        bool, QueryParameter(description="`true` removes it also while it is held.")
    ] = False,
) -> Response[OperationView]:
    """Removes an environment with its containers, networks, volumes, own images and files.

    What is under way with it is cut off first. `force=true` removes it also while it is held.
    """
    agent = _agent(request)
    return await _change(
        request,
        name,
        lambda n, a: agent.lifecycle.delete(n, asked=a, force=force, failed_too=True),
    )


@post("/{name:str}/start", status_code=202, operation_class=ChangeOperation, responses=_CHANGE)
async def start_environment(
    request: AnyRequest, name: EnvironmentInPath
) -> Response[OperationView]:
    """Starts all containers that do not run."""
    agent = _agent(request)
    return await _change(request, name, lambda n, a: agent.lifecycle.start(n, asked=a))


@post("/{name:str}/stop", status_code=202, operation_class=ChangeOperation, responses=_STOP)
async def stop_environment(request: AnyRequest, name: EnvironmentInPath) -> Response[OperationView]:
    """Stops all containers; nothing is removed."""
    agent = _agent(request)
    return await _change(request, name, lambda n, a: agent.lifecycle.stop(n, asked=a))


@post("/{name:str}/restart", status_code=202, operation_class=ChangeOperation, responses=_CHANGE)
async def restart_environment(
    request: AnyRequest, name: EnvironmentInPath
) -> Response[OperationView]:
    """Stops the containers and starts the same ones again."""
    agent = _agent(request)
    return await _change(request, name, lambda n, a: agent.lifecycle.restart(n, asked=a))


@post("/{name:str}/rebuild", status_code=202, operation_class=ChangeOperation, responses=_CHANGE)
async def rebuild_environment(
    request: AnyRequest,
    name: EnvironmentInPath,
    no_cache: Annotated[
        bool,
        QueryParameter(
            description="`true` runs every build step again, also where its input is the same."
        ),
    ] = False,
) -> Response[OperationView]:
    """Builds the images again and makes all containers anew; volumes stay.

    `no_cache=true` runs every build step again, also where its input is the same.
    """
    agent = _agent(request)
    how = Rebuild.ANEW if no_cache else Rebuild.ALL
    return await _change(
        request, name, lambda n, a: agent.lifecycle.rebuild(n, asked=a, rebuild=how)
    )


@post("/{name:str}/reset", status_code=202, operation_class=ChangeOperation, responses=_CHANGE)
async def reset_environment(
    request: AnyRequest, name: EnvironmentInPath
) -> Response[OperationView]:
    """Makes containers, networks and volumes anew from the images at hand, in seconds."""
    agent = _agent(request)
    return await _change(request, name, lambda n, a: agent.lifecycle.reset(n, asked=a))


async def _change(
    request: AnyRequest,
    name: str,
    submit: Callable[[EnvironmentName, Asked], Awaitable[Ticket]],
) -> Response[OperationView]:
    environment, wanted = environment_name(name), asked(request)
    return await change(request, wanted, lambda: submit(environment, wanted))


@get("/{name:str}/timeline", responses=problems(401, 404, 422, 503))
async def environment_timeline(
    request: AnyRequest,
    name: EnvironmentInPath,
    limit: Annotated[
        int,
        QueryParameter(ge=1, le=1000, description="How many entries are told at most, the newest."),
    ] = 200,
) -> Timeline:
    """Why it is as it is: who asked for what, each step, exits, health, kills, lifetime."""
    entries = await _agent(request).chronicle.of(environment_name(name), limit)
    return Timeline(entries=tuple(entries))


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/environments",
    route_handlers=[
        create_environment,
        replace_environment,
        list_environments,
        get_environment,
        amend_environment,
        delete_environment,
        start_environment,
        stop_environment,
        restart_environment,
        rebuild_environment,
        reset_environment,
        environment_timeline,
        read_logs,
    ],
    tags=["environments"],
    security=[{"serverKey": []}],
)
