"""What the document shows of answers is what there could be."""

from typing import Any

import msgspec
import pytest

from domain.container_stats import ContainerStats
from domain.usecases.container_stats import StatsList
from domain.usecases.system_pruning import SystemPruned
from entrypoints.http.answer_examples import EXAMPLES
from entrypoints.http.events import EventView
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


@pytest.mark.parametrize("kind", EXAMPLES)
async def test_a_known_kind_of_answer_has_a_whole_example_wherever_it_is_given(
    document: Any, kind: type[Any]
) -> None:
    example = EXAMPLES[kind]
    answers = [
        content
        for path in document["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for content in answer.get("content", {}).values()
        if content["schema"].get("$ref", "").endswith(f"/{kind.__name__}")
    ]

    answer = msgspec.convert(example, kind)

    assert msgspec.json.decode(msgspec.json.encode(answer)) == example
    assert answers
    assert all(content["examples"]["answer"]["value"] == example for content in answers)


async def test_the_pages_show_examples() -> None:
    async with agent_on_twins() as world:
        page = (await world.http.get("/docs")).text

    assert "&quot;cpu_percent&quot;: 12.5" in page


def _calls(document: Any) -> list[tuple[str, Any]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


async def test_every_parameter_says_what_it_does(document: Any) -> None:
    silent = [
        (call, parameter["name"])
        for call, operation in _calls(document)
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]

    assert silent == []
    assert len(_calls(document)) > 60
