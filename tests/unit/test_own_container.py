"""How the agent finds out which container it runs in."""

from pathlib import Path

import pytest

from adapters.own_container import own_container_id

pytestmark = pytest.mark.anyio

ID = "0a" * 32
INSIDE = (
    "1 2 0:50 / / rw - overlay overlay rw\n"
    f"3 1 8:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda rw\n"
    f"4 1 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/sda rw\n"
)
ON_THE_HOST = (
    "1 2 8:1 / / rw - ext4 /dev/sda rw\n"
    f"3 1 0:60 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n"
    f"5 1 8:1 /var/lib/docker/containers/{ID}/hostname /mnt/hostname rw - ext4 /dev/sda rw\n"
)


@pytest.mark.parametrize(
    ("mounts", "expected"), [(INSIDE, ID), (ON_THE_HOST, None), ("", None), ("x\n\n", None)]
)
async def test_it_is_told_by_what_docker_mounts(
    tmp_path: Path, mounts: str, expected: str | None
) -> None:
    (tmp_path / "mountinfo").write_text(mounts)

    assert await own_container_id(str(tmp_path / "mountinfo")) == expected


async def test_where_nothing_tells_there_is_none(tmp_path: Path) -> None:
    assert await own_container_id(str(tmp_path / "nothing")) is None
