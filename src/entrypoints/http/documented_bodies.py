"""Bodies that handlers read by themselves, as the OpenAPI document shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from entrypoints.http.field_words import field_words, kinds_within

_REFERENCE = "#/"

_NAMES = {
    "anyOf": "any_of",
    "additionalProperties": "additional_properties",
    "minimum": "minimum",
    "maximum": "maximum",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
    "enum": "enum",
    "required": "required",
    "description": "description",
    "default": "default",
}
"""Words of JSON Schema → what Litestar calls them."""


def takes_json(kind: type[Any], example: Mapping[str, Any]) -> type[Operation]:
    """What documents that a call takes a JSON body of a kind."""
    body = RequestBody(
        required=True,
        content={"application/json": OpenAPIMediaType(schema=schema_of(kind), example=example)},
    )

    @dataclass
    class JsonOperation(Operation):
        def __post_init__(self) -> None:
            self.request_body = body

    return JsonOperation


def takes_bytes(media_types: Sequence[str], *headers: Parameter) -> type[Operation]:
    """What documents that a call takes its body as it comes.

    Args:
        media_types: what it may be.
        headers: that are read with it.
    """
    schema = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
    content = {kind: OpenAPIMediaType(schema=schema) for kind in media_types}

    @dataclass
    class BytesOperation(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=content, required=True)
            self.parameters = [*(self.parameters or []), *headers]

    return BytesOperation


def schema_of(kind: type[Any]) -> Schema:
    """A kind of body, described in place."""
    (schema,), components = msgspec.json.schema_components((kind,), ref_template="#/{name}")
    for one in kinds_within(kind):
        describe_fields(components.get(one.__name__, {}), field_words(one))
    return _schema(schema, components)


def describe_fields(schema: Mapping[str, Any], words: Mapping[str, str]) -> None:
    """Puts words to the fields of a schema that has none for them."""
    for name, field in (schema.get("properties") or {}).items():
        if name in words:
            field.setdefault("description", words[name])


def _schema(node: Any, components: Mapping[str, Any]) -> Schema:
    if reference := node.get("$ref"):
        node = {**components[reference.removeprefix(_REFERENCE)], **node}
    values: dict[str, Any] = {
        ours: node[theirs] for theirs, ours in _NAMES.items() if theirs in node
    }
    if isinstance(values.get("default"), dict | list):
        # The framework wants them to be hashed, and nothing is what they say.
        del values["default"]
    if "type" in node:
        values["type"] = OpenAPIType(node["type"])
    if "anyOf" in node:
        values["any_of"] = [_schema(one, components) for one in node["anyOf"]]
    if "properties" in node:
        values["properties"] = {
            name: _schema(one, components) for name, one in node["properties"].items()
        }
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), Mapping):
            values[_NAMES.get(name, name)] = _schema(node[name], components)
    return Schema(**values)
