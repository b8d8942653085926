"""Forms, read as they come."""

import tracemalloc
from collections.abc import AsyncIterator, Sequence

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import BundleRefused, RequestTooLarge, RequestUnreadable
from entrypoints.http.multipart_body import (
    MAX_FIELD_BYTES,
    MAX_FIELDS_BYTES,
    MAX_PARTS,
    Form,
    read_form,
)

pytestmark = pytest.mark.anyio

BOUNDARY = "b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
DISPOSITION = "Content-Disposition: form-data; "
BLOCK = 64 * 1024
MEGABYTE = 1024 * 1024


class Taker:
    """Takes the file of a form, and remembers what came of it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.taken = 0
        self.discarded: list[bytes] = []

    async def take(self, pieces: AsyncIterator[bytes]) -> bytes:
        async for piece in pieces:
            self.pieces.append(piece)
        self.taken += 1
        return b"".join(self.pieces)

    async def discard(self, content: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.discarded.append(content)


def part(name: str, content: bytes, *headers: str, filename: str | None = None) -> bytes:
    """One part of a body, without what stands around it."""
    file = "" if filename is None else f'; filename="{filename}"'
    lines = [f'{DISPOSITION}name="{name}"{file}', *headers, "", ""]
    return "\r\n".join(lines).encode() + content


def body_of(*parts: bytes) -> bytes:
    """A whole body."""
    opened = b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), each) for each in parts)
    return opened + f"--{BOUNDARY}--\r\n".encode()


def whole_form(archive: bytes) -> bytes:
    """A body as a caller would send it."""
    return body_of(
        part("name", b"lab-1"),
        part("bundle", archive, "Content-Type: application/zip", filename="../../lab.zip"),
        part("vpn_profile", b"client\r\n", filename="vpn.ovpn"),
    )


async def sent(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Chunks as a server gives them."""
    for chunk in chunks:
        await anyio.lowlevel.checkpoint()
        yield chunk


async def read(
    chunks: Sequence[bytes] | bytes,
    *,
    taker: Taker | None = None,
    content_type: str = CONTENT_TYPE,
    max_bytes: int = 100 * MEGABYTE,
) -> Form[bytes]:
    """Reads a body that comes whole or in the chunks given."""
    taker = taker or Taker()
    return await read_form(
        content_type,
        sent([chunks] if isinstance(chunks, bytes) else chunks),
        taker.take,
        discard=taker.discard,
        max_bytes=max_bytes,
    )


async def outcome(chunks: Sequence[bytes]) -> tuple[object, ...]:
    """All that can be seen of a reading."""
    taker = Taker()
    try:
        form = await read(chunks, taker=taker)
    except RequestUnreadable as fault:
        return (fault.detail, b"".join(taker.pieces), taker.discarded)
    return (dict(form.fields), form.file, taker.discarded)


async def test_fields_are_kept_and_the_file_is_handed_on() -> None:
    form = await read(whole_form(b"PK archive"))

    assert form.fields == {"name": b"lab-1", "vpn_profile": b"client\r\n"}
    assert form.file == b"PK archive"


async def test_a_form_without_a_file_has_none() -> None:
    taker = Taker()

    form = await read(body_of(part("name", b"lab-1")), taker=taker)

    assert (form.fields, form.file, taker.taken) == ({"name": b"lab-1"}, None, 0)


async def test_an_empty_file_is_a_file() -> None:
    assert (await read(body_of(part("bundle", b"", filename="")))).file == b""


async def test_a_form_without_parts_is_empty() -> None:
    form = await read(body_of())

    assert (form.fields, form.file) == ({}, None)


