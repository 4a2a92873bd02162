"""Frames of sessions and steps as History gives them, made from a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from perfdb.records import counts, is_cached
from perfdb.store import frames

START = 1_767_225_600.0  # 2026-01-01 00:00 UTC, a Thursday
NORMAL = '{"fast_mode":false}'

StepOf = tuple[str, float, float]
Made = tuple[pd.DataFrame, pd.DataFrame]


def step_row(
    session: Mapping[str, Any], seq: int, name: str, start: float, duration: float
) -> dict[str, Any]:
    return {
        "session_id": session["session_id"],
        "pipeline": session["pipeline"],
        "mode": session["mode"],
        "step_name": name,
        "seq": seq,
        "parent_seq": None,
        "lane": 0,
        "start_time": session["start_time"] + start,
        "duration": duration,
        "success": True,
        "status": "completed",
        "additional_data": {},
        "attempts": [],
        "events": [],
    }


def filled_frame(rows: Sequence[Mapping[str, Any]], empty: pd.DataFrame) -> pd.DataFrame:
    columns = {name: [row.get(name) for row in rows] for name in empty.columns}
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    return frame.astype(empty.dtypes.to_dict())


def counted_session(row: dict[str, Any]) -> dict[str, Any]:
    fits = counts(row["success"], row["attributes"], row["mode"], row["tags"])
    return row | {"counted": row["status"] == "completed" and row["total_duration"] is not None and fits}


def counted_step(row: dict[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    done = row["status"] == "completed" and row["duration"] is not None
    return row | {"counted": done and not is_cached(row["additional_data"]) and session["counted"]}


@pytest.fixture
def make() -> Callable[..., Made]:
    """Make frames: one session per item of ``runs``, which maps step names to seconds, one after the other.

    ``every`` seconds lie between the starts; ``sessions`` and ``steps`` change rows by their number.
    """

    def made(
        runs: Sequence[Mapping[str, float] | Sequence[StepOf]],
        *,
        every: float = 3600.0,
        sessions: Callable[[int], Mapping[str, Any]] = lambda number: {},
        steps: Callable[[int, str], Mapping[str, Any]] = lambda number, name: {},
    ) -> Made:
        session_rows: list[dict[str, Any]] = []
        step_rows: list[dict[str, Any]] = []
        for number, run in enumerate(runs):
            session: dict[str, Any] = {
                "session_id": f"run-{number:04d}",
                "pipeline": "etl",
                "mode": NORMAL,
                "fast_mode": False,
                "status": "completed",
                "success": True,
                "start_time": START + number * every,
                "attributes": {},
                "tags": [],
            }
            at, of_session = 0.0, []
            placed = run if not isinstance(run, Mapping) else None
            for seq, name in enumerate(run):
                if placed is not None:
                    step_name, start, duration = name
                else:
                    step_name, start, duration = name, at, run[name]
                    at += duration
                row = step_row(session, seq, str(step_name), float(start), float(duration))
                of_session.append(row | dict(steps(number, str(step_name))))
            wall = max((row["start_time"] + row["duration"] for row in of_session), default=START)
            session["total_duration"] = wall - session["start_time"]
            changes = dict(sessions(number))
            session_rows.append(counted_session(session | changes))
            inherited = {key: changes[key] for key in ("pipeline", "mode") if key in changes}
            step_rows += [counted_step(row | inherited, session_rows[-1]) for row in of_session]
        return (
            filled_frame(session_rows, frames.empty_sessions_frame()),
            filled_frame(step_rows, frames.empty_steps_frame()),
        )

    return made
