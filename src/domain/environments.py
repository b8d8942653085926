"""Environments: a bundle deployed under a name, its states and the ways between them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from domain.containers import Container
from domain.limits import ContainerLimits, HeldLimits
from domain.moments import moved
from domain.names import BundleDigest, EnvironmentName, OperationId


class EnvironmentState(StrEnum):
    """Where an environment is in its life."""

    DEPLOYING = "deploying"
    RUNNING = "running"
    STOPPED = "stopped"
    DEGRADED = "degraded"
    FAILED = "failed"
    DELETING = "deleting"


_S = EnvironmentState

TRANSITIONS: Mapping[EnvironmentState, frozenset[EnvironmentState]] = {
    _S.DEPLOYING: frozenset({_S.DEPLOYING, _S.RUNNING, _S.FAILED, _S.DELETING}),
    _S.RUNNING: frozenset({_S.DEPLOYING, _S.STOPPED, _S.DEGRADED, _S.DELETING}),
    _S.STOPPED: frozenset({_S.DEPLOYING, _S.RUNNING, _S.DEGRADED, _S.DELETING}),
    _S.DEGRADED: frozenset({_S.DEPLOYING, _S.RUNNING, _S.STOPPED, _S.DELETING}),
    _S.FAILED: frozenset({_S.DEPLOYING, _S.DELETING}),
    _S.DELETING: frozenset({_S.DELETING, _S.DEPLOYING}),
}
"""From each state, the states that may follow. What is gone has no record and so no state."""


_SETTLED = frozenset({_S.RUNNING, _S.STOPPED, _S.DEGRADED})


class Isolation(StrEnum):
    """What an environment's containers reach."""

    OPEN = "open"
    """The internet; never other environments."""
    INTERNAL = "internal"
    """Each other, and nothing else."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Keeps an environment from expiry, clean-up and removal."""

    owner: str
    reason: str
    until: datetime | None = None
    """When it ends by itself."""

    def stands(self, now: datetime) -> bool:
        """Whether it has not ended."""
        return self.until is None or now < self.until


class ServiceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one service, whatever its containers do."""

    name: str
    image: str = ""
    replicas: int = 1
    limits: HeldLimits


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One environment as the agent's records hold it."""

    name: EnvironmentName
    state: EnvironmentState
    created_at: datetime
    updated_at: datetime
    operation: OperationId | None = None
    """The last operation that changed it."""
    adopted: bool = False
    """Deployed by an earlier agent and taken over."""
    reason: str = ""
    """Why it is failed or degraded, with the last lines of output."""
    bundle: BundleDigest | None = None
    """The kept bundle that it was deployed from; None where that was not kept."""
    labels: Mapping[str, str] = {}
    limits: ContainerLimits = ContainerLimits()
    """As asked for; ``services`` tells what came of it."""
    isolation: Isolation = Isolation.OPEN
    expires_at: datetime | None = None
    warned: bool = False
    """Whether its coming end was told of."""
    hold: Hold | None = None
    services: tuple[ServiceRecord, ...] = ()
    networks: Mapping[str, str] = {}
    """The subnets that are its own: network → address range."""
    images: Mapping[str, str] = {}
    """The images that were built for it: service → tag."""
    vpn: bool = False
    """Whether it was given a VPN profile."""
    modelled: bool = False
    """Whether the resolved model that runs is kept; not so where an earlier agent deployed it."""
    last_error: str = ""
    """Why the last change failed that did; stays until one succeeds."""

    def becoming(
        self,
        state: EnvironmentState,
        *,
        at: datetime,
        operation: OperationId | None = None,
        reason: str = "",
    ) -> "Environment":
        """The same environment in its next state.

        Raises:
            ValueError: ``state`` cannot follow the present one.
        """
        if state not in TRANSITIONS[self.state]:
            raise ValueError(f"An environment that is {self.state} cannot become {state}.")
        return msgspec.structs.replace(
            self,
            state=state,
            updated_at=at,
            operation=operation or self.operation,
            reason=reason,
        )

    def failed(self, *, at: datetime, reason: str) -> "Environment":
        """The same environment when its deploy has failed and nothing of it is left."""
        failed = self.becoming(EnvironmentState.FAILED, at=at, reason=reason)
        return msgspec.structs.replace(failed, networks={}, images={}, last_error=reason)

    def observed(self, containers: Sequence[Container]) -> EnvironmentState:
        """The state that its containers show; one that lacks some is not well while others run."""
        state = observed_state(containers)
        if state is EnvironmentState.RUNNING and self.lacking(containers):
            return EnvironmentState.DEGRADED
        return state

    def lacking(self, containers: Sequence[Container]) -> tuple[str, ...]:
        """Services that have fewer containers than they were deployed with."""
        found = Counter(container.service for container in containers)
        return tuple(s.name for s in self.services if found[s.name] < s.replicas)

    def moved(self, by: timedelta) -> "Environment":
        """The same environment with its moments so much later: its end, its hold's, its age."""
        hold = self.hold
        if hold is not None and hold.until is not None:
            hold = msgspec.structs.replace(hold, until=moved(hold.until, by))
        return msgspec.structs.replace(
            self,
            created_at=moved(self.created_at, by),
            updated_at=moved(self.updated_at, by),
            expires_at=moved(self.expires_at, by) if self.expires_at is not None else None,
            hold=hold,
        )

    def held(self, now: datetime) -> bool:
        """Whether somebody holds it."""
        return self.hold is not None and self.hold.stands(now)

    @property
    def image_tags(self) -> frozenset[str]:
        """The images that its services run, by the names that its Compose file or the agent gave.

        Those that were built for it are among them.
        """
        return frozenset({*self.images.values(), *(s.image for s in self.services if s.image)})

    @property
    def deployed(self) -> bool:
        """Whether anything of it may stand on the host."""
        return self.state is not EnvironmentState.FAILED

    @property
    def settled(self) -> bool:
        """Whether its containers alone tell its state."""
        return self.state in _SETTLED


def observed_state(containers: Sequence[Container]) -> EnvironmentState:
    """The state that an environment's containers show; those that ended well do no harm."""
    if not any(container.running for container in containers):
        return EnvironmentState.STOPPED
    if all(container.well for container in containers):
        return EnvironmentState.RUNNING
    return EnvironmentState.DEGRADED
