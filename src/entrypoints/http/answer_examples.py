"""Examples of answers, for the OpenAPI document and its pages."""

from collections.abc import Iterator, Mapping
from typing import Any

from domain.usecases.network_pruning import PrunedNetworks
from domain.usecases.volume_pruning import PrunedVolumes
from entrypoints.http.container_views import ContainerListView
from entrypoints.http.networks import NetworkDetailsView, NetworkList
from entrypoints.http.volumes import VolumeList, VolumeView

_CONTAINER = {
    "id": "dbef24706f09252ee1eaf40713a3caa81634fbdb727117cb92005716923b7528",
    "name": "web-101",
    "image": "nginx:1.27",
    "image_id": "sha256:790d23b11adbae694841912137a7084acf213c758100d61cd42e56746ccf4584",
    "state": "running",
    "status": "Up 2 hours (healthy)",
    "health": "healthy",
    "exit_code": None,
    "created_at": "2026-01-31T12:00:00Z",
    "ports": [
        {"container_port": 80, "protocol": "tcp", "host_address": "10.1.2.3", "host_port": 8080}
    ],
    "labels": {"course": "web-101"},
    "environment": None,
    "service": None,
}
_NETWORK = {
    "id": "f515466f7a5ee893c86021cab989141ddb26d5479d407c7b7e1570f90a2fc900",
    "name": "course-web",
    "driver": "bridge",
    "scope": "local",
    "internal": True,
    "ipv6": False,
    "ranges": [{"subnet": "10.213.4.0/24", "gateway": "10.213.4.1"}],
    "labels": {"course": "web-101"},
    "options": {},
    "created_at": "2026-01-31T12:00:00Z",
    "environment": None,
}
_VOLUME = {
    "name": "web-101-data",
    "driver": "local",
    "labels": {"course": "web-101"},
    "options": {},
    "created_at": "2026-01-31T12:00:00Z",
    "anonymous": False,
    "used_by": [{"name": "web-101", "id": _CONTAINER["id"], "running": True}],
    "environment": None,
    "size_bytes": 52428800,
}

EXAMPLES: Mapping[type[Any], Mapping[str, Any]] = {
    ContainerListView: {"containers": [_CONTAINER], "total": 1},
    NetworkList: {"networks": [_NETWORK], "total": 1},
    NetworkDetailsView: {
        **_NETWORK,
        "endpoints": [
            {
                "container_id": _CONTAINER["id"],
                "container": "web-101",
                "running": True,
                "ipv4_address": "10.213.4.2",
                "mac_address": "02:42:0a:d5:04:02",
            }
        ],
    },
    PrunedNetworks: {
        "dry_run": False,
        "networks": [{"id": _NETWORK["id"], "name": "course-web", "driver": "bridge"}],
        "kept": [],
    },
    VolumeList: {"volumes": [_VOLUME], "total": 1},
    VolumeView: _VOLUME,
    PrunedVolumes: {
        "dry_run": False,
        "volumes": [{"name": "web-101-data", "size_bytes": 52428800}],
        "kept": [],
        "space_reclaimed_bytes": 52428800,
    },
}
"""Kind of answer → one of it."""


def with_examples(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document, with an example at each answer of a known kind that has none."""
    known = {f"#/components/schemas/{kind.__name__}": told for kind, told in EXAMPLES.items()}
    for content in _contents(document):
        told = known.get(content.get("schema", {}).get("$ref", ""))
        if told is not None:
            content.setdefault("examples", {"answer": {"value": told}})
    return document


def _contents(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict):
                for answer in operation.get("responses", {}).values():
                    yield from answer.get("content", {}).values()
