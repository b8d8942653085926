"""Names, parsed once from outside text; whoever holds one need not check it again."""

import re
from typing import NewType

from domain.errors import BundleNotFound, InvalidName

EnvironmentName = NewType("EnvironmentName", str)
"""The name of an environment, which is also that of its Compose project and its folder."""

OperationId = NewType("OperationId", str)
"""The identifier of an operation."""

BundleDigest = NewType("BundleDigest", str)
"""What a bundle is known by: ``sha256:`` and the digest of its archive in hexadecimal digits."""

MAX_NAME_LENGTH = 63

# What Compose accepts as a project name.
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)


_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII)


def bundle_digest(text: str) -> BundleDigest:
    """The digest that ``text`` spells, with or without ``sha256:`` before it.

    Raises:
        BundleNotFound: it spells none, so that there can be no such bundle.
    """
    found = _SHA256.fullmatch(text)
    if found is None:
        raise BundleNotFound(text[:80])
    return BundleDigest(f"sha256:{found[1]}")


def names_environment(text: str) -> bool:
    """Whether ``text`` is a Compose project name of at most 63 characters."""
    return len(text) <= MAX_NAME_LENGTH and _PROJECT_NAME.fullmatch(text) is not None


def environment_name(text: str) -> EnvironmentName:
    """The environment's name that ``text`` spells.

    Raises:
        InvalidName: ``text`` is not a Compose project name of at most 63 characters.
    """
    if names_environment(text):
        return EnvironmentName(text)
    shown = text if len(text) <= MAX_NAME_LENGTH else f"{text[:MAX_NAME_LENGTH]}…"
    raise InvalidName(
        f"{shown!r} cannot name an environment.",
        hint=(
            "Use 1 to 63 lower-case letters, digits, '-' and '_', beginning with a letter or digit."
        ),
    )


def generated_name(identifier: str) -> EnvironmentName:
    """A name made of an identifier that nothing else has."""
    text = re.sub(r"[^a-z0-9]", "", identifier.lower(), flags=re.ASCII)
    return environment_name(f"env-{text[-16:]}")
