"""Single containers: ``/api/v1/containers``."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.params import QueryParameter

from domain.container_details import ContainerDetails, ProcessColumn, ProcessTable
from domain.containers import ContainerState
from domain.usecases.container_list import ContainerFilter
from domain.usecases.container_pruning import Pruned, PruneWish
from domain.usecases.container_waiting import Condition, Waited
from entrypoints.agent import Agent
from entrypoints.http.audit import tell
from entrypoints.http.bodies import read_json
from entrypoints.http.container_exec import run_command
from entrypoints.http.container_files import read_files
from entrypoints.http.container_logs import read_container_logs
from entrypoints.http.container_requests import EXAMPLE, ContainerRequest
from entrypoints.http.container_stats import all_container_stats, container_stats
from entrypoints.http.container_terminal import describe_terminal, speak
from entrypoints.http.container_views import (
    ContainerListView,
    CreatedContainer,
    FileChanges,
    SingleContainer,
    container_view,
    summary,
)
from entrypoints.http.documented_bodies import takes_json
from entrypoints.http.moments import ago
from entrypoints.http.parameters import (
    ContainerReference,
    DryRun,
    Force,
    Fresh,
    Grace,
    Labels,
    Limit,
    NamePart,
    OfEnvironment,
    OlderThan,
)
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


_LOOK = problems(401, 404, 409, 422, 502, 503)
_CHANGE = problems(401, 404, 409, 422, 502, 503, 504)


@get("/", responses=problems(401, 422, 502, 503))
async def list_containers(
    request: AnyRequest,
    all_too: Annotated[
        bool, QueryParameter(name="all", description="`true` lists those too that do not run.")
    ] = False,
    in_state: Annotated[
        tuple[ContainerState, ...],
        QueryParameter(
            name="state",
            description="Only those in this state, whether they run or not. May come several "
            "times.",
        ),
    ] = (),
    label: Labels = (),
    environment: OfEnvironment = "",
    name: NamePart = "",
    fresh: Fresh = False,
    limit: Limit = 500,
) -> ContainerListView:
    """The containers that run, or `all`, sorted by name; from the agent's own picture.

    `state`, `label=key` and `label=key=value` may come several times; `environment` is one that
    they belong to, `name` a part of their names. `fresh=true` asks the Engine.
    """
    wanted = ContainerFilter(
        states=frozenset(in_state),
        all=all_too,
        labels=label,
        environment=environment,
        name=name,
    )
    found = await _agent(request).containers.list.find(wanted, fresh=fresh)
    return ContainerListView(
        containers=tuple(summary(one) for one in found[:limit]), total=len(found)
    )


@post(
    "/",
    status_code=201,
    operation_class=takes_json(ContainerRequest, EXAMPLE),
    responses=problems(401, 403, 404, 408, 409, 413, 422, 502, 503, 504, 507),
)
async def create_container(
    request: AnyRequest,
    start: Annotated[bool, QueryParameter(description="`true` lets it run at once.")] = False,
    force: Force = False,
) -> Response[CreatedContainer]:
    """Makes a container, and with `start=true` lets it run; nothing is left where that fails.

    It is held to the same policy and limits as the containers of bundles: 422 with every finding
    in `errors`. An image that is not at hand is pulled, for up to two minutes. Without `networks`
    it joins one where containers reach neither each other nor the host. `force=true` lets it join
    networks and volumes of an environment.
    """
    agent = _agent(request)
    order = (await read_json(request, ContainerRequest)).parsed()
    tell(request, target=order.name)
    made = await agent.containers.creation.create(order, start=start, force=force)
    view = await _view(agent, made.container)
    return Response(
        CreatedContainer(**msgspec.structs.asdict(view), warnings=made.warnings),
        status_code=201,
        headers={"location": f"/api/v1/containers/{made.container.id}"},
    )


@post("/prune", status_code=200, responses=problems(401, 422, 502, 503))
async def prune_containers(
    request: AnyRequest,
    dry_run: DryRun = False,
    label: Labels = (),
    older_than: OlderThan = None,
) -> Pruned:
    """Removes containers that have stopped and belong to no environment.

    `dry_run=true` only tells which would go, and how much they take. `label=key` or
    `label=key=value` and `older_than=24h` leave others out.
    """
    agent = _agent(request)
    before = None if older_than is None else ago(agent, older_than)
    wish = PruneWish(labels=label, before=before, dry_run=dry_run)
    return await agent.containers.pruning.prune(wish)


@get("/{reference:str}", responses=_LOOK)
async def get_container(request: AnyRequest, reference: ContainerReference) -> SingleContainer:
    """One container, whole, by its name or how its identifier begins."""
    agent = _agent(request)
    return await _view(agent, await agent.containers.access.find(reference))


@delete("/{reference:str}", status_code=204, responses=_CHANGE)
async def remove_container(
    request: AnyRequest,
    reference: ContainerReference,
    force: Annotated[
        bool,
        QueryParameter(
            description="`true` removes it also while it runs, and where it belongs to an "
            "environment."
        ),
    ] = False,
    volumes: Annotated[
        bool, QueryParameter(description="`true` removes its volumes without a name, too.")
    ] = False,
) -> None:
    """Removes a container, with `volumes=true` its volumes without a name too.

    `force=true` removes it also while it runs, or where it belongs to an environment.
    """
    control = _agent(request).containers.control
    await control.remove(reference, force=force, volumes=volumes)


@post("/{reference:str}/start", status_code=200, responses=_CHANGE)
async def start_container(request: AnyRequest, reference: ContainerReference) -> SingleContainer:
    """Lets a container run, if the host has room; one that runs already goes on."""
    agent = _agent(request)
    return await _view(agent, await agent.containers.control.start(reference))


@post("/{reference:str}/stop", status_code=200, responses=_CHANGE)
async def stop_container(
    request: AnyRequest,
    reference: ContainerReference,
    grace: Grace = None,
    force: Force = False,
) -> SingleContainer:
    """Tells a container to end, and kills it after `grace` seconds; answers when it has ended.

    504 where the Engine takes longer than that and `ENGINE_CHANGE_TIMEOUT`; it goes on then.
    """
    agent = _agent(request)
    return await _view(agent, await agent.containers.control.stop(reference, grace, force=force))


@post("/{reference:str}/restart", status_code=200, responses=_CHANGE)
async def restart_container(
    request: AnyRequest,
    reference: ContainerReference,
    grace: Grace = None,
    force: Force = False,
) -> SingleContainer:
    """Stops a container, as `stop` does, and starts it."""
    agent = _agent(request)
    return await _view(agent, await agent.containers.control.restart(reference, grace, force=force))


@post("/{reference:str}/kill", status_code=200, responses=_CHANGE)
async def kill_container(
    request: AnyRequest,
    reference: ContainerReference,
    signal: Annotated[
        str,
        QueryParameter(
            pattern=r"^[A-Za-z0-9+-]{1,20}$",
            description="A signal by name, with or without SIG, or by number.",
        ),
    ] = "KILL",
    force: Force = False,
) -> SingleContainer:
    """Sends a signal (`KILL`, `SIGHUP`, `10`) to the first process of a container."""
    agent = _agent(request)
    return await _view(agent, await agent.containers.control.kill(reference, signal, force=force))


@post("/{reference:str}/pause", status_code=200, responses=_CHANGE)
async def pause_container(
    request: AnyRequest, reference: ContainerReference, force: Force = False
) -> SingleContainer:
    """Freezes the processes of a container."""
    agent = _agent(request)
    return await _view(agent, await agent.containers.control.pause(reference, force=force))


@post("/{reference:str}/unpause", status_code=200, responses=_CHANGE)
async def unpause_container(request: AnyRequest, reference: ContainerReference) -> SingleContainer:
    """Lets the processes of a container go on."""
    agent = _agent(request)
    return await _view(agent, await agent.containers.control.unpause(reference))


@post("/{reference:str}/rename", status_code=200, responses=_CHANGE)
async def rename_container(
    request: AnyRequest,
    reference: ContainerReference,
    name: Annotated[str, QueryParameter(description="The name that it shall have.")],
    force: Force = False,
) -> SingleContainer:
    """Gives a container another `name`."""
    agent = _agent(request)
    return await _view(agent, await agent.containers.control.rename(reference, name, force=force))


@get("/{reference:str}/wait", responses=problems(401, 404, 409, 422, 502, 503, 504))
async def wait_for_container(
    request: AnyRequest,
    reference: ContainerReference,
    condition: Annotated[
        Condition, QueryParameter(description="What is waited for.")
    ] = Condition.EXITED,
    timeout: Annotated[  # noqa: ASYNC109 - of the call
        float,
        QueryParameter(
            ge=0, le=600, description="For how many seconds it is waited; 0 only looks."
        ),
    ] = 30.0,
) -> Waited:
    """Answers when a container is `running`, `healthy`, `exited` or `removed`, with its exit code.

    504 where it is not after `timeout` seconds; 409 where it can never be.
    """
    return await _agent(request).containers.waiting.until(reference, condition, timeout)


@get("/{reference:str}/top", responses=_LOOK)
async def container_processes(
    request: AnyRequest,
    reference: ContainerReference,
    column: Annotated[
        tuple[ProcessColumn, ...],
        QueryParameter(
            description="What is told of each process, in the words of `ps`. May come several "
            "times; its number comes first, its command last."
        ),
    ] = (),
) -> ProcessTable:
    """The processes of a container that runs, as the host's `ps` tells of them.

    `column=rss&column=args` tells other things of each than Docker does.
    """
    return await _agent(request).containers.control.processes(reference, column)


@get("/{reference:str}/diff", responses=_LOOK)
async def container_file_changes(
    request: AnyRequest, reference: ContainerReference, limit: Limit = 500
) -> FileChanges:
    """How a container's files differ from its image's."""
    found = await _agent(request).containers.control.file_changes(reference)
    return FileChanges(changes=tuple(found[:limit]), total=len(found))


async def _view(agent: Agent, container: ContainerDetails) -> SingleContainer:
    return container_view(container, await agent.containers.ownership.owner(container.labels))


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/containers",
    route_handlers=[
        list_containers,
        create_container,
        prune_containers,
        get_container,
        remove_container,
        start_container,
        stop_container,
        restart_container,
        kill_container,
        pause_container,
        unpause_container,
        rename_container,
        wait_for_container,
        container_processes,
        container_file_changes,
        read_container_logs,
        container_stats,
        all_container_stats,
        read_files,
        run_command,
        describe_terminal,
        speak,
    ],
    tags=["containers"],
    security=[{"serverKey": []}],
)
