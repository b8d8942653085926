"""Whether a host is in order: whatever stands on it belongs to an environment, wholly."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from adapters.memory.engine import MemoryEngine
from domain.arrangement import resource_name
from domain.container_orders import ORDER_LABEL
from domain.containers import Container, ContainerState
from domain.environments import Environment, EnvironmentState
from domain.images import REPOSITORY
from domain.memo import MEMO_KEY
from domain.names import EnvironmentName
from domain.operations import OperationState
from tests.support.agents import Outside, World

_OPERATION = re.compile(r"\bid-\d{4}\b")

_CHANGING = ("updated_at", "operation", "reason", "last_error", "warned")


def records(outside: Outside) -> Mapping[EnvironmentName, Environment]:
    """What is known of environments."""
    return outside.store.environments._records


def told(outside: Outside, name: str) -> dict[str, Any]:
    """All that there is of an environment, but for what differs from one attempt to the next."""
    environment, engine, disk = EnvironmentName(name), outside.engine, outside.workspaces
    record = records(outside).get(environment)
    # An earlier agent's environment gets its model when the files are judged for the first time.
    judged = record is None or record.modelled or not record.deployed
    document = dict(disk.models.get(f"/models/{name}", {})) if judged else {}
    # It is brought up to date by the next look.
    document.pop(MEMO_KEY, None)
    model = msgspec.json.encode(document).decode()
    return {
        "record": _lasting(record),
        "containers": {c.name: _container(outside, c) for c in _of(outside, name)},
        "networks": {n: engine.subnets.get(n) for n, o in engine.networks.items() if o == name},
        "volumes": {v: engine.contents.get(v) for v, o in engine.volumes.items() if o == name},
        "images": {tag: engine.tags.get(tag) for tag in _images(record)},
        "files": dict(disk.files(environment)),
        "model": _OPERATION.sub("OPERATION", model),
        "copies": {
            _OPERATION.sub("OPERATION", folder): copies
            for folder, copies in disk.copies.items()
            if folder.startswith(f"/apart/{name}.")
        },
    }


def _lasting(record: Environment | None) -> dict[str, Any] | None:
    if record is None:
        return None
    fields = msgspec.structs.asdict(record)
    return {key: value for key, value in fields.items() if key not in _CHANGING}


def _container(outside: Outside, container: Container) -> tuple[Any, ...]:
    return container.image, container.running, container.ports


def _of(outside: Outside, name: str) -> list[Container]:
    return [c for c in outside.engine.containers.values() if c.project == name]


def _images(record: Environment | None) -> set[str]:
    if record is None or not record.deployed:
        return set()
    return {*record.images.values(), *(service.image for service in record.services)}


def failed_for_good(outside: Outside, name: str) -> bool:
    """Whether nothing is left of an environment but a record that tells why."""
    found = told(outside, name)
    record = records(outside).get(EnvironmentName(name))
    left = {
        key: value for key, value in found.items() if key != "record" and value not in ({}, "{}")
    }
    return (
        record is not None
        and record.state is EnvironmentState.FAILED
        and bool(record.reason)
        and not left
        and not record.networks
        and not record.images
    )


def everything(outside: Outside) -> dict[str, Any]:
    """All that is on a host, to the letter."""
    engine, store, disk = outside.engine, outside.store, outside.workspaces
    parts = {
        "engine": (engine, _OF_ENGINE),
        "disk": (disk, ("standing", "staged", "previous", "copies", "models")),
        "bundles": (disk.bundles, ("archives", "library")),
    }
    found = {"credentials": dict(outside.credentials.kept)} | {
        f"{where}.{what}": dict(getattr(holder, what))
        for where, (holder, names) in parts.items()
        for what in names
    }
    for kind in ("environments", "bundles", "images", "operations"):
        found[f"store.{kind}"] = dict(getattr(store, kind)._records)
    return found


_OF_ENGINE = ("containers", "networks", "subnets", "volumes", "contents", "images", "tags", "ports")


def disorder(world: World, *, stood: Collection[str] = (), let_down: bool = False) -> list[str]:
    """What is on a host that belongs to nobody, or is not as it should be; empty where all is well.

    Args:
        world: the agent that has put the host in order, and the host.
        stood: tags of images that may stay though nobody uses them.
        let_down: the agent was let down by what it stands on. Then changes may have been left half
            way, which the environment's next start makes good, and images may stay that it knows
            of, until they have been unused for long.
    """
    return [
        *_odd_records(world),
        *_odd_on_engine(world, half_way=let_down),
        *_odd_images(world, {*stood, *(world.store.images._records if let_down else ())}),
        *_odd_on_disk(world),
        *_odd_in_memory(world),
    ]


def _deployed(outside: Outside) -> dict[str, Environment]:
    return {name: record for name, record in records(outside).items() if record.deployed}


_SETTLED = {EnvironmentState.RUNNING, EnvironmentState.STOPPED, EnvironmentState.DEGRADED}


def _odd_records(world: World) -> Iterator[str]:
    for name, record in _deployed(world).items():
        seen = record.observed(_of(world, name))
        if record.state not in _SETTLED or record.state is not seen:
            yield f"{name} is {record.state}, and its containers show {seen}"
    for name, record in records(world).items():
        if not record.deployed and not failed_for_good(world, name):
            yield f"{name} is failed, but not for good: {record}"
    for operation in world.store.operations._records.values():
        if not operation.state.ended:
            yield f"{operation.kind} {operation.id} has not ended"


def _odd_on_engine(world: World, *, half_way: bool) -> Iterator[str]:
    yield from _odd_containers(world, half_way=half_way)
    engine, deployed = world.engine, _deployed(world)
    for kind, owned in (("network", engine.networks), ("volume", engine.volumes)):
        # What has no project was made for single containers.
        yield from (f"{kind} {n} is nobody's" for n, o in owned.items() if o not in {"", *deployed})
    for name, record in deployed.items():
        if not half_way:
            yield from _odd_networks(world, name, record)
    if engine.late:
        yield "the Engine is not done with what it was asked for"


def _odd_containers(world: World, *, half_way: bool) -> Iterator[str]:
    engine, deployed = world.engine, _deployed(world)
    for container in engine.containers.values():
        if container.project is not None and container.project not in deployed:
            yield f"container {container.name} is nobody's"
        elif not half_way and not container.name.startswith(container.project or ""):
            yield f"container {container.name} was left half way"
        elif ORDER_LABEL in container.labels and container.state is ContainerState.CREATED:
            yield f"container {container.name} was made and never started"
    for port, name in engine.ports.items():
        if name not in engine.containers:
            yield f"port {port} is held by {name}, which is gone"


def _odd_networks(world: World, name: str, record: Environment) -> Iterator[str]:
    subnets = world.engine.subnets
    wanted = {resource_name(name, key): range_ for key, range_ in record.networks.items()}
    found = {n: subnets[n] for n, o in world.engine.networks.items() if o == name and n in subnets}
    if record.modelled and wanted != found:
        yield f"{name} has the networks {found}, and its record says {wanted}"


def _odd_images(world: World, stood: Collection[str]) -> Iterator[str]:
    engine, known = world.engine, world.store.images._records
    stood = {*stood, *_made_by_successes(world)}
    used = {t for record in _deployed(world).values() for t in _images(record)}
    used = {tag if ":" in tag else f"{tag}:latest" for tag in used}
    used |= {tag for tag, image in engine.tags.items() if _owner(engine, image) in _deployed(world)}
    for tag in engine.tags:
        if tag not in used and tag not in stood:
            yield f"image {tag} is nobody's"
        if tag.startswith(REPOSITORY) and tag not in known:
            yield f"image {tag} is not written down"
    for image, (project, _) in engine.images.items():
        if image not in engine.tags.values() and project not in _deployed(world):
            yield f"image {image[:15]} of {project} has no name"
    for tag, record in known.items():
        if not engine.at_hand(tag):
            yield f"image {tag} is written down and gone"
        if record.environment is not None and tag not in used:
            yield f"image {tag} is {record.environment}'s own, which does not use it"


def _owner(engine: MemoryEngine, image: str) -> str:
    return engine.images.get(image, ("", ""))[0]


def _made_by_successes(world: World) -> Iterator[str]:
    """Images that stay for the next who needs them, until they have been unused for long."""
    for operation in world.store.operations._records.values():
        if operation.state is OperationState.SUCCEEDED:
            yield from (*operation.builds, *operation.pulls)


def _odd_on_disk(world: World) -> Iterator[str]:
    disk, deployed = world.workspaces, _deployed(world)
    for what, found in (
        ("staged", disk.staged),
        ("previous", disk.previous),
        ("archive", disk.bundles.archives),
    ):
        yield from (f"{what} {key} is left" for key in found)
    yield from (f"folder of {name} is nobody's" for name in disk.standing if name not in deployed)
    models = {f"/models/{name}": record for name, record in deployed.items()}
    yield from (f"model {path} is left" for path in disk.models if path not in models)
    for path, record in models.items():
        if record.modelled and path not in disk.models:
            yield f"model {path} is gone"
    text = msgspec.json.encode(disk.models).decode()
    yield from (f"copy {folder} is left" for folder in disk.copies if folder not in text)
    kept, known = set(disk.bundles.library), set(world.store.bundles._records)
    yield from (f"bundle {digest} is not written down" for digest in kept - known)
    yield from (f"bundle {digest} is written down and gone" for digest in known - kept)


def _odd_in_memory(world: World) -> Iterator[str]:
    agent = world.agent
    for what, held in (
        ("operations", agent.operations._lines),
        ("keys", agent.operations._keys),
        ("builds", agent.builds._locks),
        ("needs", agent.builds._needed),
        ("reservations", agent.deploy._admission._reserved),
        ("bundles in use", agent.library._in_use),
        ("pulls", agent.images.pulls._pulls),
    ):
        if held:
            yield f"{what} in memory: {held}"
    if broke := world.log.named("operation broke"):
        yield f"the agent failed: {broke}"
