"""Count why runs failed or were called off: texts that differ only in an id are one reason.

Pure: a frame of sessions and one of their steps in, a frame out.
"""

from __future__ import annotations

import pandas as pd

from perfdb.analysis.error_kinds import without_ids
from perfdb.analysis.runs import text_or_none, untagged
from perfdb.vocabulary import FAILED, INTERRUPTED

COLUMNS = (
    "pipeline", "step_name", "status", "reason", "n", "first_time", "last_time", "last_session_id",
    "last_message",
)  # fmt: skip
_WHOLE = {"n": "int64", "first_time": "float64", "last_time": "float64"}


def failures(sessions: pd.DataFrame, steps: pd.DataFrame, step: str | None = None) -> pd.DataFrame:
    """Return why runs failed or were called off, failures first, then what happens most.

    What was cut off because its process died gave no reason, and is left out.

    Args:
        sessions: as ``History.sessions`` gives them; those tagged as not to count are passed over.
        steps: as ``History.steps`` gives them for the same sessions.
        step: only this step, without the totals.

    Returns:
        One row per pipeline, step and kind of text: ``pipeline``, ``step_name`` (None: the session
        itself), ``status`` (``failed`` or ``interrupted``), ``reason`` (the text, ids as ``…``), ``n`` runs,
        ``first_time`` and ``last_time`` (epoch s, of their starts), and of the newest ``last_session_id`` and
        ``last_message``, as it was recorded.
    """
    names = ["pipeline", "step_name", "status", "error_message", "start_time", "session_id"]
    kept = untagged(sessions)
    within = steps[steps["session_id"].isin(set(kept["session_id"]))]
    if step is None:
        totals = kept.assign(step_name=None).astype({"step_name": object})
        runs = pd.concat([totals[names], within[names].astype({"step_name": object})], ignore_index=True)
    else:
        runs = within.loc[within["step_name"] == step, names]
    runs = runs[runs["status"].isin([FAILED, INTERRUPTED])].sort_values("start_time", kind="stable")
    runs = runs[(runs["status"] == FAILED) | runs["error_message"].notna()]
    texts = [text_or_none(each) or "" for each in runs["error_message"]]
    runs = runs.assign(error_message=texts, reason=[without_ids(each) for each in texts])
    rows = [
        (
            pipeline,
            text_or_none(step_name),
            status,
            reason,
            len(group),
            group["start_time"].iloc[0],
            group["start_time"].iloc[-1],
            group["session_id"].iloc[-1],
            group["error_message"].iloc[-1],
        )
        for (pipeline, step_name, status, reason), group in runs.groupby(
            ["pipeline", "step_name", "status", "reason"], dropna=False, sort=False
        )
    ]
    rows.sort(key=lambda row: (row[2] != FAILED, -row[4], -row[6]))
    found = pd.DataFrame(rows, columns=list(COLUMNS)).astype(_WHOLE)
    return found.assign(step_name=pd.Series([row[1] for row in rows], dtype=object))
