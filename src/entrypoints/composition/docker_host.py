"""How the use cases are wired that serve single containers, images, networks and volumes."""

from adapters.archives.volumes import ScreenedVolumeArchives
from domain.image_names import OwnImages
from domain.usecases.container_access import ContainerAccess
from domain.usecases.container_control import ContainerControl
from domain.usecases.container_creation import ContainerCreation
from domain.usecases.container_execution import ContainerExecution
from domain.usecases.container_list import ContainerList
from domain.usecases.container_names import ContainerNames
from domain.usecases.container_pruning import ContainerPruning
from domain.usecases.container_stats import StatsWatch
from domain.usecases.container_surroundings import Surroundings
from domain.usecases.container_usage import UsageWatch
from domain.usecases.container_waiting import ContainerWaiting
from domain.usecases.engine_events import EventHub
from domain.usecases.host_images import HostImages
from domain.usecases.image_archiving import ImageArchiving
from domain.usecases.image_pruning import ImagePruning
from domain.usecases.inventory import InventoryWatch
from domain.usecases.network_joining import NetworkJoining
from domain.usecases.network_pruning import NetworkPruning
from domain.usecases.networks import HostNetworks
from domain.usecases.ownership import Ownership
from domain.usecases.pull_policy import PullPolicy
from domain.usecases.pulls import Pulls
from domain.usecases.registries import Registries
from domain.usecases.volume_archiving import VolumeArchiving
from domain.usecases.volume_pruning import VolumePruning
from domain.usecases.volumes import HostVolumes
from entrypoints.agent import ImageCalls, NetworkCalls, SingleContainers, VolumeCalls
from entrypoints.composition.changes import Changes
from entrypoints.composition.limits import limit_rules
from entrypoints.composition.ports import Adapters
from entrypoints.settings import Settings


def image_calls(
    settings: Settings, adapters: Adapters, inventory: InventoryWatch, changes: Changes
) -> ImageCalls:
    """What is done with images."""
    ports, own = adapters.runtime.images, OwnImages(agent_image=settings.agent_image)
    policy = PullPolicy(changes.policy.registries, trusted=changes.policy.trusted)
    registries = Registries(ports.credentials, ports.transfers, policy)
    host = HostImages(
        images=ports.engine,
        inventory=inventory,
        environments=adapters.store.environments,
        builds=changes.builds,
        own=own,
    )
    return ImageCalls(
        host=host,
        pruning=ImagePruning(host_images=host, images=ports.engine, builds=changes.builds, own=own),
        pulls=Pulls(
            transfers=ports.transfers,
            images=ports.engine,
            registries=registries,
            policy=policy,
            builds=changes.builds,
            space=changes.space,
            log=adapters.log,
            seconds=settings.pull_timeout,
        ),
        archiving=ImageArchiving(
            host_images=host,
            images=ports.engine,
            transfers=ports.transfers,
            archives=ports.archives,
            builds=changes.builds,
            space=changes.space,
            max_bytes=settings.max_image_bytes,
        ),
        registries=registries,
    )


def network_calls(adapters: Adapters, changes: Changes) -> NetworkCalls:
    """What is done with networks."""
    networks, environments = adapters.runtime.host_networks, adapters.store.environments
    ownership = Ownership(environments)
    host = HostNetworks(
        networks=networks,
        addresses=changes.addresses,
        ownership=ownership,
        protection=changes.protection,
        rules=changes.policy,
    )
    access = ContainerAccess(
        adapters.runtime.single.lookup, ownership, own_id=adapters.own_container
    )
    return NetworkCalls(
        host=host,
        joining=NetworkJoining(
            host_networks=host, networks=networks, access=access, rules=changes.policy
        ),
        pruning=NetworkPruning(
            host_networks=host,
            networks=networks,
            environments=environments,
            operations=changes.operations,
        ),
    )


def volume_calls(settings: Settings, adapters: Adapters, changes: Changes) -> VolumeCalls:
    """What is done with volumes."""
    runtime, environments = adapters.runtime, adapters.store.environments
    host = HostVolumes(
        volumes=runtime.volumes,
        ownership=Ownership(environments),
        space=changes.space,
        rules=changes.policy,
    )
    return VolumeCalls(
        host=host,
        pruning=VolumePruning(
            host_volumes=host,
            volumes=runtime.volumes,
            environments=environments,
            operations=changes.operations,
        ),
        archiving=VolumeArchiving(
            host_volumes=host,
            volumes=runtime.volumes,
            archives=runtime.volume_archives,
            screening=ScreenedVolumeArchives(),
            orders=changes.orders,
            space=changes.space,
            rules=changes.policy,
            own_container=adapters.own_container,
            max_bytes=settings.max_volume_bytes,
        ),
    )


def single_containers(
    settings: Settings,
    adapters: Adapters,
    changes: Changes,
    inventory: InventoryWatch,
    *,
    events: EventHub,
    pulls: Pulls,
    usage: UsageWatch,
) -> SingleContainers:
    """What is done with single containers."""
    single, environments, clock = (
        adapters.runtime.single,
        adapters.store.environments,
        adapters.clock,
    )
    ownership = Ownership(environments)
    access = ContainerAccess(single.lookup, ownership, own_id=adapters.own_container)
    names = ContainerNames(environments, changes.policy, clock)
    surroundings = Surroundings(
        surroundings=single.surroundings,
        volumes=adapters.runtime.volumes,
        addresses=changes.addresses,
        ownership=ownership,
        protection=changes.protection,
        rules=changes.policy,
        workspace=adapters.workspaces.root,
        own_container=adapters.own_container,
    )
    listing = ContainerList(inventory, environments)
    return SingleContainers(
        list=listing,
        access=access,
        ownership=ownership,
        creation=ContainerCreation(
            changes=single.changes,
            lookup=single.lookup,
            resources=adapters.runtime.resources,
            names=names,
            surroundings=surroundings,
            operations=changes.operations,
            admission=changes.admission,
            inventory=inventory,
            space=changes.space,
            pulls=pulls,
            orders=changes.orders,
            clock=clock,
            rules=changes.policy,
            limits=limit_rules(settings),
            workspace=adapters.workspaces.root,
        ),
        control=ContainerControl(
            access=access,
            changes=single.changes,
            lookup=single.lookup,
            names=names,
            ownership=ownership,
            surroundings=surroundings,
            operations=changes.operations,
            admission=changes.admission,
            inventory=inventory,
            clock=clock,
        ),
        waiting=ContainerWaiting(access, single.lookup, events),
        pruning=ContainerPruning(
            access=access,
            changes=single.changes,
            lookup=single.lookup,
            environments=environments,
            operations=changes.operations,
            inventory=inventory,
            clock=clock,
        ),
        stats=StatsWatch(
            access=access, listing=listing, inventory=inventory, usage=usage, clock=clock
        ),
        output=single.output,
        files=single.files,
        execution=ContainerExecution(
            access=access,
            commands=changes.commands,
            operations=changes.operations,
            clock=clock,
            at_once=settings.max_execs,
            idle_seconds=settings.exec_idle,
        ),
    )
