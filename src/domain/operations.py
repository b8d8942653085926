"""Operations: changes to an environment that take time and belong to the agent."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from domain.names import EnvironmentName, OperationId

OUTPUT_TAIL_LINES = 40
"""How many of the last lines of output an operation keeps."""

OUTPUT_LINE_LENGTH = 500
"""How many characters of one line of output are kept."""


class OperationKind(StrEnum):
    """What an operation does."""

    DEPLOY = "deploy"
    RESTART = "restart"
    DELETE = "delete"


class OperationState(StrEnum):
    """How far an operation is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in {OperationState.QUEUED, OperationState.RUNNING}


class Step(StrEnum):
    """What an operation is doing at the moment."""

    UNPACK = "unpack"
    CHECK = "check"
    BUILD = "build"
    REPLACE = "replace"
    START = "start"
    REMOVE = "remove"


class Replacement(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy replaces, written down before it does, so that it can be brought back."""

    image_tags: Mapping[str, str] = {}
    """The earlier images: tag → image identifier."""
    volumes: tuple[str, ...] = ()
    """The volumes that stood before and outlive the deploy, whatever comes of it."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as the agent's records hold it."""

    id: OperationId
    kind: OperationKind
    environment: EnvironmentName
    state: OperationState
    requested_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    step: Step | None = None
    replaces: Replacement | None = None
    """Set when a deploy found an earlier environment of the name."""
    pulls: tuple[str, ...] = ()
    """Images that a deploy needs and the host did not have; they go if it fails."""
    error: str = ""
    """The code of the failure."""
    reason: str = ""
    """Why it failed, for people."""
    output: tuple[str, ...] = ()
    """The last lines of output."""

    def interrupted(self, *, at: datetime, error: str, reason: str) -> "Operation":
        """The same operation as one that ended with the agent."""
        return msgspec.structs.replace(
            self, state=OperationState.INTERRUPTED, ended_at=at, error=error, reason=reason
        )
