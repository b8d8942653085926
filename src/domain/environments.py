"""Environments: a bundle deployed under a name, its states and the ways between them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from domain.containers import Container
from domain.names import EnvironmentName, OperationId


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

    @property
    def deployed(self) -> bool:
        """Whether anything of it may stand on the host."""
        return self.state is not EnvironmentState.FAILED


def observed_state(containers: Sequence[Container]) -> EnvironmentState:
    """The state that an environment's containers show; those that ended well do no harm."""
    if not any(container.running for container in containers):
        return EnvironmentState.STOPPED
    if all(container.well for container in containers):
        return EnvironmentState.RUNNING
    return EnvironmentState.DEGRADED
