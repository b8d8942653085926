"""Registries and archives of the in-memory Engine."""

import hashlib
import tarfile
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec

from adapters.memory.engine import MemoryEngine
from adapters.memory.engine_images import MemoryEngineImages
from domain.errors import (
    EngineRefused,
    ImageNotInRegistry,
    RegistryRefused,
    RequestUnreadable,
)
from domain.image_names import familiar, registry
from domain.ports.image_transfers import TakeStep
from domain.pulls import PullStep
from domain.registry_credentials import RegistryCredentials

_LAYERS = (2_000_000, 6_000_000)


class _Manifest(msgspec.Struct, rename="pascal"):
    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


class MemoryTransfers:
    """Twin of ``DockerTransfers``.

    Every registry has every image, but those whose name holds ``missing``.
    """

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self._images = MemoryEngineImages(engine)
        self.private: dict[str, RegistryCredentials] = {}
        """Registry → whom it lets in; all others let everybody in."""
        self.away: set[str] = set()
        """Registries that do not answer."""
        self.pulls: list[str] = []
        """What was asked of the Engine."""
        self.held: anyio.Event | None = None
        """Keeps pulls in the middle, and registries silent, until it is set."""

    async def pull(
        self, reference: str, credentials: RegistryCredentials | None, on_step: TakeStep
    ) -> str:
        """Takes an image from its registry; the digest by which the registry knows it."""
        await self._engine.answer(f"begin to pull {reference}")
        self.pulls.append(reference)
        host = registry(reference)
        self._let_in(host, credentials)
        if "missing" in reference:
            raise ImageNotInRegistry(reference, "manifest unknown")
        name = familiar(reference)
        digest = name.partition("@")[2] or _digest_of(name)
        layers = tuple((_digest_of(f"{digest}/{size}"), size) for size in _LAYERS)
        for layer, size in layers:
            await self._load(layer, size, on_step)
        stand = partial(self._stand, reference, digest, layers)
        await self._engine.answer(f"pull {reference}", stand)
        return digest

    def _let_in(self, host: str, credentials: RegistryCredentials | None) -> None:
        if host in self.away:
            raise EngineRefused(
                f"The Docker Engine refused asking {host}: connection refused",
                status=500,
                reason="connection refused",
            )
        if host in self.private and credentials != self.private[host]:
            raise RegistryRefused(host, "unauthorized: authentication required")

    async def _load(self, layer: str, size: int, on_step: TakeStep) -> None:
        short = layer.removeprefix("sha256:")[:12]
        on_step(PullStep(layer=short, status="Pulling fs layer"))
        for status in ("Downloading", "Extracting"):
            for current in (size // 2, size):
                await anyio.lowlevel.checkpoint()
                on_step(
                    PullStep(layer=short, status=status, current_bytes=current, total_bytes=size)
                )
                if self.held is not None:
                    await self.held.wait()
        on_step(PullStep(layer=short, status="Pull complete"))

    def _stand(self, reference: str, digest: str, layers: tuple[tuple[str, int], ...]) -> None:
        name = familiar(reference)
        repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
        identifier = _digest_of(digest)
        self._engine.layers[identifier] = layers
        self._engine.repo_digests[f"{repository}@{digest}"] = identifier
        if "@" not in name:
            self._engine.tags[name] = identifier

    async def log_in(self, registry: str, credentials: RegistryCredentials) -> None:
        """Returns if a registry takes the credentials."""
        await self._engine.answer(f"ask {registry}")
        if self.held is not None:
            await self.held.wait()
        self._let_in(registry, credentials)

    async def load(self, archive: AsyncIterable[bytes]) -> Sequence[str]:
        """Takes images from an archive; their names, or identifiers where they have none."""
        await self._engine.answer("begin to load images")
        content = b"".join([piece async for piece in archive])
        names: list[str] = []

        def change() -> None:
            names.extend(name for image in manifest for name in self._take(image, files))

        try:
            manifest, files = await anyio.to_thread.run_sync(_read, content)
            await self._engine.answer("load images", change)
        except (tarfile.TarError, KeyError, msgspec.MsgspecError) as fault:
            raise RequestUnreadable(f"The Docker Engine refused loading images: {fault}") from fault
        return names

    def _take(self, image: _Manifest, files: Mapping[str, int]) -> Sequence[str]:
        if image.config not in files:
            raise KeyError(image.config)
        digits = image.config.removesuffix(".json").rpartition("/")[2]
        identifier = f"sha256:{digits}"
        self._engine.layers[identifier] = tuple(
            (_digest_of(layer), files[layer]) for layer in image.layers
        )
        for tag in image.repo_tags or ():
            self._engine.tags[familiar(tag)] = identifier
        return [familiar(tag) for tag in image.repo_tags or ()] or [identifier]

    @asynccontextmanager
    async def save(self, references: Sequence[str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """An archive of images, as it comes."""
        await self._engine.answer("save images")
        yield self._written([(name, self._images.found(name)) for name in references])

    async def _written(self, images: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        buffer = BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            manifest = [self._add(tar, name, identifier) for name, identifier in images]
            _add(tar, "manifest.json", msgspec.json.encode(manifest))
        for start in range(0, len(buffer.getvalue()), 65536):
            await anyio.lowlevel.checkpoint()
            yield buffer.getvalue()[start : start + 65536]

    def _add(self, tar: tarfile.TarFile, name: str, identifier: str) -> _Manifest:
        config = f"{identifier.removeprefix('sha256:')}.json"
        _add(tar, config, b"{}")
        known = self._engine.layers.get(identifier, ())
        for layer, size in known:
            _add(tar, f"{layer.removeprefix('sha256:')}/layer.tar", bytes(min(size, 1000)))
        return _Manifest(
            config=config,
            layers=[f"{layer.removeprefix('sha256:')}/layer.tar" for layer, _ in known],
            repo_tags=[familiar(name)] if familiar(name) in self._engine.tags else None,
        )


def _read(content: bytes) -> tuple[list[_Manifest], Mapping[str, int]]:
    """The images of an archive, and the sizes of its files."""
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        files = {member.name: member.size for member in tar.getmembers() if member.isreg()}
        manifest = tar.extractfile("manifest.json")
        text = manifest.read() if manifest is not None else b""
    return msgspec.json.decode(text, type=list[_Manifest]), files


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, BytesIO(content))


def _digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
