"""Judges resolved models: the table, and the rules that need more than one place."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from domain.compose_model import Document
from domain.compose_policy.addresses import subnet
from domain.compose_policy.checks import Scope, anything, keys, shown
from domain.compose_policy.mounts import bodies_of, judge_mounts
from domain.compose_policy.rules import PolicyRules
from domain.compose_policy.table import MODEL, TRUSTED_MODEL
from domain.compose_policy.values import image, inside, normal_path
from domain.findings import Finding

MOST_PORTS = 100
"""How many ports of the host one environment may publish; each costs the host a process."""

_IMAGE_CONTEXT = "docker-image://"
_SERVICE_CONTEXT = "service:"


def judge(document: Document, rules: PolicyRules, *, folder: str) -> tuple[Finding, ...]:
    """Everything in a resolved model that this host does not allow.

    Args:
        document: as Compose resolved it, with the services of all profiles.
        rules: how far this host goes.
        folder: where the bundle was unpacked; absolute. Empty where there is none.
    """
    services = document.get("services")
    scope = Scope(
        rules=rules,
        folder=folder,
        services=frozenset(services if isinstance(services, Mapping) else ()),
    )
    if rules.trusted:
        return tuple(keys(TRUSTED_MODEL, unknown=anything)(document, "", scope))
    return (*keys(MODEL)(document, "", scope), *_together(document, scope))


def judge_service(
    name: str,
    body: Mapping[str, Any],
    rules: PolicyRules,
    *,
    folder: str = "",
    volumes: Collection[str] = (),
) -> tuple[Finding, ...]:
    """The same for one service alone, as a single container is asked for.

    Args:
        name: of the service.
        body: as it would stand in a resolved model.
        rules: how far this host goes.
        folder: the only folder, beside the operator's, out of which anything may be mounted.
        volumes: names of the volumes that it may mount.
    """
    document = {"services": {name: body}, "volumes": {volume: {} for volume in volumes}}
    return judge(document, rules, folder=folder)


def judge_network(name: str, body: Mapping[str, Any], rules: PolicyRules) -> tuple[Finding, ...]:
    """The same for one network alone, whose ranges are kept as they are; in the body's own words.

    Args:
        name: of the network.
        body: as it would stand in a resolved model.
        rules: how far this host goes.
    """
    document = {"services": {}, "networks": {name: body}}
    scope = Scope(rules=rules, folder="")
    found = judge(document, rules, folder="")
    ranges = () if rules.trusted else tuple(_ranges(document, {name}, scope))
    return _alone(f"networks.{name}", (*found, *(one for one in ranges if one not in found)))


def judge_volume(name: str, body: Mapping[str, Any], rules: PolicyRules) -> tuple[Finding, ...]:
    """The same for one volume alone, which may not be one of the agent's own folders.

    Args:
        name: of the volume.
        body: as it would stand in a resolved model.
        rules: how far this host goes.
    """
    document = {"services": {}, "volumes": {name: body}}
    found = judge(document, rules, folder="")
    if rules.trusted:
        found = (*found, *_own_folders(document, "", Scope(rules=rules, folder="")))
    return _alone(f"volumes.{name}", found)


def _alone(place: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings as of something that stands by itself."""
    return tuple(
        msgspec.structs.replace(
            finding, where=finding.where.removeprefix(place).removeprefix(".") or "name"
        )
        for finding in findings
    )


def _together(document: Document, scope: Scope) -> Iterator[Finding]:
    bodies = bodies_of(document, "services")
    for name, body in bodies.items():
        if isinstance(build := body.get("build"), Mapping):
            yield from _build(build, f"services.{name}.build", scope)
    yield from judge_mounts(document, bodies, scope)
    yield from _ports(bodies)
    yield from _fixed_ranges(document, bodies, scope)
    yield from _own_folders(document, "", scope)


def _build(build: Mapping[str, Any], where: str, scope: Scope) -> Iterator[Finding]:
    dockerfile = build.get("dockerfile")
    if isinstance(dockerfile, str):
        path = dockerfile if dockerfile.startswith("/") else f"{build.get('context')}/{dockerfile}"
        yield from inside("A Dockerfile")(normal_path(path), f"{where}.dockerfile", scope)
    contexts = build.get("additional_contexts")
    for name, context in contexts.items() if isinstance(contexts, Mapping) else ():
        place = f"{where}.additional_contexts.{name}"
        if isinstance(context, str) and context.startswith(_IMAGE_CONTEXT):
            yield from image(context.removeprefix(_IMAGE_CONTEXT), place, scope)
        elif not _names_service(context, scope):
            yield from inside("A build context")(context, place, scope)


def _names_service(context: object, scope: Scope) -> bool:
    prefix = _SERVICE_CONTEXT
    return (
        isinstance(context, str)
        and context.startswith(prefix)
        and context.removeprefix(prefix) in scope.services
    )


def _ports(bodies: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    count = 0
    for body in bodies.values():
        ports = body.get("ports")
        count += len(ports) if isinstance(ports, list) else 0
    if count > MOST_PORTS:
        yield Finding(
            where="services",
            what=f"{count} published ports",
            why=f"Each costs the host a process; at most {MOST_PORTS} are taken.",
            instead="Publish those that people use from outside.",
        )


def _fixed_ranges(
    document: Document, bodies: Mapping[str, Mapping[str, Any]], scope: Scope
) -> Iterator[Finding]:
    """Ranges that the author keeps, since services have fixed addresses in them."""
    fixed = {
        name
        for body in bodies.values()
        if isinstance(networks := body.get("networks"), Mapping)
        for name, options in networks.items()
        if isinstance(options, Mapping) and options.get("ipv4_address")
    }
    yield from _ranges(document, fixed, scope)


def _ranges(document: Document, fixed: Collection[str], scope: Scope) -> Iterator[Finding]:
    for name, body in bodies_of(document, "networks").items():
        ipam = body.get("ipam")
        entries = ipam.get("config") if isinstance(ipam, Mapping) and name in fixed else None
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            place = f"networks.{name}.ipam.config[{index}].subnet"
            if isinstance(entry, Mapping):
                yield from subnet(entry.get("subnet"), place, scope)


def _own_folders(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Places that would tell a container where on the host the agent keeps its own things."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _own_folders(entry, f"{where}.{name}" if where else str(name), scope)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _own_folders(entry, f"{where}[{index}]", scope)
    elif isinstance(value, str):
        text = value.replace(scope.folder, "") if scope.folder else value
        for folder in scope.rules.own_folders:
            if folder in text:
                yield Finding(
                    where=where,
                    what=shown("a folder of the agent's own"),
                    why="Variables of the agent are nobody else's affair.",
                    instead="Give the variable a value in the bundle, or another name.",
                )
