"""Examples of what is told of environments, operations and bundles, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from domain.bundles import BundleRecord
from entrypoints.http.bundles import BundleCheck, BundleDetails, BundleList
from entrypoints.http.changes import OperationView
from entrypoints.http.environment_views import EnvironmentView
from entrypoints.http.environments import EnvironmentList, Timeline
from entrypoints.http.operations import OperationList

_NAME = "user123-devlab"
_OPERATION = "01a21521359d-f9dec10b5e41"

_BUNDLE = {
    "digest": "sha256:6ac2a4325f1a7cca2d2f685cc3b68ab06813a30c04255429ed46caae96ca7b8a",
    "size_bytes": 1920,
    "unpacked_bytes": 4213,
    "entries": 3,
    "services": ["web"],
    "created_at": "2026-01-31T11:59:00Z",
    "used_at": "2026-01-31T12:00:00Z",
}

_ENVIRONMENT = {
    "name": _NAME,
    "state": "running",
    "reason": "",
    "last_error": "",
    "operation": _OPERATION,
    "bundle": _BUNDLE["digest"],
    "labels": {"course": "web-101"},
    "isolation": "open",
    "limits": {"memory_bytes": 536870912},
    "networks": {"default": "10.213.4.16/28"},
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:04Z",
    "expires_at": "2026-01-31T14:00:00Z",
    "hold": None,
    "adopted": False,
    "services": [
        {
            "name": "web",
            "image": "nginx:1.27",
            "replicas": 1,
            "limits": {
                "cpus": 1.0,
                "memory_bytes": 536870912,
                "pids": 512,
                "log_bytes": 20971520,
            },
            "containers": [
                {
                    "id": "68ef1de5db860269ee11a1595723353528b59a84a260afdf2c0a2f8af2ffad20",
                    "name": f"{_NAME}-web-1",
                    "state": "running",
                    "status": "Up 3 minutes",
                    "health": None,
                    "exit_code": None,
                    "created_at": "2026-01-31T12:00:03Z",
                    "ports": [
                        {
                            "container_port": 80,
                            "protocol": "tcp",
                            "host_address": "0.0.0.0",  # noqa: S104 - told, not listened on
                            "host_port": 32775,
                        }
                    ],
                }
            ],
        }
    ],
}


def operation_example(kind: str, state: str, step: str | None, **fields: Any) -> dict[str, Any]:
    """An operation of a kind, in a state.

    Args:
        kind: what it does.
        state: how far it is.
        step: what it does at the moment, or did last.
        fields: that are others.
    """
    begun, ended = state != "queued", state not in {"queued", "running"}
    return {
        "id": _OPERATION,
        "kind": kind,
        "environment": None if kind == "build" else _NAME,
        "bundle": _BUNDLE["digest"] if kind in {"deploy", "build"} else None,
        "state": state,
        "place": None if begun else 0,
        "step": step,
        "requested_at": "2026-01-31T12:00:00Z",
        "requested_by": "the server key",
        "started_at": "2026-01-31T12:00:01Z" if begun else None,
        "ended_at": "2026-01-31T12:00:04Z" if ended else None,
        "error": "",
        "reason": "",
        "findings": [],
        "output": [],
        **fields,
    }


_DEPLOYED = operation_example(
    "deploy",
    "succeeded",
    "start",
    output=[f" Container {_NAME}-web-1  Starting", f" Container {_NAME}-web-1  Started"],
)

_TIMELINE = [
    {
        "at": "2026-01-31T12:00:00Z",
        "environment": _NAME,
        "kind": "requested",
        "text": "Deploy was asked for.",
        "operation": _OPERATION,
        "by": "the server key",
        "number": 1769860800000000,
    },
    {
        "at": "2026-01-31T12:00:01Z",
        "environment": _NAME,
        "kind": "step",
        "text": "Deploy: start.",
        "operation": _OPERATION,
        "number": 1769860801000000,
    },
    {
        "at": "2026-01-31T12:00:04Z",
        "environment": _NAME,
        "kind": "ended",
        "text": "Deploy succeeded.",
        "operation": _OPERATION,
        "number": 1769860804000000,
    },
    {
        "at": "2026-01-31T12:41:17Z",
        "environment": _NAME,
        "kind": "container",
        "text": f"{_NAME}-web-1 ended with exit code 137.",
        "container": f"{_NAME}-web-1",
        "exit_code": 137,
        "number": 1769863277000000,
    },
]

EXAMPLES: Mapping[type[Any], Any] = {
    EnvironmentView: _ENVIRONMENT,
    EnvironmentList: {"environments": [_ENVIRONMENT]},
    Timeline: {"entries": _TIMELINE},
    OperationView: _DEPLOYED,
    OperationList: {"operations": [_DEPLOYED]},
    BundleRecord: _BUNDLE,
    BundleList: {"bundles": [_BUNDLE]},
    BundleDetails: {
        "bundle": _BUNDLE,
        "files": [
            {"path": "compose.yaml", "size_bytes": 213},
            {"path": "web/Dockerfile", "size_bytes": 96},
            {"path": "web/index.html", "size_bytes": 3904},
        ],
    },
    BundleCheck: {
        "allowed": True,
        "policy": "lab",
        "services": [{"name": "web", "image": None, "replicas": 1}],
    },
}
"""Kind of answer → one of it."""
