"""Changes that become operations: how they are asked for, and how they are answered."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from litestar import Request, Response

from domain.errors import AgentError
from domain.findings import Finding
from domain.keys import Caller
from domain.names import OperationId
from domain.operations import Asked, Operation, OperationKind, OperationState, Step
from domain.usecases.runs import Ticket
from entrypoints.agent import Agent
from entrypoints.http.audit import tell
from entrypoints.http.problems import agent_problem, recorded_problem
from entrypoints.http.request_headers import idempotency_key, prefer_wait

AnyRequest = Request[Any, Any, Any]


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as it is now."""

    id: str
    kind: OperationKind
    environment: str | None
    bundle: str | None
    state: OperationState
    place: int | None
    """How many operations come before it, while it waits."""
    step: Step | None
    """What it is doing, or did last."""
    requested_at: datetime
    requested_by: str
    started_at: datetime | None
    ended_at: datetime | None
    error: str
    """The code of its failure."""
    reason: str
    """Why it failed, with the last lines of output."""
    findings: tuple[Finding, ...]
    """What its bundle was refused for."""
    output: tuple[str, ...]
    """The last lines that it printed; all of them come with its events."""


def operation_view(agent: Agent, operation: Operation) -> OperationView:
    """An operation as it is shown."""
    ticket = agent.operations.live(operation.id)
    return OperationView(
        id=operation.id,
        kind=operation.kind,
        environment=operation.environment,
        bundle=operation.bundle,
        state=operation.state,
        place=agent.operations.place(operation),
        step=operation.step,
        requested_at=operation.requested_at,
        requested_by=operation.asked.by,
        started_at=operation.started_at,
        ended_at=operation.ended_at,
        error=operation.error,
        reason=operation.reason,
        findings=operation.findings,
        output=ticket.run.tail if ticket is not None else operation.output,
    )


def caller_name(request: AnyRequest) -> str:
    """Who asks, fit for records: never the key itself."""
    caller: Caller = request.scope["state"]["caller"]
    return f"key {caller.key_id}" if caller.key_id else "the server key"


def asked(request: AnyRequest, body: bytes = b"") -> Asked:
    """Who asks for a change, and how a repetition of the request is known.

    Args:
        request: the request.
        body: what it asks for, as far as path and query do not say.
    """
    parts = (request.method, request.url.path, request.url.query)
    digest = sha256("\n".join(map(str, parts)).encode() + b"\n" + body)
    return Asked(
        by=caller_name(request),
        idempotency_key=idempotency_key(request.headers.getall("idempotency-key", [])),
        fingerprint=digest.hexdigest(),
    )


async def change(
    request: AnyRequest, wanted: Asked, submit: Callable[[], Awaitable[Ticket]]
) -> Response[OperationView]:
    """Asks for a change, once for each Idempotency-Key, and answers with its operation.

    202 while it goes on; 200 where the caller wanted to wait and it ended well in time. One that
    failed in that time is answered with the problem.
    """
    agent: Agent = request.app.state.agent
    async with agent.operations.once(wanted) as earlier:
        operation = earlier.id if earlier is not None else (await submit()).operation.id
    return await answered(request, operation)


async def answered(
    request: AnyRequest, operation: OperationId, *, cancelled: bool = False
) -> Response[OperationView]:
    """An operation as the answer, waited for as the caller prefers.

    Args:
        request: the request.
        operation: whose end is waited for.
        cancelled: it was asked to be cancelled, so that it is no failure when it is.
    """
    agent: Agent = request.app.state.agent
    headers = {"location": f"/api/v1/operations/{operation}"}
    record = await agent.operations.get(operation)
    tell(request, target=record.subject, operation=operation)
    wait = prefer_wait(request.headers.getall("prefer", []))
    if wait is not None:
        headers["preference-applied"] = f"wait={wait:g}"
        ticket = agent.operations.live(operation)
        if ticket is not None:
            try:
                await ticket.finished(wait)
            except AgentError as fault:
                if not cancelled:
                    return _with(headers, agent_problem(request, fault))
    found = await agent.operations.get(operation)
    ended = found.state.ended and wait is not None
    if ended and found.state is not OperationState.SUCCEEDED and not cancelled:
        return _with(headers, _recorded(request, found))
    return Response(
        operation_view(agent, found), status_code=200 if ended else 202, headers=headers
    )


def _recorded(request: AnyRequest, operation: Operation) -> Response[Any]:
    return recorded_problem(request, operation.error, operation.reason, operation.findings)


def _with(headers: Mapping[str, str], problem: Response[Any]) -> Response[Any]:
    problem.headers.update(headers)
    return problem
