"""The agent and its host: health, readiness, information, resources, metrics."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.concurrency import sync_to_thread
from litestar.openapi.datastructures import ResponseSpec

from domain.compose_policy import PolicyProfile, PolicyRules
from domain.ports.firewall import FirewallState
from domain.resources import FileSystem, MemoryUsage, NetworkCounters
from domain.usecases.health import HealthReport
from entrypoints.agent import Agent, Exposition
from entrypoints.http.auth import MONITORING, OPEN
from entrypoints.http.responses import problems

AnyRequest = Request[Any, Any, Any]

_PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the agent can work."""

    ready: bool
    reasons: tuple[str, ...]
    """Why not."""


class PolicyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What bundles may ask for."""

    profile: PolicyProfile
    capabilities: tuple[str, ...]
    devices: tuple[str, ...]
    bind_roots: tuple[str, ...]
    """Folders of the host, beside the bundle's own."""
    registries: tuple[str, ...]
    """Beside those with a public name."""
    host_ports: str
    new_privileges: bool
    """Whether setuid programs work in containers."""


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the host is and what runs on it."""

    hostname: str
    operating_system: str
    kernel: str
    architecture: str
    cpus: int
    memory_bytes: int
    runtime: str
    """``docker`` or ``memory``."""
    docker_version: str | None
    """None while the Engine has not answered yet."""
    docker_api_version: str | None
    compose_version: str | None
    storage_driver: str | None
    docker_root: str | None
    cgroup_version: str | None
    agent_version: str
    host_id: str
    workspace_dir: str
    max_containers: int
    max_cpu_percent: float
    max_memory_percent: float
    network_pool: str
    firewall: FirewallState
    """Whether environments are kept from the host's own services."""
    policy: PolicyInfo


class CpuLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The CPU over the last seconds."""

    percent: float
    per_core_percent: tuple[float, ...]
    load_1m: float
    load_5m: float
    load_15m: float


class SystemResources(msgspec.Struct, frozen=True, kw_only=True):
    """The host's load."""

    sampled_at: datetime
    cpu: CpuLoad
    memory: MemoryUsage
    swap: MemoryUsage
    file_systems: tuple[FileSystem, ...]
    network: NetworkCounters


@get("/health", opt=OPEN)
async def health(request: AnyRequest) -> HealthReport:
    """How the agent is: `ok`, or `degraded` with the reasons; 200 as long as it lives."""
    return _agent(request).health.report()


@get(
    "/ready",
    opt=OPEN,
    responses={503: ResponseSpec(Readiness, description="Not able to work at present.")},
)
async def ready(request: AnyRequest) -> Response[Readiness]:
    """Whether the agent can work: Engine and store answer, and recovery is done."""
    reasons = _agent(request).health.obstacles()
    return Response(
        Readiness(ready=not reasons, reasons=reasons), status_code=503 if reasons else 200
    )


@get("/system/info", opt=MONITORING, responses=problems(401))
async def info(request: AnyRequest) -> SystemInfo:
    """What the host is and what runs on it."""
    agent = _agent(request)
    identity = await agent.host.identity()
    engine = agent.inventory.engine_info
    settings = agent.settings
    return SystemInfo(
        # In a container of its own, the agent sees that one's name and system, not the host's.
        hostname=(engine and engine.host_name) or identity.hostname,
        operating_system=(engine and engine.operating_system) or identity.operating_system,
        kernel=identity.kernel,
        architecture=identity.architecture,
        cpus=identity.cpus,
        memory_bytes=identity.memory_bytes,
        runtime=settings.runtime,
        docker_version=engine.version if engine else None,
        docker_api_version=engine.api_version if engine else None,
        compose_version=agent.compose_version or None,
        storage_driver=engine.storage_driver if engine else None,
        docker_root=engine.root_dir if engine else None,
        cgroup_version=engine.cgroup_version if engine else None,
        agent_version=agent.version,
        host_id=settings.host_id,
        workspace_dir=settings.workspace_dir,
        max_containers=settings.max_containers,
        max_cpu_percent=settings.max_cpu_percent,
        max_memory_percent=settings.max_memory_percent,
        network_pool=str(settings.network_pool),
        firewall=agent.protection.state,
        policy=_policy(agent.policy),
    )


def _policy(rules: PolicyRules) -> PolicyInfo:
    return PolicyInfo(
        profile=rules.profile,
        capabilities=tuple(sorted(rules.capabilities)),
        devices=tuple(sorted(rules.devices)),
        bind_roots=rules.bind_roots,
        registries=tuple(sorted(rules.registries.allowed)),
        host_ports=str(rules.host_ports),
        new_privileges=rules.new_privileges,
    )


@get("/system/resources", opt=MONITORING, responses=problems(401))
async def resources(request: AnyRequest) -> SystemResources:
    """The host's load, from samples taken in the background: answers at once."""
    agent = _agent(request)
    usage = await agent.host.usage()
    return SystemResources(
        sampled_at=agent.clock.now(),
        cpu=CpuLoad(
            percent=round(usage.cpu_percent, 1),
            per_core_percent=tuple(round(percent, 1) for percent in usage.core_percents),
            load_1m=usage.load[0],
            load_5m=usage.load[1],
            load_15m=usage.load[2],
        ),
        memory=usage.memory,
        swap=usage.swap,
        file_systems=await agent.host.file_systems(),
        network=usage.network,
    )


@get("/metrics", opt=MONITORING, media_type=_PROMETHEUS_TEXT, responses=problems(401))
async def metrics(request: AnyRequest) -> Response[str]:
    """The agent, its host and its containers in Prometheus' text format."""
    exposition: Exposition = request.app.state.exposition
    await _agent(request).container_usage.observe()
    text = await sync_to_thread(exposition.render)
    # As a media type it would get its charset a second time, which Prometheus 3 cannot read.
    return Response(text.decode(), headers={"content-type": _PROMETHEUS_TEXT})


def _agent(request: AnyRequest) -> Agent:
    agent: Agent = request.app.state.agent
    return agent


router = Router(
    path="/",
    route_handlers=[health, ready, info, resources, metrics],
    tags=["system"],
)
