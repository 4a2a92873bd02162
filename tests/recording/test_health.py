"""What perfdb says of itself must not fail either."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from perfdb import guard
from perfdb.recording import health
from perfdb.recording.health import Health, debugging


def test_a_logging_module_that_another_thread_is_importing_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "logging", ModuleType("logging"))
    assert debugging() is None


def test_without_memory_to_judge_a_failure_it_stays_perfdbs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks at an exception needs memory itself; a program under a limit of it goes on."""

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(guard, "_installed_handlers", no_memory)
    monkeypatch.setattr(health, "_named", no_memory)
    own = Health()
    try:
        raise MemoryError
    except MemoryError as error:
        judged = guard.foreign(error)
        own.failed("recording a step", error)
    assert judged is None
    assert own.as_dict()["errors"] == 1
    assert not own.as_dict()["ok"]
    ends = KeyboardInterrupt()
    assert guard.foreign(ends) is ends
