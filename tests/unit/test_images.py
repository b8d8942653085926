"""Names of built images: the same only where everything that goes in is the same."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.images import build_digest, own_tag, shared_tag

SECTION: Mapping[str, Any] = {
    "context": "/root/lab",
    "dockerfile": "Dockerfile",
    "args": {"VERSION": "1", "EDITION": "small"},
    "labels": {"owner": "siber"},
    "target": "run",
}
CONTEXT = "c" * 64
BASES = {"busybox:latest": "sha256:1", "python:3": ""}

texts = st.text(max_size=6)
inputs = st.tuples(
    st.dictionaries(
        st.sampled_from(["dockerfile", "target", "args", "network"]),
        st.one_of(texts, st.dictionaries(texts, texts, max_size=2)),
        max_size=3,
    ),
    texts,
    texts,
    st.dictionaries(texts, texts, max_size=2),
    texts,
)


def digest(**changed: Any) -> str:
    """The digest of one build, with what is to differ."""
    usual: dict[str, Any] = {
        "build": SECTION,
        "dockerfile": "FROM busybox\n",
        "context": CONTEXT,
        "bases": BASES,
        "private": "",
    }
    given_in = {**usual, **changed}
    return build_digest(given_in.pop("build"), **given_in)


def test_a_digest_is_a_sha256_fit_for_a_tag() -> None:
    assert len(digest()) == 64
    assert int(digest(), 16)


@pytest.mark.parametrize(
    "changed",
    [
        {"build": {**SECTION, "target": "test"}},
        {"build": {**SECTION, "network": "none"}},
        {"build": {key: value for key, value in SECTION.items() if key != "target"}},
        {"build": {**SECTION, "args": {"VERSION": "2", "EDITION": "small"}}},
        {"build": {**SECTION, "args": {"VERSION": "1"}}},
        {"build": {**SECTION, "args": {"VERSION": "1", "EDITION": None}}},
        {"build": {**SECTION, "labels": {"owner": "other"}}},
        {"build": {**SECTION, "labels": None}},
        {"build": {**SECTION, "dockerfile": "Other"}},
        {"dockerfile": "FROM busybox\n\n"},
        {"context": "d" * 64},
        {"bases": {**BASES, "busybox:latest": "sha256:2"}},
        {"bases": {**BASES, "python:3": "sha256:3"}},
        {"bases": {"busybox:latest": "sha256:1"}},
        {"bases": {"busybox:1": "sha256:1", "python:3": ""}},
        {"private": "lab"},
    ],
)
def test_any_difference_in_what_goes_in_gives_another_digest(changed: Mapping[str, Any]) -> None:
    assert digest(**changed) != digest()


@given(inputs, inputs)
def test_two_builds_have_one_digest_only_where_they_are_the_same(
    one: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    def named(parts: tuple[Any, ...]) -> str:
        names = ("build", "dockerfile", "context", "bases", "private")
        return digest(**dict(zip(names, parts, strict=True)))

    assert (named(one) == named(other)) == (one == other)


def test_text_that_moves_from_one_place_to_the_next_gives_another_digest() -> None:
    assert digest(dockerfile="ab", context="c") != digest(dockerfile="a", context="bc")
    assert digest(bases={"a": "b"}) != digest(bases={"b": "a"})


def test_the_order_in_which_things_are_written_does_not_count() -> None:
    turned = dict(reversed(list(SECTION.items())))
    turned["args"] = dict(reversed(SECTION["args"].items()))

    assert digest(build=turned, bases=dict(reversed(BASES.items()))) == digest()


def test_the_folder_that_a_context_lies_in_does_not_count() -> None:
    assert digest(build={**SECTION, "context": "/root/other"}) == digest()


def test_a_build_without_labels_is_one_with_none() -> None:
    bare = {key: value for key, value in SECTION.items() if key != "labels"}

    assert digest(build=bare) == digest(build={**bare, "labels": {}})


def test_shared_images_and_own_ones_never_bear_one_name() -> None:
    assert shared_tag(CONTEXT) == f"container-host-agent/shared:{CONTEXT}"
    assert own_tag(CONTEXT) == f"container-host-agent/own:{CONTEXT}"
