"""The operator's settings as the rules and limits that use cases and adapters know."""

from adapters.compose.projects import ComposeLimits
from domain.bundles import BundleLimits
from domain.capacity import CapacityLimits
from domain.compose_policy import PolicyProfile, PolicyRules
from domain.image_names import RegistryRules
from domain.limits import HeldLimits, LimitRules
from entrypoints.settings import Settings


def compose_limits(settings: Settings) -> ComposeLimits:
    """How long Compose may take."""
    return ComposeLimits(
        resolve_seconds=settings.resolve_timeout,
        build_seconds=settings.build_timeout,
        start_seconds=settings.start_timeout,
        stop_seconds=settings.stop_timeout,
        grace_seconds=settings.stop_grace,
    )


def bundle_limits(settings: Settings) -> BundleLimits:
    """The limits of bundles."""
    return BundleLimits(
        max_bytes=settings.max_bundle_bytes,
        max_unpacked_bytes=settings.max_unpacked_bytes,
        max_entries=settings.max_bundle_entries,
        max_ratio=settings.max_bundle_ratio,
    )


def policy_rules(settings: Settings) -> PolicyRules:
    """What bundles may ask for."""
    return PolicyRules(
        profile=PolicyProfile(settings.compose_policy),
        capabilities=settings.allowed_capabilities,
        devices=settings.allowed_devices,
        bind_roots=settings.allowed_bind_roots,
        registries=RegistryRules(allowed=settings.allowed_registries),
        host_ports=settings.host_ports,
        own_port=settings.api_port,
        own_folders=(settings.state_dir, f"{settings.workspace_dir}/.agent"),
        new_privileges=settings.new_privileges,
        pool=settings.network_pool,
        most_memory_bytes=settings.max_container_memory,
    )


def limit_rules(settings: Settings) -> LimitRules:
    """The limits of single containers."""
    return LimitRules(
        defaults=HeldLimits(
            cpus=settings.container_cpus,
            memory_bytes=settings.container_memory,
            pids=settings.container_pids,
            log_bytes=settings.container_log,
        ),
        most=HeldLimits(
            cpus=settings.max_container_cpus,
            memory_bytes=settings.max_container_memory,
            pids=settings.max_container_pids,
            log_bytes=settings.max_container_log,
        ),
    )


def capacity(settings: Settings) -> CapacityLimits:
    """How much the host may hold before launches are refused."""
    return CapacityLimits(
        max_containers=settings.max_containers,
        max_cpu_percent=settings.max_cpu_percent,
        max_memory_percent=settings.max_memory_percent,
        max_committed_cpu_percent=settings.max_committed_cpu_percent,
        max_committed_memory_percent=settings.max_committed_memory_percent,
    )
