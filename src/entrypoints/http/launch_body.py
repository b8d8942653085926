"""Reads the body of a launch: the archive goes to disk while it comes, memory does not grow."""

import binascii
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
from litestar import Request

from domain.errors import RequestTooLarge, RequestTooSlow
from domain.names import MAX_NAME_LENGTH, EnvironmentName, environment_name
from domain.ports.workspaces import Bundle, Bundles
from entrypoints.http.json_stream import JsonObjectReader, unreadable

BODY_SECONDS = 300.0
"""How long a body may take to arrive."""

MAX_VPN_PROFILE_BYTES = 1024 * 1024

# A name that is too long is shown as such by the rule for names, unless it is absurd.
_MAX_NAME_BYTES = 16 * MAX_NAME_LENGTH


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A launch as the manager asked for it, its archive received."""

    name: EnvironmentName
    bundle: Bundle
    vpn_profile: bytes | None


class _Fields:
    """What has been read of a launch so far."""

    def __init__(self) -> None:
        self.name: EnvironmentName | None = None
        self.bundle: Bundle | None = None
        self.vpn_profile: bytes | None = None


async def read_launch(request: Request[Any, Any, Any], bundles: Bundles, max_bytes: int) -> Launch:
    """The launch that a request asks for; its bundle is the caller's to discard.

    Raises:
        RequestTooLarge: the body is longer than ``max_bytes``.
        RequestTooSlow: it does not come to its end in time.
        RequestUnreadable: it is not the JSON that a launch is.
        InvalidName: no environment can have its name.
        BundleRefused: the archive is too large.
    """
    _check_announced_length(request, max_bytes)
    fields = _Fields()
    try:
        try:
            with anyio.fail_after(BODY_SECONDS):
                await _read(JsonObjectReader(request.stream(), max_bytes), bundles, fields)
        except TimeoutError as fault:
            raise RequestTooSlow(
                f"The request did not arrive within {BODY_SECONDS:g} s."
            ) from fault
        return _whole(fields)
    except BaseException:
        if fields.bundle is not None:
            with anyio.CancelScope(shield=True):
                await bundles.discard(fields.bundle)
        raise


def _check_announced_length(request: Request[Any, Any, Any], max_bytes: int) -> None:
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > max_bytes:
        raise RequestTooLarge(f"The request is longer than the {max_bytes} bytes that are read.")


async def _read(reader: JsonObjectReader, bundles: Bundles, fields: _Fields) -> None:
    while (field := await reader.next_field()) is not None:
        if field in {"name", "docker_zip_base64", "vpn_conf_base64"} and not await reader.is_text():
            raise unreadable(f"{field} must be text")
        if field == "name":
            fields.name = environment_name(await reader.text(_MAX_NAME_BYTES))
        elif field == "docker_zip_base64":
            if fields.bundle is not None:
                raise unreadable("docker_zip_base64 comes twice")
            fields.bundle = await bundles.receive(_decoded(reader.pieces(), field))
        elif field == "vpn_conf_base64":
            fields.vpn_profile = await _vpn_profile(reader)
        else:
            await reader.skip()


def _whole(fields: _Fields) -> Launch:
    if fields.name is None:
        raise unreadable("name is missing")
    if fields.bundle is None:
        raise unreadable("docker_zip_base64 is missing")
    return Launch(name=fields.name, bundle=fields.bundle, vpn_profile=fields.vpn_profile)


async def _vpn_profile(reader: JsonObjectReader) -> bytes:
    profile = bytearray()
    async for piece in _decoded(reader.pieces(), "vpn_conf_base64"):
        profile += piece
        if len(profile) > MAX_VPN_PROFILE_BYTES:
            raise unreadable(f"the VPN profile is longer than {MAX_VPN_PROFILE_BYTES} bytes")
    return bytes(profile)


async def _decoded(pieces: AsyncIterator[bytes], field: str) -> AsyncIterator[bytes]:
    """What base64 text in pieces stands for; line breaks in it are passed over."""
    rest = b""
    async for piece in pieces:
        text = rest + piece.translate(None, b" \t\r\n")
        whole = len(text) - len(text) % 4
        # The end, and with it the padding, is only known to be the end when no more comes.
        whole = max(0, whole - 4)
        rest = text[whole:]
        if b"=" in text[:whole]:
            raise unreadable(f"{field} goes on after its padding")
        if whole:
            yield _quantum(text[:whole], field)
    yield _quantum(rest, field)


def _quantum(text: bytes, field: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as fault:
        raise unreadable(f"{field} is not base64") from fault
