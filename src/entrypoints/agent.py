"""What the faces of the agent are given: its use cases."""

from dataclasses import dataclass
from typing import Protocol

from domain.ports.clock import Clock
from domain.ports.log import Log
from domain.ports.workspaces import Bundles
from domain.usecases.authentication import Authentication
from domain.usecases.deploy import Deploy
from domain.usecases.health import Health
from domain.usecases.heartbeat import Heartbeat
from domain.usecases.host import HostWatch
from domain.usecases.inventory import InventoryWatch
from domain.usecases.lifecycle import Lifecycle
from domain.usecases.operations import Operations
from domain.usecases.recovery import Recovery
from entrypoints.settings import Settings


class Exposition(Protocol):
    """What Prometheus is told."""

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        ...

    def render(self) -> bytes:
        """All metrics as Prometheus reads them; may read small files, so call it in a thread."""
        ...


@dataclass(frozen=True, kw_only=True)
class Agent:
    """The wired agent."""

    settings: Settings
    version: str
    authentication: Authentication
    bundles: Bundles
    compose_version: str
    host: HostWatch
    inventory: InventoryWatch
    operations: Operations
    deploy: Deploy
    lifecycle: Lifecycle
    recovery: Recovery
    heartbeat: Heartbeat
    health: Health
    clock: Clock
    log: Log
