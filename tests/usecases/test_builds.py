"""Images: built once for all who need the same, apart where they hold a secret, gone in the end."""

from collections.abc import AsyncIterator

import anyio
import pytest

from domain.names import EnvironmentName
from tests.support.agents import World, agent_on_twins
from tests.support.api import (
    BROKEN,
    BUNDLES,
    OPERATIONS,
    OTHER,
    WAIT,
    WEB,
    begin,
    call,
    change,
    deploy,
    image_tags,
    lab,
    left_of,
    operation,
    remove,
    shown,
    upload,
)

pytestmark = pytest.mark.anyio

DOCKERFILE = "FROM busybox\nRUN true\n"
TAKES_PROFILE = lab("services: {web: {build: .}}", Dockerfile="FROM busybox\nCOPY vpn.ovpn /\n")
TAKES_ALL = lab("services: {web: {build: .}}", Dockerfile="FROM busybox\nCOPY . /\n")
LEAVES_PROFILE = lab(
    "services: {web: {build: .}}", Dockerfile="FROM busybox\nCOPY site /\n", site="hi"
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with agent_on_twins({"MAX_CONTAINERS": "200"}) as world:
        yield world


async def images_of(world: World, name: str) -> dict[str, str]:
    record = await world.store.environments.get(EnvironmentName(name))
    assert record is not None
    return dict(record.images)


async def tick(world: World) -> None:
    await world.agent.housekeeping.tick(world.agent.library, world.agent.space)


class TestOnce:
    async def test_fifty_deploys_of_one_bundle_at_once_build_once(self, world: World) -> None:
        world.compose.build_seconds = 5
        names = [f"lab-{number}" for number in range(50)]
        for name in names:
            await deploy(world, name, WEB, headers={})

        await world.clock.advance(30)

        assert [(await shown(world, name))["state"] for name in names] == ["running"] * 50
        assert world.compose.built == ["web"]
        assert len({(await images_of(world, name))["web"] for name in names}) == 1
        assert len(await image_tags(world)) == 1

    async def test_a_later_deploy_builds_nothing(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await world.clock.advance(3600)

        answer = await deploy(world, "two", WEB)

        assert answer.json()["step"] == "start"
        assert world.compose.built == ["web"]

    async def test_a_new_agent_builds_nothing_that_is_at_hand(self, world: World) -> None:
        await deploy(world, "one", WEB)

        async with agent_on_twins(outside=world) as after:
            await deploy(after, "two", WEB)

            assert after.compose.built == []

    async def test_two_services_that_build_the_same_build_once(self, world: World) -> None:
        twice = lab("services: {a: {build: .}, b: {build: .}}", Dockerfile=DOCKERFILE)

        await deploy(world, "one", twice)

        assert len(world.compose.built) == 1
        images = await images_of(world, "one")
        assert images["a"] == images["b"]

    async def test_bundles_that_differ_elsewhere_share_the_image(self, world: World) -> None:
        one = {"app/Dockerfile": DOCKERFILE, "app/main": "x"}
        await deploy(world, "one", lab("services: {a: {build: app}}", **one))

        more = lab("services: {a: {build: app, environment: {A: b}}}", **{**one, "README": "other"})
        await deploy(world, "two", more)

        assert world.compose.built == ["a"]

    async def test_what_a_container_runs_is_what_was_built(self, world: World) -> None:
        await deploy(world, "one", WEB)

        container = world.engine.containers["one-web-1"]

        assert container.image == (await images_of(world, "one"))["web"]
        assert container.image in world.engine.tags

    async def test_an_image_that_went_by_itself_is_built_again(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await remove(world, "one")
        world.engine.tags.clear()

        answer = await deploy(world, "one", WEB)

        assert answer.status_code == 200
        assert world.compose.built == ["web", "web"]


class TestAgain:
    @pytest.mark.parametrize(
        ("compose", "files"),
        [
            ("{build: .}", {"Dockerfile": "FROM busybox\nRUN echo other\n"}),
            ("{build: .}", {"Dockerfile": DOCKERFILE, "more": "x"}),
            ("{build: {context: ., args: {A: b}}}", {"Dockerfile": DOCKERFILE}),
            ("{build: {context: ., target: x}}", {"Dockerfile": DOCKERFILE}),
            ("{build: {context: ., labels: {a: b}}}", {"Dockerfile": DOCKERFILE}),
            ("{build: {context: ., network: none}}", {"Dockerfile": DOCKERFILE}),
        ],
        ids=["Dockerfile", "context", "arguments", "target", "labels", "network"],
    )
    async def test_what_differs_is_built_apart(
        self, world: World, compose: str, files: dict[str, str]
    ) -> None:
        await deploy(world, "one", lab("services: {web: {build: .}}", Dockerfile=DOCKERFILE))

        await deploy(world, "two", lab(f"services: {{web: {compose}}}", **files))

        assert world.compose.built == ["web", "web"]
        assert await images_of(world, "one") != await images_of(world, "two")

    async def test_arguments_that_variables_fill_in_count(self, world: World) -> None:
        archive = lab(
            "services: {web: {build: {context: ., args: {A: '${FLAG}'}}}}", Dockerfile=DOCKERFILE
        )

        for name, flag in (("one", "x"), ("two", "y"), ("three", "x")):
            await deploy(world, name, archive, variables={"FLAG": flag})

        assert world.compose.built == ["web", "web"]
        assert await images_of(world, "one") == await images_of(world, "three")

    async def test_another_base_under_the_same_name_is_built_again(self, world: World) -> None:
        world.engine.pull("busybox")
        await deploy(world, "one", WEB)
        world.engine.tags["busybox:latest"] = "sha256:newer"

        await deploy(world, "two", WEB)

        assert world.compose.built == ["web", "web"]

    @pytest.mark.parametrize(
        "text",
        [
            "FROM busybox\nRUN echo \\\\\n",
            "# check=skip=all\n# escape=`\nFROM busybox\n",
        ],
        ids=["escaped sign of continuation", "directive that releases read differently"],
    )
    async def test_what_nobody_can_tell_is_built_each_time_and_shared_with_nobody(
        self, world: World, text: str
    ) -> None:
        archive = lab("services: {web: {build: .}}", Dockerfile=text)

        await deploy(world, "one", archive)
        await deploy(world, "two", archive)

        assert world.compose.built == ["web", "web"]
        assert await images_of(world, "one") != await images_of(world, "two")

    async def test_a_rebuild_of_one_leaves_others_as_they_run(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await deploy(world, "two", WEB)
        before = world.engine.containers["two-web-1"]

        answer = await change(world, "one", "rebuild")

        assert answer.status_code == 200
        assert world.engine.containers["two-web-1"] == before
        assert before.image in world.engine.tags


class TestSecret:
    @pytest.mark.parametrize("archive", [TAKES_PROFILE, TAKES_ALL], ids=["by name", "with all"])
    async def test_an_image_that_takes_the_profile_in_is_the_environments_own(
        self, world: World, archive: bytes
    ) -> None:
        for name in ("one", "two"):
            await deploy(world, name, archive, vpn_profile=f"client of {name}\n")

        one, two = [(await images_of(world, name))["web"] for name in ("one", "two")]

        assert world.compose.built == ["web", "web"]
        assert one != two
        assert one.startswith("container-host-agent/own:")
        owners = {record.tag: record.environment for record in await world.store.images.list()}
        assert owners == {one: "one", two: "two"}

    async def test_the_same_profile_does_not_make_two_share(self, world: World) -> None:
        for name in ("one", "two"):
            await deploy(world, name, TAKES_PROFILE, vpn_profile="client\n")

        assert await images_of(world, "one") != await images_of(world, "two")

    async def test_it_goes_with_its_environment_at_once(self, world: World) -> None:
        await deploy(world, "one", TAKES_PROFILE, vpn_profile="client\n")
        await deploy(world, "two", TAKES_PROFILE, vpn_profile="client\n")
        kept = set((await images_of(world, "two")).values())

        await remove(world, "one")

        assert await image_tags(world) == kept
        assert set(world.engine.tags) == kept

    async def test_it_goes_when_another_takes_its_place(self, world: World) -> None:
        await deploy(world, "one", TAKES_PROFILE, vpn_profile="old\n")

        await deploy(world, "one", TAKES_PROFILE, vpn_profile="new\n")

        assert await image_tags(world) == set((await images_of(world, "one")).values())
        assert len(world.engine.tags) == 1

    async def test_it_stays_when_what_would_take_its_place_fails(self, world: World) -> None:
        await deploy(world, "one", TAKES_PROFILE, vpn_profile="old\n")
        before = await image_tags(world)

        await deploy(world, "one", BROKEN, vpn_profile="new\n")

        assert await image_tags(world) == before == set(world.engine.tags)

    async def test_an_image_that_leaves_the_profile_alone_is_shared(self, world: World) -> None:
        world.engine.pull("busybox")
        for name in ("one", "two"):
            await deploy(world, name, LEAVES_PROFILE, vpn_profile=f"client of {name}\n")

        assert world.compose.built == ["web"]
        assert (await images_of(world, "one"))["web"].startswith("container-host-agent/shared:")

    async def test_an_image_is_not_shared_while_nobody_knows_what_its_base_does(
        self, world: World
    ) -> None:
        await deploy(world, "one", LEAVES_PROFILE, vpn_profile="client\n")

        assert (await images_of(world, "one"))["web"].startswith("container-host-agent/own:")

    async def test_a_profile_that_came_with_the_bundle_is_no_secret(self, world: World) -> None:
        archive = lab(
            "services: {web: {build: .}}",
            **{"Dockerfile": "FROM busybox\nCOPY vpn.ovpn /\n", "vpn.ovpn": "of all"},
        )
        for name in ("one", "two"):
            await deploy(world, name, archive)

        assert world.compose.built == ["web"]

    async def test_a_rebuild_takes_the_profile_in_again(self, world: World) -> None:
        await deploy(world, "one", TAKES_PROFILE, vpn_profile="client\n")

        answer = await change(world, "one", "rebuild")

        assert answer.status_code == 200
        assert (await images_of(world, "one"))["web"].startswith("container-host-agent/own:")
        assert len(await image_tags(world)) == 1


class TestTurns:
    async def test_a_builder_that_is_cancelled_leaves_it_to_one_who_waits(
        self, world: World
    ) -> None:
        world.compose.build_seconds = 5
        first = await begin(world, "one", WEB)
        second = await begin(world, "two", WEB)
        await world.clock.advance(3)

        await call(world, "DELETE", f"{OPERATIONS}/{first}", headers=WAIT)
        await world.clock.advance(10)

        assert (await operation(world, first))["state"] == "cancelled"
        assert (await operation(world, second))["state"] == "succeeded"
        assert world.compose.built == ["web"]
        assert set(world.engine.containers) == {"two-web-1"}
        assert set((await images_of(world, "two")).values()) == await image_tags(world)

    async def test_one_who_waits_and_is_cancelled_disturbs_nobody(self, world: World) -> None:
        world.compose.build_seconds = 5
        first = await begin(world, "one", WEB)
        second = await begin(world, "two", WEB)

        await call(world, "DELETE", f"{OPERATIONS}/{second}", headers=WAIT)
        await world.clock.advance(10)

        assert (await operation(world, first))["state"] == "succeeded"
        assert (await shown(world, "one"))["state"] == "running"
        assert await left_of(world, "two") == []

    async def test_a_build_that_fails_fails_for_each_in_turn(self, world: World) -> None:
        world.compose.build_seconds = 5
        begun = [await begin(world, name, BROKEN) for name in ("one", "two")]

        await world.clock.advance(20)

        views = [await operation(world, identifier) for identifier in begun]
        assert [view["state"] for view in views] == ["failed", "failed"]
        assert all("Step 'build' failed" in view["reason"] for view in views)
        assert await image_tags(world) == set()

    async def test_a_deploy_that_fails_leaves_the_image_to_one_who_needs_it(
        self, world: World
    ) -> None:
        both = lab("services: {web: {build: .}, x: {image: missing/image}}", Dockerfile=DOCKERFILE)
        same = lab("services: {web: {build: .}}", Dockerfile=DOCKERFILE)
        world.compose.build_seconds = 5
        world.compose.up_seconds = 5
        await begin(world, "one", both)
        second = await begin(world, "two", same)

        await world.clock.advance(30)

        assert (await operation(world, second))["state"] == "succeeded"
        assert (await shown(world, "two"))["state"] == "running"
        assert (await images_of(world, "two"))["web"] in world.engine.tags

    async def test_no_more_build_at_once_than_may(self) -> None:
        async with agent_on_twins({"MAX_BUILDS": "2", "MAX_CONTAINERS": "50"}) as world:
            world.compose.build_seconds = 5
            for number in range(6):
                text = f"FROM busybox\nRUN echo {number}\n"
                archive = lab("services: {web: {build: .}}", Dockerfile=text)
                await begin(world, f"lab-{number}", archive)

            await world.clock.advance(30)

            assert world.compose.most_building == 2
            assert len(world.engine.containers) == 6

    async def test_two_that_need_the_same_in_another_order_do_not_stick(self, world: World) -> None:
        files = {"x/Dockerfile": "FROM a\n", "y/Dockerfile": "FROM b\n"}
        one = lab("services: {a: {build: x}, b: {build: y}}", **files)
        two = lab("services: {a: {build: y}, b: {build: x}}", **files)
        world.compose.build_seconds = 5
        async with anyio.create_task_group() as group:
            group.start_soon(begin, world, "one", one)
            group.start_soon(begin, world, "two", two)

        await world.clock.advance(20)

        assert len(world.engine.containers) == 4
        assert len(world.compose.built) == 2

    async def test_a_rebuild_does_not_wait_behind_builds_of_deploys(self) -> None:
        async with agent_on_twins({"MAX_BUILDS": "1"}) as world:
            await deploy(world, "one", WEB)
            world.compose.build_seconds = 500
            await begin(world, "two", OTHER)
            world.compose.build_seconds = 5

            asked = await call(world, "POST", "/api/v1/environments/one/rebuild")
            await world.clock.advance(10)

            assert (await operation(world, asked.json()["id"]))["state"] == "succeeded"
            await world.clock.advance(600)


class TestEnd:
    WEEK = 7 * 86400.0

    async def test_an_image_that_nobody_uses_goes_in_the_end(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await remove(world, "one")
        await world.clock.advance(self.WEEK - 60)
        await tick(world)
        kept = set(world.engine.tags)

        await world.clock.advance(120)
        await tick(world)

        assert len(kept) == 1
        assert world.engine.tags == {}
        assert await image_tags(world) == set()

    async def test_its_time_is_counted_from_its_last_use(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await remove(world, "one")
        await world.clock.advance(self.WEEK - 60)
        await deploy(world, "one", WEB)
        await remove(world, "one")
        await world.clock.advance(self.WEEK - 60)

        await tick(world)

        assert len(await image_tags(world)) == 1

    @pytest.mark.parametrize("what", ["", "stop"])
    async def test_one_that_an_environment_has_never_goes(self, world: World, what: str) -> None:
        archive = lab(
            "services: {web: {build: .}, db: {image: 'postgres:16'}}", Dockerfile=DOCKERFILE
        )
        await deploy(world, "one", archive)
        if what:
            await change(world, "one", what)
        before = set(world.engine.tags)
        await world.clock.advance(10 * self.WEEK)

        await tick(world)

        assert set(world.engine.tags) == before
        assert len(before) == 2
        assert (await change(world, "one", "reset")).status_code == 200

    async def test_one_that_was_pulled_for_an_environment_goes_too(self, world: World) -> None:
        world.engine.pull("redis:7")
        await deploy(
            world, "one", lab("services: {a: {image: 'postgres:16'}, b: {image: 'redis:7'}}")
        )
        await remove(world, "one")
        await world.clock.advance(self.WEEK + 60)

        await tick(world)

        assert set(world.engine.tags) == {"redis:7"}

    async def test_one_that_was_built_ahead_waits_for_its_first_use(self, world: World) -> None:
        digest = await upload(world, WEB)
        await call(world, "POST", f"{BUNDLES}/{digest}/build", headers=WAIT)
        await world.clock.advance(self.WEEK - 60)
        await tick(world)

        await deploy(world, "one", WEB)

        assert world.compose.built == ["web"]

    async def test_one_that_a_change_under_way_needs_stays(self, world: World) -> None:
        await deploy(world, "one", WEB)
        await remove(world, "one")
        await world.clock.advance(self.WEEK + 60)
        world.compose.up_seconds = 5
        identifier = await begin(world, "two", WEB)

        while await world.agent.housekeeping.reclaim():
            pass
        await tick(world)
        await world.clock.advance(10)

        assert (await operation(world, identifier))["state"] == "succeeded"
        assert world.compose.built == ["web"]

    async def test_one_that_a_deploy_will_start_from_stays_while_it_builds(
        self, world: World
    ) -> None:
        archive = lab(
            "services: {web: {build: .}, db: {image: 'postgres:16'}}", Dockerfile=DOCKERFILE
        )
        world.compose.build_seconds = 5
        await begin(world, "one", lab("services: {db: {image: 'postgres:16'}}"))
        await remove(world, "one")
        identifier = await begin(world, "two", archive)

        while await world.agent.housekeeping.reclaim():
            pass
        during = set(world.engine.tags)
        await world.clock.advance(10)

        assert during == {"postgres:16"}
        assert (await operation(world, identifier))["state"] == "succeeded"

    async def test_a_replaced_environments_image_stays_while_it_may_come_back(
        self, world: World
    ) -> None:
        await deploy(world, "one", WEB)
        before = await images_of(world, "one")
        await world.clock.advance(self.WEEK + 60)
        world.compose.up_seconds = 5
        failing = lab("services: {web: {image: missing/image}}")
        identifier = await begin(world, "one", failing)

        while await world.agent.housekeeping.reclaim():
            pass
        await world.clock.advance(20)

        assert (await operation(world, identifier))["state"] == "failed"
        assert await images_of(world, "one") == before
        assert set(before.values()) <= set(world.engine.tags)
        assert (await shown(world, "one"))["state"] == "running"
