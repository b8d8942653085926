"""Credentials for registries, in the file in which Docker's own client looks for them.

So Compose finds them when it pulls for an environment, and there is one place that holds them.
"""

import base64
import binascii
import errno
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec

from domain.errors import StorageFailed, StorageFull
from domain.image_names import HUB
from domain.registry_credentials import (
    HUB_ADDRESS,
    KeptRegistry,
    RegistryCredentials,
    server_address,
)
from domain.shortage import shortages_told

T = TypeVar("T")

FILE_NAME = "config.json"

_FULL = {errno.ENOSPC, errno.EDQUOT}


class DockerConfig:
    """The file ``config.json`` in a folder that is the agent's own; what it does not know stays.

    Args:
        folder: that which Compose is told of in ``DOCKER_CONFIG``.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._lock = anyio.Lock()

    async def list(self) -> Sequence[KeptRegistry]:
        """The registries, sorted; never a secret."""
        entries = _entries(await self._run(self._read))
        found = [
            KeptRegistry(registry=_registry(address), username=_credentials(entry).username)
            for address, entry in entries.items()
        ]
        return sorted(found, key=lambda kept: kept.registry)

    async def get(self, registry: str) -> RegistryCredentials | None:
        """What is kept for a registry."""
        entry = _entries(await self._run(self._read)).get(server_address(registry))
        return None if entry is None else _credentials(entry)

    async def put(self, registry: str, credentials: RegistryCredentials) -> None:
        """Keeps credentials, in place of earlier ones; on disk when this returns."""

        def change(entries: dict[str, Any]) -> None:
            entries[server_address(registry)] = _entry(credentials)

        await self._change(change)

    async def remove(self, registry: str) -> bool:
        """Forgets what is kept for a registry; whether there was anything."""
        gone: list[Any] = []

        def change(entries: dict[str, Any]) -> None:
            gone.append(entries.pop(server_address(registry), None))

        await self._change(change)
        return gone != [None]

    async def tidy(self) -> None:
        """Removes what an agent that was killed has left half written, as it may hold secrets."""
        async with self._lock:
            await self._run(self._remove_half_written)

    def _remove_half_written(self) -> None:
        for left in self._path.parent.glob(f".{FILE_NAME}-*"):
            left.unlink()

    async def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        def work() -> None:
            whole = self._read()
            entries = dict(_entries(whole))
            change(entries)
            self._write({**whole, "auths": entries})

        async with self._lock:
            await self._run(work)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            with shortages_told():
                return await anyio.to_thread.run_sync(work)
        except OSError as fault:
            if fault.errno in _FULL:
                raise StorageFull(f"The disk of {self._path} is full.") from fault
            raise StorageFailed(f"The disk refuses {self._path}: {fault.strerror}.") from fault

    def _read(self) -> Mapping[str, Any]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Any])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as fault:
            raise StorageFailed(
                f"{self._path} is not what Docker's client would write.",
                hint="Somebody else changed it: mend it, or remove it.",
            ) from fault

    def _write(self, whole: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_half_written()
        # Made with mode 0600 from the first moment, and whole or not at all.
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{FILE_NAME}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(whole), indent=2))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise


def _entries(whole: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    entries = whole.get("auths")
    found = entries.items() if isinstance(entries, Mapping) else ()
    return {address: entry for address, entry in found if isinstance(entry, Mapping)}


def _registry(address: str) -> str:
    return HUB if address == HUB_ADDRESS else address


def _entry(credentials: RegistryCredentials) -> Mapping[str, str]:
    pair = f"{credentials.username}:{credentials.password}".encode()
    if not credentials.identity_token:
        return {"auth": base64.b64encode(pair).decode()}
    named = {"auth": base64.b64encode(pair).decode()} if credentials.username else {}
    return {**named, "identitytoken": credentials.identity_token}


def _credentials(entry: Mapping[str, Any]) -> RegistryCredentials:
    try:
        pair = base64.b64decode(str(entry.get("auth") or "")).decode()
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    username, _, password = pair.partition(":")
    return RegistryCredentials(
        username=username, password=password, identity_token=str(entry.get("identitytoken") or "")
    )
