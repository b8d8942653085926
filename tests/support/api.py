"""Calls of ``/api/v1`` as tests make them, and what must be left of them on the host."""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from domain.names import EnvironmentName
from tests.support.agents import KEY, World
from tests.support.bundles import zip_bundle

WAIT = {"Prefer": "wait=60"}
"""Longer than anything takes that does not hang."""

ENVIRONMENTS = "/api/v1/environments"
OPERATIONS = "/api/v1/operations"
BUNDLES = "/api/v1/bundles"
CONTAINERS = "/api/v1/containers"
REGISTRIES = "/api/v1/registries"

WEB_COMPOSE = "services: {web: {build: .}}"
WEB = zip_bundle({"compose.yaml": WEB_COMPOSE, "Dockerfile": "FROM busybox\nRUN true\n"})
OTHER = zip_bundle({"compose.yaml": WEB_COMPOSE, "Dockerfile": "FROM busybox\nRUN echo other\n"})
BROKEN = zip_bundle({"compose.yaml": WEB_COMPOSE, "Dockerfile": "FROM busybox\nRUN exit 1\n"})
PLAIN = zip_bundle({"compose.yaml": "services: {solo: {image: 'nginx:1'}}"})
MISSING = zip_bundle({"compose.yaml": "services: {solo: {image: missing/image}}"})


def lab(compose: str, **files: str) -> bytes:
    """A bundle with a Compose file and others beside it."""
    return zip_bundle({"compose.yaml": compose, **files})


async def call(
    world: World,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Any call, with the key."""
    content = msgspec.json.encode(body) if body is not None else None
    sent = {**KEY, **(headers or {})}
    return await world.http.request(method, path, content=content, headers=sent)


async def upload(world: World, archive: bytes) -> str:
    """Uploads a bundle; its digest."""
    answer = await world.http.post(BUNDLES, content=archive, headers=KEY)
    assert answer.status_code in {200, 201}, answer.text
    digest: str = answer.json()["digest"]
    return digest


async def deploy(
    world: World,
    name: str | None,
    archive: bytes,
    /,
    headers: Mapping[str, str] = WAIT,
    **fields: Any,
) -> httpx.Response:
    """Deploys under a name, in place of what stands there; waits for its end unless told not to."""
    body = {"bundle": await upload(world, archive), **fields}
    if name is None:
        return await call(world, "POST", ENVIRONMENTS, body, headers)
    return await call(world, "PUT", f"{ENVIRONMENTS}/{name}", body, headers)


async def begin(world: World, name: str, archive: bytes, /, **fields: Any) -> str:
    """Asks for a deploy and lets it come as far as it does without time; its operation."""
    answer = await deploy(world, name, archive, headers={}, **fields)
    assert answer.status_code == 202, answer.text
    await world.clock.advance(0)
    operation: str = answer.json()["id"]
    return operation


async def change(world: World, name: str, what: str, **parameters: str) -> httpx.Response:
    """Starts, stops, restarts, rebuilds or resets, and waits for the end."""
    query = f"?{httpx.QueryParams(parameters)}" if parameters else ""
    return await call(world, "POST", f"{ENVIRONMENTS}/{name}/{what}{query}", headers=WAIT)


async def remove(world: World, name: str, *, force: bool = False) -> httpx.Response:
    """Removes an environment and waits for the end."""
    query = "?force=true" if force else ""
    return await call(world, "DELETE", f"{ENVIRONMENTS}/{name}{query}", headers=WAIT)


async def shown(world: World, name: str) -> dict[str, Any]:
    """An environment as the API shows it, with containers as they are now."""
    answer = await call(world, "GET", f"{ENVIRONMENTS}/{name}?fresh=true")
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def operation(world: World, identifier: str) -> dict[str, Any]:
    """An operation as the API shows it."""
    answer = await call(world, "GET", f"{OPERATIONS}/{identifier}")
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def exists(world: World, name: str) -> bool:
    """Whether the API knows an environment of the name."""
    answer = await call(world, "GET", f"{ENVIRONMENTS}/{name}")
    assert answer.status_code in {200, 404}, answer.text
    return answer.status_code == 200


def model_of(world: World, name: str) -> dict[str, Any]:
    """The document that Compose was given to start an environment."""
    return dict(world.workspaces.models[f"/models/{name}"])


async def image_tags(world: World) -> set[str]:
    """Tags of images that came to the host for environments and are known to the agent."""
    return {record.tag for record in await world.store.images.list()}


async def left_of(world: World, name: str) -> list[str]:
    """What is left of an environment but its record and images, each in a word or two."""
    engine, files = world.engine, world.workspaces
    record = await world.store.environments.get(EnvironmentName(name))
    return [
        *engine.of_project(name),
        *(f"network {network}" for network, owner in engine.networks.items() if owner == name),
        *(f"volume {volume}" for volume, owner in engine.volumes.items() if owner == name),
        *(f"file {path}" for path in files.files(EnvironmentName(name))),
        *(f"staged {run}" for run in files.staged),
        *(f"previous {run}" for run in files.previous),
        *(f"archive {archive}" for archive in files.bundles.archives),
        *(f"model {path}" for path in files.models if path.startswith("/models/id-")),
        *(f"model {path}" for path in files.models if path == f"/models/{name}"),
        *(f"subnet {subnet}" for subnet in (record.networks.values() if record else ())),
    ]