@pytest.mark.parametrize(
    "files",
    [
        {"bundle": b"PK"},
        {"bundle": ("lab.zip", b"PK", "application/zip")},
        {"bundle": ('la"b\r\n\\ü.zip', b"PK")},
    ],
)
async def test_what_a_usual_client_sends_is_read(files: dict[str, bytes]) -> None:
    request = httpx.Request("POST", "http://agent", data={"näme": "läb"}, files=files)

    form = await read(request.read(), content_type=request.headers["content-type"])

    assert form.fields == {"näme": "läb".encode()}
    assert form.file == b"PK"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('MULTIPART/Form-Data; charset=utf-8 ; BOUNDARY="b0undary"', b"b0undary"),
        ("multipart/form-data;boundary=----=_Part_1_2.3", b"----=_Part_1_2.3"),
        ('multipart/form-data; boundary="a b:c"; x=y', b"a b:c"),
        (f"multipart/form-data; boundary={'x' * 70}", b"x" * 70),
    ],
)
async def test_every_valid_boundary_is_understood(content_type: str, boundary: bytes) -> None:
    body = body_of(part("name", b"lab")).replace(BOUNDARY.encode(), boundary)

    assert (await read(body, content_type=content_type)).fields == {"name": b"lab"}


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        ("", "Content-Type is ''"),
        ("application/json", "application/json"),
        ("multipart/mixed; boundary=b0undary", "multipart/mixed"),
        ("multipart/form-data", "no boundary"),
        ("multipart/form-data; x=boundary=b0undary", "no boundary"),
        ("multipart/form-data; boundary=a; boundary=b", "more than one boundary"),
        ("multipart/form-data; boundary=", "1 to 70"),
        ('multipart/form-data; boundary=""', "1 to 70"),
        ('multipart/form-data; boundary="a "', "1 to 70"),
        ('multipart/form-data; boundary="a\r\nb"', "1 to 70"),
        ("multipart/form-data; boundary=ünï", "1 to 70"),
        (f"multipart/form-data; boundary={'x' * 71}", "1 to 70"),
        (f"multipart/form-data; boundary={'x' * 5000}", "absurdly long"),
    ],
)
async def test_another_content_type_or_boundary_is_refused(content_type: str, words: str) -> None:
    with pytest.raises(RequestUnreadable, match=words) as refusal:
        await read(whole_form(b"PK"), content_type=content_type)

    assert "bundle=@" in refusal.value.hint
    assert len(refusal.value.detail) < 400


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "before a first part"),
        (b"PK\x03\x04" * 1000, "before a first part"),
        (whole_form(b"PK").replace(b"b0undary", b"an0ther"), "before a first part"),
        (b'--b0undary\r\nContent-Disposition: form-data; name="na', "before a first part"),
        (whole_form(b"PK")[:-4], "ends in the middle"),
        (body_of(part("name", b"lab"))[:-15], "ends in the middle"),
        (body_of(part("a", b"1"), part("a", b"2")), "'a' comes twice"),
        (body_of(part("bundle", b"1"), part("bundle", b"2")), "bundle comes twice"),
        (body_of(part("", b"1")), "no name"),
        (body_of(b"Content-Disposition: form-data\r\n\r\n1"), "no name"),
        (body_of(b"Content-Disposition: attachment; name=a\r\n\r\n1"), "Wrong type"),
        (body_of(b"Content-Type: text/plain\r\n\r\n1"), "missing Content-Disposition"),
        (body_of(b"\r\n1"), "missing Content-Disposition"),
        (body_of(part("a", b"1", 'Content-Disposition: form-data; name="b"')), "header twice"),
        (body_of(part("a", b"1", "Content-Type: multipart/mixed; boundary=x")), "form of its own"),
        (body_of(part("bundle", b"UEs=", "Content-Transfer-Encoding: BASE64")), "encoded"),
        (body_of(part("a", b"1", "X: a\0b")), "control characters"),
        (body_of(part("a", b"1", "X: a\nY: b")), "control characters|line break"),
        (body_of(part("a", b"1", "no header")), "malformed"),
        (body_of(part("a", b"1", "a b: c")), "header name"),
        (body_of(part("a", b"1", f"X: {'x' * 5000}")), "header length"),
        (body_of(part("a", b"1", *(f"X-{n}: x" for n in range(9)))), "header count"),
        (body_of(part("a", b"1", "Content-Length: 2")), "size does not match"),
        (body_of(part("a", b"123", "Content-Length: 2")), "Content-Length exceeded"),
        (body_of(part("a", b"1", "Content-Length: -1")), "Content-Length"),
        (body_of(part("a", b"1\r\n--b0undaryX\r\n")), "bytes after boundary"),
        (b"x" + body_of(part("a", b"1")), "front of first boundary"),
        (body_of(part("a", b"1")).replace(b"\r\n", b"\n"), "line break"),
    ],
)
async def test_a_broken_body_is_refused_with_the_reason(body: bytes, words: str) -> None:
    with pytest.raises(RequestUnreadable, match=words) as refusal:
        await read(body)

    assert refusal.value.message.startswith("The body is not a form: ")
    assert "bundle=@" in refusal.value.hint
    assert len(refusal.value.detail) < 400


