"""Headers that handlers read by themselves, as the OpenAPI document shows them."""

from dataclasses import dataclass

from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType


def _header(name: str, description: str, example: str) -> Parameter:
    return Parameter(
        name=name,
        param_in="header",
        required=False,
        description=description,
        schema=Schema(type=OpenAPIType.STRING, examples=[example]),
    )


PREFER = _header(
    "Prefer", "`wait=SECONDS`: answer when it has ended, if it does so in time.", "wait=60"
)
IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "The same key with the same request gives the first one's operation again.",
    "0b6f7d0e-5c3f-4d0e-9a53-0123456789ab",
)
CONTENT_DIGEST = _header(
    "Content-Digest",
    "RFC 9530: what is received must have this SHA-256.",
    "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
)
LAST_EVENT_ID = _header("Last-Event-ID", "Only what came after this event.", "17")


@dataclass
class ChangeOperation(Operation):
    """A change that is answered with its operation."""

    def __post_init__(self) -> None:
        """Adds the headers."""
        self.parameters = [*(self.parameters or []), PREFER, IDEMPOTENCY_KEY]


@dataclass
class WaitOperation(Operation):
    """A call that can wait for an operation's end."""

    def __post_init__(self) -> None:
        """Adds the header."""
        self.parameters = [*(self.parameters or []), PREFER]


@dataclass
class EventsOperation(Operation):
    """A stream of events that can be resumed."""

    def __post_init__(self) -> None:
        """Adds the header."""
        self.parameters = [*(self.parameters or []), LAST_EVENT_ID]
