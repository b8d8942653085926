"""What happens on the Engine."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from adapters.docker.streams import Answer, Feed, Streams
from domain.engine_events import EngineEvent, Gap
from domain.errors import EngineUnavailable

THREADS = 4
"""How many streams of events are read at once; the agent needs one."""

_BEGIN_SECONDS = 7.0

_MAX_EVENT_BYTES = 1024 * 1024

# exec_create, exec_start and exec_die, which each run of a health check brings.
_EXECUTION = "exec_"


class _Actor(msgspec.Struct, rename={"id": "ID", "attributes": "Attributes"}):
    id: str = ""
    attributes: Mapping[str, str] | None = None


class _Row(
    msgspec.Struct,
    rename={"kind": "Type", "action": "Action", "actor": "Actor", "nanoseconds": "timeNano"},
):
    """An event as the Engine writes it."""

    kind: str
    action: str
    actor: _Actor
    nanoseconds: int


_ROWS = msgspec.json.Decoder(_Row)


class DockerEvents:
    """Follows the Engine's events.

    Args:
        base_url: address of the Engine.
        begin_seconds: how long the Engine may take to begin.
    """

    def __init__(self, base_url: str, *, begin_seconds: float = _BEGIN_SECONDS) -> None:
        self._base_url = base_url
        self._begin_seconds = begin_seconds
        self._streams = Streams(THREADS, wait_seconds=begin_seconds)

    @asynccontextmanager
    async def follow(
        self, *, since: int | None = None
    ) -> AsyncIterator[AsyncIterator[EngineEvent | Gap]]:
        """Events as they happen."""
        parameters = {} if since is None else {"since": f"{since // 10**9}.{since % 10**9:09d}"}
        feed: Feed[EngineEvent | Gap] = Feed(lossy=True)

        def pump(answer: Answer) -> None:
            rest = b""
            for piece in answer.pieces():
                *lines, rest = (rest + piece).split(b"\n")
                rest = rest[:_MAX_EVENT_BYTES]
                for event in _events(lines):
                    feed.put(event)

        answer = Answer(
            self._base_url,
            "/events",
            parameters,
            seconds=self._begin_seconds,
            endless=True,
            begun=lambda: feed.put(Gap()),
        )
        async with self._streams.open() as stream:
            await stream.start(answer, feed, pump)
            yield _until_it_ends(feed)


async def _until_it_ends(feed: Feed[EngineEvent | Gap]) -> AsyncIterator[EngineEvent | Gap]:
    while True:
        event, missed = await feed.next()
        if missed:
            yield Gap(missed=missed)
        if event is None:
            raise EngineUnavailable("The Docker Engine ended its events.")
        yield event


def _events(lines: list[bytes]) -> Iterator[EngineEvent]:
    for line in lines:
        try:
            row = _ROWS.decode(line) if line.strip() else None
        except (msgspec.ValidationError, msgspec.DecodeError):
            continue  # of a kind that this agent does not know
        if row is not None and not row.action.startswith(_EXECUTION):
            yield EngineEvent(
                nanoseconds=row.nanoseconds,
                kind=row.kind,
                action=row.action,
                id=row.actor.id,
                attributes=row.actor.attributes or {},
            )
