"""Which keys open the agent: the table of the manager's contract, and what attackers try."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from litestar.routes import HTTPRoute, WebSocketRoute

from adapters.memory.keys import MemoryKeys
from adapters.pyjwt_keys import PyjwtKeys
from domain.keys import Claims
from tests.support.agents import HOST_ID, JWT_SECRET, SERVER_KEY, World, agent_on_twins, application

pytestmark = pytest.mark.anyio


def signed(secret: str = JWT_SECRET, algorithm: str = "HS256", **claims: object) -> str:
    """A key as the manager signs it, with other claims where they are given."""
    payload = {"sub": HOST_ID, "role": "admin", "iat": int(time.time()), "jti": "a-key", **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, secret, algorithm=algorithm)


def by_hand(header: dict[str, object], secret: str = JWT_SECRET) -> str:
    """A key with a header that no library would write, signed as HS256."""
    parts = [header, {"sub": HOST_ID}]
    text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


NOW = int(time.time())

UNKEYED = by_hand({"alg": "HS256"}, secret="")
"""Signed with the secret that an agent without one might be taken to have."""

REFUSED = {
    "empty": "",
    "not a JWT": "nonsense",
    "dots": "..",
    "alg none": by_hand({"alg": "none"}).rpartition(".")[0] + ".",
    "alg none with a signature": by_hand({"alg": "none"}),
    "another secret": signed("another-secret-of-forty-characters-or-so"),
    "RS256 over the HMAC secret": by_hand({"alg": "RS256", "typ": "JWT"}),
    "HS512": signed(JWT_SECRET * 2, algorithm="HS512"),
    "expired": signed(exp=NOW - 60),
    "not yet valid": signed(nbf=NOW + 3600),
    "unknown crit": by_hand({"alg": "HS256", "crit": ["x"], "x": 1}),
    "no subject": signed(sub=None),
    "another host's": signed(sub="6f1b0a52-0000-4000-8000-000000000002"),
    "the user's admin key": signed(sub="user@example.com"),
    "subject in upper case": signed(sub=HOST_ID.upper()),
    "unicode": "schlüssel-🔑",
    "own key with a space": f"{SERVER_KEY} ",
    "own key cut": SERVER_KEY[:-1],
    "the secret itself": JWT_SECRET,
    "long": "a" * 20_000,
    "nul": "a\0b",
    "surrogate": "a\ud800",
}

ACCEPTED = {
    "the host's own": SERVER_KEY,
    "signed for the host": signed(),
    "signed, expires later": signed(exp=NOW + 3600),
    "signed by a clock that is ahead": signed(iat=NOW + 300),
    "signed without jti": signed(jti=None),
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


@pytest.mark.parametrize("key", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_the_right_keys_get_in(world: World, key: str) -> None:
    answer = await world.http.get("/agent/containers", headers={"X-Server-Key": key})

    assert answer.status_code == 200


@pytest.mark.parametrize("key", REFUSED.values(), ids=REFUSED.keys())
async def test_all_others_are_refused_in_the_same_words(world: World, key: str) -> None:
    raw = key.encode(errors="surrogatepass")
    answer = await world.http.get("/agent/containers", headers=[(b"X-Server-Key", raw)])
    without = await world.http.get("/agent/containers")

    assert (answer.status_code, without.status_code) == (401, 401)
    assert without.json() == answer.json()
    assert all(not key or key not in str(event) for event in world.log.events)


async def test_two_keys_are_refused_even_if_both_are_right(world: World) -> None:
    headers = [("X-Server-Key", SERVER_KEY), ("X-Server-Key", SERVER_KEY)]

    answer = await world.http.get("/agent/containers", headers=headers)

    assert answer.status_code == 401


async def test_a_key_in_the_query_is_none(world: World) -> None:
    answer = await world.http.get(f"/agent/containers?X-Server-Key={SERVER_KEY}")

    assert answer.status_code == 401


async def test_without_the_platforms_secret_only_the_own_key_is_good() -> None:
    async with agent_on_twins({"JWT_SECRET": ""}) as world:
        own = await world.http.get("/agent/containers", headers={"X-Server-Key": SERVER_KEY})
        other = await world.http.get("/agent/containers", headers={"X-Server-Key": signed()})
        empty = await world.http.get("/agent/containers", headers={"X-Server-Key": UNKEYED})

        assert [own.status_code, other.status_code, empty.status_code] == [200, 401, 401]


async def test_an_agent_without_any_key_lets_nobody_in() -> None:
    async with agent_on_twins({"JWT_SECRET": "", "SERVER_KEY": "", "HOST_ID": ""}) as world:
        for key in ("", UNKEYED, "x"):
            answer = await world.http.get("/agent/containers", headers={"X-Server-Key": key})
            assert answer.status_code == 401


async def test_every_route_wants_the_key_unless_it_is_listed_as_open(world: World) -> None:
    document = (await world.http.get("/openapi.json")).json()
    listed = {
        "/health",
        "/ready",
        "/metrics",
        "/system/info",
        "/system/resources",
    }
    for path, item in document["paths"].items():
        for method in item:
            answer = await world.http.request(method, path.replace("{name}", "a"))
            assert (answer.status_code == 401) == (path not in listed), (method, path)


async def test_what_is_routed_wants_the_key_too_whether_the_document_knows_it_or_not() -> None:
    """Sockets, streams, and what is left out of the document."""
    opened, sockets = set(), set()
    async with agent_on_twins() as world:
        with application(world.agent) as (app, _):
            for route in app._app.routes:
                path = re.sub(r"\{[^}]+\}", "a", route.path)
                if isinstance(route, WebSocketRoute):
                    sockets.add(path)
                    assert await _status(app, {"type": "websocket", "path": path}) == 401, path
                elif isinstance(route, HTTPRoute):
                    for method in sorted({*route.methods, "HEAD"} - {"OPTIONS"}):
                        answer = await world.http.request(method, path)
                        if answer.status_code not in {401, 405}:
                            opened.add(path)

    assert sockets == {"/api/v1/containers/a/exec/terminal"}
    assert opened == {
        "/health",
        "/ready",
        "/metrics",
        "/system/info",
        "/system/resources",
        "/openapi.json",
        "/docs",
    }


async def _status(app: Any, scope: dict[str, Any]) -> int:
    """What a handshake without a key is answered with."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    whole = {
        "asgi": {"version": "3.0"},
        "scheme": "ws",
        "http_version": "1.1",
        "raw_path": scope["path"].encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        **scope,
    }
    await app(whole, receive, send)
    assert sent[0]["type"] == "websocket.http.response.start", sent
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "path", ["/metrics", "/system/info", "/system/resources", "/openapi.json", "/docs"]
)
async def test_monitoring_can_be_put_behind_the_key(path: str) -> None:
    async with agent_on_twins({"MONITORING_AUTH": "true"}) as world:
        without = await world.http.get(path)
        header = await world.http.get(path, headers={"X-Server-Key": SERVER_KEY})
        bearer = await world.http.get(path, headers={"Authorization": f"Bearer {SERVER_KEY}"})
        both = await world.http.get(
            path, headers={"Authorization": "Bearer x", "X-Server-Key": SERVER_KEY}
        )

        assert [answer.status_code for answer in (without, header, bearer, both)] == [
            401,
            200,
            200,
            401,
        ]
        assert (await world.http.get("/health")).status_code == 200


class TestPort:
    """What the port promises, of both adapters."""

    @pytest.mark.parametrize("kind", ["memory", "pyjwt"])
    def test_a_good_key_tells_its_claims_and_any_other_none(self, kind: str) -> None:
        key = signed()
        memory = MemoryKeys()
        memory.admit(key, Claims(subject=HOST_ID, key_id="a-key"))
        keys = memory if kind == "memory" else PyjwtKeys(JWT_SECRET)

        assert keys.verify(key) == Claims(subject=HOST_ID, key_id="a-key")
        assert [keys.verify(other) for other in ("", "x", signed("z" * 40))] == [None] * 3

    def test_a_short_secret_works_without_a_word(self) -> None:
        with pytest.warns(Warning, match="HMAC"):
            key = signed("short")

        assert PyjwtKeys("short").verify(key) is not None
