"""What a host does not allow in Dockerfiles, and that honest ones pass."""

import re
from collections.abc import Mapping
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.dockerfile_policy import (
    MOST_CHARACTERS,
    MOST_FINDINGS,
    DockerfileRules,
    judge_dockerfile,
)
from domain.findings import Finding
from domain.image_names import RegistryRules
from tests.support.dockerfiles import FORBIDDEN_STEPS, HONEST

LAB = DockerfileRules()
OURS = "container-host-agent/own:1"


def judged(
    text: str, arguments: Mapping[str, str] | None = None, *, rules: DockerfileRules = LAB
) -> tuple[Finding, ...]:
    return judge_dockerfile(text, arguments or {}, where="Dockerfile", rules=rules)


@pytest.mark.parametrize("name", HONEST)
def test_honest_dockerfiles_pass(name: str) -> None:
    assert judged(dedent(HONEST[name])) == ()


@pytest.mark.parametrize("step", FORBIDDEN_STEPS)
def test_what_is_not_allowed_is_found(step: str) -> None:
    assert judged(f"FROM busybox\n{step}\n")


@pytest.mark.parametrize("step", [one for one in FORBIDDEN_STEPS if not one.startswith("FROM")])
def test_it_is_found_in_triggers_too(step: str) -> None:
    assert judged(f"FROM busybox\nONBUILD {step}\n")
    assert judged(f"FROM busybox\nonbuild\t{step}\n")


@pytest.mark.parametrize(
    "head",
    [
        "# syntax=example.com/evil",
        "#syntax=evil",
        "#  SYNTAX  =  evil",
        "# syntax=evil:1 --with arguments",
        "\ufeff# syntax=evil",
        "#!/usr/bin/env run\n# syntax=evil",
        "// syntax=evil",
        "//syntax = evil",
        "# escape=\\\n# syntax=evil",
        "# check=skip=all\n# syntax=evil",
        "# other=1\n# syntax=evil",
        "\n\n # syntax=evil",
        "# syntax=evil\r",
        "# syntax=docker/dockerfile:1\n# syntax=evil",
        "# syntax=docker/dockerfile-upstream:master",
        "# syntax=docker/dockerfile/evil",
        "# syntax=ghcr.io/docker/dockerfile:1",
        '{"syntax": "evil"}',
        '#!/x\n{"x": [[[1]]], "syntax": "evil"}',
        '{"syntax": "evil", "x": ' + "[" * 3000 + "]" * 3000 + "}",
        '{"syntax": "evil", "x": "\\ud800"}',
    ],
)
def test_no_other_program_reads_the_text(head: str) -> None:
    assert judged(f"{head}\nFROM busybox\n")


@pytest.mark.parametrize(
    "name",
    ["BUILDKIT_SYNTAX", "buildkit_syntax", "BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_NEW_THING"],
)
def test_arguments_do_not_steer_the_builder(name: str) -> None:
    (found,) = judged("FROM busybox", {name: "x"})

    assert (found.where, found.what) == (f"Dockerfile.args.{name}", f"{name}=x")


def test_harmless_arguments_pass() -> None:
    given = {"BUILDKIT_INLINE_CACHE": "1", "SOURCE_DATE_EPOCH": "1700000000", "X": "--network=host"}

    assert judged("FROM busybox", given) == ()
    assert judged("FROM busybox", {"SOURCE_DATE_EPOCH": "context"})


@pytest.mark.parametrize(
    "text",
    [
        f"ARG X={OURS}\nFROM $X",
        "ARG N=agent\nARG X=container-host-${N}/own\nFROM ${X}:1",
        "ARG X=container-host-agent\nFROM docker.io/$X/own",
        'ARG X="container-host-agent/" Y=own\nFROM "${X}${Y}"',
        "ARG X\nFROM container-host-agent/${X:-own}",
        f"FROM ${{X:-{OURS}}}",
        "ARG X=1\nFROM ${X:+container-host-agent/own}",
        f"ARG X={OURS}\nARG X\nFROM alpine$X",
        "ARG TARGETARCH=container-host-agent/own\nFROM $TARGETARCH",
    ],
)
def test_images_of_the_agent_are_found_through_arguments(text: str) -> None:
    assert judged(text)


