"""Archives of images: what passes through, and what attackers send."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.archives import members as module
from adapters.archives.images import ScreenedArchives
from domain.errors import ImageRefused, RequestTooLarge, RequestUnreadable

pytestmark = pytest.mark.anyio

LAYER = bytes(range(256)) * 40
MANIFEST = [{"Config": "blobs/sha256/c", "RepoTags": ["app:1"], "Layers": ["blobs/sha256/l"]}]
INDEX = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "sha256:m",
            "size": 3,
            "annotations": {
                "io.containerd.image.name": "docker.io/library/app:1",
                "org.opencontainers.image.ref.name": "1",
            },
        }
    ],
}
FILES: Mapping[str, bytes] = {"blobs/sha256/c": b"{}", "blobs/sha256/l": LAYER}

Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b"", **attributes: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, content


def tar(members: Sequence[Member], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def image(*more: Member, manifest: object = MANIFEST, **others: object) -> list[Member]:
    named = {"manifest.json": manifest, **{f"{k}.json": v for k, v in others.items()}}
    return [
        *(file(name, content) for name, content in FILES.items()),
        *(file(n, json.dumps(v).encode()) for n, v in named.items() if v is not None),
        *more,
    ]


def ignore(names: Sequence[str]) -> None:
    """Lets every name through."""


async def screened(
    content: bytes,
    judge: Callable[[Sequence[str]], None] = ignore,
    *,
    piece: int = 700,
    max_bytes: int = 10_000_000,
) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), piece):
            yield content[start : start + piece]

    stream = ScreenedArchives().screened(pieces(), judge, max_bytes=max_bytes)
    return b"".join([found async for found in stream])


def read(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        found = {}
        for member in archive.getmembers():
            body = archive.extractfile(member)
            found[member.name] = body.read() if body is not None else b""
        return found


class TestHonestArchives:
    """What Docker and others write."""

    @pytest.mark.parametrize("piece", [1, 511, 512, 513, 100_000])
    async def test_layers_pass_through_as_they_are(self, piece: int) -> None:
        passed = read(await screened(tar(image()), piece=piece))

        assert {name: passed[name] for name in FILES} == FILES
        assert json.loads(passed["manifest.json"]) == MANIFEST

    async def test_gzip_is_inflated(self) -> None:
        assert read(await screened(gzip.compress(tar(image())))) == read(
            await screened(tar(image()))
        )

    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    async def test_every_form_of_tar_is_read(self, form: int) -> None:
        long = "blobs/sha256/" + "d" * 90
        passed = read(await screened(tar(image(file(long, b"x"), file("a", mtime=1.5)), form)))

        assert passed[long] == b"x"

    async def test_names_come_from_every_file_that_gives_them(self) -> None:
        names: list[str] = []
        await screened(
            tar(image(file("repositories", b'{"old/app": {"7": "id"}}'), index=INDEX)), names.extend
        )

        assert sorted(names) == ["1", "app:1", "docker.io/library/app:1", "old/app:7"]

    async def test_what_gives_names_comes_last(self) -> None:
        members = [*image()[2:], *image()[:2]]
        with tarfile.open(fileobj=io.BytesIO(await screened(tar(members)))) as archive:
            assert archive.getnames() == [*FILES, "manifest.json"]

    async def test_images_without_a_name_have_none(self) -> None:
        names: list[str] = []
        manifest = [{**MANIFEST[0], "RepoTags": None}]
        await screened(tar(image(manifest=manifest)), names.extend)

        assert names == []

    async def test_folders_are_made_by_what_lies_in_them(self) -> None:
        folder = file("./blobs/", type=tarfile.DIRTYPE)
        assert "blobs" not in read(await screened(tar([folder, *image()])))

    async def test_layers_that_several_images_share_may_be_links(self) -> None:
        one, other = f"{'a' * 64}/layer.tar", f"{'b' * 64}/layer.tar"
        link = file(other, type=tarfile.SYMTYPE, linkname=f"../{one}")
        passed = await screened(tar(image(file(one, LAYER), link)))

        with tarfile.open(fileobj=io.BytesIO(passed)) as archive:
            assert archive.getmember(other).linkname == f"../{one}"

    async def test_what_follows_the_end_is_passed_over(self) -> None:
        content = tar(image())
        assert await screened(content + b"more" * 1000) == await screened(content)


class TestNames:
    """Who may be given which name is not decided by how it is written."""

    async def test_a_name_that_is_refused_ends_it_before_its_end(self) -> None:
        def refuse(names: Sequence[str]) -> None:
            raise ImageRefused(f"{names}")

        passed = bytearray()

        async def pieces() -> AsyncIterator[bytes]:
            yield tar(image())

        async def take() -> None:
            async for piece in ScreenedArchives().screened(pieces(), refuse, max_bytes=10**6):
                passed.extend(piece)

        with pytest.raises(ImageRefused, match="app:1"):
            await take()
        assert b"manifest.json" not in passed
        assert b"app:1" not in passed

    @pytest.mark.parametrize(
        "text",
        [
            '[{"Config": "c", "Layers": [], "repotags": ["evil:1"], "RepoTags": ["app:1"]}]',
            '[{"Config": "c", "Layers": [], "RepoTags": ["evil:1"], "RepoTags": ["app:1"]}]',
            '[{"Config": "c", "Layers": [], "REPOTAGS": ["evil:1"]}]',
            '[{"Config": "c", "Layers": [], "RepoTag\\u017f": ["evil:1"]}]',
        ],
    )
    async def test_spellings_that_the_engine_would_take_are_not_passed_on(self, text: str) -> None:
        names: list[str] = []
        passed = await screened(
            tar(image(file("manifest.json", text.encode()), manifest=None)), names.extend
        )

        assert "evil:1" not in names
        assert b"evil" not in passed

    async def test_annotations_that_give_no_name_are_not_passed_on(self) -> None:
        manifest = {**INDEX["manifests"][0], "annotations": {"IO.containerd.image.name": "evil:1"}}  # type: ignore[index]
        passed = await screened(tar(image(index={**INDEX, "manifests": [manifest]})))

        assert b"evil" not in passed

    @pytest.mark.parametrize(
        "name", ["./manifest.json", ".//manifest.json", "manifest.json/", "././manifest.json"]
    )
    async def test_other_spellings_of_the_manifest_are_the_manifest(self, name: str) -> None:
        names: list[str] = []
        evil = json.dumps([{**MANIFEST[0], "RepoTags": ["evil:1"]}]).encode()
        await screened(tar(image(file(name, evil), manifest=None)), names.extend)

        assert names == ["evil:1"]

    @pytest.mark.parametrize(
        "name", ["manifest.json", "./manifest.json", "blobs/sha256/l", "blobs/../manifest.json"]
    )
    async def test_what_stands_twice_is_refused(self, name: str) -> None:
        with pytest.raises(RequestUnreadable):
            await screened(tar(image(file(name, b"[]"))))

    @pytest.mark.parametrize(
        "hidden", ["manifest.json\0x", "manifest.json\n", "x/\0/../manifest.json", "", "."]
    )
    async def test_names_that_others_read_differently_are_refused(self, hidden: str) -> None:
        evil = file("x", b"[]", pax_headers={"path": hidden})
        with pytest.raises(RequestUnreadable):
            await screened(tar(image(evil), tarfile.PAX_FORMAT))


class TestHostileArchives:
    """What no honest program writes."""

    @pytest.mark.parametrize(
        "member",
        [
            file("/etc/passwd", b"x"),
            file("../x", b"x"),
            file("a/../../x", b"x"),
            file("n" * 300, b"x"),
            file("ümlaut", b"x"),
            file("dev", type=tarfile.CHRTYPE),
            file("pipe", type=tarfile.FIFOTYPE),
            file("sparse", type=tarfile.GNUTYPE_SPARSE),
            file("hard", type=tarfile.LNKTYPE, linkname="blobs/sha256/l"),
            file("soft", type=tarfile.SYMTYPE, linkname="blobs/sha256/l"),
            file("repositories", type=tarfile.SYMTYPE, linkname="blobs/sha256/l"),
            file("index.json", type=tarfile.SYMTYPE, linkname="blobs/sha256/l"),
            file(f"{'a' * 64}/layer.tar", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            file(f"{'a' * 64}/layer.tar", type=tarfile.SYMTYPE, linkname="../../layer.tar"),
            file("x", b"x", pax_headers={"GNU.sparse.major": "1"}),
            file("x", b"x", pax_headers={"size": "-1"}),
            file("x", b"x", pax_headers={"size": "9" * 30}),
            file("x", b"x", pax_headers={"comment": "c" * 100_000}),
        ],
        ids=lambda member: repr(member[0].name)[:40],
    )
    async def test_such_members_are_refused(self, member: Member) -> None:
        with pytest.raises(RequestUnreadable):
            await screened(tar(image(member), tarfile.PAX_FORMAT))

    @pytest.mark.parametrize("text", ["", "null", "{}", "[1]", "[" * 100_000, '[{"Config": 1}]'])
    @pytest.mark.parametrize("name", ["manifest.json", "index.json", "repositories"])
    async def test_files_of_names_that_cannot_be_read_are_refused(
        self, name: str, text: str
    ) -> None:
        if (name, text) == ("repositories", "{}"):
            return
        with pytest.raises(RequestUnreadable):
            await screened(tar([*image()[:2], file(name, text.encode())]))

    async def test_a_manifest_of_megabytes_is_refused(self) -> None:
        with pytest.raises(RequestUnreadable):
            await screened(tar(image(file("manifest.json", b" " * 5_000_000), manifest=None)))

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"PK\x03\x04" + b"x" * 2000,
            b"x" * 10_000,
            tar(image())[:2000],
            tar(image())[:-9000],
            gzip.compress(tar(image()))[:-10],
            gzip.compress(tar(image()))[:50] + b"damaged" * 10,
            bz2.compress(tar(image())),
            lzma.compress(tar(image())),
            b"\x28\xb5\x2f\xfd" + b"x" * 100,
            tar(image(manifest=None)),
            tar([]),
        ],
        ids=range(12),
    )
    async def test_what_is_no_archive_of_images_is_refused(self, content: bytes) -> None:
        with pytest.raises(RequestUnreadable):
            await screened(content)

    async def test_an_archive_that_is_too_long_is_cut_off(self) -> None:
        with pytest.raises(RequestTooLarge):
            await screened(tar(image()), max_bytes=4096)

    async def test_a_small_archive_that_would_grow_is_cut_off(self) -> None:
        bomb = gzip.compress(tar(image(file("zeros", bytes(20_000_000)))))
        assert len(bomb) < 100_000
        with pytest.raises(RequestTooLarge):
            await screened(bomb, max_bytes=1_000_000)

    async def test_members_without_end_are_cut_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_MOST_MEMBERS", 1000)
        members = tar([file(f"m{n}") for n in range(1001)])
        with pytest.raises(RequestUnreadable, match="more than"):
            await screened(members, piece=1_000_000, max_bytes=10**9)

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(place=st.integers(0, 5000), byte=st.integers(0, 255), end=st.integers(0, 20_000))
    async def test_a_damaged_archive_is_refused_or_read_as_what_it_says(
        self, place: int, byte: int, end: int
    ) -> None:
        content = bytearray(tar(image()))
        content[place] = byte
        names: list[str] = []
        try:
            passed = await screened(bytes(content[:end]), names.extend, piece=512)
        except (RequestUnreadable, RequestTooLarge):
            return
        found = read(passed)
        given_by = json.loads(found["manifest.json"])
        assert names == [tag for one in given_by for tag in one.get("RepoTags", [])]
