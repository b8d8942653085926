"""The rules for bundles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.bundles import (
    COMPOSE_FILE_NAMES,
    MAX_PATH_DEPTH,
    MAX_PATH_LENGTH,
    BundleLimits,
    compose_files,
    member_path,
)
from domain.errors import BundleRefused

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("compose.yaml", ("compose.yaml",)),
        ("./a//b/", ("a", "b")),
        ("a/./b", ("a", "b")),
        ("./", ()),
        ("", ()),
        ("...", ("...",)),
        ("..a/b..", ("..a", "b..")),
        ("ünï/c ode", ("ünï", "c ode")),
        ("/".join("d" * MAX_PATH_DEPTH), ("d",) * MAX_PATH_DEPTH),
        ("n" * 255, ("n" * 255,)),
    ],
)
def test_names_spell_relative_paths(name: str, parts: tuple[str, ...]) -> None:
    assert member_path(name) == parts


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/passwd", "absolute"),
        ("//etc", "absolute"),
        ("C:/x", "absolute"),
        ("..", "outside"),
        ("a/../b", "outside"),
        ("a/b/..", "outside"),
        ("..\\x", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7f", "control"),
        ("\udcff", "UTF-8"),
        ("n" * 256, "255 bytes"),
        ("ü" * 128, "255 bytes"),
        ("/".join("d" * (MAX_PATH_DEPTH + 1)), "deeper"),
        ("d/" * MAX_PATH_LENGTH, "characters"),
    ],
)
def test_names_that_lead_elsewhere_or_nowhere_are_refused(name: str, words: str) -> None:
    with pytest.raises(BundleRefused, match=words):
        member_path(name)


@given(st.text(alphabet=st.sampled_from("ab./\\:~\0\n\u202e\udc80 -"), max_size=40))
def test_what_is_accepted_stays_inside(name: str) -> None:
    try:
        parts = member_path(name)
    except BundleRefused:
        return
    assert not {"", ".", ".."} & set(parts)
    assert not any("/" in part or "\0" in part for part in parts)


@pytest.mark.parametrize(
    ("top_level", "chosen"),
    [
        (["docker-compose.yml", "Dockerfile"], ("docker-compose.yml",)),
        (COMPOSE_FILE_NAMES, ("compose.yaml",)),
        (["docker-compose.yaml", "docker-compose.yml"], ("docker-compose.yml",)),
        (
            ["compose.yaml", "docker-compose.override.yml"],
            ("compose.yaml", "docker-compose.override.yml"),
        ),
    ],
)
def test_compose_files_are_chosen_as_compose_chooses_them(
    top_level: list[str], chosen: tuple[str, ...]
) -> None:
    assert compose_files(top_level) == chosen


@pytest.mark.parametrize("top_level", [[], ["Compose.yaml"], ["compose.override.yml"]])
def test_without_a_compose_file_the_refusal_names_what_it_looked_for(top_level: list[str]) -> None:
    with pytest.raises(BundleRefused) as refusal:
        compose_files(top_level)

    assert all(name in refusal.value.hint for name in COMPOSE_FILE_NAMES)


def test_limits_let_pass_what_reaches_them() -> None:
    limits = BundleLimits(max_bytes=10, max_unpacked_bytes=20, max_entries=3)

    limits.check_archive(10)
    limits.check_entries(3)
    limits.check_unpacked(20, archive_bytes=10)


def test_limits_refuse_what_passes_them_and_say_what_they_are() -> None:
    limits = BundleLimits(max_bytes=10, max_unpacked_bytes=20, max_entries=3)

    with pytest.raises(BundleRefused, match="the 10 bytes"):
        limits.check_archive(11)
    with pytest.raises(BundleRefused, match="the 3 entries"):
        limits.check_entries(4)
    with pytest.raises(BundleRefused, match="the 20 bytes"):
        limits.check_unpacked(21, archive_bytes=10)


def test_the_ratio_matters_only_for_bundles_that_fill_disks() -> None:
    limits = BundleLimits(max_ratio=100)

    limits.check_unpacked(16 * MEGABYTE, archive_bytes=1)
    limits.check_unpacked(100 * MEGABYTE, archive_bytes=MEGABYTE)
    with pytest.raises(BundleRefused, match="100 times"):
        limits.check_unpacked(100 * MEGABYTE + 1, archive_bytes=MEGABYTE)
