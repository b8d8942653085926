"""Folders that one agent has for itself."""

import errno
import fcntl
import re
from pathlib import Path

import pytest

from adapters.held_folders import held
from adapters.memory.log import MemoryLog
from domain.errors import StorageFailed

pytestmark = pytest.mark.anyio


async def test_a_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    async with held(tmp_path / "a" / "b", "STATE_DIR", MemoryLog()):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


async def test_a_folder_is_anothers_until_that_one_lets_go(tmp_path: Path) -> None:
    log, told = MemoryLog(), re.escape(f"Another agent works in STATE_DIR={tmp_path}")
    async with held(tmp_path, "STATE_DIR", log):
        with pytest.raises(StorageFailed, match=told):
            async with held(tmp_path, "STATE_DIR", log):
                pass

    async with held(tmp_path, "STATE_DIR", log):
        assert log.events == []


async def test_what_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageFailed, match="STATE_DIR=") as refusal:
        async with held(tmp_path / "file", "STATE_DIR", MemoryLog()):
            pass

    assert refusal.value.hint


async def test_where_nothing_can_be_locked_it_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    log = MemoryLog()

    async with held(tmp_path, "STATE_DIR", log):
        pass

    assert len(log.named("folder cannot be locked against other agents")) == 1
