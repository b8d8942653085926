"""What the documents say is what there is."""

import re
import tomllib
from pathlib import Path

import anyio
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from entrypoints.cli.main import main
from entrypoints.settings import SETTINGS, SettingsRefused, read_settings
from tests.support.agents import agent_on_twins

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
DOCUMENTS = [README, *(path.read_text() for path in sorted((REPOSITORY / "docs").rglob("*.md")))]


def test_the_readme_lists_every_setting_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`|–) \| (.*) \|$", README, re.MULTILINE)

    assert [(s.name, s.default, s.meaning) for s in SETTINGS] == rows


def test_env_example_names_only_settings_that_there_are() -> None:
    names = re.findall(r"^([A-Z_]+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE)

    assert set(names) - {setting.name for setting in SETTINGS} == {"DOCKER_GID"}


def test_the_examples_secrets_are_nobodys() -> None:
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if re.match(r"[A-Z_]+=", line)]
    values = {name: value for name, _, value in pairs if name != "DOCKER_GID"}

    with pytest.raises(SettingsRefused) as refusal:
        read_settings(values)

    named = {fault.partition(" ")[0] for fault in refusal.value.faults}
    assert named == {"JWT_SECRET", "HOST_ID", "SERVER_KEY"}


def test_every_make_target_and_command_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(DOCUMENTS)

    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    commands = set(re.findall(r"bin/container-host-agent ([a-z]+)", text))
    assert commands <= set(main.commands)


def test_links_between_documents_lead_somewhere() -> None:
    for path in [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_links_to_headings_lead_to_one() -> None:
    documents = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    links = [
        (path, path.parent / (target or path.name), heading)
        for path in [*documents, REPOSITORY / ".env.example"]
        for target, heading in re.findall(
            r"(?:\]\((?=#)|(?=[\w./-]+\.md#))([\w./-]*)#([\w-]+)", path.read_text()
        )
    ]

    assert [(path.name, heading) for path, to, heading in links if heading not in anchors(to)] == []
    assert {"README.md", "api.md", ".env.example"} <= {path.name for path, _, _ in links}


def anchors(path: Path) -> set[str]:
    """What links may name of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.anyio
async def test_every_metric_is_documented() -> None:
    document = await anyio.Path(REPOSITORY, "docs", "metrics.md").read_text()
    documented = set(re.findall(r"`(host_agent_[a-z0-9_]+)`", document))
    async with agent_on_twins({"MANAGER_URL": "https://manager"}) as world:
        await world.agent.host.observe()
        await world.agent.heartbeat.beat(world.manager)
        await world.http.get("/health")
        text = (await world.http.get("/metrics")).text

    families = {f.name: f.type for f in text_string_to_metric_families(text)}
    served = {
        f"{name}_total" if kind == "counter" else name
        for name, kind in families.items()
        if name.startswith("host_agent_")
    }
    assert served == documented


@pytest.mark.anyio
async def test_every_call_is_documented() -> None:
    document = await anyio.Path(REPOSITORY, "docs", "api.md").read_text()
    async with agent_on_twins() as world:
        paths = (await world.http.get("/openapi.json")).json()["paths"]

    for path, item in paths.items():
        for method in item:
            assert (
                f"`{method.upper()} {path}`" in document or f"`{method.upper()} {path} " in document
            )


def test_examples_in_yaml_are_valid() -> None:
    for text in DOCUMENTS:
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            assert yaml.safe_load(block)


def test_the_dependencies_are_locked_with_hashes_and_name_no_host() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[><=]", line)[0] for line in project["dependencies"]}
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-build.txt"):
        text = (REPOSITORY / name).read_text()
        packages = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
        assert len(re.findall(r"--hash=", text)) >= len(packages)
        assert "://" not in text
        if name != "requirements-build.txt":
            assert wanted <= set(packages)
