"""The OpenAPI document as it is given out: with summaries of calls and examples of answers."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from entrypoints.http import environment_examples, host_examples, sse, system_examples
from entrypoints.http.call_examples import CALL_EXAMPLES

EXAMPLES: Mapping[type[Any], Any] = {
    **host_examples.EXAMPLES,
    **environment_examples.EXAMPLES,
    **system_examples.EXAMPLES,
}
"""Kind of answer → one of it."""

_BY_SCHEMA = {f"#/components/schemas/{kind.__name__}": told for kind, told in EXAMPLES.items()}

_SENTENCE = re.compile(r"(.+?)[.:;](?:\s|$)", re.DOTALL)

_FORMS = {
    "application/x-ndjson": "A record in each line.",
    sse.MEDIA_TYPE: "Server-Sent Events; the last is `end`.",
}
"""Forms that an answer may have beside the one that its handler is known by."""


def published(document: dict[str, Any]) -> dict[str, Any]:
    """A generated document, with what the framework cannot know."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict):
                operation["summary"] = _summary(operation)
                for status, answer in operation.get("responses", {}).items():
                    _exemplify((method, path, status), answer)
    return document


def _summary(operation: Mapping[str, Any]) -> str:
    """The first sentence of what the call says of itself, to where it could end."""
    told = operation.get("description") or operation["summary"]
    found = _SENTENCE.match(told)
    return " ".join((found[1] if found else told).split())


def _exemplify(place: tuple[str, str, str], answer: dict[str, Any]) -> None:
    contents: dict[str, Any] = answer.get("content", {})
    for form, told in _FORMS.items():
        if (*place, form) in CALL_EXAMPLES:
            contents.setdefault(form, {"schema": {"type": "string", "description": told}})
    for form, content in contents.items():
        schema = content.get("schema", {})
        example = CALL_EXAMPLES.get((*place, form))
        if example is None:
            example = next(_known(schema), None)
        if example is not None:
            # The framework makes texts up at random, anew at each start.
            schema.pop("examples", None)
            content.setdefault("examples", {"answer": {"value": example}})


def _known(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Examples of what a schema is of: a kind, or a list of one."""
    if schema.get("$ref") in _BY_SCHEMA:
        yield _BY_SCHEMA[schema["$ref"]]
    many = schema.get("items", {}).get("$ref")
    if many in _BY_SCHEMA:
        yield [_BY_SCHEMA[many]]