def test_arguments_of_the_build_go_before_defaults() -> None:
    assert judged("ARG X=alpine\nFROM $X", {"X": OURS})
    assert judged("FROM $TARGETARCH", {"TARGETARCH": OURS})
    assert judged(f"ARG X={OURS}\nFROM $X", {"X": "alpine"}) == ()
    assert judged("FROM ${X:-alpine}", {"X": OURS}) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RUN id",
        "FROM busybox\nRUN x \\\\\nRUN --network=host id",
        "FROM busybox\nCMD x \\\n\u00a0# y\nRUN <<E\nRUN --network=host id\nE",
        "FROM busybox\nRUN <<A\n\0A\nRUN <<B\nA\nRUN --network=host id\nB",
        "# syntax=docker/dockerfile:1.0\nFROM busybox\nRUN <<E\nRUN --network=host id \\\nE",
        "FROM busybox\nRUN <<CMD\nRUN --network=host id\nCMD",
        "FROM busybox\nRUN <<#\nRUN --network=host id\n#",
        "FROM busybox\nRUN x ${y@Q} <<E\nRUN --network=host id\nE",
        "FROM busybox\nMAGIC <<E\nRUN --network=host id\nE",
        "FROM busybox\nRUN --odd <<E\nRUN --network=host id\nE",
        "FROM busybox\nRUN <<E",
        "FROM busybox\nRUN x\rRUN --network=host id",
        "FROM busybox\nRUN x\u2028RUN --network=host id",
        "#!/bin/x\n# escape=`\nFROM busybox\nRUN x \\\nRUN --network=host id",
        "FROM busybox\n\u00a0RUN --network=host id",
        "FROM busybox\nRUN\u00a0--network=host id",
        "FROM busybox\nRUN -\\\n-network=host id",
    ],
)
def test_nothing_hides_in_what_releases_read_in_different_ways(text: str) -> None:
    assert judged(text)


def test_everything_is_told_at_once_in_the_order_of_lines() -> None:
    text = (
        "# syntax=evil\nFROM localhost/x\nMAGIC\nRUN true\nRUN --network=host \\\n --security=x y\n"
        f"COPY --from={OURS} a b\n"
    )

    found = judged(text, {"BUILDKIT_SYNTAX": "x"})

    assert [one.where.removeprefix("Dockerfile") for one in found] == [
        ".args.BUILDKIT_SYNTAX",
        ": line 1",
        ": line 2",
        ": line 3",
        ": line 5",
        ": line 5",
        ": line 7",
    ]
    assert [one.what for one in found[-3:]] == ["--network=host", "--security=x", OURS]
    assert all(one.why and one.instead for one in found)


def test_findings_are_few_and_short_however_much_is_wrong() -> None:
    found = judged("FROM busybox\n" + f"RUN --network={'x' * 500} y\n" * 200 + "\x07MAGIC")

    assert len(found) == MOST_FINDINGS
    assert all(len(one.sentence) < 500 for one in found)
    assert judged("FROM busybox\n" + "#" * 2_000_000)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text",
    [
        "\n" * 130_000,
        "#x=a" + " " * 130_000 + "b",
        "".join(f"ARG X{i}=$X{i - 1}a\n" for i in range(6_000)),
        "FROM a\n" + "RUN x \\\n" * 13_000,
        "FROM a\n" + "MAGIC\n" * 13_000,
        "FROM a\nRUN <<" + "\"'\\" * 40_000,
        "FROM a\nRUN --mount=" + "," * 130_000,
        "FROM a\nRUN --mount=" + "'x'" * 40_000,
        "FROM a\nHEALTHCHECK --interval=" + "1" * 130_000 + " CMD x",
        "FROM a\nADD http://" + "a.git" * 25_000 + " /",
        "FROM a\nARG " + "'\" " * 40_000,
        "FROM " + "a-" * 60_000,
        "FROM " + "${a:-" * 25_000,
        "FROM a AS b\n" * 10_000,
    ],
    ids=range(14),
)
def test_no_text_takes_long(text: str) -> None:
    assert len(text) < MOST_CHARACTERS
    judged(text)


def test_a_control_character_is_not_passed_on() -> None:
    (found,) = judged("FROM busybox\nRUN \x1b[2Jx")

    assert found.what == "RUN \ufffd[2Jx"


def test_the_operators_own_dockerfiles_may_do_all_but_take_the_agents_images() -> None:
    trusted = DockerfileRules(trusted=True)

    for step in FORBIDDEN_STEPS:
        found = judged(f"FROM busybox\n{step}\n", rules=trusted)
        assert all("built by the agent" in one.why for one in found)
    assert judged("# syntax=evil\nFROM 10.0.0.1/x", {"BUILDKIT_SYNTAX": "x"}, rules=trusted) == ()
    assert judged(f"FROM {OURS}\nMAGIC", rules=trusted)


