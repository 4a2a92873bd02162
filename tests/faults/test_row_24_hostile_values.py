"""Row 24: whatever the host hands in is strict JSON in the report and both databases; nothing raises."""

from __future__ import annotations

import collections
import datetime
import decimal
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import perfdb
from perfdb.recording.journal import frame
from perfdb.recording.report import read_report
from perfdb.recording.values import MAX_TEXT
from perfdb.store.engine import open_engine
from perfdb.store.sanity import find_nonsense
from perfdb.worker.recovery import recover

CYCLE: dict[str, Any] = {}
CYCLE["again"] = [CYCLE]


class Hostile:
    """Raises at whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")


class Lying(collections.UserDict[str, int]):
    """A mapping that says it is empty, and breaks when it is read."""

    def __len__(self) -> int:
        return 0

    def items(self) -> Any:
        raise KeyError("gone")


class Endless(collections.UserDict[str, int]):
    """A mapping without an end."""

    def items(self) -> Any:
        return (("key", value) for value in iter(int, 1))


class HostsError(Exception):
    """An error of the pipeline's own."""


HOSTILE: dict[str, Any] = {
    "nan": math.nan,
    "inf": -math.inf,
    "2**70": 2**70,
    "10**5000": 10**5000,
    "1e308": 1e308,
    "5e-324": 5e-324,
    "2**63 and a bit": 1.2345678901234567e18,
    "bytes": b"\x00\xff" * 100,
    "memory": memoryview(b"abc"),
    "datetime": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "timedelta": datetime.timedelta(days=3),
    "decimal": decimal.Decimal("NaN"),
    "complex": 1j,
    "numpy": np.float64("nan"),
    "array": np.zeros((40, 40)),
    "frame": pd.DataFrame({"a": range(1_000)}),
    "series": pd.Series([1.5, math.nan]),
    "set": {1, "a"},
    "deque": collections.deque(range(100_000)),
    "range": range(10**12),
    "generator": (number for number in (1, 2)),
    "view": {"a": 1}.values(),
    "cycle": CYCLE,
    "deep": json.loads("[" * 500 + "]" * 500),
    "nul": "a\x00b",
    "surrogates": "\ud800 \udfff",
    "50 MB": "x" * 50_000_000,
    "controls": "\x1b[2J\u202e\r\n\x7f",
    "keys": {None: 1, 2: 2, (3, 4): 3, "a\x00": 4, "\ud800": 5, b"b": 6, "": 7},
    "quotes": "'\"\\;--</script>",
    "a type": int,
    "a function": print,
    "hostile": Hostile(),
    "lying": Lying(a=1),
    "endless": Endless(a=1),
}


def strict(path: str | None) -> Any:
    """Return the JSON of a file; refuse what is not in the standard."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert path is not None
    return json.loads(Path(path).read_bytes(), parse_constant=refuse)


def test_every_hostile_value_is_kept_as_strict_json_in_report_and_database(
    recorded_url: str, history: Callable[..., perfdb.History]
) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline(fast_mode=False, **{f"start {name}": value for name, value in HOSTILE.items()})
    for name, value in HOSTILE.items():
        with tracker.step(name, given=value) as step:
            step.set(later=[value], **{"in a key": {str(name): value}})
            step.event("seen", value=value)
            with step.attempt():
                pass
    tracker.event("seen", value=HOSTILE["nul"])
    tracker.set(last=HOSTILE["surrogates"])
    tracker.end_pipeline(success=True, product_count=HOSTILE["2**70"])
    assert tracker.health()["ok"], tracker.health()
    report = tracker.save_performance_report()
    kept = history(recorded_url).session()
    assert len(kept.steps) == len(HOSTILE)
    assert read_report(str(report)) == kept
    json.dumps(strict(report), allow_nan=False).encode("ascii")


def test_every_hostile_name_and_error_is_kept_and_the_hosts_error_passes(
    history: Callable[..., perfdb.History],
) -> None:
    tracker = perfdb.create_tracker(console=True, monitor=False)
    for value in HOSTILE.values():
        error = HostsError(value)
        tracker.start_pipeline(value)
        with pytest.raises(HostsError) as caught, tracker.step(value):
            raise error
        assert caught.value is error
        tracker.step("by hand").start().stop(success=value, error=value)
        tracker.event(value)
        tracker.end_pipeline(success=value, error=value, product_count=value)
        strict(tracker.save_performance_report())
        tracker.print_summary()
    assert tracker.health()["ok"], tracker.health()
    sessions = list(history().each_session())
    assert len(sessions) == len(HOSTILE)
    for name, session in zip(HOSTILE, sessions, strict=True):
        assert [step.success for step in session.steps] == [False, False], name
        assert all(step.error_message for step in session.steps), name
        assert len(session.steps[0].step_name) < 300, name


def test_a_huge_text_is_cut_and_says_by_how_much(history: Callable[..., perfdb.History]) -> None:
    with perfdb.track("texts") as run, run.step("load", text=HOSTILE["50 MB"]):
        pass
    text = history().session().steps[0].additional_data["text"]
    assert len(text) < MAX_TEXT + 50
    assert text.endswith(f"[{50_000_000 - MAX_TEXT} characters cut]")


RECORDS: dict[str, dict[str, Any]] = {
    "start": {"pipeline": "p", "start_time": 1e9, "utc_offset": 0, "fast_mode": None, "mode": "{}",
              "attributes": {}, "git_commit": None, "own_step": 0},
    "step": {"seq": 0, "parent_seq": None, "step_name": "s", "lane": 0, "start_time": 1e9, "duration": 1.0,
             "success": True, "status": "completed", "error_message": None, "additional_data": {},
             "attempts": [], "events": [], "cpu_s": 0.1},
    "end": {"total_duration": 1.0, "success": True, "attributes": {}, "product_count": 1},
}  # fmt: skip
VALUES: list[Any] = [
    "{bad", "[1]", "5", "null", "", "{}", '{"a":NaN}', "\x00", "\ud800", "running", None, True, 5, -1, 0.5,
    1e308, 2**70, [], {}, [1], {"a": 1}, [[[]]], [{"a": None}], {"a\x00": "\ud800"}, {"a": 2**70},
    [{"start_time": 1, "duration": "x"}], [{"start_time": None, "duration": None}], [{"name": 5, "time": 1}],
    [{"name": "a", "time": "b"}], [{"name": "a", "time": 1}, 5], [{"start_time": 1, "duration": 1}, "b"],
]  # fmt: skip


def test_no_record_of_a_journal_leaves_what_readers_refuse(home: Path, database_url: str) -> None:
    """One line of a foreign journal would otherwise close the whole history."""
    spoiled = [(kind, name, value) for kind in RECORDS for name in RECORDS[kind] for value in VALUES]
    records: list[dict[str, Any]] = [{"type": "journal", "version": 1, "journal_id": "foreign"}]
    for number, (wrong, name, value) in enumerate(spoiled):
        for kind, record in RECORDS.items():
            changed = {name: value} if kind == wrong else {}
            records.append({"type": kind, "session_id": f"s{number}", **record, **changed})
    journal = home / "journal" / "foreign.journal"
    journal.parent.mkdir(parents=True)
    journal.write_bytes(b"".join(frame(json.dumps(record).encode()) for record in records))
    recover(home, database_url)
    engine = open_engine(database_url, role="reader")
    with engine.connect() as connection:
        assert find_nonsense(connection) is None
    engine.dispose()
    exported = home / "all.json"
    perfdb.History(database_url).export(exported)
    assert len(json.loads(exported.read_text())["rows"]) == len(spoiled)
