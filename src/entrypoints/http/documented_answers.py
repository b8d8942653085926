"""Answers as the OpenAPI document shows them: with an example, and in every form they come in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIType

from entrypoints.http import sse
from entrypoints.http.documented_bodies import schema_of


def answers_with(
    kind: type[Any],
    example: Mapping[str, Any],
    *,
    streams: Sequence[str] = (),
    headers: Sequence[Parameter] = (),
) -> type[Operation]:
    """What documents an answer of a kind by an example.

    Args:
        kind: of the answer.
        example: of it.
        streams: media types of streams that it may come as instead.
        headers: that the call reads by itself.
    """
    content = {
        "application/json": OpenAPIMediaType(
            schema=schema_of(kind), examples={"answer": Example(value=example)}
        ),
        **{
            form: OpenAPIMediaType(
                schema=Schema(type=OpenAPIType.STRING, description="The same, again and again.")
            )
            for form in streams
        },
    }

    return _operation(content, headers)


def streams_of(
    kind: type[Any], example: Mapping[str, Any], events: str, *, headers: Sequence[Parameter] = ()
) -> type[Operation]:
    """What documents a stream by examples: of Server-Sent Events, or of lines of a kind.

    Args:
        kind: of each line.
        example: of a line.
        events: some Server-Sent Events.
        headers: that the call reads by itself.
    """
    text = Schema(type=OpenAPIType.STRING, description="Server-Sent Events.")
    content = {
        sse.MEDIA_TYPE: OpenAPIMediaType(schema=text, examples={"events": Example(value=events)}),
        "application/x-ndjson": OpenAPIMediaType(
            schema=schema_of(kind), examples={"line": Example(value=example)}
        ),
    }
    return _operation(content, headers)


def _operation(
    content: Mapping[str, OpenAPIMediaType], headers: Sequence[Parameter]
) -> type[Operation]:
    @dataclass
    class AnsweringOperation(Operation):
        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *headers]
            answer = (self.responses or {}).get("200")
            if isinstance(answer, OpenAPIResponse):
                answer.content = dict(content)

    return AnsweringOperation
