"""The host's volumes: shown, made and removed, within what this host allows."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import anyio
import msgspec

from domain.compose_policy import PolicyRules, judge_volume
from domain.engine_volumes import EngineVolume, VolumeOrder, VolumeUser
from domain.errors import PolicyRefused, ResourceAmbiguous, ResourceConflict, ResourceNotFound
from domain.findings import Finding
from domain.names import EnvironmentName
from domain.ports.engine_volumes import EngineVolumes
from domain.references import name_or_id
from domain.usecases.container_list import labelled
from domain.usecases.ownership import Ownership
from domain.usecases.space import Space

_VOLUME = "volume"

# Names that Docker makes up, and how they begin.
_MADE_UP = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"[0-9a-f]{1,63}")

_NO_LABELS: Mapping[str, str] = MappingProxyType({})

_Users = Mapping[str, Sequence[VolumeUser]]


class OwnedVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume, who mounts it, and the environment that it belongs to."""

    volume: EngineVolume
    users: tuple[VolumeUser, ...] = ()
    """Containers that mount it, stopped ones too."""
    environment: EnvironmentName | None = None
    size_bytes: int | None = None
    """None where nobody asked for it, or the Engine cannot tell."""


class VolumeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which volumes are wanted; what is None or empty lets all through."""

    name: str = ""
    """Part of a name."""
    labels: tuple[str, ...] = ()
    """``key`` or ``key=value``, all of which a volume must have."""
    driver: str = ""
    environment: str = ""
    unused: bool | None = None

    def takes(self, found: OwnedVolume) -> bool:
        """Whether it lets a volume through."""
        volume = found.volume
        return (
            self.name in volume.name
            and all(labelled(volume.labels, label) for label in self.labels)
            and self.driver in {"", volume.driver}
            and self.environment in {"", found.environment}
            and self.unused in {None, not found.users}
        )


class HostVolumes:
    """Shows, makes and removes volumes; those of environments only if somebody insists.

    Args:
        rules: what this host allows.
    """

    def __init__(
        self,
        *,
        volumes: EngineVolumes,
        ownership: Ownership,
        space: Space,
        rules: PolicyRules,
    ) -> None:
        self._volumes = volumes
        self._ownership = ownership
        self._space = space
        self._rules = rules
        self._one_at_a_time = anyio.Lock()

    async def list(self, wanted: VolumeFilter, *, sizes: bool = False) -> Sequence[OwnedVolume]:
        """Those that a filter lets through, sorted by name.

        Args:
            wanted: the filter.
            sizes: with their sizes, for which the Engine looks through all files.

        Raises:
            EngineUnavailable: the Engine does not answer.
        """
        users = await self._volumes.users()
        measured = await self._volumes.sizes() if sizes else {}
        found = [await self._owned(v, users, measured) for v in await self._volumes.list()]
        return [volume for volume in found if wanted.takes(volume)]

    async def _owned(
        self, volume: EngineVolume, users: _Users, sizes: Mapping[str, int]
    ) -> OwnedVolume:
        return OwnedVolume(
            volume=volume,
            users=tuple(users.get(volume.name, ())),
            environment=await self._ownership.owner(volume.labels),
            size_bytes=sizes.get(volume.name),
        )

    async def inspect(self, reference: str, *, size: bool = False) -> OwnedVolume:
        """One, by its name or, where Docker made that up, by how it begins.

        Raises:
            InvalidReference: the text can name none.
            ResourceNotFound: there is none.
            ResourceAmbiguous: several names begin so.
        """
        volume = await self._find(name_or_id(_VOLUME, reference))
        sizes = await self._volumes.sizes() if size else {}
        return await self._owned(volume, await self._volumes.users(), sizes)

    async def _find(self, reference: str) -> EngineVolume:
        try:
            return await self._volumes.inspect(reference)
        except ResourceNotFound:
            if not _BEGINNING.fullmatch(reference):
                raise
            found = [v for v in await self._volumes.list() if _begins(v.name, reference)]
            if not found:
                raise
        if len(found) > 1:
            raise ResourceAmbiguous(_VOLUME, reference)
        return found[0]

    async def create(
        self, order: VolumeOrder, *, labels: Mapping[str, str] = _NO_LABELS
    ) -> OwnedVolume:
        """Makes one; Docker makes a name up where the order has none.

        Args:
            order: what is asked for.
            labels: of the agent's own, which nobody may ask for.

        Raises:
            InvalidReference: no volume can have the name.
            PolicyRefused: it asks for what this host does not allow.
            ResourceConflict: there is one of that name.
            StorageFull: the disk is as good as full.
        """
        if order.name:
            name_or_id(_VOLUME, order.name)
        self._judge(order)
        await self._space.require()
        async with self._one_at_a_time:
            # The Engine gives one that stands as if it were new.
            if any(volume.name == order.name for volume in await self._volumes.list()):
                raise ResourceConflict(f"There is a volume {order.name!r} already.")
            marked = msgspec.structs.replace(order, labels={**order.labels, **labels})
            made = await self._volumes.create(marked)
        return await self._owned(made, {}, {})

    def _judge(self, order: VolumeOrder) -> None:
        body: dict[str, Any] = {"driver": order.driver, "labels": order.labels}
        if order.options:
            body["driver_opts"] = order.options
        findings = judge_volume(order.name, body, self._rules)
        if findings:
            raise PolicyRefused(tuple(map(_in_the_orders_words, findings)), asker="volume")

    async def remove(self, reference: str, *, force: bool) -> None:
        """Removes one that no container mounts, with all that it holds.

        Raises:
            ResourceOwned: it belongs to an environment.
            ResourceConflict: a container mounts it.
        """
        owned = await self.inspect(reference)
        await self.require_free(owned.volume, force=force)
        await self._volumes.remove(owned.volume.name)

    async def require_free(self, volume: EngineVolume, *, force: bool) -> None:
        """Returns if one may be changed.

        Raises:
            ResourceOwned: it belongs to an environment, and nobody said so.
        """
        await self._ownership.require_free(_VOLUME, volume.name, volume.labels, force=force)


def _begins(name: str, reference: str) -> bool:
    return _MADE_UP.fullmatch(name) is not None and name.startswith(reference)


def _in_the_orders_words(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, where=finding.where.replace("driver_opts", "options"))
