"""What every reader of build contexts does: the disk, and its in-memory twin."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from adapters.docker.contexts import DiskContexts
from adapters.memory.contexts import MemoryContexts
from adapters.memory.workspaces import MemoryWorkspaces
from domain.bundles import BundleLimits
from domain.names import EnvironmentName
from domain.ports.contexts import BuildContext, BuildContexts

pytestmark = pytest.mark.anyio

DOCKERFILE = "FROM busybox\nCOPY . /app\n"
LAB = {"Dockerfile": DOCKERFILE, "app.py": "print()", "src/main.c": "int main;"}
LIMITS = BundleLimits(max_bytes=1, max_unpacked_bytes=1, max_entries=1, max_ratio=1)


class World:
    """Folders of labs, and their reader."""

    def __init__(self, contexts: BuildContexts, root: str) -> None:
        self.contexts = contexts
        self.root = root

    def put(self, lab: str, files: Mapping[str, str | bytes]) -> None:
        """Makes a lab's folder of these files alone."""
        raise NotImplementedError

    async def read(
        self,
        lab: str = "lab",
        folder: str = "",
        *,
        dockerfile: str | None = None,
        inline: str | None = None,
        apart: Collection[str] = (),
        within: str | None = None,
    ) -> BuildContext | None:
        """Reads a lab's folder, or one in it; paths of ``apart`` are named from the lab's."""
        home = f"{self.root}/{lab}"
        return await self.contexts.read(
            f"{home}/{folder}" if folder else home,
            dockerfile=dockerfile,
            inline=inline,
            apart=[f"{home}/{path}" for path in apart],
            within=home if within is None else within,
        )

    async def told(self, files: Mapping[str, str | bytes], **asked: object) -> BuildContext:
        """What a lab of these files is told to be."""
        self.put("lab", files)
        context = await self.read(**asked)  # type: ignore[arg-type]
        assert context is not None
        return context

    async def digest(self, files: Mapping[str, str | bytes], **asked: object) -> str:
        """Its digest."""
        return (await self.told(files, **asked)).digest

    async def holds(self, files: Mapping[str, str | bytes], *apart: str) -> set[str]:
        """Which of some paths it holds."""
        context = await self.told(files, apart=apart)
        return {path.removeprefix(f"{self.root}/lab/") for path in context.holds}


