"""Makes a resolved project fit to run beside others: its own networks, names, images and limits.

What comes of it is the one file that Compose is given to start; the bundle's own is not read again.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from domain.compose_model import ComposeModel, Document
from domain.compose_policy import PolicyRules
from domain.environments import Isolation, ServiceRecord
from domain.hardening import hardened
from domain.images import BUILD_LABEL, BuildPlan
from domain.limits import ContainerLimits, HeldLimits, LimitRules, own_limits
from domain.names import EnvironmentName

ENVIRONMENT_LABEL = "container-host-agent.environment"
"""Marks containers, networks and volumes with the environment that they belong to."""

WORKSPACE_LABEL = "container-host-agent.workspace"
"""Marks what an agent made with its workspace, by which agents on one Engine tell it apart."""

_CACHE_NAMESPACE = "BUILDKIT_CACHE_MOUNT_NS"

# Say the same as the limits that are set, in other words, or cannot stand beside them.
_OTHER_LIMIT_KEYS = ("cpu_quota", "cpu_period", "cpu_count", "cpu_percent", "mem_reservation")


class Arrangement(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment is given to run with."""

    name: EnvironmentName
    isolation: Isolation
    services: tuple[ServiceRecord, ...]
    subnets: Mapping[str, str]
    """Network → address range."""
    policy: PolicyRules = PolicyRules()
    """What its bundle was held to."""
    workspace: str = ""
    """The folder that the agent's environments stand in."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What everything that is made for it is marked with."""
        return {ENVIRONMENT_LABEL: self.name, WORKSPACE_LABEL: self.workspace}


def service_records(
    model: ComposeModel, asked: ContainerLimits, rules: LimitRules, *, cpus: int
) -> tuple[ServiceRecord, ...]:
    """The services of a model with the limits that they get; images are not known yet."""
    bodies = model.document["services"]
    return tuple(
        ServiceRecord(
            name=service.name,
            image=service.image or "",
            replicas=service.replicas,
            limits=rules.held(asked, own_limits(bodies[service.name]), cpus=cpus),
        )
        for service in model.services
    )


def network_needs(model: ComposeModel) -> Mapping[str, int]:
    """How many containers join each network that gets its addresses from the agent's pool.

    Networks with fixed addresses keep the range that their author chose, as what runs in them
    counts on it.
    """
    fixed = _fixed_networks(model)
    networks = model.document.get("networks") or {}
    return {name: model.joined(name) for name in networks if name not in fixed}


def fixed_ranges(model: ComposeModel) -> Mapping[str, str]:
    """The ranges that authors chose themselves and that are kept: place in the model → range."""
    networks = model.document.get("networks") or {}
    return {
        f"networks.{name}.ipam.config[{index}].subnet": str(entry["subnet"])
        for name in sorted(_fixed_networks(model))
        for index, entry in enumerate(_ranges(networks.get(name) or {}))
        if entry.get("subnet")
    }


