"""Images on their way to the Engine and out of it.

Not on docker-py: what is sent comes from a request bit by bit, and a pull whose registry is silent
must end with whoever asked for it. docker-py can do neither without a thread that waits.
"""

import base64
import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import msgspec

from adapters.docker.client import shortage_within
from adapters.docker.named import named
from adapters.docker.refusals import refused, told
from domain.errors import (
    AgentError,
    EngineFull,
    EngineRefused,
    EngineUnavailable,
    ImageNotInRegistry,
    RegistryRefused,
    RequestUnreadable,
)
from domain.image_names import familiar, registry
from domain.ports.image_transfers import TakeStep
from domain.pulls import PullStep
from domain.registry_credentials import RegistryCredentials, server_address

_BEGIN_SECONDS = 7.0
_SILENCE_SECONDS = 900.0
"""How long the Engine may be silent, or not take what is sent; it packs large images that long."""

_LONGEST_LINE = 1024 * 1024
_PIECE_BYTES = 64 * 1024

_HINT = "Is the Docker Engine running, and may the agent use DOCKER_SOCKET?"

# The Engine passes on what registries say, mostly as a fault of its own.
_NOT_LET_IN = re.compile(
    r"unauthorized|no basic auth credentials|denied: |401 unauthorized|403 forbidden"
    r"|incorrect username or password|authentication required",
    re.IGNORECASE,
)
_NOT_THERE = re.compile(r"not found|manifest unknown|name unknown|does not exist", re.IGNORECASE)


class _Progress(msgspec.Struct, frozen=True):
    current: int | None = None
    total: int | None = None


class _Message(msgspec.Struct, frozen=True):
    """A line of what the Engine tells while it works."""

    status: str = ""
    id: str = ""
    progress: _Progress | None = msgspec.field(default=None, name="progressDetail")
    stream: str = ""
    error: str = ""


