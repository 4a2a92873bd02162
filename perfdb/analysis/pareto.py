"""What one would choose between, such as models: how long each takes against what it costs. Pure.

A choice is on the front when no other one is at least as fast and as cheap, and better in one of the two.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from perfdb.analysis.compare import (
    LEAST_FOR_INTERVAL,
    SEED,
    attribute_of,
    key_of,
    resampled_medians,
    without,
)
from perfdb.analysis.measuring import session_values, step_values
from perfdb.analysis.rows import ChoiceRow, frame_from
from perfdb.analysis.runs import Floats, counted_sessions, is_among, text_or_none
from perfdb.analysis.series import quantile
from perfdb.measures import Measure
from perfdb.text import amount_text, duration_text, inert, shortened, step_label

MOST_ADVICE = 2  # steps along the front that are told


def choices(
    sessions: pd.DataFrame,
    steps: pd.DataFrame,
    *,
    by: str,
    measure: Measure,
    step: str | None = None,
    mode_attributes: Sequence[str] = ("fast_mode",),
) -> pd.DataFrame:
    """Return one row per value of an attribute, with the medians of seconds and of a measure.

    Args:
        sessions: as ``History.sessions`` gives them; only those that count are looked at.
        steps: as ``History.steps`` gives them for the same sessions.
        by: an attribute of the sessions, or a column such as ``git_commit``; else one of steps.
        measure: what is held against the seconds.
        step: only runs of this step, by its own attribute or that of its session.
        mode_attributes: what makes a mode. Modes are never mixed, but for ``by`` itself.

    Returns:
        ``pipeline``, ``mode``, ``step_name`` (None: the session's total), ``value`` of the attribute, ``n``
        runs that have both, ``seconds`` and ``cost`` (medians; the cost in ``unit``), each with ``_low`` and
        ``_high`` (95 % bootstrap interval, with 5 runs or more), and whether it is on the ``front`` of its
        pipeline, mode and step; the fastest first.

    Raises:
        ValueError: neither sessions nor steps have the attribute.
    """
    counted = counted_sessions(sessions)
    values = attribute_of(counted, by)
    rows = counted[["session_id", "pipeline", "mode", "total_duration"]].assign(
        step_name=None,
        value=pd.Series(values, index=counted.index, dtype=object),
        seconds=counted["total_duration"],
        cost=session_values(counted, steps, measure),
    )
    if step is not None or not any(value is not None for value in values):
        of_sessions = dict(zip(counted["session_id"], values, strict=True))
        done = steps[steps["counted"] & is_among(steps["session_id"], counted["session_id"])]
        done = done if step is None else done[done["step_name"] == step]
        own = [
            data.get(by, of_sessions[session_id])
            for session_id, data in zip(done["session_id"], done["additional_data"], strict=True)
        ]
        rows = done[["session_id", "pipeline", "mode", "step_name"]].assign(
            value=pd.Series(own, index=done.index, dtype=object),
            seconds=done["duration"],
            cost=step_values(done, measure),
        )
    if not any(value is not None for value in rows["value"]):
        raise ValueError(f"neither sessions that count nor their steps have the attribute {by!r}")
    if by in mode_attributes:
        rows = rows.assign(mode=[without(mode, by) for mode in rows["mode"]])
    return frame_from(_rows(rows, measure), ChoiceRow)


def _rows(runs: pd.DataFrame, measure: Measure) -> Iterator[tuple[object, ...]]:
    groups: dict[tuple[str, str, str | None], dict[str, list[tuple[object, float, float]]]] = {}
    columns = ("pipeline", "mode", "step_name", "value", "seconds", "cost")
    for pipeline, mode, name, value, seconds, cost in zip(
        *(runs[each].tolist() for each in columns), strict=True
    ):
        if value is not None and seconds == seconds and cost == cost:
            of = groups.setdefault((pipeline, mode, text_or_none(name)), {})
            of.setdefault(key_of(value), []).append((value, seconds, cost))
    for key, values in sorted(groups.items(), key=lambda each: (*each[0][:2], each[0][2] or "")):
        made = []
        for found in values.values():
            seconds, costs = (np.array([run[place] for run in found], dtype=float) for place in (1, 2))
            made.append((found[0][0], len(found), *_median(seconds), *_median(costs)))
        sign = -1.0 if measure.direction == "down" else 1.0
        ends = [(row[2], sign * row[5]) for row in made]
        for row in sorted(made, key=lambda row: (row[2], row[5])):
            own = row[2], sign * row[5]
            beaten = any(each != own and each[0] <= own[0] and each[1] <= own[1] for each in ends)
            yield (*key, *row, not beaten, measure.name, measure.unit)


def _median(values: Floats) -> tuple[float, float | None, float | None]:
    """Return the median with its 95 % bootstrap interval."""
    middle = float(np.median(values))
    if values.size < LEAST_FOR_INTERVAL:
        return middle, None, None
    drawn = np.sort(resampled_medians(values, np.random.default_rng(SEED)))
    return middle, quantile(drawn, 0.025), quantile(drawn, 0.975)


def most_run(found: pd.DataFrame) -> pd.DataFrame:
    """Return the choices of the pipeline and mode with the most runs; of steps where there is one to make."""
    if found.empty:
        return found
    runs = found.groupby(["pipeline", "mode"], sort=False)["n"].sum()
    pipeline, mode = runs.index[int(runs.to_numpy().argmax())]
    own: pd.DataFrame = found[(found["pipeline"] == pipeline) & (found["mode"] == mode)]
    several = own.groupby("step_name", dropna=False)["value"].transform("size") > 1
    return own[several] if several.any() else own


def told(rows: Sequence[Mapping[Any, Any]], *, by: str, measure: Measure) -> str:
    """Say who is fastest and who is best, of the step with the most to choose from.

    Args:
        rows: choices of one pipeline and mode.
        by: the attribute.
        measure: what the seconds are held against.
    """
    if not rows:
        return f"No run that counts has both {inert(by)} and {inert(measure.name)}"
    own = _of_most(rows)
    step = own[0]["step_name"]
    best = max if measure.direction == "down" else min
    fastest, cheapest = min(own, key=lambda row: row["seconds"]), best(own, key=lambda row: row["cost"])
    where = f"{step_label(step)}: " if isinstance(step, str) else ""
    word = "the cheapest" if measure.unit == "usd" else f"best in {measure.words}"
    if len(own) == 1:
        of_what = "" if measure.unit == "usd" else f"{measure.words} "
        took = f"{duration_text(fastest['seconds'])}, {of_what}{amount_text(fastest['cost'], measure.unit)}"
        return f"{where}{'only' if where else 'Only'} {_said(fastest)} was used: {took}"
    faster = [each for each in own if fastest["seconds_high"] < each["seconds_low"]]
    surely = len(faster) == len(own) - 1
    if not (surely if fastest is cheapest else cheapest in faster):
        return f"{where}{_said(cheapest)} is {word}, and no {by} is faster than chance explains"
    if fastest is cheapest:
        return f"{where}{_said(fastest)} is the fastest {by}, and {word}"
    if not surely:
        return f"{where}{_said(fastest)} is faster than {_said(cheapest)}, which is {word}"
    return f"{where}{_said(fastest)} is the fastest {by}, {_said(cheapest)} is {word}"


def advice(rows: Sequence[Mapping[Any, Any]], *, measure: Measure) -> str:
    """Say what to choose and what it takes: the only best one, or what each step along the front buys.

    Args:
        rows: choices of one pipeline and mode.
        measure: what the seconds are held against.

    Returns:
        A sentence about the step with the most to choose from; empty where there is no choice.
    """
    own = _of_most(rows) if rows else []
    if len(own) < 2:
        return ""
    front = sorted((row for row in own if row["front"]), key=lambda row: row["seconds"], reverse=True)
    if len(front) == 1:
        best = front[0]
        other = min((row for row in own if row is not best), key=lambda row: row["seconds"])
        later = _difference(best, other, "seconds", "s")
        worse = _difference(best, other, "cost", measure.unit) + _of_what(measure)
        return f"Choose {_said(best)}: a run with {_said(other)} has {later}, and {worse}"
    told_of = []
    steps = [each for each in pairwise(front) if each[1]["seconds"] < each[0]["seconds"]]  # others are alike
    for slower, quicker in steps[:MOST_ADVICE]:
        sure = quicker["seconds_high"] is not None and quicker["seconds_high"] < (
            slower["seconds_low"] or 0.0
        )
        seconds = slower["seconds"] - quicker["seconds"]
        saved = f"{duration_text(seconds)} a run ({100 * seconds / slower['seconds']:.0f} %)"
        price = _difference(slower, quicker, "cost", measure.unit) + _of_what(measure)
        chance = "" if sure else ", which may be chance,"
        told_of.append(f"{_said(quicker)} instead of {_said(slower)} saves {saved}{chance} for {price}")
    return "; ".join(told_of)


def _difference(one: Mapping[Any, Any], other: Mapping[Any, Any], name: str, unit: str) -> str:
    """Return by how much the other has more or less: ``$0.02 more (12 %)``."""
    by, of = other[name] - one[name], one[name]
    share = f" ({100 * abs(by) / of:.0f} %)" if of > 0 else ""
    return f"{amount_text(abs(by), unit)} {'less' if by < 0 else 'more'}{share}"


def _of_what(measure: Measure) -> str:
    return (
        "" if measure.unit == "usd" or measure.words.endswith(measure.unit or " ") else f" of {measure.words}"
    )


def _of_most(rows: Sequence[Mapping[Any, Any]]) -> list[Mapping[Any, Any]]:
    """Return the rows of the step with the most to choose from."""
    ((step, _),) = Counter(row["step_name"] for row in rows).most_common(1)
    return [row for row in rows if row["step_name"] == step]


def _said(row: Mapping[Any, Any]) -> str:
    return shortened(named(row["value"]), 40)


def named(value: object) -> str:
    """Return a value as a sentence has it."""
    return inert(value if isinstance(value, str) else json.dumps(value, default=str))
