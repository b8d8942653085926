"""The OpenAPI document as one page of plain HTML: no scripts, nothing loaded from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from entrypoints.http.docs_calls import call_section, field_table, prose

Json = Mapping[str, Any]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
section{border-top:1px solid #ccc;padding:1rem 0}
h2{margin-top:2.5rem}h3{font:1.05rem ui-monospace,monospace;margin:.4rem 0}h3 b,li b{color:#06c}
h4{margin:1rem 0 .3rem}nav ul{list-style:none;padding:0}nav a{text-decoration:none}
nav h3{font:600 1rem system-ui,sans-serif;margin:1.2rem 0 .2rem}nav li{padding-left:1rem}
pre,code{font:14px/1.4 ui-monospace,monospace;background:#f4f4f4}pre{padding:.6rem;overflow:auto}
table{border-collapse:collapse;width:100%}td{padding:.2rem .8rem .2rem 0;vertical-align:top}
td:first-child{white-space:nowrap}tr+tr td{border-top:1px solid #eee}small{color:#666}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre,code{background:#262626}
tr+tr td{border-color:#333}section{border-color:#444}small{color:#999}a,h3 b,li b{color:#6af}}
"""


def render_page(document: Json) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    groups = list(_groups(document))
    return "".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            prose(info.get("description") or ""),
            "<p>The same as a document for programs: <code>/openapi.json</code></p>",
            *_contents(groups),
            *_calls(document, groups),
            *_schemas(document),
        )
    )


Call = tuple[str, str, Json]
"""Method, path and operation."""

Group = tuple[str, str, list[Call]]
"""Name and description of a tag, and its calls."""


def _groups(document: Json) -> Iterator[Group]:
    calls: dict[str, list[Call]] = {tag["name"]: [] for tag in document.get("tags") or []}
    for path, item in sorted(document.get("paths", {}).items()):
        for method, operation in item.items():
            if isinstance(operation, dict):
                tag = (operation.get("tags") or ["other"])[0]
                calls.setdefault(tag, []).append((method.upper(), path, operation))
    told = {tag["name"]: tag.get("description") or "" for tag in document.get("tags") or []}
    for name, found in calls.items():
        yield name, told.get(name, ""), found


def _contents(groups: list[Group]) -> Iterator[str]:
    yield "<nav><h2>Calls</h2>"
    for name, description, calls in groups:
        yield f'<h3><a href="#{escape(name)}">{escape(name)}</a></h3>{prose(description)}<ul>'
        for method, path, operation in calls:
            target = escape(operation["operationId"])
            summary = prose(operation.get("summary") or "", inline=True)
            yield f'<li><a href="#{target}"><code><b>{method}</b> {escape(path)}</code></a> '
            yield f"{summary}"
        yield "</ul>"
    yield "</nav>"


def _calls(document: Json, groups: list[Group]) -> Iterator[str]:
    schemas = document.get("components", {}).get("schemas", {})
    for name, description, calls in groups:
        yield f'<h2 id="{escape(name)}">{escape(name.capitalize())}</h2>{prose(description)}'
        for call in calls:
            yield from call_section(*call, schemas)


def _schemas(document: Json) -> Iterator[str]:
    yield '<h2 id="schemas">Kinds of answers and their parts</h2>'
    schemas = document.get("components", {}).get("schemas", {})
    for name, schema in sorted(schemas.items()):
        text = json.dumps(schema, indent=2, default=str, ensure_ascii=False)
        yield f'<section id="schema-{escape(name)}"><h3>{escape(name)}</h3>'
        yield prose(schema.get("description") or "")
        yield from field_table(schema, schemas)
        yield f"<details><summary>JSON Schema</summary><pre>{escape(text)}</pre></details>"
        yield "</section>"
