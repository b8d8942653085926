"""Volumes as the Engine shows them, and as somebody asks for them."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

LOCAL = "local"
"""The driver of volumes that lie on the host's own disk."""


class EngineVolume(msgspec.Struct, frozen=True, kw_only=True):
    """One volume."""

    name: str
    driver: str
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    """What its driver was told: where it lies, if that is not Docker's own folder."""
    created_at: datetime | None = None
    anonymous: bool = False
    """Whether Docker made its name up."""

    @property
    def plain(self) -> bool:
        """Whether it lies on the host's disk where Docker put it, and not where options say."""
        return self.driver == LOCAL and not self.options


class VolumeUser(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A container that mounts a volume."""

    name: str
    id: str
    running: bool


class VolumeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that shall be."""

    name: str = ""
    """Empty for one that Docker makes up."""
    driver: str = LOCAL
    options: Mapping[str, str] = {}
    """For its driver."""
    labels: Mapping[str, str] = {}
