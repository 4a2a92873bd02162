"""A tracker in a folder of its own, with perfdb's own failures let out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfdb import recorder
from perfdb.recording.tracker import Tracker


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFDB_WAIT_S", "20")  # the first rows of a busy machine take longer than 2 s
    yield tmp_path / "performance_tracking"
    recorder.close()


@pytest.fixture
def tracker_with(home: Path) -> Callable[..., Tracker]:
    def make(**settings: Any) -> Tracker:
        return recorder.create_tracker(**{"home": home, "console": False, "strict": True, **settings})

    return make


@pytest.fixture
def tracker(tracker_with: Callable[..., Tracker]) -> Tracker:
    made = tracker_with()
    made.start_pipeline(fast_mode=False)
    return made
