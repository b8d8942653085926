"""Compose files as plain trees, before Compose reads them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.workspaces.sources import read_documents
from domain.bundles import MAX_COMPOSE_FILE_BYTES
from domain.compose_source import look, look_at_dotenv
from domain.errors import BundleRefused


def read(text: str | bytes) -> Any:
    """The only document of a file."""
    (document,) = read_documents(text if isinstance(text, bytes) else text.encode(), name="f")
    return document


def test_scalars_are_texts_and_null_is_nothing() -> None:
    text = "a: 1\nb: yes\nc: ~\nd: 'x'\ne: [0x1f, 22:22]\nf: !!str 5\ng: !reset null\n"

    assert read(text) == {
        "a": "1",
        "b": "yes",
        "c": None,
        "d": "x",
        "e": ["0x1f", "22:22"],
        "f": "5",
        "g": "null",
    }


@pytest.mark.parametrize("sign", ["<<", '"<<"', "!!merge <<"])
def test_merges_are_applied_and_the_nearer_word_wins(sign: str) -> None:
    text = f"x: &x {{a: 1, b: 1}}\ny: &y {{b: 2, c: 2}}\nz: {{{sign} : [*x, *y], a: 0}}\n"

    assert read(text)["z"] == {"a": "0", "b": "1", "c": "2"}


def test_all_documents_of_a_file_are_read() -> None:
    assert read_documents(b"a: 1\n---\nb: 2\n", name="f") == ({"a": "1"}, {"b": "2"})
    assert read(b"\xef\xbb\xbfa: 1\n") == {"a": "1"}
    assert read_documents(b"", name="f") == ()


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 1\na: 2\n",
        "!!binary aW5jbHVkZQ==: 1\n",
        "a: !!python/object:os.system x\n",
        "a: !x 1\n",
        "? [a]\n: 1\n",
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "%TAG ! tag:x,2000:\n---\na: 1\n",
        "%YAML 3.0\n---\na: 1\n",
        "a: 1\u0085b: 2\n",
        "a: 1\u2028b: 2\n",
        "a: 1\rb: 2\n",
        "a: \x07\n",
        "a: 1\n".encode("utf-16"),
        b"a: \xff\n",
        "[" * 60 + "]" * 60,
        "a: " + "[" * 5000,
        "---\n" * 20,
        "x: &x 1\ny: [" + "*x, " * 1100 + "]",
        "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)),
        "a: " + "x" * MAX_COMPOSE_FILE_BYTES,
        "a: &a " + "x" * 20_000 + "\nb: [" + "*a, " * 900 + "]",
        "a: [" + "y," * 200_000 + "]",
    ],
)
def test_what_could_be_read_otherwise_or_without_end_is_refused(text: str | bytes) -> None:
    with pytest.raises(BundleRefused, match=r"^f "):
        read_documents(text if isinstance(text, bytes) else text.encode(), name="f")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_comes_is_read_or_refused(text: bytes) -> None:
    try:
        for document in read_documents(text, name="f"):
            look(document, file="f")
    except BundleRefused:
        pass
    look_at_dotenv(text, file=".env")


SPELLINGS = [
    "include: [/etc/x]",
    "include: /etc/x",
    '"\\x69nclude": ["\\x2fetc/x"]',
    "? include\n: - /etc/x",
    "x: &x {include: [/etc/x]}\n<<: *x",
    "x: &x [/etc/x]\ninclude: *x",
    "x: &k include\n*k : [/etc/x]",
    "include:\n- path: [ok.yaml, /etc/x]",
    "include: [{path: ok.yaml, env_file: /etc/x}]",
    "include: [{path: ok.yaml, project_directory: ../x}]",
    "include: >-\n  /etc/x",
    "services: {a: {env_file: /etc/x}}",
    "services: {a: {env_file: [{path: /etc/x, required: false}]}}",
    "services: {a: {label_file: [/etc/x]}}",
    "services: {a: {extends: {file: /etc/x, service: b}}}",
    "x: &x {env_file: /etc/x}\nservices: {a: {<<: [*x]}}",
    "services: !override {a: {env_file: !reset /etc/x}}",
    "services: {a: {provider: {type: x}}}",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_what_compose_would_open_is_seen_in_every_spelling(text: str) -> None:
    assert look(read(text), file="f").findings


@pytest.mark.parametrize(
    "path",
    [
        "/x", "../x", "a/../../x", "a/..", "~/x", "~root/x", "$X", "${X}", "a$b", "c:\\x", "a\\b",
        "https://x/y", "git@x:y", "oci://x", "-", "", " x", "a//b", "x" * 1025, "a\x00b", "//x",
        "file:x", "github.com:x/y",
    ],
)  # fmt: skip
def test_only_plain_relative_paths_lead_into_the_bundle(path: str) -> None:
    assert look({"services": {"a": {"env_file": path}}}, file="f").findings


@pytest.mark.parametrize("path", ["x", "./x.env", "a/b c/d-e_f.yaml", ".env", "..x"])
def test_paths_in_the_bundle_are_followed(path: str) -> None:
    found = look({"include": [path], "services": {"a": {"env_file": path}}}, file="f")

    assert (found.findings, found.files, found.variables) == ((), (path,), (path,))


@pytest.mark.parametrize(
    "line",
    [
        "COMPOSE_FILE=x", " export COMPOSE_FILE = x", "'COMPOSE_FILE'=x", "DOCKER_HOST: x",
        "BUILDKIT_SYNTAX=x", "compose_file=x", "GIT_SSH_COMMAND=x",
    ],
)  # fmt: skip
def test_variables_that_steer_are_refused_in_every_spelling(line: str) -> None:
    (finding,) = look_at_dotenv(f"# first\nA=1\n{line}\n".encode(), file=".env")

    assert finding.where == ".env:3"


def test_variables_of_labs_pass() -> None:
    text = b"\xef\xbb\xbfA=1\n# COMPOSE_FILE=x\nCOMPOSE_PROFILES=a\nCOMPOSE_PROJECT_NAME=x\n"

    assert look_at_dotenv(text, file=".env") == ()
