"""Find the runs that broke a limit which a person set: the ``max`` and ``min`` rules, over history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from perfdb.analysis.rows import Violation, columns, frame_from
from perfdb.analysis.rules import TABLE, Rule, exceeds
from perfdb.analysis.rules.base import percent_over
from perfdb.analysis.runs import counted_sessions, text_or_none
from perfdb.analysis.series import SeriesName
from perfdb.measures import METRICS

COLUMNS = columns(Violation)


def violations(sessions: pd.DataFrame, steps: pd.DataFrame, rules: Iterable[Rule]) -> pd.DataFrame:
    """Return the runs that broke a limit, oldest first.

    Args:
        sessions: as ``History.sessions`` gives them; only those that count are judged.
        steps: as ``History.steps`` gives them for the same sessions.
        rules: those of other kinds than ``max`` and ``min`` are passed over.

    Returns:
        One row per session, rule and series, with the worst run where a step ran several times:
        ``session_id``, ``start_time`` (epoch s, of the session), ``pipeline``, ``mode``, ``step_name`` (None:
        the session's total), ``metric``, ``value`` and ``limit`` in the metric's unit, ``excess`` (how far
        beyond the limit, above 0) and ``excess_percent`` of the limit, ``rule``, ``kind``, ``severity``.
    """
    counted = counted_sessions(sessions)
    done = steps[steps["counted"] & steps["session_id"].isin(set(counted["session_id"]))]
    totals = counted.rename(columns={"total_duration": "duration", "attributes": "facts"})
    totals = totals.assign(step_name=None)
    within = done.rename(columns={"additional_data": "facts"})
    starts = dict(zip(counted["session_id"], counted["start_time"], strict=True))
    rows: list[dict[str, Any]] = []
    for rule in rules:
        if TABLE[rule.kind].finds != "breach" or rule.limit is None:
            continue
        for runs in (totals, within):
            for (session_id, step_name), run in _worst_runs(runs, rule).items():
                rows.append(
                    {
                        **run,
                        "session_id": session_id,
                        "start_time": starts[session_id],
                        "step_name": step_name,
                        "metric": rule.metric,
                        "limit": rule.limit,
                        "excess": abs(run["value"] - rule.limit),
                        "excess_percent": abs(percent_over(run["value"], rule.limit) or 0.0),
                        "rule": rule.name,
                        "kind": rule.kind,
                        "severity": rule.severity,
                    }
                )
    rows.sort(key=lambda row: (row["start_time"], row["session_id"], -row["excess_percent"]))
    return frame_from(rows, Violation)


def _worst_runs(runs: pd.DataFrame, rule: Rule) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Return the worst run of each session and step that breaks the rule."""
    assert rule.limit is not None  # noqa: S101  # the caller has looked
    values = runs[rule.metric].tolist() if rule.metric in METRICS else [
        _number(facts, rule.metric) for facts in runs["facts"]
    ]  # fmt: skip
    names = zip(*(runs[name].tolist() for name in ("pipeline", "step_name", "mode")), strict=True)
    is_about: dict[SeriesName, bool] = {}
    worst: dict[tuple[str, str | None], dict[str, Any]] = {}
    for session_id, (pipeline, step_name, mode), value in zip(runs["session_id"], names, values, strict=True):
        series = SeriesName(pipeline, text_or_none(step_name), mode)
        if series not in is_about:
            is_about[series] = rule.is_about(series)
        if (
            not is_about[series]
            or value is None
            or value is pd.NA
            or not exceeds(value, rule.limit, rule.kind)
        ):
            continue
        key = (session_id, series.step_name)
        if key not in worst or exceeds(value, worst[key]["value"], rule.kind):
            worst[key] = {"value": float(value), "pipeline": pipeline, "mode": mode}
    return worst


def _number(facts: Any, name: str) -> float | None:
    value = facts.get(name) if isinstance(facts, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
