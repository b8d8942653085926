"""Names of images, read as Docker reads them."""

import re

import msgspec

from domain.images import REPOSITORY

HUB = "docker.io"
"""Where an image comes from that names no registry."""

_HUB_NAMES = {HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
# The last part of a public name is never a number: some libraries take such for addresses.
_HOST = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]*[a-z0-9])?")
_INTERNAL = (
    "localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa",
    "localdomain", "arpa", "svc", "domain",
)  # fmt: skip
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@[A-Za-z0-9_+.-]+:[0-9a-fA-F]{{32,}})?"
)


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


def registry(reference: str) -> str:
    """The registry that an image comes from, in lower case, with its port if one is named."""
    return split_registry(reference)[0]


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


def familiar(reference: str) -> str:
    """The same name as Docker shows it: without its own registry, with the tag that is meant.

    A digest leaves no room for a tag. A registry stays as it is written: ``Host/a`` names one by
    its upper-case letter alone, and ``host/a`` none.
    """
    host, rest = split_registry(reference)
    if host != HUB:
        host = reference.partition("/")[0]
    path, _, digest = rest.partition("@")
    folder, slash, last = path.rpartition("/")
    last, colon, tag = last.partition(":")
    official = host == HUB and folder == "library"
    name = last if official else f"{folder}{slash}{last}"
    name = name if host == HUB else f"{host}/{name}"
    if digest:
        return f"{name}@{digest}"
    return f"{name}:{tag if colon else 'latest'}"


def public_host(host: str) -> bool:
    """Whether a host is named as public ones are: not by an address, nor as inner networks do.

    Args:
        host: in lower case, without a port.
    """
    if len(host) > 253 or not _HOST.fullmatch(host):
        return False
    return not host.endswith(tuple(f".{name}" for name in _INTERNAL))


class OwnImages(msgspec.Struct, frozen=True, kw_only=True):
    """Names that nobody may give to an image but the agent, or who installs it."""

    agent_image: str = ""
    """The agent's own image; empty where it is not known."""

    def holds(self, reference: str) -> bool:
        """Whether a name is one of them, however it is written."""
        return is_ours(reference) or self.is_agents(reference)

    def is_agents(self, reference: str) -> bool:
        """Whether a name is that of the image which the agent itself runs from."""
        return bool(self.agent_image) and familiar(reference) == familiar(self.agent_image)


class RegistryRules(msgspec.Struct, frozen=True, kw_only=True):
    """Where images may come from."""

    allowed: frozenset[str] = frozenset()
    """Registries, ``host`` or ``host:port``, beside those with a public name and no port."""

    def why_not(self, reference: str) -> str | None:
        """Why an image may not be taken; None where it may."""
        host, rest = split_registry(reference)
        if len(reference) > 512 or not _NAME.fullmatch(rest):
            return "It is no name of an image."
        if host == HUB or host in {one.lower() for one in self.allowed} or public_host(host):
            return None
        return f"Images may not come from {host}, which may be a service of an inner network."
