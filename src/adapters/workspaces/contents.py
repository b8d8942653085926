"""What a bundle holds, as far as it can be told without Compose."""

import os
from collections.abc import Iterator
from pathlib import Path

import yaml

from domain.bundles import BundleEntry
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
    """Names of services; what Compose alone understands is left to it.

    Nothing is constructed: merges of merges would take exponential time and memory.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return set()
    if not isinstance(root, yaml.MappingNode):
        return set()
    return {
        name.value
        for key, value in root.value
        if key.value == "services" and isinstance(value, yaml.MappingNode)
        for name, _ in value.value
        if isinstance(name, yaml.ScalarNode)
    }
