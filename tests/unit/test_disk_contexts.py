"""The reader of build contexts on disk, before folders that strangers wrote into."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.docker.contexts import MAX_DEPTH, DiskContexts, _Glob
from domain.errors import StorageFailed
from domain.ports.contexts import BuildContext
from tests.support import engine

pytestmark = pytest.mark.anyio

DOCKERFILE = "FROM scratch\nCOPY . /\n"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


@pytest.fixture
def host() -> Iterator[engine.Host]:
    yield from engine.host()


async def read(folder: Path, *apart: Path, within: Path | None = None) -> BuildContext | None:
    return await DiskContexts().read(
        str(folder), dockerfile=None, apart=[str(p) for p in apart], within=str(within or folder)
    )


async def digest(folder: Path, *apart: Path) -> str:
    context = await read(folder, *apart)
    assert context is not None
    return context.digest


async def test_a_link_is_read_as_where_it_leads_and_never_followed(
    lab: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("first")
    (lab / "link").symlink_to("../secret")
    before = await digest(lab)

    (tmp_path / "secret").write_text("second")
    assert await digest(lab) == before
    (lab / "link").unlink()
    (lab / "link").symlink_to("../other")
    assert await digest(lab) != before


async def test_a_link_to_a_folder_is_never_entered(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (lab / "link").symlink_to("../outside")
    before = await digest(lab)

    (tmp_path / "outside" / "file").write_text("content")

    assert await digest(lab) == before


async def test_a_context_behind_a_link_is_not_told(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("lab")
    (lab / "deep" / "er").mkdir(parents=True)
    (lab / "deep" / "er" / "Dockerfile").write_text(DOCKERFILE)
    (lab / "way").symlink_to("deep")

    assert await read(tmp_path / "link", within=tmp_path) is None
    assert await read(lab / "way" / "er", within=lab) is None
    assert await read(lab / "deep" / "er", within=lab) is not None


@pytest.mark.parametrize("target", ["../elsewhere/Dockerfile", "Other"])
async def test_a_dockerfile_behind_a_link_is_not_told(
    lab: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    for place in (tmp_path / "elsewhere" / "Dockerfile", lab / "Other"):
        place.write_text(DOCKERFILE)
    (lab / "Dockerfile").unlink()
    (lab / "Dockerfile").symlink_to(target)

    assert await read(lab) is None


async def test_an_ignore_file_behind_a_link_ignores_nothing(lab: Path) -> None:
    (lab / "rules").write_text("file\n")
    (lab / ".dockerignore").symlink_to("rules")
    (lab / "file").write_text("first")
    before = await digest(lab)

    (lab / "file").write_text("second")

    assert await digest(lab) != before


async def test_pipes_and_sockets_are_never_opened(lab: Path) -> None:
    before = await digest(lab)
    os.mkfifo(lab / "pipe")

    with anyio.fail_after(5):
        assert await digest(lab) != before


async def test_a_dockerfile_that_is_a_pipe_is_not_told(lab: Path) -> None:
    (lab / "Dockerfile").unlink()
    os.mkfifo(lab / "Dockerfile")

    with anyio.fail_after(5):
        assert await read(lab) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
async def test_devices_are_told_apart_by_their_numbers(lab: Path) -> None:
    digests = set()
    for number in (3, 5):
        try:
            os.mknod(lab / "device", 0o600 | 0o020000, os.makedev(1, number))
        except PermissionError:
            pytest.skip("this container may not make devices")
        digests.add(await digest(lab))
        (lab / "device").unlink()

    assert len(digests) == 2


async def test_permission_bits_count_and_times_do_not(lab: Path) -> None:
    (lab / "run").write_text("#!/bin/sh")
    (lab / "run").chmod(0o644)
    before = await digest(lab)

    os.utime(lab / "run", (1, 1))
    assert await digest(lab) == before
    (lab / "run").chmod(0o755)
    assert await digest(lab) != before


async def test_empty_folders_and_their_permission_bits_count(lab: Path) -> None:
    before = await digest(lab)
    (lab / "empty").mkdir(mode=0o755)
    other = await digest(lab)
    (lab / "empty").chmod(0o700)

    assert len({before, other, await digest(lab)}) == 3


async def test_an_ignored_folder_counts_with_what_is_taken_back_from_it(lab: Path) -> None:
    (lab / ".dockerignore").write_text("*\n!kept/file\n")
    for name in ("kept", "dropped"):
        (lab / name).mkdir(mode=0o755)
        (lab / name / "file").touch()
    before = await digest(lab)

    (lab / "dropped").chmod(0o700)
    assert await digest(lab) == before
    (lab / "kept").chmod(0o700)
    assert await digest(lab) != before


async def test_hard_links_of_each_other_are_not_two_files(lab: Path) -> None:
    for name in ("one", "two"):
        (lab / name).write_text("same")
    before = await digest(lab)

    (lab / "two").unlink()
    (lab / "two").hardlink_to(lab / "one")

    assert await digest(lab) != before


async def test_extended_attributes_count(lab: Path) -> None:
    (lab / "tool").write_text("#!/bin/sh")
    before = await digest(lab)
    try:
        os.setxattr(lab / "tool", "user.mark", b"1")
    except OSError:
        pytest.skip("this file system has no extended attributes")

    assert await digest(lab) != before


async def test_names_that_are_no_text_count(lab: Path) -> None:
    digests = set()
    for name in (b"\xff", b"\xfe", b"new\nline"):
        path = lab / os.fsdecode(name)
        path.touch()
        digests.add(await digest(lab))
        path.unlink()

    assert len(digests) == 3


async def test_a_link_lets_what_is_kept_apart_count(lab: Path) -> None:
    key = lab / "vpn.ovpn"
    key.write_text("first")
    alone = await digest(lab, key)
    (lab / "link").symlink_to("vpn.ovpn")
    linked = await digest(lab, key)

    key.write_text("second")

    assert await digest(lab, key) != linked
    (lab / "link").unlink()
    assert await digest(lab, key) == alone


async def test_a_folder_too_deep_is_not_told(lab: Path) -> None:
    (lab / "/".join("d" * (MAX_DEPTH + 1))).mkdir(parents=True)

    assert await read(lab) is None


async def test_a_file_that_cannot_be_read_is_not_told(lab: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (lab / "closed").write_text("secret")
    (lab / "closed").chmod(0)

    assert await read(lab) is None


async def test_a_disk_that_refuses_is_a_failure(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("adapters.docker.contexts.os.read", refuse)

    with pytest.raises(StorageFailed, match=r"lab failed \(Input/output error\)"):
        await read(lab)


async def test_a_huge_file_takes_little_memory_and_stops_when_cancelled(lab: Path) -> None:
    with (lab / "huge").open("wb") as file:
        file.truncate(1 << 40)
    before = _open_handles()
    began = time.monotonic()

    with anyio.move_on_after(0.3) as scope:
        await read(lab)

    assert scope.cancelled_caught
    assert time.monotonic() - began < 5
    with anyio.fail_after(5):
        while _open_handles() > before:
            await anyio.sleep(0.01)


def _open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_hostile_pattern_takes_no_longer(lab: Path) -> None:
    (lab / ".dockerignore").write_text("*a" * 120 + "*b\n" + "**/a*" * 40 + "b\n")
    (lab / ("a" * 250)).touch()

    with anyio.fail_after(5):
        assert await read(lab) is not None


async def test_a_lower_case_dockerfile_with_an_ignore_file_of_its_own_ignores_nothing(
    lab: Path,
) -> None:
    (lab / "Dockerfile").rename(lab / "dockerfile")
    (lab / "Dockerfile.dockerignore").write_text("file\n")
    (lab / "file").write_text("first")
    before = await digest(lab)

    (lab / "file").write_text("second")

    assert await digest(lab) != before


TREE = [
    *("a.txt", "b.txt", "c.md", ".env", ".hidden/x", "keys/vpn.ovpn", "vpn.ovpn"),
    *("node_modules/m/i.js", "web/node_modules/m/i.js", "x.pyc", "pkg/y.pyo", "pkg/z.pyd"),
    *("src/main.c", "src/main.h", "src/lib/deep/x.c", "src/lib/deep/y.md", "src/tests/a.c"),
    *("docs/readme.md", "docs/img/a.png", "a", "b/a", "b/c/a", "b/c/d", "w/w/w/w"),
    *("foo", "foobar", "dir/foobar", "dir/foo/bar", "dir/foo/baz", "zfoo", "zfoo.bar/x"),
    *("!odd", "#hash", "ümlaut.txt", "{brace}", "plus+", "d1/x", "d1/y", "d2/x", "Upper", "upper2"),
]

# What the real thing and we must agree on, file by file.
PLAIN = [
    "# comment\n\n   \n! a.txt",
    "*.txt",
    "/a.txt\n",
    "./b.txt",
    "src/",
    "src//lib/../tests",
    "*",
    "**/node_modules",
    "node_modules",
    "**/*.md",
    "**/a",
    "*/*/a",
    "b/**",
    "foo*",
    "f**",
    "d**r",
    "dir/**/ba?",
    "**/*.py[cod]",
    "[a-b].txt\nd?/x",
    "*\n!src",
    "*\n!src/main.c",
    "*\n!src\nsrc/tests",
    "*\n!*.md",
    "**\n!**/*.c",
    "src\n!src/lib/deep",
    "*.txt\n!a.txt\n",
    "!a.txt\n*.txt",
    "  a.txt  \n\tb.txt\t",
    "*\n! /src/main.c ",
    "a.txt\r\nb.txt\r\n",
    "\ufeffa.txt",
    "../a.txt\n..\n.\n/",
    "{brace}\nplus+\nUPPER*",
    "./!a.txt",
    "ümlaut.txt",
    "w/w\n!w/w/w/w",
    "**/w/w",
    "**/**/a",
    "Dockerfile\n.dockerignore",
]

# Where we may count more than is sent, never less.
ODD = [
    "**foo",
    r"\!odd",
    r"a\.txt",
    "[^a].txt",
    "d*\n!d1/x\nd1",
    "d*\n!d1/x\nd1/x",
    "*\n!src\nsrc/lib\n!src/lib/deep/x.c",
    "b\n!b/c\nb/c\n!b/c/a",
    "!foo\nfoo*\n!foobar\nf*",
    "***",
    "**/",
    "a**",
    "b**a",
    "\u00a0a.txt",
    "*\n\u00a0!a.txt",
    "/ !a.txt",
    "*\n/ !a.txt",
    "*\n!!odd",
]


@pytest.mark.engine
@pytest.mark.parametrize("rules", PLAIN)
async def test_what_is_ignored_is_what_buildkit_ignores(
    host: engine.Host, lab: Path, tmp_path: Path, rules: str
) -> None:
    sent, counted = await compared(lab, tmp_path / "out", rules)

    assert counted == sent


@pytest.mark.engine
@pytest.mark.parametrize("rules", ODD)
async def test_nothing_is_ignored_that_buildkit_sends(
    host: engine.Host, lab: Path, tmp_path: Path, rules: str
) -> None:
    sent, counted = await compared(lab, tmp_path / "out", rules)

    assert counted >= sent


async def compared(lab: Path, out: Path, rules: str) -> tuple[set[str], set[str]]:
    """What a build gets, and what we count."""
    for name in TREE:
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        (lab / name).write_text(name)
    (lab / ".dockerignore").write_bytes(rules.encode())
    context = await read(lab, *(lab / name for name in TREE))
    assert context is not None
    counted = {str(Path(path).relative_to(lab)) for path in context.holds}
    files = await anyio.to_thread.run_sync(_sent, lab, out)  # noqa: TID251
    return files - {"Dockerfile", ".dockerignore"}, counted


def _sent(lab: Path, out: Path) -> set[str]:
    subprocess.run(
        ["docker", "build", "-q", "--output", f"type=local,dest={out}", str(lab)],
        capture_output=True,
        check=True,
        timeout=60,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
    )
    return {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}


GLOBS = st.lists(
    st.sampled_from(["*", "**", "**/", "?", "a", "b", "/", ".", "[ab]", "a/b"]), min_size=1
).map("".join)
PATHS = st.lists(st.sampled_from("aab./"), min_size=1, max_size=12).map("".join)


@given(GLOBS, PATHS)
async def test_a_pattern_matches_as_the_expression_that_it_stands_for(
    pattern: str, path: str
) -> None:
    meant = {"*": "[^/]*", "?": "[^/]", ".": r"\.", "[ab]": "[ab]"}
    signs = re.findall(r"\*\*/?|\[ab\]|.", pattern)
    expression = "".join(
        (".*" if at == len(signs) else "(.*/)?") if sign[:2] == "**" else meant.get(sign, sign)
        for at, sign in enumerate(signs, start=1)
    )

    matches = _Glob(pattern, loose=False).matches(path)

    assert matches == bool(re.fullmatch(expression, path))
    # What takes back matches at least as much.
    assert matches <= _Glob(pattern, loose=True).matches(path)
