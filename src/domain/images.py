"""Images that the agent builds: named by what goes into them, so that the same is built once."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from domain.names import EnvironmentName

REPOSITORY = "container-host-agent"
"""Repositories of built images begin with it; no registry is ever asked for them."""

BUILD_PROJECT = "container-host-agent-builds"
"""The Compose project that shared images are built in, so that none belongs to an environment."""

BUILD_LABEL = "container-host-agent.build"
"""Marks built images with the digest of what went into them."""

# Raised when the meaning of the digest changes, so that no earlier image is taken for the same.
_GENERATION = 1


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An image that came to the host for environments, and goes when nobody needs it any more."""

    tag: str
    created_at: datetime
    used_at: datetime
    """When a change last needed it."""
    environment: EnvironmentName | None = None
    """Whose own it is; None for one that all may use."""
    pulled: bool = False
    """Taken from a registry, not built."""


class BuildPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one service gets its image."""

    service: str
    tag: str
    own: bool
    """Nobody but this environment may use it: it holds its secret, or nobody can tell what is in
    it."""


def build_digest(
    build: Mapping[str, Any],
    *,
    dockerfile: str,
    context: str,
    bases: Mapping[str, str],
    private: str = "",
) -> str:
    """Names what goes into a build: the same only where everything is.

    Args:
        build: the service's build section.
        dockerfile: the Dockerfile's text.
        context: digest of the context's files.
        bases: the images it starts from: reference → identifier, or empty where not at hand.
        private: what sets it apart from all others, such as whose secret it holds.
    """
    section = {key: value for key, value in build.items() if key not in {"context", "labels"}}
    section["labels"] = build.get("labels") or {}
    parts = [_GENERATION, section, dockerfile, context, sorted(bases.items()), private]
    return sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def shared_tag(digest: str) -> str:
    """The name of an image that all may use."""
    return f"{REPOSITORY}/shared:{digest}"


def own_tag(digest: str) -> str:
    """The name of an image of one environment."""
    return f"{_OWN}{digest}"


def is_own(tag: str) -> bool:
    """Whether a tag names an image of one environment."""
    return tag.startswith(_OWN)


_OWN = f"{REPOSITORY}/own:"
