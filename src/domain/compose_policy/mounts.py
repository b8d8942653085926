"""Mounts: out of where, and whether a container could put a link in the place of another's source.

Docker follows links when it mounts a source, each time that a container starts, by its restart
policy too. What lies inside of a folder that containers can write to may be such a link by then.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from domain.compose_model import Document
from domain.compose_policy.checks import Scope, shown
from domain.compose_policy.values import in_bundle, inside, lies_in
from domain.findings import Finding

_KINDS = ("bind", "volume", "tmpfs")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A path of the host that a container has mounted."""

    path: str
    writable: bool
    where: str


def bodies_of(
    document: Document, kind: str, *, all_names: bool = False
) -> Mapping[str, Mapping[str, Any]]:
    """The parts of one kind that are mappings; with ``all_names`` others count as empty ones."""
    found = document.get(kind)
    if not isinstance(found, Mapping):
        return {}
    return {
        name: body if isinstance(body, Mapping) else {}
        for name, body in found.items()
        if all_names or isinstance(body, Mapping)
    }


def judge_mounts(
    document: Document, bodies: Mapping[str, Mapping[str, Any]], scope: Scope
) -> Iterator[Finding]:
    """What may not be mounted."""
    volumes = bodies_of(document, "volumes", all_names=True)
    for name, body in bodies.items():
        for index, mount in enumerate(_mounts(body)):
            place = f"services.{name}.volumes[{index}]"
            if mount.get("type") == "bind":
                yield from inside("A mount", roots=True)(mount.get("source"), place, scope)
            elif mount.get("type") == "volume" and not _is_known(mount, volumes):
                yield Finding(
                    where=place,
                    what=shown(mount.get("source")),
                    why="It is no volume of this bundle.",
                    instead="Name it under volumes.",
                )
            elif mount.get("type") not in _KINDS:
                yield Finding(
                    where=place,
                    what=shown(mount),
                    why="It does not say what kind of mount it is.",
                    instead="Say type: bind, volume or tmpfs.",
                )
    yield from _within_roots(document, scope)


def _is_known(mount: Mapping[str, Any], volumes: Mapping[str, Any]) -> bool:
    source = mount.get("source")
    return source in (None, "") or (isinstance(source, str) and source in volumes)


def _mounts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    volumes = body.get("volumes")
    return [v for v in volumes if isinstance(v, Mapping)] if isinstance(volumes, list) else []


def sources(document: Document) -> Iterator[Source]:
    """Every path of the host that containers of a model have mounted."""
    for name, body in bodies_of(document, "services").items():
        for index, mount in enumerate(_mounts(body)):
            path = mount.get("source")
            if mount.get("type") == "bind" and isinstance(path, str):
                yield Source(
                    path=path.rstrip("/") or "/",
                    writable=not mount.get("read_only"),
                    where=f"services.{name}.volumes[{index}]",
                )
    for kind in ("configs", "secrets"):
        for name, body in bodies_of(document, kind).items():
            path = body.get("file")
            if isinstance(path, str):
                yield Source(path=path, writable=False, where=f"{kind}.{name}.file")


def swappable(document: Document) -> Iterator[Source]:
    """Mounted paths in whose place a container could put something else, such as a link."""
    found = tuple(sources(document))
    written = {source.path for source in found if source.writable}
    for source in found:
        if any(lies_in(source.path, path) and source.path != path for path in written):
            yield source


def written_folders(document: Document) -> tuple[str, ...]:
    """The folders of the host that containers of a model can write to, sorted."""
    return tuple(sorted({source.path for source in sources(document) if source.writable}))


def _within_roots(document: Document, scope: Scope) -> Iterator[Finding]:
    """What lies in a folder of the operator's cannot be kept apart as a bundle's own files are."""
    for source in swappable(document):
        if not in_bundle(source.path, scope):
            yield Finding(
                where=source.where,
                what=shown(source.path),
                why="It lies in a folder that is mounted to be written to, so that a container "
                "could put a link in its place.",
                instead="Mount the outer folder with read_only, or only one of the two.",
            )
