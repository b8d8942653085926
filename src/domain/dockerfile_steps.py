"""Judges single instructions of Dockerfiles."""

import re
from collections.abc import Iterator

from domain.dockerfile import mount
from domain.dockerfile_instructions import Doubt, Instruction
from domain.dockerfile_sources import Refusal, refused_sources
from domain.errors import RequestUnreadable
from domain.quantities import byte_size

SHORTEST_INTERVAL_SECONDS = 0.5
"""How often a container's health may be tested; each test costs the Engine a process."""

MOST_TMPFS_BYTES = 1024 * 1024 * 1024
"""How much memory a mount of one step may hold."""

HARMLESS_ARGUMENTS = frozenset(
    {
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
        "BUILDKIT_DOCKERFILE_CHECK",
        "BUILDKIT_INLINE_CACHE",
        "BUILDKIT_MULTI_PLATFORM",
        "BUILDKIT_SANDBOX_HOSTNAME",
        "BUILDKIT_SBOM_SCAN_CONTEXT",
        "BUILDKIT_SBOM_SCAN_STAGE",
    }
)
"""Arguments of the builder's own that change nothing outside of the build."""

_ARGUMENT = re.compile(r"(?:^|\s)[\"']*([A-Za-z0-9_]+)[\"']*(?:=[\"']*([^\s\"']*))?")
_EPOCH = re.compile(r"[0-9]{0,15}")
_MOUNT_KEYS = {
    "type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite",
    "rw", "required", "size", "id", "sharing", "mode", "uid", "gid", "env",
}  # fmt: skip
_RIGHTS = (
    ("network", {"default", "none"}, "a network other than that of builds"),
    ("security", {"sandbox"}, "rights on the host"),
    ("device", frozenset[str](), "devices of the host"),
)
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|ms|s|m|h)")
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def refused_in(step: Instruction, *, unchecked: bool) -> Iterator[Refusal]:
    """What an instruction may not ask for, but for the images that it names.

    Args:
        step: the instruction.
        unchecked: whether ``ADD`` may fetch what it knows no checksum of.
    """
    match step.name:
        case "run":
            yield from _rights(step)
            for value in step.values("mount"):
                yield from _refused_mount(value)
        case "add" | "copy":
            yield from refused_sources(step, unchecked=unchecked)
        case "healthcheck":
            yield from _tests(step)
        case "arg":
            for name, value in _ARGUMENT.findall(step.rest):
                yield from refused_argument(name, value)


def refused_argument(name: str, value: str) -> Iterator[Refusal]:
    """What a build argument may not be."""
    upper = name.upper()
    steers = upper.startswith("BUILDKIT_") and name not in HARMLESS_ARGUMENTS
    if steers or (upper == "SOURCE_DATE_EPOCH" and not _EPOCH.fullmatch(value)):
        yield Refusal(
            f"{name}={value}" if value else name,
            "Arguments of this name steer the builder itself.",
            "Give the argument another name." if steers else "Write it as seconds since 1970.",
        )


def _rights(step: Instruction) -> Iterator[Refusal]:
    for flag, allowed, what in _RIGHTS:
        for value in step.values(flag):
            if value not in allowed:
                yield Refusal(f"--{flag}={value}", f"The step would have {what}.", "Take it away.")


def _refused_mount(value: str) -> Iterator[Refusal]:
    try:
        settings = mount(value)
    except Doubt as doubt:
        yield Refusal(f"--mount={value}", doubt.why, "Write each setting once, without quotes.")
        return
    kind = settings.get("type", "bind").lower()
    unknown = sorted(settings.keys() - _MOUNT_KEYS)
    if kind == "ssh":
        yield Refusal(f"--mount={value}", "A build has no keys of this host's.", "Take it away.")
    elif kind not in {"bind", "cache", "tmpfs", "secret"} or unknown:
        yield Refusal(
            f"--mount={value}",
            "It is no mount that is known here.",
            "Use type=bind, cache, tmpfs or secret, and settings that these have.",
        )
    elif kind == "tmpfs" and not _is_bounded(settings.get("size", "")):
        yield Refusal(
            f"--mount={value}",
            "It could hold all of the host's memory.",
            f"Add size=256m, or up to {MOST_TMPFS_BYTES // 2**20}m.",
        )


def _is_bounded(size: str) -> bool:
    try:
        return 0 < byte_size(size) <= MOST_TMPFS_BYTES
    except RequestUnreadable:
        return False


def _tests(step: Instruction) -> Iterator[Refusal]:
    for flag in ("interval", "start-interval"):
        for value in step.values(flag):
            if _seconds(value) < SHORTEST_INTERVAL_SECONDS:
                yield Refusal(
                    f"--{flag}={value}",
                    "Each test costs the Engine a process; so many would stop it.",
                    f"Test every {SHORTEST_INTERVAL_SECONDS:g} s or less often.",
                )


def _seconds(duration: str) -> float:
    """A duration as Go writes it; 0 where it is none."""
    if len(duration) > 40 or _DURATION.sub("", duration):
        return 0
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION.findall(duration))
