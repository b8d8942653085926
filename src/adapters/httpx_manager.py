"""The manager through httpx."""

import json
import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import anyio
import httpx
import msgspec

from domain.heartbeat import HeartbeatAnswer, HeartbeatReport, HeartbeatResult

MAX_ANSWER_BYTES = 64 * 1024
"""How much of an answer is read."""

_MAX_QUOTED = 200

_REFUSALS = {
    401: "The manager does not accept SERVER_KEY (401). It is wrong or was revoked: register the "
    "host again and set SERVER_KEY to the key it gives.",
    403: "The manager does not let this host in (403). Register the host again and set SERVER_KEY "
    "to the key it gives.",
    404: "The manager does not know this host (404). HOST_ID is not registered there, or "
    "MANAGER_URL has a wrong path: check both.",
    422: "The manager cannot read the heartbeat (422). HOST_ID must be the UUID from the host's "
    "registration, and the manager of a version that this agent speaks to.",
}

_UNWRITABLE = HeartbeatAnswer(
    result=HeartbeatResult.REFUSED,
    detail="The heartbeat cannot be written: SERVER_KEY holds characters that no header may have. "
    "Set SERVER_KEY to the key from the host's registration, without spaces or quotes.",
)


class HttpxManager:
    """Sends heartbeats; use it in an ``async with``.

    Redirects are never followed, so the key goes nowhere but to ``base_url``, and it is taken out
    of whatever the manager says. Every heartbeat has a connection of its own: one that was kept
    would be closed by the manager just when it is needed.

    Args:
        base_url: the manager's address, without a slash at its end.
        host_id: this host's identifier.
        server_key: this host's key.
        timeout_seconds: limit of one heartbeat, from look-up to the end of the answer.
        version: the agent's version, for the manager's log.
        now: the time of day, to tell how far off a ``Retry-After`` date is.
    """

    def __init__(
        self,
        base_url: str,
        *,
        host_id: str,
        server_key: str,
        timeout_seconds: float,
        version: str,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._url = f"{base_url}/hosts/{quote(host_id, safe='')}/heartbeat"
        self._server_key = server_key
        self._timeout_seconds = timeout_seconds
        # Shorter than the whole, as httpx closes a connection in the middle of its handshake when
        # its own limit ends it, and not when it is cancelled from outside.
        self._connect_seconds = timeout_seconds / 2
        self._now = now or (lambda: datetime.now(UTC))
        self._client = httpx.AsyncClient(
            headers={
                "User-Agent": f"container-host-agent/{version}",
                "Connection": "close",
                # A compressed answer could grow a thousandfold where it is read.
                "Accept-Encoding": "identity",
            },
            follow_redirects=False,
            timeout=httpx.Timeout(timeout_seconds, connect=self._connect_seconds),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def heartbeat(self, report: HeartbeatReport) -> HeartbeatAnswer:
        """Sends one heartbeat and says how the manager took it."""
        try:
            with anyio.fail_after(self._timeout_seconds):
                return await self._send(report)
        except httpx.ConnectTimeout:
            return self._unreachable(f"no connection within {self._connect_seconds:g} s")
        except (TimeoutError, httpx.TimeoutException):
            return self._unreachable(f"no answer within {self._timeout_seconds:g} s")
        except (httpx.LocalProtocolError, UnicodeEncodeError):
            # The fault's own words would quote the key.
            return _UNWRITABLE
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as fault:
            return self._unreachable(_reason(fault))

    async def _send(self, report: HeartbeatReport) -> HeartbeatAnswer:
        request = self._client.stream(
            "POST",
            self._url,
            json=msgspec.to_builtins(report),
            headers={"X-Server-Key": self._server_key},
        )
        async with request as response:
            return self._answer(response, await _beginning(response))

    def _answer(self, response: httpx.Response, body: bytes) -> HeartbeatAnswer:
        status = response.status_code
        if status == 200:
            return self._acknowledgement(body)
        result, detail = self._refusal(response, body)
        return HeartbeatAnswer(
            result=result,
            status=status,
            detail=detail,
            retry_after_seconds=self._retry_after(response.headers.get("retry-after")),
        )

    def _acknowledgement(self, body: bytes) -> HeartbeatAnswer:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict) and answer.get("ack") is True:
            return HeartbeatAnswer(result=HeartbeatResult.ACKNOWLEDGED, status=200)
        return HeartbeatAnswer(
            result=HeartbeatResult.UNREADABLE,
            status=200,
            detail="What answers at MANAGER_URL is not the manager, or one of another version: "
            f"it sent {self._quoted(body)}.",
        )

    def _refusal(self, response: httpx.Response, body: bytes) -> tuple[HeartbeatResult, str]:
        status = response.status_code
        if status in _REFUSALS:
            return HeartbeatResult.REFUSED, _REFUSALS[status]
        if 300 <= status < 400:
            target = _redirect_target(response.headers.get("location", ""))
            return HeartbeatResult.REFUSED, (
                f"MANAGER_URL redirects to {self._quoted(target.encode())} ({status}), and the key "
                "is not sent there. Set MANAGER_URL to the manager's own address."
            )
        return HeartbeatResult.BUSY, f"The manager answered {status}: {self._quoted(body)}."

    def _unreachable(self, why: str) -> HeartbeatAnswer:
        return HeartbeatAnswer(
            result=HeartbeatResult.UNREACHABLE,
            detail=f"The manager cannot be reached: {self._quoted(why.encode(errors='replace'))}. "
            "Check MANAGER_URL and the network.",
        )

    def _quoted(self, text: bytes) -> str:
        """Somebody else's words, short, without the key and without control characters."""
        shown = text.decode(errors="replace").replace(self._server_key, "[secret]")[:_MAX_QUOTED]
        shown = "".join(c if c.isprintable() else " " for c in shown).strip(" .")
        return shown or "nothing"

    def _retry_after(self, value: str | None) -> float | None:
        """Seconds to wait, as a number or a date says; None for anything else."""
        if value is None:
            return None
        value = value.strip()
        if value.isascii() and value.isdigit():
            return float(value[:9])
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - self._now()).total_seconds()
        return seconds if seconds > 0 else None


async def _beginning(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return bytes(body[:MAX_ANSWER_BYTES])


def _redirect_target(location: str) -> str:
    """Where a redirect leads, without the path, user and password that it may hold."""
    try:
        parts = urlsplit(location)
        if not parts.hostname:
            return "another path"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "another address"
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.scheme else parts.hostname + port


def _reason(fault: BaseException) -> str:
    """What the system said, from beneath the words of the libraries."""
    cause = fault.__cause__ or fault.__context__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if cause is not None:
        return _reason(cause)
    # These two number their faults in their own way.
    foreign = isinstance(fault, ssl.SSLError | socket.gaierror)
    if isinstance(fault, OSError) and fault.errno and not foreign:
        return os.strerror(fault.errno)
    return str(fault) or type(fault).__name__
