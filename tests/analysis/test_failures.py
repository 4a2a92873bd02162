"""Why runs failed or were called off, with ids left aside.

Of: analysis/error_kinds.py.
"""

from __future__ import annotations

import pandas as pd
import pytest

from perfdb.analysis.error_kinds import without_ids
from perfdb.analysis.failures import COLUMNS, failures

SCOPE = "CancelledError: Cancelled via cancel scope {}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SCOPE.format("7f5e1c2b3a40"), SCOPE.format("7f11aa0043d0")),
        (SCOPE.format("7f5e"), SCOPE.format("7f60")),
        (SCOPE.format("140012345678"), SCOPE.format("140087654321")),
        ("KeyError: 'order 12'", "KeyError: 'order 7'"),
        ("ValueError: <Job object at 0x7f5e1c2b3a40>", "ValueError: <Job object at 0x10>"),
        (
            "E: request 3f2b8c1e-0000-4a5b-9c8d-1234567890ab",
            "E: request 9f2b8c1e-1111-4a5b-9c8d-1234567890AB",
        ),
        ("CancelledError: cancelled by <Task-3>", "CancelledError: cancelled by <Task-117>"),
        ("E: ticket #12 is closed", "E: ticket #345 is closed"),
        ("E: user_id=123 unknown", "E: user_id=9 unknown"),
        ("E: not before 2026-01-02T03:04:05Z", "E: not before 2026-01-03T00:00:00.5Z"),
        ("E: gave up after 30.012 s", "E: gave up after 30.107 s"),
        ("E: sha 0123456789abcdef0123", "E: sha fedcba98765432100123"),
    ],
)
def test_texts_that_differ_only_in_an_id_are_of_one_kind(one: str, other: str) -> None:
    assert without_ids(one) == without_ids(other) != one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTPError: 404", "HTTPError: 500"),
        ("SystemExit: 2", "SystemExit: 3"),
        ("OSError: [Errno 2] No such file", "OSError: [Errno 13] No such file"),
        ("KeyError: 'name'", "KeyError: 'face'"),
        ("TimeoutError: after 30 s", "TimeoutError: after 60 s"),
        ("E: port 5432 refused", "E: port 6379 refused"),
        ("ValueError: deadbeef", "ValueError: decade"),
    ],
)
def test_what_may_mean_something_keeps_them_apart(one: str, other: str) -> None:
    assert without_ids(one) != without_ids(other)


def frames(*texts: str, status: str = "failed") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return sessions that completed, and of each a step ``call`` that ended so."""
    sessions = [
        {"session_id": f"s{at}", "pipeline": "etl", "status": "completed", "error_message": None}
        | {"start_time": float(at), "tags": []}
        for at, _ in enumerate(texts)
    ]
    steps = [
        {"session_id": f"s{at}", "pipeline": "etl", "status": status, "error_message": text}
        | {"start_time": float(at), "step_name": "call", "seq": 0, "parent_seq": None}
        for at, text in enumerate(texts)
    ]
    return pd.DataFrame(sessions), pd.DataFrame(steps)


def test_reasons_are_counted_with_the_newest_message_whole() -> None:
    texts = [SCOPE.format(each) for each in ("7f5e1c2b3a40", "7f11aa0043d0", "7f11aa0043d1")]
    found = failures(*frames(texts[0], "KeyError: 'x'", *texts[1:]))
    assert tuple(found.columns) == COLUMNS
    assert found[["step_name", "reason", "n", "first_time", "last_session_id"]].to_numpy().tolist() == [
        ["call", SCOPE.format("…"), 3, 0.0, "s3"],
        ["call", "KeyError: 'x'", 1, 1.0, "s1"],
    ]
    assert found["last_message"][0] == texts[2]


def test_what_failed_comes_before_what_was_called_off() -> None:
    sessions, steps = frames("GeneratorExit", "GeneratorExit", "KeyError: 'x'")
    steps.loc[:1, "status"] = "interrupted"
    assert failures(sessions, steps)["status"].tolist() == ["failed", "interrupted"]


def test_tagged_sessions_and_what_gave_no_reason_are_left_out() -> None:
    sessions, steps = frames("KeyError: 'x'", "KeyError: 'x'", "KeyError: 'x'")
    sessions.at[0, "tags"] = ["warmup"]
    steps.loc[1, ["status", "error_message"]] = ["interrupted", None]  # its process died
    assert failures(sessions, steps)["last_session_id"].tolist() == ["s2"]


def test_a_session_that_failed_has_a_row_of_its_own() -> None:
    sessions, steps = frames("KeyError: 'x'")
    sessions.loc[0, ["status", "error_message"]] = ["failed", "KeyError: 'x'"]
    assert failures(sessions, steps)["step_name"].tolist() == [None, "call"]
    assert failures(sessions, steps, "call")["step_name"].tolist() == ["call"]
    assert failures(sessions, steps, "other").empty


def test_what_failed_with_a_step_inside_names_it() -> None:
    sessions, steps = frames("KeyError: 'x'", "KeyError: 'x'")
    sessions[["status", "error_message"]] = [["failed", "KeyError: 'x'"], ["failed", None]]
    inner = steps.assign(step_name="inner", seq=1, parent_seq=0)
    found = failures(sessions, pd.concat([steps, inner]).assign(duration=1.0))
    named = {(row.step_name, row.reason): row.failed_step for row in found.itertuples()}
    assert named == {
        (None, "KeyError: 'x'"): "inner",
        (None, "inner: KeyError: 'x'"): "inner",
        ("call", "KeyError: 'x'"): "inner",
        ("inner", "KeyError: 'x'"): None,
    }


def test_a_reason_that_is_not_always_of_a_step_inside_stands_for_itself() -> None:
    sessions, steps = frames("KeyError: 'x'", "gone")
    sessions[["status", "error_message"]] = ["failed", "KeyError: 'x'"]
    found = failures(sessions, steps)
    assert found.loc[found["step_name"].isna(), "failed_step"].tolist() == [None]


def test_without_a_text_the_reason_is_what_is_known() -> None:
    sessions, steps = frames("KeyError: 'x'", "gone", "gone")
    sessions[["status", "error_message"]] = ["failed", None]
    steps.loc[1, "error_message"] = None
    steps.loc[2, "status"] = "completed"
    found = failures(sessions, steps.assign(duration=1.0))
    assert {(row.step_name, row.last_session_id): row.reason for row in found.itertuples()} == {
        (None, "s0"): "call: KeyError: 'x'",
        (None, "s1"): "call ended with success=False",
        (None, "s2"): "ended with success=False",
        ("call", "s0"): "KeyError: 'x'",
        ("call", "s1"): "ended with success=False",
    }


def test_nothing_failed() -> None:
    sessions, steps = frames("x", status="completed")
    assert failures(sessions, steps).empty
    assert tuple(failures(sessions.iloc[:0], steps.iloc[:0]).columns) == COLUMNS