async def test_a_header_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(RequestUnreadable, match="decode"):
        await read(body_of(part("a", b"1", "X: ?")).replace(b"?", b"\xff"))


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "Binary"])
async def test_a_part_that_says_it_is_not_encoded_is_taken(encoding: str) -> None:
    body = body_of(part("bundle", b"PK", f"Content-Transfer-Encoding: {encoding}"))

    assert (await read(body)).file == b"PK"


async def test_what_stands_before_and_after_the_parts_is_passed_over() -> None:
    body = b"A preamble.\r\n" + whole_form(b"PK") + b"An epilogue.\r\n" * 10_000

    assert (await read(body)).file == b"PK"


async def test_as_many_parts_as_may_be_are_read_and_no_more() -> None:
    parts = [part(f"field-{number}", b"x") for number in range(MAX_PARTS)]

    assert len((await read(body_of(*parts))).fields) == MAX_PARTS
    with pytest.raises(RequestUnreadable, match="more than 100 parts"):
        await read(body_of(*parts, part("bundle", b"PK")))


async def test_a_field_may_be_as_long_as_it_may_be_and_no_longer() -> None:
    content = b"x" * MAX_FIELD_BYTES

    assert (await read(body_of(part("vpn", content)))).fields["vpn"] == content
    with pytest.raises(RequestUnreadable, match="'vpn' is longer than 1048576 bytes"):
        await read(body_of(part("vpn", content + b"x")))


async def test_all_fields_together_have_a_limit_that_the_file_does_not_share() -> None:
    fields = [part(f"field-{number}", b"x" * MAX_FIELD_BYTES) for number in range(4)]
    archive = part("bundle", b"x" * (MAX_FIELDS_BYTES + 1))

    form = await read(body_of(archive, *fields))

    assert sum(map(len, form.fields.values())) == MAX_FIELDS_BYTES
    assert form.file is not None
    assert len(form.file) == MAX_FIELDS_BYTES + 1
    with pytest.raises(RequestUnreadable, match="4194304 bytes together"):
        await read(body_of(archive, *fields, part("one-more", b"x")))


async def test_a_body_may_be_as_long_as_it_may_be_and_no_longer() -> None:
    body = whole_form(b"x" * 3 * BLOCK)

    assert (await read([body, b""], max_bytes=len(body))).file is not None
    with pytest.raises(RequestTooLarge, match=str(len(body) - 1)):
        await read([body, b""], max_bytes=len(body) - 1)


async def test_what_comes_after_the_form_counts_too() -> None:
    body = whole_form(b"PK")
    taker = Taker()

    with pytest.raises(RequestTooLarge):
        await read([body + b"x" * BLOCK, b"x" * BLOCK], taker=taker, max_bytes=100_000)

    assert taker.discarded == [b"PK"]


# Contents that look as though the part ended.
archives = (
    st.lists(
        st.one_of(
            st.sampled_from([b"\r", b"\n", b"\r\n--", b"\r\n--b0undar", b"--b0undary"]),
            st.binary(max_size=50),
        ),
        max_size=8,
    )
    .map(b"".join)
    .filter(lambda archive: b"\r\n--b0undary" not in archive)
)


@given(archive=archives, cuts=st.lists(st.integers(0, 800)))
@settings(deadline=None)
async def test_a_form_reads_the_same_however_it_is_cut(archive: bytes, cuts: list[int]) -> None:
    form = await read(cut(whole_form(archive), cuts))

    assert form.fields == {"name": b"lab-1", "vpn_profile": b"client\r\n"}
    assert form.file == archive


def cut(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    """A body in chunks, some of them empty."""
    ends = [*sorted(cuts), len(body)]
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


pieces_of_bodies = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *[b"--b0undary", b"--b0undary\r\n", b"\r\n--b0undary\r\n", b"\r\n--b0undary--"],
                *[b"\r\n", b"\r", b"\n", b"--", b"\r\n\r\n", b" folded", b"x"],
                *[b"Content-Disposition: form-data; ", b'name="bundle"', b"name=a", b'name="'],
                *[b"Content-Length: 3\r\n", b"Content-Type: multipart/mixed", b"X: y\n"],
                *[part("bundle", b"PK"), part("a", b"1"), part("b", b"2")],
            ]
        ),
        st.binary(max_size=20),
    ),
    max_size=15,
).map(b"".join)


