"""Examples of answers where the kind alone does not say what a call tells."""

from collections.abc import Mapping
from typing import Any

from entrypoints.http import sse
from entrypoints.http.environment_examples import operation_example
from entrypoints.http.host_examples import container_example

_ENVIRONMENT = "/api/v1/environments/{name}"
_CONTAINER = "/api/v1/containers/{reference}"
_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_TEXT = "text/plain"

Place = tuple[str, str, str, str]
"""Method, path, status and media type of an answer."""


def _operations() -> Mapping[Place, Any]:
    changes = [
        ("post", "/api/v1/environments", "deploy", "build", "start"),
        ("put", _ENVIRONMENT, "deploy", "build", "start"),
        ("delete", _ENVIRONMENT, "delete", "stop", "remove"),
        ("post", f"{_ENVIRONMENT}/start", "start", "start", "start"),
        ("post", f"{_ENVIRONMENT}/stop", "stop", "stop", "stop"),
        ("post", f"{_ENVIRONMENT}/restart", "restart", "stop", "start"),
        ("post", f"{_ENVIRONMENT}/rebuild", "rebuild", "build", "start"),
        ("post", f"{_ENVIRONMENT}/reset", "reset", "replace", "start"),
        ("post", "/api/v1/bundles/{digest}/build", "build", "build", "build"),
    ]
    found: dict[Place, Any] = {}
    for method, path, kind, step, last in changes:
        found[method, path, "202", _JSON] = operation_example(kind, "running", step)
        found[method, path, "200", _JSON] = operation_example(kind, "succeeded", last)
    cancel = ("delete", "/api/v1/operations/{operation}")
    found[*cancel, "202", _JSON] = operation_example("deploy", "running", "build")
    found[*cancel, "200", _JSON] = operation_example("deploy", "cancelled", "build")
    return found


_LINE = {"at": "2026-01-31T12:00:00.450534511Z", "stream": "stdout", "text": "GET / 200"}
_LABS_LINE = {
    "at": "2026-01-31T12:00:00Z",
    "container": "user123-devlab-web-1",
    "service": "web",
    "stream": "stdout",
    "text": "GET / 200",
}


def _written(kind: str, data: Any, *, number: int | None = None) -> str:
    return sse.event(kind, data, number=number).decode()


def _logs(path: str, text: str, line: Any) -> Mapping[Place, Any]:
    place = ("get", path, "200")
    return {
        (*place, _TEXT): text,
        (*place, _NDJSON): line,
        (*place, sse.MEDIA_TYPE): _written("log", line) + _written("end", {}),
    }


CALL_EXAMPLES: Mapping[Place, Any] = {
    **_operations(),
    ("post", f"{_CONTAINER}/stop", "200", _JSON): container_example("exited", 0),
    ("post", f"{_CONTAINER}/kill", "200", _JSON): container_example("exited", 137),
    ("post", f"{_CONTAINER}/pause", "200", _JSON): container_example("paused"),
    ("post", "/agent/containers/{name}/restart", "200", _JSON): {
        "name": "user123-devlab",
        "status": "restarted",
    },
    ("delete", "/agent/containers/{name}", "200", _JSON): {
        "name": "user123-devlab",
        "status": "removed",
    },
    ("delete", "/agent/containers/{name}", "202", _JSON): {
        "name": "user123-devlab",
        "status": "removing",
        "operation": "01a21521359d-f9dec10b5e41",
        "detail": "Operation 01a21521359d-f9dec10b5e41 is running after 25 s and goes on; "
        "see GET /agent/containers for what runs.",
    },
    **_logs(f"{_CONTAINER}/logs", "GET / 200\n", _LINE),
    **_logs(f"{_ENVIRONMENT}/logs", "user123-devlab-web-1 | GET / 200\n", _LABS_LINE),
    ("post", "/api/v1/images/pull", "200", sse.MEDIA_TYPE): _written(
        "progress",
        {
            "percent": 40,
            "downloaded_bytes": 31457280,
            "total_bytes": 78643200,
            "layers_done": 2,
            "layers": [],
        },
    ),
    ("get", "/api/v1/operations/{operation}/events", "200", sse.MEDIA_TYPE): _written(
        "state", {"at": "2026-01-31T12:00:00Z", "state": "running"}, number=2
    )
    + _written("step", {"at": "2026-01-31T12:00:01Z", "step": "build"}, number=3),
    ("get", "/metrics", "200", "text/plain; version=0.0.4; charset=utf-8"): (
        "# HELP host_agent_running_containers Containers that run on the host.\n"
        "# TYPE host_agent_running_containers gauge\n"
        "host_agent_running_containers 4.0\n"
    ),
}
"""Place of an answer → one of it."""
