"""What happens to containers."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from adapters.docker.streams import Answer, Feed, Streams
from domain.containers import PROJECT_LABEL, SERVICE_LABEL, ContainerAction, ContainerEvent
from domain.errors import EngineUnavailable

THREADS = 20

_BEGIN_SECONDS = 7.0

_ACTIONS = {action.value: action for action in ContainerAction}
_MAX_EVENT_BYTES = 1024 * 1024


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
        self, *, since: datetime | None = None
    ) -> AsyncIterator[AsyncIterator[ContainerEvent]]:
        """Events of all containers as they happen, those since a moment in the past first."""
        parameters = {"filters": json.dumps({"type": ["container"]})}
        if since is not None:
            parameters["since"] = f"{since.timestamp():.6f}"
        feed: Feed[ContainerEvent] = Feed(lossy=True)

        def pump(answer: Answer) -> None:
            rest = b""
            for piece in answer.pieces():
                *lines, rest = (rest + piece).split(b"\n")
                rest = rest[:_MAX_EVENT_BYTES]
                for event in _events(lines):
                    feed.put(event)

        answer = Answer(
            self._base_url, "/events", parameters, seconds=self._begin_seconds, endless=True
        )
        async with self._streams.open() as stream:
            await stream.start(answer, feed, pump)
            yield _until_it_ends(feed)


async def _until_it_ends(feed: Feed[ContainerEvent]) -> AsyncIterator[ContainerEvent]:
    while True:
        event, _ = await feed.next()
        if event is None:
            raise EngineUnavailable("The Docker Engine ended its events.")
        yield event


def _events(lines: list[bytes]) -> Iterator[ContainerEvent]:
    for line in lines:
        try:
            event = _event(json.loads(line)) if line.strip() else None
        except (ValueError, KeyError, TypeError):
            continue  # of a kind that this agent does not know
        if event is not None:
            yield event


def _event(row: Mapping[str, Any]) -> ContainerEvent | None:
    action, _, detail = str(row["Action"]).partition(":")
    known = _ACTIONS.get(action)
    if known is None:
        return None
    attributes = row["Actor"].get("Attributes") or {}
    exit_code = attributes.get("exitCode")
    return ContainerEvent(
        at=datetime.fromtimestamp(row["timeNano"] / 1e9, UTC),
        action=known,
        container=attributes.get("name", ""),
        container_id=row["Actor"]["ID"],
        project=attributes.get(PROJECT_LABEL),
        service=attributes.get(SERVICE_LABEL),
        exit_code=int(exit_code) if exit_code is not None else None,
        signal=attributes.get("signal"),
        health=detail.strip() or None,
    )
