"""Calls of ``/api/v1/containers`` as tests make them."""

from typing import Any

import httpx
import msgspec

from domain.containers import Container, ContainerState
from tests.support.agents import OWN_CONTAINER, World
from tests.support.api import PLAIN, call, deploy

CONTAINERS = "/api/v1/containers"


async def create(
    world: World, name: str = "web", *, query: str = "", **fields: Any
) -> httpx.Response:
    """Asks for a container of an image that is at hand."""
    world.engine.pull("busybox")
    body = {"name": name, "image": "busybox", "command": ["sleep", "600"], **fields}
    return await call(world, "POST", f"{CONTAINERS}{query}", body)


async def run(world: World, name: str = "web", **fields: Any) -> dict[str, Any]:
    """A container that runs."""
    answer = await create(world, name, query="?start=true", **fields)
    assert answer.status_code == 201, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def act(
    world: World, container: str, what: str, method: str = "POST", **query: Any
) -> httpx.Response:
    """Does something to a container, or asks something of it."""
    return await call(
        world, method, f"{CONTAINERS}/{container}/{what}?{httpx.QueryParams(query)}".rstrip("?/")
    )


async def look(world: World, name: str) -> httpx.Response:
    """Asks for one container."""
    return await call(world, "GET", f"{CONTAINERS}/{name}")


async def remove(world: World, name: str, **query: Any) -> httpx.Response:
    """Removes a container."""
    return await call(world, "DELETE", f"{CONTAINERS}/{name}?{httpx.QueryParams(query)}")


async def names(world: World, **query: Any) -> list[str]:
    """The names of those that are listed."""
    answer = await call(
        world, "GET", f"{CONTAINERS}?{httpx.QueryParams({'fresh': 'true', **query})}"
    )
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json()["containers"]]


async def lab(world: World, name: str = "lab") -> str:
    """The name of the container of an environment."""
    assert (await deploy(world, name, PLAIN)).status_code == 200
    return f"{name}-solo-1"


def the_agents_own(world: World) -> Container:
    """The container that the agent itself runs in."""
    world.engine.pull("agent")
    container = msgspec.structs.replace(world.engine.run("the-agent"), id=OWN_CONTAINER)
    world.engine.containers["the-agent"] = container
    assert container.state is ContainerState.RUNNING
    return container
