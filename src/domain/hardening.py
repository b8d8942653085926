"""What every container of a stranger is started with, whatever its bundle says."""

from collections.abc import Mapping
from typing import Any

from domain.compose_policy import PolicyRules
from domain.compose_policy.rules import ENGINE_CAPABILITIES
from domain.compose_policy.values import capability_name

_ALL = "ALL"


def hardened(service: Mapping[str, Any], rules: PolicyRules) -> Mapping[str, Any]:
    """The keys of a service that keep its containers in their box.

    All capabilities are dropped but those that the Engine gives by itself and those that the
    service asks for, as far as this host allows them. A first process reaps orphans where the
    service says nothing of it. The operator's own bundles say themselves what rights they need.
    """
    keys: dict[str, Any] = {}
    if service.get("init") is None:
        keys["init"] = True
    if rules.trusted:
        return keys
    keys["cap_drop"] = [_ALL]
    keys["cap_add"] = sorted(_capabilities(service) & rules.capabilities)
    keys["security_opt"] = [] if rules.new_privileges else ["no-new-privileges:true"]
    return keys


def _capabilities(service: Mapping[str, Any]) -> frozenset[str]:
    """What the service would have, had the Engine its way."""
    dropped = {capability_name(name) for name in service.get("cap_drop") or ()}
    asked = {capability_name(name) for name in service.get("cap_add") or ()}
    given = frozenset() if _ALL in dropped else ENGINE_CAPABILITIES
    return frozenset((given | asked) - (dropped - asked))
