"""Names of containers that are made one by one."""

from domain.compose_policy import PolicyRules
from domain.compose_policy.checks import Scope
from domain.compose_policy.values import service_name
from domain.errors import PolicyRefused, ResourceConflict
from domain.ports.clock import Clock
from domain.ports.store import Environments
from domain.references import name_or_id

_MADE_UP_LENGTH = 12


class ContainerNames:
    """Keeps names apart from those that environments' containers have or may come to have."""

    def __init__(self, environments: Environments, rules: PolicyRules, clock: Clock) -> None:
        self._environments = environments
        self._scope = Scope(rules=rules, folder="")
        self._clock = clock

    def made_up(self) -> str:
        """A name that nothing else has."""
        identifier = self._clock.new_id().replace("-", "").lower()
        return f"container-{identifier[-_MADE_UP_LENGTH:]}"

    async def check(self, name: str) -> str:
        """The same name, if a single container may bear it.

        Raises:
            InvalidReference: no container can.
            PolicyRefused: the manager would take the container for an environment's.
            ResourceConflict: an environment's container has it, or may come to have it.
        """
        findings = tuple(service_name(name_or_id("container", name), "name", self._scope))
        if findings:
            raise PolicyRefused(findings, asker="container")
        for record in await self._environments.list():
            if name == record.name or name.startswith((f"{record.name}-", f"{record.name}_")):
                raise ResourceConflict(
                    f"Container names that begin with {record.name!r} are those of environment "
                    f"{record.name!r}.",
                    hint="Take another name.",
                )
        return name
