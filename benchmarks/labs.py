"""The labs that are deployed: two services, one of them built, that end without delay.

Whatever the Engine makes of them bears one label, so that all of it can be removed.
"""

import os
import secrets
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import docker
import msgspec
from docker.errors import APIError
from tests.support import engine

from benchmarks import Stopwatch

RUN = f"bench-{secrets.token_hex(3)}"
"""Begins the name of everything that this run makes."""

LABELS = {"agent-benchmark.run": RUN}

_SECONDS = 300
_MIB = 1024 * 1024
_COMMAND = ["sleep", "3600"]
_ENDS_AT_ONCE = {"init": True, "stop_grace_period": "0s", "labels": LABELS}

Files = Mapping[str, str]


def unbuilt_lab() -> Files:
    """A lab whose images are at hand."""
    return {"compose.yaml": _compose({"image": engine.BASE_IMAGE, "command": _COMMAND})}


def lasting_lab() -> Files:
    """A lab whose containers the Engine starts again by itself."""
    web = {"image": engine.BASE_IMAGE, "command": _COMMAND, "restart": "always"}
    return {"compose.yaml": _compose(web)}


def built_lab(*, slow_seconds: int = 0) -> Files:
    """A lab whose web service has to be built, since no other has the same file.

    Args:
        slow_seconds: how long one step of the build waits.
    """
    steps = ["COPY page.txt /page.txt"]
    if slow_seconds:
        steps.append(f"RUN sleep {slow_seconds}")
    labels = [f"LABEL {name}={value}" for name, value in LABELS.items()]
    lines = [f"FROM {engine.BASE_IMAGE}", *steps, *labels, 'CMD ["sleep", "3600"]']
    return {
        "compose.yaml": _compose({"build": "./web"}),
        "web/Dockerfile": "\n".join([*lines, ""]),
        "web/page.txt": f"{secrets.token_hex(16)}\n",
    }


def small_lab() -> Files:
    """A lab of one service that has to be built, as little as can be."""
    labels = [f"LABEL {name}={value}" for name, value in LABELS.items()]
    lines = [f"FROM {engine.BASE_IMAGE}", "COPY page.txt /page.txt", *labels]
    web = {"build": ".", "command": _COMMAND, **_ENDS_AT_ONCE}
    document = {"services": {"web": web}, "networks": {"default": {"labels": LABELS}}}
    return {
        "compose.yaml": msgspec.json.encode(document).decode(),
        "Dockerfile": "\n".join([*lines, ""]),
        "page.txt": f"{secrets.token_hex(16)}\n",
    }


def _compose(web: Mapping[str, object]) -> str:
    side = {"image": engine.BASE_IMAGE, "command": _COMMAND}
    document = {
        "services": {"web": {**web, **_ENDS_AT_ONCE}, "side": {**side, **_ENDS_AT_ONCE}},
        "networks": {"default": {"labels": LABELS}},
    }
    # JSON is YAML.
    return msgspec.json.encode(document).decode()


def zipped(files: Files) -> bytes:
    """A lab as a bundle."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def write_large_bundle(path: Path, megabytes: int) -> None:
    """A lab with files that nothing compresses, of so many millions of bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, text in unbuilt_lab().items():
            archive.writestr(name, text)
        for number in range(10):
            with archive.open(f"data/{number}.bin", "w") as file:
                for _ in range(megabytes // 10):
                    file.write(os.urandom(1_000_000))


class Plain:
    """Folders of labs, started as anybody would start them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def unpacked(self, name: str, files: Files) -> Path:
        """A folder with a lab in it."""
        folder = self._root / name
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    def up(self, name: str, folder: Path) -> float:
        """Starts a lab; how long that took, in seconds."""
        watch = Stopwatch()
        _compose_command(name, folder, "up", "-d")
        return watch.seconds

    def down(self, name: str, folder: Path) -> None:
        """Removes a lab and what was built for it."""
        _compose_command(name, folder, "down", "--timeout", "0", "--rmi", "local")


def _compose_command(name: str, folder: Path, *arguments: str) -> None:
    command = ["docker", "compose", "--project-name", name, *arguments]
    host = {"DOCKER_HOST": engine.SOCKET}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **host},
        capture_output=True,
        check=False,
        text=True,
        timeout=_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def client() -> docker.APIClient:
    """A client of the Engine; the caller closes it."""
    return docker.APIClient(base_url=engine.SOCKET, version="auto", timeout=_SECONDS)


def clear() -> None:
    """Removes what this run made on the Engine."""
    with _closing() as api:
        label = {"label": [f"{name}={value}" for name, value in LABELS.items()]}
        for row in api.containers(all=True, filters=label):
            with suppress(APIError):
                api.remove_container(row["Id"], force=True, v=True)
        for row in api.networks(filters=label):
            with suppress(APIError):
                api.remove_network(row["Id"])
        for row in api.images(filters=label):
            with suppress(APIError):
                api.remove_image(row["Id"], force=True)


@contextmanager
def _closing() -> Iterator[docker.APIClient]:
    api = client()
    try:
        yield api
    finally:
        api.close()
