"""A Compose project as Compose itself resolved it."""

from collections.abc import Mapping
from typing import Any

import msgspec

Document = Mapping[str, Any]
"""A resolved project in Compose's canonical form, as ``docker compose config`` gives it."""


class ComposeService(msgspec.Struct, frozen=True, kw_only=True):
    """One service of a resolved project."""

    name: str
    image: str | None = None
    """The image it names; a service with a build may leave that to Compose."""
    build: Mapping[str, Any] | None = None
    replicas: int = 1
    networks: tuple[str, ...] = ()
    """Keys of the networks it joins."""

    @property
    def builds(self) -> bool:
        """Whether its image is built."""
        return self.build is not None


class ComposeModel(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved project."""

    document: Document
    services: tuple[ComposeService, ...]
    """Sorted by name."""

    @property
    def containers(self) -> int:
        """How many containers it brings up."""
        return sum(service.replicas for service in self.services)

    @property
    def builds(self) -> bool:
        """Whether any image is built for it."""
        return any(service.builds for service in self.services)

    def built_names(self, project: str) -> Mapping[str, str]:
        """Names under which services know images that the project builds: name → service."""
        names = {f"{project}-{s.name}": s.name for s in self.services if s.builds}
        return names | {s.image: s.name for s in self.services if s.builds and s.image}

    def pulled_images(self, project: str) -> tuple[str, ...]:
        """The images it takes as they are, each once, sorted."""
        built = self.built_names(project)
        named = {s.image for s in self.services if s.image is not None and not s.builds}
        return tuple(sorted(named - built.keys()))

    def joined(self, network: str) -> int:
        """How many containers join a network."""
        return sum(s.replicas for s in self.services if network in s.networks)


def compose_model(document: Document) -> ComposeModel:
    """The model that a resolved document describes.

    Raises:
        KeyError, TypeError, AttributeError: it describes none.
    """
    services = document["services"]
    return ComposeModel(
        document=document,
        services=tuple(_service(name, services[name]) for name in sorted(services)),
    )


def _service(name: str, body: Mapping[str, Any]) -> ComposeService:
    deploy = body.get("deploy") or {}
    replicas = body.get("scale", deploy.get("replicas", 1))
    return ComposeService(
        name=name,
        image=body.get("image"),
        build=body.get("build"),
        replicas=replicas if isinstance(replicas, int) else 1,
        networks=tuple(sorted(body.get("networks") or {})),
    )
