"""What a host gives, and what was measured, come out of the report, the database and an export the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import perfdb
from perfdb import recorder
from perfdb.importing import import_reports
from perfdb.recording.report import read_report, to_report, write_report
from perfdb.recording.values import clean
from perfdb.settings import load

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=8), each, max_size=3)
)
DATA = st.dictionaries(st.text(max_size=12), VALUES, max_size=4)


@settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(examples=st.lists(DATA, min_size=1, max_size=6))
def test_attributes_come_out_as_they_went_in(examples: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home, other = Path(folder, "home"), Path(folder, "other")
        tracker = perfdb.create_tracker(home=home, report_dir=folder, console=False, monitor=False)
        session_id = tracker.start_pipeline(given=examples[0])
        for data in examples:
            step = tracker.step("work")
            step.set(given=data)
            with step:
                pass
        tracker.end_pipeline()
        report = tracker.save_performance_report(Path(folder, "report.json"))
        recorder.close(20.0)
        assert report is not None
        kept = perfdb.History(home=home).session(session_id)
        exported = write_report(to_report(kept), Path(folder, "exported.json"))
        (imported,) = import_reports([exported], load(home=other))
        assert (imported.error, imported.added) == (None, 1)
        expected = [clean({"given": data}) for data in examples]
        for session in (read_report(report), kept, perfdb.History(home=other).session(session_id)):
            assert [step.additional_data for step in session.steps] == expected
            assert session.attributes["given"] == expected[0]["given"]


class HalfMicroseconds:
    """A clock whose readings all lie between two microseconds."""

    def __init__(self) -> None:
        self.read = 0

    def time(self) -> float:
        return 1_790_000_000.1234567

    def monotonic(self) -> float:
        self.read += 1
        return self.read**2 * 1.5e-6


def test_report_and_database_agree_to_the_microsecond(home: Path) -> None:
    tracker = recorder.create_tracker(home=home, console=False, monitor=False)
    tracker._clock = HalfMicroseconds()
    session_id = tracker.start_pipeline()
    for _ in range(200):
        with tracker.step("work"):
            pass
    tracker.end_pipeline()
    report = tracker.save_performance_report()
    recorder.close(20.0)
    assert report is not None
    assert read_report(report) == perfdb.History(home=home).session(session_id)
