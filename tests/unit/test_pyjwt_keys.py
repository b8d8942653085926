"""Keys as no manager would sign them: whatever the text, an answer and no fault."""

import base64
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.pyjwt_keys import MAX_KEY_LENGTH, PyjwtKeys
from domain.keys import Claims

SECRET = "the-platforms-secret-of-forty-characters"


def key(
    payload: str = '{"sub": "a"}',
    *,
    header: str = '{"alg": "HS256"}',
    secret: str = SECRET,
    digest: str = "sha256",
) -> str:
    """A key made by hand, with a signature that is right for ``digest``."""
    text = ".".join(_base64(part.encode()) for part in (header, payload))
    return f"{text}.{_base64(hmac.digest(secret.encode(), text.encode(), digest))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claiming(**claims: object) -> str:
    return key(json.dumps({"sub": "a", **claims}))


NOW = int(time.time())

ACCEPTED = {
    "bare": key(),
    "for whom else it may be": claiming(aud=["other"], iss="manager"),
    "signed by a clock that is ahead": claiming(iat=NOW + 3600),
    "signed at no time": claiming(iat="noon"),
    "with an identifier that is no text": claiming(jti=7),
    "with a header of more": key(header='{"alg": "HS256", "typ": "JWT", "kid": "1"}'),
}

REFUSED = {
    "subject a number": key('{"sub": 1}'),
    "subject a list": key('{"sub": ["a"]}'),
    "subject an object": key('{"sub": {"a": 1}}'),
    "subject null": key('{"sub": null}'),
    "subject empty": key('{"sub": ""}'),
    "no subject": key("{}"),
    "payload a list": key('["a"]'),
    "payload a text": key('"a"'),
    "payload null": key("null"),
    "payload no JSON": key("sub"),
    "payload nested deep": key("[" * 5000),
    "expiry without end": key('{"sub": "a", "exp": Infinity}'),
    "expiry beyond floats": key('{"sub": "a", "exp": 1e999}'),
    "expiry no number": key('{"sub": "a", "exp": NaN}'),
    "expiry null": claiming(exp=None),
    "expiry a list": claiming(exp=[NOW + 60]),
    "expiry of 4000 digits": key(f'{{"sub": "a", "exp": -{"9" * 4000}}}'),
    "beginning without end": key('{"sub": "a", "nbf": Infinity}'),
    "crit that is known": key(header='{"alg": "HS256", "crit": ["exp"]}'),
    "crit that is empty": key(header='{"alg": "HS256", "crit": []}'),
    "crit null": key(header='{"alg": "HS256", "crit": null}'),
    "payload not encoded": key(header='{"alg": "HS256", "b64": false, "crit": ["b64"]}'),
    "payload apart": key(header='{"alg": "HS256", "b64": false}'),
    "alg in lower case": key(header='{"alg": "hs256"}'),
    "alg None": key(header='{"alg": "None"}'),
    "alg null": key(header='{"alg": null}'),
    "alg a list": key(header='{"alg": ["HS256"]}'),
    "alg twice": key(header='{"alg": "HS256", "alg": "none"}'),
    "no alg": key(header="{}"),
    "header a list": key(header="[]"),
    "header nested deep": key(header="[" * 5000),
    "HS384": key(header='{"alg": "HS384"}', digest="sha384"),
    "HS512": key(header='{"alg": "HS512"}', digest="sha512"),
    "HS512 under another name": key(digest="sha512"),
    "an empty secret": key(secret=""),
    "signature cut": key()[:-4],
    "signature empty": key().rpartition(".")[0] + ".",
    "four parts": key() + ".x",
    "a space before": " " + key(),
    "a line end after": key() + "\n",
    "a NUL after": key() + "\0",
    "too long": key(json.dumps({"sub": "a" * MAX_KEY_LENGTH})),
    "a megabyte": "a." * 500_000,
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_the_manager_may_leave_out_or_add_is_no_fault(text: str) -> None:
    assert PyjwtKeys(SECRET).verify(text) == Claims(subject="a")


def test_clocks_may_differ_by_seconds() -> None:
    now = int(time.time())

    assert PyjwtKeys(SECRET).verify(claiming(exp=now - 1)) is not None
    assert PyjwtKeys(SECRET).verify(claiming(nbf=now + 2)) == Claims(subject="a")
    assert PyjwtKeys(SECRET).verify(claiming(exp=now - 60)) is None
    assert PyjwtKeys(SECRET).verify(claiming(nbf=now + 60)) is None


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused(text: str) -> None:
    assert PyjwtKeys(SECRET).verify(text) is None


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_secret_no_key_is_good(secret: str | None) -> None:
    assert PyjwtKeys(secret).verify(key(secret="")) is None
    assert PyjwtKeys(secret).verify(key()) is None


@given(st.text(alphabet=st.characters()))
def test_no_text_is_a_key_or_raises(text: str) -> None:
    assert PyjwtKeys(SECRET).verify(text) is None


@given(payload=st.text(), header=st.text())
def test_no_signed_text_raises(payload: str, header: str) -> None:
    for made in (key(payload), key(header=header)):
        assert PyjwtKeys(SECRET).verify(made) is None


@given(
    name=st.sampled_from(["exp", "nbf", "iat", "aud", "iss"]),
    value=st.floats() | st.integers() | st.text() | st.none() | st.lists(st.integers()),
)
def test_claims_of_any_kind_are_no_fault(name: str, value: object) -> None:
    claims = PyjwtKeys(SECRET).verify(claiming(**{name: value}))

    assert claims is None or (claims.subject, claims.key_id) == ("a", "")


@pytest.mark.parametrize(
    ("exp", "until"),
    [
        (NOW + 3600, NOW + 3605),
        (str(NOW + 3600), NOW + 3605),
        (10**15, None),
        (10**400, None),
    ],
    ids=["number", "text", "after the year 9999", "beyond all numbers"],
)
def test_until_when_a_key_is_good_is_known(exp: object, until: int | None) -> None:
    claims = PyjwtKeys(SECRET).verify(claiming(exp=exp))

    assert claims is not None
    assert (claims.expires_at and claims.expires_at.timestamp()) == until