@given(body=pieces_of_bodies, cuts=st.lists(st.integers(0, 500)))
@settings(deadline=None, max_examples=300)
async def test_anything_at_all_is_read_or_refused_the_same_however_it_is_cut(
    body: bytes, cuts: list[int]
) -> None:
    for tried in (body, b"--b0undary\r\n" + body):
        whole = await outcome([tried])

        assert await outcome(cut(tried, cuts)) == whole
        assert await outcome([bytes([byte]) for byte in tried]) == whole


@pytest.mark.parametrize("tail", [b"", b"\r", b"\r\n", b"\r\n--b0undar", b"\r\n--b0undarx"])
async def test_a_boundary_that_lies_across_two_blocks_is_found(tail: bytes) -> None:
    head = whole_form(b"<archive>").index(b"<archive>")
    for size in range(BLOCK - head - 130, BLOCK - head + 5):
        archive = b"x" * size + tail

        form = await read(whole_form(archive))

        assert form.file == archive
        assert form.fields["vpn_profile"] == b"client\r\n"


async def test_the_file_is_handed_on_before_the_rest_has_come() -> None:
    asked = 0

    async def slowly() -> AsyncIterator[bytes]:
        nonlocal asked
        for chunk in cut(whole_form(b"x" * 20 * BLOCK), range(0, 20 * BLOCK, BLOCK)):
            asked += 1
            yield chunk

    async def take(pieces: AsyncIterator[bytes]) -> list[int]:
        return [asked async for _ in pieces]

    form = await read_form(
        CONTENT_TYPE, slowly(), take, discard=_discarded_never, max_bytes=100 * MEGABYTE
    )

    assert form.file is not None
    assert form.file[0] <= 3
    assert form.file == sorted(form.file)
    assert form.file[-1] >= 20


async def _discarded_never(value: object) -> None:
    raise AssertionError(f"{value} was discarded")


async def test_a_chunk_of_any_size_is_handed_on_in_small_pieces() -> None:
    taker = Taker()

    await read(whole_form(b"x" * 10 * MEGABYTE), taker=taker)

    assert sum(map(len, taker.pieces)) == 10 * MEGABYTE
    assert max(map(len, taker.pieces)) <= 2 * BLOCK


