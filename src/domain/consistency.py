"""What records, Engine and disk say differently of the same host."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec


class DifferenceKind(StrEnum):
    """What is the matter."""

    NOT_UNDONE = "deploy-not-undone"
    """A deploy that failed, and whose traces could not be removed then."""
    NOT_REMOVED = "removal-not-finished"
    NOT_RECORDED = "environment-not-recorded"
    """It stands on the host, and its record is gone."""
    CONTAINERS_MISSING = "containers-missing"
    NETWORKS_MISSING = "networks-missing"
    FOLDER_MISSING = "folder-missing"
    MODEL_MISSING = "model-missing"
    IMAGES_MISSING = "images-missing"
    HALF_REPLACED = "half-replaced"
    """A change was cut off while containers were made anew, and both of one stand."""
    LEFT_OVER = "left-over"
    """Containers, networks or volumes of an environment that there is no record of."""
    UNKNOWN_FOLDER = "unknown-folder"
    STAGED_FILES = "staged-files"
    """Files of operations that are over."""
    STUCK_FILES = "stuck-files"
    """Files of what was removed that cannot be."""
    OPERATION_OPEN = "operation-open"
    """Its record says that it goes on, and it does not."""
    IMAGE_NOT_RECORDED = "image-not-recorded"
    IMAGE_GONE = "image-gone"
    BUNDLE_NOT_RECORDED = "bundle-not-recorded"
    BUNDLE_GONE = "bundle-gone"
    MEMO_OLD = "memo-old"
    """What is kept beside the model, to make a lost record of, is not what the record says."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody should look at."""

    kind: DifferenceKind
    subject: str
    """Which environment, operation, image, bundle or folder."""
    detail: str
    hint: str = ""
    """What to do."""
    since: datetime | None = None
    """When it was first seen."""

    @property
    def pressing(self) -> bool:
        """Whether anything may not work as it should; a folder that nobody uses harms nobody."""
        return self.kind is not DifferenceKind.UNKNOWN_FOLDER

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by from look to look."""
        return self.kind, self.subject


class Healed(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the agent brought in order by itself."""

    at: datetime
    kind: DifferenceKind
    subject: str
    detail: str


class ConsistencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the last look found."""

    checked_at: datetime | None = None
    """When that was; null before the first."""
    consistent: bool = True
    """Whether nothing is left that somebody should look at."""
    differences: tuple[Difference, ...] = ()
    healed: tuple[Healed, ...] = ()
    """What was brought in order last, newest first."""


class Findings:
    """What one look finds."""

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self.healed: list[tuple[DifferenceKind, str, str]] = []

    def differs(self, kind: DifferenceKind, subject: str, detail: str, *, hint: str = "") -> None:
        """Takes what only somebody else can bring in order."""
        self.differences.append(Difference(kind=kind, subject=subject, detail=detail, hint=hint))

    def heals(self, kind: DifferenceKind, subject: str, detail: str) -> None:
        """Takes what was brought in order."""
        self.healed.append((kind, subject, detail))

    def since(self, earlier: Sequence[Difference], now: datetime) -> tuple[Difference, ...]:
        """The differences with the moment at which each was first seen, sorted."""
        seen: Mapping[tuple[str, str], datetime | None] = {d.key: d.since for d in earlier}
        dated = (
            msgspec.structs.replace(found, since=seen.get(found.key) or now)
            for found in self.differences
        )
        return tuple(sorted(dated, key=lambda found: found.key))
