"""What Compose would be busy with for minutes."""

import time
from typing import Any

import pytest

from domain.compose_burden import burdens, edges, too_many_paths


def chained(count: int) -> dict[str, Any]:
    """Services that all depend on all before them."""
    services = {f"s{i}": {"depends_on": [f"s{j}" for j in range(i)]} for i in range(count)}
    return {"services": services}


def test_what_labs_have_is_no_burden() -> None:
    document = {
        "services": {
            "web": {
                "ports": ["8080:80", "9000-9010:9000-9010"],
                "depends_on": {"db": None, "cache": None},
                "environment": {"A": "${A:-${B:-c}}"},
            },
            "cache": {"depends_on": ["db"], "network_mode": "service:db"},
            "db": None,
        }
    }

    assert list(burdens(document, file="f")) == []
    assert set(edges(document)) == {("web", "db"), ("web", "cache"), ("cache", "db")}
    assert too_many_paths(set(edges(document))) is None


@pytest.mark.parametrize(
    "services",
    [
        {f"s{n}": {} for n in range(101)},
        {"a": {"ports": ["1-65535:1-65535"]}},
        {"a": {"ports": [{"target": 1, "published": "1-1500"}]}},
        {"a": {"command": "${A:-" * 11 + "}" * 11}},
        {"a": {"x-k": [{"${A:-" * 11: None}]}},
    ],
)
def test_what_takes_long_is_a_burden(services: dict[str, Any]) -> None:
    assert len(list(burdens({"services": services}, file="f"))) == 1


def test_ways_from_service_to_service_are_counted_and_not_walked() -> None:
    began = time.perf_counter()

    assert too_many_paths(set(edges(chained(12)))) is None
    assert too_many_paths(set(edges(chained(100)))) is not None
    assert time.perf_counter() - began < 1


def test_a_circle_is_found() -> None:
    assert too_many_paths({("a", "b"), ("b", "c"), ("c", "a")}) is not None
