"""Commands that are run in containers that run already."""

from collections.abc import Mapping

import msgspec

from domain.compose_policy.values import lies_in, normal_path
from domain.errors import PolicyRefused, RequestUnreadable
from domain.findings import Finding

MOST_WORDS = 1000
"""How many words a command, and how many variables its surroundings, may have."""

MOST_TEXT_BYTES = 128 * 1024
"""How long all of them may be together; the kernel takes no single one that is longer."""

MOST_COLUMNS = 1000
MOST_ROWS = 1000


class TerminalSize(msgspec.Struct, frozen=True, kw_only=True):
    """How much text a terminal shows."""

    columns: int
    rows: int

    def checked(self) -> "TerminalSize":
        """The size itself.

        Raises:
            RequestUnreadable: no terminal is of this size.
        """
        if not (1 <= self.columns <= MOST_COLUMNS and 1 <= self.rows <= MOST_ROWS):
            raise RequestUnreadable(
                f"A terminal has 1 to {MOST_COLUMNS} columns and 1 to {MOST_ROWS} rows, not "
                f"{self.columns} and {self.rows}."
            )
        return self


class ExecOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A command for a container that runs."""

    command: tuple[str, ...]
    env: Mapping[str, str] = {}
    """Beside the container's own."""
    working_dir: str = ""
    """Empty for the container's own."""
    user: str = ""
    """A name or number, perhaps with a group (``1000:1000``); empty for the container's own."""
    privileged: bool = False
    terminal: TerminalSize | None = None
    """None where the command has three pipes, and no terminal."""
    input: bool = False
    """Whether it can be sent anything; else its input is at its end from the beginning."""


class OpenCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command that runs, as it is written down before it begins."""

    mark: str
    """What the command and all that it starts are known by."""
    container: str
    """The container's identifier."""
    execution: str
    """The Engine's own name for it."""
    user: str = ""
    terminal: bool = False


class OutputPiece(msgspec.Struct, frozen=True):
    """Some bytes that a command printed; all of a terminal are of ``stdout``."""

    stream: str
    """``stdout`` or ``stderr``."""
    data: bytes


def judge(order: ExecOrder) -> None:
    """Returns if a command may be run in a container.

    Raises:
        RequestUnreadable: it is none, or cannot be handed to a process.
        PolicyRefused: it would be able to more than the container's own processes.
    """
    _require_words(order)
    findings = []
    if order.privileged:
        findings.append(
            Finding(
                where="privileged",
                what="true",
                why="It would have all rights over the host that its container was denied.",
                instead="Leave it away; the command has the rights of its container.",
            )
        )
    if lies_in(normal_path(order.working_dir) or "", "/proc"):
        # Runtimes have let go of folders of the host only after they had entered this one.
        findings.append(
            Finding(
                where="working_dir",
                what=order.working_dir[:200],
                why="What lies there is made of processes' own open files, perhaps of the host's.",
                instead="Name a folder of the container's own files.",
            )
        )
    if findings:
        raise PolicyRefused(tuple(findings), asker="command")


def _require_words(order: ExecOrder) -> None:
    if not order.command or not order.command[0]:
        raise RequestUnreadable(
            "There is no command.", hint='Give the program and its arguments: ["ls", "-l"].'
        )
    variables = [f"{name}={value}" for name, value in order.env.items()]
    texts = [*order.command, *variables, order.working_dir, order.user]
    if len(texts) > MOST_WORDS:
        raise RequestUnreadable(f"Command and variables are more than {MOST_WORDS} texts.")
    if sum(len(text.encode(errors="replace")) for text in texts) > MOST_TEXT_BYTES:
        raise RequestUnreadable(f"Command and variables are more than {MOST_TEXT_BYTES} bytes.")
    if any("\0" in text or not _is_text(text) for text in texts):
        raise RequestUnreadable("A command cannot hold a zero byte, nor half a character.")
    if any(not name or "=" in name for name in order.env):
        raise RequestUnreadable("A variable's name is empty, or has an equals sign in it.")
    if order.working_dir and not order.working_dir.startswith("/"):
        raise RequestUnreadable(f"The folder {order.working_dir[:200]!r} must begin with a slash.")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
