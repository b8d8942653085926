"""How far this host goes: the profile, and what the operator allows beyond it."""

from enum import StrEnum
from ipaddress import IPv4Network

import msgspec

from domain.dockerfile_policy import DockerfileRules
from domain.image_names import RegistryRules

ENGINE_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""What the Docker Engine gives a container that asks for nothing."""

DEFAULT_CAPABILITIES = ENGINE_CAPABILITIES | {"NET_ADMIN"}
"""What containers may have where the operator says nothing: labs bring up tunnels."""

DEFAULT_DEVICES = frozenset({"/dev/net/tun"})
"""What containers may have where the operator says nothing."""


class PolicyProfile(StrEnum):
    """Who writes the bundles of this host."""

    LAB = "lab"
    """Strangers: what is not known to be safe is refused."""
    TRUSTED = "trusted"
    """The operator: only what would break the agent itself is refused."""


class PortRange(msgspec.Struct, frozen=True):
    """Ports of the host, from the first to the last."""

    first: int = 1
    last: int = 65_535

    @property
    def whole(self) -> bool:
        """Whether it leaves nothing out."""
        return (self.first, self.last) == (1, 65_535)

    def without(self, port: int) -> "PortRange":
        """The larger part of it beside a port; itself where the port is its only one."""
        if not self.first <= port <= self.last or self.first == self.last:
            return self
        if port - self.first > self.last - port:
            return PortRange(self.first, port - 1)
        return PortRange(port + 1, self.last)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class PolicyRules(msgspec.Struct, frozen=True, kw_only=True):
    """What bundles may ask for on this host."""

    profile: PolicyProfile = PolicyProfile.LAB
    capabilities: frozenset[str] = DEFAULT_CAPABILITIES
    """Names without ``CAP_``."""
    devices: frozenset[str] = DEFAULT_DEVICES
    bind_roots: tuple[str, ...] = ()
    """Folders of the host, beside the environment's own, out of which may be mounted."""
    registries: RegistryRules = RegistryRules()
    host_ports: PortRange = PortRange()
    """Which ports of the host may be published."""
    own_port: int = 8003
    """The agent's own port, which never may."""
    own_folders: tuple[str, ...] = ()
    """Folders that the agent keeps its records in."""
    new_privileges: bool = False
    """Whether programs in containers may gain rights by setuid bits."""
    pool: IPv4Network | None = None
    """Where environments' networks get their addresses; nobody may take one out of it himself."""
    most_memory_bytes: int = 8 * 1024 * 1024 * 1024
    """The most that a container may have, which memory that it sets apart is held to."""

    @property
    def trusted(self) -> bool:
        """Whether bundles are the operator's own."""
        return self.profile is PolicyProfile.TRUSTED

    @property
    def dockerfiles(self) -> DockerfileRules:
        """What Dockerfiles may ask for."""
        return DockerfileRules(trusted=self.trusted, registries=self.registries)
