"""Failures as problem documents (RFC 9457), with the reason in ``detail``."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import Receive, Scope, Send

from domain import errors
from domain.findings import Finding
from domain.shortage import shortage
from entrypoints.agent import Agent
from entrypoints.http.query_parameters import choices, query_parameters

_OWN = "urn:container-host-agent:"

MEDIA_TYPE = "application/problem+json"

STATUSES: Mapping[type[errors.AgentError], HTTPStatus] = {
    errors.InvalidName: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.BundleRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.PolicyRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RequestTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.RequestUnreadable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RequestTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.KeyRefused: HTTPStatus.UNAUTHORIZED,
    errors.KeyExpired: HTTPStatus.UNAUTHORIZED,
    errors.EnvironmentNotFound: HTTPStatus.NOT_FOUND,
    errors.EnvironmentExists: HTTPStatus.CONFLICT,
    errors.EnvironmentHeld: HTTPStatus.CONFLICT,
    errors.BundleNotFound: HTTPStatus.NOT_FOUND,
    errors.BundleInUse: HTTPStatus.CONFLICT,
    errors.DigestMismatch: HTTPStatus.BAD_REQUEST,
    errors.OperationNotFound: HTTPStatus.NOT_FOUND,
    errors.KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NameTaken: HTTPStatus.CONFLICT,
    errors.OperationCancelled: HTTPStatus.CONFLICT,
    errors.OperationNotCancellable: HTTPStatus.CONFLICT,
    errors.OperationInterrupted: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RetryLater: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.CapacityExceeded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NetworkPoolExhausted: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.HostExhausted: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EngineUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotAccepting: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StepFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.StepTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
    errors.StopFailed: HTTPStatus.BAD_GATEWAY,
    errors.EngineRefused: HTTPStatus.BAD_GATEWAY,
    errors.EngineFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.InvalidReference: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ResourceNotFound: HTTPStatus.NOT_FOUND,
    errors.ResourceAmbiguous: HTTPStatus.CONFLICT,
    errors.ResourceConflict: HTTPStatus.CONFLICT,
    errors.ResourceOwned: HTTPStatus.CONFLICT,
    errors.ImageRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RegistryRefused: HTTPStatus.FORBIDDEN,
    errors.ImageNotInRegistry: HTTPStatus.NOT_FOUND,
    errors.RegistryNotKept: HTTPStatus.NOT_FOUND,
    errors.ChangeUnfinished: HTTPStatus.GATEWAY_TIMEOUT,
    errors.CommandNotStarted: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ConditionNotReached: HTTPStatus.GATEWAY_TIMEOUT,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.StorageFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.AgentError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of each failure; a test holds it complete."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document."""

    type: str
    """Names the kind of problem; ``about:blank`` where the status says it all."""
    title: str
    status: int
    detail: str
    """What happened to what, and what to do."""
    instance: str
    """The path that was asked for."""
    errors: tuple[str | Finding, ...] = ()
    """Each fault of its own, where there are several; findings where a bundle is refused."""


def agent_problem(request: Request[Any, Any, Any], fault: errors.AgentError) -> Response[Problem]:
    """A failure of the agent's own kinds as a response."""
    headers = {}
    if isinstance(fault, errors.RetryLater):
        headers["Retry-After"] = str(fault.retry_after)
    return _answer(problem_of(request, fault), headers)


def problem_of(request: Request[Any, Any, Any], fault: errors.AgentError) -> Problem:
    """A failure of the agent's own kinds, for an answer that has begun already."""
    return _problem(
        request,
        STATUSES[type(fault)],
        fault.detail,
        kind=f"{_OWN}{fault.code}",
        errors=fault.findings if isinstance(fault, errors.PolicyRefused) else (),
    )


async def send_problem(
    scope: Scope, receive: Receive, send: Send, fault: errors.AgentError
) -> None:
    """Answers a request with a failure where no handler is left to do it."""
    request: Request[Any, Any, Any] = Request(scope)
    answer = agent_problem(request, fault).to_asgi_response(app=None, request=request)
    await answer(scope, receive, send)


def recorded_problem(
    request: Request[Any, Any, Any], code: str, detail: str, findings: tuple[Finding, ...] = ()
) -> Response[Problem]:
    """A failure that a record tells of, as it was answered when it happened."""
    status = next(
        (status for kind, status in STATUSES.items() if kind.code == code),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    return _response(request, status, detail, kind=f"{_OWN}{code}", errors=findings)


def http_problem(request: Request[Any, Any, Any], fault: HTTPException) -> Response[Problem]:
    """A failure that the framework found as a response."""
    status = HTTPStatus(fault.status_code)
    if isinstance(fault, ValidationException):
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    faults = fault.extra if isinstance(fault.extra, list) else []
    errors = tuple(_sentence(request, entry) for entry in faults)
    detail = fault.detail
    if errors:
        # The framework says only that something is wrong; what it is must stand in the detail.
        detail = f"The request cannot be read: {'; '.join(errors)}."
    return _response(
        request,
        status,
        _DETAILS.get(status) or detail or status.phrase,
        errors=errors,
        headers=fault.headers or {},
    )


def unexpected_problem(request: Request[Any, Any, Any], fault: Exception) -> Response[Problem]:
    """A fault of the agent itself as a response that gives nothing of it away.

    What the host had to refuse is none of its own.
    """
    refusal = shortage(fault)
    if refusal is not None:
        return agent_problem(request, refusal)
    agent: Agent = request.app.state.agent
    agent.log.error(
        "request broke", method=request.method, path=request.url.path, reason=repr(fault)
    )
    return _response(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The agent failed in a way that it should not; its log holds the reason.",
    )


_NO_CHOICE = "Invalid enum value"

_RETRY_SECONDS = "5"
"""After how long it is worth to try again where the failure itself does not say it."""

_DETAILS = {
    HTTPStatus.NOT_FOUND: "There is nothing at this path. All calls are listed at /docs.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not take that method. See /docs.",
}


def _sentence(request: Request[Any, Any, Any], entry: Any) -> str:
    if not isinstance(entry, dict) or "message" not in entry:
        return str(entry)
    key, message = str(entry.get("key", "")), str(entry["message"])
    handler = request.scope.get("route_handler")
    # The framework tells of a handler's own names, which nobody else knows.
    for name, field in query_parameters(handler).items() if handler else ():
        if field.name == key:
            allowed = choices(field) if message.startswith(_NO_CHOICE) else ()
            said = f"{message}; it may be {', '.join(allowed)}" if allowed else message
            return f"{name}: {said}"
    return f"{key}: {message}" if key else message


def _response(
    request: Request[Any, Any, Any],
    status: HTTPStatus,
    detail: str,
    *,
    kind: str = "about:blank",
    errors: tuple[str | Finding, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response[Problem]:
    return _answer(_problem(request, status, detail, kind=kind, errors=errors), headers or {})


def _problem(
    request: Request[Any, Any, Any],
    status: HTTPStatus,
    detail: str,
    *,
    kind: str,
    errors: tuple[str | Finding, ...],
) -> Problem:
    request.scope["state"]["problem"] = kind.removeprefix(_OWN).replace("about:blank", "")
    return Problem(
        type=kind,
        title=status.phrase,
        status=status.value,
        detail=detail,
        instance=request.url.path,
        errors=errors,
    )


def _answer(problem: Problem, headers: Mapping[str, str]) -> Response[Problem]:
    told = dict(headers)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        told.setdefault("Retry-After", _RETRY_SECONDS)
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=told)
