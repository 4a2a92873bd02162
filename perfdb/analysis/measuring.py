"""What a measure is worth in each step and session: of frames, and of records.

``measured`` puts it in the place of the durations, so that whatever asks how long runs took answers for any
measure. Pure; ``store/measuring.py`` says the same in SQL.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perfdb.analysis.rows import TEXT, of_types
from perfdb.analysis.slopes import Floats
from perfdb.measures import (
    DURATION,
    KEPT,
    LAST,
    MAX,
    MEASURES,
    OF_ATTEMPTS,
    Measure,
    named,
    number,
)
from perfdb.records import Session, Step
from perfdb.stopping import looking

if TYPE_CHECKING:
    import pandas as pd

_PARTS = {each.name: part for each, part in zip(OF_ATTEMPTS, ("duration", "wait"), strict=True)}
COLUMNS = (
    "pipeline", "mode", "step_name", "measure", "unit", "label", "better", "total", "n", "low", "median",
    "high", "last", "last_session_id", "last_time",
)  # fmt: skip


def measured(
    sessions: pd.DataFrame, steps: pd.DataFrame, measure: Measure
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the frames with the values of a measure for ``total_duration`` and ``duration``.

    What has no value does not count. Pipelines, and names of steps, that never had one are left out.

    Args:
        sessions: as ``History.sessions`` gives them.
        steps: as ``History.steps`` gives them for the same sessions.
        measure: of which the durations are returned as they are.
    """
    if measure.is_duration:
        return sessions, steps
    totals, values = session_values(sessions, steps, measure), step_values(steps, measure)
    return (
        _with(sessions, "total_duration", totals, ["pipeline", "mode"]),
        _with(steps, "duration", values, ["pipeline", "mode", "step_name"]),
    )


def columns_of(measure: Measure) -> set[str]:
    """Return the columns of steps by which sessions and steps have values of a measure."""
    own = (measure.name,) if measure.is_duration or measure.has_column else ("additional_data", "attempts")
    return {"session_id", "start_time", "seq", *own}


def _with(frame: pd.DataFrame, column: str, values: Floats, series: list[str]) -> pd.DataFrame:
    known = ~np.isnan(values)
    made = frame.assign(**{column: values, "counted": frame["counted"].to_numpy(dtype=bool) & known})
    if known.all():
        return made
    having = made[known].drop_duplicates(series)[series]
    keys = set(map(tuple, having.itertuples(index=False)))
    keep = [key in keys for key in made[series].itertuples(index=False, name=None)]
    return made[np.array(keep, dtype=bool)]


def step_values(steps: pd.DataFrame, measure: Measure) -> Floats:
    """Return what a measure is worth in each step; NaN where it was not recorded."""
    if measure.is_duration or measure.has_column:
        return steps[measure.name].to_numpy(dtype=float, na_value=math.nan)
    found = [
        _of_step(measure, data, attempts)
        for data, attempts in zip(steps["additional_data"], steps["attempts"], strict=True)
    ]
    return np.array([math.nan if value is None else value for value in found], dtype=float)


def session_values(
    sessions: pd.DataFrame, steps: pd.DataFrame, measure: Measure, within: Floats | None = None
) -> Floats:
    """Return what a measure is worth in each session; NaN where neither it nor a step of it has a value.

    ``within`` is what ``step_values`` returned, if it is known.
    """
    if measure.is_duration:
        return sessions["total_duration"].to_numpy(dtype=float, na_value=math.nan)
    if measure.has_column:
        return sessions[measure.name].to_numpy(dtype=float, na_value=math.nan)
    of_steps: dict[str, list[tuple[float, int, float]]] = {}
    values = step_values(steps, measure) if within is None else within
    columns = (steps[name].tolist() for name in ("session_id", "start_time", "seq"))
    for session_id, start, seq, value in zip(*columns, values.tolist(), strict=True):
        if value == value:
            of_steps.setdefault(session_id, []).append((start, seq, value))
    found = [
        _of_session(measure, attributes, count, of_steps.get(session_id, ()))
        for session_id, attributes, count in zip(
            sessions["session_id"],
            sessions["attributes"],
            sessions["product_count"].astype(object),
            strict=True,
        )
    ]
    return np.array([math.nan if value is None else value for value in found], dtype=float)


def of_step(step: Step, measure: Measure) -> float | None:
    """Return what a measure is worth in a step; None where it was not recorded."""
    if measure.name in KEPT:
        value = getattr(step, measure.name)
        return None if value is None else float(value)
    attempts = [{"duration": each.duration, "wait": each.wait} for each in step.attempts]
    return _of_step(measure, step.additional_data, attempts)


def of_session(session: Session, measure: Measure) -> float | None:
    """Return what a measure is worth in a session; None where neither it nor a step of it has a value."""
    if measure.name in KEPT:
        value = session.total_duration if measure.is_duration else getattr(session, measure.name)
        return None if value is None else float(value)
    values = [(step.start_time, step.seq, of_step(step, measure)) for step in session.steps]
    known = [(start, seq, value) for start, seq, value in values if value is not None]
    return _of_session(measure, session.attributes, session.product_count, known)


