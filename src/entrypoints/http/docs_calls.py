"""One call of the OpenAPI document as a section of the page."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

_CODE = re.compile(r"`([^`]+)`")
_EVENTS = "text/event-stream"
_LONGEST_CHOICE = 200


def prose(text: str, *, inline: bool = False) -> str:
    """Words as HTML: with code, and where they are not ``inline`` paragraphs and headings."""
    coded = _CODE.sub(r"<code>\1</code>", escape(text, quote=False))
    if inline or not coded:
        return coded
    parts = coded.split("\n\n")
    return "".join(
        f"<h2>{part[3:]}</h2>" if part.startswith("## ") else f"<p>{part}</p>" for part in parts
    )


def call_section(method: str, path: str, operation: Json, schemas: Json) -> Iterator[str]:
    """All about one call.

    Args:
        method: in capitals.
        path: with what is to be filled in.
        operation: as the document has it.
        schemas: kinds that it refers to, by name.
    """
    yield f'<section id="{escape(operation["operationId"])}">'
    yield f"<h3><b>{method}</b> {escape(path)}</h3>"
    yield prose(operation.get("description") or operation.get("summary") or "")
    for line in _lines_to_try(method, path, operation):
        yield f"<pre>{escape(line, quote=False)}</pre>"
    yield from _parameters(operation, schemas)
    yield from _fields(operation, schemas)
    yield "<h4>Answers</h4><table>"
    for status, response in sorted(operation.get("responses", {}).items()):
        yield f"<tr><td>{escape(status)}<td>{prose(response.get('description') or '', inline=True)}"
        yield f"<td>{_kinds(response)}"
    yield "</table>"
    yield from _examples(operation)
    yield "</section>"


def _parameters(operation: Json, schemas: Json) -> Iterator[str]:
    """What goes into path, query and headers."""
    found = operation.get("parameters") or []
    if found:
        yield "<h4>Parameters</h4><table>"
        for parameter in found:
            place = "required" if parameter.get("required") else parameter["in"]
            bounds = _bounds(parameter.get("schema") or {}, schemas)
            told = prose(parameter.get("description") or "", inline=True)
            yield f"<tr><td><code>{escape(parameter['name'])}</code> <small>{place}</small>"
            yield f"<td>{told} <small>{escape(bounds, quote=False)}</small>"
        yield "</table>"


def _bounds(schema: Json, schemas: Json) -> str:
    """What a value may be, and what it is where nobody says."""
    choices = _choices(schema, schemas)
    told = [f"One of {', '.join(choices)}."] if choices else []
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        told.append(f"From {least:g} to {most:g}.")
    default = schema.get("default")
    if default not in (None, "", [], ()):
        told.append(f"Default {default if isinstance(default, str) else json.dumps(default)}.")
    return " ".join(told)


def _choices(schema: Json, schemas: Json) -> list[str]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    for one in (schema, schemas.get(name, {}), schema.get("items") or {}):
        if "enum" in one:
            return [str(choice) for choice in one["enum"] if choice is not None]
        if one is not schema and "$ref" in one:
            return _choices(one, schemas)
    for one in schema.get("oneOf") or schema.get("anyOf") or ():
        if found := _choices(one, schemas):
            return found
    return []


def _fields(operation: Json, schemas: Json) -> Iterator[str]:
    """The fields of a JSON body."""
    body = operation.get("requestBody") or {}
    schema = body.get("content", {}).get("application/json", {}).get("schema", {})
    if schema.get("properties"):
        yield "<h4>Fields of the body</h4>"
        yield from field_table(schema, schemas)


def field_table(schema: Json, schemas: Json) -> Iterator[str]:
    """The fields of a kind, where it has any."""
    fields = schema.get("properties") or {}
    if fields:
        yield "<table>"
        for name, field in fields.items():
            required = " <small>required</small>" if name in (schema.get("required") or ()) else ""
            told = prose(field.get("description") or "", inline=True)
            bounds = escape(_bounds(field, schemas)[:_LONGEST_CHOICE], quote=False)
            yield f"<tr><td><code>{escape(name)}</code>{required}<td>{told} <small>{bounds}</small>"
        yield "</table>"


def _lines_to_try(method: str, path: str, operation: Json) -> Iterator[str]:
    """A line for each kind of body, and one that follows what can be followed."""
    key = ["-H", '"X-Server-Key: $SERVER_KEY"'] if operation.get("security") else []
    if "101" in operation.get("responses", {}):
        yield " ".join(["websocat", "--binary", *key, f"ws://localhost:8003{path}"])
        return
    start = ["curl", *([] if method == "GET" else ["-X", method]), *key]
    address = _address(path, operation)
    content = (operation.get("requestBody") or {}).get("content", {})
    for body in _bodies(content) or [""]:
        yield " ".join([*start, *([body] if body else []), address])
    if _streams(operation):
        follow = "follow" if "follow" in _names(operation) else ""
        accept = f"-N -H 'Accept: {_EVENTS}'"
        yield " ".join([*start, accept, *_bodies(content), _address(path, operation, follow)])


def _names(operation: Json) -> set[str]:
    return {parameter["name"] for parameter in operation.get("parameters") or []}


def _streams(operation: Json) -> bool:
    """Whether it can be followed, beside being asked once."""
    forms = operation.get("responses", {}).get("200", {}).get("content", {})
    return _EVENTS in forms


def _address(path: str, operation: Json, follow: str = "") -> str:
    needed = [
        f"{parameter['name']}=…"
        for parameter in operation.get("parameters") or []
        if parameter["in"] == "query" and parameter.get("required")
    ]
    query = "&".join([*needed, *([f"{follow}=true"] if follow else [])])
    address = f"http://localhost:8003{path}"
    return f"'{address}?{query}'" if query else address


def _bodies(content: Json) -> list[str]:
    bodies = []
    if "application/json" in content:
        example = content["application/json"].get("example")
        text = json.dumps(example, ensure_ascii=False) if example else "@body.json"
        bodies.append(f"-H 'Content-Type: application/json' --data {shlex.quote(text)}")
    if "multipart/form-data" in content:
        bodies.append("-F bundle=@lab.zip -F name=my-lab -F ttl=2h")
    if "application/zip" in content:
        bodies.append("--data-binary @lab.zip")
    elif "application/x-tar" in content:
        bodies.append("--data-binary @archive.tar")
    return bodies


def _examples(operation: Json) -> Iterator[str]:
    """An example of each form of each answer."""
    for status, response in sorted(operation.get("responses", {}).items()):
        for form, content in response.get("content", {}).items():
            for example in (content.get("examples") or {}).values():
                yield f"<p><small>{escape(status)}, <code>{escape(form)}</code></small></p>"
                yield f"<pre>{escape(_shown(form, example.get('value')), quote=False)}</pre>"


def _shown(form: str, value: Any) -> str:
    if isinstance(value, str):
        return value.rstrip("\n")
    if form == _EVENTS and isinstance(value, Mapping):
        return f"event: {value['event']}\ndata: {value['data']}"
    return json.dumps(value, indent=None if "ndjson" in form else 2, ensure_ascii=False)


def _kinds(response: Json) -> str:
    """Which kinds an answer is of, with links to them."""
    for content in response.get("content", {}).values():
        schema = content.get("schema", {})
        many = schema.get("items") or {}
        kinds = [schema, many, *(schema.get("oneOf") or ())]
        names = [str(kind.get("$ref", "")).rpartition("/")[2] for kind in kinds]
        links = [f'<a href="#schema-{escape(name)}">{escape(name)}</a>' for name in names if name]
        if links:
            return ("list of " if many else "") + " or ".join(links)
    return ""
