"""What happens on the host, of Docker's doing and the agent's: ``/api/v1/events``."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from litestar import Request, Router, get
from litestar.params import QueryParameter
from litestar.response import Stream

from domain.errors import NotAccepting
from domain.host_events import EventFilter, Happened, HostEvent, Source
from domain.usecases.journal import Lost, Told
from entrypoints.agent import Agent
from entrypoints.http import sse
from entrypoints.http.documented_answers import streams_of
from entrypoints.http.documented_headers import LAST_EVENT_ID
from entrypoints.http.expiry import end_with_key
from entrypoints.http.moments import moment_or_ago
from entrypoints.http.parameters import (
    Labels,
    Since,
    Until,
)
from entrypoints.http.problems import Problem, problem_of
from entrypoints.http.request_headers import accepted
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]

_NDJSON = "application/x-ndjson"

_STOPPING = NotAccepting(
    "The agent is stopping; things go on happening.",
    hint="Come back shortly, with the last id.",
    retry_after=10,
)


class EventView(Happened, frozen=True, kw_only=True):
    """One event."""

    event_id: str
    """For `Last-Event-ID`."""


class LostView(msgspec.Struct, frozen=True, kw_only=True):
    """Events that cannot be told any more, as a line of NDJSON."""

    event_id: str
    lost: Lost


_EXAMPLE = {
    "event_id": "649c2f5e3a1c0-17",
    "at": "2026-01-31T12:00:00Z",
    "source": "engine",
    "kind": "container",
    "action": "die",
    "id": "4f1c" * 16,
    "name": "user123-devlab-web-1",
    "environment": "user123-devlab",
    "text": "",
    "attributes": {"exitCode": "137", "image": "nginx:1.27", "name": "user123-devlab-web-1"},
}


@get(
    "/",
    operation_class=streams_of(EventView, _EXAMPLE, "message", (LAST_EVENT_ID,)),
    media_type=sse.MEDIA_TYPE,
    responses=problems(401, 422),
)
async def follow_events(
    request: AnyRequest,
    kind: Annotated[
        tuple[str, ...],
        QueryParameter(
            description="Only events of this kind: `container`, `image`, `network`, `volume`, or "
            "one of the agent. May come several times."
        ),
    ] = (),
    action: Annotated[
        tuple[str, ...],
        QueryParameter(
            description="Only this action, such as `start`, `die` or `health_status`. May come "
            "several times."
        ),
    ] = (),
    source: Annotated[
        tuple[Source, ...],
        QueryParameter(description="Only events of Docker (`engine`) or of the agent (`agent`)."),
    ] = (),
    environment: Annotated[
        str, QueryParameter(description="Only what concerns the environment of this name.")
    ] = "",
    container: Annotated[
        str,
        QueryParameter(
            description="Only what concerns this container: its name, or how its identifier begins."
        ),
    ] = "",
    label: Labels = (),
    since: Since = None,
    until: Until = None,
    follow: Annotated[
        bool, QueryParameter(description="`false` ends the stream with what has happened by now.")
    ] = True,
) -> Stream:
    """What happens on the host, as it happens: Docker's events and the agent's own.

    `kind`, `action`, `source` (`engine`, `agent`) and `label` (`key` or `key=value`) may come
    several times. `since` and `until` are moments, or so long ago (`10m`); without `since` the
    stream begins now. `follow=false` ends it with what has happened by now. Each event has an `id`:
    whoever comes back with it as `Last-Event-ID` misses nothing and gets nothing twice. Where that
    cannot be, as events are kept for a while only and not beyond the agent's life, an event `lost`
    says so before all others; so, too, for those who read too slowly. The last event is `end`, and
    before it comes a `problem` where it is the agent that stops.
    With `Accept: application/x-ndjson` they come as lines.
    """
    agent = _agent(request)
    wanted = EventFilter(
        sources=frozenset(source),
        kinds=frozenset(kind),
        actions=frozenset(action),
        environment=environment,
        container=container,
        labels=label,
        since=moment_or_ago(agent, since),
        until=moment_or_ago(agent, until),
    )
    ids = request.headers.getall("last-event-id", [])
    told = agent.journal.follow(wanted, after=ids[0] if len(ids) == 1 else "", go_on=follow)
    form = accepted(
        request.headers.getall("accept", []), (_NDJSON, sse.MEDIA_TYPE), otherwise=sse.MEDIA_TYPE
    )
    written = _events if form == sse.MEDIA_TYPE else _lines
    content = written(told, lambda: _farewell(request, follow=follow))
    if follow:
        end_with_key(request)
    return Stream(content, headers={**sse.HEADERS, "content-type": form})


def _farewell(request: AnyRequest, *, follow: bool) -> Problem | None:
    """Why the stream ends, where it would have gone on."""
    return (
        problem_of(request, _STOPPING) if follow and _agent(request).operations.stopping else None
    )


Farewell = Callable[[], Problem | None]


async def _events(told: AsyncGenerator[Told, None], farewell: Farewell) -> AsyncIterator[bytes]:
    begun = False
    async with aclosing(told) as items:
        async for one in items:
            identifier = f"id: {one.id}\n".encode()
            match one.item:
                case HostEvent() as event:
                    yield identifier + sse.event("message", _view(one.id, event))
                case Lost() as lost:
                    yield identifier + sse.event("lost", lost)
                case None:
                    # Readers take the number, so that they come back to this place.
                    yield identifier + (sse.KEEP_ALIVE if begun else b"\n")
            begun = True
    if (problem := farewell()) is not None:
        yield sse.event("problem", problem)
    yield sse.event("end", {})


async def _lines(told: AsyncGenerator[Told, None], farewell: Farewell) -> AsyncIterator[bytes]:
    async with aclosing(told) as items:
        async for one in items:
            match one.item:
                case HostEvent() as event:
                    yield msgspec.json.encode(_view(one.id, event)) + b"\n"
                case Lost() as lost:
                    yield msgspec.json.encode(LostView(event_id=one.id, lost=lost)) + b"\n"
    if (problem := farewell()) is not None:
        yield msgspec.json.encode(problem) + b"\n"


def _view(identifier: str, event: HostEvent) -> EventView:
    fields = msgspec.structs.asdict(event)
    del fields["number"]
    return EventView(event_id=identifier, **fields)


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/api/v1/events",
    route_handlers=[follow_events],
    tags=["events"],
    security=[{"serverKey": []}],
)
