"""What containers use: counters and rates, once or as they change."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.response import Stream

from domain.container_stats import ContainerStats
from domain.errors import AgentError, NotAccepting
from domain.usecases.container_stats import StatsList
from entrypoints.agent import Agent
from entrypoints.http import sse
from entrypoints.http.documented_answers import answers_with
from entrypoints.http.expiry import end_with_key
from entrypoints.http.parameters import (
    ContainerReference,
    Follow,
    Interval,
    OfEnvironment,
)
from entrypoints.http.problems import problem_of
from entrypoints.http.request_headers import accepted
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]


_NDJSON = "application/x-ndjson"
_STOPPING = "The agent is stopping; the container may go on."

EXAMPLE = {
    "at": "2026-01-31T12:00:00Z",
    "id": "4f1c" * 16,
    "name": "web-101",
    "cpu_percent": 12.5,
    "interval_seconds": 1.0,
    "cpu_seconds": 83.2,
    "memory_bytes": 52_428_800,
    "memory_limit_bytes": 268_435_456,
    "memory_percent": 19.53,
    "network_received_bytes": 1_048_576,
    "network_sent_bytes": 524_288,
    "block_read_bytes": 8_192,
    "block_written_bytes": 4_096,
    "pids": 5,
}


@get(
    "/{reference:str}/stats",
    operation_class=answers_with(ContainerStats, EXAMPLE, streams=True),
    responses=problems(401, 404, 409, 422, 502, 503),
)
async def container_stats(
    request: AnyRequest,
    reference: ContainerReference,
    follow: Follow = False,
    interval: Interval = 1,
) -> Response[ContainerStats] | Stream:
    """What a container that runs uses: CPU, memory, network, disks and processes.

    The numbers are those of `docker stats`: `cpu_percent` is of one core, memory is without the
    files' pages that the kernel can take back at once. CPU is of the time since the container was
    last read, if that is half a second ago or up to ten, else of half a second that the call waits.
    `follow=true` tells it every `interval` seconds until the container ends, as Server-Sent Events
    `stats` and at last `end`, or with `Accept: application/x-ndjson` as lines; where the agent
    stops, a `problem` says so.
    """
    agent = _agent(request)
    stats = agent.containers.stats
    container = await stats.running(reference)
    if follow:
        return _stream(request, stats.follow(container, interval))
    return Response(await stats.once(container))


@get(
    "/stats",
    operation_class=answers_with(
        StatsList,
        {"containers": [EXAMPLE], "unread": 0},
        streams=True,
    ),
    responses=problems(401, 422, 502, 503),
)
async def all_container_stats(
    request: AnyRequest,
    environment: OfEnvironment = "",
    follow: Follow = False,
    interval: Interval = 1,
) -> Response[StatsList] | Stream:
    """What all containers use that run, or those of an `environment`; otherwise as for one.

    A container that is called `stats` is named by its identifier.
    """
    stats = _agent(request).containers.stats
    if follow:
        # Else what is wrong could only be told in the midst of an answer.
        await stats.running_of(environment)
        return _stream(request, stats.follow_all(interval, environment))
    return Response(await stats.of_all(environment))


def _stream(request: AnyRequest, items: AsyncGenerator[ContainerStats | StatsList, None]) -> Stream:
    form = accepted(
        request.headers.getall("accept", []), (_NDJSON, sse.MEDIA_TYPE), otherwise=sse.MEDIA_TYPE
    )
    headers = {**sse.HEADERS, "content-type": form}
    end_with_key(request)
    return Stream(_written(request, items, form), headers=headers)


async def _written(
    request: AnyRequest, items: AsyncGenerator[ContainerStats | StatsList, None], form: str
) -> AsyncIterator[bytes]:
    def told(kind: str, data: Any) -> bytes:
        return (
            sse.event(kind, data) if form == sse.MEDIA_TYPE else msgspec.json.encode(data) + b"\n"
        )

    try:
        async with aclosing(items):
            async for item in items:
                yield told("stats", item)
        if _agent(request).operations.stopping:
            # Else nobody could tell that from the end of the container.
            raise NotAccepting(_STOPPING, hint="Follow it again shortly.", retry_after=10)
    except AgentError as fault:
        # The answer has begun; all that can be done is to say why it ends.
        yield told("problem", problem_of(request, fault))
    if form == sse.MEDIA_TYPE:
        yield sse.event("end", {})


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent
