"""What each session's time was spent on: its seconds on the critical path, per top-level step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfdb.critical_path import Span, critical_seconds, resolved_parents

if TYPE_CHECKING:
    import pandas as pd


def time_spent(sessions: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds that each top-level step held each session up.

    Args:
        sessions: ``session_id``, ``start_time`` and ``total_duration`` of finished sessions, oldest first.
        steps: their steps, with the columns of ``v_steps``; those of other sessions are passed over.

    Returns:
        A row per session, in the same order, under its ``session_id``; a column per step name in the order
        of the first appearance, and one called None for the time of no step. A row adds up to wall time.
        Steps of one name add up; a step that a session does not have is 0.
    """
    import pandas as pd

    spans: dict[str, list[Span]] = {}
    names: dict[str, dict[int, str]] = {}
    columns = ("session_id", "seq", "parent_seq", "start_time", "end_time", "step_name")
    for session_id, seq, parent, start, end, name in zip(
        *(steps[column].astype(object).tolist() for column in columns), strict=True
    ):
        parent_seq = None if parent is None or parent is pd.NA or parent != parent else int(parent)
        spans.setdefault(session_id, []).append(Span(seq, parent_seq, start, end if end == end else None))
        names.setdefault(session_id, {})[seq] = name
    order: dict[str, None] = {}
    rows: list[dict[str | None, float]] = []
    for session_id, start, wall in zip(
        *(sessions[column].tolist() for column in ("session_id", "start_time", "total_duration")), strict=True
    ):
        own = spans.get(session_id, [])
        parents = resolved_parents(own)
        row: dict[str | None, float] = {}
        for seq, seconds in critical_seconds(own, start, start + wall, inclusive=True).items():
            if seq is None or parents[seq] is None:
                name = None if seq is None else names[session_id][seq]
                row[name] = row.get(name, 0.0) + seconds
                if name is not None:
                    order[name] = None
        rows.append(row)
    spent = {name: [row.get(name, 0.0) for row in rows] for name in (*order, None)}
    frame = pd.DataFrame(
        list(zip(*spent.values(), strict=True)),
        index=sessions["session_id"].tolist(),
        columns=range(len(spent)),
        dtype=float,
    )
    frame.columns = pd.Index([*order, None], dtype=object)
    return frame
