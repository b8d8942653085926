"""The OpenAPI document as it is given out: with summaries of calls and examples of answers."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from entrypoints.http import environment_examples, host_examples, sse, system_examples
from entrypoints.http.call_examples import CALL_EXAMPLES
from entrypoints.http.documented_bodies import describe_fields
from entrypoints.http.field_words import field_words, kinds_within
from entrypoints.http.problems import Problem

EXAMPLES: Mapping[type[Any], Any] = {
    **host_examples.EXAMPLES,
    **environment_examples.EXAMPLES,
    **system_examples.EXAMPLES,
}
"""Kind of answer → one of it."""

_BY_SCHEMA = {f"#/components/schemas/{kind.__name__}": told for kind, told in EXAMPLES.items()}

_SENTENCE = re.compile(r"(.+?)[.:;](?:\s|$)", re.DOTALL)

_DONE = {
    "201": "It is made.",
    "202": "It is under way; `Location` says where to look for it.",
    "204": "Done; there is nothing to tell.",
}
"""What an answer means where nothing else is said of it."""

_FORMS = {
    "application/x-ndjson": "A record in each line.",
    sse.MEDIA_TYPE: "Server-Sent Events; the last is `end`.",
}
"""Forms that an answer may have beside the one that its handler is known by."""


def published(document: dict[str, Any]) -> dict[str, Any]:
    """A generated document, with what the framework cannot know; reads files the first time."""
    schemas = document.get("components", {}).get("schemas", {})
    for name, words in _words().items():
        describe_fields(schemas.get(name, {}), words)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict):
                operation["summary"] = _summary(operation)
                answers = operation.get("responses", {})
                _correct(answers)
                for status, answer in answers.items():
                    _exemplify((method, path, status), answer)
    return document


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    """Name of a schema → what its fields mean."""
    kinds = set[type[Any]]().union(*map(kinds_within, (*EXAMPLES, Problem)))
    return {kind.__name__: field_words(kind) for kind in kinds}


def _correct(answers: dict[str, Any]) -> None:
    """Takes away what the framework believes of answers, and is not so."""
    if "application/json" in answers.get("400", {}).get("content", {}):
        # It would answer what cannot be read with 400; that is 422 here, with a problem.
        del answers["400"]
    for status, answer in answers.items():
        if answer.get("description") in {HTTPStatus(int(status)).description, "Stream Response"}:
            answer["description"] = _DONE.get(status, "Done.")


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
