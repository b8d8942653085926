"""Headers and query parameters as values."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import RequestUnreadable
from entrypoints.http.request_headers import (
    MAX_WAIT_SECONDS,
    accepted,
    content_digest,
    idempotency_key,
    last_event_id,
    prefer_wait,
)

DIGEST = hashlib.sha256(b"lab").digest()
BASE64 = base64.b64encode(DIGEST).decode()
SHA_512 = f"sha-512=:{base64.b64encode(hashlib.sha512(b'lab').digest()).decode()}:"

# Texts that are near enough to headers to get far into their readers.
header_texts = st.one_of(
    st.text(),
    st.text(alphabet='wait=0159;, "\\:sh-26T+.Zkmgb\t\n٣'),
)


SSE, NDJSON, TEXT = "text/event-stream", "application/x-ndjson", "text/plain"


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([], TEXT),
        ([""], TEXT),
        (["*/*"], TEXT),
        (["text/*"], TEXT),
        (["text/html, application/xml;q=0.9, */*;q=0.8"], TEXT),
        (["image/png"], TEXT),
        ([NDJSON], NDJSON),
        (["Application/X-NDJSON"], NDJSON),
        (["application/x-ndjson; charset=utf-8"], NDJSON),
        ([TEXT, NDJSON], NDJSON),
        ([f"{SSE}, */*"], SSE),
        ([f"{NDJSON}, {SSE}"], SSE),
        ([f"{SSE};q=0.5, {NDJSON}"], NDJSON),
        ([f"{NDJSON};q=0, {SSE};Q=0.001"], SSE),
        ([f"{NDJSON};q=0"], TEXT),
        ([f"{NDJSON};q=0.2, {TEXT};q=0.3"], TEXT),
        ([f"{NDJSON};q=0.2, text/*;q=0.1"], NDJSON),
        ([f"{NDJSON};q=much"], NDJSON),
        ([f"x{NDJSON}, {SSE}s"], TEXT),
    ],
)
def test_the_form_that_is_wanted_most(values: list[str], form: str) -> None:
    assert accepted(values, (SSE, NDJSON, TEXT), otherwise=TEXT) == form


@given(st.lists(header_texts))
def test_no_wish_for_a_form_fails_a_request(values: list[str]) -> None:
    assert accepted(values, (SSE, NDJSON), otherwise=SSE) in {SSE, NDJSON}


@pytest.mark.parametrize(
    ("values", "wait"),
    [
        (["wait=10"], 10.0),
        (["wait=0"], 0.0),
        (['wait="10"'], 10.0),
        (["WAIT = 10"], 10.0),
        (["respond-async, wait=10; foo"], 10.0),
        (["respond-async;x=1,wait=10"], 10.0),
        (["respond-async", "wait=10"], 10.0),
        ([r'note="say \", wait=5", wait=10'], 10.0),
        (["wait=10, wait=20"], 10.0),
        (["wait=601"], MAX_WAIT_SECONDS),
        ([f"wait={'9' * 9000}"], MAX_WAIT_SECONDS),
    ],
)
def test_a_caller_that_would_wait_is_understood(values: list[str], wait: float) -> None:
    assert prefer_wait(values) == wait


@pytest.mark.parametrize(
    "value",
    [
        *["", "respond-async", "return=minimal", "waiting=10", "x;wait=10", 'x="wait=10"'],
        *["wait", "wait=", 'wait=""', "wait=soon", "wait=-1", "wait=1.5", "wait=1e3", "wait=inf"],
        *["wait=٣", "wait=10 20", 'wait="10', "wait=soon, wait=10", ",,;=", '"', "\\"],
    ],
)
def test_any_other_preference_is_passed_over(value: str) -> None:
    assert prefer_wait([value]) is None


def test_no_preference_is_no_wait() -> None:
    assert prefer_wait([]) is None


@given(st.lists(header_texts))
def test_no_preference_fails_a_request(values: list[str]) -> None:
    wait = prefer_wait(values)

    assert wait is None or 0 <= wait <= MAX_WAIT_SECONDS


@pytest.mark.timeout(10)
@pytest.mark.parametrize("hostile", ['"\\' * 50_000, '"' * 99_999, 'a="' * 33_333, "," * 100_000])
def test_a_hostile_list_is_read_in_one_go(hostile: str) -> None:
    assert prefer_wait([hostile]) is None


@pytest.mark.parametrize(
    "values",
    [
        [f"sha-256=:{BASE64}:"],
        [f"  sha-256=:{BASE64}:\t"],
        [f"SHA-256=:{BASE64}:"],
        [f"sha-256=:{BASE64.rstrip('=')}:"],
        [f'sha-256=:{BASE64}:; a="x, y"'],
        [f"{SHA_512}, sha-256=:{BASE64}:"],
        [f"sha-256=:{BASE64}:,{SHA_512}"],
        [SHA_512, f"sha-256=:{BASE64}:"],
        [f"sha-256=:{BASE64}:", f"sha-256=:{BASE64}:"],
    ],
)
def test_the_sha_256_is_found_among_the_digests(values: list[str]) -> None:
    assert content_digest(values) == DIGEST


@pytest.mark.parametrize("values", [[], [""], [" , "], [SHA_512], ["x=:AA==:, y=::"]])
def test_digests_that_cannot_be_checked_are_none(values: list[str]) -> None:
    assert content_digest(values) is None


@pytest.mark.parametrize(
    "value",
    [
        *["sha-256", "sha-256=", "sha-256=::", "sha-256=:AAAA:", "sha-256=:!:", "sha-256=::::"],
        *[f"sha-256={BASE64}", f"sha-256:{BASE64}", f"sha-256=:{BASE64}", f"sha-256=:{BASE64}=:"],
        *[f"sha-256=:{BASE64}:x", f"sha-256=:{BASE64[:-2]}:", f"sha-256=:{DIGEST.hex()}:"],
        *[f"sha-256=:{BASE64.replace('=', '-')}:", f'sha-256=":{BASE64}:"', f"{SHA_512}, lab"],
        f"sha-256=:{BASE64}:, sha-256=:{'A' * 43}=:",
    ],
)
def test_a_digest_that_is_none_is_refused_and_its_spelling_told(value: str) -> None:
    with pytest.raises(RequestUnreadable, match="Content-Digest") as refusal:
        content_digest([value])

    assert "sha-256=:" in refusal.value.hint
    assert len(refusal.value.detail) < 300


@given(st.binary(min_size=32, max_size=32), st.lists(st.sampled_from([SHA_512, "x=:AA==:"])))
def test_every_sha_256_comes_out_as_it_went_in(digest: bytes, others: list[str]) -> None:
    member = f"sha-256=:{base64.b64encode(digest).decode()}:"

    assert content_digest([", ".join([*others, member, *others])]) == digest


@given(st.lists(header_texts))
def test_a_digest_is_32_bytes_or_none_or_refused(values: list[str]) -> None:
    try:
        digest = content_digest(values)
    except RequestUnreadable:
        return
    assert digest is None or len(digest) == 32


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("6f1b0a52-0000-4000-8000-000000000001", "6f1b0a52-0000-4000-8000-000000000001"),
        ('"6f1b0a52"', "6f1b0a52"),
        (" k\t", "k"),
        (r'"a\"b\\c"', r'a"b\c'),
        ('it"s', 'it"s'),
        ("k" * 200, "k" * 200),
        (f'"{"k" * 200}"', "k" * 200),
        ("!~", "!~"),
    ],
)
def test_an_idempotency_key_comes_without_its_quotes(value: str, key: str) -> None:
    assert idempotency_key([value]) == key


def test_no_idempotency_key_is_none() -> None:
    assert idempotency_key([]) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", "b"], "more than once"),
        (["a", "a"], "more than once"),
        (["k" * 201], "200"),
        ([f'"{"k" * 201}"'], "200"),
        ([""], "empty"),
        (['""'], "empty"),
        (["a b"], "visible"),
        (["a\tb"], "visible"),
        (["a\n"], "visible"),
        (["ä"], "visible"),
        (["k\x7f"], "visible"),
        (['"a b"'], "visible"),
        (['"a'], "quote"),
        (['"'], "quote"),
        (['"a"b"'], "quote"),
        (['"a";x=1'], "quote"),
        ([r'"a\n"'], "quote"),
    ],
)
def test_any_other_idempotency_key_is_refused(values: list[str], words: str) -> None:
    with pytest.raises(RequestUnreadable, match=words) as refusal:
        idempotency_key(values)

    assert "Idempotency-Key" in refusal.value.message
    assert "UUID" in refusal.value.hint


@given(header_texts)
def test_an_idempotency_key_is_visible_and_short_or_refused(value: str) -> None:
    try:
        key = idempotency_key([value])
    except RequestUnreadable:
        return
    assert key is not None
    assert 1 <= len(key) <= 200
    assert all("!" <= character <= "~" for character in key)


@pytest.mark.parametrize(
    ("values", "number"),
    [
        (["0"], 0),
        (["42"], 42),
        ([" 42 "], 42),
        (["007"], 7),
        (["9" * 18], 10**18 - 1),
        ([], 0),
        ([""], 0),
        (["1", "2"], 0),
        *[([value], 0) for value in ("-1", "1.5", "+1", "1e3", "0x1", "1_0", "٣", "x", "9" * 19)],
    ],
)
def test_the_last_event_is_a_whole_number_or_none_was_seen(values: list[str], number: int) -> None:
    assert last_event_id(values) == number


@given(st.lists(header_texts))
def test_no_last_event_fails_a_request(values: list[str]) -> None:
    assert 0 <= last_event_id(values) < 2**63
