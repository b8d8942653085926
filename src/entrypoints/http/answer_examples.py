"""Examples of answers, for the OpenAPI document and its pages."""

from collections.abc import Iterator, Mapping
from typing import Any

from domain.container_details import ProcessTable
from domain.engine_images import ImageRemoval
from domain.pulls import PulledImage
from domain.registry_credentials import KeptRegistry
from domain.usecases.container_pruning import Pruned
from domain.usecases.container_waiting import Waited
from domain.usecases.network_pruning import PrunedNetworks
from domain.usecases.volume_pruning import PrunedVolumes
from entrypoints.http.container_views import ContainerListView, FileChanges
from entrypoints.http.image_transfers import LoadedImages
from entrypoints.http.images import ImagePruneResult
from entrypoints.http.networks import NetworkDetailsView, NetworkList
from entrypoints.http.registries import RegistryList
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
    Pruned: {
        "dry_run": False,
        "containers": [
            {
                "id": _CONTAINER["id"],
                "name": "web-101",
                "image": "nginx:1.27",
                "state": "exited",
                "size_bytes": 12288,
            }
        ],
        "kept": [],
        "space_reclaimed_bytes": 12288,
    },
    Waited: {
        "id": _CONTAINER["id"],
        "name": "web-101",
        "condition": "healthy",
        "state": "running",
        "health": "healthy",
        "exit_code": None,
    },
    ProcessTable: {
        "titles": ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"],
        "processes": [
            ["root", "21743", "21683", "0", "12:00", "?", "00:00:00", "nginx: master process"]
        ],
    },
    FileChanges: {"changes": [{"path": "/run/nginx.pid", "kind": "added"}], "total": 1},
    PulledImage: {
        "reference": "nginx:1.27",
        "id": _CONTAINER["image_id"],
        "digest": "sha256:ca433c3c4b4eeab0694547adbd1336ff6bf58105faf7ac3ad343109f421053e5",
        "updated": True,
    },
    LoadedImages: {"images": ["nginx:1.27"]},
    ImageRemoval: {"untagged": ["nginx:1.27"], "deleted": [_CONTAINER["image_id"]]},
    ImagePruneResult: {
        "dry_run": False,
        "images": [
            {"id": _CONTAINER["image_id"], "repo_tags": ["nginx:1.27"], "size_bytes": 192004096}
        ],
        "reclaimed_bytes": 192004096,
    },
    KeptRegistry: {"registry": "registry.example.com", "username": "jana"},
    RegistryList: {"registries": [{"registry": "registry.example.com", "username": "jana"}]},
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
