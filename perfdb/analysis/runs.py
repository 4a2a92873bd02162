"""Which runs count, and what each of them spent: the frames that every question about the past starts from.

Pure. A run that is tagged ``warmup``, ``ignore`` or ``cached``, says ``cached=True``, failed, was interrupted
or still runs never enters durations; a failed one is counted as a failure. Modes are never mixed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from perfdb.analysis.series import Series
from perfdb.critical_path import Span, name_seconds
from perfdb.stopping import looking
from perfdb.vocabulary import COMPLETED, FAILED, UNCOUNTED_TAGS

_UNCOUNTED = frozenset(UNCOUNTED_TAGS)

Floats = npt.NDArray[np.float64]


def untagged(sessions: pd.DataFrame) -> pd.DataFrame:
    """Return the sessions that have none of the tags ``warmup``, ``ignore`` and ``cached``."""
    # an array, because an empty list would choose columns
    return sessions[np.array([_UNCOUNTED.isdisjoint(tags) for tags in sessions["tags"]], dtype=bool)]


def counted_sessions(sessions: pd.DataFrame) -> pd.DataFrame:
    """Return the sessions whose durations count, as the store says: see ``records.counts``."""
    return sessions[sessions["counted"]]


def runs_of(sessions: pd.DataFrame, steps: pd.DataFrame, *, of_days: bool = False) -> list[Series]:
    """Return the runs that count or failed: of each pipeline and mode the total first, then by time spent.

    Args:
        sessions: as ``History.sessions`` gives them.
        steps: as ``History.steps`` gives them for the same sessions.
        of_days: a run of a step stands at its own start, by whose day daily figures count it; else at that of
            its session, as in every series.
    """
    ended = untagged(sessions[sessions["status"].isin([COMPLETED, FAILED])])
    columns = ["session_id", "pipeline", "step_name", "mode", "start_time", "duration", "counted", "failed"]
    totals = ended.rename(columns={"total_duration": "duration"}).assign(step_name=None)
    within = steps[steps["session_id"].isin(set(ended["session_id"]))]
    if not of_days:
        began = ended.set_index("session_id")["start_time"]
        within = within.assign(start_time=within["session_id"].map(began))
    totals, within = (each.assign(failed=each["status"] == FAILED) for each in (totals, within))
    runs = pd.concat([totals[columns].astype({"step_name": object}), within[columns]], ignore_index=True)
    runs = runs[runs["counted"] | runs["failed"]]
    runs = runs.sort_values("start_time", kind="stable", ignore_index=True)
    places: dict[tuple[str, str, str | None], list[int]] = {}
    for place, (pipeline, mode, step_name) in enumerate(
        zip(*(runs[name].tolist() for name in ("pipeline", "mode", "step_name")), strict=True)
    ):
        places.setdefault((pipeline, mode, text_or_none(step_name)), []).append(place)
    # a missing duration is no number to add, and one that does not count adds nothing
    spent = runs["duration"].where(runs["counted"]).fillna(0.0).to_numpy(dtype=float)
    order = sorted(
        places,
        key=lambda key: (key[0], key[1], key[2] is not None, -float(spent[places[key]].sum()), str(key[2])),
    )
    names = ("session_id", "start_time", "duration", "counted", "failed")
    session_ids, starts, values, counted, failed = (runs[name].tolist() for name in names)
    everything = Series("", None, "", "duration", session_ids, starts, values, counted, failed)
    return [
        replace(everything.at(places[pipeline, mode, name]), pipeline=pipeline, step_name=name, mode=mode)
        for pipeline, mode, name in looking(order)
    ]


def text_or_none(value: object) -> str | None:
    """Return the text of a cell, None for any of pandas's ways to say that there is none."""
    return value if isinstance(value, str) else None


def spans_of(steps: pd.DataFrame) -> dict[str, tuple[list[str], list[Span]]]:
    """Return per ``session_id`` the names and the spans of its steps, in the order of the frame."""
    ends = steps["start_time"] + steps["duration"]
    found: dict[str, tuple[list[str], list[Span]]] = {}
    for session_id, name, seq, parent, start, end in zip(
        steps["session_id"].tolist(),
        steps["step_name"].tolist(),
        steps["seq"].tolist(),
        steps["parent_seq"].astype(object).tolist(),
        steps["start_time"].tolist(),
        ends.tolist(),
        strict=True,
    ):
        names, spans = found.setdefault(session_id, ([], []))
        names.append(name)
        spans.append(Span(seq, None if parent is pd.NA else int(parent), start, end if end == end else None))
    return found


def seconds_of(sessions: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return what each step put on the critical path of its session, and how long it was busy.

    Args:
        sessions: ended ones.
        steps: theirs; a step counts for the deepest name only, so that nothing is counted twice.

    Returns:
        One row per session and step name: ``session_id``, ``step_name`` (None: no step at all),
        ``critical_s`` and ``busy_s`` (s; repeated and parallel steps add up), ``times``. The
        ``critical_s`` of a session add up to its ``total_duration``.
    """
    spans = spans_of(steps)
    rows: list[tuple[str, str | None, float, float, int]] = []
    for session_id, start, wall in zip(
        sessions["session_id"].tolist(),
        sessions["start_time"].tolist(),
        sessions["total_duration"].tolist(),
        strict=True,
    ):
        names, of_session = spans.get(session_id, ([], []))
        rows.extend((session_id, *row) for row in name_seconds(names, of_session, start, wall))
    columns = ["session_id", "step_name", "critical_s", "busy_s", "times"]
    return pd.DataFrame(rows, columns=columns).astype(
        {"step_name": object, "critical_s": "float64", "busy_s": "float64", "times": "int64"}
    )
