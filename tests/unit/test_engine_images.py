"""Who needs an image, and what goes with it."""

from datetime import UTC, datetime

from domain.containers import Container, ContainerState, Inventory
from domain.engine_images import (
    EngineImage,
    HistoryStep,
    ImageDetails,
    ImageNeeds,
    freed_bytes,
)
from domain.environments import Environment, EnvironmentState, ServiceRecord
from domain.limits import HeldLimits
from domain.names import EnvironmentName

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = EngineImage(id="sha256:1", repo_tags=("nginx:1",), repo_digests=("nginx@sha256:a",))


def container(name: str, image: str, image_id: str = "") -> Container:
    return Container(
        id=name, name=name, image=image, image_id=image_id, state=ContainerState.EXITED
    )


def environment(
    name: str, image: str, state: EnvironmentState = EnvironmentState.STOPPED
) -> Environment:
    limits = HeldLimits(cpus=1, memory_bytes=1, pids=1, log_bytes=1)
    return Environment(
        name=EnvironmentName(name),
        state=state,
        created_at=NOW,
        updated_at=NOW,
        services=(ServiceRecord(name="web", image=image, limits=limits),),
    )


def test_containers_use_the_image_that_they_were_made_from_whatever_its_name_means_now() -> None:
    picture = Inventory(
        containers=(
            container("b", "sha256:1", "sha256:1"),
            container("a", "nginx:1", "sha256:1"),
            container("other", "nginx:1", "sha256:2"),
        )
    )

    assert ImageNeeds(picture, []).users(IMAGE).containers == ("a", "b")


def test_where_no_identifier_is_known_the_name_decides() -> None:
    picture = Inventory(containers=(container("a", "docker.io/library/nginx:1"),))

    assert ImageNeeds(picture, []).users(IMAGE).containers == ("a",)


def test_environments_use_what_they_would_be_started_with_however_it_is_written() -> None:
    needs = ImageNeeds(
        Inventory(),
        [
            environment("two", "docker.io/library/nginx:1"),
            environment("one", "nginx@sha256:a"),
            environment("other", "nginx"),
            environment("gone", "nginx:1", EnvironmentState.FAILED),
        ],
    )

    assert needs.users(IMAGE).environments == ("one", "two")
    assert needs.environments(["nginx:latest"]) == ("other",)


def details(layers: str, *sizes: int) -> ImageDetails:
    """An image of layers, of which each letter is one, and the sizes of its steps in order."""
    return ImageDetails(
        image=EngineImage(id=layers),
        layers=tuple(layers),
        history=tuple(HistoryStep(size_bytes=size) for size in reversed(sizes)),
    )


def test_steps_without_a_layer_weigh_nothing() -> None:
    assert freed_bytes([details("ab", 5, 0, 3, 0)], []) == 8
    assert freed_bytes([details("ab", 5, 0, 3, 0)], [details("a", 5)]) == 3


def test_a_layer_of_nothing_is_a_layer_still() -> None:
    assert freed_bytes([details("abc", 5, 0, 3)], [details("ab", 5, 0)]) == 3


def test_layers_that_go_together_are_counted_once() -> None:
    assert freed_bytes([details("ab", 5, 3), details("ac", 5, 4)], []) == 12


def test_the_same_layer_upon_another_is_another_one() -> None:
    assert freed_bytes([details("ab", 5, 3)], [details("cb", 1, 3)]) == 8


def test_a_history_that_was_cut_short_still_gives_what_it_tells() -> None:
    assert freed_bytes([details("abc", 5)], []) == 5
    assert freed_bytes([details("a", 5, 3, 2)], []) == 5
