"""The output of an environment's containers."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from domain.batches import made
from domain.containers import Container, LogLine
from domain.errors import AgentError, EnvironmentNotFound, RequestUnreadable
from domain.names import environment_name
from entrypoints.agent import Agent
from entrypoints.http import sse
from entrypoints.http.expiry import end_with_key
from entrypoints.http.moments import moment_or_ago
from entrypoints.http.parameters import (
    EnvironmentInPath,
    Follow,
    Since,
    Timestamps,
)
from entrypoints.http.request_headers import accepted
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]

_PLAIN = "text/plain"
_TEXT = f"{_PLAIN}; charset=utf-8"
_NDJSON = "application/x-ndjson"


@get(
    "/{name:str}/logs",
    media_type="text/plain",
    responses={
        200: ResponseSpec(str, description="Lines as they were printed.", media_type="text/plain"),
        **problems(401, 404, 422, 502, 503),
    },
)
async def read_logs(
    request: AnyRequest,
    name: EnvironmentInPath,
    service: Annotated[
        str | None, QueryParameter(description="Only containers of this service.")
    ] = None,
    tail: Annotated[
        int | None,
        QueryParameter(
            ge=0,
            le=100_000,
            description="How many of the last lines of each container to begin with; left out, "
            "every one.",
        ),
    ] = None,
    since: Since = None,
    follow: Follow = False,
    timestamps: Timestamps = False,
) -> Stream:
    """What all services print, in one stream sorted by time.

    `Accept` chooses the form: `text/plain`, `application/x-ndjson` or `text/event-stream`.
    `tail` lines of each container, `since` a moment or a time ago (`10m`); `follow=true` goes on.
    """
    agent = _agent(request)
    environment = environment_name(name)
    if await agent.environments.get(environment) is None:
        raise EnvironmentNotFound(environment)
    picture = await agent.inventory.require_engine()
    chosen = _chosen(picture.of_project(environment), service)
    form = _form(request)
    began = moment_or_ago(agent, since)
    if follow:
        end_with_key(request)
    return Stream(
        _lines(agent, chosen, tail, began, follow=follow, form=form, timestamps=timestamps),
        # The handler's own media type would win over this answer's.
        headers={**sse.HEADERS, "content-type": form},
    )


def _chosen(containers: Sequence[Container], service: str | None) -> Sequence[Container]:
    if service is None:
        return containers
    chosen = [container for container in containers if container.service == service]
    if not chosen:
        known = ", ".join(sorted({c.service for c in containers if c.service})) or "none"
        raise RequestUnreadable(
            f"There is no container of a service {service[:80]!r}.", hint=f"There is: {known}."
        )
    return chosen


def _form(request: AnyRequest) -> str:
    offered = (sse.MEDIA_TYPE, _NDJSON, _PLAIN)
    form = accepted(request.headers.getall("accept", []), offered, otherwise=_PLAIN)
    return _TEXT if form == _PLAIN else form


async def _lines(
    agent: Agent,
    containers: Sequence[Container],
    tail: int | None,
    since: datetime | None,
    *,
    follow: bool,
    form: str,
    timestamps: bool,
) -> AsyncIterator[bytes]:
    def written(batch: Sequence[LogLine]) -> bytes:
        return b"".join([_written(line, form, timestamps=timestamps) for line in batch])

    try:
        async with agent.logs.read(containers, tail=tail, since=since, follow=follow) as lines:
            while batch := await lines.next():
                yield made(batch, f"{form} {timestamps}", written)
    except AgentError as fault:
        # The answer has begun; all that can be done is to say why it ends.
        remark = LogLine(at=None, container="", service=None, stream="agent", text=fault.detail)
        yield _written(remark, form, timestamps=timestamps)
    if form == sse.MEDIA_TYPE:
        yield sse.event("end", {})


def _written(line: LogLine, form: str, *, timestamps: bool) -> bytes:
    if form == sse.MEDIA_TYPE:
        return sse.event("log", line)
    if form == _NDJSON:
        return msgspec.json.encode(line) + b"\n"
    stamp = f"{line.at.isoformat()} " if timestamps and line.at is not None else ""
    return f"{line.container or 'agent'} | {stamp}{line.text}\n".encode()


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent
