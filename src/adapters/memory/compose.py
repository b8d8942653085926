"""The twin of Compose: reads the same Compose files and brings up in-memory containers.

It knows as much of Compose as the agent's own rules depend on. A ``RUN false`` or ``RUN exit 1`` in
a Dockerfile fails the build, an image whose name holds ``missing`` cannot be pulled, and two
containers cannot publish one port. One that the Engine holds for ``stuck`` runs on when all are
told to stop, and nothing is said of it.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from adapters.memory.compose_files import (
    canonical,
    check_services,
    dotenv,
    interpolated,
    load,
)
from adapters.memory.engine import Change, MemoryEngine
from domain.compose_model import ComposeModel, compose_model
from domain.containers import (
    PROJECT_LABEL,
    SERVICE_LABEL,
    Container,
    ContainerState,
    PublishedPort,
)
from domain.errors import EngineRefused, StepFailed
from domain.names import EnvironmentName
from domain.operations import Step
from domain.ports.clock import Clock
from domain.ports.compose import OutputLine, Project

ReadFile = Callable[[Project, str], Awaitable[bytes | None]]
"""Gives a file of a project by its relative path; None where there is none."""

_MOST_BUILT = 1000
"""How many builds are remembered, as the agent may run for months."""

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
        """Services whose images were built last, in that order."""

    async def version(self) -> str:
        """The twin's version."""
        return "memory"

    async def end_strays(self, *, cut_off: bool) -> int:
        """There are no commands to be left, but what they asked for last may be still to come."""
        if cut_off:
            self._engine.catch_up()
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
        await self._engine.answer("begin a build")
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
        del self.built[:-_MOST_BUILT]
        digest = hashlib.sha256(project.name.encode() + name.encode() + dockerfile).hexdigest()
        image, tag = f"sha256:{digest}", body.get("image") or f"{project.name}-{name}"
        await self._ask(
            Step.BUILD,
            f"keep what was built for {name}",
            partial(
                self._engine.keep_image,
                image,
                project.name,
                name,
                body["build"].get("labels") or {},
            ),
        )
        await self._ask(Step.BUILD, f"tag {tag}", partial(self._engine.tag, image, tag))

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

    async def up(
        self, project: Project, on_line: OutputLine, *, recreate: bool = True, start: bool = True
    ) -> None:
        """Creates and starts everything, in Compose's own order."""
        await self._engine.answer("list what is there")
        await self._clock.sleep(self.up_seconds)
        document = await self._document(project, {})
        instances = _instances(project, document)
        await self._have_images(project, instances)
        await self._have_networks_and_volumes(project, document)
        names = {instance.name for instance in instances}
        for name in [n for n in self._engine.of_project(project.name) if n not in names]:
            await self._remove(name)
        for instance in instances:
            await self._have_container(project, instance, recreate=recreate)
        for instance in instances if start else ():
            await self._start(instance.name)
            on_line(f"Container {instance.name}  Started")

    async def _have_images(self, project: Project, instances: Sequence["_Instance"]) -> None:
        for image in dict.fromkeys(i.image(project) for i in instances if not i.never_pulled):
            if not self._engine.at_hand(image):
                if "missing" in image:
                    raise _no_image(f"pull access denied for {image}")
                await self._ask(Step.START, f"pull {image}", partial(self._engine.pull, image))

    async def _have_networks_and_volumes(
        self, project: Project, document: Mapping[str, Any]
    ) -> None:
        engine = self._engine
        for body in (document.get("networks") or {}).values():
            name, ranges = body["name"], (body.get("ipam") or {}).get("config") or ()
            subnet = ranges[0]["subnet"] if ranges else None
            if name not in engine.networks:
                labels = body.get("labels") or {}
                change = partial(engine.create_network, name, project.name, subnet, labels)
                await self._ask(Step.START, f"create network {name}", change)
        for body in (document.get("volumes") or {}).values():
            name = body["name"]
            if name not in engine.volumes:
                labels = body.get("labels") or {}
                change = partial(engine.create_volume, name, project.name, labels)
                await self._ask(Step.START, f"create volume {name}", change)

    async def _have_container(
        self, project: Project, instance: "_Instance", *, recreate: bool
    ) -> None:
        standing = self._engine.containers.get(instance.name)
        if standing is None:
            await self._create(project, instance, instance.name)
        elif standing.project != project.name:
            raise StepFailed(Step.START, "a name is taken.", output=(f"{instance.name} is in use",))
        elif recreate:
            beside = f"{standing.id[-12:]}_{instance.name}"
            new = await self._create(project, instance, beside)
            await self._remove(instance.name)
            rename = partial(self._engine.rename, new.id, instance.name)
            await self._ask(Step.START, f"rename container {beside}", rename)

    async def _create(self, project: Project, instance: "_Instance", name: str) -> Container:
        image = instance.image(project)
        if not self._engine.at_hand(image):
            raise _no_image(f"No such image: {image}")
        labels = {PROJECT_LABEL: project.name, SERVICE_LABEL: instance.service}
        container = Container(
            id=self._engine.new_id(),
            name=name,
            image=image,
            state=ContainerState.CREATED,
            status="Created",
            labels={**(instance.body.get("labels") or {}), **labels},
            created_at=self._clock.now(),
            ports=instance.ports,
        )
        create = partial(self._engine.create, container)
        await self._ask(Step.START, f"create container {name}", create)
        return container

    async def _remove(self, name: str) -> None:
        if name in self._engine.stuck:
            raise StepFailed(
                Step.START, "a container cannot be removed.", output=(f"{name} did not exit",)
            )
        container = self._engine.containers.get(name)
        if container is not None:
            change = partial(self._engine.removed, container.id)
            await self._ask(Step.START, f"remove container {name}", change)

    async def _start(self, name: str) -> None:
        container = self._engine.containers.get(name)
        if container is None or not container.running:
            change = partial(self._engine.start, container.id if container else name)
            await self._ask(Step.START, f"start container {name}", change)

    async def stop(self, name: EnvironmentName, on_line: OutputLine) -> None:
        """Stops the project's containers."""
        await self._engine.answer("list what is there")
        await self._clock.sleep(self.stop_seconds)
        for container in self._engine.of_project(name):
            standing = self._engine.containers.get(container)
            if standing is not None and standing.running:
                change = partial(self._engine.ended, standing.id)
                if container not in self._engine.stuck:
                    await self._ask(Step.REMOVE, f"stop container {container}", change)
                on_line(f"Container {container}  Stopped")

    async def _ask(self, step: Step, request: str, change: Change) -> None:
        """Has the Engine change one thing.

        Raises:
            StepFailed: it refuses.
        """
        try:
            await self._engine.answer(request, change)
        except EngineRefused as fault:
            raise StepFailed(step, "the Engine refuses.", output=(fault.detail,)) from fault

    async def _services(self, project: Project) -> Mapping[str, Mapping[str, Any]]:
        services: Mapping[str, Mapping[str, Any]] = (await self._document(project, {}))["services"]
        return services

    async def _document(self, project: Project, variables: Mapping[str, str]) -> dict[str, Any]:
        if project.model is not None:
            model: dict[str, Any] = msgspec.json.decode(
                await self._read(project, project.model) or b"{}"
            )
            return model
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


