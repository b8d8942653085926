"""What the Engine's refusals mean: of one on a socket of its own, and of the in-memory one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from types import MappingProxyType

import msgspec
import pytest

from adapters.docker.client import EngineClient
from adapters.docker.named import named
from adapters.docker.streams import Answer
from adapters.memory.references import found
from domain.errors import (
    AgentError,
    CapacityExceeded,
    EngineFull,
    EngineRefused,
    EngineUnavailable,
    RequestUnreadable,
    ResourceAmbiguous,
    ResourceConflict,
    ResourceNotFound,
)

pytestmark = pytest.mark.anyio

NOT_FOUND = "No such container: web"


@contextmanager
def engine(folder: Path, status: int, body: bytes) -> Iterator[str]:
    """The address of an Engine that knows its version, and answers all else with one answer."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked_version = self.path.endswith("/version")
            content = b'{"ApiVersion": "1.45"}' if asked_version else body
            self.send_response(200 if asked_version else status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def address_string(self) -> str:
            return ""

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingUnixStreamServer(str(folder / "docker.sock"), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"unix://{folder}/docker.sock"
        server.shutdown()
        thread.join()


def said(message: str) -> bytes:
    return msgspec.json.encode({"message": message})


async def refused(folder: Path, status: int, body: bytes, *, kind: str = "container") -> AgentError:
    """What becomes of a call that the Engine answers so."""
    with engine(folder, status, body) as address:
        client = EngineClient(address)
        try:
            with pytest.raises(AgentError) as caught, named(kind, "web"):
                await client.look("looking at web", lambda api: api.inspect_container("web"))
        finally:
            await client.aclose()
    return caught.value


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (404, NOT_FOUND, ResourceNotFound),
        (404, "", ResourceNotFound),
        (404, "network lab_default not found", ResourceConflict),
        (404, "No such image: web:latest", ResourceConflict),
        (400, "multiple IDs found with provided prefix: b", ResourceAmbiguous),
        (400, "cannot kill container: web: invalid signal: FOO", RequestUnreadable),
        (409, "container abc is not running", ResourceConflict),
        (403, "bridge is a pre-defined network and cannot be removed", ResourceConflict),
        (500, "Container abc is not paused", ResourceConflict),
        (500, "Bind for 0.0.0.0:80 failed: port is already allocated", ResourceConflict),
        (
            500,
            "unable to find user eve: no matching entries in passwd file",
            RequestUnreadable,
        ),
        (500, "uids and gids must be in range 0-2147483647", RequestUnreadable),
        (
            500,
            "error during container init: sethostname: invalid argument: unknown",
            RequestUnreadable,
        ),
        (500, "error setting rlimits for process", RequestUnreadable),
        (500, "source /merged/etc/hosts is not directory", RequestUnreadable),
        (500, "cannot pause a stopped container: unknown", ResourceConflict),
        (
            500,
            "no available IPv4 addresses on this network's address pools: n (0)",
            CapacityExceeded,
        ),
        (500, "the shim has gone", EngineRefused),
        (500, "mkdir /data/volumes/a: no space left on device", EngineFull),
        (409, "write /data/containers/a/config.v2.json: disk quota exceeded", EngineFull),
        (503, "not now", EngineRefused),
    ],
)
async def test_each_refusal_of_the_engine_has_its_meaning(
    tmp_path: Path, status: int, message: str, expected: type[AgentError]
) -> None:
    fault = await refused(tmp_path, status, said(message))

    assert type(fault) is expected
    if expected not in {ResourceNotFound, ResourceAmbiguous}:
        assert message in fault.message


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("image", "No such image: web:latest"),
        ("network", "network web not found"),
        ("volume", "get web: no such volume"),
    ],
)
async def test_what_is_missing_is_told_in_the_engines_words_for_each_kind(
    tmp_path: Path, kind: str, message: str
) -> None:
    fault = await refused(tmp_path, 404, said(message), kind=kind)

    assert isinstance(fault, ResourceNotFound)
    assert fault.message == f"There is no {kind} 'web' on this host."


async def test_a_refusal_keeps_the_engines_status_and_words(tmp_path: Path) -> None:
    fault = await refused(tmp_path, 500, said("the shim has gone"))

    assert isinstance(fault, EngineRefused)
    assert (fault.status, fault.reason) == (500, "the shim has gone")


async def test_an_answer_that_is_no_json_is_told_as_it_is(tmp_path: Path) -> None:
    fault = await refused(tmp_path, 502, b"<html>bad gateway</html>")

    assert "bad gateway" in fault.message


async def test_an_engine_that_is_away_is_no_refusal(tmp_path: Path) -> None:
    client = EngineClient(f"unix://{tmp_path}/nobody.sock")

    with pytest.raises(EngineUnavailable), named("container", "web"):
        await client.look("looking at web", lambda api: api.inspect_container("web"))


def test_a_long_answer_that_is_refused_tells_the_status_too(tmp_path: Path) -> None:
    with engine(tmp_path, 409, said("it has no log")) as address:
        answer = Answer(address, "/containers/web/logs", {}, seconds=5, endless=False)
        with pytest.raises(ResourceConflict), named("container", "web"):
            list(answer.pieces())


class TestTheTwin:
    """The in-memory Engine finds and refuses in the same way."""

    known = MappingProxyType({"web": "abc1", "db": "abd2", "abd": "eee3"})

    @pytest.mark.parametrize(
        ("reference", "expected"),
        [("web", "web"), ("abc1", "web"), ("abc", "web"), ("e", "abd"), ("abd", "abd")],
    )
    def test_names_identifiers_and_their_beginnings_find(
        self, reference: str, expected: str
    ) -> None:
        assert found("container", reference, self.known) == expected

    def test_a_beginning_of_several_is_ambiguous(self) -> None:
        with pytest.raises(ResourceAmbiguous):
            found("container", "ab", self.known)

    @pytest.mark.parametrize("reference", ["we", "abcd1", "x"])
    def test_anything_else_finds_nothing(self, reference: str) -> None:
        with pytest.raises(ResourceNotFound):
            found("container", reference, self.known)
