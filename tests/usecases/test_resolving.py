"""Compose reads a bundle once, where that is all the same."""

from collections.abc import AsyncIterator, Mapping

import pytest

from domain.compose_model import ComposeModel
from domain.ports.compose import Project
from domain.usecases import resolving
from tests.support.agents import World, agent_on_twins
from tests.support.api import deploy, lab, model_of, shown

pytestmark = pytest.mark.anyio

PLAIN = (
    "services: {web: {image: 'nginx:1', volumes: ['./site:/site', 'data:/d']}}\nvolumes: {data: }\n"
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins() as world:
        yield world


@pytest.fixture
def resolved(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the projects that Compose was asked to resolve."""
    names: list[str] = []
    resolve = world.compose.resolve

    async def noted(
        project: Project,
        variables: Mapping[str, str] | None = None,
        *,
        all_profiles: bool = False,
    ) -> ComposeModel:
        names.append(project.name)
        return await resolve(project, variables, all_profiles=all_profiles)

    monkeypatch.setattr(world.compose, "resolve", noted)
    return names


async def test_the_same_bundle_is_resolved_once_and_runs_under_each_name(
    world: World, resolved: list[str]
) -> None:
    for name in ("one", "two"):
        assert (await deploy(world, name, lab(PLAIN))).status_code == 200

    assert resolved == ["one"]
    model = model_of(world, "two")
    assert model["name"] == "two"
    assert model["volumes"]["data"]["name"] == "two_data"
    assert model["networks"]["default"]["name"] == "two_default"
    assert "one" not in str(model).replace("None", "")
    assert (await shown(world, "two"))["state"] == "running"


async def test_other_variables_are_resolved_anew(world: World, resolved: list[str]) -> None:
    compose = "services: {web: {image: 'nginx:${TAG}'}}"
    await deploy(world, "one", lab(compose), variables={"TAG": "1"})
    await deploy(world, "two", lab(compose), variables={"TAG": "2"})

    assert resolved == ["one", "two"]
    assert model_of(world, "two")["services"]["web"]["image"] == "nginx:2"


@pytest.mark.parametrize(
    "compose",
    [
        "services: {web: {image: nginx, env_file: vpn.ovpn}}",
        "services: {web: {image: nginx, environment: {N: '$COMPOSE_PROJECT_NAME'}}}",
        "services: {web: {image: nginx, extends: {file: other.yaml, service: web}}}",
        "include: [other.yaml]\nservices: {web: {image: nginx}}",
    ],
)
async def test_what_could_differ_from_deploy_to_deploy_is_resolved_each_time(
    world: World, resolved: list[str], compose: str
) -> None:
    await deploy(world, "one", lab(compose))
    await deploy(world, "two", lab(compose))

    assert resolved == ["one", "two"]


async def test_variables_in_a_dotenv_that_steer_compose_are_seen(
    world: World, resolved: list[str]
) -> None:
    bundle = lab(PLAIN, **{".env": "COMPOSE_PROFILES=x\n"})
    await deploy(world, "one", bundle)
    await deploy(world, "two", bundle)

    assert resolved == ["one", "two"]


async def test_what_is_remembered_takes_up_no_more_than_it_may(
    world: World, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "MOST_REMEMBERED_BYTES", 3000)
    large = "services: {web: {image: 'nginx:1', labels: {text: '%s'}}}"
    for number, text in enumerate(("a" * 1000, "b" * 1000, "c" * 9000)):
        await deploy(world, f"lab-{number}", lab(large % text))

    # The largest was too large by itself, and nothing that came before it is remembered either.
    await deploy(world, "again", lab(large % ("c" * 9000)))
    await deploy(world, "small", lab(large % "d"))
    await deploy(world, "small-again", lab(large % "d"))

    assert resolved == ["lab-0", "lab-1", "lab-2", "again", "small"]
