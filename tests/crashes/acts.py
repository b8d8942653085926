"""What agents are asked to do, and what they do by themselves."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

import anyio
import anyio.lowlevel
import httpx
import msgspec

from domain.containers import SERVICE_LABEL
from domain.names import EnvironmentName, bundle_digest
from domain.operations import OperationState, Step
from domain.usecases.lifetimes import Amendment
from tests.support.agents import KEY, World
from tests.support.api import (
    BUNDLES,
    CONTAINERS,
    ENVIRONMENTS,
    OPERATIONS,
    REGISTRIES,
    WAIT,
    call,
    change,
)
from tests.support.bundles import zip_bundle

LAB = "lab"
OTHER = "other"

PLAIN = zip_bundle({"compose.yaml": "services: {solo: {image: 'nginx:1'}}"})
MISSING = zip_bundle({"compose.yaml": "services: {solo: {image: missing/image}}"})
FORBIDDEN = zip_bundle({"compose.yaml": "services: {web: {image: 'nginx:1', privileged: true}}"})

_RICH = """
services:
  web: {build: ., ports: ["8080:80"], networks: [front, back], volumes: ["data:/data", ".:/app"]}
  job: {image: "postgres:16", networks: [back], volumes: ["./conf:/conf", "db:/db"]}
networks: {front: {}, back: {}}
volumes: {data: {}, db: {}}
"""


def rich(
    dockerfile: str = "FROM scratch\nRUN true\n", *, compose: str = _RICH, last: str = ""
) -> bytes:
    """A lab with everything: a build, a pull, two networks, volumes, files that are mounted."""
    files = {"compose.yaml": compose + last, "Dockerfile": dockerfile, "conf/a": "1"}
    return zip_bundle(files)


RICH = rich()
RICH_AGAIN = rich("FROM scratch\nRUN echo again\n")
RICH_RENAMED = rich(compose=_RICH.replace("job:", "work:").replace("back", "rear"))
RICH_BROKEN = rich("FROM scratch\nRUN exit 1\n")
RICH_MISSING = rich(
    "FROM busybox\nRUN echo new\n", compose=_RICH.replace("postgres:16", "missing/x")
)
RICH_PORT_TAKEN = rich("FROM scratch\nRUN echo new\n", compose=_RICH.replace("8080", "9090"))
RICH_FORBIDDEN = rich(compose=_RICH.replace("image:", "privileged: true, image:"))
SECRET = rich("FROM scratch\nCOPY vpn.ovpn /etc/vpn.ovpn\n")
SECRET_AGAIN = rich("FROM scratch\nCOPY vpn.ovpn /etc/again.ovpn\n")

Act = Callable[[World, "Story"], Awaitable[None]]


@dataclass
class Story:
    """What came of an act as far as whoever asked for it knows."""

    answers: list[httpx.Response] = field(default_factory=list)
    promised: set[str] = field(default_factory=set)
    """Environments whose removal was accepted."""

    def tell(self, answer: httpx.Response) -> httpx.Response:
        """Takes an answer down."""
        self.answers.append(answer)
        return answer


async def launch(
    world: World, story: Story, /, *, archive: bytes, name: str = LAB, vpn: bytes = b"client\n"
) -> None:
    """The manager's way, which keeps no bundle."""
    story.tell(await world.launch(name, archive, vpn))


async def put(world: World, story: Story, /, *, archive: bytes, name: str = LAB) -> None:
    """The API's way, with a bundle that was uploaded before."""
    body = {"bundle": _digest(archive)}
    story.tell(await call(world, "PUT", f"{ENVIRONMENTS}/{name}", body, WAIT))


async def put_with_upload(world: World, story: Story, /, *, archive: bytes) -> None:
    """The API's way, from the upload on."""
    await uploaded(world, story, archive=archive)
    await put(world, story, archive=archive)


async def leave_something(world: World, _story: Story, /) -> None:
    """Containers write into all volumes."""
    for volume in world.engine.volumes:
        world.engine.contents[volume] = "precious"