def _ranges(network: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (network.get("ipam") or {}).get("config") or ()


def _fixed_networks(model: ComposeModel) -> Collection[str]:
    return {
        name
        for body in model.document["services"].values()
        for name, options in (body.get("networks") or {}).items()
        if options and (options.get("ipv4_address") or options.get("ipv6_address"))
    }


def arranged(
    model: ComposeModel, arrangement: Arrangement, plans: Mapping[str, BuildPlan]
) -> Document:
    """The document that is run.

    Args:
        model: as Compose resolved it.
        arrangement: what the environment is given.
        plans: service → image that was built for it.
    """
    document = model.document
    records = {record.name: record for record in arrangement.services}
    images = _images(model, arrangement.name, plans)
    return {
        **document,
        "name": arrangement.name,
        "services": {
            name: _service(body, records[name], arrangement, images.get(name))
            for name, body in document["services"].items()
        },
        "networks": {
            name: _network(name, body or {}, arrangement)
            for name, body in (document.get("networks") or {}).items()
        },
        **{kind: _named(kind, document[kind], arrangement) for kind in _NAMED if kind in document},
    }


def resource_name(environment: str, key: str) -> str:
    """The name of a network or volume, which no other environment's can have.

    Compose's own way, but where that could be read in two ways: ``a_b_c`` would be ``b_c`` of
    ``a`` and ``c`` of ``a_b``. No environment has a dot in its name.
    """
    plain = "_" not in environment and "." not in key
    return f"{environment}{'_' if plain else '.'}{key}"


def belongs_to(name: str, environment: str) -> bool:
    """Whether a network or volume bears a name that only this environment gives."""
    joint = "." if "_" in environment or "." in name else "_"
    return name.startswith(f"{environment}{joint}")


_NAMED = ("volumes", "configs", "secrets")
"""What bears the environment's name, beside its networks."""


def _named(kind: str, bodies: Mapping[str, Any] | None, arrangement: Arrangement) -> Document:
    return {
        key: body if (body or {}).get("external") else _own(kind, key, body or {}, arrangement)
        for key, body in (bodies or {}).items()
    }


def _own(kind: str, key: str, body: Mapping[str, Any], arrangement: Arrangement) -> Document:
    own = {**body, "name": resource_name(arrangement.name, key)}
    if kind == "volumes":
        own["labels"] = {**(body.get("labels") or {}), **arrangement.labels}
    return own


def _images(model: ComposeModel, project: str, plans: Mapping[str, BuildPlan]) -> Mapping[str, str]:
    """Service → tag, also for services that use what another one builds."""
    names = model.built_names(project)
    tags = {service: plan.tag for service, plan in plans.items()}
    for service in model.services:
        builder = names.get(service.image or "")
        if not service.builds and builder in tags:
            tags[service.name] = tags[builder]
    return tags


def _service(
    body: Mapping[str, Any],
    record: ServiceRecord,
    arrangement: Arrangement,
    image: str | None,
) -> Document:
    left_out = {"container_name", "profiles", *_OTHER_LIMIT_KEYS}
    service = {key: value for key, value in body.items() if key not in left_out}
    if image is not None:
        service["image"] = image
        service["pull_policy"] = "never"
    service["labels"] = {**(body.get("labels") or {}), **arrangement.labels}
    if ports := body.get("ports"):
        service["ports"] = [_port(port, arrangement.policy) for port in ports]
    if alias := body.get("container_name"):
        # Two environments cannot bear one container's name; within its own it is found by it.
        service["networks"] = _with_alias(service.get("networks") or {}, alias)
    # What the author's shell would have filled in, Compose's own must not.
    service["environment"] = {
        key: value for key, value in (body.get("environment") or {}).items() if value is not None
    }
    return {
        **service,
        **_limited(service, record.limits),
        **hardened(service, arrangement.policy),
    }


def _port(port: Mapping[str, Any], policy: PolicyRules) -> Document:
    """A port that Docker may choose is chosen out of those that are for labs."""
    if port.get("published") not in {None, "", "0", 0} or policy.host_ports.whole:
        return port
    return {**port, "published": str(policy.host_ports.without(policy.own_port))}


def _with_alias(networks: Mapping[str, Any], alias: str) -> Document:
    return {
        name: {**(options or {}), "aliases": [*((options or {}).get("aliases") or []), alias]}
        for name, options in networks.items()
    }


def _limited(service: Mapping[str, Any], limits: HeldLimits) -> Document:
    keys: dict[str, Any] = {
        "cpus": limits.cpus,
        "mem_limit": str(limits.memory_bytes),
        # The same as the memory: no swap beyond it.
        "memswap_limit": str(limits.memory_bytes),
        "pids_limit": limits.pids,
        "logging": {
            "driver": "json-file",
            "options": {"max-size": str(max(1, limits.log_bytes // 2)), "max-file": "2"},
        },
    }
    deploy = service.get("deploy")
    if deploy:
        keys["deploy"] = {key: value for key, value in deploy.items() if key != "resources"}
    return keys


def _network(name: str, body: Mapping[str, Any], arrangement: Arrangement) -> Document:
    if body.get("external"):
        return body
    network = {
        **body,
        "name": resource_name(arrangement.name, name),
        "enable_ipv6": False,
        "labels": {**(body.get("labels") or {}), **arrangement.labels},
    }
    if subnet := arrangement.subnets.get(name):
        network["ipam"] = {"config": [{"subnet": subnet}]}
    elif ranges := _ranges(body):
        kept = [entry for entry in ranges if ":" not in str(entry.get("subnet", ""))]
        network["ipam"] = {**body["ipam"], "config": kept}
    if arrangement.isolation is Isolation.INTERNAL:
        network["internal"] = True
    return network


def with_images(document: Document, plans: Mapping[str, BuildPlan]) -> Document:
    """A document that runs, with newly built images in place of those it ran with before."""
    services = document["services"]
    newer = {services[name]["image"]: plan.tag for name, plan in plans.items()}
    return {
        **document,
        "services": {
            name: {**body, "image": newer.get(body["image"], body["image"])}
            for name, body in services.items()
        },
    }


def build_document(
    model: ComposeModel,
    project: str,
    plans: Collection[BuildPlan],
    *,
    digests: Mapping[str, str],
    workspace: str = "",
) -> Document:
    """The document that builds the images of ``plans`` and nothing else.

    Args:
        model: as Compose resolved it.
        project: the Compose project that the images are marked with.
        plans: what is to be built.
        digests: tag → digest, which the image is marked with.
        workspace: the folder of the agent that builds them.
    """
    bodies = model.document["services"]
    services = {}
    for plan in plans:
        build = bodies[plan.service]["build"]
        own = {BUILD_LABEL: digests.get(plan.tag, ""), WORKSPACE_LABEL: workspace}
        labels = {**(build.get("labels") or {}), **own}
        # What a step leaves in a cache mount must not reach the builds of others.
        arguments = {k: v for k, v in (build.get("args") or {}).items() if v is not None}
        arguments[_CACHE_NAMESPACE] = plan.tag
        services[plan.service] = {
            "image": plan.tag,
            "build": {**build, "labels": labels, "args": arguments},
        }
    extra = {key: model.document[key] for key in ("secrets",) if key in model.document}
    return {"name": project, "services": services, **extra}


def relocated(value: Any, old: str, new: str) -> Any:
    """The same document with every path below one folder leading below another."""
    if isinstance(value, str):
        if value == old or value.startswith(f"{old}/"):
            return new + value[len(old) :]
        return value
    if isinstance(value, Mapping):
        return {key: relocated(entry, old, new) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [relocated(entry, old, new) for entry in value]
    return value
