"""A real registry on loopback, and a slow way to it."""

import gzip
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio
import anyio.abc
import httpx

from tests.support.bundles import tar_bundle

USER, PASSWORD = "lab", "open sesame"

# What `htpasswd -nbB -C 5` makes of both.
_HTPASSWD = "lab:$2y$05$LA8XOQnHtexP73BVbQkVwOAeSGBP7oxXhRihOk0HtbubNrD.KRK7q\n"

_CONFIGURATION = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_AUTHENTICATION = "auth: {{htpasswd: {{realm: labs, path: {folder}/htpasswd}}}}\n"

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def missing() -> str:
    """Why no registry can be run; empty if one can."""
    return "" if shutil.which("docker-registry") else "docker-registry is not installed"


@dataclass
class Registry:
    """A registry that runs."""

    port: int
    private: bool
    known: dict[str, str] = field(default_factory=dict)
    """Image → digest of its manifest."""

    @property
    def host(self) -> str:
        """As it stands in front of an image's name."""
        return f"127.0.0.1:{self.port}"

    def push(self, name: str, tag: str, *, megabytes: Sequence[int] = (1,), seed: str = "") -> str:
        """Puts an image of random layers into it; its reference. No Engine is needed for that."""
        random = Random(f"{name}:{tag}{seed}")  # noqa: S311 - not a secret
        layers = [
            tar_bundle({f"layer-{n}": random.randbytes(size * 1024 * 1024)})
            for n, size in enumerate(megabytes)
        ]
        config = _config(layers)
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob(name, config, _CONFIG),
            "layers": [self._blob(name, layer, _LAYER) for layer in layers],
        }
        with self._client() as http:
            answer = http.put(
                f"/v2/{name}/manifests/{tag}",
                content=json.dumps(manifest),
                headers={"Content-Type": _MANIFEST},
            )
            answer.raise_for_status()
        reference = f"{self.host}/{name}:{tag}"
        self.known[reference] = answer.headers["Docker-Content-Digest"]
        return reference

    def _blob(self, name: str, content: bytes, media_type: str) -> dict[str, object]:
        digest = _digest(content)
        with self._client() as http:
            begun = http.post(f"/v2/{name}/blobs/uploads/")
            begun.raise_for_status()
            place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest})
            http.put(place, content=content).raise_for_status()
        return {"mediaType": media_type, "size": len(content), "digest": digest}

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://{self.host}",
            auth=(USER, PASSWORD) if self.private else None,
            trust_env=False,
            timeout=30,
        )


def _config(layers: Sequence[bytes]) -> bytes:
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Cmd": ["true"], "Labels": {"made-by": "test"}},
            "rootfs": {
                "type": "layers",
                "diff_ids": [_digest(gzip.decompress(layer)) for layer in layers],
            },
            "history": [
                {"created": "2026-01-02T03:04:05Z", "created_by": f"COPY layer-{n}"}
                for n in range(len(layers))
            ],
        }
    ).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def registry(folder: Path, *, private: bool = False) -> Iterator[Registry]:
    """A registry with nothing in it; a private one lets in ``USER`` with ``PASSWORD``."""
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    text = _CONFIGURATION + (_AUTHENTICATION if private else "")
    (folder / "config.yml").write_text(text.format(folder=folder, port=port))
    (folder / "htpasswd").write_text(_HTPASSWD)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        _wait(port, folder)
        yield Registry(port=port, private=private)
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, folder: Path) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)  # noqa: TID251 - for another process
        else:
            return
    raise TimeoutError((folder / "log").read_text())


@dataclass
class SlowWay:
    """A port that leads to a registry, as slowly as a far one."""

    port: int = 0
    bytes_per_second: int = 1_000_000
    manifests: int = 0
    """How often somebody asked for a manifest's content."""
    open: int = 0
    """How many connections there are."""

    @property
    def host(self) -> str:
        """As it stands in front of an image's name."""
        return f"127.0.0.1:{self.port}"

    def named(self, reference: str) -> str:
        """An image of the registry by this way."""
        return f"{self.host}/{reference.partition('/')[2]}"


@asynccontextmanager
async def slow_way(registry: Registry, *, bytes_per_second: int) -> AsyncIterator[SlowWay]:
    """Another port for a registry, with a bound on how fast its answers come."""
    way = SlowWay(bytes_per_second=bytes_per_second)

    async def serve(client: anyio.abc.SocketStream) -> None:
        way.open += 1
        try:
            async with (
                client,
                await anyio.connect_tcp("127.0.0.1", registry.port) as server,
                anyio.create_task_group() as group,
            ):
                group.start_soon(asked, client, server)
                await answered(server, client)
                group.cancel_scope.cancel()
        finally:
            way.open -= 1

    async def asked(client: anyio.abc.SocketStream, server: anyio.abc.SocketStream) -> None:
        try:
            async for piece in client:
                way.manifests += (
                    piece.startswith(b"GET ") and b"/manifests/" in piece.split(b"\r")[0]
                )
                await server.send(piece)
        except anyio.BrokenResourceError:
            pass
        await server.aclose()

    async def answered(server: anyio.abc.SocketStream, client: anyio.abc.SocketStream) -> None:
        try:
            while True:
                piece = await server.receive(max(1024, way.bytes_per_second // 20))
                await client.send(piece)
                await anyio.sleep(len(piece) / way.bytes_per_second)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        way.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        group.start_soon(listener.serve, serve)
        yield way
        group.cancel_scope.cancel()
