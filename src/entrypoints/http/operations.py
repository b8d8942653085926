"""Operations: ``/api/v1/operations``."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from domain.names import OperationId, environment_name
from entrypoints.agent import Agent
from entrypoints.http import sse
from entrypoints.http.changes import OperationView, answered, caller_name, operation_view
from entrypoints.http.documented_headers import EventsOperation, WaitOperation
from entrypoints.http.expiry import end_with_key
from entrypoints.http.parameters import (
    OperationInPath,
)
from entrypoints.http.request_headers import last_event_id
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


class OperationList(msgspec.Struct, frozen=True, kw_only=True):
    """Operations, newest first."""

    operations: tuple[OperationView, ...]


@get("/", responses=problems(401, 422, 503))
async def list_operations(
    request: AnyRequest,
    environment: Annotated[
        str | None, QueryParameter(description="Only those of the environment of this name.")
    ] = None,
    limit: Annotated[
        int, QueryParameter(ge=1, le=1000, description="How many are listed at most, the newest.")
    ] = 100,
) -> OperationList:
    """The newest operations, of one environment or of all."""
    agent = _agent(request)
    subject = environment_name(environment) if environment is not None else None
    found = [
        await agent.operations.get(o.id) for o in await agent.operations.latest(subject, limit)
    ]
    return OperationList(operations=tuple(operation_view(agent, o) for o in found))


@get("/{operation:str}", responses=problems(401, 404, 422, 503))
async def get_operation(request: AnyRequest, operation: OperationInPath) -> OperationView:
    """One operation: its state, its step, how it ended and why."""
    agent = _agent(request)
    return operation_view(agent, await agent.operations.get(OperationId(operation)))


@get(
    "/{operation:str}/events",
    operation_class=EventsOperation,
    media_type=sse.MEDIA_TYPE,
    responses={
        200: ResponseSpec(
            sse.ServerSentEvent,
            description="Server-Sent Events.",
            media_type=sse.MEDIA_TYPE,
            generate_examples=False,
        ),
        **problems(401, 404, 422, 503),
    },
)
async def follow_operation(request: AnyRequest, operation: OperationInPath) -> Stream:
    """Each state, step and line of output as it happens, from the beginning, until it ends.

    Events are numbered: whoever comes back with `Last-Event-ID` gets what came after. The stream
    ends with an event `end` that holds the operation.
    """
    agent = _agent(request)
    found = await agent.operations.get(OperationId(operation))
    after = last_event_id(request.headers.getall("last-event-id", []))
    end_with_key(request)
    return Stream(_events(agent, found.id, after), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


async def _events(agent: Agent, operation: OperationId, after: int) -> AsyncIterator[bytes]:
    async for event in agent.operations.follow(operation, after):
        if event is None:
            yield sse.KEEP_ALIVE
        else:
            fields = {"at": event.at, event.kind.value: event.text}
            yield sse.event(event.kind.value, fields, number=event.id)
    yield sse.event("end", operation_view(agent, await agent.operations.get(operation)))


@delete(
    "/{operation:str}",
    status_code=202,
    operation_class=WaitOperation,
    responses={
        200: ResponseSpec(OperationView, description="It has ended (with `Prefer: wait`)."),
        **problems(401, 404, 409, 422, 503),
    },
)
async def cancel_operation(
    request: AnyRequest, operation: OperationInPath
) -> Response[OperationView]:
    """Cancels an operation: one that waits at once, one that runs as soon as it is undone.

    Removals and resets that have begun are finished.
    """
    agent = _agent(request)
    ticket = await agent.operations.cancel(OperationId(operation), caller_name(request))
    return await answered(request, ticket.operation.id, cancelled=True)


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/operations",
    route_handlers=[list_operations, get_operation, follow_operation, cancel_operation],
    tags=["operations"],
    security=[{"serverKey": []}],
)
