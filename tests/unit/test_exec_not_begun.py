"""Why a command never ran: by its own fault, or by its container's end."""

import pytest

from adapters.docker.container_exec import not_begun
from domain.errors import AgentError, CommandNotStarted, ResourceConflict

MISSING = 'exec: "nosuch": executable file not found in $PATH'


@pytest.mark.parametrize(
    ("said", "runs", "expected"),
    [
        (MISSING, True, CommandNotStarted),
        (MISSING, False, ResourceConflict),
        ("cannot exec in a stopped state: unknown", True, ResourceConflict),
        (
            "cannot exec in a paused container (use --ignore-paused to override)",
            True,
            ResourceConflict,
        ),
        ("read init-p: connection reset by peer", False, ResourceConflict),
    ],
)
def test_a_container_that_ended_meanwhile_is_not_the_commands_fault(
    said: str, runs: bool, expected: type[AgentError]
) -> None:
    assert type(not_begun(said, runs=runs)) is expected
