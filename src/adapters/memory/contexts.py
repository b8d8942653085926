"""Build contexts that are dictionaries of files."""

import posixpath
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from hashlib import sha256

import anyio.lowlevel

from adapters.memory.archives import Files
from adapters.memory.workspaces import MemoryWorkspaces
from domain.names import EnvironmentName, OperationId
from domain.ports.contexts import BuildContext

_MAX_DOCKERFILE_BYTES = 1 << 20


class MemoryContexts:
    """Twin of ``DiskContexts``; its files have no kinds and no permission bits."""

    def __init__(self, workspaces: MemoryWorkspaces) -> None:
        self._workspaces = workspaces

    async def read(
        self,
        directory: str,
        *,
        dockerfile: str | None,
        inline: str | None = None,
        apart: Collection[str] = (),
        within: str,
    ) -> BuildContext | None:
        """What a build of the folder ``directory`` reads."""
        await anyio.lowlevel.checkpoint()
        fence = _clean(within)
        context = {p: d for p, d in self._files(_clean(directory), fence).items() if p}
        text, ignore = b"", context.get(".dockerignore", b"")
        if inline is None:
            place = self._definition(directory, dockerfile, fence)
            if place is None:
                return None
            text, beside = place
            ignore = ignore if beside is None else beside
        if not context or len(text) > _MAX_DOCKERFILE_BYTES:
            return None
        return _told(
            context,
            text=text,
            ignore=ignore,
            inline=inline,
            apart={path: path.removeprefix(f"{_clean(directory)}/") for path in apart},
        )

    async def dockerfile(
        self, directory: str, *, dockerfile: str | None, within: str
    ) -> str | None:
        """The text of the Dockerfile that ``read`` would find."""
        await anyio.lowlevel.checkpoint()
        place = self._definition(directory, dockerfile, _clean(within))
        if place is None or len(place[0]) > _MAX_DOCKERFILE_BYTES:
            return None
        return place[0].decode("utf-8", "replace")

    def _definition(
        self, directory: str, dockerfile: str | None, fence: str
    ) -> tuple[bytes, bytes | None] | None:
        """The Dockerfile, and its own ignore file if there is one."""
        own = _clean(posixpath.join(directory, "Dockerfile" if dockerfile is None else dockerfile))
        beside_it = self._files(posixpath.dirname(own), fence)
        stands_in = dockerfile in {None, "Dockerfile"}
        return _dockerfile(posixpath.basename(own), beside_it, stands_in=stands_in)

    def _files(self, folder: str, fence: str) -> Mapping[str, bytes]:
        """What lies in a folder, by the path from there; nothing where it is fenced off."""
        place, key, *parts = [*folder[1:].split("/"), ""]
        parts = parts[:-1]
        if folder != fence and not folder.startswith(f"{fence}/"):
            return {}
        files: Files = {}
        if place == "standing":
            files = self._workspaces.standing.get(EnvironmentName(key), {})
        elif place == "staged":
            files = self._workspaces.staged.get(OperationId(key), {})
        deep = len(parts)
        return {"/".join(p[deep:]): d for p, d in files.items() if list(p[:deep]) == parts}


def _clean(path: str) -> str:
    return posixpath.normpath(path)


def _dockerfile(
    name: str, beside: Mapping[str, bytes], *, stands_in: bool
) -> tuple[bytes, bytes | None] | None:
    """A Dockerfile, and its own ignore file if there is one."""
    text = beside.get(name, beside.get("dockerfile") if stands_in else None)
    return None if text is None else (text, beside.get(f"{name}.dockerignore"))


def _told(
    context: Mapping[str, bytes],
    *,
    text: bytes,
    ignore: bytes,
    inline: str | None,
    apart: Mapping[str, str],
) -> BuildContext:
    """``apart`` gives each path that was asked for as it is named in the context."""
    patterns = _patterns(ignore)
    sent = {path: data for path, data in context.items() if not _ignored(path, patterns)}
    digest = sha256()
    counted = {p: b"" if p in apart.values() else d for p, d in sent.items()}
    for part in (text, ignore, *(x for p in sorted(counted) for x in (p.encode(), counted[p]))):
        digest.update(len(part).to_bytes(8, "big") + part)
    return BuildContext(
        dockerfile=text.decode("utf-8", "replace") if inline is None else inline,
        digest=digest.hexdigest(),
        holds=frozenset(path for path, relative in apart.items() if relative in sent),
    )


def _patterns(ignore: bytes) -> list[tuple[bool, list[str]]]:
    """Patterns in order: whether they take back what was ignored, and their parts."""
    found = []
    for line in ignore.decode("utf-8", "replace").splitlines():
        pattern = line.strip()
        if pattern and not line.startswith("#"):
            path = posixpath.normpath(pattern.removeprefix("!").strip()).strip("/")
            found.append((pattern.startswith("!"), path.split("/")))
    return found


def _ignored(path: str, patterns: list[tuple[bool, list[str]]]) -> bool:
    """Whether the last pattern that matches a path, or a folder that it lies in, ignores it."""
    ignored = False
    for takes_back, pattern in patterns:
        if _matches(path.split("/"), pattern):
            ignored = not takes_back
    return ignored


def _matches(path: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches(path[n:], pattern[1:]) for n in range(len(path)))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
