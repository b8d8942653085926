"""A real Engine for tests: whether one answers, an image to run, and nothing left behind."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from docker.errors import DockerException

from domain.images import BUILD_LABEL

REQUIRED = os.environ.get("REQUIRE_ENGINE") == "1"
"""The switch that turns a missing Engine from a skip into a failure."""

SOCKET = os.environ.get("DOCKER_SOCKET", "unix:///var/run/docker.sock")
BASE_IMAGE = "busybox:latest"


def missing() -> str:
    """Why no Engine can be used; empty if one can."""
    try:
        client = docker.APIClient(base_url=SOCKET, version="auto", timeout=10)
        client.close()
    except DockerException as fault:
        return f"no Docker Engine answers at {SOCKET}: {fault}"
    if shutil.which("docker") is None:
        return "the docker command is not installed"
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return "" if found.returncode == 0 else "docker compose is not installed"


def provide_base_image(client: docker.APIClient) -> str:
    """Why there is no small image to run; empty when ``BASE_IMAGE`` is at hand."""
    return "" if client.images(BASE_IMAGE) else _make_base_image(client)


def _make_base_image(client: docker.APIClient) -> str:
    """From the host's own static busybox, else from a registry."""
    binary = Path("/bin/busybox")
    if binary.exists() and b"statically linked" in _described(binary):
        data = _root_file_system(binary)
        client.import_image_from_data(data, "busybox", "latest", changes=['CMD ["sh"]'])
        return ""
    try:
        client.pull("busybox", "latest")
    except DockerException as fault:
        return f"{BASE_IMAGE} is not at hand, no static /bin/busybox either, and no pull: {fault}"
    return ""


def _described(binary: Path) -> bytes:
    found = subprocess.run(["ldd", str(binary)], capture_output=True, check=False)
    text = found.stdout + found.stderr
    return b"statically linked" if b"not a dynamic" in text or b"statically" in text else text


def _root_file_system(binary: Path) -> bytes:
    listing = subprocess.run([str(binary), "--list"], capture_output=True, check=True, text=True)
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(binary, "bin/busybox")
        for applet in set(listing.stdout.split()) - {"busybox"}:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for folder in ("tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
    return buffer.getvalue()


class Host:
    """What an Engine holds for one test; everything of the test's projects goes at its end."""

    def __init__(self, client: docker.APIClient) -> None:
        self.client = client
        self.projects: list[str] = []

    def holds(self, project: str) -> dict[str, list[str]]:
        """Names of what stands for a project, by kind."""
        label = {"label": f"com.docker.compose.project={project}"}
        volumes = self.client.volumes(filters=label)["Volumes"] or []
        images = self.client.images(filters=label)
        return {
            "containers": sorted(
                row["Names"][0].lstrip("/")
                for row in self.client.containers(all=True, filters=label)
            ),
            "networks": sorted(row["Name"] for row in self.client.networks(filters=label)),
            "volumes": sorted(row["Name"] for row in volumes),
            "tags": sorted(tag for row in images for tag in row["RepoTags"] or []),
        }

    def clear(self) -> None:
        """Removes everything of the projects that the test named."""
        for project in self.projects:
            label = {"label": f"com.docker.compose.project={project}"}
            for row in self.client.containers(all=True, filters=label):
                self.client.remove_container(row["Id"], force=True, v=True)
            for row in self.client.networks(filters=label):
                self.client.remove_network(row["Id"])
            for row in self.client.volumes(filters=label)["Volumes"] or []:
                self.client.remove_volume(row["Name"], force=True)
            for row in self.client.images(filters=label):
                self.client.remove_image(row["Id"], force=True)

    def clear_all(self) -> None:
        """Removes everything but the base image; for an Engine of the test's own."""
        for row in self.client.containers(all=True):
            self.client.remove_container(row["Id"], force=True, v=True)
        for row in self.client.networks(filters={"type": "custom"}):
            self.client.remove_network(row["Id"])
        for row in self.client.volumes()["Volumes"] or []:
            self.client.remove_volume(row["Name"], force=True)
        for row in self.client.images():
            if BASE_IMAGE not in (row["RepoTags"] or []):
                self.client.remove_image(row["Id"], force=True)


@contextmanager
def built_images_removed() -> Iterator[None]:
    """Removes the shared images that agents build meanwhile; no single test knows who uses them."""
    client = docker.APIClient(base_url=SOCKET, version="auto", timeout=60)
    try:
        before = _built_images(client)
        yield
        for image in _built_images(client) - before:
            with suppress(DockerException):
                client.remove_image(image, force=True)
    finally:
        client.close()


def _built_images(client: docker.APIClient) -> set[str]:
    return {row["Id"] for row in client.images(filters={"label": BUILD_LABEL})}


def rare_subnet() -> str:
    """A range that hardly anybody else on this host has, beyond the agents' own pool."""
    number = uuid4().int
    return f"10.{198 + number % 2}.{number // 7 % 256}.{number // 1999 % 16 * 16}/28"


def skip_or_fail(reason: str) -> None:
    """Ends a test that cannot run here."""
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


def host() -> Iterator[Host]:
    """A host with a base image, cleared afterwards; for a fixture."""
    if reason := missing():
        skip_or_fail(reason)
    client = docker.APIClient(base_url=SOCKET, version="auto", timeout=60)
    try:
        if reason := provide_base_image(client):
            skip_or_fail(reason)
        host = Host(client)
        yield host
        host.clear()
    finally:
        client.close()


NOTHING: dict[str, list[str]] = {"containers": [], "networks": [], "volumes": [], "tags": []}
"""What a host holds for a project that is not there."""
