"""The Engine's words for times, and how they stay true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.containers import Container, ContainerState
from domain.status_words import Ages, duration_words, shortest_seconds

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a second"),
        (0.99, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (HOUR - 1, "59 minutes"),
        (HOUR, "About an hour"),
        (1.4 * HOUR, "About an hour"),
        (1.5 * HOUR, "2 hours"),
        (47.4 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_times_are_put_as_the_engine_puts_them(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


@given(st.floats(0, 700 * DAY))
def test_the_shortest_time_of_some_words_is_put_so_and_is_never_longer(seconds: float) -> None:
    words = duration_words(seconds)
    shortest = shortest_seconds(words)

    assert shortest is not None
    assert shortest <= seconds
    assert duration_words(shortest) == words


@pytest.mark.parametrize("words", ["", "soon", "3 fortnights", "3 seconds (healthy)", "-1 seconds"])
def test_what_is_no_time_has_no_length(words: str) -> None:
    assert shortest_seconds(words) is None


def container(status: str, identifier: str = "1") -> Container:
    return Container(
        id=identifier, name="a", image="busybox", state=ContainerState.RUNNING, status=status
    )


class Told:
    """What is told of one container over time."""

    def __init__(self) -> None:
        self.ages = Ages()

    def heard(self, status: str, at: float) -> None:
        """Takes the Engine's word."""
        self.last = container(status)
        self.ages.note([self.last], asked=at, answered=at)

    def at(self, now: float) -> str:
        """What is told then."""
        (self.last,) = self.ages.told([self.last], now)
        return self.last.status


@pytest.mark.parametrize(
    ("status", "later"),
    [
        ("Up 5 seconds", "Up 15 seconds"),
        ("Up 55 seconds (healthy)", "Up About a minute (healthy)"),
        ("Up 2 seconds (health: starting)", "Up 12 seconds (health: starting)"),
        ("Up Less than a second (Paused)", "Up 10 seconds (Paused)"),
        ("Exited (137) 59 seconds ago", "Exited (137) About a minute ago"),
        ("Restarting (1) 1 second ago", "Restarting (1) 11 seconds ago"),
        ("Up 3 hours", "Up 3 hours"),
        ("Created", "Created"),
        ("Dead", "Dead"),
        ("Removal In Progress", "Removal In Progress"),
        ("", ""),
        ("Up for a good while", "Up for a good while"),
    ],
)
def test_ten_seconds_later_the_words_have_moved_on(status: str, later: str) -> None:
    told = Told()
    told.heard(status, 100.0)

    assert told.at(100.0) == status
    assert told.at(110.0) == later


def test_one_that_was_seen_young_is_told_exactly_when_it_is_old() -> None:
    told = Told()
    told.heard("Up 1 second", 100.0)
    # Of a coarse word the finer knowledge is kept.
    told.heard("Up 3 minutes", 290.0)

    assert told.at(338.0) == "Up 3 minutes"
    assert told.at(339.5) == "Up 4 minutes"


def test_one_that_was_seen_old_is_behind_until_the_engine_says_more() -> None:
    told = Told()
    told.heard("Up 3 minutes", 100.0)
    assert told.at(150.0) == "Up 3 minutes"
    told.heard("Up 4 minutes", 150.0)

    assert told.at(209.0) == "Up 4 minutes"
    assert told.at(210.0) == "Up 5 minutes"


def test_a_restart_begins_anew() -> None:
    told = Told()
    told.heard("Up 3 hours", 100.0)
    told.heard("Up 2 seconds", 105.0)

    assert told.at(110.0) == "Up 7 seconds"


def test_an_answer_on_its_way_takes_nothing_from_what_is_known() -> None:
    told = Told()
    told.heard("Up 1 second", 100.0)
    told.last = container("Up 2 seconds")
    told.ages.note([told.last], asked=101.9, answered=102.1)

    assert told.at(103.0) == "Up 4 seconds"


def test_what_is_gone_is_forgotten() -> None:
    ages = Ages()
    gone, stays = container("Up 5 seconds", "1"), container("Up 5 seconds", "2")
    ages.note([gone, stays], asked=100.0, answered=100.0)

    ages.keep({"2"})

    assert [c.status for c in ages.told([gone, stays], 200.0)] == [
        "Up 5 seconds",
        "Up About a minute",
    ]
