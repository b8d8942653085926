"""Judges where ``ADD`` and ``COPY`` take things from, when that is not the bundle."""

import re
from collections.abc import Iterator, Sequence

import msgspec

from domain.dockerfile_instructions import Instruction
from domain.dockerfile_text import is_heredoc
from domain.image_names import public_host

_SCHEMES = ("http://", "https://", "ssh://", "git://")
_SCHEME = re.compile(r"([A-Za-z0-9+.-]+)://")
_QUOTES = re.compile(r"[\"'`\\]")
_WEB = re.compile(r"(https?)://([^/?#]*)([/?#].*)?", re.IGNORECASE | re.DOTALL)
_PORTS = {"", "80", "443"}
_GIT_PATH = re.compile(r"[^?#]*\.git/?(?:[?#].*)?", re.DOTALL)
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")

_NO_PUBLIC_NAME = (
    "The builder fetches it in the host's own network, and only from hosts with a public name,"
    " written out, at their usual port."
)
_NO_CHECKSUM = "The builder fetches it in the host's own network, and a name can lead inside."
_COPY_INSTEAD = "Put the file into the bundle and COPY it, or fetch it with RUN."


class Refusal(msgspec.Struct, frozen=True):
    """What is the matter with one thing in a Dockerfile."""

    what: str
    why: str
    instead: str


def refused_sources(step: Instruction, *, unchecked: bool) -> Iterator[Refusal]:
    """What ``ADD`` or ``COPY`` may not take.

    Args:
        step: the instruction.
        unchecked: whether ``ADD`` may fetch what it knows no checksum of.
    """
    if step.values("from"):
        return
    checked = any(_CHECKSUM.fullmatch(value) for value in step.values("checksum"))
    for source in _sources(step):
        if reason := _why_not(source, copies=step.name == "copy", trusted=unchecked or checked):
            yield Refusal(source, *reason)


def _sources(step: Instruction) -> Sequence[str]:
    listed = step.listed()
    if listed is not None:
        return listed[:-1]
    return [word for word in step.rest.split()[:-1] if not is_heredoc(word)]


def _why_not(source: str, *, copies: bool, trusted: bool) -> tuple[str, str] | None:
    """Why a source may not be taken, and what to do; None where it may.

    ``COPY`` takes nothing but files, whatever becomes of its variables.
    """
    plain = _QUOTES.sub("", source)
    if _is_git(plain):
        return (
            "The builder would fetch it and all that it refers to in the host's own network.",
            _COPY_INSTEAD,
        )
    if _WEB.match(plain):
        return _why_not_from_the_web(source, plain, trusted=trusted)
    written = plain.partition("$")[0].lower()
    if not copies and "$" in plain and any(one.startswith(written) for one in _SCHEMES):
        return (
            "It cannot be told whether this is a file of the bundle or an address.",
            "COPY files of the bundle, or begin with ./ for them.",
        )
    return None


def _is_git(source: str) -> bool:
    if (scheme := _SCHEME.match(source)) and scheme[1].lower() not in {"http", "https"}:
        return True
    if web := _WEB.fullmatch(source):
        return _GIT_PATH.fullmatch(web[3] or "") is not None
    first = source.partition("/")[0]
    # user@host:path
    return "@" in first and (":" in first or "$" in first)


def _why_not_from_the_web(source: str, plain: str, *, trusted: bool) -> tuple[str, str] | None:
    web = _WEB.fullmatch(plain)
    host, _, port = (web[2] if web else "").partition(":")
    unclear = "\\" in source or "`" in source
    if unclear or port not in _PORTS or not public_host(host.lower()):
        return _NO_PUBLIC_NAME, _COPY_INSTEAD
    if not trusted:
        return _NO_CHECKSUM, f"Add --checksum=sha256:… to ADD. {_COPY_INSTEAD}"
    return None