class DockerTransfers:
    """Brings images to the Engine and out of it.

    Args:
        base_url: address of the Engine.
        begin_seconds: how long the Engine may take to take a connection.
    """

    def __init__(self, base_url: str, *, begin_seconds: float = _BEGIN_SECONDS) -> None:
        self._base_url = base_url
        self._begin_seconds = begin_seconds

    async def pull(
        self, reference: str, credentials: RegistryCredentials | None, on_step: TakeStep
    ) -> str:
        """Takes an image from its registry; the digest by which the registry knows it."""
        what, digest = f"pulling {reference}", ""
        headers = {} if credentials is None else _auth_header(reference, credentials)
        try:
            async with self._asked(
                "POST", "/images/create", what, params=_source(reference), headers=headers
            ) as answer:
                async for message in _messages(answer, what):
                    step = _step(message)
                    if step.status.startswith("Digest: "):
                        digest = step.status.removeprefix("Digest: ")
                    on_step(step)
        except EngineRefused as fault:
            raise _pull_fault(reference, fault) from fault
        return digest

    async def log_in(self, registry: str, credentials: RegistryCredentials) -> None:
        """Returns if a registry takes the credentials."""
        body = _auth(registry, credentials)
        try:
            async with self._asked("POST", "/auth", f"asking {registry}", json=body) as answer:
                await answer.aread()
        except EngineRefused as fault:
            if _NOT_LET_IN.search(fault.reason):
                raise RegistryRefused(registry, fault.reason) from fault
            raise

    async def load(self, archive: AsyncIterable[bytes]) -> Sequence[str]:
        """Takes images from an archive; their names, or identifiers where they have none."""
        what = "loading images"
        loaded: list[str] = []
        try:
            async with self._asked(
                "POST",
                "/images/load",
                what,
                params={"quiet": "1"},
                content=archive,
                headers={"content-type": "application/x-tar"},
            ) as answer:
                async for message in _messages(answer, what):
                    loaded += _LOADED.findall(message.stream)
        except EngineRefused as fault:
            if isinstance(fault, EngineFull):
                raise
            raise RequestUnreadable(fault.message) from fault
        return loaded

    @asynccontextmanager
    async def save(self, references: Sequence[str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """An archive of images, as it comes."""
        what, names = "saving images", [("names", reference) for reference in references]
        with named("image", ", ".join(references)):
            async with self._asked("GET", "/images/get", what, params=names) as answer:
                yield answer.aiter_raw(_PIECE_BYTES)

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, what: str, **request: Any
    ) -> AsyncIterator[httpx.Response]:
        """The Engine's answer while it comes, on a connection of its own.

        Raises:
            EngineUnavailable: the Engine cannot be reached.
            EngineRefused: it answers with an error.
        """
        with _translated(what):
            async with (
                self._client() as client,
                client.stream(method, path, **request) as answer,
            ):
                if answer.status_code >= 400:
                    body = (await answer.aread()).decode(errors="replace")
                    raise refused(what, answer.status_code, body)
                yield answer

    def _client(self) -> httpx.AsyncClient:
        local = self._base_url.startswith("unix://")
        # What is spoken is never TLS; a context of httpx's own would read certificates from disk.
        unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        transport = httpx.AsyncHTTPTransport(
            verify=unused, uds=self._base_url.removeprefix("unix://") if local else None
        )
        return httpx.AsyncClient(
            transport=transport,
            base_url="http://engine" if local else f"http{self._base_url.removeprefix('tcp')}",
            # How long it may take in all is up to whoever asks.
            timeout=httpx.Timeout(_SILENCE_SECONDS, connect=self._begin_seconds),
            trust_env=False,
        )


_LOADED = re.compile(r"^Loaded image(?: ID)?: (\S+)$", re.MULTILINE)


def _source(reference: str) -> Mapping[str, str]:
    """The image as the Engine wants to be told; with its tag, as it would load all of them else."""
    name = familiar(reference)
    if "@" in name:
        return {"fromImage": name}
    repository, _, tag = name.rpartition(":")
    return {"fromImage": repository, "tag": tag}


def _auth(registry: str, credentials: RegistryCredentials) -> Mapping[str, str]:
    address = server_address(registry)
    if credentials.identity_token:
        return {"identitytoken": credentials.identity_token, "serveraddress": address}
    return {
        "username": credentials.username,
        "password": credentials.password,
        "serveraddress": address,
    }


def _auth_header(reference: str, credentials: RegistryCredentials) -> Mapping[str, str]:
    body = msgspec.json.encode(_auth(registry(reference), credentials))
    return {"X-Registry-Auth": base64.urlsafe_b64encode(body).decode()}


async def _messages(answer: httpx.Response, what: str) -> AsyncIterator[_Message]:
    """What the Engine tells while it works, one message a line.

    Raises:
        EngineRefused: it tells of an error.
    """
    rest = b""
    async for piece in answer.aiter_raw():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield _understood(line, what)
        if len(rest) > _LONGEST_LINE:
            raise EngineUnavailable(f"The Docker Engine tells without end when {what}.")
    if rest.strip():
        yield _understood(rest, what)


def _understood(line: bytes, what: str) -> _Message:
    try:
        message = msgspec.json.decode(line, type=_Message)
    except msgspec.MsgspecError:
        return _Message()
    if message.error:
        raise told(what, message.error)
    return message


def _step(message: _Message) -> PullStep:
    # Where there is no detail, not even an empty one, ``id`` is not a layer's.
    if message.progress is None:
        return PullStep(layer="", status=message.status)
    return PullStep(
        layer=message.id,
        status=message.status,
        current_bytes=message.progress.current,
        total_bytes=message.progress.total,
    )


def _pull_fault(reference: str, fault: EngineRefused) -> AgentError:
    """What it means that a pull was refused."""
    if isinstance(fault, EngineFull):
        return fault
    if fault.status == 404 or _NOT_THERE.search(fault.reason):
        return ImageNotInRegistry(reference, fault.reason)
    if _NOT_LET_IN.search(fault.reason):
        return RegistryRefused(registry(reference), fault.reason)
    if fault.status == 400:
        return RequestUnreadable(fault.message)
    return fault


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as fault:
        raise _away(what, "it took too long") from fault
    except httpx.HTTPError as fault:
        if (lacking := shortage_within(fault)) is not None:
            raise lacking from fault
        raise _away(what, str(fault) or "it hung up") from fault


def _away(what: str, reason: str) -> EngineUnavailable:
    return EngineUnavailable(f"The Docker Engine did not answer when {what}: {reason}.", hint=_HINT)
