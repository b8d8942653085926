"""Makes single containers, through the same gate as bundles."""

from collections.abc import Sequence
from contextlib import suppress

import anyio
import msgspec

from domain.arrangement import WORKSPACE_LABEL
from domain.capacity import Demand
from domain.compose_policy import PolicyRules, judge_service
from domain.container_details import ContainerDetails
from domain.container_orders import (
    CPUS_LABEL,
    MEMORY_LABEL,
    ORDER_LABEL,
    ContainerOrder,
    MountKind,
    PortOrder,
    in_the_orders_words,
    service_body,
)
from domain.errors import AgentError, PolicyRefused, StepTimedOut
from domain.findings import Finding
from domain.hardening import hardened
from domain.image_names import unmistakable
from domain.limits import ContainerLimits, HeldLimits, LimitRules
from domain.ports.clock import Clock
from domain.ports.container_changes import ContainerChanges
from domain.ports.container_details import ContainerLookup
from domain.ports.runtime import ProjectResources
from domain.usecases.admission import Admission
from domain.usecases.container_names import ContainerNames
from domain.usecases.container_surroundings import Surroundings
from domain.usecases.inventory import InventoryWatch
from domain.usecases.open_orders import OpenOrders
from domain.usecases.operations import Operations
from domain.usecases.pulls import Pulls
from domain.usecases.space import Space

PULL_SECONDS = 120.0
"""How long whoever asks is made to wait for an image that is not at hand."""


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A container that was made."""

    container: ContainerDetails
    warnings: tuple[str, ...]
    """The Engine's, in its own words."""


class ContainerCreation:
    """Judges, hardens, limits and admits what is asked for, and then has it made."""

    def __init__(
        self,
        *,
        changes: ContainerChanges,
        lookup: ContainerLookup,
        resources: ProjectResources,
        names: ContainerNames,
        surroundings: Surroundings,
        operations: Operations,
        admission: Admission,
        inventory: InventoryWatch,
        space: Space,
        pulls: Pulls,
        orders: OpenOrders,
        clock: Clock,
        rules: PolicyRules,
        limits: LimitRules,
        workspace: str,
    ) -> None:
        self._changes = changes
        self._lookup = lookup
        self._resources = resources
        self._names = names
        self._surroundings = surroundings
        self._operations = operations
        self._admission = admission
        self._inventory = inventory
        self._space = space
        self._pulls = pulls
        self._orders = orders
        self._clock = clock
        self._rules = rules
        self._limits = limits
        self._workspace = workspace

    async def create(self, order: ContainerOrder, *, start: bool, force: bool) -> Created:
        """Makes a container, and nothing where that fails.

        Args:
            order: what is asked for; an empty name is made up.
            start: let it run at once.
            force: whoever asks knows that networks or volumes belong to an environment.

        Raises:
            RequestUnreadable: no container can be so.
            PolicyRefused: the host does not allow it.
            ResourceNotFound: a network is not there.
            ImageNotInRegistry: its image is not at hand, and no registry has it.
            RegistryRefused: its image is not at hand, and the registry wants other credentials.
            StepTimedOut: its image is not at hand, and takes too long to come.
            ResourceOwned: a network or volume belongs to an environment, and nobody said so.
            ResourceConflict: its name or a port is taken.
            CapacityExceeded: the host has no room.
            NetworkPoolExhausted: there are no addresses for it.
            StorageFull: a disk has no room.
            StoreUnavailable: nobody could know of it after a kill.
            NotAccepting: the agent is starting or stopping.
        """
        self._operations.require_open()
        order = await self._judged(order, force=force)
        await self._provide_image(order.image)
        await self._space.require()
        limits = await self._held(order.limits)
        demand = Demand(
            containers=1 if start else 0, cpus=limits.cpus, memory_bytes=limits.memory_bytes
        )
        place = f"container:{order.name}:{self._clock.new_id()}"
        await self._admission.admit(place, demand)
        try:
            order = await self._surroundings.joined(order)
            return await self._make(order, limits, start=start)
        finally:
            self._admission.release(place)

    async def _judged(self, order: ContainerOrder, *, force: bool) -> ContainerOrder:
        """The order as it is made: judged as it came, then hardened."""
        order = msgspec.structs.replace(order, name=order.name or self._names.made_up())
        order.check()
        self._limits.check(order.limits)
        await self._names.check(order.name)
        findings = (*self._findings(order), *await self._surroundings.judge(order, force=force))
        if findings:
            raise PolicyRefused(findings, asker="container")
        return _hardened(order, self._rules)

    def _findings(self, order: ContainerOrder) -> Sequence[Finding]:
        volumes = {m.source for m in order.volumes if m.type is MountKind.VOLUME}
        found = judge_service(order.name, service_body(order), self._rules, volumes=volumes)
        return tuple(in_the_orders_words(finding, order.name) for finding in found)

    async def _provide_image(self, image: str) -> None:
        """Returns when the image is at hand, pulled if need be."""
        if not await self._resources.missing_images([image]):
            return
        key = await self._pulls.admitted(image, None)
        try:
            with anyio.fail_after(PULL_SECONDS):
                async with self._pulls.follow(key) as pull:
                    await pull.result()
        except TimeoutError as fault:
            raise StepTimedOut(
                "pull",
                f"image {image!r} did not come within {PULL_SECONDS:g} s; pull it first, with "
                "POST /api/v1/images/pull.",
            ) from fault

    async def _held(self, asked: ContainerLimits) -> HeldLimits:
        cpus = await self._admission.host_cpus()
        return self._limits.held(asked, ContainerLimits(), cpus=cpus)

    async def _make(self, order: ContainerOrder, limits: HeldLimits, *, start: bool) -> Created:
        async with self._orders.carrying_out(order.name, order.named_volumes) as mark:
            await self._surroundings.provide_volumes(order, mark)
            labels = {
                **order.labels,
                WORKSPACE_LABEL: self._workspace,
                ORDER_LABEL: mark,
                CPUS_LABEL: f"{limits.cpus:g}",
                MEMORY_LABEL: str(limits.memory_bytes),
            }
            warnings = await self._changes.create(
                msgspec.structs.replace(order, labels=labels), limits
            )
            if start:
                await self._changes.start(order.name)
            made = await self._lookup.inspect(order.name)
        with suppress(AgentError):
            await self._inventory.update({made.id})
        return Created(container=made, warnings=tuple(warnings))


def _hardened(order: ContainerOrder, rules: PolicyRules) -> ContainerOrder:
    keys = hardened(service_body(order), rules)
    lists = {
        key: tuple(keys[key]) for key in ("cap_add", "cap_drop", "security_opt") if key in keys
    }
    return msgspec.structs.replace(
        order,
        image=unmistakable(order.image),
        init=keys.get("init", order.init),
        ports=tuple(_port(port, rules) for port in order.ports),
        **lists,
    )


def _port(port: PortOrder, rules: PolicyRules) -> PortOrder:
    """A port that Docker may choose is chosen out of those that are for labs."""
    if port.host_port not in {"", "0"} or rules.host_ports.whole:
        return port
    return msgspec.structs.replace(port, host_port=str(rules.host_ports.without(rules.own_port)))
