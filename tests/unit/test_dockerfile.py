"""What is read out of Dockerfiles, and where their reader says that it cannot tell."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.dockerfile import base_images, front_end, may_read
from tests.support import engine

SECRET = "vpn.ovpn"


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


def images(text: str, **arguments: str) -> tuple[str, ...] | None:
    return base_images(text, arguments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM busybox", ["busybox"]),
        ("from busybox:1.36 as tools\n", ["busybox:1.36"]),
        ("\ufeffFROM busybox\r\nRUN true\r\n", ["busybox"]),
        ("# a comment\n\n  FROM\tbusybox", ["busybox"]),
        ("FROM --platform=$BUILDPLATFORM golang AS build\nFROM scratch", ["golang"]),
        ("FROM a AS X\nFROM b AS y\nFROM x\nFROM a", ["a", "b"]),
        ("FROM node AS node\nFROM node", ["node"]),
        ("FROM later\nFROM a AS later", ["later", "a"]),
        (("FROM scratch\nFROM scratch\nCOPY --from=a:1 /x /\nCOPY --from=0 /x /\n"
         "COPY --chown=1 --from=b x y"),
         ["a:1", "b"]),
        ("FROM a AS One\nFROM b\nCOPY --from=one /x /", ["a", "b"]),
        ("FROM a\nRUN --mount=type=bind,from=b,target=/b --mount=from=c,dst=/c true",
         ["a", "b", "c"]),
        (("FROM a AS x\nFROM a\nRUN --mount=target=/x,FROM=x true\n"
         "RUN --mount=type=cache,target=/c x"),
         ["a"]),
        ("FROM a\nONBUILD COPY --from=b /x /\nONBUILD RUN --mount=from=c,dst=/c x",
         ["a", "b", "c"]),
        ("FROM \\\n  # why\n\n  a \\\n AS x\n", ["a"]),
        ("FROM a\\\nb", ["ab"]),
        ("# escape=`\nFROM `\n a\nRUN dir c:\\\nFROM b", ["a", "b"]),
        ("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN x `\n FROM no", ["a"]),
        ("FROM a\nRUN <<EOF\nFROM no\nEOF\nFROM b", ["a", "b"]),
        ("FROM a\nRUN cat <<-'ONE' 3<<\"TWO\"\n\tFROM no\n\tONE\nFROM no\nTWO\nFROM b", ["a", "b"]),
        ("FROM a\nCOPY <<x <<y /dir/\nFROM no\nx\nFROM no\ny\n", ["a"]),
        ('FROM a\nRUN ["cat", "<<EOF"]\nFROM b\nRUN echo "x <<EOF y" <<<z\nFROM c',
         ["a", "b", "c"]),
        ("FROM a\nRUN [ 1 -eq 1 ] && echo ${X} <<EOF\nFROM no\nEOF", ["a"]),
        ("FROM a\nRUN x \\\n<<EOF\nFROM no\nEOF\n", ["a"]),
        ("FROM a\nRUN echo \\\n# FROM no\n  FROM no", ["a"]),
        ("FROM a\nCOPY --from='b' /x /", ["a", "b"]),
        ("FROM a\nRUN echo x\u00a0y \u00fc", ["a"]),
        ("FROM a\nRUN cat <<EOF > ${X:-y}\nFROM no\nEOF", ["a"]),
    ],
)  # fmt: skip
def test_images_are_found_each_once_and_in_order(text: str, expected: list[str]) -> None:
    assert images(text) == tuple(expected)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("x:$V", "x:1"),
        ("x:${V}-slim", "x:1-slim"),
        ("${EMPTY:-y}", "y"),
        ("${V:-y}", "1"),
        ("x${V:+:z}", "x:z"),
        ("x${EMPTY:+:z}", "x"),
        ("x:$QUOTED", "x:2"),
        ("x:$BUILT", "x:1-slim"),
        ("x:$GIVEN", "x:9"),
        ("x:$ONLY_GIVEN", "x:8"),
        ("x:$SECOND", "x:3"),
        ("${V-y}", "1"),
        ("${UNKNOWN:-busybox}", "busybox"),
        ("${UNKNOWN:-${V:+${V}z}}", "1z"),
        ("x:${UNKNOWN}1", "x:1"),
        ('"x:$V"', "x:1"),
        (r"x\:$V", "x:1"),
    ],
)
def test_arguments_before_the_first_stage_are_put_in(reference: str, expected: str) -> None:
    declared = (
        "ARG V=1\nARG EMPTY\nARG QUOTED=\"2\"\narg BUILT=${V}-slim\nARG GIVEN='4'\n"
        "ARG ONLY_GIVEN\nARG FIRST=1 SECOND=3\n"
    )

    found = images(f"{declared}FROM {reference}", GIVEN="9", ONLY_GIVEN="8", UNUSED="7")

    assert found == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RUN true",
        "FROM",
        "FROM $X",
        "ARG X\nFROM $X",
        "ARG X=a\nFROM ${X%b}",
        "ARG X=a\nFROM ${X",
        "ARG TARGETARCH\nFROM a-$TARGETARCH",
        "ARG TARGETARCH=x\nFROM a-${TARGETARCH}",
        "FROM a\nARG X=b\nFROM $X",
        'ARG X="a\nFROM a:$X',
        "FROM a b",
        "FROM a AS 1x",
        "FROM --unknown=1 a",
        "FROM a\nCOPY --from=$X /x /",
        "FROM a\nCOPY --from b /x /",
        "FROM a\nRUN --mount=from=$X,dst=/x true",
        "FROM a\nRUN --mount=from=a,from=b,dst=/x true",
        "FROM a\nRUN --mount true",
        "FROM a\nRUN <<EOF\nnever ends",
        'FROM a\nRUN echo "<<EOF\nEOF',
        'FROM a\nRUN x <<"E OF"\nE OF',
        "FROM a\nRUN x \\\\\nFROM b",
        "FROM a\nMAGIC b",
        "FROM a\nONBUILD ONBUILD RUN x",
        "FROM a\nRUN\u00a0x",
        "FROM a\nRUN x\x0bFROM b",
        "FROM a\nRUN x\rFROM b",
        "# escape=x\nFROM a",
        "#!/bin/x\n# escape=`\nFROM a",
        "FROM a\n# escape=`\n",
        "# syntax=example.com/other\nFROM a",
        "# syntax=docker/dockerfile-evil\nFROM a",
        '{"syntax": "x"}',
        "ARG X=a\nARG X\nFROM b$X",
        "ARG X='$Y'\nFROM a:$X",
        "ARG X\nFROM ${X:?none}",
        "ARG X=a\nFROM ${X,,}",
        "FROM a$1",
        "FROM a$@",
        "FROM 'a",
        "FROM a\nRUN cat <<EOF\nFROM b \\\nEOF",
        "FROM a\nRUN cat <<RUN\nFROM b\nRUN",
        "FROM a\nRUN cat <<#E\nFROM b\n#E",
        "FROM a\nRUN <<A\n\0A\nRUN <<B\nA\nFROM b\nB",
        "FROM a\nCMD x \\\n\u00a0# y\nRUN <<E\nFROM b\nE",
        "FROM a\nRUN --mount=type=cache,target=/\u00c5--mount=from=b,target=/x y",
    ],
)
def test_what_cannot_be_told_is_not_guessed(text: str) -> None:
    assert images(text) is None


def test_values_that_grow_without_end_are_not_put_in() -> None:
    doubled = "".join(f"ARG X{i + 1}=${{X{i}}}${{X{i}}}\n" for i in range(64))

    assert images(f"ARG X0=aaaa\n{doubled}FROM $X64") is None
    assert images("FROM " + "${X:-" * 5000 + "}" * 5000) is None
    assert images("FROM a\n" + "ONBUILD " * 5000) is None


def test_another_front_end_among_the_arguments_leaves_nothing_to_tell() -> None:
    assert images("FROM a", BUILDKIT_SYNTAX="x") is None
    assert images("FROM a", BUILDKIT_INLINE_CACHE="1") == ("a",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "COPY x /",
        "FROM a b",
        "FROM --unknown=1 a",
        "FROM a\nRUN <<EOF\nnever ends",
        "FROM a\nRUN x \\\\\nFROM b",
        "FROM a\nRUN\u00a0x",
        "# escape=x\nFROM a",
        "# syntax=example.com/other\nFROM a",
    ],
)
def test_a_text_that_is_not_understood_may_read_anything(text: str) -> None:
    assert may_read(text, SECRET)


TAKEN = [
    "COPY vpn.ovpn /etc/",
    "copy ./vpn.ovpn /etc/",
    "COPY /vpn.ovpn /etc/",
    "COPY ../vpn.ovpn /etc/",
    "COPY x/../vpn.ovpn /etc/",
    "COPY app . /app/",
    "COPY ./ /app",
    "COPY / /app",
    "COPY x/.. /app",
    "COPY * /app/",
    "COPY *.ovpn /app/",
    "COPY v?n* /app/",
    "COPY [v]pn.ovpn /app/",
    "COPY [^a]* /app/",
    r"COPY v\pn.ovpn /app/",
    'COPY ["vpn.ovpn", "/etc/"]',
    'COPY [ "a", "*", "/etc/" ]',
    'COPY --chown=1:1 ["vpn.ovpn", "/etc/"]',
    "ADD vpn.ovpn /etc/",
    "ADD --chown=1 . /etc/",
    'COPY "vpn.ovpn" /etc/',
    "COPY a \\\n# comment\n  vpn.ovpn \\\n /etc/",
    "COPY vpn.ovpn/ /etc/",
    "ENV X=vpn.ovpn\nCOPY $X /etc/",
    "ENV X=vpn.ovpn\nCOPY /${X} /etc/",
]

DOUBTED = [
    "COPY",
    "COPY x",
    'COPY ["x", 1]',
    'COPY ["x" /etc/',
    "COPY **/x /etc/",
    "COPY --strange=1 x /etc/",
    "RUN --mount=target=/c true",
    "RUN --mount=type=bind,target=/c true",
    "RUN --mount=type=$X,target=/c true",
    "RUN --mount=from=image,target=/c true",
    "ONBUILD RUN x",
    "MAGIC",
]

LEFT = [
    "",
    "COPY app.py /",
    "COPY VPN.ovpn /",
    "COPY vpn.ovpn2 vpn /",
    "COPY *.py src/ requirements.txt /app/",
    "COPY */vpn.ovpn /",
    "COPY keys/vpn.ovpn /",
    "COPY vpn.ovpn/x /",
    'COPY ["app.py", "/"]',
    "COPY --from=0 . /",
    "COPY --from=image vpn.ovpn /",
    "COPY --chmod=644 --link app.py /",
    "COPY <<vpn.ovpn /x\nCOPY . /\nvpn.ovpn\n",
    "ADD https://example.com/vpn.ovpn /",
    "RUN cat vpn.ovpn",
    "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t cat vpn.ovpn",
    "RUN --mount='type=tmpfs',target=/c true",
    "RUN --mount=type=secret,id=vpn.ovpn --mount=from=one,target=/x true",
    "RUN <<EOF\nCOPY . /\nEOF",
    "# COPY . /",
    "RUN x \\\n# y\n COPY . /",
    'LABEL x="COPY . /"',
    'CMD ["cat", "vpn.ovpn"]',
    "VOLUME .",
    "HEALTHCHECK --interval=5s CMD . vpn.ovpn",
]


@pytest.mark.parametrize("line", TAKEN + DOUBTED)
def test_a_file_that_could_be_copied_may_be_read(line: str) -> None:
    assert may_read(f"FROM scratch\n{line}\n", SECRET)


@pytest.mark.parametrize("line", LEFT)
def test_a_file_that_nothing_names_is_not_read(line: str) -> None:
    assert not may_read(f"FROM scratch AS one\n{line}\n", SECRET)


@pytest.mark.parametrize("line", ["COPY keys /", "COPY */vpn.ovpn /", "COPY k*s/*.ovpn /"])
def test_a_file_deeper_down_is_read_with_its_folders(line: str) -> None:
    assert may_read(f"FROM scratch\n{line}\n", "keys/vpn.ovpn")
    assert not may_read(f"FROM scratch\n{line}\n", "other/key.pem")


def test_a_path_outside_of_the_context_is_doubted() -> None:
    assert may_read("FROM scratch", "/elsewhere/vpn.ovpn")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", None),
        ("# syntax=docker/dockerfile:1\nFROM a", "docker/dockerfile:1"),
        ("#SYNTAX = x/y  \r\nFROM a", "x/y"),
        ("# escape=`\n# syntax=x --flag\nFROM a", "x"),
        ("# check=skip=all\n# syntax=x\n", "x"),
        ("\ufeff# syntax=x\n", "x"),
        ("#!/usr/bin/env x\n# syntax=x\n", "x"),
        ("// syntax=x\nwhatever", "x"),
        ('{"syntax": "x", "other": 1}', "x"),
        ('#!/x\n{"syntax": "x"}', "x"),
        ('{"syntax": 1}', None),
        ("# a comment\n# syntax=x\nFROM a", None),
        ("\n# syntax=x\nFROM a", None),
        ("FROM a\n# syntax=x", None),
        ("# other=1\n# syntax=x\nFROM a", None),
    ],
)
def test_the_front_end_is_named_at_the_top(text: str, expected: str | None) -> None:
    assert front_end(text) == expected


WORDS = st.sampled_from(
    ["FROM", "COPY", "RUN", "ARG", "a", "AS", "b", "<<EOF", "EOF", "\n", "\n", "\\\n", "#", "$X",
     "X=1", "--from=c", "--mount=from=d", "vpn.ovpn", ".", "*", '"', "'", "[", '["a","b"]', "\\",
     "ONBUILD", "# escape=`\n", "`\n", "\t", "\u00a0", "<<-'E'", "{", "${X:-y}"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=40).map(" ".join), st.text(max_size=60))
def test_any_text_is_answered(text: str, noise: str) -> None:
    for one in (text, noise, f"FROM a\n{text}\n{noise}"):
        found = base_images(one, {"X": "x"})
        assert found is None or all(found)
        assert may_read(one, SECRET) in {True, False}
        front_end(one)


@given(st.lists(WORDS, max_size=20).map(" ".join))
def test_what_follows_never_hides_a_copy_of_everything(text: str) -> None:
    assert may_read(f"FROM a\nCOPY . /\n{text}", SECRET)


@pytest.mark.engine
@pytest.mark.parametrize("line", TAKEN + LEFT[:8])
def test_nothing_gets_into_an_image_that_could_not_be_read(
    host: engine.Host, tmp_path: Path, line: str
) -> None:
    lab, out = tmp_path / "lab", tmp_path / "out"
    for name in (SECRET, "app.py", "app", "a", "src/x", "requirements.txt", "x/y", "vpn"):
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        (lab / name).write_text("the key" if name == SECRET else "other")
    (lab / "Dockerfile").write_text(f"FROM scratch\n{line}\n")

    built = subprocess.run(
        ["docker", "build", "-q", "--output", f"type=local,dest={out}", str(lab)],
        capture_output=True,
        check=False,
        timeout=60,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
    )

    files = [path for path in out.rglob("*") if path.is_file()] if not built.returncode else []
    taken = any(path.read_text() == "the key" for path in files)
    assert taken <= may_read((lab / "Dockerfile").read_text(), SECRET)
