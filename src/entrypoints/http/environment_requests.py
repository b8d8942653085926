"""What callers ask for environments, as JSON or as a form."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from domain.environments import Hold, Isolation
from domain.errors import RequestUnreadable
from domain.labels import check_labels, check_variables
from domain.limits import ContainerLimits
from domain.names import BundleDigest, bundle_digest
from domain.ports.workspaces import Bundle
from domain.quantities import byte_size, moment, seconds
from entrypoints.agent import Agent
from entrypoints.http.bodies import chunks, decoded, read_json
from entrypoints.http.documented_headers import ChangeOperation
from entrypoints.http.multipart_body import read_form

AnyRequest = Request[Any, Any, Any]

Size = int | str
"""Bytes, or text such as ``512m``."""

Duration = float | str
"""Seconds, or text such as ``2h``."""


class LimitsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of each container."""

    cpus: float | None = None
    memory: Size | None = None
    pids: int | None = None
    log: Size | None = None

    def parsed(self) -> ContainerLimits:
        """The limits in their own units."""
        return ContainerLimits(
            cpus=self.cpus,
            memory_bytes=size_bytes(self.memory),
            pids=self.pids,
            log_bytes=size_bytes(self.log),
        )


class HoldRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who holds an environment, why, and until when."""

    owner: str
    reason: str
    until: str | None = None

    def parsed(self) -> Hold:
        """The hold with its end as a moment."""
        if not self.owner.strip() or not self.reason.strip():
            raise RequestUnreadable("A hold needs an owner and a reason.")
        until = moment(self.until) if self.until is not None else None
        return Hold(owner=self.owner[:200], reason=self.reason[:500], until=until)


class EnvironmentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An environment that shall be."""

    name: str | None = None
    """Made up where there is none."""
    bundle: str | None = None
    """Digest of an uploaded bundle."""
    vpn_profile: str | None = None
    """The text of an OpenVPN profile, which stands as `vpn.ovpn` in the project."""
    variables: Mapping[str, str] = {}
    """For `${…}` in the Compose file."""
    labels: Mapping[str, str] = {}
    limits: LimitsRequest = LimitsRequest()
    isolation: Isolation = Isolation.OPEN
    ttl: Duration | None = None
    """How long it lives: seconds, or `90m`, `2h`, `1d`."""
    expires_at: str | None = None
    """When it ends, instead of `ttl`."""
    hold: HoldRequest | None = None

    def check(self) -> None:
        """Refuses what no environment can have.

        Raises:
            RequestUnreadable: something is.
        """
        check_labels(self.labels)
        check_variables(self.variables)
        if self.ttl is not None and self.expires_at is not None:
            raise RequestUnreadable("ttl and expires_at cannot both be given.")

    def end(self) -> tuple[float | None, datetime | None]:
        """For how long, or until when it may live."""
        until = moment(self.expires_at) if self.expires_at is not None else None
        return lifetime_seconds(self.ttl), until


class AmendmentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is changed of an environment; what is left out stays."""

    ttl: Duration | msgspec.UnsetType | None = msgspec.UNSET
    """How long it lives from now on; null for ever."""
    expires_at: str | msgspec.UnsetType | None = msgspec.UNSET
    hold: HoldRequest | msgspec.UnsetType | None = msgspec.UNSET
    """Null takes it away."""
    labels: Mapping[str, str] | msgspec.UnsetType = msgspec.UNSET


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was read, its bundle with it where it came along."""

    wanted: EnvironmentRequest
    vpn_profile: bytes | None
    bundle: Bundle | None
    body: bytes
    """What of it tells it from other requests."""


_JSON_FIELDS = {"variables", "labels", "limits", "hold"}