def test_the_operator_allows_registries_and_additions() -> None:
    registries = RegistryRules(allowed=frozenset({"registry:5000"}))
    rules = DockerfileRules(registries=registries, unchecked_additions=True)

    assert judged("FROM registry:5000/x\nADD https://example.com/$V/x.tgz /opt/", rules=rules) == ()
    assert judged("FROM registry:5001/x", rules=rules)
    assert judged("FROM busybox\nADD https://10.0.0.1/x /opt/", rules=rules)
    assert judged("FROM busybox\nADD https://example.com/x.git /opt/", rules=rules)


FOUND_EVERYWHERE = [
    "RUN --network=host id",
    "RUN --security=insecure id",
    "RUN --mount=type=ssh id",
    "COPY --from=container-host-agent/own /x /",
    "ADD http://127.0.0.1/x /",
    "FROM container-host-agent/own",
    "ONBUILD RUN --network=host id",
]


@st.composite
def respelled(draw: st.DrawFn, step: str) -> str:
    """The same instruction, written in another way."""
    sign = draw(st.sampled_from(["\\", "`"]))
    joints = st.sampled_from(["", "", "", f"{sign}\n", f"{sign} \t\n\n", f"{sign}\n # {sign}\n"])
    word, _, rest = step.partition(" ")
    word = "".join(draw(st.sampled_from([s.lower(), s.upper()])) for s in word)
    blank = draw(st.sampled_from([" ", "\t", "  ", f" {sign}\n ", f" {sign}\n# x\n\n"]))
    if draw(st.booleans()):
        # Quotes before or between the two dashes would make an argument of an option.
        rest = re.sub(r"(?<=[a-z])(?=[a-z])", lambda _: draw(st.sampled_from(["", '""'])), rest)
    rest = "".join(f"{one}{draw(joints)}" for one in rest)
    before = draw(st.sampled_from(["", " ", "\t", "# a comment\n", "RUN <<E\nx\nE\n", "\r\n"]))
    end = draw(st.sampled_from(["", "\n", "\r\n", " \nRUN true\n"]))
    head = (
        "# escape=`\n"
        if sign == "`"
        else draw(st.sampled_from(["", "# syntax=docker/dockerfile:1\n"]))
    )
    return f"{head}FROM busybox AS x\n{before}{word}{blank}{rest}{end}"


@given(st.data(), st.sampled_from(FOUND_EVERYWHERE))
def test_it_is_found_however_it_is_spelled(data: st.DataObject, step: str) -> None:
    assert judged(data.draw(respelled(step)))


@given(st.data(), st.sampled_from(sorted(HONEST)))
def test_honest_ones_pass_with_comments_and_blank_lines_anywhere(
    data: st.DataObject, name: str
) -> None:
    lines = dedent(HONEST[name]).split("\n")
    top = next(i for i, line in enumerate(lines) if line and not line.startswith(("#", "\ufeff")))
    place = data.draw(st.integers(top, len(lines)))
    lines[place:place] = data.draw(
        st.lists(st.sampled_from(["", "# RUN --network=host"]), max_size=3)
    )

    assert judged("\n".join(lines)) == ()


WORDS = st.sampled_from(
    ["FROM", "COPY", "RUN", "ARG", "a", "AS", "<<EOF", "EOF", "\n", "\\\n", "#", "$X", "X=1",
     "--from=c", "--mount=from=d", "--network=none", '"', "'", "[", '["a","b"]', "\\", "ONBUILD",
     "# escape=`\n", "`\n", "\t", "\u00a0", "<<-'E'", "{", "${X:-y}", "ADD", "http://x/", "syntax="]
)  # fmt: skip


@given(st.lists(WORDS, max_size=40).map(" ".join), st.text(max_size=60))
def test_any_text_is_judged(text: str, noise: str) -> None:
    for one in (text, noise, f"FROM a\n{text}\n{noise}"):
        judged(one, {"X": "x"})


@given(st.lists(WORDS, max_size=20).map(" ".join))
def test_what_follows_hides_nothing(text: str) -> None:
    assert judged(f"FROM busybox\nRUN --network=host id\n{text}")
