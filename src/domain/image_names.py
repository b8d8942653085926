"""placeholder"""

import msgspec


class RegistryRules(msgspec.Struct, frozen=True, kw_only=True):
    allowed: frozenset[str] = frozenset()

    def why_not(self, reference: str) -> str | None:
        return None


def is_ours(reference: str) -> bool:
    return reference.startswith("container-host-agent/")
