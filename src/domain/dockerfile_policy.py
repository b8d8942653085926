"""Judges the text of Dockerfiles: what of it would leave the builder's own box.

BuildKit runs steps in containers with a network apart, and grants them no rights that a client does
not ask for. What it fetches by itself, images, front ends and the sources of ``ADD``, it fetches in
the host's own network. The text is searched, with its lines joined in every way in which a builder
could join them, so that nothing hides in what is not understood.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from domain.dockerfile import base_images, foreign_front_end
from domain.findings import Finding
from domain.image_names import RegistryRules, is_identifier, is_ours

_HARMLESS_ARGUMENTS = {
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
}
_FROM = re.compile(r"^\s*(?:ONBUILD\s+)?FROM\s+((?:--\S+\s+)*)(\S+)", re.IGNORECASE | re.MULTILINE)
_ORIGIN = re.compile(r"(?:--from=|[,=\s]from=)([^\s,]+)", re.IGNORECASE)
_STAGE = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*\S+\s+AS\s+(\S+)", re.IGNORECASE | re.MULTILINE)
_FLAGGED = re.compile(r"^\s*(?:ONBUILD\s+)?(?:RUN|COPY)\s+(.*)$", re.IGNORECASE | re.MULTILINE)
_ADD = re.compile(r"^\s*(?:ONBUILD\s+)?ADD\s+(.+)$", re.IGNORECASE | re.MULTILINE)
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*:/|github\.com/|[^/\s]+@[^/\s]+:", re.IGNORECASE)
_HEREDOC = re.compile(r"\d*<<-?[\"']?[A-Za-z0-9_.-]+[\"']?")
_RIGHTS = (
    (re.compile(r"--security\b(?!=sandbox\b)\S*", re.IGNORECASE), "rights on the host"),
    (re.compile(r"--network\b(?!=(?:default|none)\b)\S*", re.IGNORECASE), "the host's network"),
    (re.compile(r"--device\b\S*", re.IGNORECASE), "devices of the host"),
)
_RUN = re.compile(r"^\s*(?:ONBUILD\s+)?RUN\s+((?:--\S+\s+)+)", re.IGNORECASE | re.MULTILINE)


_INTERVAL = re.compile(
    r"^\s*(?:ONBUILD\s+)?HEALTHCHECK\b.*?--(?:start-)?interval=\"?([0-9]+(?:\.[0-9]+)?)([a-zµ]*)",
    re.IGNORECASE | re.MULTILINE,
)
_UNIT_SECONDS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}

SHORTEST_INTERVAL_SECONDS = 0.5


class DockerfileRules(msgspec.Struct, frozen=True, kw_only=True):
    """What Dockerfiles may ask for."""

    trusted: bool = False
    """They are the operator's own: only images of the agent's are refused."""
    registries: RegistryRules = RegistryRules()


def judge_dockerfile(
    text: str, arguments: Mapping[str, str], *, where: str, rules: DockerfileRules
) -> tuple[Finding, ...]:
    """Everything in a Dockerfile that this host does not allow.

    Args:
        text: the Dockerfile.
        arguments: of the build.
        where: its build's place in the model, which findings begin with.
        rules: how far this host goes.
    """
    forms = _joined_forms(text)
    findings = [*_images(text, forms, arguments, where, rules)]
    if not rules.trusted:
        findings += [
            *_front_end(text, where),
            *_arguments(arguments, where),
            *_rights(forms, where),
            *_additions(forms, where),
            *_tests(forms, where),
        ]
    # The forms show most things twice.
    return tuple(dict.fromkeys(findings))


def _joined_forms(text: str) -> tuple[str, ...]:
    """The text with continued lines joined, by either sign that may continue them."""
    body = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in body.split("\n") if not line.lstrip().startswith("#")]
    # An empty line does not end an instruction that is continued.
    plain = "\n".join(lines)
    return tuple(
        re.sub(rf"{re.escape(sign)}[ \t]*\n(?:[ \t]*\n)*", "", plain) for sign in ("\\", "`")
    )


def _front_end(text: str, where: str) -> Iterator[Finding]:
    if asked := foreign_front_end(text):
        yield Finding(
            where=f"{where}: # syntax",
            what=asked[:120],
            why="A front end is a program that reads the Dockerfile in place of the builder.",
            instead="Take the line away, or write docker/dockerfile:1.",
        )


def _arguments(arguments: Mapping[str, str], where: str) -> Iterator[Finding]:
    for name in arguments:
        steers = name.upper().startswith("BUILDKIT_") and name not in _HARMLESS_ARGUMENTS
        if steers or (name.upper().startswith("BUILDKIT_") and name != name.upper()):
            yield Finding(
                where=f"{where}.args.{name}",
                what=arguments[name][:120],
                why="Arguments of this name steer the builder itself.",
                instead="Give the argument another name.",
            )


def _rights(forms: Sequence[str], where: str) -> Iterator[Finding]:
    for form in forms:
        for flags in _RUN.finditer(form):
            for pattern, what in _RIGHTS:
                if found := pattern.search(flags[1]):
                    yield Finding(
                        where=f"{where}: RUN",
                        what=found[0][:120],
                        why=f"The step would have {what}.",
                        instead="Take it away.",
                    )


def _additions(forms: Sequence[str], where: str) -> Iterator[Finding]:
    for form in forms:
        for found in _ADD.finditer(form):
            for source in _sources(found[1]):
                if _is_remote(source):
                    yield Finding(
                        where=f"{where}: ADD",
                        what=source[:120],
                        why="The builder would fetch it in the host's own network.",
                        instead="Put the file into the bundle and COPY it, or fetch it with RUN.",
                    )


def _tests(forms: Sequence[str], where: str) -> Iterator[Finding]:
    """Tests of health that would keep the Engine busy with nothing else."""
    for form in forms:
        for amount, unit in _INTERVAL.findall(form):
            if float(amount) * _UNIT_SECONDS.get(unit.lower(), 0) < SHORTEST_INTERVAL_SECONDS:
                yield Finding(
                    where=f"{where}: HEALTHCHECK",
                    what=f"{amount[:40]}{unit[:40]}",
                    why="Each test costs the Engine a process; so many would stop it.",
                    instead=f"Test every {SHORTEST_INTERVAL_SECONDS:g} s or less often.",
                )


def _sources(rest: str) -> Sequence[str]:
    if rest.lstrip().startswith("["):
        try:
            return msgspec.json.decode(rest.strip(), type=list[str])[:-1]
        except msgspec.MsgspecError:
            pass
    words = [word for word in rest.split() if not word.startswith("--")]
    return [word for word in words[:-1] if not _HEREDOC.fullmatch(word)]


def _is_remote(source: str) -> bool:
    """Whether it is fetched, or could be once quotes and variables are taken out of it."""
    hidden = re.search(r"[$\"'`\\]", source) is not None
    return hidden or _REMOTE.match(source) is not None


def _images(
    text: str,
    forms: Sequence[str],
    arguments: Mapping[str, str],
    where: str,
    rules: DockerfileRules,
) -> Iterator[Finding]:
    known = base_images(text, arguments)
    for name in dict.fromkeys(_named_images(forms) if known is None else known):
        if "$" in name and not rules.trusted:
            yield Finding(
                where=f"{where}: FROM",
                what=name[:120],
                why="It cannot be told for sure which image this is.",
                instead="Write the image's name out.",
            )
        elif is_ours(name) or is_identifier(name):
            yield Finding(
                where=f"{where}: FROM",
                what=name[:120],
                why="Images of this name are built by the agent for single environments.",
                instead="Name the image that it was built from.",
            )
        elif not rules.trusted and (reason := rules.registries.why_not(name)):
            yield Finding(
                where=f"{where}: FROM",
                what=name[:120],
                why=reason,
                instead="Take it from a public registry, or ask the operator for "
                "ALLOWED_REGISTRIES.",
            )


def _named_images(forms: Sequence[str]) -> Iterator[str]:
    """Whatever could name an image, where the text is not understood for sure."""
    for form in forms:
        stages = {name.lower() for name in _STAGE.findall(form)} | {"scratch"}
        named = [found[2] for found in _FROM.finditer(form)]
        for rest in _FLAGGED.findall(form):
            named += _ORIGIN.findall(_leading_flags(rest))
        for name in named:
            bare = name.strip("\"'")
            if bare.lower() not in stages and not bare.isdigit():
                yield bare


def _leading_flags(rest: str) -> str:
    words = []
    for word in rest.split():
        if not word.startswith("--"):
            break
        words.append(word)
    return " ".join(words)
