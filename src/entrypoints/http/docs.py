"""The OpenAPI document as one page of plain HTML: no scripts, nothing loaded from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
section{border-top:1px solid #ccc;padding:1rem 0}
h2{font-size:1.1rem;font-family:ui-monospace,monospace}h2 b{color:#06c}
pre,code{font:14px/1.4 ui-monospace,monospace;background:#f4f4f4}pre{padding:.6rem;overflow:auto}
table{border-collapse:collapse}td{padding:.15rem .8rem .15rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre,code{background:#262626}}
"""


def render_page(document: Json) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    return "".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            f"<p>{escape(info.get('description') or '')}</p>",
            "<p>The same as a document for programs: <code>/openapi.json</code></p>",
            *_contents(document),
            *_operations(document),
            *_schemas(document),
        )
    )


def _each_operation(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in sorted(document.get("paths", {}).items()):
        for method, operation in item.items():
            if isinstance(operation, dict):
                yield method.upper(), path, operation


def _contents(document: Json) -> Iterator[str]:
    yield "<ul>"
    for method, path, operation in _each_operation(document):
        target = escape(operation["operationId"])
        summary = escape(operation.get("summary") or "")
        yield f'<li><a href="#{target}"><code>{method} {escape(path)}</code></a> {summary}'
    yield "</ul>"


def _operations(document: Json) -> Iterator[str]:
    for method, path, operation in _each_operation(document):
        yield f'<section id="{escape(operation["operationId"])}">'
        yield f"<h2><b>{method}</b> {escape(path)}</h2>"
        yield f"<p>{escape(operation.get('description') or operation.get('summary') or '')}</p>"
        for line in _curls(method, path, operation):
            yield f"<pre>{escape(line)}</pre>"
        yield from _parameters(operation)
        yield from _fields(operation)
        yield "<table>"
        for status, response in sorted(operation.get("responses", {}).items()):
            yield f"<tr><td>{escape(status)}<td>{escape(response.get('description') or '')}"
            yield f"<td>{_schema_name(response)}"
        yield "</table>"
        yield from _answer(operation)
        yield "</section>"


def _parameters(operation: Json) -> Iterator[str]:
    """What goes into path, query and headers."""
    found = operation.get("parameters") or []
    if found:
        yield "<table>"
        for parameter in found:
            yield f"<tr><td><code>{escape(parameter['name'])}</code><td>{escape(parameter['in'])}"
            yield f"<td>{escape(parameter.get('description') or '')}"
        yield "</table>"


def _fields(operation: Json) -> Iterator[str]:
    """The fields of a JSON body."""
    content = (operation.get("requestBody") or {}).get("content", {})
    fields = content.get("application/json", {}).get("schema", {}).get("properties") or {}
    if fields:
        names = ", ".join(f"<code>{escape(name)}</code>" for name in fields)
        yield f"<p>Fields: {names}</p>"


def _curls(method: str, path: str, operation: Json) -> Iterator[str]:
    """A line to try for each kind of body."""
    parts = ["curl"]
    if method != "GET":
        parts.append(f"-X {method}")
    if operation.get("security"):
        parts.append('-H "X-Server-Key: $SERVER_KEY"')
    bodies = _bodies((operation.get("requestBody") or {}).get("content", {})) or [""]
    for body in bodies:
        yield " ".join([*parts, *([body] if body else []), f"http://localhost:8003{path}"])


def _bodies(content: Json) -> list[str]:
    bodies = []
    if "application/json" in content:
        example = content["application/json"].get("example")
        text = json.dumps(example, ensure_ascii=False) if example else "@body.json"
        bodies.append(f"-H 'Content-Type: application/json' --data '{text}'")
    if "multipart/form-data" in content:
        bodies.append("-F bundle=@lab.zip -F name=my-lab -F ttl=2h")
    if "application/zip" in content:
        bodies.append("--data-binary @lab.zip")
    return bodies


def _answer(operation: Json) -> Iterator[str]:
    """An example of the answer, in the first of its forms."""
    for response in operation.get("responses", {}).values():
        for content in response.get("content", {}).values():
            for example in (content.get("examples") or {}).values():
                text = json.dumps(example.get("value"), indent=2, ensure_ascii=False)
                yield f"<p>Answer:</p><pre>{escape(text)}</pre>"
                return


def _schema_name(response: Json) -> str:
    for content in response.get("content", {}).values():
        schema = content.get("schema", {})
        many = schema.get("items", {})
        name = str(schema.get("$ref", many.get("$ref", ""))).rpartition("/")[2]
        if name:
            link = f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
            return f"list of {link}" if many else link
    return ""


def _schemas(document: Json) -> Iterator[str]:
    yield "<section><h1>Bodies</h1></section>"
    for name, schema in sorted(document.get("components", {}).get("schemas", {}).items()):
        text = json.dumps(schema, indent=2, default=str)
        yield f'<section id="schema-{escape(name)}"><h2>{escape(name)}</h2>'
        yield f"<pre>{escape(text)}</pre></section>"
