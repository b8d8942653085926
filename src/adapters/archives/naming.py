"""The files of an archive that give names to images: read strictly, and written anew.

The Engine reads JSON more loosely than most, taking ``repotags`` for ``RepoTags``; what is written
anew can be read in one way only.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec

from domain.errors import RequestUnreadable

T = TypeVar("T")

MANIFEST = "manifest.json"
INDEX = "index.json"
REPOSITORIES = "repositories"

_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class _Image(msgspec.Struct, omit_defaults=True, rename="pascal"):
    """An image in the manifest that ``docker save`` writes."""

    config: str
    layers: list[str] | None
    repo_tags: list[str] | None = None
    parent: str = ""


class _Platform(msgspec.Struct, omit_defaults=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""


class _Descriptor(msgspec.Struct, omit_defaults=True, rename="camel"):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    platform: _Platform | None = None


class _Index(msgspec.Struct, rename="camel"):
    """The index of an OCI layout."""

    schema_version: int
    manifests: list[_Descriptor]
    media_type: str = "application/vnd.oci.image.index.v1+json"


def read(name: str, content: bytes) -> tuple[bytes, list[str]]:
    """One such file written anew, and the names that it gives.

    Args:
        name: of the file, one of ``NAMING``.
        content: its text.

    Raises:
        RequestUnreadable: it is not what the Engine would write.
    """
    return NAMING[name](content)


def _manifest(content: bytes) -> tuple[bytes, list[str]]:
    images = _decoded(MANIFEST, content, list[_Image])
    return msgspec.json.encode(images), [tag for image in images for tag in image.repo_tags or ()]


def _index(content: bytes) -> tuple[bytes, list[str]]:
    index = _decoded(INDEX, content, _Index)
    for image in index.manifests:
        image.annotations = {
            key: image.annotations[key] for key in _NAMES if key in image.annotations
        }
    return msgspec.json.encode(index), [
        name for image in index.manifests for name in image.annotations.values()
    ]


def _repositories(content: bytes) -> tuple[bytes, list[str]]:
    repositories = _decoded(REPOSITORIES, content, dict[str, dict[str, str]])
    return msgspec.json.encode(repositories), list(_tags(repositories))


def _tags(repositories: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for repository, tags in repositories.items():
        for tag in tags:
            yield f"{repository}:{tag}"


def _decoded(name: str, content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError) as fault:
        raise RequestUnreadable(f"The archive's {name} cannot be read: {fault}.") from fault


NAMING: Mapping[str, Callable[[bytes], tuple[bytes, list[str]]]] = {
    MANIFEST: _manifest,
    INDEX: _index,
    REPOSITORIES: _repositories,
}
"""The files that give names, and how each is read."""
