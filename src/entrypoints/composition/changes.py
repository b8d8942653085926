"""How the use cases that change environments are wired."""

from functools import cached_property

from domain.compose_policy import PolicyRules
from domain.usecases.addresses import Addresses
from domain.usecases.admission import Admission
from domain.usecases.agent_entries import AgentEntries
from domain.usecases.audit import AuditTrail
from domain.usecases.builds import Builds
from domain.usecases.clearing import Clearing
from domain.usecases.consistency import Consistency
from domain.usecases.deploy import Deploy
from domain.usecases.environment_checks import EnvironmentChecks
from domain.usecases.gate import Gate
from domain.usecases.host import HostWatch
from domain.usecases.housekeeping import Housekeeping, HousekeepingRules
from domain.usecases.inventory import InventoryWatch
from domain.usecases.leftover_checks import LeftoverChecks
from domain.usecases.library import Library
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.memos import Memos
from domain.usecases.mending import Mending
from domain.usecases.news import News
from domain.usecases.open_commands import OpenCommands
from domain.usecases.open_orders import OpenOrders
from domain.usecases.open_restores import OpenRestores
from domain.usecases.operations import Operations
from domain.usecases.protection import Protection
from domain.usecases.recovery import Recovery
from domain.usecases.resolving import Resolving
from domain.usecases.restoring import Restoring
from domain.usecases.space import Space
from domain.usecases.staging import Staging
from domain.usecases.standing import Standing
from domain.usecases.states import States
from domain.usecases.stopping import Stopping
from domain.usecases.timekeeping import Timekeeping
from domain.usecases.undo import Undo
from entrypoints.composition.limits import (
    capacity,
    limit_rules,
    policy_rules,
)
from entrypoints.composition.ports import Adapters
from entrypoints.settings import Settings