class _Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One container of a project."""

    name: str
    service: str
    body: Mapping[str, Any]

    def image(self, project: Project) -> str:
        """The image that it is made from."""
        return str(self.body.get("image") or f"{project.name}-{self.service}")

    @property
    def never_pulled(self) -> bool:
        """Whether its image must be at hand."""
        return self.body.get("pull_policy") == "never"

    @property
    def ports(self) -> tuple[PublishedPort, ...]:
        """The ports that the host serves for it."""
        ports = self.body.get("ports") or ()
        return tuple(_published(port) for port in ports if _number(port).isdigit())


def _instances(project: Project, document: Mapping[str, Any]) -> list[_Instance]:
    return [
        _Instance(
            name=str(body.get("container_name") or f"{project.name}-{service}-{number}"),
            service=service,
            body=body,
        )
        for service, body in sorted(document["services"].items())
        for number in range(1, int(body.get("scale", 1)) + 1)
    ]


def _number(port: Mapping[str, Any]) -> str:
    return str(port.get("published", ""))


def _published(port: Mapping[str, Any]) -> PublishedPort:
    return PublishedPort(
        container_port=int(port["target"]),
        protocol=port.get("protocol", "tcp"),
        host_address=port.get("host_ip", "0.0.0.0"),  # noqa: S104 - as the Engine does
        host_port=int(_number(port)),
    )


def _no_image(output: str) -> StepFailed:
    return StepFailed(Step.START, "an image cannot be had.", output=(output,))
