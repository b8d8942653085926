"""External commands: what they print, how they end, and that nothing of them stays."""

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from adapters.compose import process
from domain.operations import OUTPUT_LINE_LENGTH, OUTPUT_TAIL_LINES

pytestmark = pytest.mark.anyio

ENVIRONMENT = {"PATH": os.environ["PATH"]}


async def run(
    script: str, *, seconds: float = 10, capture: bool = False
) -> tuple[process.Finished, list[str]]:
    lines: list[str] = []
    finished = await process.run(
        ["sh", "-c", script],
        directory="/",
        environment=ENVIRONMENT,
        seconds=seconds,
        on_line=lines.append,
        capture=capture,
    )
    return finished, lines


async def test_lines_come_as_they_are_printed_from_both_streams() -> None:
    finished, lines = await run("echo one; echo two >&2; printf three; exit 3")

    assert finished.exit_code == 3
    assert lines == ["one", "two", "three"]
    assert finished.tail == ("one", "two", "three")


async def test_captured_output_is_kept_apart_from_what_is_for_people() -> None:
    finished, lines = await run("echo data; echo note >&2", capture=True)

    assert finished.stdout == b"data\n"
    assert lines == ["note"]


async def test_it_sees_only_the_environment_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "secret")

    _, lines = await run("env | cut -d= -f1 | sort | tr '\\n' ' '")

    assert "JWT_SECRET" not in lines[0]


async def test_only_the_last_lines_are_kept_and_long_ones_are_cut() -> None:
    finished, _ = await run(
        f"i=0; while [ $i -lt {OUTPUT_TAIL_LINES + 5} ]; do echo $i; i=$((i+1)); done;"
        " head -c 100000 /dev/zero | tr '\\0' x"
    )

    assert len(finished.tail) == OUTPUT_TAIL_LINES
    assert len(finished.tail[-1]) == OUTPUT_LINE_LENGTH


async def test_control_characters_are_made_harmless() -> None:
    finished, _ = await run(r"printf 'a\033[31mred\033]0;title\007\tb\r\n'")

    assert finished.tail == ("a\ufffd[31mred\ufffd]0;title\ufffd\tb",)


async def test_of_a_line_that_overwrites_itself_the_last_state_stays() -> None:
    finished, _ = await run(r"printf '10 %%\r50 %%\r100 %%\n'")

    assert finished.tail == ("100 %",)


async def test_a_command_that_takes_too_long_is_ended_and_its_lines_told() -> None:
    with anyio.fail_after(20), pytest.raises(process.TimedOut) as fault:
        await run("echo begun; sleep 60", seconds=1.5)

    assert fault.value.tail == ("begun",)


async def test_one_that_ignores_the_request_to_end_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    pid = tmp_path / "pid"

    with anyio.fail_after(20), pytest.raises(process.TimedOut):
        await run(f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.05; done", seconds=1.5)

    assert not alive(int(await anyio.Path(pid).read_text()))


async def test_children_that_outlive_their_parent_are_killed_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    with anyio.fail_after(5):
        finished, _ = await run(f"sleep 60 & echo $! > {pid}; exit 0")

    assert finished.exit_code == 0
    await gone(int(await anyio.Path(pid).read_text()))


async def test_a_cancelled_command_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = anyio.Path(tmp_path, "pid")

    async with anyio.create_task_group() as group:
        group.start_soon(run, f"sleep 60 & echo $! > {pid}; wait")
        while not await pid.exists() or not await pid.read_text():
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()

    await gone(int(await pid.read_text()))


async def test_a_grandchild_that_ignores_the_request_and_holds_the_pipes_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    pid = tmp_path / "pid"
    grandchild = f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.05; done"

    with anyio.fail_after(20), pytest.raises(process.TimedOut) as fault:
        await run(f'echo begun; sh -c "{grandchild.replace("$$", chr(92) + "$$")}"', seconds=1.5)

    assert fault.value.tail == ("begun",)
    await gone(int(await anyio.Path(pid).read_text()))


async def test_a_grandchild_in_a_session_of_its_own_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "_DRAIN_SECONDS", 0.1)
    pid = anyio.Path(tmp_path, "pid")

    with anyio.fail_after(5):
        # It escapes the group, and would keep the pipes open for a minute.
        finished, _ = await run(
            f"setsid sh -c 'echo $$ > {pid}; exec sleep 60' &"
            f" until [ -s {pid} ]; do sleep 0.01; done; echo x"
        )

    assert finished.tail == ("x",)
    os.kill(int(await pid.read_text()), signal.SIGKILL)


async def test_one_that_is_killed_from_outside_is_reaped_and_says_by_what(tmp_path: Path) -> None:
    pid, child = anyio.Path(tmp_path, "pid"), anyio.Path(tmp_path, "child")
    found: list[process.Finished] = []

    async def go() -> None:
        script = f"echo half; sleep 60 & echo $! > {child}; echo $$ > {pid}; wait"
        found.append((await run(script))[0])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(go)
            while not await pid.exists() or not await pid.read_text():
                await anyio.sleep(0.01)
            os.kill(int(await pid.read_text()), signal.SIGKILL)

    assert (found[0].exit_code, found[0].tail) == (-9, ("half",))
    assert not await anyio.Path("/proc", (await pid.read_text()).strip()).exists()
    await gone(int(await child.read_text()))


async def test_one_that_is_cancelled_while_it_is_started_is_ended(tmp_path: Path) -> None:
    pid = anyio.Path(tmp_path, "pid")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await run(f"echo $$ > {pid}; sleep 60")

    await anyio.sleep(0.1)
    if await pid.exists() and (text := await pid.read_text()):
        assert not alive(int(text))


async def test_a_command_that_prints_without_end_costs_little_memory() -> None:
    with anyio.fail_after(10), pytest.raises(process.TimedOut):
        await run("yes | tr -d '\\n'", seconds=0.5)


async def test_a_program_that_is_not_there_cannot_be_started() -> None:
    with pytest.raises(FileNotFoundError):
        await process.run(
            ["no-such-program"],
            directory="/",
            environment=ENVIRONMENT,
            seconds=1,
            on_line=lambda _line: None,
        )


async def test_standard_input_is_empty() -> None:
    finished, _ = await run(f"{sys.executable} -c 'import sys; print(len(sys.stdin.read()))'")

    assert finished.tail == ("0",)


def alive(process_id: int) -> bool:
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


async def gone(process_id: int) -> None:
    with anyio.fail_after(3):
        while alive(process_id):
            await anyio.sleep(0.01)


async def test_a_command_gets_no_more_memory_than_it_may() -> None:
    finished = await process.run(
        ["sh", "-c", "sleep 2; tail -n 1 /dev/zero"],
        directory="/",
        environment=ENVIRONMENT,
        seconds=10,
        on_line=lambda _: None,
        memory_bytes=64 * 1024 * 1024,
    )

    assert finished.exit_code not in {0, None}
    assert "memory" in " ".join(finished.tail)


async def test_a_command_waits_where_the_agent_wants_a_processor() -> None:
    # Not at once, as it is told so when it has begun.
    finished, _ = await run("sleep 0.3; nice; sh -c nice", capture=True)

    behind = max(os.getpriority(os.PRIO_PROCESS, 0) + process.BEHIND, 0)
    assert finished.stdout.split() == [str(behind).encode()] * 2