class Changes:
    """The use cases that change environments, each made when it is first asked for.

    Args:
        settings: what the operator wants.
        adapters: what is outside.
        inventory: the picture of the containers.
        host: the host's values.
        news: what the manager hears of at once.
        agent_entries: take down what the agent does.
    """

    def __init__(
        self,
        settings: Settings,
        adapters: Adapters,
        inventory: InventoryWatch,
        host: HostWatch,
        *,
        news: News,
        agent_entries: AgentEntries,
    ) -> None:
        self._settings = settings
        self._adapters = adapters
        self._runtime = adapters.runtime
        self._store = adapters.store
        self._clock = adapters.clock
        self._log = adapters.log
        self._inventory = inventory
        self._host = host
        self._news = news
        self._agent_entries = agent_entries

    @cached_property
    def operations(self) -> Operations:
        return Operations(self._store.operations, self._clock, self._log, self._news)

    @cached_property
    def timekeeping(self) -> Timekeeping:
        return Timekeeping(
            store=self._store, operations=self.operations, clock=self._clock, log=self._log
        )

    @cached_property
    def _clearing(self) -> Clearing:
        return Clearing(self._runtime.resources)

    @cached_property
    def addresses(self) -> Addresses:
        return Addresses(
            self._store.environments,
            self._runtime.networks,
            self._adapters.host_network,
            self._settings.network_pool,
        )

    @cached_property
    def builds(self) -> Builds:
        return Builds(
            contexts=self._adapters.contexts,
            compose=self._runtime.compose,
            resources=self._runtime.resources,
            workspaces=self._adapters.workspaces,
            environments=self._store.environments,
            images=self._store.images,
            operations=self._store.operations,
            clock=self._clock,
            log=self._log,
            at_once=self._settings.max_builds,
        )

    @cached_property
    def audit(self) -> AuditTrail:
        return AuditTrail(
            self._store.audit,
            self._clock,
            self._log,
            keep_seconds=self._settings.audit_ttl,
            tell=self._agent_entries.asked,
        )

    @cached_property
    def orders(self) -> OpenOrders:
        return OpenOrders(
            records=self._store.open_orders,
            changes=self._runtime.single.changes,
            lookup=self._runtime.single.lookup,
            volumes=self._runtime.volumes,
            clock=self._clock,
            log=self._log,
        )

    @cached_property
    def commands(self) -> OpenCommands:
        return OpenCommands(
            records=self._store.open_commands,
            commands=self._runtime.single.commands,
            log=self._log,
        )

    @cached_property
    def restores(self) -> OpenRestores:
        return OpenRestores(
            archives=self._runtime.volume_archives, orders=self.orders, log=self._log
        )

    @cached_property
    def housekeeping(self) -> Housekeeping:
        return Housekeeping(
            store=self._store,
            engine=self._runtime.engine,
            audit=self.audit,
            builds=self.builds,
            timekeeping=self.timekeeping,
            orders=self.orders,
            clock=self._clock,
            log=self._log,
            rules=HousekeepingRules(
                operation_seconds=self._settings.operation_ttl,
                bundle_seconds=self._settings.bundle_ttl,
                image_seconds=self._settings.image_ttl,
            ),
        )

    @cached_property
    def space(self) -> Space:
        return Space(
            self._host,
            self._store,
            self._adapters.workspaces,
            self.housekeeping.reclaim,
            self._log,
            min_free_percent=self._settings.min_free_percent,
        )

    @cached_property
    def protection(self) -> Protection:
        return Protection(self._runtime.firewall, str(self._settings.network_pool), self._log)

    @cached_property
    def _gate(self) -> Gate:
        return Gate(
            compose=self._runtime.compose,
            workspaces=self._adapters.workspaces,
            contexts=self._adapters.contexts,
            rules=policy_rules(self._settings),
        )

    @cached_property
    def _staging(self) -> Staging:
        return Staging(self.operations, self._clock)

    @cached_property
    def _standing(self) -> Standing:
        return Standing(
            workspaces=self._adapters.workspaces,
            gate=self._gate,
            staging=self._staging,
            log=self._log,
        )

    @cached_property
    def _stopping(self) -> Stopping:
        return Stopping(self._runtime.compose, self._inventory, self._clock)

    @cached_property
    def _undo(self) -> Undo:
        return Undo(
            environments=self._store.environments,
            workspaces=self._adapters.workspaces,
            compose=self._runtime.compose,
            resources=self._runtime.resources,
            clearing=self._clearing,
            builds=self.builds,
            standing=self._standing,
            clock=self._clock,
            log=self._log,
            stop_seconds=self._settings.stop_grace + 2.0,
        )

    @cached_property
    def _resolving(self) -> Resolving:
        return Resolving(self._gate, self._adapters.workspaces)

    @cached_property
    def admission(self) -> Admission:
        return Admission(
            capacity(self._settings), self._store.environments, self._inventory, self._host
        )

    @cached_property
    def deploy(self) -> Deploy:
        return Deploy(
            environments=self._store.environments,
            bundles=self._adapters.bundles,
            workspaces=self._adapters.workspaces,
            compose=self._runtime.compose,
            resources=self._runtime.resources,
            operations=self.operations,
            inventory=self._inventory,
            admission=self.admission,
            addresses=self.addresses,
            builds=self.builds,
            gate=self._gate,
            resolving=self._resolving,
            space=self.space,
            protection=self.protection,
            stopping=self._stopping,
            undo=self._undo,
            clearing=self._clearing,
            clock=self._clock,
            log=self._log,
            limits=limit_rules(self._settings),
            seconds=self._settings.deploy_timeout,
            starts=self._settings.max_starts,
        )

    @cached_property
    def lifecycle(self) -> Lifecycle:
        return Lifecycle(
            environments=self._store.environments,
            workspaces=self._adapters.workspaces,
            compose=self._runtime.compose,
            resources=self._runtime.resources,
            operations=self.operations,
            inventory=self._inventory,
            builds=self.builds,
            gate=self._gate,
            standing=self._standing,
            legacy_builds=self._settings.max_builds,
            protection=self.protection,
            stopping=self._stopping,
            undo=self._undo,
            clearing=self._clearing,
            timekeeping=self.timekeeping,
            clock=self._clock,
            log=self._log,
            change_seconds=self._settings.deploy_timeout,
        )

    @cached_property
    def library(self) -> Library:
        return Library(
            records=self._store.bundles,
            environments=self._store.environments,
            bundles=self._adapters.bundles,
            workspaces=self._adapters.workspaces,
            gate=self._gate,
            resolving=self._resolving,
            builds=self.builds,
            operations=self.operations,
            staging=self._staging,
            inventory=self._inventory,
            space=self.space,
            clock=self._clock,
            log=self._log,
            build_seconds=self._settings.deploy_timeout,
        )

    @cached_property
    def _mending(self) -> Mending:
        return Mending(
            store=self._store,
            workspaces=self._adapters.workspaces,
            resources=self._runtime.resources,
            inventory=self._inventory,
            undo=self._undo,
            builds=self.builds,
            clearing=self._clearing,
            clock=self._clock,
            log=self._log,
        )

    @cached_property
    def memos(self) -> Memos:
        return Memos(self._adapters.workspaces)

    @cached_property
    def states(self) -> States:
        return States(
            environments=self._store.environments,
            operations=self.operations,
            inventory=self._inventory,
            clock=self._clock,
            log=self._log,
        )

    @cached_property
    def consistency(self) -> Consistency:
        return Consistency(
            operations=self.operations,
            inventory=self._inventory,
            resources=self._runtime.resources,
            workspaces=self._adapters.workspaces,
            states=self.states,
            environments=EnvironmentChecks(
                environments=self._store.environments,
                workspaces=self._adapters.workspaces,
                operations=self.operations,
                inventory=self._inventory,
                resources=self._runtime.resources,
                mending=self._mending,
                restoring=Restoring(
                    environments=self._store.environments,
                    workspaces=self._adapters.workspaces,
                    clock=self._clock,
                    log=self._log,
                ),
                lifecycle=self.lifecycle,
                memos=self.memos,
            ),
            leftovers=LeftoverChecks(
                store=self._store,
                workspaces=self._adapters.workspaces,
                resources=self._runtime.resources,
                inventory=self._inventory,
                operations=self.operations,
                staging=self._staging,
                mending=self._mending,
                builds=self.builds,
                library=self.library,
                clearing=self._clearing,
            ),
            clock=self._clock,
            log=self._log,
        )

    @cached_property
    def recovery(self) -> Recovery:
        return Recovery(
            records=self._store.operations,
            workspaces=self._adapters.workspaces,
            compose=self._runtime.compose,
            inventory=self._inventory,
            operations=self.operations,
            mending=self._mending,
            consistency=self.consistency,
            clearing=self._clearing,
            orders=self.orders,
            restores=self.restores,
            credentials=self._runtime.images.credentials,
            commands=self.commands,
            lifecycle=self.lifecycle,
            clock=self._clock,
            log=self._log,
        )

    @property
    def policy(self) -> PolicyRules:
        return self._gate.rules
