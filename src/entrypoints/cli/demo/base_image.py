"""An image with Python for the sample lab: at hand, pulled, or made of this machine's own Python.

The last needs no registry, so that the demonstration also runs where none can be reached.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

import click

PUBLIC_IMAGE = "python:3.12-alpine"
LOCAL_IMAGE = "container-host-agent-demo/python:local"

_PULL_SECONDS = 60
_UNNEEDED = re.compile(
    r"/(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|site-packages|dist-packages"
    r"|__pycache__|config-[^/]*)(/|$)|\.a$"
)


def base_image(environment: dict[str, str]) -> str:
    """The name of an image with Python that the Engine has.

    Raises:
        click.ClickException: none can be had.
    """
    for image in (PUBLIC_IMAGE, LOCAL_IMAGE):
        if _docker(["image", "inspect", image], environment).returncode == 0:
            return image
    if _pulled(environment):
        return PUBLIC_IMAGE
    click.echo(f"  {PUBLIC_IMAGE} cannot be pulled; making an image of this machine's Python")
    _import_own_python(environment)
    return LOCAL_IMAGE


def remove_local_image(environment: dict[str, str]) -> None:
    """Takes the image away that was made of this machine's Python, if it was."""
    _docker(["image", "rm", "--force", LOCAL_IMAGE], environment)


def _pulled(environment: dict[str, str]) -> bool:
    try:
        return _docker(["pull", "--quiet", PUBLIC_IMAGE], environment).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _docker(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - arguments of our own
        ["docker", *arguments],  # noqa: S607 - found as everybody's is
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PULL_SECONDS,
        check=False,
    )


def _import_own_python(environment: dict[str, str]) -> None:
    interpreter = Path(sys.executable).resolve()
    standard_library = Path(sysconfig.get_paths()["stdlib"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "root.tar")
        with tarfile.open(path, "w") as archive:
            _add(archive, interpreter)
            _link(archive, "usr/local/bin/python3", str(interpreter))
            archive.add(standard_library, str(standard_library).lstrip("/"), filter=_needed)
            extensions = standard_library.glob("lib-dynload/*.so")
            for library in _libraries(interpreter, *extensions):
                _add(archive, library)
        imported = _docker(
            ["import", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", str(path), LOCAL_IMAGE],
            environment,
        )
    if imported.returncode != 0:
        raise click.ClickException(f"No image for the sample lab: {imported.stderr.strip()}")


def _needed(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _UNNEEDED.search(f"/{info.name}") else info


def _add(archive: tarfile.TarFile, path: Path) -> None:
    """Adds a file under its own name, with what that name is a link to."""
    archive.add(path.resolve(), str(path).lstrip("/"))


def _link(archive: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    archive.addfile(link)


def _libraries(*binaries: Path) -> set[Path]:
    """The shared libraries that binaries are linked with, the loader among them."""
    found: set[Path] = set()
    for binary in binaries:
        listing = subprocess.run(  # noqa: S603 - binaries of this machine's Python
            ["ldd", os.fspath(binary)],  # noqa: S607 - found as everybody's is
            capture_output=True,
            text=True,
            check=False,
        )
        found.update(Path(name) for name in re.findall(r"(/\S+)", listing.stdout))
    return {path for path in found if path.is_file()}
