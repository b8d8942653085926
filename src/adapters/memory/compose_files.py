"""Compose files as the twin of Compose reads them: the canonical form, as far as rules need it."""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

import yaml

from domain.errors import StepFailed
from domain.operations import Step
from domain.ports.compose import Project

_VARIABLE = re.compile(
    r"(?P<dollar>\$\$)|\$\{(?P<name>\w+)(?::?-(?P<default>[^}]*))?\}|\$(?P<bare>[A-Za-z_]\w*)"
)

# libyaml, which wheels bring along, is many times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MAPPINGS = ("environment", "labels", "sysctls")
_READ_BY_COMPOSE = {"env_file", "extends", "label_file"}


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """A text with its variables filled in; those that nobody set are empty, as for Compose."""

    def filled(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        value = variables.get(found["name"] or found["bare"], "")
        return value or found["default"] or ""

    return _VARIABLE.sub(filled, text)


def dotenv(text: bytes) -> dict[str, str]:
    """The variables of a ``.env`` file, as far as they are written plainly."""
    lines = (line.strip() for line in text.decode(errors="replace").splitlines())
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}


def check_services(services: Any) -> None:
    """Refuses what has no services, or a service that has no image.

    Raises:
        StepFailed: it does.
    """
    if not isinstance(services, dict) or not services:
        raise StepFailed(Step.CHECK, "there are no services in the Compose file.")
    for name, body in services.items():
        if not isinstance(body, dict) or not ("image" in body or "build" in body):
            raise StepFailed(
                Step.CHECK,
                "the Compose file is not valid.",
                output=(f"service {name!r} has neither an image nor a build",),
            )


def canonical(document: Mapping[str, Any], project: Project) -> dict[str, Any]:
    """The canonical form of a merged Compose file."""
    networks = {"default": None, **(document.get("networks") or {})}
    return {
        **document,
        "name": project.name,
        "services": {
            name: _canonical_service(body, project) for name, body in document["services"].items()
        },
        "networks": {name: _named(body, project, name) for name, body in networks.items()},
        "volumes": {
            name: _named(body, project, name)
            for name, body in (document.get("volumes") or {}).items()
        },
    }


def _named(body: Mapping[str, Any] | None, project: Project, name: str) -> dict[str, Any]:
    return {"name": f"{project.name}_{name}", **(body or {})}


def _canonical_service(body: Mapping[str, Any], project: Project) -> dict[str, Any]:
    service = {key: value for key, value in body.items() if key not in _READ_BY_COMPOSE}
    for key in _MAPPINGS:
        if isinstance(body.get(key), list):
            pairs = (str(entry).partition("=") for entry in body[key])
            service[key] = {name: value if sign else None for name, sign, value in pairs}
    if "volumes" in body:
        service["volumes"] = [_canonical_mount(mount, project) for mount in body["volumes"]]
    networks = body.get("networks") or ["default"]
    service["networks"] = networks if isinstance(networks, dict) else dict.fromkeys(networks)
    service["ports"] = [_canonical_port(port) for port in body.get("ports") or ()]
    if "build" in body:
        build = body["build"] if isinstance(body["build"], dict) else {"context": body["build"]}
        context = str(build.get("context", ".")).strip("./")
        service["build"] = {**build, "context": f"{project.directory}/{context}".rstrip("/")}
    return service


def _canonical_mount(mount: Any, project: Project) -> dict[str, Any]:
    long: dict[str, Any] = mount if isinstance(mount, dict) else _long_mount(str(mount))
    if long.get("type") != "bind":
        return long
    place = posixpath.join(project.directory, str(long.get("source", "")))
    return {**long, "source": posixpath.normpath(place)}


def _long_mount(mount: str) -> dict[str, Any]:
    source, colon, rest = mount.partition(":")
    if not colon:
        return {"type": "volume", "target": source}
    target, _, mode = rest.partition(":")
    kind = "bind" if source.startswith((".", "/", "~")) else "volume"
    long = {"type": kind, "source": source, "target": target}
    return {**long, "read_only": True} if mode == "ro" else long


def _canonical_port(port: Any) -> dict[str, Any]:
    if isinstance(port, dict):
        return port
    parts = str(port).split("/", maxsplit=1)[0].split(":")
    # What is left to interpolation stays unknown to the twin.
    target = {"target": parts[-1], "protocol": "tcp"}
    return {**target, "published": parts[-2]} if len(parts) > 1 else target


def load(text: bytes) -> dict[str, Any]:
    """A Compose file.

    Raises:
        StepFailed: it is no YAML.
    """
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe one
    except yaml.YAMLError as fault:
        raise StepFailed(
            Step.CHECK, "the Compose file is not valid.", output=tuple(str(fault).splitlines())
        ) from fault
    return document if isinstance(document, dict) else {}
