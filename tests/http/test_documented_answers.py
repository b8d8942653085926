"""What the document shows of answers is what there could be."""

import re
from typing import Any

import msgspec
import pytest

from domain.container_stats import ContainerStats
from domain.usecases.container_stats import StatsList
from domain.usecases.system_pruning import SystemPruned
from entrypoints.http.docs import render_page
from entrypoints.http.events import EventView
from entrypoints.http.exec_requests import ExecResult
from entrypoints.http.published_document import EXAMPLES
from entrypoints.http.system_disk import DiskView
from tests.support.agents import agent_on_twins

pytestmark = pytest.mark.anyio

_ANSWERS = [
    ("get", "/api/v1/containers/{reference}/stats", "application/json", ContainerStats),
    ("get", "/api/v1/containers/{reference}/stats", "text/event-stream", ContainerStats),
    ("get", "/api/v1/containers/stats", "application/json", StatsList),
    ("get", "/api/v1/containers/stats", "application/x-ndjson", StatsList),
    ("get", "/api/v1/system/disk", "application/json", DiskView),
    ("post", "/api/v1/system/prune", "application/json", SystemPruned),
    ("get", "/api/v1/events", "text/event-stream", EventView),
    ("get", "/api/v1/events", "application/x-ndjson", EventView),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def document() -> Any:
    async with agent_on_twins() as world:
        return (await world.http.get("/openapi.json")).json()


@pytest.mark.parametrize(("method", "path", "form", "kind"), _ANSWERS)
async def test_an_example_is_such_an_answer_whole(
    document: Any, method: str, path: str, form: str, kind: type[Any]
) -> None:
    content = document["paths"][path][method]["responses"]["200"]["content"][form]
    (example,) = (one["value"] for one in content["examples"].values())
    if form == "text/event-stream":
        example = msgspec.json.decode(example["data"])

    answer = msgspec.convert(example, kind)

    assert msgspec.json.decode(msgspec.json.encode(answer)) == example


def _calls(document: Any) -> list[tuple[str, Any]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


_NAMED: list[type[Any]] = [*EXAMPLES, *(row[3] for row in _ANSWERS), ExecResult]
_KINDS = {kind.__name__: kind for kind in _NAMED}


_IN_PLACE = {f"{method.upper()} {path} 200": kind for method, path, _, kind in _ANSWERS}
"""Call → kind of answer, where the document describes it in place."""


def _answers(document: Any) -> list[tuple[str, str, Any]]:
    """Call, media type and content of each answer that is no problem."""
    return [
        (f"{call} {status}", form, content)
        for call, operation in _calls(document)
        for status, answer in operation["responses"].items()
        if status.startswith("2")
        for form, content in answer.get("content", {}).items()
    ]


def _kind(call: str, schema: Any) -> Any:
    """The kind that an answer is of, as Python knows it."""
    if "items" in schema:
        return list[_kind(call, schema["items"])]  # type: ignore[misc]
    reference = schema.get("$ref") or (schema.get("oneOf") or [{}])[0].get("$ref", "")
    named = _KINDS.get(reference.rpartition("/")[2])
    return named or _IN_PLACE[call]


async def test_every_json_answer_has_an_example_that_is_such_an_answer_whole(document: Any) -> None:
    answers = [one for one in _answers(document) if one[1] == "application/json"]
    for call, _, content in answers:
        examples = content.get("examples") or {}
        assert len(examples) == 1, call
        (example,) = (one["value"] for one in examples.values())

        answer = msgspec.convert(example, _kind(call, content["schema"]))

        assert msgspec.json.decode(msgspec.json.encode(answer)) == example, call
    assert len(answers) > 60


async def test_no_answer_shows_what_was_made_up_at_random(document: Any) -> None:
    for call, form, content in _answers(document):
        assert "examples" not in content["schema"], (call, form)


async def test_every_stream_has_an_example(document: Any) -> None:
    streams = [
        (call, form, content)
        for call, form, content in _answers(document)
        if form.startswith("text/") or form == "application/x-ndjson"
    ]

    assert [(call, form) for call, form, content in streams if not content.get("examples")] == []
    assert len(streams) > 8


async def test_the_calls_that_change_a_thing_show_how_it_is_then(document: Any) -> None:
    def told(method: str, path: str, status: str = "200") -> Any:
        answer = document["paths"][path][method]["responses"][status]
        return answer["content"]["application/json"]["examples"]["answer"]["value"]

    assert told("post", "/api/v1/containers/{reference}/pause")["state"]["status"] == "paused"
    assert told("post", "/api/v1/environments/{name}/reset", "202")["kind"] == "reset"
    assert told("delete", "/agent/containers/{name}")["status"] == "removed"


async def test_every_call_is_summed_up_in_the_first_sentence_of_what_it_says(document: Any) -> None:
    for call, operation in _calls(document):
        summary = operation["summary"]
        assert operation["description"].replace("\n", " ").startswith(summary), call
        assert " " in summary
        assert len(summary) <= 110, (call, summary)
        assert not summary.endswith("."), call


async def test_the_pages_show_what_a_caller_has_to_know() -> None:
    async with agent_on_twins() as world:
        page = (await world.http.get("/docs")).text

    assert '"cpu_percent": 12.5' in page
    assert "event: stats" in page
    assert "<h2>Who may call</h2>" in page
    assert page.index("<h2>WebSocket</h2>") < page.index("<h2>Calls</h2>")
    assert page.index('<h2 id="environments">') < page.index('<h2 id="containers">')
    assert "Labs: deployed from bundles" in page
    assert "websocat" in page
    assert "<code>dry_run</code>" in page
    assert "Default 500." in page
    assert "One of " in page
    assert "`" not in page.partition("<style>")[2].partition('id="schemas"')[0]


async def test_a_call_that_takes_a_body_says_what_comes_of_a_slow_or_large_one(
    document: Any,
) -> None:
    calls = [(call, o["responses"]) for call, o in _calls(document) if "requestBody" in o]

    assert [call for call, answers in calls if not {"408", "413"} <= set(answers)] == []
    assert len(calls) > 10


async def test_every_body_of_json_has_an_example(document: Any) -> None:
    forms = [
        (call, operation["requestBody"]["content"].get("application/json", {"example": {}}))
        for call, operation in _calls(document)
        if "requestBody" in operation
    ]

    assert [call for call, form in forms if "example" not in form] == []


async def test_a_change_that_needs_room_on_the_disk_says_that_there_may_be_none(
    document: Any,
) -> None:
    answers = {call: set(operation["responses"]) for call, operation in _calls(document)}
    path = "/api/v1/environments/{name}"

    for change in ("rebuild", "reset", "start", "restart"):
        assert "507" in answers[f"POST {path}/{change}"]
    assert "507" in answers["POST /agent/containers/{name}/restart"]
    assert {"502", "504", "507"} <= answers[f"DELETE {path}"]
    assert {"502", "504", "507"} <= answers["DELETE /agent/containers/{name}"]


async def test_words_of_the_document_are_no_html() -> None:
    page = render_page(
        {
            "info": {"title": "<b>", "version": "1", "description": "<script>a</script>"},
            "paths": {
                "/a": {
                    "get": {
                        "operationId": '"><b>',
                        "description": "`<i>`",
                        "responses": {"200": {"description": "<u>"}},
                    }
                }
            },
        }
    )

    assert not re.search(r"<script|<b>|<i>|<u>", page.replace("<b>GET</b>", ""))


async def test_fields_are_described_by_what_stands_below_them_in_the_code(document: Any) -> None:
    schemas = document["components"]["schemas"]
    create = document["paths"]["/api/v1/containers"]["post"]["requestBody"]["content"]
    asked = create["application/json"]["schema"]["properties"]

    assert schemas["DetailedState"]["properties"]["pid"]["description"].startswith("Of its first")
    assert schemas["CreatedContainer"]["properties"]["env"]["description"].startswith("Variables")
    assert asked["networks"]["description"].startswith("`none` for no network at all")
