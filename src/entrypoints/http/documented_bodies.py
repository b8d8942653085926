"""JSON bodies that handlers read by themselves, as the OpenAPI document shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

_PLAIN = ("title", "description", "default", "enum", "pattern", "minimum", "maximum", "required")


def json_body(kind: type[msgspec.Struct], example: Mapping[str, Any]) -> type[Operation]:
    """An operation whose body is JSON of a kind.

    Args:
        kind: what the body is read into; its fields' docstrings are for those who read the code.
        example: such a body.
    """
    schema = _schema(msgspec.json.schema(kind))
    media = OpenAPIMediaType(schema=schema, example=dict(example))

    @dataclass
    class BodyOperation(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(required=True, content={"application/json": media})

    return BodyOperation


def _schema(document: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> Schema:
    """JSON Schema, as msgspec writes it, in Litestar's words."""
    known = document.get("$defs", known or {})
    if reference := document.get("$ref"):
        return _schema(known[reference.rpartition("/")[2]], known)
    schema = Schema(**{key: document[key] for key in _PLAIN if key in document})
    if "type" in document:
        schema.type = OpenAPIType(document["type"])
    if "properties" in document:
        schema.properties = {k: _schema(v, known) for k, v in document["properties"].items()}
    if "items" in document:
        schema.items = _schema(document["items"], known)
    if "anyOf" in document:
        schema.any_of = [_schema(choice, known) for choice in document["anyOf"]]
    others = document.get("additionalProperties")
    if others is not None:
        schema.additional_properties = others if others is False else _schema(others, known)
    return schema
