"""Checks of the values that matter: paths, capabilities, devices, labels, images."""

import re
from collections.abc import Iterator
from typing import Any

from domain.compose_policy.checks import Check, Scope, shown, text
from domain.errors import RequestUnreadable
from domain.findings import Finding
from domain.image_names import is_identifier, is_ours
from domain.quantities import byte_size

_OWN_LABELS = ("container-host-agent",)
_RESERVED_LABELS = ("com.docker.", "io.docker.", "org.dockerproject.")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_SYSCTL = re.compile(
    r"net\.[a-z0-9_.\-/]+|kernel\.(?:msg(?:max|mnb|mni)|sem|shm(?:all|max|mni|_rmid_forced))|fs\.mqueue\.[a-z_]+"
)
_TMPFS_OPTION = re.compile(
    r"(?:mode|uid|gid|nr_inodes)=\w+|rw|ro|exec|noexec|nosuid|nodev|noatime|relatime"
)


def normal_path(path: str) -> str | None:
    """An absolute path without ``.``, ``..`` and doubled slashes; None where it is not absolute."""
    if not path.startswith("/") or "\0" in path:
        return None
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts)


def lies_in(path: str, folder: str) -> bool:
    """Whether a normal path is a folder or lies below it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def in_bundle(path: str, scope: Scope) -> bool:
    """Whether a normal path is a part of the bundle."""
    return bool(scope.folder) and lies_in(path, scope.folder)


def inside(what: str, *, roots: bool = False) -> Check:
    """Allows paths inside of the bundle and, where ``roots``, of the operator's folders."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
        path = normal_path(value) if isinstance(value, str) else None
        allowed = scope.rules.bind_roots if roots else ()
        if path is None or path != value.rstrip("/"):
            found = False
        else:
            found = in_bundle(path, scope) or any(lies_in(path, root) for root in allowed)
        if not found:
            yield _outside(what, value, where, scope)

    return check


def _outside(what: str, value: Any, where: str, scope: Scope) -> Finding:
    if not scope.folder:
        roots = ", ".join(scope.rules.bind_roots) or "none"
        return Finding(
            where=where,
            what=shown(value),
            why=f"{what} of any other folder would reach into the host.",
            instead=f"Mount a volume; folders that may be mounted (ALLOWED_BIND_ROOTS): {roots}.",
        )
    return Finding(
        where=where,
        # Nobody is told where on the host bundles lie.
        what=shown(value).replace(scope.folder, "."),
        why=f"{what} outside of the bundle would reach into the host.",
        instead="Put it into the bundle and name it by a relative path.",
    )


