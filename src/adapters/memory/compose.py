"""The twin of Compose: reads the same Compose files and brings up in-memory containers.

It knows as much of Compose as the agent's own rules depend on. A ``RUN false`` or ``RUN exit 1`` in
a Dockerfile fails the build, an image whose name holds ``missing`` cannot be pulled, and two
containers cannot publish one port.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import yaml

from adapters.memory.runtime import MemoryEngine
from domain.compose_model import ComposeModel, ComposeService
from domain.containers import PROJECT_LABEL, SERVICE_LABEL
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

    async def version(self) -> str:
        """The twin's version."""
        return "memory"

    async def end_strays(self) -> int:
        """There are no commands to be left."""
        return 0

    async def resolve(self, project: Project) -> ComposeModel:
        """The project as far as the twin reads it."""
        services = await self._services(project)
        return ComposeModel(
            services=tuple(
                ComposeService(
                    name=name,
                    image=body.get("image"),
                    builds="build" in body,
                    replicas=int(body.get("scale", 1)),
                )
                for name, body in sorted(services.items())
            )
        )

    async def build(self, project: Project, on_line: OutputLine) -> None:
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
        image = hashlib.sha256(project.name.encode() + name.encode() + dockerfile).hexdigest()
        tag = body.get("image") or f"{project.name}-{name}"
        self._engine.images[f"sha256:{image}"] = (project.name, name)
        self._engine.tags[tag if ":" in tag else f"{tag}:latest"] = f"sha256:{image}"

    async def _dockerfile(self, project: Project, build: Any) -> bytes | None:
        body = build if isinstance(build, dict) else {"context": build}
        context = str(body.get("context", ".")).strip("./")
        for name in (body.get("dockerfile"), "Dockerfile", "dockerfile"):
            if name is not None:
                found = await self._read(project, f"{context}/{name}".lstrip("/"))
                if found is not None:
                    return found
        return None

    async def up(self, project: Project, on_line: OutputLine) -> None:
        """Creates and starts everything anew."""
        await self._engine.answer()
        await self._clock.sleep(self.up_seconds)
        document = await self._document(project)
        for name in self._engine.of_project(project.name):
            self._engine.remove(name)
        self._engine.networks[f"{project.name}_default"] = project.name
        for volume in document.get("volumes") or {}:
            self._engine.volumes[f"{project.name}_{volume}"] = project.name
        for name, body in sorted(document["services"].items()):
            for number in range(1, int(body.get("scale", 1)) + 1):
                self._start(project, name, number, body, on_line)

    def _start(
        self,
        project: Project,
        service: str,
        number: int,
        body: Mapping[str, Any],
        on_line: OutputLine,
    ) -> None:
        image = body.get("image") or f"{project.name}-{service}"
        if "missing" in image:
            raise StepFailed(
                Step.START, "an image cannot be had.", output=(f"pull access denied for {image}",)
            )
        self._engine.pull(image)
        name = f"{project.name}-{service}-{number}"
        container = self._engine.run(name, image=image, project=project.name)
        self._engine.containers[name] = msgspec.structs.replace(
            container, labels={PROJECT_LABEL: project.name, SERVICE_LABEL: service}
        )
        for port in body.get("ports") or ():
            self._publish(name, str(port))
        on_line(f"Container {name}  Started")

    def _publish(self, container: str, port: str) -> None:
        parts = port.split("/", maxsplit=1)[0].split(":")
        # What is left to interpolation stays unknown to the twin.
        if len(parts) > 1 and parts[-2].isdigit():
            number = int(parts[-2])
            if number in self._engine.ports:
                raise StepFailed(
                    Step.START,
                    "a port is taken.",
                    output=(f"Bind for 0.0.0.0:{number} failed: port is already allocated",),
                )
            self._engine.ports[number] = container

    async def stop(self, name: EnvironmentName, on_line: OutputLine) -> None:
        """Stops the project's containers."""
        await self._engine.answer()
        await self._clock.sleep(self.stop_seconds)
        for container in self._engine.of_project(name):
            self._engine.stop(container)
            on_line(f"Container {container}  Stopped")

    async def _services(self, project: Project) -> Mapping[str, Mapping[str, Any]]:
        services: Mapping[str, Mapping[str, Any]] = (await self._document(project))["services"]
        return services

    async def _document(self, project: Project) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for file in project.files:
            for key, value in _load(await self._read(project, file) or b"").items():
                both = isinstance(value, dict) and isinstance(merged.get(key), dict)
                merged[key] = {**merged[key], **value} if both else value
        services = merged.get("services")
        if not isinstance(services, dict) or not services:
            raise StepFailed(Step.CHECK, "there are no services in the Compose file.")
        for name, body in services.items():
            if not isinstance(body, dict) or not ("image" in body or "build" in body):
                raise StepFailed(
                    Step.CHECK,
                    "the Compose file is not valid.",
                    output=(f"service {name!r} has neither an image nor a build",),
                )
        return merged


def _load(text: bytes) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise StepFailed(
            Step.CHECK, "the Compose file is not valid.", output=tuple(str(fault).splitlines())
        ) from fault
    return document if isinstance(document, dict) else {}
