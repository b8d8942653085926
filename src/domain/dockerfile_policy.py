"""Judges the text of Dockerfiles: what of it would leave the builder's own box.

BuildKit runs steps in containers with a network apart, and grants them no rights that a client does
not ask for. What it fetches by itself, images, front ends and the sources of ``ADD``, it fetches in
the host's own network. What cannot be told for sure is refused, since anything could hide in it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from domain.dockerfile import foreign_front_end, is_official, is_stage, origins, start
from domain.dockerfile_instructions import Doubt, Instruction
from domain.dockerfile_sources import Refusal
from domain.dockerfile_steps import refused_argument, refused_in
from domain.dockerfile_text import readings
from domain.dockerfile_words import Lookup, declared, expanded, is_platform
from domain.findings import Finding
from domain.image_names import RegistryRules, is_identifier, is_ours

MOST_CHARACTERS = 128 * 1024
"""Of one Dockerfile; it is judged while others wait."""

MOST_FINDINGS = 50
"""How many are told of one Dockerfile."""

_SYNTAX = re.compile(r"\s*(?:#|//)\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
# Values that come from the machine, of which it is known what they may look like.
_MACHINE = re.compile(r"(?:TARGET|BUILD)(?:OS|ARCH|VARIANT)")
_OPEN = "\ue000"


class DockerfileRules(msgspec.Struct, frozen=True, kw_only=True):
    """What Dockerfiles may ask for."""

    trusted: bool = False
    """They are the operator's own: only images of the agent's are refused."""
    registries: RegistryRules = RegistryRules()
    unchecked_additions: bool = False
    """Whether ``ADD`` may fetch from any host with a public name, without a checksum. Its name, or
    a redirection, can lead to services of the host's own network."""


class _Place(msgspec.Struct, frozen=True):
    """Something that is refused, and the line that it stands in."""

    line: int
    refusal: Refusal


def judge_dockerfile(
    text: str, arguments: Mapping[str, str], *, where: str, rules: DockerfileRules
) -> tuple[Finding, ...]:
    """Everything in a Dockerfile that this host does not allow, in the order of its lines.

    Args:
        text: the Dockerfile.
        arguments: of the build.
        where: its build's place in the model, or its name, which findings begin with.
        rules: how far this host goes.
    """
    if len(text) > MOST_CHARACTERS:
        return (_finding(where, _too_long(text)),)
    ways = readings(text)
    found = [place for way in ways for place in _images(way.instructions, arguments, rules)]
    findings: list[Finding] = []
    if not rules.trusted:
        for name, value in arguments.items():
            at = f"{where}.args.{name}"
            findings += [_finding(at, refusal) for refusal in refused_argument(name, value)]
        found += _front_ends(text)
        for way in ways:
            found += _doubts(text, way.doubts)
            found += _refused_steps(way.instructions, rules)
    for place in sorted(found, key=lambda place: place.line):
        at = f"{where}: line {place.line}" if place.line else where
        findings.append(_finding(at, place.refusal))
    return tuple(dict.fromkeys(findings))[:MOST_FINDINGS]


def _refused_steps(steps: Sequence[Instruction], rules: DockerfileRules) -> Iterator[_Place]:
    for step in steps:
        for refusal in refused_in(step, unchecked=rules.unchecked_additions):
            yield _Place(step.line, refusal)


def _too_long(text: str) -> Refusal:
    return Refusal(
        f"{len(text)} characters",
        f"A Dockerfile may have {MOST_CHARACTERS}.",
        "Put texts into files of their own and COPY them.",
    )


def _finding(where: str, refusal: Refusal) -> Finding:
    return Finding(
        where=where[:200], what=_shown(refusal.what), why=refusal.why, instead=refusal.instead
    )


def _shown(what: str) -> str:
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in what[:120])


def _doubts(text: str, doubts: Sequence[Doubt]) -> Iterator[_Place]:
    lines = ["the Dockerfile", *text.split("\n")]
    for doubt in doubts[:MOST_FINDINGS]:
        yield _Place(
            doubt.line,
            Refusal(
                lines[doubt.line].strip(),
                doubt.why,
                "Write it in another way: what cannot be told for sure is refused.",
            ),
        )


def _front_ends(text: str) -> Iterator[_Place]:
    """Programs that would read the text in place of the builder, in every release's eyes."""
    asked = foreign_front_end(text)
    told = False
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        bare = line.strip()
        if bare and not bare.startswith(("#", "//")):
            break
        syntax = _SYNTAX.match(line)
        if syntax and not is_official(syntax[1]):
            told = True
            yield _Place(number, _foreign(syntax[1]))
    if asked is not None and not told:
        yield _Place(1, _foreign(asked))


def _foreign(asked: str) -> Refusal:
    return Refusal(
        f"syntax={asked}",
        "A front end is a program that reads the Dockerfile in place of the builder.",
        "Take the line away, or write docker/dockerfile:1.",
    )


def _images(
    steps: Sequence[Instruction], arguments: Mapping[str, str], rules: DockerfileRules
) -> Iterator[_Place]:
    stages = _stages(steps)
    for line, name in _named_images(steps, arguments):
        if name != "scratch" and (refusal := _refused_image(name, stages, rules)):
            yield _Place(line, refusal)


def _refused_image(
    name: str | Doubt, stages: frozenset[str], rules: DockerfileRules
) -> Refusal | None:
    if isinstance(name, Doubt):
        untold = Refusal("image", name.why, "Write the image's name out.")
        return None if rules.trusted else untold
    if is_stage(name, stages):
        return None
    if is_ours(name) or is_identifier(name):
        return Refusal(
            name,
            "Images of this name are built by the agent for single environments.",
            "Name the image that it was built from.",
        )
    if not rules.trusted and (reason := rules.registries.why_not(name)):
        instead = "Take it from a public registry, or ask the operator for ALLOWED_REGISTRIES."
        return Refusal(name, reason, instead)
    return None


def _stages(steps: Sequence[Instruction]) -> frozenset[str]:
    found = set()
    for step in steps:
        if step.name == "from":
            try:
                found.add(start(step)[1])
            except Doubt:
                # Told where the image is looked for.
                continue
    return frozenset(found - {""})


def _named_images(
    steps: Sequence[Instruction], arguments: Mapping[str, str]
) -> Iterator[tuple[int, str | Doubt]]:
    """Lines and the images and stages that they name."""
    known: dict[str, str | None] = {}
    started = False
    for step in steps:
        try:
            if step.name == "from":
                started = True
                yield step.line, _started_from(step, _values(known, arguments))
            elif step.name == "arg" and not started:
                known |= declared(step.rest, arguments, known, step.escape)
            for origin in origins(step):
                yield step.line, origin
        except Doubt as doubt:
            yield step.line, doubt


def _started_from(step: Instruction, values: Lookup) -> str:
    image = expanded(start(step)[0], values, step.escape)
    # Whatever stands before could be a registry, or the name space of the agent's images.
    if not image or _OPEN in image.rpartition("/")[0]:
        raise Doubt("It cannot be told which image this is.")
    return image.replace(_OPEN, "x")


def _values(known: Mapping[str, str | None], arguments: Mapping[str, str]) -> Lookup:
    def value(name: str, asked: bool) -> str | None:
        if not is_platform(name):
            if name in known and known[name] is None:
                raise Doubt(f"The value of {name} cannot be told for sure.")
            return known.get(name)
        if asked or name in known or name in arguments or not _MACHINE.fullmatch(name):
            raise Doubt(f"{name} differs from machine to machine.")
        return _OPEN

    return value