def within_container(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows absolute paths of a container, but for those that the kernel speaks through."""
    path = normal_path(value) if isinstance(value, str) else None
    if path is None or path == "/":
        yield Finding(
            where=where,
            what=shown(value),
            why="A place in the container is an absolute path below its root.",
            instead="Write it as /folder/name.",
        )
    elif any(lies_in(path, kernel) for kernel in ("/proc", "/sys")):
        yield Finding(
            where=where,
            what=shown(value),
            why="What lies over /proc or /sys takes their protection away.",
            instead="Take another place in the container.",
        )


def working_folder(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows folders that a process may begin in: any but those of processes themselves."""
    yield from text()(value, where, scope)
    if isinstance(value, str) and lies_in(normal_path(value) or "", "/proc"):
        # Runtimes have let go of folders of the host only after they had entered this one.
        yield Finding(
            where=where,
            what=shown(value),
            why="What lies there is made of processes' own open files, perhaps of the host's.",
            instead="Name a folder of the container's own files.",
        )


def capability(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows the capabilities of this host's list."""
    if capability_name(value) not in scope.rules.capabilities:
        yield Finding(
            where=where,
            what=shown(value),
            why="Containers of this host may not have this capability, which reaches beyond them.",
            instead=f"Do without; allowed are {', '.join(sorted(scope.rules.capabilities))}.",
        )


def capability_name(value: object) -> str:
    """A capability's name as the table has it: upper case, without ``CAP_``."""
    return str(value).upper().removeprefix("CAP_")


def device(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows the devices of this host's list, in the long form or the short one."""
    if isinstance(value, dict) and set(value) <= {"source", "target", "permissions"}:
        source, rights = value.get("source"), value.get("permissions", "rwm")
    else:
        source, _, rest = str(value).partition(":")
        rights = rest.rpartition(":")[2] if rest and not rest.startswith("/dev") else "rwm"
        rights = rights if re.fullmatch(r"[rwm]{0,3}", rights) else "rwm"
    if source not in scope.rules.devices or not re.fullmatch(r"[rwm]{0,3}", str(rights)):
        yield Finding(
            where=where,
            what=shown(source if isinstance(source, str) else value),
            why="A device of the host in a container gives it power over the host.",
            instead=f"Do without; allowed are {', '.join(sorted(scope.rules.devices)) or 'none'}.",
        )


def label_name(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows labels but those by which Docker, Compose and the agent know what is theirs."""
    name = str(value).strip().lower()
    if name.startswith((*_OWN_LABELS, *_RESERVED_LABELS)):
        yield Finding(
            where=where,
            what=shown(value),
            why="By labels of this kind Docker, Compose and the agent know what is theirs.",
            instead="Give the label another name.",
        )
    elif not name or not name.isprintable() or any(c.isspace() or c == "=" for c in str(value)):
        yield Finding(
            where=where,
            what=shown(value),
            why="Labels of such a name can be neither told apart nor asked for.",
            instead="Name it in visible characters without spaces and '='.",
        )


def health_test(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows what Docker can run as a test: a command line, or one of its own lists."""
    if value is None or isinstance(value, str) or value == []:
        return
    match value:
        case ["NONE"] | ["CMD" | "CMD-SHELL", _, *_]:
            return
    yield Finding(
        where=where,
        what=shown(value),
        why="Docker knows no such test, and would not run it.",
        instead='Write a command line, or ["CMD", …], ["CMD-SHELL", …] or ["NONE"].',
    )


def image(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows images of registries that this host takes images from, but not the agent's own."""
    if value is None or value == "":
        return
    if not isinstance(value, str) or is_ours(value):
        yield Finding(
            where=where,
            what=shown(value),
            why="Images of this name are built by the agent for single environments.",
            instead="Name the image that it was built from, or build it.",
        )
    elif is_identifier(value):
        yield Finding(
            where=where,
            what=shown(value),
            why="By its identifier any image of the host could be named, also other labs' own.",
            instead="Give the image by its name.",
        )
    elif reason := scope.rules.registries.why_not(value):
        yield Finding(
            where=where,
            what=shown(value),
            why=reason,
            instead="Take the image from a public registry, or ask the operator for "
            "ALLOWED_REGISTRIES.",
        )


def own_image(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Refuses the names of images that the agent builds."""
    if isinstance(value, str) and is_ours(value):
        yield from image(value, where, scope)


def duration(least: float, most: float) -> Check:
    """Allows durations such as ``1m30s`` from so many seconds to so many."""

    def check(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
        if value is None:
            return
        seconds = sum(
            float(amount) * _UNIT_SECONDS[unit]
            for amount, unit in _DURATION_PART.findall(str(value))
        )
        plain = str(value) == "0" or _DURATION.fullmatch(str(value))
        if not plain or not (seconds == 0 or least <= seconds <= most):
            yield Finding(
                where=where,
                what=shown(value),
                why=f"It may take from {least:g} to {most:g} seconds.",
            )

    return check


def memory(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows sizes up to what a container may have."""
    if value is None:
        return
    try:
        size = byte_size(str(value))
    except RequestUnreadable:
        size = -1
    if not 0 <= size <= scope.rules.most_memory_bytes:
        yield Finding(
            where=where,
            what=shown(value),
            why=f"It may be up to {scope.rules.most_memory_bytes} bytes.",
        )


def tmpfs(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows ``/path`` and ``/path:options`` with options that only make it smaller or safer."""
    path, _, options = str(value).partition(":")
    yield from within_container(path, where, scope)
    for option in filter(None, options.split(",")):
        name, _, size = option.partition("=")
        if name == "size":
            yield from memory(size, where, scope)
        elif not _TMPFS_OPTION.fullmatch(option):
            yield Finding(
                where=where,
                what=shown(option),
                why="Of the options for mounts, this one is not known to be safe.",
                instead="Take it away; size, mode, uid and gid may be set.",
            )


def sysctl(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows the names of kernel parameters that each container has for itself."""
    if not _SYSCTL.fullmatch(str(value)):
        yield Finding(
            where=where,
            what=shown(value),
            why="This kernel parameter is the whole host's.",
            instead="Do without; net.*, fs.mqueue.* and those of System V IPC may be set.",
        )


def service_reference(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows ``NAME`` and ``NAME:more`` with a service of the bundle."""
    if str(value).partition(":")[0] not in scope.services:
        yield Finding(
            where=where,
            what=shown(value),
            why="It names a container that is not of this bundle.",
            instead="Name a service of the same Compose file.",
        )


def service_name(value: Any, where: str, scope: Scope) -> Iterator[Finding]:  # noqa: ARG001
    """Allows names of services that cannot be taken for an environment's."""
    if len(str(value)) > 63 or _UUID.search(str(value)):
        yield Finding(
            where=where,
            what=shown(value),
            why="Containers bear this name, and the manager would take them for another "
            "environment's.",
            instead="Give the service a short name, such as web.",
        )


def host_folder(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Refuses the folders that the agent keeps its records in."""
    path = normal_path(value) if isinstance(value, str) else None
    if path is not None and any(lies_in(path, own) for own in scope.rules.own_folders):
        yield Finding(
            where=where,
            what=shown(value),
            why="The agent keeps its records there.",
            instead="Mount another folder.",
        )


def file_target(value: Any, where: str, scope: Scope) -> Iterator[Finding]:
    """Allows names for files in the usual folder, and absolute paths as ``within_container``."""
    name = isinstance(value, str) and "/" not in value and value not in {"", ".", ".."}
    if value is not None and not name:
        yield from within_container(value, where, scope)
