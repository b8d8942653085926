"""What can name an environment."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidName
from domain.names import MAX_NAME_LENGTH, environment_name


@pytest.mark.parametrize(
    "text",
    ["a", "0", "user123-devlab", "a_b", "6f1b0a52-0000-4000-8000-000000000001", "x" * 63],
)
def test_compose_project_names_are_environment_names(text: str) -> None:
    assert environment_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *["", ".", "..", "../../etc", "%2e%2e%2f", "a/../b", "a/b", "a.b", "-v", "_a", "--file=/x"],
        *["Lab", "läb", "a b", "a\0", "a\n", "\na", "lab\r", "٣", "ａ", "x" * 64, "x" * 300],
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidName) as refusal:
        environment_name(text)

    assert "1 to 63" in refusal.value.hint


def test_the_refusal_of_a_long_name_is_short() -> None:
    with pytest.raises(InvalidName) as refusal:
        environment_name("x" * 1_000_000)

    assert len(refusal.value.detail) < 300


@given(st.text())
def test_what_is_accepted_is_one_harmless_part_of_a_path(text: str) -> None:
    try:
        name = environment_name(text)
    except InvalidName:
        return
    assert len(name) <= MAX_NAME_LENGTH
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name)