async def read_environment(request: AnyRequest) -> Received:
    """The environment that a request asks for.

    A bundle that came along is the caller's to discard.

    Raises:
        RequestUnreadable: it cannot be read.
        BundleRefused: the bundle is too large.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _read_form(request)
    wanted = await read_json(request, EnvironmentRequest)
    wanted.check()
    profile = wanted.vpn_profile.encode() if wanted.vpn_profile is not None else None
    body = msgspec.json.encode(wanted)
    return Received(wanted=wanted, vpn_profile=profile, bundle=None, body=body)


async def _read_form(request: AnyRequest) -> Received:
    agent: Agent = request.app.state.agent
    most = agent.settings.max_bundle_bytes + 8 * 1024 * 1024
    await agent.space.require()
    form = await read_form(
        request.headers.get("content-type", ""),
        chunks(request, max_bytes=most),
        agent.bundles.receive,
        discard=agent.bundles.discard,
        max_bytes=most,
    )
    try:
        wanted = _from_fields(form.fields)
        wanted.check()
    except BaseException:
        if form.file is not None:
            await agent.bundles.discard(form.file)
        raise
    digest = form.file.digest.encode() if form.file is not None else b""
    profile = form.fields.get("vpn_profile")
    body = msgspec.json.encode(wanted) + digest + (profile or b"")
    return Received(wanted=wanted, vpn_profile=profile, bundle=form.file, body=body)


def _from_fields(fields: Mapping[str, bytes]) -> EnvironmentRequest:
    merged: dict[str, Any] = dict(decoded(fields.get("request", b"{}"), dict[str, Any]))
    for name, value in fields.items():
        if name in _JSON_FIELDS:
            merged[name] = decoded(value, Any)
        elif name not in {"request", "vpn_profile"}:
            merged[name] = value.decode(errors="replace")
    try:
        return msgspec.convert(merged, EnvironmentRequest)
    except msgspec.ValidationError as fault:
        raise RequestUnreadable(f"The form cannot be read: {fault}.") from fault


def lifetime_seconds(ttl: Duration | None) -> float | None:
    """A lifetime in seconds; 0 for one without end.

    Raises:
        RequestUnreadable: it is none.
    """
    if ttl is None:
        return None
    if ttl in {0, "0"}:
        return 0.0
    return seconds(ttl if isinstance(ttl, str) else f"{ttl:f}".rstrip("0").rstrip("."))


def size_bytes(value: Size | None) -> int | None:
    """A size in bytes.

    Raises:
        RequestUnreadable: it is none.
    """
    return byte_size(value) if isinstance(value, str) else value


_TEXT = Schema(type=OpenAPIType.STRING)
_FILE = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
_EXAMPLE = {
    "name": "user123-devlab",
    "bundle": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "variables": {"FLAG": "flag{…}"},
    "labels": {"course": "web-101"},
    "limits": {"cpus": 0.5, "memory": "512m", "pids": 256, "log": "10m"},
    "isolation": "open",
    "ttl": "2h",
}
_PROPERTIES = {
    "name": Schema(type=OpenAPIType.STRING, pattern="^[a-z0-9][a-z0-9_-]{0,62}$"),
    "bundle": Schema(type=OpenAPIType.STRING, description="Digest of an uploaded bundle."),
    "vpn_profile": Schema(type=OpenAPIType.STRING, description="Stands as vpn.ovpn."),
    "variables": Schema(type=OpenAPIType.OBJECT, additional_properties=_TEXT),
    "labels": Schema(type=OpenAPIType.OBJECT, additional_properties=_TEXT),
    "limits": Schema(
        type=OpenAPIType.OBJECT,
        properties={
            "cpus": Schema(type=OpenAPIType.NUMBER),
            "memory": Schema(type=OpenAPIType.STRING, description="Such as 512m."),
            "pids": Schema(type=OpenAPIType.INTEGER),
            "log": Schema(type=OpenAPIType.STRING, description="Such as 10m."),
        },
    ),
    "isolation": Schema(type=OpenAPIType.STRING, enum=["open", "internal"]),
    "ttl": Schema(type=OpenAPIType.STRING, description="Such as 3600, 90m, 2h, 1d."),
    "expires_at": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME),
    "hold": Schema(
        type=OpenAPIType.OBJECT,
        properties={"owner": _TEXT, "reason": _TEXT, "until": _TEXT},
        required=["owner", "reason"],
    ),
}


@dataclass
class EnvironmentOperation(ChangeOperation):
    """The body is read as it comes and so unknown to the framework; this documents it."""

    def __post_init__(self) -> None:
        """Adds body and headers."""
        super().__post_init__()
        document = Schema(type=OpenAPIType.OBJECT, properties=dict(_PROPERTIES))
        form = Schema(
            type=OpenAPIType.OBJECT,
            properties={**_PROPERTIES, "bundle": _FILE, "vpn_profile": _FILE, "request": _TEXT},
        )
        self.request_body = RequestBody(
            required=True,
            content={
                "application/json": OpenAPIMediaType(schema=document, example=_EXAMPLE),
                "multipart/form-data": OpenAPIMediaType(schema=form),
            },
        )


@dataclass
class AmendmentOperation(Operation):
    """The body is read by the agent itself; this documents it."""

    def __post_init__(self) -> None:
        names = ("ttl", "expires_at", "hold", "labels")
        schema = Schema(
            type=OpenAPIType.OBJECT, properties={name: _PROPERTIES[name] for name in names}
        )
        example = {"ttl": "2h", "hold": {"owner": "jana", "reason": "exam review"}}
        self.request_body = RequestBody(
            required=True,
            content={"application/json": OpenAPIMediaType(schema=schema, example=example)},
        )


def bundle_of(wanted: EnvironmentRequest) -> BundleDigest:
    """The digest that a request names.

    Raises:
        RequestUnreadable: it names none.
        BundleNotFound: it is none.
    """
    if wanted.bundle is None:
        raise RequestUnreadable(
            "bundle is missing.", hint="Name the digest of an uploaded one, or send it as a form."
        )
    return bundle_digest(wanted.bundle)