def by_step(session: Session, measure: Measure) -> dict[str | None, float]:
    """Return what a measure is worth in the steps of each name, and under None what is in none of them.

    They add up to the session's value if steps add up to it; of other measures there is no rest.
    """
    groups: dict[str | None, list[tuple[float, int, float]]] = {}
    for step in session.steps:
        value = of_step(step, measure)
        if value is not None:
            groups.setdefault(step.step_name, []).append((step.start_time, step.seq, value))
    found = {name: together(measure, values) for name, values in groups.items()}
    total = of_session(session, measure)
    if measure.adds_up and total is not None:
        rest = total - math.fsum(found.values())
        found[None] = 0.0 if abs(rest) <= 1e-9 * abs(total) else rest
    return found


def together(measure: Measure, values: Sequence[tuple[float, int, float]]) -> float:
    """Return what values of steps make together: those of (start, number, value)."""
    if measure.total == LAST:
        return max(values)[2]
    return max(value for *_, value in values) if measure.total == MAX else math.fsum(v for *_, v in values)


def _of_step(measure: Measure, data: object, attempts: object) -> float | None:
    part = _PARTS.get(measure.name)
    if part is not None and isinstance(attempts, Sequence):
        spent = [number(each.get(part)) for each in attempts if isinstance(each, Mapping)]
        known = [value for value in spent if value is not None]
        if known:
            return math.fsum(known)
    return number(data.get(measure.name)) if isinstance(data, Mapping) else None


def _of_session(
    measure: Measure, attributes: object, count: object, of_steps: Sequence[tuple[float, int, float]]
) -> float | None:
    own = number(attributes.get(measure.name)) if isinstance(attributes, Mapping) else None
    if own is None and measure.name == "product_count":
        own = number(count)
    return together(measure, of_steps) if own is None and of_steps else own


