"""What is really there: on an Engine, on disk, in the store, among the processes.

Read past the agent, so that what it says of itself proves nothing. For an Engine that one agent has
for itself.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import docker
import msgspec
import psutil

from domain.arrangement import ENVIRONMENT_LABEL
from domain.bundles import BundleRecord
from domain.environments import Environment, EnvironmentState
from domain.images import REPOSITORY, ImageRecord
from domain.operations import Operation
from tests.support import engine

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"

T = TypeVar("T")
_Row = Mapping[str, Any]

_OF_THE_ENGINE = {"bridge", "host", "none"}


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """What the store holds."""

    environments: Mapping[str, Environment]
    operations: Sequence[Operation]
    """Oldest request first."""
    images: Mapping[str, ImageRecord]
    bundles: Mapping[str, BundleRecord]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What an Engine holds."""

    containers: Sequence[_Row]
    networks: Sequence[_Row]
    volumes: Sequence[_Row]
    images: Sequence[_Row]

    def of(self, name: str) -> Sequence[_Row]:
        """The containers of an environment."""
        return [row for row in self.containers if row["Labels"].get(PROJECT) == name]


def text_of(path: Path) -> str:
    """What a file holds; nothing where the agent, which may be at work, has taken it away."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def records(root: Path) -> Records:
    """The records of the agent whose folders lie in ``root``; it may be running."""
    address = f"file:{root}/state/agent.db?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=10)) as store:
        operations = _documents(store, "operations", Operation)
        return Records(
            environments={e.name: e for e in _documents(store, "environments", Environment)},
            operations=sorted(operations, key=lambda o: (o.requested_at, o.id)),
            images={i.tag: i for i in _documents(store, "images", ImageRecord)},
            bundles={b.digest: b for b in _documents(store, "bundles", BundleRecord)},
        )


def _documents(store: sqlite3.Connection, table: str, kind: type[T]) -> Sequence[T]:
    rows = store.execute(f"SELECT document FROM {table}")  # noqa: S608 - names of our own
    return [msgspec.json.decode(row[0], type=kind) for row in rows]


def standing(client: docker.APIClient) -> Standing:
    """What the Engine holds now, but what every Engine has."""
    networks = client.networks()
    return Standing(
        containers=client.containers(all=True),
        networks=[row for row in networks if row["Name"] not in _OF_THE_ENGINE],
        volumes=client.volumes()["Volumes"] or [],
        images=client.images(),
    )


def disagreements(client: docker.APIClient, root: Path) -> list[str]:
    """What does not agree, or belongs to nobody, while no operation is under way."""
    return [*_compared(records(root), standing(client), root), *strays(root)]


def _compared(known: Records, held: Standing, root: Path) -> Iterator[str]:
    yield from _open_operations(known)
    stands = {name: e for name, e in known.environments.items() if e.deployed}
    for name, record in stands.items():
        yield from _state(record, held.of(name))
    yield from _nobodys_containers(stands, held)
    yield from _networks(stands, held)
    yield from _nobodys_volumes(stands, held)
    yield from _images(known, stands, held)
    yield from _files(known, stands, root)


def _open_operations(known: Records) -> Iterator[str]:
    for operation in known.operations:
        if not operation.state.ended:
            yield f"operation {operation.id} of {operation.subject} is {operation.state} for ever"
    for name, record in known.environments.items():
        if record.state in {EnvironmentState.DEPLOYING, EnvironmentState.DELETING}:
            yield f"{name} is {record.state} for ever"
        if not record.deployed and (record.networks or record.images):
            yield f"{name} has failed and holds {record.networks} and {record.images}"


def shown_state(containers: Sequence[_Row]) -> EnvironmentState:
    """The state of an environment whose containers all run for ever."""
    running = [row for row in containers if row["State"] == "running"]
    if not running:
        return EnvironmentState.STOPPED
    whole = len(running) == len(containers)
    return EnvironmentState.RUNNING if whole else EnvironmentState.DEGRADED


def _state(record: Environment, containers: Sequence[_Row]) -> Iterator[str]:
    shown = shown_state(containers)
    if record.state is not shown:
        states = {row["Names"][0]: row["State"] for row in containers}
        yield f"{record.name} is {record.state} by its record, and {shown} by {states}"
    wanted = sorted((s.name, f"/{record.name}-{s.name}-1") for s in record.services)
    found = sorted((row["Labels"][SERVICE], row["Names"][0]) for row in containers)
    if wanted != found:
        yield f"{record.name} has containers {found} instead of {wanted}"


def _nobodys_containers(stands: Collection[str], held: Standing) -> Iterator[str]:
    for row in held.containers:
        owner = row["Labels"].get(PROJECT)
        if owner not in stands:
            yield f"container {row['Names'][0]} of {owner} belongs to nobody"
        elif row["Labels"].get(ENVIRONMENT_LABEL) != owner:
            yield f"container {row['Names'][0]} is not marked with its environment"


def _networks(stands: Mapping[str, Environment], held: Standing) -> Iterator[str]:
    wanted = {f"{name}_{n}": s for name, e in stands.items() for n, s in e.networks.items()}
    found = {row["Name"]: row["IPAM"]["Config"][0]["Subnet"] for row in held.networks}
    if len(found) < len(held.networks):
        yield f"networks stand twice: {sorted(row['Name'] for row in held.networks)}"
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            yield f"network {name} has {found.get(name)} and should have {wanted.get(name)}"


def _nobodys_volumes(stands: Collection[str], held: Standing) -> Iterator[str]:
    for row in held.volumes:
        if (row["Labels"] or {}).get(PROJECT) not in stands:
            yield f"volume {row['Name']} belongs to nobody"


def _images(known: Records, stands: Mapping[str, Environment], held: Standing) -> Iterator[str]:
    tags = {tag for row in held.images for tag in row["RepoTags"] or () if tag != "<none>:<none>"}
    tags.discard(engine.BASE_IMAGE)
    for tag in sorted(tags - known.images.keys()):
        yield f"image {tag} has no record"
    for tag, record in known.images.items():
        if tag not in tags:
            yield f"the record of image {tag} has no image"
        owner = stands.get(record.environment) if record.environment else None
        if record.environment and not (owner and _runs(owner, tag, held)):
            yield f"image {tag} is {record.environment}'s own, which does not run it"
    for name, environment in stands.items():
        for tag in set(environment.images.values()) - tags:
            yield f"image {tag} of {name} is gone"
    for tag in tags:
        if not tag.startswith(f"{REPOSITORY}/"):
            yield f"image {tag} was pulled or named by a lab"


def _runs(owner: Environment, tag: str, held: Standing) -> bool:
    # A rebuild that failed may have left containers of the earlier image.
    return tag in owner.images.values() or any(r["Image"] == tag for r in held.of(owner.name))


def _files(known: Records, stands: Mapping[str, Environment], root: Path) -> Iterator[str]:
    workspace, own = root / "ws", root / "ws" / ".agent"
    yield from _names("workspace", _listed(workspace), {".agent", *stands})
    yield from _names("models", _listed(own / "models"), {f"{name}.json" for name in stands})
    for folder in ("bundles", "operations", "removed"):
        yield from _names(folder, _listed(own / folder), set())
    archives = {digest.removeprefix("sha256:") for digest in known.bundles}
    yield from _names("library", _listed(own / "library"), archives)
    models = "".join(text_of(path) for path in (own / "models").glob("*.json"))
    copies = {name for name in _listed(own / "apart") if name in models}
    yield from _names("apart", _listed(own / "apart"), copies)
    state = {name for name in _listed(root / "state") if not name.startswith("agent.db")}
    yield from _names("state", state, {"compose", "reserve"})


def _listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _names(what: str, found: set[str], wanted: set[str]) -> Iterator[str]:
    for name in sorted(found - wanted):
        yield f"{what}: {name} belongs to nobody"
    for name in sorted(wanted - found):
        yield f"{what}: {name} is not there"


def commands(root: Path) -> list[psutil.Process]:
    """Commands that the agent whose folders lie in ``root`` has started, and what these started."""
    wanted = {"DOCKER_CONFIG": f"{root}/state/compose"}
    found = []
    for process in psutil.process_iter():
        try:
            if wanted.items() <= process.environ().items():
                found.append(process)
        except psutil.Error:
            continue  # it has ended
    return found


def strays(root: Path) -> Iterator[str]:
    """Commands that run although nobody waits for them."""
    for process in commands(root):
        try:
            yield f"process {process.pid} still runs: {' '.join(process.cmdline())}"
        except psutil.Error:
            continue  # it has ended
