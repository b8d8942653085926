"""What a registry wants to know of whoever pulls from it."""

import re

import msgspec

from domain.errors import RequestUnreadable
from domain.image_names import HUB, registry

MAX_SECRET_LENGTH = 16 * 1024
"""Identity tokens of clouds are several thousand characters long."""

# As in a reference: registries are told from folders by a dot, a port, or being this host.
_REGISTRY = re.compile(
    r"(?:localhost|[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*)(?::\d{1,5})?"
)


HUB_ADDRESS = "https://index.docker.io/v1/"
"""What Docker calls its own registry where credentials are concerned."""


def server_address(registry: str) -> str:
    """What Docker calls a registry where credentials are concerned."""
    return HUB_ADDRESS if registry == HUB else registry


class RegistryCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """A user name with its password, or an identity token; never shown."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        """Nothing that could be read in a log."""
        return f"RegistryCredentials(username={self.username!r})"

    def check(self) -> None:
        """Returns if they are credentials.

        Raises:
            RequestUnreadable: they are not.
        """
        whole = bool(self.username and self.password)
        if bool(self.identity_token) == whole or (self.identity_token and self.password):
            raise RequestUnreadable(
                "Credentials are a username with its password, or else an identity_token."
            )
        texts = (self.username, self.password, self.identity_token)
        if any(len(text) > MAX_SECRET_LENGTH or not _sendable(text) for text in texts):
            raise RequestUnreadable("Credentials hold what no registry takes.")
        if ":" in self.username:
            raise RequestUnreadable("A user name of a registry has no colon.")


def _sendable(text: str) -> bool:
    return all(ord(character) >= 32 and not 0xD800 <= ord(character) < 0xE000 for character in text)


class KeptRegistry(msgspec.Struct, frozen=True, kw_only=True):
    """A registry that the agent keeps credentials for."""

    registry: str
    """`host` or `host:port`; `docker.io` for Docker's own."""
    username: str
    """Empty where it is a token that is kept."""


def registry_name(text: str) -> str:
    """The registry that ``text`` names, in the one way in which the agent writes it.

    Raises:
        RequestUnreadable: it names none.
    """
    name = text.lower()
    host = registry(f"{name}/x")
    if len(name) > 255 or not _REGISTRY.fullmatch(name) or (host == HUB and "." not in name):
        raise RequestUnreadable(
            f"{text[:80]!r} names no registry.",
            hint="Write host or host:port, as it stands in front of an image's name.",
        )
    return host