async def test_memory_does_not_grow_with_the_file() -> None:
    chunk = bytes(range(256)) * 256
    head, tail = whole_form(b"<archive>").split(b"<archive>")

    async def large() -> AsyncIterator[bytes]:
        yield head
        for _ in range(200 * MEGABYTE // len(chunk)):
            yield chunk
        yield tail

    async def take(pieces: AsyncIterator[bytes]) -> int:
        return sum([len(piece) async for piece in pieces])

    tracemalloc.start()
    try:
        form = await read_form(
            CONTENT_TYPE, large(), take, discard=_discarded_never, max_bytes=300 * MEGABYTE
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert form.file == 200 * MEGABYTE
    assert form.fields["vpn_profile"] == b"client\r\n"
    assert peak < 2 * MEGABYTE


async def test_a_failure_of_the_taker_comes_through_as_it_is() -> None:
    refusal = BundleRefused("The archive is too large.")
    given_on: list[AsyncIterator[bytes]] = []

    async def take(pieces: AsyncIterator[bytes]) -> bytes:
        given_on.append(pieces)
        await anext(pieces)
        raise refusal

    with pytest.raises(BundleRefused) as raised:
        await read_form(
            CONTENT_TYPE,
            sent([whole_form(b"x" * 3 * BLOCK)]),
            take,
            discard=_discarded_never,
            max_bytes=100 * MEGABYTE,
        )

    assert raised.value is refusal
    assert [piece async for piece in given_on[0]] == []


@pytest.mark.parametrize("pieces_read", [0, 1])
async def test_what_the_taker_leaves_is_passed_over(pieces_read: int) -> None:
    kept: list[AsyncIterator[bytes]] = []

    async def take(pieces: AsyncIterator[bytes]) -> str:
        kept.append(pieces)
        for _ in range(pieces_read):
            await anext(pieces)
        return "enough"

    form = await read_form(
        CONTENT_TYPE,
        sent([whole_form(b"x" * 3 * BLOCK)]),
        take,
        discard=_discarded_never,
        max_bytes=100 * MEGABYTE,
    )

    assert form.file == "enough"
    assert form.fields == {"name": b"lab-1", "vpn_profile": b"client\r\n"}
    assert [piece async for piece in kept[0]] == []


@pytest.mark.parametrize(
    ("body", "max_bytes", "failure"),
    [
        (whole_form(b"x" * 3 * BLOCK), 2 * BLOCK, RequestTooLarge),
        (whole_form(b"x" * 3 * BLOCK), 3 * BLOCK + 200, RequestTooLarge),
        (whole_form(b"x" * 3 * BLOCK)[: 2 * BLOCK], MEGABYTE, RequestUnreadable),
        (body_of(part("bundle", b"PK\r\n--b0undaryX")), MEGABYTE, RequestUnreadable),
    ],
)
async def test_a_taker_cannot_make_a_broken_body_whole(
    body: bytes, max_bytes: int, failure: type[Exception]
) -> None:
    discarded: list[str] = []

    async def take(pieces: AsyncIterator[bytes]) -> str:
        try:
            async for _ in pieces:
                pass
        except (RequestTooLarge, RequestUnreadable):
            return "what came"
        raise AssertionError("the body came to its end")

    async def discard(value: str) -> None:
        await anyio.lowlevel.checkpoint()
        discarded.append(value)

    chunks = sent(cut(body, range(0, len(body), 1000)))
    with pytest.raises(failure):
        await read_form(CONTENT_TYPE, chunks, take, discard=discard, max_bytes=max_bytes)

    assert discarded == ["what came"]


@pytest.mark.parametrize(
    "rest",
    [
        b"--b0undary\r\n" + part("name", b"lab-"),
        b"--b0undary\r\n" + part("bundle", b"another"),
        b"--b0undary\r\n" + part("vpn_profile", b"x" * (MAX_FIELD_BYTES + 1)),
        b"--b0undary\r\nno header\r\n\r\n",
    ],
)
async def test_what_was_taken_is_discarded_when_the_rest_is_broken(rest: bytes) -> None:
    taker = Taker()
    begun = body_of(part("bundle", b"PK")).removesuffix(b"--b0undary--\r\n")

    with pytest.raises(RequestUnreadable):
        await read(begun + rest, taker=taker)

    assert (taker.taken, taker.discarded) == (1, [b"PK"])


async def test_a_file_that_never_ends_is_not_taken_and_not_discarded() -> None:
    taker = Taker()

    with pytest.raises(RequestUnreadable, match="ends in the middle"):
        await read(body_of(part("bundle", b"PK"))[:-15], taker=taker)

    assert (b"".join(taker.pieces), taker.taken, taker.discarded) == (b"PK", 0, [])


async def test_nothing_is_discarded_of_a_whole_form() -> None:
    taker = Taker()

    await read(whole_form(b"PK"), taker=taker)

    assert (taker.taken, taker.discarded) == (1, [])


@pytest.mark.parametrize("taken", [True, False])
async def test_a_failure_of_the_connection_comes_through_as_it_is(taken: bool) -> None:
    body = whole_form(b"x" * BLOCK)
    taker = Taker()

    async def broken() -> AsyncIterator[bytes]:
        yield body if taken else body[: BLOCK + 100]
        if taken:
            # Blocks are cut when they are full; this fills the one with the rest of the form.
            yield b"x" * BLOCK
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        await read_form(
            CONTENT_TYPE, broken(), taker.take, discard=taker.discard, max_bytes=MEGABYTE
        )

    assert taker.discarded == ([b"x" * BLOCK] if taken else [])


@pytest.mark.parametrize("taken", [True, False])
async def test_a_cancelled_reading_discards_what_was_taken(taken: bool) -> None:
    body = whole_form(b"x" * BLOCK) + b"x" * BLOCK
    taker = Taker()

    async def stalled(waiting: anyio.Event) -> AsyncIterator[bytes]:
        yield body if taken else body[: BLOCK + 100]
        waiting.set()
        await anyio.sleep_forever()

    waiting = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:

            async def reading() -> None:
                await read_form(
                    CONTENT_TYPE,
                    stalled(waiting),
                    taker.take,
                    discard=taker.discard,
                    max_bytes=MEGABYTE,
                )

            group.start_soon(reading)
            await waiting.wait()
            group.cancel_scope.cancel()

    assert b"".join(taker.pieces).startswith(b"x")
    assert taker.discarded == ([b"x" * BLOCK] if taken else [])
