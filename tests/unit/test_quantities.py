"""Durations, moments and sizes from text."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import RequestUnreadable
from domain.quantities import MAX_DURATION_SECONDS, MAX_SIZE_BYTES, byte_size, moment, seconds

header_texts = st.one_of(
    st.text(),
    st.text(alphabet="0159 smhdkgTib+.Z:-\n٣"),
)


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1d1h1m1s", 90061),
        ("0.5", 0.5),
        ("1.5h", 5400),
        ("0h1m", 60),
        ("90m", 5400),
        ("3653d", MAX_DURATION_SECONDS),
    ],
)
def test_durations_are_seconds(text: str, total: float) -> None:
    assert seconds(text) == total


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "0", "0s", "0d0h", "-1", "+1", "1e3", "inf", "nan", "1H", "1w", "1y", "1M"],
        *["h", "1 h", "1h 30m", "30m1h", "1h1h", "1h30", "1..5h", ".5h", "1.h", "1,5h", "٣s"],
        *["90\n", "P1D", "3653d1s", "315619201", "9" * 15, "9" * 400, "9" * 5000],
    ],
)
def test_what_is_no_duration_is_refused_and_the_spelling_told(text: str) -> None:
    with pytest.raises(RequestUnreadable, match="is not a duration") as refusal:
        seconds(text)

    assert "1h30m" in refusal.value.hint
    assert len(refusal.value.detail) < 300


@given(st.integers(0, 99), st.integers(0, 999), st.integers(0, 999), st.integers(1, 999))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, rest: int) -> None:
    wanted = timedelta(days=days, hours=hours, minutes=minutes, seconds=rest)

    assert seconds(f"{days}d{hours}h{minutes}m{rest}s") == wanted.total_seconds()


@given(header_texts)
def test_a_duration_has_its_limits_or_is_refused(text: str) -> None:
    try:
        total = seconds(text)
    except RequestUnreadable:
        return
    assert 0 < total <= MAX_DURATION_SECONDS


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+01:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-31T23:30:00-05:30", datetime(2026, 2, 1, 5, tzinfo=UTC)),
        ("2026-01-31T12:00:00-00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.25Z", datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1769860800", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("1769860800.5", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_moments_come_in_utc(text: str, wanted: datetime) -> None:
    found = moment(text)

    assert found == wanted
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *["", "now", "yesterday", "-1", "1e9", "1_0", "٣", "1769860800\n", "9" * 12, "9" * 400],
        *["2026-01-31", "2026-01-31T12:00Z", "2026-01-31T12:00:00", "20260131T120000Z"],
        *["2026-02-30T12:00:00Z", "2026-13-01T12:00:00Z", "2026-01-31T25:00:00Z"],
        *["2026-01-31T12:00:00+0100", "2026-01-31T12:00:00+01", "2026-01-31T12:00:00+24:00"],
        *["2026-01-31T12:00:00 01:00", "2026-W05-6T12:00:00Z", "2026-01-31T12:00:00.Z"],
        *["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"],
        *["2026-01-31T12:00:00Z ", "2026-01-31T12:00:00ZZ", "２026-01-31T12:00:00Z"],
    ],
)
def test_what_is_no_moment_is_refused_and_the_spelling_told(text: str) -> None:
    with pytest.raises(RequestUnreadable, match="is not a moment") as refusal:
        moment(text)

    assert "2026-01-31T12:00:00Z" in refusal.value.hint
    assert len(refusal.value.detail) < 300


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),  # noqa: DTZ001
    st.integers(-1439, 1439),
)
def test_every_moment_comes_out_as_it_went_in(local: datetime, minutes: int) -> None:
    told = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))

    assert moment(told.isoformat()) == told


@given(header_texts)
def test_a_moment_is_in_utc_or_refused(text: str) -> None:
    try:
        found = moment(text)
    except RequestUnreadable:
        return
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 2**20),
        ("10b", 10),
        ("64k", 2**16),
        ("64K", 2**16),
        ("512m", 2**29),
        ("512mb", 2**29),
        ("512MiB", 2**29),
        ("512 MB", 2**29),
        ("1g", 2**30),
        ("1.5g", 3 * 2**29),
        ("1t", 2**40),
        ("1p", MAX_SIZE_BYTES),
        ("0.001k", 1),
        ("1.9", 1),
    ],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    assert byte_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "-1", "+1", "k", "b", "1x", "1kk", "1bb", "1i", "1ki", "1ib", "1e3", "0x10"],
        *["inf", "nan", "1,5g", "1.g", ".5g", "1  g", " 1g", "1g ", "1g\n", "٣k", "1\u212a"],
        *["2p", "1.1p", "1125899906842625", "9" * 15 + "p", "9" * 5000],
    ],
)
def test_what_is_no_size_is_refused_and_the_spelling_told(text: str) -> None:
    with pytest.raises(RequestUnreadable, match="is not a size") as refusal:
        byte_size(text)

    assert "512m" in refusal.value.hint
    assert len(refusal.value.detail) < 300


@given(
    st.integers(0, 1024),
    st.sampled_from(["", "k", "m", "g", "t"]),
    st.sampled_from(["", "b", "ib"]),
)
def test_units_are_powers_of_1024(number: int, unit: str, suffix: str) -> None:
    text = f"{number}{unit}{suffix if unit else ''}"

    assert byte_size(text) == byte_size(text.upper()) == number * 1024 ** "_kmgt".index(unit or "_")


@given(header_texts)
def test_a_size_has_its_limits_or_is_refused(text: str) -> None:
    try:
        size = byte_size(text)
    except RequestUnreadable:
        return
    assert 0 <= size <= MAX_SIZE_BYTES
