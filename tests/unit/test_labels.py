"""Labels of environments, and variables for their Compose files."""

import pytest

from domain.errors import RequestUnreadable
from domain.labels import (
    MAX_LABELS,
    MAX_VALUE_LENGTH,
    MAX_VARIABLES,
    check_labels,
    check_variables,
)


@pytest.mark.parametrize(
    "name", ["a", "course", "siber.io/course-1", "A_b", "1", "a" * 128, "com.docker"]
)
def test_what_names_a_label_is_taken(name: str) -> None:
    check_labels({name: "Kryptographie 101 – Übung", "empty": ""})


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", ".a", "a b", "ü", "a=b", "a\n", "a" * 129, "a,b", "a:b"]
)
def test_what_names_no_label_is_refused_and_its_letters_told(name: str) -> None:
    with pytest.raises(RequestUnreadable, match="cannot name a label") as refusal:
        check_labels({name: "x"})

    assert "at most 128" in refusal.value.hint
    assert len(refusal.value.message) < 200


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "\x1b[31m", "\u202e", "x" * 1025])
def test_a_label_that_cannot_be_shown_is_refused(value: str) -> None:
    with pytest.raises(RequestUnreadable, match="'course'"):
        check_labels({"course": value})


def test_there_may_be_only_so_many_labels() -> None:
    labels = {f"l{number}": "" for number in range(MAX_LABELS)}

    check_labels(labels)
    with pytest.raises(RequestUnreadable, match=f"More than {MAX_LABELS}"):
        check_labels({**labels, "more": ""})


@pytest.mark.parametrize(
    "name",
    ["FLAG", "_x", "flag_1", "a" * 128, "USERNAME", "PATHS", "MY_PATH", "WEB_PORT", "HOMEPAGE"],
)
def test_what_fills_in_a_compose_file_is_taken(name: str) -> None:
    check_variables({name: "siber{…}\nsecond line", "EMPTY": ""})


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "Ü", "A=B", "A\n", "a" * 129, "A.B"])
def test_what_names_no_variable_is_refused(name: str) -> None:
    with pytest.raises(RequestUnreadable, match="cannot name a variable"):
        check_variables({name: "x"})


@pytest.mark.parametrize(
    "name",
    [
        *["COMPOSE_FILE", "COMPOSE_PROFILES", "compose_file", "DOCKER_HOST", "DOCKER_CONFIG"],
        *["BUILDKIT_HOST", "BUILDX_BUILDER", "OTEL_EXPORTER_OTLP_ENDPOINT", "XDG_CONFIG_HOME"],
        *["LD_PRELOAD", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "LC_ALL", "SSL_CERT_FILE"],
        *["PATH", "Path", "HOME", "SHELL", "USER", "PWD", "TMPDIR", "LANG", "GODEBUG", "GOGC"],
        *["HTTP_PROXY", "https_proxy", "NO_PROXY", "ALL_PROXY", "NOTIFY_SOCKET", "RES_OPTIONS"],
        # Compose fetches remote parts of a project with git, and git starts what these name.
        *["GIT_SSH_COMMAND", "GIT_SSH", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH", "SSH_ASKPASS"],
        "SSH_AUTH_SOCK",
    ],
)
def test_what_steers_programs_of_the_host_is_refused_and_named(name: str) -> None:
    with pytest.raises(RequestUnreadable, match=f"Variable {name} steers"):
        check_variables({name: "x"})


@pytest.mark.parametrize("value", ["a\0b", "x" * (MAX_VALUE_LENGTH + 1)])
def test_a_value_that_no_variable_can_have_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(RequestUnreadable, match="FLAG has a value") as refusal:
        check_variables({"FLAG": value})

    assert value not in refusal.value.detail


def test_there_may_be_only_so_many_variables() -> None:
    variables = {f"V{number}": "" for number in range(MAX_VARIABLES)}

    check_variables(variables)
    with pytest.raises(RequestUnreadable, match=f"More than {MAX_VARIABLES}"):
        check_variables({**variables, "MORE": ""})
