"""What perfdb says of itself must not fail either."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from perfdb.recording.health import debugging


def test_a_logging_module_that_another_thread_is_importing_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "logging", ModuleType("logging"))
    assert debugging() is None
