"""Find the runs that broke a limit which a person set: ``max``, ``min`` and ``sum`` rules, over history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from perfdb.analysis.measuring import session_values, step_values
from perfdb.analysis.rows import Violation, columns, frame_from
from perfdb.analysis.rules import TABLE, Rule, exceeds
from perfdb.analysis.rules.base import percent_over
from perfdb.analysis.runs import counted_sessions, is_among, text_or_none
from perfdb.analysis.series import SeriesName, Spent, day_sums
from perfdb.measures import Measure, named

COLUMNS = columns(Violation)
_OF_SESSION = ("session_id", "pipeline", "mode", "start_time", "total_duration")


def violations(
    sessions: pd.DataFrame,
    steps: pd.DataFrame,
    rules: Iterable[Rule],
    offsets: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Return the runs that broke a limit, oldest first.

    Args:
        sessions: as ``History.sessions`` gives them; only those that count are judged.
        steps: as ``History.steps`` gives them for the same sessions.
        rules: those of other kinds than ``max``, ``min`` and ``sum`` are passed over.
        offsets: seconds by which local time was ahead of UTC, by session: whose days ``sum`` adds up.

    Returns:
        One row per session, rule and series, with the worst run where a step ran several times; of ``sum``
        one per day, that of the session with which it was over, and what the day came to in all:
        ``session_id``, ``start_time`` (epoch s, of the session), ``pipeline``, ``mode``, ``step_name`` (None:
        the session's total), ``metric``, ``value`` and ``limit`` in the metric's unit, ``excess`` (how far
        beyond the limit, above 0) and ``excess_percent`` of the limit, ``rule``, ``kind``, ``severity``.
    """
    counted = counted_sessions(sessions)
    done = steps[steps["counted"] & is_among(steps["session_id"], counted["session_id"])]
    starts = dict(zip(counted["session_id"], counted["start_time"], strict=True))
    rows: list[dict[str, Any]] = []
    for rule in rules:
        if TABLE[rule.kind].finds != "breach" or rule.limit is None:
            continue
        measure = rule.measure or named(rule.metric)
        if TABLE[rule.kind].looks_at == "day":
            rows += _days_over(sessions, steps, rule, measure, offsets or {})
            continue
        totals = counted.assign(step_name=None, value=session_values(counted, steps, measure))
        for runs in (totals, done.assign(value=step_values(done, measure))):
            for (session_id, step_name), run in _worst_runs(runs, rule).items():
                rows.append(_row(rule, run, session_id, starts[session_id], step_name))
    rows.sort(key=lambda row: (row["start_time"], row["session_id"], -row["excess_percent"]))
    return frame_from(rows, Violation)


def _row(
    rule: Rule, run: Mapping[str, Any], session_id: str, start: float, step_name: str | None
) -> dict[str, Any]:
    limit = rule.limit or 0.0
    return {
        **run,
        "session_id": session_id,
        "start_time": start,
        "step_name": step_name,
        "metric": rule.metric,
        "limit": limit,
        "excess": abs(run["value"] - limit),
        "excess_percent": abs(percent_over(run["value"], limit) or 0.0),
        "rule": rule.name,
        "kind": rule.kind,
        "severity": rule.severity,
    }


def _days_over(
    sessions: pd.DataFrame,
    steps: pd.DataFrame,
    rule: Rule,
    measure: Measure,
    offsets: Mapping[str, int],
) -> Iterator[dict[str, Any]]:
    """Yield the days whose sum breaks the rule, each of the session with which it did."""
    known = {row[0]: row[1:] for row in sessions[list(_OF_SESSION)].itertuples(index=False, name=None)}
    spent: dict[SeriesName, dict[str, float]] = {}
    for session_id, value in zip(
        sessions["session_id"], session_values(sessions, steps, measure).tolist(), strict=True
    ):
        if value == value:
            pipeline, mode, *_ = known[session_id]
            spent.setdefault(SeriesName(pipeline, None, mode), {})[session_id] = value
    names = zip(steps["session_id"], steps["step_name"], step_values(steps, measure).tolist(), strict=True)
    for session_id, name, value in names:
        if value == value and session_id in known:
            pipeline, mode, *_ = known[session_id]
            of_series = spent.setdefault(SeriesName(pipeline, name, mode), {})
            of_series[session_id] = of_series.get(session_id, 0.0) + value
    for series, values in spent.items():
        if not rule.is_about(series):
            continue
        runs = []
        for session_id, value in values.items():
            _, _, start, duration = known[session_id]
            end = start + (duration if duration == duration else 0.0)
            runs.append(Spent(session_id, start, end, offsets.get(session_id, 0), value))
        sums = day_sums(runs)
        crossed: dict[int, Spent] = {}
        reached: dict[int, float] = {}
        for each in sorted(runs, key=lambda run: (run.end_time, run.session_id)):
            if sums[each.session_id] > (rule.limit or 0.0):
                crossed.setdefault(each.day, each)
                reached[each.day] = sums[each.session_id]
        for day, each in crossed.items():
            run = {"value": reached[day], "pipeline": series.pipeline, "mode": series.mode}
            yield _row(rule, run, each.session_id, each.start_time, series.step_name)


def _worst_runs(runs: pd.DataFrame, rule: Rule) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Return the worst run of each session and step that breaks the rule."""
    assert rule.limit is not None  # noqa: S101  # the caller has looked
    values = runs["value"].tolist()
    names = zip(*(runs[name].tolist() for name in ("pipeline", "step_name", "mode")), strict=True)
    is_about: dict[SeriesName, bool] = {}
    worst: dict[tuple[str, str | None], dict[str, Any]] = {}
    for session_id, (pipeline, step_name, mode), value in zip(runs["session_id"], names, values, strict=True):
        series = SeriesName(pipeline, text_or_none(step_name), mode)
        if series not in is_about:
            is_about[series] = rule.is_about(series)
        if not is_about[series] or value != value or not exceeds(value, rule.limit, rule.kind):
            continue
        key = (session_id, series.step_name)
        if key not in worst or exceeds(value, worst[key]["value"], rule.kind):
            worst[key] = {"value": float(value), "pipeline": pipeline, "mode": mode}
    return worst
