"""Tiny labs that bear their version everywhere: containers, image, files, volumes.

Whatever stands of one can be told from what stands of another, so that a mixture shows.
"""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256

import msgspec

from tests.support.bundles import zip_bundle

VERSION_LABEL = "lab.version"
"""Of containers, and of images that were built for a lab."""

VERSION_FILE = "version"
"""At the top of the workspace, and of images."""

MISSING_IMAGE = "lab/that-nobody-has"


class LabKind(StrEnum):
    """How a lab is made."""

    PLAIN = "plain"
    SMALL = "small"
    """One service, so that many come up quickly."""
    BUILT = "built"
    SLOW = "slow"
    """Its build takes a moment."""
    OWN = "own"
    """Its image holds the VPN profile."""
    APART = "apart"
    """It mounts a folder on its own out of another one."""
    BUILD_FAILS = "build-fails"
    START_FAILS = "start-fails"
    CHECK_FAILS = "check-fails"
    IMAGE_MISSING = "image-missing"


GOOD = (LabKind.PLAIN, LabKind.SMALL, LabKind.BUILT, LabKind.SLOW, LabKind.OWN, LabKind.APART)
FAILING = (
    LabKind.BUILD_FAILS,
    LabKind.START_FAILS,
    LabKind.CHECK_FAILS,
    LabKind.IMAGE_MISSING,
)

_DOCKERFILES: Mapping[LabKind, str] = {
    LabKind.BUILT: "COPY version /version\n",
    LabKind.SLOW: "COPY version /version\nRUN sleep 0.4\n",
    LabKind.OWN: "COPY version vpn.ovpn /\n",
    LabKind.BUILD_FAILS: "COPY version /version\nRUN sleep 0.2; exit 7\n",
}

# Sleeps as the first process, which init ends at once; the volume remembers who came first.
_COMMAND = "test -f /data/born || echo {version} > /data/born; exec sleep 6000"


class Lab(msgspec.Struct, frozen=True):
    """One version of a lab."""

    version: str
    kind: LabKind

    @property
    def good(self) -> bool:
        """Whether it comes up."""
        return self.kind in GOOD

    @property
    def built(self) -> bool:
        """Whether its web service has an image of its own."""
        return self.kind in {LabKind.BUILT, LabKind.SLOW, LabKind.OWN}

    @property
    def services(self) -> frozenset[str]:
        """Their names."""
        return frozenset(self._document()["services"])

    @property
    def volumes(self) -> frozenset[str]:
        """Those that it has itself; others of earlier versions stay beside them."""
        return frozenset({"data", f"extra-{self.version}"})

    @property
    def networks(self) -> frozenset[str]:
        """Their names."""
        return frozenset({"inner", "outer"} if self.kind is LabKind.APART else {"inner"})

    @property
    def archive(self) -> bytes:
        """Its bundle."""
        return zip_bundle({"compose.yaml": self._compose(), **self._files()})

    @property
    def digest(self) -> str:
        """By which the agent knows its bundle."""
        return f"sha256:{sha256(self.archive).hexdigest()}"

    def _files(self) -> Mapping[str, str]:
        files = {VERSION_FILE: f"{self.version}\n", "conf/page": "page\n"}
        if steps := _DOCKERFILES.get(self.kind):
            files["Dockerfile"] = f"FROM busybox\n{steps}LABEL {VERSION_LABEL}={self.version}\n"
        return files

    def _compose(self) -> str:
        if self.kind is LabKind.CHECK_FAILS:
            return "services: {web: {imago: busybox}}\n"
        # JSON is YAML.
        return msgspec.json.encode(self._document()).decode()

    def _document(self) -> dict[str, dict[str, object]]:
        marked = {"init": True, "labels": {VERSION_LABEL: self.version}}
        mounts = ["data:/data", f"extra-{self.version}:/extra"]
        if self.kind is LabKind.APART:
            mounts += [".:/app", "./conf:/conf"]
        image = {"build": "."} if self.kind in _DOCKERFILES else {"image": "busybox"}
        command = ["sh", "-c", _COMMAND.format(version=self.version)]
        networks = sorted(self.networks)
        web = {**marked, **image, "command": command, "volumes": mounts, "networks": networks}
        side = {**marked, "image": "busybox", "command": "sleep 6000", "networks": ["inner"]}
        services: dict[str, object] = {"web": web, "side": side}
        if self.kind is LabKind.SMALL:
            services = {"web": web}
        if self.kind is LabKind.START_FAILS:
            done = {"web": {"condition": "service_completed_successfully"}}
            services = {"web": {**web, "command": "false"}, "side": {**side, "depends_on": done}}
        if self.kind is LabKind.IMAGE_MISSING:
            services["side"] = {**side, "image": MISSING_IMAGE}
        return {
            "services": services,
            "volumes": {name: {} for name in sorted(self.volumes)},
            "networks": {name: {} for name in sorted(self.networks)},
        }
