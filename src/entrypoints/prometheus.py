"""The metrics that Prometheus scrapes, made from what the workers have seen."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from domain.arrangement import ENVIRONMENT_LABEL
from domain.container_usage import ContainerUsage
from domain.containers import Container, ContainerState
from domain.resources import FileSystem, HostUsage
from entrypoints.agent import Agent

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    600,
)


class PrometheusExposition:
    """All metrics of one agent, made from what was last seen, so that ``render`` waits for nobody.

    Whoever wants counters of containers as they are now has them observed before, which asks the
    Engine for those whose kernel files are not visible.
    """

    def __init__(self, agent: Agent) -> None:
        # When a series was first counted tells nobody anything, and doubles their number.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry(auto_describe=False)
        self._latency = Histogram(
            "host_agent_http_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "host_agent_http_requests_total",
            "Answered requests.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._series: dict[tuple[str, str, int], tuple[Histogram, Counter]] = {}
        """What the library looks up anew at each request, under a lock."""
        ProcessCollector(registry=self._registry)
        self._registry.register(_AgentCollector(agent))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        method = method if method in _METHODS else "other"
        series = self._series.get((method, route, status))
        if series is None:
            latency = self._latency.labels(method, route)
            series = latency, self._requests.labels(method, route, str(status))
            self._series[method, route, status] = series
        latency, requests = series
        latency.observe(seconds)
        requests.inc()

    def render(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self._registry)


class _AgentCollector(Collector):
    """Asks each source apart: one that fails sets its own mark and spares the others."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """The metrics of all sources."""
        success = GaugeMetricFamily(
            "host_agent_scrape_source_success",
            "1 if the source's metrics could be made.",
            labels=["source"],
        )
        sources: dict[str, Callable[[], Iterable[Metric]]] = {
            "agent": self._agent_metrics,
            "consistency": self._consistency,
            "containers": self._containers,
            "container_usage": self._usage,
            "heartbeat": self._heartbeat,
            "host": self._host,
        }
        for name, source in sources.items():
            try:
                yield from list(source())
            except Exception as fault:  # noqa: BLE001 - one source must not hide the others
                self._agent.log.warning("metrics source failed", source=name, reason=repr(fault))
                success.add_metric([name], 0)
            else:
                success.add_metric([name], 1)
        yield success

    def _agent_metrics(self) -> Iterator[Metric]:
        health = self._agent.health.report()
        info = GaugeMetricFamily("host_agent_info", "The agent.", labels=["version", "runtime"])
        info.add_metric([self._agent.version, self._agent.settings.runtime], 1)
        yield info
        yield _gauge(
            "host_agent_docker_up",
            "1 if the Docker Engine answered when last asked.",
            health.engine.state == "up",
        )
        yield _gauge(
            "host_agent_store_up", "1 if records can be written.", health.store.state == "up"
        )
        yield _gauge("host_agent_uptime_seconds", "Age of the agent.", health.uptime_seconds)
        yield _gauge(
            "host_agent_operations", "Operations that are queued or run.", health.operations
        )
        ended = CounterMetricFamily(
            "host_agent_operations_ended",
            "Operations that have ended.",
            labels=["kind", "state"],
        )
        for (kind, state), count in sorted(self._agent.operations.ended.items()):
            ended.add_metric([kind.value, state.value], count)
        yield ended
        yield _counter(
            "host_agent_audit_left_out",
            "Audited requests that are in the log only.",
            self._agent.audit.left_out,
        )
        yield _gauge(
            "host_agent_firewall_active",
            "Whether environments are kept from the host's own services.",
            self._agent.protection.state.active,
        )

    def _containers(self) -> Iterator[Metric]:
        picture = self._agent.inventory.picture
        family = GaugeMetricFamily(
            "host_agent_containers",
            "Containers on the host by state, as last seen.",
            labels=["state"],
        )
        for state in ContainerState:
            count = sum(container.state is state for container in picture.containers)
            family.add_metric([state.value], count)
        yield family
        yield _gauge(
            "host_agent_containers_max",
            "Running containers beyond which launches are refused.",
            self._agent.settings.max_containers,
        )
        if picture.seen_at is not None:
            yield _gauge(
                "host_agent_inventory_timestamp_seconds",
                "When the Engine last told of its containers.",
                picture.seen_at.timestamp(),
            )

    def _consistency(self) -> Iterator[Metric]:
        consistency = self._agent.consistency
        yield _gauge(
            "host_agent_consistency_differences",
            "Things in which records, Engine and disk differ, and that somebody should look at.",
            len(consistency.report.differences),
        )
        yield _counter(
            "host_agent_consistency_healed",
            "Things that the agent brought in order by itself.",
            consistency.healed_total,
        )
        if consistency.report.checked_at is not None:
            yield _gauge(
                "host_agent_consistency_checked_timestamp_seconds",
                "When the agent last compared them.",
                consistency.report.checked_at.timestamp(),
            )

    def _usage(self) -> Iterator[Metric]:
        observed = self._agent.container_usage.latest
        yield _gauge(
            "host_agent_containers_unread",
            "Containers that run and whose counters cannot be read, or are too many.",
            observed.unread,
        )
        yield from _container_metrics(observed.used)

    def _heartbeat(self) -> Iterator[Metric]:
        status = self._agent.heartbeat.status
        yield _gauge(
            "host_agent_heartbeat_enabled", "1 if there is a manager to tell.", status.enabled
        )
        yield _counter("host_agent_heartbeats", "Heartbeats sent.", status.sent_total)
        yield _counter(
            "host_agent_heartbeat_failures", "Heartbeats not acknowledged.", status.failed_total
        )
        yield _gauge(
            "host_agent_heartbeat_consecutive_failures",
            "Heartbeats not acknowledged since the last that was.",
            status.consecutive_failures,
        )
        if status.last_acknowledged_at is not None:
            yield _gauge(
                "host_agent_heartbeat_acknowledged_timestamp_seconds",
                "When the manager last acknowledged one.",
                status.last_acknowledged_at.timestamp(),
            )

    def _host(self) -> Iterator[Metric]:
        host = self._agent.host
        if host.recent is not None:
            yield from _usage(host.recent)
        yield from _file_systems(host.disks)


def _usage(usage: HostUsage) -> Iterator[Metric]:
    yield _gauge(
        "host_agent_host_cpu_percent", "CPU use over the last seconds, 0 to 100.", usage.cpu_percent
    )
    cores = GaugeMetricFamily(
        "host_agent_host_core_percent", "The same for each core.", labels=["core"]
    )
    for number, percent in enumerate(usage.core_percents):
        cores.add_metric([str(number)], percent)
    yield cores
    for minutes, value in zip((1, 5, 15), usage.load, strict=True):
        yield _gauge(f"host_agent_host_load{minutes}", f"Load over {minutes} min.", value)
    for kind, memory in (("memory", usage.memory), ("swap", usage.swap)):
        name = f"host_agent_host_{kind}"
        yield _gauge(f"{name}_total_bytes", f"Size of the {kind}.", memory.total_bytes)
        yield _gauge(f"{name}_used_bytes", f"Use of the {kind}.", memory.used_bytes)
        yield _gauge(f"{name}_percent", f"Use of the {kind}, 0 to 100.", memory.percent)
    network = usage.network
    name = "host_agent_host_network"
    yield _counter(f"{name}_received_bytes", "Bytes received.", network.received_bytes)
    yield _counter(f"{name}_sent_bytes", "Bytes sent.", network.sent_bytes)


def _container_metrics(used: Sequence[tuple[Container, ContainerUsage]]) -> Iterator[Metric]:
    labels = [_container_labels(container) for container, _ in used]
    for field, (name, text, kind) in _CONTAINER_METRICS.items():
        family = kind(f"host_agent_container_{name}", text, labels=_CONTAINER_LABELS)
        for values, (_, usage) in zip(labels, used, strict=True):
            family.add_metric(values, getattr(usage, field))
        yield family


_CONTAINER_LABELS = ("container", "environment", "service")

_CONTAINER_METRICS: Mapping[
    str, tuple[str, str, type[GaugeMetricFamily] | type[CounterMetricFamily]]
] = {
    "cpu_seconds": ("cpu_seconds", "CPU time since its start.", CounterMetricFamily),
    "memory_bytes": ("memory_bytes", "Memory, as docker stats has it.", GaugeMetricFamily),
    "memory_limit_bytes": ("memory_limit_bytes", "Most memory that it gets.", GaugeMetricFamily),
    "processes": ("processes", "Processes and threads.", GaugeMetricFamily),
    "network_received_bytes": (
        "network_received_bytes",
        "Bytes received.",
        CounterMetricFamily,
    ),
    "network_sent_bytes": ("network_sent_bytes", "Bytes sent.", CounterMetricFamily),
    "block_read_bytes": ("block_read_bytes", "Bytes read from disks.", CounterMetricFamily),
    "block_written_bytes": (
        "block_written_bytes",
        "Bytes written to disks.",
        CounterMetricFamily,
    ),
}
"""Field of a usage → name, text and kind of metric."""


def _container_labels(container: Container) -> list[str]:
    """Cut short: whoever makes a container may give it labels of any length."""
    environment = container.labels.get(ENVIRONMENT_LABEL) or container.project or ""
    values = (container.name, environment, container.service or "")
    return [value[:_LONGEST_LABEL] for value in values]


_LONGEST_LABEL = 128


def _file_systems(file_systems: tuple[FileSystem, ...]) -> Iterator[Metric]:
    labels = ["role", "path"]
    for measure in ("total", "used", "free"):
        family = GaugeMetricFamily(
            f"host_agent_filesystem_{measure}_bytes",
            f"File systems of the agent and of Docker: {measure} bytes.",
            labels=labels,
        )
        for file_system in file_systems:
            value = getattr(file_system, f"{measure}_bytes")
            family.add_metric([file_system.role, file_system.path], value)
        yield family
    for measure, text in _INODES.items():
        family = GaugeMetricFamily(f"host_agent_filesystem_{measure}_inodes", text, labels=labels)
        for file_system in file_systems:
            value = getattr(file_system, f"{measure}_inodes")
            family.add_metric([file_system.role, file_system.path], value)
        yield family


_INODES = {
    "total": "Files and folders that they can hold; 0 where they set no number.",
    "free": "How many more of them can be made.",
}


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=float(value))
