"""How the progress of a pull is reckoned."""

from hypothesis import given
from hypothesis import strategies as st

from domain.pulls import PullProgress, PullStep

MEGABYTE = 1_000_000


def step(layer: str, status: str, current: int | None = None, total: int | None = None) -> PullStep:
    return PullStep(layer=layer, status=status, current_bytes=current, total_bytes=total)


def after(*steps: PullStep) -> PullProgress:
    progress = PullProgress()
    for one in steps:
        progress = progress.after(one)
    return progress


def test_loading_and_unpacking_count_half_each() -> None:
    assert after(step("a", "Downloading", MEGABYTE, 2 * MEGABYTE)).percent == 25
    assert after(step("a", "Downloading", 2 * MEGABYTE, 2 * MEGABYTE)).percent == 50
    assert after(step("a", "Extracting", MEGABYTE, 2 * MEGABYTE)).percent == 75


def test_large_layers_count_more_than_small_ones() -> None:
    progress = after(
        step("small", "Downloading", MEGABYTE, MEGABYTE),
        step("small", "Pull complete"),
        step("large", "Downloading", 0, 99 * MEGABYTE),
    )

    # What was told before the large one was known stays.
    assert progress.percent == 99
    assert (
        after(
            step("large", "Downloading", 0, 99 * MEGABYTE),
            step("small", "Downloading", MEGABYTE, MEGABYTE),
            step("small", "Pull complete"),
        ).percent
        == 1
    )


def test_a_layer_whose_size_is_not_known_yet_counts_as_an_average_one() -> None:
    progress = after(
        step("waiting", "Pulling fs layer"),
        step("a", "Downloading", 4 * MEGABYTE, 4 * MEGABYTE),
        step("a", "Pull complete"),
    )

    assert progress.percent == 50
    assert (progress.layers_done, len(progress.layers)) == (1, 2)


def test_layers_that_are_at_hand_already_have_nothing_to_do() -> None:
    progress = after(
        step("old", "Already exists"),
        step("new", "Downloading", MEGABYTE, 2 * MEGABYTE),
    )

    assert progress.percent == 25
    assert progress.layers_done == 1
    assert progress.total_bytes == 2 * MEGABYTE


def test_bytes_are_told_of_all_layers_together() -> None:
    progress = after(
        step("a", "Downloading", 1, 10),
        step("b", "Downloading", 20, 20),
        step("b", "Verifying Checksum"),
        step("b", "Download complete"),
    )

    assert (progress.downloaded_bytes, progress.total_bytes) == (21, 30)


def test_a_download_that_begins_anew_takes_back_its_bytes_but_no_percent() -> None:
    before = after(step("a", "Downloading", 9, 10))
    again = before.after(step("a", "Retrying in 5 seconds")).after(step("a", "Downloading", 1, 10))

    assert again.downloaded_bytes == 1
    assert again.percent == before.percent


def test_what_is_about_the_whole_changes_nothing() -> None:
    progress = after(step("a", "Downloading", 9, 10))

    assert progress.after(step("", "Digest: sha256:0")) is progress


STATUSES = (
    "Pulling fs layer",
    "Waiting",
    "Downloading",
    "Verifying Checksum",
    "Download complete",
    "Extracting",
    "Pull complete",
    "Already exists",
    "Retrying in 1 second",
    "Something of a later Engine",
)


@given(
    st.lists(
        st.builds(
            PullStep,
            layer=st.sampled_from(["", "a", "b", "c"]),
            status=st.sampled_from(STATUSES),
            current_bytes=st.none() | st.integers(-5, 2**50),
            total_bytes=st.none() | st.integers(-5, 2**50),
        )
    )
)
def test_the_percentage_never_falls_and_is_whole_only_at_the_end(steps: list[PullStep]) -> None:
    progress, percents = PullProgress(), [0]
    for one in steps:
        progress = progress.after(one)
        percents.append(progress.percent)

    assert percents == sorted(percents)
    assert 0 <= percents[-1] <= 99
