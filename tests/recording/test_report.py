"""The report: the seed's shape, written whole, read back equal, and nothing else accepted.

Of: recording/report_reader.py, records.py.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfdb.errors import InvalidSessionIdError, ReportError
from perfdb.recording.report import read_report, to_report, write_report
from perfdb.records import Attempt, Event, Sample, Session, Step
from tests.given import SEED_REPORT


def full_session() -> Session:
    """Return a session in which no field has its default."""
    return Session(
        session_id="20260102_030405_0a1b2c3d",
        pipeline="nightly-etl",
        start_time=1767323045.123456,
        total_duration=12.345678,
        status="failed",
        fast_mode=True,
        success=False,
        product_count=3,
        error_message="ValueError: no 🚀 in \ud800 'x'".replace("\ud800", "it"),
        mode='{"fast_mode":true}',
        attributes={"model": "gpt-4o", "nested": {"list": [1, 2.5, None, True, "é"]}},
        tags=("warmup", "night"),
        steps=(
            Step(
                step_name="load",
                start_time=1767323045.2,
                duration=3.000001,
                success=False,
                error_message="boom",
                additional_data={"rows": 3},
                seq=0,
                lane=2,
                attempts=(
                    Attempt(start_time=1767323045.2, duration=1.0, success=False, error_message="429"),
                    Attempt(start_time=1767323047.2, duration=1.000001, wait=1.0),
                ),
                events=(Event(name="cache-hit", time=1767323045.3, data={"key": "x"}),),
                cpu_s=1.5,
                rss_peak_bytes=2**33,
                rss_mean_bytes=1_000_000,
            ),
            Step(
                step_name="parse", start_time=1767323045.3, duration=None, success=None, seq=1, parent_seq=0
            ),
        ),
        samples=(Sample(time=1767323045.25, cpu_percent=99.5, rss_bytes=123456789),),
        cpu_s=2.5,
        rss_peak_bytes=2**33,
        rss_mean_bytes=1_000_000,
        utc_offset=-12_600,
        host="box",
        pid=4242,
        python_version="3.11.7",
        perfdb_version="0.1.0",
        git_commit="a" * 40,
        command="python etl.py",
    )


def refusal(report: Any, **options: Any) -> str:
    content = report if isinstance(report, bytes) else json.dumps(report).encode()
    with pytest.raises(ReportError) as caught:
        read_report(content, **options)
    return str(caught.value)


def test_the_seeds_fields_come_first_in_the_seeds_order() -> None:
    report = to_report(full_session())
    assert list(report)[:7] == list(SEED_REPORT)
    assert list(report["steps"][0])[:7] == list(SEED_REPORT["steps"][0])  # type: ignore[index]


def test_a_seed_like_session_gives_the_seeds_report() -> None:
    step = Step(
        step_name="Vision Analysis",
        start_time=1698678622.123,
        duration=23.333,
        success=True,
        additional_data={"design_style": "modern", "design_type": "interior redesign"},
    )
    session = Session(
        session_id="20250730_143022",
        pipeline="design",
        start_time=1753885822.123456,
        total_duration=45.23,
        status="completed",
        fast_mode=False,
        success=True,
        product_count=6,
        steps=(step,),
    )
    report = to_report(session)
    assert {key: report[key] for key in SEED_REPORT if key != "steps"} == {
        key: value for key, value in SEED_REPORT.items() if key != "steps"
    }
    seed_step = SEED_REPORT["steps"][0]  # type: ignore[index]
    assert {key: report["steps"][0][key] for key in seed_step} == seed_step


def test_end_minus_start_is_the_duration_within_a_microsecond() -> None:
    for step in to_report(full_session())["steps"][:1]:
        assert abs(step["end_time"] - step["start_time"] - step["duration"]) < 1.1e-6


def test_what_was_written_reads_back_equal(tmp_path: Path) -> None:
    session = full_session()
    path = write_report(to_report(session), tmp_path)
    assert path == tmp_path / "performance_report_20260102_030405_0a1b2c3d.json"
    assert read_report(path) == session
    assert read_report(path.read_bytes()) == session


def test_a_bare_running_session_reads_back_equal(tmp_path: Path) -> None:
    session = Session(session_id="x", pipeline="p", start_time=1.5, total_duration=None, status="running")
    assert read_report(write_report(to_report(session), tmp_path)) == session


def test_samples_take_one_line_each(tmp_path: Path) -> None:
    text = write_report(to_report(full_session()), tmp_path).read_text(encoding="utf-8")
    assert "\n    [1767323045.25, 99.5, 123456789]\n  ]\n}\n" in text
    assert text.startswith('{\n  "session_id": ')


def test_a_path_that_ends_in_json_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "below" / "mine.json"
    assert write_report(to_report(full_session()), path) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("session_id", ["../x", "", "a/b", ".hidden", "x" * 129, "a\n", None, 3])
def test_an_unsafe_id_is_refused_in_both_directions(tmp_path: Path, session_id: Any) -> None:
    with pytest.raises(InvalidSessionIdError):
        write_report({"session_id": session_id}, tmp_path)
    assert "session id" in refusal(SEED_REPORT | {"session_id": session_id})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_is_not_json_is_not_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ReportError, match="is not JSON"):
        write_report({"session_id": "x", "attributes": {"a": value}}, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_the_seeds_own_report_is_read() -> None:
    session = read_report(json.dumps(SEED_REPORT).encode())
    assert (session.session_id, session.pipeline, session.status) == (
        "20250730_143022",
        "design",
        "completed",
    )
    assert (session.total_duration, session.product_count, session.mode) == (45.23, 6, '{"fast_mode":false}')
    assert session.start_time == 1698678622.123
    assert session.steps[0].additional_data["design_style"] == "modern"


def test_an_old_report_without_fast_mode_and_steps_starts_at_its_local_timestamp() -> None:
    report = {key: value for key, value in SEED_REPORT.items() if key != "fast_mode"}
    session = read_report(json.dumps(report | {"steps": [], "success": False}).encode())
    assert (session.fast_mode, session.status) == (None, "failed")
    assert session.timestamp == "2025-07-30T14:30:22.123456"


def test_steps_of_old_reports_are_numbered_by_their_starts() -> None:
    step = SEED_REPORT["steps"][0]  # type: ignore[index]
    late = step | {"step_name": "late", "start_time": 1698678700.0, "end_time": 1698678701.0}  # type: ignore[operator]
    session = read_report(json.dumps(SEED_REPORT | {"steps": [late, step]}).encode())
    assert [(s.seq, s.step_name) for s in session.steps] == [(0, "Vision Analysis"), (1, "late")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"total_duration": "45"}, 'the report: total_duration must be a number from 0 to 2.5e+11, not "45"'),
        ({"total_duration": -1}, "total_duration must be a number"),
        ({"total_duration": True}, "total_duration must be a number from 0 to 2.5e+11, not true"),
        ({"success": 1}, "success must be true or false, not 1"),
        ({"product_count": 2**70}, "product_count must be a whole number"),
        ({"steps": {}}, "steps must be an array, not an object"),
        ({"steps": [3]}, "steps[0] must be an object, not 3"),
        ({"steps": [{"start_time": 1.0}]}, "steps[0].step_name is missing; it must be a text"),
        (
            {"steps": [{"step_name": "a", "start_time": "now", "seq": 0}]},
            "steps[0].start_time must be a number",
        ),
        ({"steps": [{"step_name": "a", "start_time": 1, "seq": 0}] * 2}, "steps[1].seq must be different"),
        ({"steps": [], "timestamp": "yesterday"}, "timestamp must be an ISO 8601 time"),
        ({"status": "fine"}, 'status must be running, completed, failed, interrupted, not "fine"'),
        ({"status": []}, "status must be running"),
        ({"schema_version": 2}, "schema_version 2 is of a newer perfdb"),
        ({"tags": [1]}, "tags must be an array of texts"),
        ({"samples": [[1, 2]]}, "samples[0].rss_bytes is missing"),
        ({"samples": [7]}, "samples[0] must be an object"),
        ({"attributes": []}, "attributes must be an object, not an array"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(change: dict[str, Any], reason: str) -> None:
    assert reason in refusal(SEED_REPORT | change)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "line 1: not JSON"),
        (b"[]", "not a performance report: its top level is an array"),
        (b'{"a": 1}', "not a performance report: it has no 'session_id'"),
        (json.dumps(SEED_REPORT).encode()[:200], "not JSON"),
        (b'{"session_id": NaN}', "NaN is not JSON"),
        (b'{"session_id": 1e999}', "the number 1e999 is too large"),
        (b'{"session_id": ' + b"9" * 5000 + b"}", "a number has too many digits"),
        (b'{"session_id": "a", "session_id": "b"}', 'the key "session_id" appears twice'),
        (b'{"session_id": ' + b"[" * 100_000 + b"}", "nested more than 64 levels deep"),
        (b'{"session_id": ' + b"[" * 90 + b"]" * 90 + b"}", "nested more than 64 levels deep"),
        (b'{"session_id": "\xff"}', "not UTF-8 text"),
    ],
)
def test_hostile_or_broken_bytes_are_refused(content: bytes, reason: str) -> None:
    assert reason in refusal(content)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ReportError, match="larger than 1000 bytes"):
        read_report(path, max_bytes=1000)


def test_what_is_not_a_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in [
        ("missing", "No such file"),
        ("pipe", "not a regular file"),
        (".", "cannot be read|regular"),
    ]:
        with pytest.raises(ReportError, match=reason):
            read_report(tmp_path / path)


def test_texts_that_no_database_can_hold_are_made_storable() -> None:
    session = read_report(
        json.dumps(SEED_REPORT | {"error_message": "a\0b\ud800c", "attributes": {"k": ["\0"]}}).encode()
    )
    assert (session.error_message, session.attributes) == ("a\ufffdb\ufffdc", {"k": ["\ufffd"]})


def test_tokens_and_dollars_are_summed_up_where_there_are_any() -> None:
    steps = [
        make_step(seq, data)
        for seq, data in enumerate(
            [
                {"cost_usd": 0.1, "input_tokens": 10},
                {"cost_usd": 0.2, "input_tokens": "many", "images": 1},
                {},
            ]
        )
    ]
    session = Session(
        session_id="a", pipeline="p", start_time=1.0, total_duration=3.0, status="completed",
        steps=tuple(steps), attributes={"input_tokens": 12},
    )  # fmt: skip
    report = to_report(session)
    assert report["spent"] == {
        "cost_usd": 0.3,
        "input_tokens": 12,
        "images": 1,
        "steps": {
            "step 0": {"cost_usd": 0.1, "input_tokens": 10},
            "step 1": {"cost_usd": 0.2, "images": 1},
        },
    }
    assert read_report(json.dumps(report).encode()).steps == session.steps
    free = to_report(replace(session, steps=(), attributes={}))
    assert list(free) == [name for name in report if name != "spent"]


def make_step(seq: int, data: dict[str, Any]) -> Step:
    return Step(
        step_name=f"step {seq}", start_time=1.0, duration=1.0, success=True, seq=seq, additional_data=data
    )
