"""``container-host-agent check``: would this host deploy a bundle? Needs no agent and no Engine."""

import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO

import anyio
import click
import msgspec

from domain.compose_model import ComposeModel
from domain.errors import AgentError, PolicyRefused
from domain.findings import Finding
from domain.labels import check_variables
from entrypoints.composition.checking import check_archive
from entrypoints.settings import Settings

_CHUNK_BYTES = 256 * 1024


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints."""

    allowed: bool
    policy: str
    services: tuple[str, ...] = ()
    reason: str = ""
    findings: tuple[Finding, ...] = ()


def run_check(
    settings: Settings, path: Path, variables: Mapping[str, str], *, as_json: bool
) -> None:
    """Prints the verdict on a folder or an archive, and exits with 1 where it is refused."""
    try:
        check_variables(variables)
        model = _checked(settings, path, variables)
    except AgentError as fault:
        _tell_refusal(settings, fault, as_json=as_json)
        sys.exit(1)
    _tell_services(settings, path, model, as_json=as_json)


def _checked(settings: Settings, path: Path, variables: Mapping[str, str]) -> ComposeModel:
    if not path.is_dir():
        with path.open("rb") as archive:
            return anyio.run(check_archive, settings, _chunks(archive), variables)
    with tempfile.TemporaryFile() as archive:
        # Packed as it would be uploaded, so that the archive's own rules count too.
        with tarfile.open(fileobj=archive, mode="w") as packed:
            for entry in sorted(path.iterdir()):
                packed.add(entry, arcname=entry.name)
        archive.seek(0)
        return anyio.run(check_archive, settings, _chunks(archive), variables)


async def _chunks(archive: IO[bytes]) -> AsyncIterator[bytes]:
    file = anyio.wrap_file(archive)
    while chunk := await file.read(_CHUNK_BYTES):
        yield chunk


def _tell_refusal(settings: Settings, fault: AgentError, *, as_json: bool) -> None:
    findings = fault.findings if isinstance(fault, PolicyRefused) else ()
    if as_json:
        reason = fault.detail
        _print_json(
            _Verdict(
                allowed=False, policy=settings.compose_policy, reason=reason, findings=findings
            )
        )
        return
    if not findings:
        click.echo(fault.detail)
        return
    click.echo(fault.message)
    for finding in findings:
        click.echo(f"\n{finding.where}\n  has      {finding.what}\n  but      {finding.why}")
        if finding.instead:
            click.echo(f"  instead  {finding.instead}")


def _tell_services(settings: Settings, path: Path, model: ComposeModel, *, as_json: bool) -> None:
    names = tuple(service.name for service in model.services)
    if as_json:
        _print_json(_Verdict(allowed=True, policy=settings.compose_policy, services=names))
        return
    click.echo(
        f"{path} would be deployed under COMPOSE_POLICY={settings.compose_policy}, "
        f"with {', '.join(names)}."
    )


def _print_json(verdict: _Verdict) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(verdict), indent=2).decode())
