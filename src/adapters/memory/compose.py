"""The twin of Compose: reads the same Compose files and brings up in-memory containers.

It knows as much of Compose as the agent's own rules depend on. A ``RUN false`` or ``RUN exit 1`` in
a Dockerfile fails the build, an image whose name holds ``missing`` cannot be pulled, and two
containers cannot publish one port. One that the Engine holds for ``stuck`` runs on when all are
told to stop, and nothing is said of it.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from adapters.memory.compose_files import (
    canonical,
    check_services,
    dotenv,
    interpolated,
    load,
)
from adapters.memory.runtime import MemoryEngine
from domain.compose_model import ComposeModel, compose_model
from domain.containers import PROJECT_LABEL, SERVICE_LABEL, PublishedPort
from domain.errors import StepFailed
from domain.names import EnvironmentName
from domain.operations import Step
from domain.ports.clock import Clock
from domain.ports.compose import OutputLine, Project

ReadFile = Callable[[Project, str], Awaitable[bytes | None]]
"""Gives a file of a project by its relative path; None where there is none."""

_FAILING_RUN = re.compile(r"^\s*RUN\s+(false|exit\s+[1-9]\d*)\s*$", re.MULTILINE | re.IGNORECASE)


class MemoryCompose:
    """Twin of ``DockerCompose``; builds and starts take the seconds they are told to."""

    def __init__(self, engine: MemoryEngine, clock: Clock, read: ReadFile) -> None:
        self._engine = engine
        self._clock = clock
        self._read = read
        self.build_seconds = 0.0
        self.up_seconds = 0.0
        self.stop_seconds = 0.0
        self.building = 0
        """How many builds run now."""
        self.most_building = 0
        """The most that ever ran at once."""
        self.built: list[str] = []
        """Services whose images were built, in that order."""

    async def version(self) -> str:
        """The twin's version."""
        return "memory"

    async def end_strays(self) -> int:
        """There are no commands to be left."""
        return 0

    async def resolve(
        self,
        project: Project,
        variables: Mapping[str, str] | None = None,
        *,
        all_profiles: bool = False,
    ) -> ComposeModel:
        """The project in Compose's canonical form, as far as the twin knows it."""
        document = await self._document(project, variables or {})
        if not all_profiles:
            services = document["services"]
            chosen = {n: body for n, body in services.items() if not body.get("profiles")}
            document = {**document, "services": chosen}
        return compose_model(document)

    async def build(
        self,
        project: Project,
        on_line: OutputLine,
        *,
        anew: bool = False,  # noqa: ARG002
    ) -> None:
        """Builds an image for each service that has a build."""
        await self._engine.answer()
        self.building += 1
        self.most_building = max(self.most_building, self.building)
        try:
            await self._clock.sleep(self.build_seconds)
            for name, body in sorted((await self._services(project)).items()):
                if "build" in body:
                    await self._build_service(project, name, body, on_line)
        finally:
            self.building -= 1

    async def _build_service(
        self, project: Project, name: str, body: Mapping[str, Any], on_line: OutputLine
    ) -> None:
        on_line(f"[{name}] load build definition")
        dockerfile = await self._dockerfile(project, body["build"])
        if dockerfile is None:
            raise StepFailed(Step.BUILD, "there is no Dockerfile.", output=(f"[{name}] ERROR",))
        for line in dockerfile.decode(errors="replace").splitlines():
            on_line(f"[{name}] {line}")
        if _FAILING_RUN.search(dockerfile.decode(errors="replace")):
            raise StepFailed(
                Step.BUILD, "a command ended with status 1.", output=(f"[{name}] exit code: 1",)
            )
        self.built.append(name)
        image = hashlib.sha256(project.name.encode() + name.encode() + dockerfile).hexdigest()
        tag = body.get("image") or f"{project.name}-{name}"
        self._engine.images[f"sha256:{image}"] = (project.name, name)
        self._engine.labels[f"sha256:{image}"] = body["build"].get("labels") or {}
        self._engine.tags[tag if ":" in tag else f"{tag}:latest"] = f"sha256:{image}"

    async def _dockerfile(self, project: Project, build: Any) -> bytes | None:
        if inline := build.get("dockerfile_inline"):
            return str(inline).encode()
        context = build["context"].removeprefix(project.directory).strip("/")
        for name in (build.get("dockerfile"), "Dockerfile", "dockerfile"):
            if name is not None:
                found = await self._read(project, f"{context}/{name}".lstrip("/"))
                if found is not None:
                    return found
        return None

    async def up(self, project: Project, on_line: OutputLine, *, recreate: bool = True) -> None:
        """Creates and starts everything."""
        await self._engine.answer()
        await self._clock.sleep(self.up_seconds)
        document = await self._document(project, {})
        names = {
            _container_name(project, service, number, body)
            for service, number, body in _instances(document)
        }
        for name in self._engine.of_project(project.name):
            if recreate or name not in names:
                self._remove(name)
        for body in (document.get("networks") or {}).values():
            self._create_network(body, project.name)
        for body in (document.get("volumes") or {}).values():
            self._engine.volumes[body["name"]] = project.name
            self._engine.labels.setdefault(body["name"], body.get("labels") or {})
        for service, number, body in _instances(document):
            self._start(project, service, number, body, on_line)

    def _remove(self, name: str) -> None:
        if name in self._engine.stuck:
            raise StepFailed(
                Step.START, "a container cannot be removed.", output=(f"{name} did not exit",)
            )
        self._engine.remove(name)

    def _create_network(self, body: Mapping[str, Any], project: str) -> None:
        self._engine.networks[body["name"]] = project
        self._engine.labels[body["name"]] = body.get("labels") or {}
        for entry in (body.get("ipam") or {}).get("config") or ():
            self._engine.subnets[body["name"]] = entry["subnet"]

    def _start(
        self,
        project: Project,
        service: str,
        number: int,
        body: Mapping[str, Any],
        on_line: OutputLine,
    ) -> None:
        name = _container_name(project, service, number, body)
        standing = self._engine.containers.get(name)
        if standing is not None and standing.project != project.name:
            raise StepFailed(Step.START, "a name is taken.", output=(f"{name} is in use",))
        if standing is None:
            self._create(project, service, name, body)
        self._engine.start(name)
        on_line(f"Container {name}  Started")

    def _create(self, project: Project, service: str, name: str, body: Mapping[str, Any]) -> None:
        image = body.get("image") or f"{project.name}-{service}"
        if "missing" in image:
            raise StepFailed(
                Step.START, "an image cannot be had.", output=(f"pull access denied for {image}",)
            )
        if body.get("pull_policy") == "never" and not self._engine.at_hand(image):
            raise StepFailed(
                Step.START, "an image cannot be had.", output=(f"No such image: {image}",)
            )
        self._engine.pull(image)
        container = self._engine.run(name, image=image, project=project.name)
        labels = {PROJECT_LABEL: project.name, SERVICE_LABEL: service}
        ports = [self._published(name, port) for port in body.get("ports") or ()]
        self._engine.containers[name] = msgspec.structs.replace(
            container,
            labels={**(body.get("labels") or {}), **labels},
            created_at=self._clock.now(),
            ports=tuple(port for port in ports if port is not None),
        )

    def _published(self, container: str, port: Mapping[str, Any]) -> PublishedPort | None:
        published = str(port.get("published", ""))
        if not published.isdigit():
            return None
        number = int(published)
        if number in self._engine.ports:
            raise StepFailed(
                Step.START,
                "a port is taken.",
                output=(f"Bind for 0.0.0.0:{number} failed: port is already allocated",),
            )
        self._engine.ports[number] = container
        return PublishedPort(
            container_port=int(port["target"]),
            protocol=port.get("protocol", "tcp"),
            host_address=port.get("host_ip", "0.0.0.0"),  # noqa: S104 - as the Engine does
            host_port=number,
        )

    async def stop(self, name: EnvironmentName, on_line: OutputLine) -> None:
        """Stops the project's containers."""
        await self._engine.answer()
        await self._clock.sleep(self.stop_seconds)
        for container in self._engine.of_project(name):
            if container not in self._engine.stuck:
                self._engine.stop(container)
            on_line(f"Container {container}  Stopped")

    async def _services(self, project: Project) -> Mapping[str, Mapping[str, Any]]:
        services: Mapping[str, Mapping[str, Any]] = (await self._document(project, {}))["services"]
        return services

    async def _document(self, project: Project, variables: Mapping[str, str]) -> dict[str, Any]:
        if project.model is not None:
            return load(await self._read(project, project.model) or b"")
        own = dotenv(await self._read(project, ".env") or b"")
        variables = {**own, **variables, "COMPOSE_PROJECT_NAME": project.name}
        merged: dict[str, Any] = {}
        for file in project.files:
            text = (await self._read(project, file) or b"").decode(errors="replace")
            for key, value in load(interpolated(text, variables).encode()).items():
                both = isinstance(value, dict) and isinstance(merged.get(key), dict)
                merged[key] = {**merged[key], **value} if both else value
        check_services(merged.get("services"))
        return canonical(merged, project)


def _instances(document: Mapping[str, Any]) -> list[tuple[str, int, Mapping[str, Any]]]:
    """Service, number and body of each container."""
    return [
        (service, number, body)
        for service, body in sorted(document["services"].items())
        for number in range(1, int(body.get("scale", 1)) + 1)
    ]


def _container_name(project: Project, service: str, number: int, body: Mapping[str, Any]) -> str:
    return str(body.get("container_name") or f"{project.name}-{service}-{number}")
