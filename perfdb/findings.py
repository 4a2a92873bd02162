"""Answer the questions about the past: read what an analysis needs, and hand it over.

A connection goes in, a finding comes out; None stands for a home in which nothing is recorded yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from perfdb.errors import UsageError
from perfdb.store import frames, statistics

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from perfdb.analysis.compare import GroupComparison, SessionComparison
    from perfdb.analysis.explain import Explanation
    from perfdb.analysis.rules import Rule
    from perfdb.analysis.trends import By

_BY_INDEX = {"pipeline"}  # filters that the statistics of the whole history know


def bottlenecks(connection: Connection | None, **filters: Any) -> pd.DataFrame:
    """Return what ``analysis.bottlenecks`` finds among the sessions that fit."""
    from perfdb.analysis.bottlenecks import bottlenecks as find

    return find(*_read(connection, **filters))


def trends(connection: Connection | None, *, by: By, step: str | None, **filters: Any) -> pd.DataFrame:
    """Return what ``analysis.trends`` finds; a whole history is answered from its indexes."""
    from perfdb.analysis import trends as analysis
    from perfdb.analysis.runs import runs_of

    given = {name for name, value in filters.items() if value is not None}
    if connection is not None and by != "last" and given <= _BY_INDEX:
        pipeline = filters.get("pipeline")
        percentiles = list(analysis.PERCENTILES.values())
        read = statistics.of_steps[by]
        rows = read(connection, percentiles, step=step, pipeline=pipeline)
        if step is None:
            rows = [*statistics.of_totals(connection, percentiles, by=by, pipeline=pipeline), *rows]
        return analysis.of_statistics(rows)
    runs = runs_of(*_read(connection, **filters))
    return analysis.trends(runs if step is None else runs[runs["step_name"] == step], by=by)


def violations(connection: Connection | None, rules: Iterable[Rule], **filters: Any) -> pd.DataFrame:
    """Return the runs among the sessions that fit which broke a ``max`` or ``min`` rule."""
    from perfdb.analysis.violations import violations as find

    return find(*_read(connection, **filters), rules)


def suggest_thresholds(connection: Connection | None, **filters: Any) -> pd.DataFrame:
    """Return what ``analysis.thresholds`` proposes after the sessions that fit."""
    from perfdb.analysis.runs import runs_of
    from perfdb.analysis.thresholds import suggest_thresholds as suggest

    return suggest(runs_of(*_read(connection, **filters)))


def compare_sessions(connection: Connection, a: str, b: str) -> SessionComparison:
    """Return how session ``b`` compares with ``a``; ids as in ``History.session``.

    Raises:
        UsageError: one of them has no total yet.
    """
    from perfdb.analysis.compare import compare_sessions as compare

    sessions = [
        frames.read_session(connection, frames.find_session_id(connection, session_id))
        for session_id in (a, b)
    ]
    try:
        return compare(*sessions)
    except ValueError as error:
        raise UsageError(str(error)) from None


def compare_groups(
    connection: Connection | None,
    *,
    by: str,
    a: object,
    b: object,
    mode_attributes: Sequence[str],
    **filters: Any,
) -> GroupComparison:
    """Return how the sessions with one value of an attribute compare with those of another.

    Raises:
        UsageError: there are not two such groups.
    """
    from perfdb.analysis.compare import compare_groups as compare

    sessions, steps = _read(connection, **filters)
    try:
        return compare(sessions, steps, by=by, a=a, b=b, mode_attributes=mode_attributes)
    except ValueError as error:
        raise UsageError(str(error)) from None


def explain(connection: Connection, session_id: str, last: int) -> Explanation:
    """Return why a session was slow, after the ``last`` sessions of its kind before it.

    Raises:
        UsageError: it has no total yet.
    """
    from perfdb.analysis.explain import explain as find

    session = frames.read_session(connection, frames.find_session_id(connection, session_id))
    alike = {"pipeline": session.pipeline, "mode": session.mode, "counted": True, "status": "completed"}
    sessions, steps = _read(connection, **alike, until=session.start_time, last=last)
    try:
        return find(session, sessions, steps)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _read(connection: Connection | None, **filters: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    if connection is None:
        return frames.empty_sessions_frame(), frames.empty_steps_frame()
    return frames.sessions_frame(connection, **filters), frames.steps_frame(connection, **filters)
