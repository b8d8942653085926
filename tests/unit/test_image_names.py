"""How names of images are read, and which may be taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.image_names import (
    OwnImages,
    RegistryRules,
    familiar,
    is_identifier,
    is_ours,
    public_host,
    registry,
    unmistakable,
)

DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("alpine", "docker.io"),
        ("alpine:3.20", "docker.io"),
        ("library/alpine", "docker.io"),
        ("someone/thing@" + DIGEST, "docker.io"),
        ("docker.io/library/alpine", "docker.io"),
        ("index.docker.io/library/alpine", "docker.io"),
        ("Index.Docker.IO/library/alpine", "docker.io"),
        ("ghcr.io/owner/thing:1", "ghcr.io"),
        ("localhost/thing", "localhost"),
        ("host:5000/thing", "host:5000"),
        ("Host/thing", "host"),
        ("[::1]:5000/thing", "[::1]:5000"),
        ("under_score/thing", "docker.io"),
    ],
)
def test_the_registry_is_told_as_docker_tells_it(reference: str, expected: str) -> None:
    assert registry(reference) == expected


@pytest.mark.parametrize(
    "reference",
    [
        "container-host-agent/shared:1",
        "container-host-agent/own",
        "docker.io/container-host-agent/own:1",
        "index.docker.io/container-host-agent/own:1",
        "DOCKER.io/container-host-agent/own:1",
        f"container-host-agent/own@{DIGEST}",
        f"docker.io/container-host-agent/own:1@{DIGEST}",
        "docker.io/Container-Host-Agent/own",
    ],
)
def test_the_agents_own_images_are_known_in_every_spelling(reference: str) -> None:
    assert is_ours(reference)
    assert is_ours(f" {reference} ")


@pytest.mark.parametrize(
    "reference",
    [
        "container-host-agent",
        "siberbox/container-host-agent:latest",
        "ghcr.io/container-host-agent/own",
        "container-host-agents/own",
    ],
)
def test_images_of_others_are_not_taken_for_the_agents(reference: str) -> None:
    assert not is_ours(reference)


ALLOWED = [
    "alpine",
    "alpine:3.20",
    "postgres:16-alpine@" + DIGEST,
    "bitnami/redis:7.2",
    "a__b/c---d.e_f",
    "ghcr.io/owner/some/thing:v1.2.3",
    "quay.io/podman/stable",
    "mcr.microsoft.com/dotnet/sdk:8.0",
    "public.ecr.aws/docker/library/python:3.12",
    "registry.xn--bcher-kva.example/thing",
]

REFUSED = [
    "",
    " ",
    "$IMAGE",
    "Alpine",
    "docker.io/Alpine",
    "alpine:",
    "alpine:a b",
    "alpine\n",
    "a//b",
    "/alpine",
    "-a",
    "localhost/thing",
    "registry/Thing",
    "Registry/thing",
    "registry:5000/thing",
    "ghcr.io:443/thing",
    "127.0.0.1/thing",
    "10.0.0.5:5000/thing",
    "127.1/thing",
    "0x7f.1/thing",
    "0177.0.0.1/thing",
    "2130706433:80/thing",
    "1.2.3.4.5/thing",
    "registry.10/thing",
    "[::1]/thing",
    "[fe80::1]:5000/thing",
    "metadata.google.internal/thing",
    "printer.local/thing",
    "nas.lan/thing",
    "app.localhost/thing",
    "nas.home.arpa/thing",
    "registry.kube-system.svc/thing",
    "example.com./thing",
    ".example.com/thing",
    "exa_mple.com/thing",
    "user@example.com/thing",
    "a" * 600,
]


@pytest.mark.parametrize("reference", ALLOWED)
def test_public_registries_may_be_asked(reference: str) -> None:
    assert RegistryRules().why_not(reference) is None


@pytest.mark.parametrize("reference", REFUSED)
def test_inner_registries_and_what_is_no_name_are_refused(reference: str) -> None:
    assert RegistryRules().why_not(reference)


def test_the_operator_allows_registries_with_their_port() -> None:
    rules = RegistryRules(allowed=frozenset({"registry:5000", "10.0.0.5", "Images.LAN"}))

    assert rules.why_not("registry:5000/a/b:1") is None
    assert rules.why_not("10.0.0.5/a") is None
    assert rules.why_not("images.lan/a") is None
    assert rules.why_not("registry/a") is None
    assert rules.why_not("registry:5001/a")
    assert rules.why_not("10.0.0.5:5000/a")


NUMBERS = ["0", "1", "10", "127", "0x7f", "0X7F", "0177", "169", "254", "4294967295"]


@given(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=5))
def test_no_spelling_of_an_address_is_a_public_name(parts: list[str]) -> None:
    assert not public_host(".".join(parts).lower())


@given(st.text(max_size=80))
def test_any_text_is_answered(text: str) -> None:
    RegistryRules().why_not(text)
    assert is_ours(text) in {True, False}


def test_names_that_docker_takes_for_identifiers_are_written_out() -> None:
    assert is_identifier("sha256:0a1b")
    assert not is_identifier("alpine")
    assert unmistakable("cafe") == "cafe:latest"
    assert unmistakable("alpine") == "alpine"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("alpine", "alpine:latest"),
        ("alpine:3.20", "alpine:3.20"),
        ("library/alpine", "alpine:latest"),
        ("docker.io/library/alpine", "alpine:latest"),
        ("index.docker.io/library/alpine:1", "alpine:1"),
        ("docker.io/someone/thing", "someone/thing:latest"),
        ("library/a/b", "library/a/b:latest"),
        ("ghcr.io/library/alpine", "ghcr.io/library/alpine:latest"),
        ("127.0.0.1:5000/a/b/history:1", "127.0.0.1:5000/a/b/history:1"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("Host/a", "Host/a:latest"),
        (f"alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"docker.io/library/alpine:3@{DIGEST}", f"alpine@{DIGEST}"),
        (f"127.0.0.1:5000/a:1@{DIGEST}", f"127.0.0.1:5000/a@{DIGEST}"),
    ],
)
def test_names_are_shown_as_docker_shows_them(reference: str, expected: str) -> None:
    assert familiar(reference) == expected
    assert familiar(expected) == expected


@pytest.mark.parametrize(
    "reference",
    ["siberbox/agent", "docker.io/siberbox/agent:latest", "container-host-agent/shared:1"],
)
def test_the_agents_names_are_its_own_however_they_are_written(reference: str) -> None:
    assert OwnImages(agent_image="siberbox/agent:latest").holds(reference)


@pytest.mark.parametrize(
    "reference", ["siberbox/agent:2", "agent", "ghcr.io/siberbox/agent", "Container-Host-Agent/own"]
)
def test_other_names_are_not_the_agents(reference: str) -> None:
    assert not OwnImages(agent_image="siberbox/agent:latest").holds(reference)
    assert not OwnImages().holds(reference)
    # What the Engine is told must not be one of them either.
    assert not OwnImages().holds(familiar(reference))
