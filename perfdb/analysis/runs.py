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
from perfdb.stopping import looking
from perfdb.vocabulary import COMPLETED, FAILED, UNCOUNTED_TAGS

_UNCOUNTED = frozenset(UNCOUNTED_TAGS)

OF_STEPS = frozenset(
    {"session_id", "pipeline", "step_name", "mode", "start_time", "duration", "status", "counted"}
)
"""The columns of steps that ``runs_of`` needs."""

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
