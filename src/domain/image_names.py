"""Names of images, read as Docker reads them."""

import re
from ipaddress import ip_address

import msgspec

from domain.images import REPOSITORY

HUB = "docker.io"
"""Where an image comes from that names no registry."""

_HUB_NAMES = {HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_INTERNAL = (
    "localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa",
    "localdomain", "arpa",
)  # fmt: skip
# What some libraries take for an address: numbers in any base, with or without dots.
_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*")


def split_registry(reference: str) -> tuple[str, str]:
    """The registry of an image, in lower case, and the rest of its name.

    The first part is a registry if it has a dot or a colon, is ``localhost``, or has upper-case
    letters, which no path may have.
    """
    first, slash, rest = reference.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first.lower() != first
    if slash and is_host:
        host = first.lower()
        return (HUB if host in _HUB_NAMES else host), rest
    return HUB, reference


def is_ours(reference: str) -> bool:
    """Whether a name is one that the agent gives to images which it builds."""
    registry, rest = split_registry(reference.strip())
    return registry == HUB and rest.lower().startswith(f"{REPOSITORY}/")


def is_identifier(reference: str) -> bool:
    """Whether Docker takes it for an image of this host, not for a name."""
    return re.fullmatch(r"sha256:[0-9a-f]*", reference.strip()) is not None


def unmistakable(reference: str) -> str:
    """The same name, so written that Docker cannot take it for the beginning of an identifier."""
    return f"{reference}:latest" if re.fullmatch(r"[0-9a-f]{1,64}", reference) else reference


def public_host(host: str) -> bool:
    """Whether a host is named as public ones are: not by an address, nor as inner networks do."""
    if _NUMBERS.fullmatch(host) or "." not in host or not _HOST.fullmatch(host):
        return False
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return not host.endswith(tuple(f".{name}" for name in _INTERNAL))
    return False


class RegistryRules(msgspec.Struct, frozen=True, kw_only=True):
    """Where images may come from."""

    allowed: frozenset[str] = frozenset()
    """Registries, ``host`` or ``host:port``, beside those with a public name and no port."""

    def why_not(self, reference: str) -> str | None:
        """Why an image may not be taken; None where it may."""
        if not reference.strip() or re.search(r"[\s\x00-\x1f\x7f]", reference):
            return "It is no name of an image."
        registry, _ = split_registry(reference)
        if registry == HUB or registry in self.allowed or public_host(registry):
            return None
        return f"Images may not come from {registry}, which may be a service of an inner network."
