"""Answers as the OpenAPI document shows them: with an example, and in every form they come in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    Reference,
)

from entrypoints.http import sse
from entrypoints.http.documented_bodies import schema_of


def answers_with(
    kind: type[Any], example: Mapping[str, Any], *, streams: bool = False
) -> type[Operation]:
    """What documents an answer of a kind by an example.

    Args:
        kind: of the answer.
        example: of it.
        streams: it may come again and again, too: as Server-Sent Events or lines.
    """
    content = {"application/json": _json(kind, example)}
    if streams:
        content |= _streams(kind, example, "stats")
    return _operation(content, ())


def streams_of(
    kind: type[Any], example: Mapping[str, Any], event: str, headers: Sequence[Parameter]
) -> type[Operation]:
    """What documents a stream by examples: of Server-Sent Events, or of lines.

    Args:
        kind: of each line, and of each event's data.
        example: of a line.
        event: the kind of such an event.
        headers: that the call reads by itself.
    """
    return _operation(_streams(kind, example, event), headers)


def _streams(
    kind: type[Any], example: Mapping[str, Any], event: str
) -> dict[str, OpenAPIMediaType]:
    told = {"event": event, "data": msgspec.json.encode(example).decode()}
    return {
        sse.MEDIA_TYPE: _json(sse.ServerSentEvent, told),
        "application/x-ndjson": _json(kind, example),
    }


def _json(kind: type[Any], example: Mapping[str, Any]) -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=schema_of(kind), examples={"answer": Example(value=example)})


def _operation(
    content: Mapping[str, OpenAPIMediaType], headers: Sequence[Parameter]
) -> type[Operation]:
    @dataclass
    class AnsweringOperation(Operation):
        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *headers]
            answer = (self.responses or {}).get("200")
            if isinstance(answer, OpenAPIResponse):
                answer.content = {**content, **_named(answer, content)}

    return AnsweringOperation


def _named(
    answer: OpenAPIResponse, content: Mapping[str, OpenAPIMediaType]
) -> Mapping[str, OpenAPIMediaType]:
    """The same, with kinds that stand in the document under their names."""
    found = {}
    for form, told in (answer.content or {}).items():
        if form in content and isinstance(told.schema, Reference):
            found[form] = replace(content[form], schema=told.schema)
    return found
