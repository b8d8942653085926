"""What a bundle holds, as far as it can be told without Compose."""

import os
from collections.abc import Iterator
from pathlib import Path

from adapters.workspaces.sources import read_documents
from domain.bundles import BundleEntry
from domain.errors import BundleRefused
from domain.ports.workspaces import BundleContents


def read_contents(folder: Path, compose_files: tuple[str, ...]) -> BundleContents:
    """The files below ``folder`` and the services of its Compose files.

    Raises:
        OSError: the disk refuses.
    """
    services: set[str] = set()
    for name in compose_files:
        services |= _services((folder / name).read_bytes())
    return BundleContents(
        entries=tuple(sorted(_entries(folder), key=lambda entry: entry.path)),
        services=tuple(sorted(services)),
    )


def _entries(folder: Path) -> Iterator[BundleEntry]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            yield BundleEntry(path=str(path.relative_to(folder)), size_bytes=path.lstat().st_size)


def _services(text: bytes) -> set[str]:
    """Names of services; what cannot be read for sure is left to the gate to refuse."""
    try:
        documents = read_documents(text, name="")
    except BundleRefused:
        return set()
    found = [document.get("services") for document in documents if isinstance(document, dict)]
    return {name for services in found if isinstance(services, dict) for name in services}