async def occupy_port(world: World, _story: Story, /) -> None:
    """Somebody else's container publishes a port."""
    world.engine.ports[9090] = world.engine.run("somebody-elses").name


async def delete(world: World, story: Story, /, *, name: str = LAB) -> None:
    """Asks for a removal, without waiting for its end."""
    answer = story.tell(await call(world, "DELETE", f"{ENVIRONMENTS}/{name}"))
    if answer.status_code == 202:
        story.promised.add(name)


async def changed(world: World, story: Story, /, *, what: str) -> None:
    """A change of an environment that stands."""
    story.tell(await change(world, LAB, what))


async def in_the_midst(world: World, step: Step) -> None:
    """Returns when the environment's operation is at work in a step, or has ended."""
    while (ticket := world.agent.operations.running(EnvironmentName(LAB))) is not None:
        if ticket.operation.step is step and _IN_THE_MIDST[step] in "".join(ticket.run.tail):
            return
        await anyio.lowlevel.checkpoint()


_IN_THE_MIDST = {
    Step.UNPACK: "",
    Step.CHECK: "",
    Step.BUILD: "load build definition",
    Step.STOP: "Stopped",
    Step.START: "Started",
}
"""What an operation has printed when it is in the midst of a step."""


async def begun(world: World, story: Story, archive: bytes) -> str:
    """Begins a deploy and waits for its turn; its operation, or nothing where it was refused."""
    body = {"bundle": _digest(archive)}
    answer = story.tell(await call(world, "PUT", f"{ENVIRONMENTS}/{LAB}", body))
    while (ticket := world.agent.operations.under_way(EnvironmentName(LAB))) is not None:
        if ticket.operation.state is OperationState.RUNNING:
            break
        await anyio.lowlevel.checkpoint()
    identifier: str = answer.json().get("id", "")
    return identifier


async def delete_while_deploying(world: World, story: Story, /, *, step: Step) -> None:
    """A removal cuts a deploy off."""
    await begun(world, story, RICH)
    await in_the_midst(world, step)
    await delete(world, story)


async def cancel(world: World, story: Story, /, *, step: Step) -> None:
    """Somebody cancels a deploy under way."""
    if operation := await begun(world, story, RICH):
        await in_the_midst(world, step)
        story.tell(await call(world, "DELETE", f"{OPERATIONS}/{operation}"))


async def uploaded(world: World, story: Story, /, *, archive: bytes = RICH) -> None:
    """An upload."""
    story.tell(await world.http.post(BUNDLES, content=archive, headers=KEY))


def _digest(archive: bytes) -> str:
    return bundle_digest(sha256(archive).hexdigest())


async def built_ahead(world: World, story: Story, /, *, archive: bytes = RICH) -> None:
    """A bundle's images are built before anybody deploys it."""
    path = f"{BUNDLES}/{_digest(archive)}/build"
    story.tell(await call(world, "POST", path, headers=WAIT))


async def removed_bundle(world: World, story: Story, /, *, archive: bytes = RICH) -> None:
    """A bundle is removed."""
    story.tell(await call(world, "DELETE", f"{BUNDLES}/{_digest(archive)}"))


async def looked_into(world: World, story: Story, /, *, archive: bytes = RICH) -> None:
    """Somebody asks what a bundle holds."""
    story.tell(await call(world, "GET", f"{BUNDLES}/{_digest(archive)}"))


async def patched(world: World, story: Story, /) -> None:
    """End, hold and labels are changed."""
    body = {"ttl": "1h", "hold": {"owner": "a", "reason": "b"}, "labels": {"c": "d"}}
    story.tell(await call(world, "PATCH", f"{ENVIRONMENTS}/{LAB}", body))


async def patched_while_replaced(world: World, story: Story, /) -> None:
    """Labels are changed while a replacement is under way, which then fails."""
    await begun(world, story, RICH_MISSING)
    await in_the_midst(world, Step.BUILD)
    story.tell(await call(world, "PATCH", f"{ENVIRONMENTS}/{LAB}", {"labels": {"c": "d"}}))