def value_spent(sessions: pd.DataFrame, steps: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return what of a measure each step of each session has, as ``time_spent`` does of its time.

    A row adds up to the session's value, if steps add up to it; sessions without a value are left out.
    """
    import pandas as pd

    totals = dict(zip(sessions["session_id"], session_values(sessions, steps, measure).tolist(), strict=True))
    rows: dict[str, dict[str | None, list[tuple[float, int, float]]]] = {
        session_id: {} for session_id, total in totals.items() if total == total
    }
    columns = (steps[name].tolist() for name in ("session_id", "step_name", "start_time", "seq"))
    for session_id, name, start, seq, value in zip(
        *columns, step_values(steps, measure).tolist(), strict=True
    ):
        if session_id in rows and value == value:
            rows[session_id].setdefault(name, []).append((start, seq, value))
    order = list(dict.fromkeys(name for row in rows.values() for name in row))
    spent = [
        [together(measure, row[name]) if name in row else 0.0 for name in order] for row in rows.values()
    ]
    for session_id, row in zip(rows, spent, strict=True):
        rest = totals[session_id] - math.fsum(row) if measure.adds_up else 0.0
        row.append(0.0 if abs(rest) <= 1e-9 * abs(totals[session_id]) else rest)
    frame = pd.DataFrame(spent, index=list(rows), columns=range(len(order) + 1), dtype=float)
    frame.columns = pd.Index([*order, None], dtype=object)
    return frame


# --- what was recorded ----------------------------------------------------------------------------------


def names_in(sessions: pd.DataFrame, steps: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """Return the names of the measures that were recorded, and of attributes that never were a number.

    Of the latter with who has them: a step's name, or ``the sessions``.
    """
    numbers: dict[str, None] = {}
    others: dict[str, str] = {}
    pairs = [("the sessions", each) for each in sessions["attributes"]]
    pairs += zip(steps["step_name"], steps["additional_data"], strict=True)
    for owner, data in looking(pairs):
        for name, value in data.items():
            if number(value) is not None:
                numbers[name] = None
            else:
                others.setdefault(name, owner)
    if sessions["product_count"].notna().any():
        numbers["product_count"] = None
    fixed = [DURATION.name, *(each.name for each in MEASURES)]
    fixed = [
        name for name in fixed if _column(sessions, name).notna().any() or _column(steps, name).notna().any()
    ]
    if any(steps["attempts"].map(bool)):
        fixed += [each.name for each in OF_ATTEMPTS]
    recorded = [*fixed, *sorted(name for name in numbers if name not in fixed)]
    return recorded, {name: owner for name, owner in others.items() if name not in numbers}


def _column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    return frame["total_duration" if name == "duration" and name not in frame else name]


def recorded(sessions: pd.DataFrame, steps: pd.DataFrame, configured: Mapping[str, Measure]) -> pd.DataFrame:
    """Return what was measured, per pipeline, mode, measure and step.

    Args:
        sessions: as ``History.sessions`` gives them; only what counts is looked at.
        steps: as ``History.steps`` gives them for the same sessions.
        configured: what the settings say of measures.

    Returns:
        One row per pipeline, mode, measure and step, that of the session (``step_name`` None) first:
        ``measure``, ``unit``, ``label``, ``better``, ``total``, ``n`` values from ``low`` to ``high``, their
        ``median``, the ``last`` with its session and when that began.
    """
    import pandas as pd

    from perfdb.analysis.runs import text_or_none

    rows: list[tuple[Any, ...]] = []
    names: list[list[str | None]] = [[None] * len(sessions), list(map(text_or_none, steps["step_name"]))]
    frames = [  # of all measures the same: who it is, and whether it counts
        (
            list(zip(frame["pipeline"].tolist(), frame["mode"].tolist(), of, strict=True)),
            frame["session_id"].tolist(),
            frame["start_time"].tolist(),
            frame["counted"].to_numpy(dtype=bool),
        )
        for frame, of in zip((sessions, steps), names, strict=True)
    ]
    having = _holders(sessions, steps)
    for name in looking(names_in(sessions, steps)[0]):
        measure = named(name, configured)
        if name in having and name not in (*KEPT, *_PARTS, "product_count"):
            both: Any = having[name].values(measure)
        else:
            within = step_values(steps, measure)
            both = map(_known, (session_values(sessions, steps, measure, within), within))
        groups: dict[tuple[str, str, str | None], list[tuple[float, str, float]]] = {}
        begun: dict[str, float] = {}  # the sessions that have a value
        for (keys, session_ids, starts, counted), values in zip(frames, both, strict=True):
            for place, value in values:
                if not counted[place]:
                    continue
                session_id, key = session_ids[place], keys[place]
                if key[2] is None:
                    begun[session_id] = starts[place]
                start = begun.get(session_id, starts[place])
                groups.setdefault(key, []).append((start, session_id, value))
        rows += _rows(measure, groups)
    rows.sort(key=lambda row: row[:2])  # stable: the measures of each pipeline and mode in their order
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    floats = ("low", "median", "high", "last", "last_time")
    others = {"n": "int64", "step_name": "object"}
    texts = [name for name in COLUMNS if name not in (*floats, *others)]
    return of_types(frame, dict.fromkeys(texts, TEXT) | dict.fromkeys(floats, "float64") | others)


class _Holder:
    """The sessions and steps that have an attribute, by their places: all others have no value of it.

    There may be as many names as values: to look for each in all rows would take the square of that.
    """

    def __init__(self) -> None:
        # place, that of its session, start, seq and value
        self.of_steps: list[tuple[int, int | None, float, int, Any]] = []
        self.of_sessions: dict[int, Any] = {}

    def values(self, measure: Measure) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        """Return the values of the sessions and of the steps, each with its place."""
        steps: list[tuple[int, float]] = []
        within: dict[int, list[tuple[float, int, float]]] = {}
        for place, session, start, seq, given in self.of_steps:
            if (value := number(given)) is not None:
                steps.append((place, value))
                if session is not None:
                    within.setdefault(session, []).append((start, seq, value))
        sessions = {place: together(measure, values) for place, values in within.items()}
        own = {place: number(value) for place, value in self.of_sessions.items()}
        sessions.update((place, value) for place, value in own.items() if value is not None)
        return sorted(sessions.items()), steps


def _holders(sessions: pd.DataFrame, steps: pd.DataFrame) -> defaultdict[str, _Holder]:
    found: defaultdict[str, _Holder] = defaultdict(_Holder)
    for place, data in enumerate(looking(sessions["attributes"])):
        for name, value in data.items():
            found[name].of_sessions[place] = value
    of_session = {session_id: place for place, session_id in enumerate(sessions["session_id"])}
    columns = (steps[name].tolist() for name in ("session_id", "start_time", "seq", "additional_data"))
    for place, (session_id, start, seq, data) in enumerate(looking(zip(*columns, strict=True))):
        for name, value in data.items():
            found[name].of_steps.append((place, of_session.get(session_id), start, seq, value))
    return found


def _known(values: Floats) -> list[tuple[int, float]]:
    return [(place, float(values[place])) for place in np.flatnonzero(~np.isnan(values)).tolist()]


def _rows(
    measure: Measure, groups: Mapping[tuple[str, str, str | None], list[tuple[float, str, float]]]
) -> Iterable[tuple[Any, ...]]:
    said = measure.name, measure.unit or "count", measure.words, measure.better, measure.total
    for (pipeline, mode, step_name), values in sorted(
        groups.items(), key=lambda each: (*each[0][:2], each[0][2] or "")
    ):
        only = np.array([value for *_, value in values])
        start, session_id, last = values[-1]
        low, middle, high = float(only.min()), float(np.median(only)), float(only.max())
        yield pipeline, mode, step_name, *said, len(values), low, middle, high, last, session_id, start
