"""Which container the agent itself runs in."""

import re

import anyio

# Docker gives each container files of its own, which it mounts from a folder named after it.
_MOUNT = re.compile(r"/containers/([0-9a-f]{64})/(hostname|hosts|resolv\.conf)")


async def own_container_id(mounts: str = "/proc/self/mountinfo") -> str | None:
    """The identifier of the agent's own container; None where it runs in none of Docker's.

    Args:
        mounts: the kernel's list of what the agent sees mounted.
    """
    try:
        text = await anyio.Path(mounts).read_text(errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        fields = line.split(" ")
        found = _MOUNT.search(fields[3]) if len(fields) > 4 else None
        # On the host itself such files are seen too, but not in these places.
        if found and fields[4] == f"/etc/{found[2]}":
            return found[1]
    return None
