"""Keeps what is mounted on its own out of folders that containers write to.

Docker follows links when it mounts, at each start of a container. Of ``.:/app`` and
``./data:/data`` the first lets a container put a link to the host's own files in the place of
``data``. So ``data`` is mounted from a copy apart, also over its place in ``/app``, where all see
the same as before.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from domain.compose_model import Document
from domain.compose_policy.mounts import swappable
from domain.compose_policy.values import lies_in, normal_path


def set_apart(document: Document, folder: str, apart: str) -> tuple[Document, Mapping[str, str]]:
    """A model that mounts from copies what containers could else swap, and what is to be copied.

    Args:
        document: a judged model.
        folder: where the project lies; absolute.
        apart: the folder of the copies; absolute.

    Returns:
        The model, and the name of each copy → path of what it copies, relative to the project.
    """
    paths = sorted({s.path for s in swappable(document) if lies_in(s.path, folder)})
    copies = {path: f"{apart}/{number}" for number, path in enumerate(paths)}
    if not copies:
        return document, {}
    services = {
        name: _service(body, copies) if body.get("volumes") else body
        for name, body in document["services"].items()
    }
    files = {
        kind: {name: _file(body, copies) for name, body in document[kind].items()}
        for kind in ("configs", "secrets")
        if document.get(kind)
    }
    relative = {str(n): path.removeprefix(folder).strip("/") for n, path in enumerate(paths)}
    return {**document, "services": services, **files}, relative


def _file(body: Mapping[str, Any], copies: Mapping[str, str]) -> Mapping[str, Any]:
    path = str(body.get("file", ""))
    return {**body, "file": copies[path]} if path in copies else body


def _service(body: Mapping[str, Any], copies: Mapping[str, str]) -> Mapping[str, Any]:
    mounts = body["volumes"]
    taken = {normal_path(str(mount.get("target"))) for mount in mounts}
    moved = [_moved(mount, copies) for mount in mounts]
    over = [mount for mount in _over(mounts, copies) if mount["target"] not in taken]
    return {**body, "volumes": [*moved, *over]}


def _moved(mount: Mapping[str, Any], copies: Mapping[str, str]) -> Mapping[str, Any]:
    path = _source(mount)
    return {**mount, "source": copies[path]} if path in copies else mount


def _over(
    mounts: list[Mapping[str, Any]], copies: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """Mounts that show the copies where a container sees the folder around them."""
    for mount in mounts:
        outer = _source(mount)
        for path, copy in copies.items():
            if outer and path != outer and lies_in(path, outer):
                inner = path.removeprefix(outer).strip("/")
                yield {**mount, "source": copy, "target": normal_path(f"{mount['target']}/{inner}")}


def _source(mount: Mapping[str, Any]) -> str:
    return str(mount.get("source", "")).rstrip("/") if mount.get("type") == "bind" else ""