class DiskWorld(World):
    def __init__(self, folder: Path) -> None:
        super().__init__(DiskContexts(), str(folder))

    def put(self, lab: str, files: Mapping[str, str | bytes]) -> None:
        home = Path(self.root, lab)
        for path in sorted(home.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for name, content in files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(_bytes(content))


class MemoryWorld(World):
    def __init__(self) -> None:
        self.workspaces = MemoryWorkspaces(LIMITS)
        super().__init__(MemoryContexts(self.workspaces), "/standing")

    def put(self, lab: str, files: Mapping[str, str | bytes]) -> None:
        self.workspaces.standing[EnvironmentName(lab)] = {
            tuple(name.split("/")): _bytes(content) for name, content in files.items()
        }


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


@pytest.fixture(params=["disk", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return DiskWorld(tmp_path) if request.param == "disk" else MemoryWorld()


async def test_the_same_files_have_the_same_digest_in_another_folder(world: World) -> None:
    world.put("one", LAB)
    world.put("two", LAB)

    one, two = await world.read("one"), await world.read("two")

    assert one is not None
    assert one == two
    assert len(one.digest) == 64
    assert one.dockerfile == DOCKERFILE


@pytest.mark.parametrize(
    "other",
    [
        LAB | {"app.py": "print(1)"},
        LAB | {"new": ""},
        LAB | {"Dockerfile": f"{DOCKERFILE}\n"},
        {"Dockerfile": DOCKERFILE, "app.py": "int main;", "src/main.c": "print()"},
        {"Dockerfile": DOCKERFILE, "app.py": "print()", "src": "main.cint main;"},
        {"Dockerfile": DOCKERFILE, "app.py": "print()", "main.c": "int main;"},
    ],
    ids=["content", "one more", "Dockerfile", "swapped", "run together", "moved"],
)
async def test_any_other_file_makes_another_digest(world: World, other: dict[str, str]) -> None:
    assert await world.digest(LAB) != await world.digest(other)


async def test_ignored_files_do_not_count(world: World) -> None:
    lab = LAB | {".dockerignore": "# logs\n\n/logs\n*.tmp \n"}

    assert await world.digest(lab) == await world.digest(
        lab | {"logs/a/b": "1", "x.tmp": "2"}
    )  # fmt: skip
    assert await world.digest(lab) != await world.digest(lab | {"src/x.tmp": "2"})


async def test_what_is_taken_back_counts(world: World) -> None:
    lab = LAB | {".dockerignore": "*\n!src/main.c\n"}

    assert await world.digest(lab) == await world.digest(lab | {"app.py": "other"})
    assert await world.digest(lab) != await world.digest(lab | {"src/main.c": "other"})


async def test_the_dockerfile_counts_even_where_it_is_ignored(world: World) -> None:
    lab = LAB | {".dockerignore": "*\n"}

    assert await world.digest(lab) != await world.digest(lab | {"Dockerfile": "FROM scratch"})


async def test_the_ignore_file_beside_the_dockerfile_wins(world: World) -> None:
    lab = LAB | {".dockerignore": "src\n", "Dockerfile.dockerignore": "app.py\n"}

    assert await world.digest(lab) == await world.digest(lab | {"app.py": "other"})
    assert await world.digest(lab) != await world.digest(lab | {"src/main.c": "other"})


async def test_inline_text_stands_for_the_dockerfile(world: World) -> None:
    files = {"app.py": "print()", ".dockerignore": "x\n", "Dockerfile.dockerignore": "app.py\n"}

    context = await world.told(files, inline="FROM scratch")
    other = await world.told(files | {"x": "ignored"}, inline="FROM scratch")
    third = await world.told(files | {"app.py": "not ignored"}, inline="FROM scratch")

    assert context.dockerfile == "FROM scratch"
    assert context == other
    assert context.digest != third.digest


async def test_nothing_is_told_without_a_dockerfile(world: World) -> None:
    world.put("lab", {"app.py": "print()"})

    assert await world.read() is None
    assert await world.read(dockerfile="Other") is None


async def test_a_lower_case_dockerfile_stands_in(world: World) -> None:
    files = {"dockerfile": "FROM scratch", "deep/dockerfile": "FROM scratch"}

    assert (await world.told(files)).dockerfile == "FROM scratch"
    assert (await world.told(files, dockerfile="Dockerfile")).dockerfile == "FROM scratch"
    assert await world.read(dockerfile="deep/Dockerfile") is None
    assert (await world.told(files | LAB)).dockerfile == DOCKERFILE


async def test_the_dockerfile_may_lie_beside_the_context(world: World) -> None:
    files = LAB | {"docker/Web": "FROM scratch", "docker/Web.dockerignore": "main.c"}

    for name in ("../docker/Web", f"{world.root}/lab/docker/Web"):
        context = await world.told(files, folder="src", dockerfile=name)
        other = await world.told(files | {"src/main.c": "x"}, folder="src", dockerfile=name)
        assert context.dockerfile == "FROM scratch"
        assert context == other


async def test_nothing_outside_is_read(world: World) -> None:
    world.put("lab", LAB)
    world.put("other", LAB)
    home = f"{world.root}/lab"

    assert await world.read("other", within=home) is None
    assert await world.read(folder="../other") is None
    assert await world.read(dockerfile="../other/Dockerfile") is None
    assert await world.read(dockerfile=f"{world.root}/other/Dockerfile") is None
    assert await world.read(folder="src/..") is not None


async def test_a_folder_whose_name_only_begins_alike_lies_outside(world: World) -> None:
    world.put("lab", LAB | {"x/Dockerfile": "FROM scratch", "ab/vpn.ovpn": "key"})
    world.put("lab-x", LAB)
    home = f"{world.root}/lab"

    assert await world.read("lab-x", within=home) is None
    assert await world.read(dockerfile="../lab-x/Dockerfile") is None
    context = await world.read(apart=["../lab-ab/vpn.ovpn"])
    assert context is not None
    assert context.holds == frozenset()


async def test_a_context_that_is_no_folder_is_not_told(world: World) -> None:
    world.put("lab", LAB)

    assert await world.read(folder="missing") is None
    assert await world.read(folder="app.py") is None
    assert await world.read("missing") is None


async def test_what_is_kept_apart_is_found_and_does_not_count(world: World) -> None:
    world.put("one", LAB | {"vpn.ovpn": "first key"})
    world.put("two", LAB | {"vpn.ovpn": "second"})

    one = await world.read("one", apart=["vpn.ovpn", "missing", "../two/vpn.ovpn"])
    two = await world.read("two", apart=["vpn.ovpn"])
    counted = await world.read("two")

    assert one is not None
    assert two is not None
    assert counted is not None
    assert one.digest == two.digest != counted.digest
    assert one.holds == {f"{world.root}/one/vpn.ovpn"}


async def test_what_is_kept_apart_and_ignored_is_not_held(world: World) -> None:
    lab = LAB | {"vpn.ovpn": "key", "keys/vpn.ovpn": "key"}

    assert await world.holds(lab, "vpn.ovpn", "keys/vpn.ovpn") == {"vpn.ovpn", "keys/vpn.ovpn"}
    ignoring = lab | {".dockerignore": "vpn.ovpn\n"}
    assert await world.holds(ignoring, "vpn.ovpn", "keys/vpn.ovpn") == {"keys/vpn.ovpn"}
    assert await world.holds(lab | {".dockerignore": "**/*.ovpn"}, "vpn.ovpn") == set()
    assert await world.holds(lab | {".dockerignore": "*\n!keys"}, "vpn.ovpn") == set()


async def test_what_is_kept_apart_beside_the_context_is_not_held(world: World) -> None:
    lab = LAB | {"vpn.ovpn": "key"}

    context = await world.told(lab, folder="src", dockerfile="../Dockerfile", apart=["vpn.ovpn"])

    assert context.holds == frozenset()


async def test_a_dockerfile_is_decoded_whatever_it_holds(world: World) -> None:
    first = await world.told({"Dockerfile": b"FROM a # \xff"})
    second = await world.told({"Dockerfile": b"FROM a # \xfe"})

    assert first.dockerfile == second.dockerfile == "FROM a # \ufffd"
    assert first.digest != second.digest


async def test_a_huge_dockerfile_is_not_told(world: World) -> None:
    world.put("lab", {"Dockerfile": b"#" * (1 << 20) + b"\n"})

    assert await world.read() is None
