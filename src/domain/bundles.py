"""Rules for bundles: what an archive may hold and what must lie where."""

import re
from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec

from domain.errors import BundleRefused
from domain.names import BundleDigest

COMPOSE_FILE_NAMES = (
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
)
"""Names of the Compose file at the top of a bundle, in Compose's own order of preference."""

OVERRIDE_FILE_NAMES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
"""Names of the file that Compose merges over the Compose file, where one lies beside it."""

ALL_COMPOSE_FILE_NAMES = (*COMPOSE_FILE_NAMES, *OVERRIDE_FILE_NAMES)
"""Every name that Compose looks for by itself."""

DOTENV_NAME = ".env"
"""What Compose reads variables from, where it lies beside the Compose file."""

VPN_PROFILE_NAME = "vpn.ovpn"
"""Where the VPN profile stands in the project, since Dockerfiles copy it from there."""

MAX_COMPOSE_FILE_BYTES = 1024 * 1024
"""A Compose file beyond this is refused before Compose reads it."""

MAX_PATH_LENGTH = 1024
MAX_PATH_PART_BYTES = 255
MAX_PATH_DEPTH = 64

_RATIO_APPLIES_FROM_BYTES = 16 * 1024 * 1024


class BundleEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a bundle."""

    path: str
    size_bytes: int


class BundleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that is kept to be deployed, once or many times."""

    digest: BundleDigest
    size_bytes: int
    """Of the archive."""
    unpacked_bytes: int
    entries: int
    services: tuple[str, ...]
    """Names of the services in its Compose file, as far as that can be told without Compose."""
    created_at: datetime
    used_at: datetime
    """When it was last uploaded, deployed or built."""


class BundleLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one bundle may hold."""

    max_bytes: int = 256 * 1024 * 1024
    """Bytes of the archive itself."""
    max_unpacked_bytes: int = 1024 * 1024 * 1024
    max_entries: int = 10_000
    max_ratio: int = 200
    """Unpacked bytes for each byte of the archive; looked at beyond 16 MiB."""

    def check_archive(self, size_bytes: int) -> None:
        """Refuses an archive that is too large.

        Raises:
            BundleRefused: it is.
        """
        if size_bytes > self.max_bytes:
            raise BundleRefused(
                f"The bundle is larger than the {self.max_bytes} bytes that this host takes."
            )

    def check_entries(self, entries: int) -> None:
        """Refuses an archive with too many members.

        Raises:
            BundleRefused: it has.
        """
        if entries > self.max_entries:
            raise BundleRefused(
                f"The bundle holds more than the {self.max_entries} entries that this host takes."
            )

    def check_unpacked(self, unpacked_bytes: int, *, archive_bytes: int) -> None:
        """Refuses an archive that unpacks to too much; call it as the bytes come.

        Raises:
            BundleRefused: it does.
        """
        if unpacked_bytes > self.max_unpacked_bytes:
            raise BundleRefused(
                "The bundle unpacks to more than the "
                f"{self.max_unpacked_bytes} bytes that this host takes."
            )
        if (
            unpacked_bytes > _RATIO_APPLIES_FROM_BYTES
            and unpacked_bytes > archive_bytes * self.max_ratio
        ):
            raise BundleRefused(
                f"The bundle unpacks to more than {self.max_ratio} times its size, "
                "as only archives do that are made to fill disks."
            )


_ASKS_FOR_MORE = re.compile(rb"COMPOSE_|extends|include|env_file|label_file")


def reads_the_same_anywhere(texts: Iterable[bytes]) -> bool:
    """Whether Compose files ask for nothing that could differ from one deploy to another.

    Args:
        texts: the Compose files and, where there is one, ``.env``.
    """
    return not any(_ASKS_FOR_MORE.search(text) for text in texts)


def member_path(name: str) -> tuple[str, ...]:
    """The parts of the relative path that an archive member's ``name`` spells.

    Empty for the top of the archive itself (``./``).

    Raises:
        BundleRefused: the name is absolute, leads outside, or no file can bear it.
    """
    if len(name) > MAX_PATH_LENGTH:
        raise BundleRefused(
            f"The bundle holds an entry with a name of more than {MAX_PATH_LENGTH} characters."
        )
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise BundleRefused(f"The bundle's entry {name!r} has control characters in its name.")
    if "\\" in name:
        raise BundleRefused(
            f"The bundle's entry {name!r} has a backslash in its name; write paths with '/'."
        )
    if name.startswith("/") or name[1:2] == ":":
        raise BundleRefused(f"The bundle's entry {name!r} has an absolute name.")
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        raise BundleRefused(f"The bundle's entry {name!r} points outside of the bundle.")
    if len(parts) > MAX_PATH_DEPTH:
        raise BundleRefused(
            f"The bundle's entry {name!r} lies deeper than {MAX_PATH_DEPTH} folders."
        )
    for part in parts:
        try:
            length = len(part.encode())
        except UnicodeEncodeError:
            raise BundleRefused(f"The bundle's entry {name!r} is not named in UTF-8.") from None
        if length > MAX_PATH_PART_BYTES:
            raise BundleRefused(
                f"The bundle's entry {name!r} has a part longer than {MAX_PATH_PART_BYTES} bytes."
            )
    return parts


def compose_files(top_level: Collection[str]) -> tuple[str, ...]:
    """The Compose files among the names at the top of a bundle, in the order Compose merges them.

    Raises:
        BundleRefused: there is none.
    """
    main = next((name for name in COMPOSE_FILE_NAMES if name in top_level), None)
    if main is None:
        raise BundleRefused(
            "The bundle holds no Compose file at its top level.",
            hint=f"Name it one of {', '.join(COMPOSE_FILE_NAMES)} and zip the files, "
            "not the folder around them.",
        )
    override = next((name for name in OVERRIDE_FILE_NAMES if name in top_level), None)
    return (main,) if override is None else (main, override)
