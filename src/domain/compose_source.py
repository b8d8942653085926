"""Judges Compose files as they are written, before Compose reads them.

Resolving a model makes Compose open files, and newer releases fetch them from elsewhere. Whatever
it would open must be a file of the bundle, named plainly; bundles hold no links.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from domain.findings import Finding

_PLAIN_PATH = re.compile(r"[^\x00-\x1f\x7f\\$:~`\"'|<>*?]{1,1024}")
_DOTENV_KEY = re.compile(r"^[ \t]*(?:export[ \t]+)?[\"']?([A-Za-z_][A-Za-z0-9_.]*)[\"']?[ \t]*[=:]")
_STEERING = re.compile(r"(?:COMPOSE|DOCKER|BUILDKIT|BUILDX|GIT|SSH)_\w+", re.IGNORECASE)
_HARMLESS = {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"}
_READ_BY_COMPOSE = ("env_file", "label_file")
_SHOWN_LENGTH = 120


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one Compose file makes Compose open."""

    findings: tuple[Finding, ...] = ()
    files: tuple[str, ...] = ()
    """Further Compose files, as they are named there."""
    folders: tuple[str, ...] = ()
    """Folders against which paths in further files are resolved."""
    variables: tuple[str, ...] = ()
    """Files of variables and labels, as they are named there."""


class _Seen:
    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.files: list[str] = []
        self.folders: list[str] = []
        self.variables: list[str] = []

    def path(self, value: Any, where: str) -> str | None:
        """A path that Compose opens, if it is a plain one."""
        if value is None:
            return None
        if not isinstance(value, str) or not _within(value):
            self.findings.append(
                Finding(
                    where=f"{self.file}: {where}",
                    what=_shown(value),
                    why="Compose would open it, and it is not surely a file of the bundle.",
                    instead="Put the file into the bundle and name it by a relative path, without "
                    "'..' and variables.",
                )
            )
            return None
        return value


def look(document: Any, *, file: str) -> Look:
    """What is to be said of one document of a Compose file.

    Args:
        document: as a plain tree.
        file: its name, which findings begin with.
    """
    seen = _Seen(file)
    if isinstance(document, Mapping):
        _look_at_includes(document.get("include"), seen)
        services = document.get("services")
        for name, body in services.items() if isinstance(services, Mapping) else ():
            if isinstance(body, Mapping):
                _look_at_service(f"services.{name}", body, seen)
    return Look(
        findings=tuple(seen.findings),
        files=tuple(seen.files),
        folders=tuple(seen.folders),
        variables=tuple(seen.variables),
    )


def _look_at_includes(include: Any, seen: _Seen) -> None:
    for where, entry in _entries(include, "include"):
        long = entry if isinstance(entry, Mapping) else {}
        paths = _entries(long.get("path"), f"{where}.path") if long else [(where, entry)]
        for place, path in paths:
            if found := seen.path(path, place):
                seen.files.append(found)
                seen.folders.append(found.rpartition("/")[0])
        if folder := seen.path(long.get("project_directory"), f"{where}.project_directory"):
            seen.folders.append(folder)
        for place, path in _entries(long.get("env_file"), f"{where}.env_file"):
            _note_variables(path, place, seen)


def _look_at_service(where: str, body: Mapping[str, Any], seen: _Seen) -> None:
    extends = body.get("extends")
    file = extends.get("file") if isinstance(extends, Mapping) else None
    if found := seen.path(file, f"{where}.extends.file"):
        seen.files.append(found)
        seen.folders.append(found.rpartition("/")[0])
    for key in _READ_BY_COMPOSE:
        for place, entry in _entries(body.get(key), f"{where}.{key}"):
            path = entry.get("path") if isinstance(entry, Mapping) else entry
            _note_variables(path, place, seen)
    if body.get("provider") is not None:
        seen.findings.append(
            Finding(
                where=f"{seen.file}: {where}.provider",
                what=_shown(body["provider"]),
                why="It would run a program on the host.",
                instead="Take it away.",
            )
        )


def _note_variables(path: Any, where: str, seen: _Seen) -> None:
    if found := seen.path(path, where):
        seen.variables.append(found)


def _entries(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The entries of a list, or one alone."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield f"{where}[{index}]", entry
    elif value is not None:
        yield where, value


def _within(path: str) -> bool:
    """Whether a path surely leads into the bundle, whatever folder of it it starts from."""
    return (
        _PLAIN_PATH.fullmatch(path) is not None
        and not path.startswith(("/", "-"))
        and path == path.strip()
        and ".." not in path.split("/")
        and "//" not in path
        and not path.startswith("git@")
    )


def look_at_dotenv(text: bytes, *, file: str) -> tuple[Finding, ...]:
    """What a ``.env`` sets that would steer Compose instead of filling in the Compose file.

    The agent names files, profiles' services and the project itself, so that the two variables of
    that kind which labs have for use by hand change nothing of what is judged.
    """
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return (
            Finding(
                where=file,
                what="bytes that are no text",
                why="It is not written in UTF-8.",
                instead="Save it as UTF-8.",
            ),
        )
    keys = [(number, found[1]) for number, line in enumerate(lines, 1) if (found := _key(line))]
    return tuple(
        Finding(
            where=f"{file}:{number}",
            what=key,
            why="Variables of this kind steer Compose and Docker themselves.",
            instead="Give the variable another name.",
        )
        for number, key in keys
        if _STEERING.fullmatch(key) and key not in _HARMLESS
    )


def _key(line: str) -> re.Match[str] | None:
    return _DOTENV_KEY.match(line)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    inert = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return inert if len(inert) <= _SHOWN_LENGTH else f"{inert[:_SHOWN_LENGTH]}…"
