"""Count why runs failed or were called off: texts that differ only in an id are one reason.

Pure: a frame of sessions and one of their steps in, a frame out.
"""

from __future__ import annotations

import pandas as pd

from perfdb.analysis.error_kinds import NO_MESSAGE, without_ids
from perfdb.analysis.rows import TEXT, of_types
from perfdb.analysis.runs import is_among, text_or_none, untagged
from perfdb.vocabulary import FAILED, INTERRUPTED

COLUMNS = (
    "pipeline", "step_name", "status", "reason", "n", "first_time", "last_time", "last_session_id",
    "last_message", "failed_step",
)  # fmt: skip
OF_STEPS = frozenset(
    {
        "pipeline",
        "step_name",
        "status",
        "error_message",
        "start_time",
        "duration",
        "session_id",
        "seq",
        "parent_seq",
    }
)
"""The columns of steps that ``failures`` needs."""
_OF_TOTAL = -1  # in place of the number of a step
_TYPES = {
    "pipeline": TEXT, "status": TEXT, "reason": TEXT, "n": "int64", "first_time": "float64",
    "last_time": "float64", "last_session_id": TEXT, "last_message": TEXT,
}  # fmt: skip


def failures(sessions: pd.DataFrame, steps: pd.DataFrame, step: str | None = None) -> pd.DataFrame:
    """Return why runs failed or were called off, failures first, then what happens most.

    What was cut off because its process died gave no reason, and is left out. A session that was called a
    failure without a text failed for the reason of its last failed step.

    Args:
        sessions: as ``History.sessions`` gives them; those tagged as not to count are passed over.
        steps: as ``History.steps`` gives them for the same sessions.
        step: only this step, without the totals.

    Returns:
        One row per pipeline, step and kind of text: ``pipeline``, ``step_name`` (None: the session
        itself), ``status`` (``failed`` or ``interrupted``), ``reason`` (the text, ids as ``…``, or what is
        known without one), ``n`` runs,
        ``first_time`` and ``last_time`` (epoch s, of their starts), of the newest ``last_session_id`` and
        ``last_message``, as it was recorded, and ``failed_step``: the step inside that has the same reason
        in each of these runs, of whose failure this one is the consequence; else None.
    """
    names = ["pipeline", "step_name", "status", "error_message", "start_time", "session_id", "seq"]
    kept = untagged(sessions)
    within = steps[is_among(steps["session_id"], kept["session_id"])]
    if step is None:
        totals = kept.assign(step_name=None, seq=_OF_TOTAL).astype({"step_name": object})
        runs = pd.concat([totals[names], within[names].astype({"step_name": object})], ignore_index=True)
    else:
        runs = within.loc[within["step_name"] == step, names]
    runs = runs[runs["status"].isin([FAILED, INTERRUPTED])].sort_values("start_time", kind="stable")
    runs = runs[(runs["status"] == FAILED) | runs["error_message"].notna()]
    texts = [text_or_none(each) or "" for each in runs["error_message"]]
    reasons = [without_ids(each) for each in texts]
    if not all(texts):
        of_steps = _reasons_within(within)
        known = zip(texts, reasons, runs["step_name"], runs["session_id"], strict=True)
        reasons = [
            reason
            if text
            else (None if text_or_none(step_name) is not None else of_steps.get(session_id)) or NO_MESSAGE
            for text, reason, step_name, session_id in known
        ]
    inside = _inside(within)
    told = map(inside.get, zip(runs["session_id"], runs["seq"], runs["status"], reasons, strict=True))
    failed_steps = pd.Series(told, index=runs.index, dtype=object)
    runs = runs.assign(error_message=texts, reason=reasons, failed_step=failed_steps)
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
            group["failed_step"].iloc[-1] if group["failed_step"].notna().all() else None,
        )
        for (pipeline, step_name, status, reason), group in runs.groupby(
            ["pipeline", "step_name", "status", "reason"], dropna=False, sort=False
        )
    ]
    rows.sort(key=lambda row: (row[2] != FAILED, -row[4], -row[6]))
    found = of_types(pd.DataFrame(rows, columns=list(COLUMNS)), _TYPES)
    return found.assign(
        step_name=pd.Series([row[1] for row in rows], dtype=object),
        failed_step=pd.Series([row[-1] for row in rows], dtype=object),
    )


def _inside(steps: pd.DataFrame) -> dict[tuple[str, int, str, str], str]:
    """Return which step inside has the same reason, by session, ``seq`` of the outer, status and reason.

    The session is outer to all its steps, with ``_OF_TOTAL``; called a failure without a text, it has the
    reason that ``_reasons_within`` gives it.
    """
    ended = steps[steps["status"].isin([FAILED, INTERRUPTED]) & steps["error_message"].notna()]
    found = {}
    columns = (ended[name] for name in ("session_id", "parent_seq", "status", "step_name", "error_message"))
    for session_id, parent, status, name, text in zip(*columns, strict=True):
        reason = without_ids(text)
        found[session_id, _OF_TOTAL, status, reason] = name
        found[session_id, _OF_TOTAL, status, f"{name}: {reason}"] = name
        if pd.notna(parent):
            found[session_id, int(parent), status, reason] = name
    return found


def _reasons_within(steps: pd.DataFrame) -> dict[str, str]:
    """Return per session what its last failed step says, one with a text rather than one without."""
    failed = steps[steps["status"] == FAILED]
    has_text, ends = failed["error_message"].notna(), failed["start_time"] + failed["duration"]
    failed = failed.assign(has_text=has_text, ends=ends).sort_values(["has_text", "ends"], kind="stable")
    columns = (failed[name] for name in ("session_id", "step_name", "error_message"))
    return {
        session_id: f"{name}: {without_ids(text)}" if (text := text_or_none(each)) else f"{name} {NO_MESSAGE}"
        for session_id, name, each in zip(*columns, strict=True)
    }