async def image_at_hand(world: World, _story: Story, /) -> None:
    """Somebody pulled an image."""
    world.engine.pull("nginx:1")


async def made_alone(world: World, story: Story, /) -> None:
    """A container is made by itself, and started."""
    body = {"name": "alone", "image": "nginx:1", "ports": ["8081:80"], "volumes": ["own:/own"]}
    story.tell(await call(world, "POST", f"{CONTAINERS}?start=true", body))


async def restarted_alone(world: World, story: Story, /) -> None:
    """It is stopped, renamed and started again."""
    for what in ("stop", "rename?name=apart", "start"):
        name = "apart" if what == "start" else "alone"
        story.tell(await call(world, "POST", f"{CONTAINERS}/{name}/{what}"))


async def removed_alone(world: World, story: Story, /) -> None:
    """It is removed while it runs."""
    story.tell(await call(world, "DELETE", f"{CONTAINERS}/alone?force=true"))


async def credentials_kept(world: World, story: Story, /) -> None:
    """Credentials for a registry are kept."""
    body = {"username": "jana", "password": "secret"}
    story.tell(await call(world, "PUT", f"{REGISTRIES}/registry.example.org", body))


async def expires(world: World, _story: Story, /) -> None:
    """The environment's time is over; nobody looks yet."""
    await world.agent.lifetimes.amend(
        EnvironmentName(LAB), Amendment(expires_at=world.agent.lifetimes.after(5)), by="test"
    )
    world.clock._pass(10)


async def look_at_lifetimes(world: World, story: Story, /) -> None:
    """The agent looks whose time is over."""
    await world.agent.lifetimes.tick()
    if world.agent.operations.under_way(EnvironmentName(LAB)):
        story.promised.add(LAB)


_LEGACY = b"services: {web: {build: ., volumes: ['data:/d']}}\nvolumes: {data: {}}\n"


async def earlier_agents(world: World, _story: Story, /) -> None:
    """An earlier agent deployed an environment, without records."""
    engine, image = world.engine, "sha256:of-an-earlier-agent"
    world.workspaces.standing[EnvironmentName(LAB)] = {
        ("compose.yaml",): _LEGACY,
        ("Dockerfile",): b"FROM scratch\nRUN true\n",
    }
    engine.keep_image(image, LAB, "web", {})
    engine.tag(image, f"{LAB}-web")
    container = engine.run(f"{LAB}-web-1", image=f"{LAB}-web", project=LAB)
    labels = {**container.labels, SERVICE_LABEL: "web"}
    engine.containers[container.name] = msgspec.structs.replace(container, labels=labels)
    engine.create_network(f"{LAB}_default", LAB, None, {})
    engine.create_volume(f"{LAB}_data", LAB, {})


async def recover(world: World, _story: Story, /) -> None:
    """The agent starts."""
    await world.agent.recovery.run()


async def two_at_once(world: World, story: Story, /, *, second: bytes) -> None:
    """Two environments are deployed at once that need the same image."""
    async with anyio.create_task_group() as group:
        for name, archive in ((LAB, SHARED), (OTHER, second)):
            group.start_soon(partial(put, world, story, archive=archive, name=name))


_SHARED = "services: {web: {build: .}, db: {image: 'postgres:16'}}"
SHARED = zip_bundle({"compose.yaml": _SHARED, "Dockerfile": "FROM busybox\nRUN true\n"})
SHARED_MISSING = zip_bundle(
    {
        "compose.yaml": _SHARED.replace("'postgres:16'", "missing/x"),
        "Dockerfile": "FROM busybox\nRUN true\n",
    }
)
SHARED_BROKEN = zip_bundle(
    {
        "compose.yaml": _SHARED[:-1] + ", y: {build: {context: ., dockerfile: Broken}}}",
        "Dockerfile": "FROM busybox\nRUN true\n",
        "Broken": "FROM busybox\nRUN exit 1\n",
    }
)
