"""The audit trail: ``/api/v1/audit``, and what routes tell of themselves for it."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Request, Router, get
from litestar.params import QueryParameter

from domain.audit import AuditEntry, Outcome, inert
from domain.keys import Caller
from entrypoints.agent import Agent
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]

_READS = {"GET", "HEAD", "OPTIONS"}


class AuditedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and what came of it."""

    entry: AuditEntry
    outcome: Outcome


class AuditList(msgspec.Struct, frozen=True, kw_only=True):
    """Requests, newest first."""

    entries: tuple[AuditedRequest, ...]
    next: int | None
    """`before` of the next page; null on the last."""
    left_out: int
    """How many since the agent's start are in its log only."""


def tell(request: AnyRequest, *, target: str = "", operation: str = "") -> None:
    """Notes what a request is about, for its entry."""
    state = request.scope["state"]
    state.update({key: value for key, value in _named(target, operation) if value})


def _named(target: str, operation: str) -> tuple[tuple[str, str], ...]:
    return (("audit_target", target), ("audit_operation", operation))


def audited(method: str, status: int) -> bool:
    """Whether a request belongs into the trail: every change, and whoever has no key."""
    return method not in _READS or status == 401


def entry_of(agent: Agent, scope: Mapping[str, Any], route: str, status: int) -> AuditEntry:
    """The entry of a request that was answered."""
    state: Mapping[str, Any] = scope.get("state") or {}
    caller: Caller | None = state.get("caller")
    named = next(iter((scope.get("path_params") or {}).values()), "")
    client = scope.get("client")
    return AuditEntry(
        at=agent.clock.now(),
        subject=inert(caller.subject) if caller else "",
        key_id=inert(caller.key_id) if caller else "",
        address=str(client[0]) if client else "",
        method=inert(scope.get("method", "GET")),
        route=route,
        path=inert(scope["path"]),
        target=inert(str(state.get("audit_target") or named)),
        operation=state.get("audit_operation", ""),
        status=status,
        code=state.get("problem", ""),
    )


@get("/", responses=problems(401, 422, 503))
async def list_audit(
    request: AnyRequest,
    subject: Annotated[
        str | None, QueryParameter(description="Only requests of this caller, as its key names it.")
    ] = None,
    target: Annotated[
        str | None,
        QueryParameter(
            description="Only requests about this: an environment, container, image, network, "
            "volume, bundle or operation."
        ),
    ] = None,
    outcome: Annotated[
        Outcome | None,
        QueryParameter(
            description="Only requests that ended so: refused ones could not be done as asked, "
            "failed ones could and were not."
        ),
    ] = None,
    before: Annotated[
        int | None,
        QueryParameter(
            ge=1,
            le=2**63 - 1,
            description="Only entries before this number: `next` of the page before.",
        ),
    ] = None,
    limit: Annotated[
        int, QueryParameter(ge=1, le=1000, description="How many are listed at most, the newest.")
    ] = 100,
) -> AuditList:
    """Who asked for which change, from where, and what came of it; newest first."""
    agent: Agent = request.app.state.agent
    found = await agent.audit.latest(
        limit, before=before, subject=subject, target=target, outcome=outcome
    )
    return AuditList(
        entries=tuple(AuditedRequest(entry=entry, outcome=entry.outcome) for entry in found),
        next=found[-1].number if len(found) == limit else None,
        left_out=agent.audit.left_out,
    )


router = Router(
    path="/api/v1/audit",
    route_handlers=[list_audit],
    tags=["audit"],
    security=[{"serverKey": []}],
)
