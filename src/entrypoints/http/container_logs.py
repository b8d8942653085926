"""The output of one container, byte by byte or line by line."""

import math
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, TypeVar

import anyio
import msgspec
from litestar import Request, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from domain.batches import Batches, made
from domain.container_streams import OutputChoice, OutputLine
from domain.errors import AgentError, RequestUnreadable, ResourceConflict
from entrypoints.agent import Agent
from entrypoints.http import sse
from entrypoints.http.container_views import LogRecord, log_record
from entrypoints.http.expiry import end_with_key
from entrypoints.http.moments import moment_or_ago
from entrypoints.http.parameters import (
    ContainerReference,
    Follow,
    Since,
    Timestamps,
    Until,
)
from entrypoints.http.request_headers import accepted
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]

T = TypeVar("T")

Tail = Annotated[
    str | None,
    QueryParameter(
        pattern=r"^(?:all|1000000|[0-9]{1,6})$",
        description="How many of the last lines to begin with; left out, or `all`, every one.",
    ),
]

KEEP_ALIVE_SECONDS = 15.0
"""After how long a silence a follower is told that the stream still stands."""

_PLAIN = "text/plain"
_TEXT = f"{_PLAIN}; charset=utf-8"
_NDJSON = "application/x-ndjson"

# Whatever a container prints: no browser shall take it for a page.
_HEADERS = {**sse.HEADERS, "x-content-type-options": "nosniff"}


@get(
    "/{reference:str}/logs",
    media_type="text/plain",
    responses={
        200: ResponseSpec(
            str, description="What was printed, as it was printed.", media_type="text/plain"
        ),
        **problems(401, 404, 409, 422, 502, 503),
    },
)
async def read_container_logs(
    request: AnyRequest,
    reference: ContainerReference,
    stdout: Annotated[
        bool, QueryParameter(description="`false` leaves out what came on stdout.")
    ] = True,
    stderr: Annotated[
        bool, QueryParameter(description="`false` leaves out what came on stderr.")
    ] = True,
    tail: Tail = None,
    since: Since = None,
    until: Until = None,
    follow: Follow = False,
    timestamps: Timestamps = False,
) -> Stream:
    """What one container printed, and with `follow=true` what it prints until it ends.

    `Accept` chooses the form. `text/plain` is the very bytes of the chosen streams, with `follow`
    as fast as they are read. `application/x-ndjson` and `text/event-stream` are records, each with
    its stream, its moment, and `text`, or `base64` where it is no UTF-8; who follows too slowly
    loses the oldest, and is told how many. `since` and `until` are moments or times ago (`10m`);
    what is followed ends at `until`.
    """
    agent = _agent(request)
    last = moment_or_ago(agent, until)
    left = None if last is None else (last - agent.clock.now()).total_seconds()
    choice = OutputChoice(
        stdout=stdout,
        stderr=stderr,
        tail=None if tail in {None, "all"} else int(tail),
        since=moment_or_ago(agent, since),
        until=last,
        follow=follow and (left is None or left > 0),
    )
    if not stdout and not stderr:
        raise RequestUnreadable("Neither stdout nor stderr is asked for.")
    container = await agent.containers.access.find(reference)
    if container.log_config.type == "none":
        raise ResourceConflict(f"The Engine keeps no output of container {container.name!r}.")
    form = _form(request)
    if choice.follow:
        end_with_key(request)
    if form == _TEXT:
        content = _raw(agent, container.id, choice, timestamps=timestamps, left=left)
    else:
        content = _records(agent, container.id, choice, form, left=left)
    # The handler's own media type would win over this answer's.
    return Stream(content, headers={**_HEADERS, "content-type": form})


def _form(request: AnyRequest) -> str:
    offered = (sse.MEDIA_TYPE, _NDJSON, _PLAIN)
    form = accepted(request.headers.getall("accept", []), offered, otherwise=_PLAIN)
    return _TEXT if form == _PLAIN else form


async def _raw(
    agent: Agent,
    container_id: str,
    choice: OutputChoice,
    *,
    timestamps: bool,
    left: float | None,
) -> AsyncIterator[bytes]:
    output = agent.containers.output
    async with output.raw(container_id, choice, timestamps=timestamps) as pieces:
        async for piece in _ended(pieces, left if choice.follow else None):
            yield piece


async def _records(
    agent: Agent, container_id: str, choice: OutputChoice, form: str, *, left: float | None
) -> AsyncIterator[bytes]:
    def written(batch: Sequence[OutputLine]) -> bytes:
        return b"".join([_written(log_record(line), form) for line in batch])

    try:
        async with agent.containers.output.lines(container_id, choice) as lines:
            async for batch in _ended(_kept_alive(lines), left if choice.follow else None):
                if batch:
                    yield made(batch, form, written)
                elif form == sse.MEDIA_TYPE:
                    yield sse.KEEP_ALIVE
    except AgentError as fault:
        # The answer has begun; all that can be done is to say why it ends.
        yield _written(LogRecord(stream="agent", text=fault.detail), form)
    if choice.follow and agent.operations.stopping:
        # Else nobody could tell that from the end of the container.
        text = "The agent is stopping; the container may go on."
        yield _written(LogRecord(stream="agent", text=text), form)
    if form == sse.MEDIA_TYPE:
        yield sse.event("end", {})


async def _ended(items: AsyncIterator[T], left: float | None) -> AsyncIterator[T]:
    """The items of the next so many seconds, as the Engine itself waits for one more after that."""
    deadline = math.inf if left is None else anyio.current_time() + left
    while True:
        with anyio.CancelScope(deadline=deadline) as scope:
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
        if scope.cancelled_caught:
            return
        yield item


async def _kept_alive(lines: Batches[OutputLine]) -> AsyncIterator[Sequence[OutputLine]]:
    """The lines in batches, and none where there was none for a while."""
    while True:
        batch: Sequence[OutputLine] = ()
        with anyio.move_on_after(KEEP_ALIVE_SECONDS):
            batch = await lines.next()
            if not batch:
                return
        yield batch


def _written(record: LogRecord, form: str) -> bytes:
    if form == sse.MEDIA_TYPE:
        return sse.event("log", record)
    return msgspec.json.encode(record) + b"\n"


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent
