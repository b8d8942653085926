"""What must stand of an environment after some operations, and whether it does."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import msgspec
from docker.errors import NotFound

from domain.environments import EnvironmentState
from domain.errors import EnvironmentNotFound
from domain.operations import Operation, OperationKind, OperationState, Step
from tests.support.ground_truth import (
    PROJECT,
    SERVICE,
    Records,
    Standing,
    records,
    standing,
    text_of,
)
from tests.support.versioned_labs import VERSION_FILE, VERSION_LABEL, Lab

_UNTOUCHED = {None, Step.UNPACK, Step.CHECK, Step.BUILD}
"""Up to these steps a redeploy leaves alone what it will replace."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What must stand of one environment."""

    lab: Lab | None = None
    """What runs; None for nothing."""
    failed: bool | None = False
    """Whether there is a record of a deploy that failed, where nothing runs; None for either."""
    running: bool | None = True
    """False where it is stopped; None for any state."""
    born: str = ""
    """The version that its data is of."""
    volumes: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    """Identifiers that they must have still; empty for any."""


NOTHING = Expected()

_replace = msgspec.structs.replace


def after(before: Expected, operations: Sequence[Operation], labs: Mapping[str, Lab]) -> Expected:
    """What must stand after operations of one environment, which have ended, in their order.

    Args:
        before: what stood.
        operations: what was done.
        labs: digest of a bundle → what is in it.
    """
    now = before
    for operation in operations:
        if operation.kind is OperationKind.DEPLOY:
            now = _deployed(now, operation, labs[operation.bundle or ""])
        else:
            now = _changed(now, operation)
    return now


def _deployed(before: Expected, operation: Operation, lab: Lab) -> Expected:
    if operation.state is OperationState.SUCCEEDED:
        born = before.born if before.lab else lab.version
        return Expected(lab=lab, born=born, volumes=before.volumes | lab.volumes)
    if before.lab is None:
        # What was cut off before its first step may have left no record yet.
        return Expected(failed=None if operation.step is None else True)
    if operation.step in _UNTOUCHED:
        return before
    return _replace(before, containers=frozenset())


def _changed(before: Expected, operation: Operation) -> Expected:
    if operation.state is not OperationState.SUCCEEDED:
        # What was interrupted has been taken up by an operation of its own, if it had begun.
        cut = operation.state is not OperationState.INTERRUPTED and operation.started_at is not None
        return _replace(before, running=None, containers=frozenset()) if cut else before
    lab = before.lab
    if lab is None or operation.kind is OperationKind.DELETE:
        return NOTHING
    if operation.kind is OperationKind.RESET:
        return Expected(lab=lab, born=lab.version, volumes=lab.volumes)
    made_anew = operation.kind is OperationKind.REBUILD
    return _replace(
        before,
        running=operation.kind is not OperationKind.STOP,
        containers=frozenset() if made_anew else before.containers,
    )


def unexpected_ends(operations: Sequence[Operation], labs: Mapping[str, Lab]) -> Iterator[str]:
    """Operations that ended as none of their kind may."""
    for operation in operations:
        lab = labs.get(operation.bundle or "")
        may_fail = lab is not None and not lab.good
        # What was asked for behind a removal comes too late.
        too_late = operation.error == EnvironmentNotFound.code
        if operation.state is OperationState.FAILED and not (may_fail or too_late):
            yield (
                f"{operation.kind} of {operation.subject} ({lab}) failed in {operation.step}: "
                f"{operation.reason}"
            )
        if operation.state is OperationState.SUCCEEDED and may_fail:
            yield f"{operation.kind} of {operation.subject} ({lab}) succeeded"


def seen(client: docker.APIClient, expected: Expected, name: str) -> Expected:
    """The same expectation, held to the containers that stand now."""
    identifiers = frozenset(row["Id"] for row in standing(client).of(name))
    return _replace(expected, containers=identifiers)


def departures(
    client: docker.APIClient, root: Path, expected: Mapping[str, Expected]
) -> Iterator[str]:
    """What is not as it must be.

    Args:
        client: of the Engine.
        root: of the agent's folders.
        expected: name → what must stand.
    """
    known, held = records(root), standing(client)
    for name in sorted(known.environments.keys() - expected.keys()):
        yield f"nobody asked for {name}"
    for name, wanted in expected.items():
        faults = _nothing if wanted.lab is None else _lab
        for fault in faults(client, root, name, wanted, known, held):
            yield f"{name}: {fault} (wanted: {wanted})"


def _nothing(
    _client: docker.APIClient,
    root: Path,
    name: str,
    wanted: Expected,
    known: Records,
    held: Standing,
) -> Iterator[str]:
    record = known.environments.get(name)
    if record is not None and record.state is not EnvironmentState.FAILED:
        yield f"it is {record.state}"
    if wanted.failed is not None and wanted.failed is not (record is not None):
        yield f"its record is {record}"
    if record is not None and not record.last_error:
        yield "nothing tells why it failed"
    for row in held.of(name):
        yield f"container {row['Names'][0]}"
    if (root / "ws" / name).exists():
        yield "its folder stands"


def _lab(
    client: docker.APIClient,
    root: Path,
    name: str,
    wanted: Expected,
    known: Records,
    held: Standing,
) -> Iterator[str]:
    lab = wanted.lab
    assert lab is not None
    record, containers = known.environments.get(name), held.of(name)
    if record is None:
        yield "its record is gone"
        return
    state = EnvironmentState.RUNNING if wanted.running else EnvironmentState.STOPPED
    if wanted.running is not None and record.state is not state:
        yield f"it is {record.state}"
    if wanted.containers and wanted.containers != {row["Id"] for row in containers}:
        yield f"its containers are others: {[row['Names'] for row in containers]}"
    services = {row["Labels"][SERVICE] for row in containers}
    if services != lab.services:
        yield f"its services are {sorted(services)}"
    yield from _versions(client, root, name, lab, containers)
    yield from _volumes(name, wanted, held)


def _versions(
    client: docker.APIClient, root: Path, name: str, lab: Lab, containers: Sequence[Any]
) -> Iterator[str]:
    found = {
        "containers": {row["Labels"].get(VERSION_LABEL) for row in containers},
        "folder": {text_of(root / "ws" / name / VERSION_FILE).strip()},
        "image": {_image_version(client, row) for row in containers if lab.built and _web(row)},
    }
    for where, versions in found.items():
        if not versions <= {lab.version}:
            yield f"{where} of version {versions}"
    if lab.version not in text_of(root / "ws" / ".agent" / "models" / f"{name}.json"):
        yield "its model is of another version"


def _web(row: Mapping[str, Any]) -> bool:
    return bool(row["Labels"][SERVICE] == "web")


def _image_version(client: docker.APIClient, row: Mapping[str, Any]) -> str:
    try:
        found = client.inspect_image(row["ImageID"])  # type: ignore[no-untyped-call]
    except NotFound:
        return ""
    return str((found["Config"]["Labels"] or {}).get(VERSION_LABEL))


def _volumes(name: str, wanted: Expected, held: Standing) -> Iterator[str]:
    rows = {row["Name"]: row for row in held.volumes if row["Labels"].get(PROJECT) == name}
    if rows.keys() != {f"{name}_{volume}" for volume in wanted.volumes}:
        yield f"its volumes are {sorted(rows)}"
    data = rows.get(f"{name}_data")
    born = Path(data["Mountpoint"], "born") if data else None
    if wanted.running and born is not None:
        text = text_of(born).strip() or "nobody"
        if text != wanted.born:
            yield f"its data is of {text}"
