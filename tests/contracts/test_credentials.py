"""What keeps credentials: Docker's own configuration file, and the twin."""

import base64
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from adapters.docker_config import FILE_NAME, DockerConfig
from adapters.memory.credentials import MemoryCredentials
from domain.errors import StorageFailed
from domain.ports.credentials import KeptCredentials
from domain.registry_credentials import RegistryCredentials

pytestmark = pytest.mark.anyio

JANA = RegistryCredentials(username="jana", password="pass:word with ünicode")
TOKEN = RegistryCredentials(identity_token="a.b.c")
NAMED_TOKEN = RegistryCredentials(username="robot", identity_token="a.b.c")

HOST = "registry.example.com"


@pytest.fixture(params=["memory", "disk"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> KeptCredentials:
    # A folder that somebody removed meanwhile.
    folder = tmp_path / "gone"
    return MemoryCredentials() if request.param == "memory" else DockerConfig(folder)


@pytest.mark.parametrize("credentials", [JANA, TOKEN, NAMED_TOKEN])
@pytest.mark.parametrize("registry", [HOST, "127.0.0.1:5000", "docker.io"])
async def test_what_is_kept_is_found_again(
    kept: KeptCredentials, credentials: RegistryCredentials, registry: str
) -> None:
    await kept.put(registry, credentials)

    assert await kept.get(registry) == credentials
    assert await kept.get("other.example.com") is None


async def test_a_list_is_in_order_and_holds_no_secret(kept: KeptCredentials) -> None:
    for registry in ("z.example.com", "docker.io", "a.example.com:5000"):
        await kept.put(registry, JANA)

    found = await kept.list()

    assert [one.registry for one in found] == ["a.example.com:5000", "docker.io", "z.example.com"]
    assert {one.username for one in found} == {"jana"}
    assert JANA.password not in repr(found)


async def test_later_ones_take_the_place_of_earlier_ones(kept: KeptCredentials) -> None:
    await kept.put(HOST, JANA)
    await kept.put(HOST, TOKEN)

    assert await kept.get(HOST) == TOKEN
    assert len(await kept.list()) == 1


async def test_what_is_removed_is_gone(kept: KeptCredentials) -> None:
    await kept.put(HOST, JANA)

    assert await kept.remove(HOST)
    assert not await kept.remove(HOST)
    assert await kept.get(HOST) is None
    assert await kept.list() == []


async def test_nothing_is_kept_at_first(kept: KeptCredentials) -> None:
    assert await kept.list() == []
    assert not await kept.remove(HOST)


class TestTheFile:
    """What lies on disk."""

    async def test_it_is_what_dockers_client_reads(self, tmp_path: Path) -> None:
        config = DockerConfig(tmp_path)
        await config.put(HOST, JANA)
        await config.put("docker.io", TOKEN)

        written = json.loads((tmp_path / FILE_NAME).read_text())

        pair = base64.b64encode(f"jana:{JANA.password}".encode()).decode()
        assert written["auths"] == {
            HOST: {"auth": pair},
            "https://index.docker.io/v1/": {"identitytoken": "a.b.c"},
        }

    async def test_nobody_else_may_read_it_whatever_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            await DockerConfig(tmp_path).put(HOST, JANA)
            await DockerConfig(tmp_path).put("docker.io", JANA)
        finally:
            os.umask(before)

        assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
        assert os.listdir(tmp_path) == [FILE_NAME]  # noqa: PTH208 - the loop is free here

    async def test_what_others_wrote_into_it_stays(self, tmp_path: Path) -> None:
        (tmp_path / FILE_NAME).write_text(
            '{"HttpHeaders": {"X": "y"}, "auths": {"old": {"auth": "YTpi"}}}'
        )
        config = DockerConfig(tmp_path)
        await config.put(HOST, JANA)
        await config.remove(HOST)

        assert json.loads((tmp_path / FILE_NAME).read_text()) == {
            "HttpHeaders": {"X": "y"},
            "auths": {"old": {"auth": "YTpi"}},
        }
        assert await config.get("old") == RegistryCredentials(username="a", password="b")

    @pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
    async def test_one_that_is_damaged_is_told_of_and_not_written_over(
        self, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / FILE_NAME).write_text(text)
        config = DockerConfig(tmp_path)

        for call in _calls(config):
            with pytest.raises(StorageFailed):
                await call()
        assert (tmp_path / FILE_NAME).read_text() == text

    async def test_a_folder_that_cannot_be_made_is_told_of(self, tmp_path: Path) -> None:
        (tmp_path / "taken").touch()
        with pytest.raises(StorageFailed):
            await DockerConfig(tmp_path / "taken").put(HOST, JANA)


def _calls(config: DockerConfig) -> list[Callable[[], Awaitable[object]]]:
    return [
        config.list,
        lambda: config.get(HOST),
        lambda: config.put(HOST, JANA),
        lambda: config.remove(HOST),
    ]


async def test_tidying_keeps_what_is_kept(kept: KeptCredentials) -> None:
    await kept.tidy()
    await kept.put(HOST, JANA)
    await kept.tidy()

    assert await kept.get(HOST) == JANA


async def test_secrets_that_a_killed_agent_had_half_written_go(tmp_path: Path) -> None:
    kept = DockerConfig(tmp_path)
    await kept.put(HOST, JANA)
    (tmp_path / f".{FILE_NAME}-abc").write_text("half a secret")

    await kept.tidy()

    assert os.listdir(tmp_path) == [FILE_NAME]  # noqa: PTH208
