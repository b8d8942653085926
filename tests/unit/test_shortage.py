"""Which faults of the system mean that the host is short of something, and which do not."""

import errno
import os

import pytest
import requests.exceptions

from adapters.docker.client import translated
from domain.errors import AgentError, EngineUnavailable, HostExhausted, StorageFull
from domain.shortage import process_shortage, shortage, shortages_told


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("fault", "lacking"),
    [
        (system(errno.EMFILE), "files"),
        (system(errno.ENFILE), "files"),
        (system(errno.ENOMEM), "memory"),
        (system(errno.ENOBUFS), "memory"),
        (MemoryError(), "memory"),
        (RuntimeError("can't start new thread"), "threads"),
        (ExceptionGroup("two", [MemoryError(), system(errno.EMFILE)]), "memory"),
        (ExceptionGroup("deep", [ExceptionGroup("inner", [MemoryError()])]), "memory"),
    ],
    ids=repr,
)
def test_what_the_system_refuses_is_told_with_its_name(fault: Exception, lacking: str) -> None:
    found = shortage(fault)

    assert found is not None
    assert found.message.startswith(f"The host has run out of {lacking}")
    assert found.hint
    assert found.retry_after > 0


@pytest.mark.parametrize(
    "fault",
    [
        system(errno.ENOSPC),
        system(errno.EACCES),
        system(errno.EAGAIN),
        RuntimeError("something else"),
        ValueError("a bug"),
        OSError("without a number"),
        StorageFull("The disk is full."),
        ExceptionGroup("one of them a bug", [MemoryError(), ValueError("a bug")]),
    ],
    ids=repr,
)
def test_anything_else_is_none(fault: Exception) -> None:
    assert shortage(fault) is None


def test_too_many_processes_are_a_shortage_only_where_one_is_started() -> None:
    found = process_shortage(system(errno.EAGAIN))

    assert found is not None
    assert "processes" in found.message
    assert process_shortage(system(errno.ENOENT)) is None


def test_a_refusal_stays_the_same_and_others_pass() -> None:
    refusal = HostExhausted("memory")
    with pytest.raises(HostExhausted) as caught, shortages_told():
        raise refusal
    with pytest.raises(ValueError, match="a bug"), shortages_told():
        raise ValueError("a bug")

    assert caught.value is refusal


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (system(errno.EMFILE), HostExhausted),
        (MemoryError(), HostExhausted),
        (requests.exceptions.ConnectionError("aborted", system(errno.EMFILE)), HostExhausted),
        (system(errno.ECONNREFUSED), EngineUnavailable),
    ],
    ids=repr,
)
def test_a_call_of_the_engine_tells_whose_fault_it_was(
    fault: Exception, kind: type[AgentError]
) -> None:
    with pytest.raises(AgentError) as caught, translated("listing containers"):
        raise fault

    assert type(caught.value) is kind
