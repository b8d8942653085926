"""One agent of settings and adapters."""

import hmac
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from adapters.pyjwt_keys import PyjwtKeys
from adapters.stdlib_log import configure_logging
from domain.usecases.agent_entries import AgentEntries, ToldManager
from domain.usecases.authentication import Authentication
from domain.usecases.chronicle import Chronicle
from domain.usecases.container_usage import UsageWatch
from domain.usecases.disk_watch import DiskWatch
from domain.usecases.engine_entries import EngineEntries
from domain.usecases.engine_events import EventHub
from domain.usecases.health import Health
from domain.usecases.heartbeat import Heartbeat, WithoutEngine
from domain.usecases.host import HostWatch
from domain.usecases.inventory import InventoryWatch
from domain.usecases.journal import Journal
from domain.usecases.lifetimes import LifetimeRules, Lifetimes
from domain.usecases.live_inventory import LiveInventory
from domain.usecases.news import News
from domain.usecases.prunable_kinds import (
    PrunableBuildCache,
    PrunableContainers,
    PrunableImages,
    PrunableNetworks,
    PrunableVolumes,
)
from domain.usecases.storage_watch import StorageWatch
from domain.usecases.system_pruning import SystemPruning
from domain.usecases.told_records import ToldStore
from entrypoints.agent import Agent
from entrypoints.composition.changes import Changes
from entrypoints.composition.docker_host import (
    image_calls,
    network_calls,
    single_containers,
    volume_calls,
)
from entrypoints.composition.ports import Adapters
from entrypoints.composition.real import VERSION, real_adapters
from entrypoints.settings import Settings


@asynccontextmanager
async def open_agent(settings: Settings) -> AsyncIterator[Agent]:
    """The agent with its real adapters, open as long as the ``async with`` lasts.

    Raises:
        StoreUnavailable: the records cannot be opened.
        StorageFailed: the folders cannot be made.
    """
    configure_logging(
        settings.log_level,
        json=settings.environment == "production",
        secrets=settings.secrets,
    )
    async with AsyncExitStack() as stack:
        adapters = await real_adapters(settings, stack)
        agent = await assemble(settings, adapters)
        await stack.enter_async_context(agent.operations)
        await stack.enter_async_context(agent.images.pulls)
        yield agent


async def assemble(settings: Settings, adapters: Adapters) -> Agent:
    """The agent made of ``adapters``; its operations are still to be entered."""
    journal = Journal(adapters.clock)
    adapters = _told(adapters, journal)
    runtime, clock, log = adapters.runtime, adapters.clock, adapters.log
    news = News()
    inventory = InventoryWatch(runtime.containers, runtime.engine, clock, log, news)
    host = HostWatch(adapters.metrics, clock, _paths(settings))
    agent_entries = AgentEntries(journal, clock)
    changes = Changes(settings, adapters, inventory, host, news=news, agent_entries=agent_entries)
    chronicle = Chronicle(
        environments=adapters.store.environments,
        timeline=adapters.store.timeline,
        operations=changes.operations,
        clock=clock,
        log=log,
    )
    lifetimes = Lifetimes(
        environments=adapters.store.environments,
        lifecycle=changes.lifecycle,
        operations=changes.operations,
        chronicle=chronicle,
        memos=changes.memos,
        timekeeping=changes.timekeeping,
        clock=clock,
        log=log,
        rules=LifetimeRules(
            default_seconds=settings.default_ttl,
            max_seconds=settings.max_ttl,
            warning_seconds=settings.expiry_warning,
        ),
    )
    storage = StorageWatch(
        store=adapters.store,
        workspaces=adapters.workspaces,
        operations=changes.operations,
        news=news,
        clock=clock,
        log=log,
    )
    heartbeat = Heartbeat(
        manager=adapters.manager,
        host=host,
        inventory=inventory,
        operations=changes.operations,
        storage=storage,
        news=news,
        clock=clock,
        log=log,
        interval_seconds=settings.heartbeat_interval,
        without_engine=WithoutEngine(settings.heartbeat_without_engine),
        max_containers=settings.max_containers,
    )
    health = Health(
        store=adapters.store,
        inventory=inventory,
        heartbeat=heartbeat,
        operations=changes.operations,
        recovery=changes.recovery,
        consistency=changes.consistency,
        storage=storage,
        clock=clock,
        version=VERSION,
    )
    events = EventHub(runtime.events, clock, log)
    images = image_calls(settings, adapters, inventory, changes)
    usage = UsageWatch(runtime.usages, inventory, clock, log)
    containers = single_containers(
        settings, adapters, changes, inventory, events=events, pulls=images.pulls, usage=usage
    )
    networks = network_calls(adapters, changes)
    volumes = volume_calls(settings, adapters, changes)
    return Agent(
        settings=settings,
        policy=changes.policy,
        version=VERSION,
        authentication=Authentication(
            PyjwtKeys(settings.jwt_secret or None),
            same_text,
            host_id=settings.host_id,
            server_key=settings.server_key,
        ),
        bundles=adapters.bundles,
        compose_version=await runtime.compose.version(),
        host=host,
        inventory=inventory,
        operations=changes.operations,
        environments=adapters.store.environments,
        deploy=changes.deploy,
        lifecycle=changes.lifecycle,
        library=changes.library,
        lifetimes=lifetimes,
        chronicle=chronicle,
        builds=changes.builds,
        addresses=changes.addresses,
        audit=changes.audit,
        space=changes.space,
        housekeeping=changes.housekeeping,
        restores=changes.restores,
        commands=changes.commands,
        protection=changes.protection,
        logs=runtime.logs,
        events=events,
        journal=journal,
        engine_entries=EngineEntries(events, adapters.store.environments, journal, clock),
        agent_entries=agent_entries,
        live_inventory=LiveInventory(inventory, events, clock, log),
        container_usage=usage,
        recovery=changes.recovery,
        consistency=changes.consistency,
        states=changes.states,
        heartbeat=heartbeat,
        health=health,
        storage=storage,
        images=images,
        containers=containers,
        disk=DiskWatch(runtime.disk.usages, clock),
        pruning=SystemPruning(
            (
                PrunableContainers(containers.pruning),
                PrunableNetworks(networks.pruning),
                PrunableVolumes(volumes.pruning),
                PrunableBuildCache(runtime.disk.build_cache, clock),
                PrunableImages(images.pruning),
            ),
            changes.operations,
        ),
        networks=networks,
        volumes=volumes,
        clock=clock,
        log=log,
    )


def _told(adapters: Adapters, journal: Journal) -> Adapters:
    """The same, of which some tell the journal of what they are told."""
    clock, manager = adapters.clock, adapters.manager
    return replace(
        adapters,
        store=ToldStore(adapters.store, journal, clock),
        manager=None if manager is None else ToldManager(manager, journal, clock),
    )


def same_text(one: str, other: str) -> bool:
    """Whether two texts are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(
        one.encode(errors="surrogatepass"), other.encode(errors="surrogatepass")
    )


def _paths(settings: Settings) -> dict[str, str]:
    return {
        "root": "/",
        "workspace": settings.workspace_dir,
        "state": settings.state_dir,
        "docker": "/var/lib/docker",
    }
