"""What is read out of the Engine's words for people."""

import pytest

from domain.containers import Container, ContainerState


def container(status: str, state: ContainerState = ContainerState.RUNNING) -> Container:
    return Container(id="1", name="lab-web-1", image="busybox", state=state, status=status)


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("Up 3 minutes (healthy)", "healthy"),
        ("Up 3 minutes (unhealthy)", "unhealthy"),
        ("Up 2 seconds (health: starting)", "starting"),
        ("Up 3 minutes", None),
        ("Up 3 minutes (Paused)", None),
        ("Exited (0) 3 minutes ago", None),
        ("Created", None),
        ("", None),
    ],
)
def test_health_is_told_where_somebody_checks(status: str, health: str | None) -> None:
    assert container(status).health == health


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        ("Exited (0) 3 minutes ago", 0),
        ("Exited (137) Less than a second ago", 137),
        ("Up 3 minutes", None),
        ("Up 3 minutes (healthy)", None),
        # The end of an earlier run; the container is about to run again.
        ("Restarting (1) 5 seconds ago", None),
        ("Created", None),
        ("Dead", None),
        ("", None),
    ],
)
def test_the_exit_code_is_told_of_one_that_has_ended(status: str, exit_code: int | None) -> None:
    assert container(status, ContainerState.EXITED).exit_code == exit_code


@pytest.mark.parametrize(
    ("status", "state", "well"),
    [
        ("Up 3 minutes", ContainerState.RUNNING, True),
        ("Up 3 minutes (healthy)", ContainerState.RUNNING, True),
        ("Up 2 seconds (health: starting)", ContainerState.RUNNING, True),
        ("Up 3 minutes (unhealthy)", ContainerState.RUNNING, False),
        ("Exited (0) 3 minutes ago", ContainerState.EXITED, True),
        ("Exited (1) 3 minutes ago", ContainerState.EXITED, False),
        ("Up 3 minutes (Paused)", ContainerState.PAUSED, False),
        ("Restarting (0) 5 seconds ago", ContainerState.RESTARTING, False),
        ("Created", ContainerState.CREATED, False),
        ("Dead", ContainerState.DEAD, False),
    ],
)
def test_a_container_is_well_at_work_or_at_a_good_end(
    status: str, state: ContainerState, well: bool
) -> None:
    assert container(status, state).well is well


def test_project_and_service_are_read_from_composes_labels() -> None:
    labels = {"com.docker.compose.project": "lab", "com.docker.compose.service": "web"}
    marked = Container(
        id="1", name="x", image="busybox", state=ContainerState.RUNNING, labels=labels
    )

    assert (marked.project, marked.service) == ("lab", "web")
    assert (container("").project, container("").service) == (None, None)
