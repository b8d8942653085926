"""Archives for volumes, looked at before anything is unpacked."""

import gzip
import io
import tarfile
from collections.abc import AsyncIterator, Callable

import pytest

from adapters.archives import volumes as module
from adapters.archives.volumes import ScreenedVolumeArchives
from domain.errors import RequestTooLarge, RequestUnreadable

pytestmark = pytest.mark.anyio

PLENTY = 10_000_000


def member(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def archive(*members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT, **more: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, **more) as tar:  # type: ignore[call-overload]
        for info in members:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


async def screened(sent: bytes, *, max_bytes: int = PLENTY, step: int = 1000) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(sent), step):
            yield sent[start : start + step]

    through = ScreenedVolumeArchives().screened(pieces(), max_bytes=max_bytes)
    return b"".join([piece async for piece in through])


def listed(tar: bytes) -> list[tuple[str, bytes, str, int]]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as found:
        return [(one.name, one.type, one.linkname, one.size) for one in found]


HONEST = (
    member("./", tarfile.DIRTYPE),
    member("./a", size=700, mode=0o4755, uid=1000),
    member("./folder", tarfile.DIRTYPE),
    member("./folder/" + "n" * 200, size=3),
    member("./out", tarfile.SYMTYPE, linkname="../../etc/passwd"),
    member("./hard", tarfile.LNKTYPE, linkname="./a"),
    member("./pipe", tarfile.FIFOTYPE),
    member("./ünï\ncode", size=1),
)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_what_volumes_hold_comes_through_as_it_is(
    form: int, pack: Callable[[bytes], bytes]
) -> None:
    sent = archive(*HONEST, form=form)

    through = await screened(pack(sent))

    assert sent.startswith(through)
    assert listed(through) == listed(sent)


async def test_what_git_writes_in_front_is_let_through() -> None:
    sent = archive(member("a"), pax_headers={"comment": "0123"})

    assert [name for name, *_ in listed(await screened(sent))] == ["a"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ((member("/etc/passwd"),), "leads out"),
        ((member("../x"),), "leads out"),
        ((member("a/../../x"),), "leads out"),
        ((member("n" * 150 + "/../../x"),), "leads out"),
        ((member("a", tarfile.LNKTYPE, linkname="/etc/shadow"),), "leads out"),
        ((member("a", tarfile.LNKTYPE, linkname="../x"),), "leads out"),
        ((member("a", tarfile.SYMTYPE, linkname=".."), member("a/x")), "beyond a symbolic link"),
        (
            (member("./a/", tarfile.SYMTYPE, linkname="/"), member("a//./b/x")),
            "beyond a symbolic link",
        ),
        (
            (
                member("a", tarfile.SYMTYPE, linkname=".."),
                member("b", tarfile.LNKTYPE, linkname="a"),
                member("b/x"),
            ),
            "beyond a symbolic link",
        ),
        (
            (
                member("a", tarfile.SYMTYPE, linkname=".."),
                member("b", tarfile.LNKTYPE, linkname="a/x"),
            ),
            "beyond a symbolic link",
        ),
        ((member("sda", tarfile.BLKTYPE, devmajor=8),), "device"),
        ((member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),), "device"),
        ((member("x", b"Z"),), "unknown kind"),
        ((member("x", tarfile.GNUTYPE_SPARSE),), "sparse"),
    ],
)
async def test_what_is_hostile_is_refused(members: tuple[tarfile.TarInfo, ...], words: str) -> None:
    with pytest.raises(RequestUnreadable, match=words):
        await screened(archive(*members))


async def test_a_link_that_a_folder_has_replaced_is_none_any_more() -> None:
    link = member("a", tarfile.SYMTYPE, linkname="..")
    sent = archive(link, member("a", tarfile.DIRTYPE), member("a/x"))

    assert len(listed(await screened(sent))) == 3


async def test_no_header_gives_several_members_one_name() -> None:
    sent = archive(member("a"), pax_headers={"path": "../x"})

    with pytest.raises(RequestUnreadable, match="one name"):
        await screened(sent)


async def test_an_archive_that_breaks_off_is_no_whole_one_wherever_it_does() -> None:
    sent = archive(*HONEST).rstrip(b"\0")

    for length in (0, 100, 512, 1024, 1536, 2048, len(sent) // 512 * 512):
        with pytest.raises(RequestUnreadable):
            await screened(sent[:length])
        with pytest.raises(RequestUnreadable):
            await screened(gzip.compress(sent)[: length // 10])


async def test_what_is_no_archive_is_refused() -> None:
    for sent in (b"", b"PK\3\4" + bytes(1000), b"hello" * 1000, b"BZh9" + bytes(1000)):
        with pytest.raises(RequestUnreadable):
            await screened(sent)


async def test_a_bomb_is_stopped_while_it_is_inflated() -> None:
    bomb = gzip.compress(archive(member("a", size=50_000_000)))
    assert len(bomb) < 100_000

    with pytest.raises(RequestTooLarge, match="longer than the 1000000 bytes"):
        await screened(bomb, max_bytes=1_000_000)


async def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MEMBERS", 3)

    with pytest.raises(RequestUnreadable, match="more than 3 members"):
        await screened(archive(*(member(f"{n}") for n in range(4))))
