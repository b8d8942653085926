"""Operations: changes to an environment that take time and belong to the agent."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from domain.environments import Environment
from domain.findings import Finding
from domain.moments import microseconds
from domain.names import BundleDigest, EnvironmentName, OperationId

OUTPUT_TAIL_LINES = 40
"""How many of the last lines of output an operation keeps."""

OUTPUT_LINE_LENGTH = 500
"""How many characters of one line of output are kept."""


class OperationKind(StrEnum):
    """What an operation does."""

    DEPLOY = "deploy"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    """The same containers, ended and started again."""
    REBUILD = "rebuild"
    """Images built anew and containers made anew; volumes stay."""
    RESET = "reset"
    """Containers and volumes made anew from the images at hand."""
    DELETE = "delete"
    BUILD = "build"
    """Of a bundle's images, ahead of its deploys."""


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
    STOP = "stop"
    REMOVE = "remove"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked for an operation, and how a repetition of the request is known."""

    by: str
    idempotency_key: str | None = None
    fingerprint: str = ""
    """Of the request, so that the key cannot stand for another one."""


BY_MANAGER = Asked(by="manager")
"""Asked for by the manager's own calls."""

BY_AGENT = Asked(by="agent")
"""The agent's own doing."""


class EventKind(StrEnum):
    """What an operation's event tells of."""

    STATE = "state"
    STEP = "step"
    OUTPUT = "output"


class OperationEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in an operation."""

    id: int
    """Counts up from 1 in each operation."""
    at: datetime
    kind: EventKind
    text: str
    """The state, the step, or one line of output."""
    number: int = 0
    """Its place among all that happened on this host."""


class Replacement(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy replaces, written down before it does, so that it can be brought back."""

    image_tags: Mapping[str, str] = {}
    """The earlier images: tag → image identifier."""
    volumes: tuple[str, ...] = ()
    """The volumes that stood before and outlive the deploy, whatever comes of it."""
    record: Environment | None = None
    """What was known of it."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as the agent's records hold it."""

    id: OperationId
    kind: OperationKind
    environment: EnvironmentName | None = None
    """Whom it changes; None for what is done to a bundle."""
    bundle: BundleDigest | None = None
    state: OperationState
    number: int = 0
    """Counts up in the order of requests, however the clock was set between them."""
    requested_at: datetime
    asked: Asked = BY_MANAGER
    started_at: datetime | None = None
    ended_at: datetime | None = None
    step: Step | None = None
    replaces: Replacement | None = None
    """Set when a deploy found an earlier environment of the name."""
    pulls: tuple[str, ...] = ()
    """Images that a deploy needs and the host did not have; they go if it fails."""
    builds: tuple[str, ...] = ()
    """Tags of images that it is about to build; they go if it fails."""
    error: str = ""
    """The code of the failure."""
    reason: str = ""
    """Why it failed, for people."""
    findings: tuple[Finding, ...] = ()
    """What a bundle was refused for."""
    output: tuple[str, ...] = ()
    """The last lines of output."""
    left_open: bool = False
    """It ended with the agent, and the next one has not taken it up yet."""

    @property
    def subject(self) -> str:
        """What it changes; operations of one subject run one after another."""
        return self.environment or f"bundle {self.bundle}"

    @property
    def place(self) -> int:
        """Its number; of one that an earlier agent wrote down, what comes next to it."""
        return self.number or microseconds(self.requested_at)

    @property
    def ages_from(self) -> datetime:
        """The moment from which its record grows old."""
        return self.ended_at or self.requested_at

    @property
    def target(self) -> EnvironmentName:
        """The environment that it changes.

        Raises:
            ValueError: it changes none.
        """
        if self.environment is None:
            raise ValueError(f"Operation {self.id} is not of an environment.")
        return self.environment

    @property
    def to_be_finished(self) -> bool:
        """Whether the next agent takes it up if this one is cut off; what is not is undone."""
        if self.kind in {OperationKind.DEPLOY, OperationKind.BUILD}:
            return False
        # A change that waited in line has changed nothing; a removal was meant all the same, and
        # what the agent itself asked for takes up what had been begun.
        meant = self.kind is OperationKind.DELETE or self.asked == BY_AGENT
        return meant or self.left_open or self.state is OperationState.RUNNING

    @property
    def closed(self) -> bool:
        """Whether nothing is to be done about it any more."""
        return self.state.ended and not self.left_open

    def under_way_at(self, moment: datetime) -> bool:
        """Whether it had been asked for, and not ended, at that moment."""
        return self.requested_at <= moment and (self.ended_at is None or moment <= self.ended_at)

    def interrupted(self, *, at: datetime, error: str, reason: str) -> "Operation":
        """The same operation as one that ended with the agent."""
        return msgspec.structs.replace(
            self,
            state=OperationState.INTERRUPTED,
            ended_at=at,
            error=error,
            reason=reason,
            left_open=False,
        )
