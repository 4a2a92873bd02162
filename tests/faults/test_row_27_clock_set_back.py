"""Row 27: the wall clock is set back, or forth, while a session runs: durations and order stay."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import perfdb
from perfdb.recording.report import read_report
from perfdb.testing import ManualClock


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, -1e9])
def test_durations_and_order_stay_when_the_clock_is_set(
    jump: float, history: Callable[..., perfdb.History]
) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    begun = time.time()
    clock = ManualClock(begun)
    clock.drive(tracker)
    for name in ("first", "second"):
        tracker.start_pipeline(name=name)
        with tracker.step("before"):
            clock.advance(0.5)
        with tracker.step("outer") as step:
            clock.advance(0.5)
            clock.set_by(jump / 2)
            step.event("set")
            with tracker.step("inner"):
                clock.advance(0.5)
        tracker.end_pipeline()
        report = tracker.save_performance_report()
        assert report is not None
        session = history().session(str(tracker.session_id))
        assert read_report(report) == session
        names = [each.step_name for each in sorted(session.steps, key=lambda each: each.start_time)]
        assert names == ["before", "outer", "inner"]
        assert session.total_duration is not None
        assert 0 <= session.total_duration < 60
        assert all(each.duration is not None and 0 <= each.duration < 60 for each in session.steps)
        assert all(each.start_time >= session.start_time for each in session.steps)
        assert session.steps[1].events[0].time >= session.steps[1].start_time
    first = history().session("last~1") if jump > 0 else history().session("last")
    assert first.attributes["name"] == "first"
    assert abs(first.start_time - begun) < 60
