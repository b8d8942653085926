"""Which of the builder's cache goes."""

from datetime import UTC, datetime, timedelta

from domain.build_cache import CacheEntry, prunable

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ids(
    *entries: CacheEntry, all_unused: bool = False, before: datetime | None = None
) -> list[str]:
    return [entry.id for entry in prunable(entries, all_unused=all_unused, before=before)]


def test_what_a_build_uses_stays_with_all_that_it_stands_on() -> None:
    assert ids(
        CacheEntry(id="base"),
        CacheEntry(id="middle", parents=("base",)),
        CacheEntry(id="top", parents=("middle",), in_use=True),
        CacheEntry(id="other", parents=("base",)),
        all_unused=True,
    ) == ["other"]


def test_what_images_have_too_and_the_builders_own_goes_only_with_all() -> None:
    entries = (
        CacheEntry(id="own"),
        CacheEntry(id="shared", shared=True),
        CacheEntry(id="frontend", kind="frontend"),
        CacheEntry(id="internal", kind="internal"),
    )

    assert ids(*entries) == ["own"]
    assert ids(*entries, all_unused=True) == ["own", "shared", "frontend", "internal"]


def test_only_what_was_not_used_since_goes() -> None:
    entries = (
        CacheEntry(id="old", used_at=NOW - timedelta(hours=2)),
        CacheEntry(id="new", used_at=NOW),
        CacheEntry(id="unknown"),
    )

    assert ids(*entries, before=NOW - timedelta(hours=1)) == ["old"]
