"""Where levels moved: regressions with their causes and alerts, splits by attribute, switches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Unpack

from perfdb.errors import UsageError
from perfdb.filters import Chosen, without_window
from perfdb.measures import DURATION, Measure
from perfdb.records import Alert
from perfdb.store import extent, frames
from perfdb.store.together import for_each, together

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from perfdb.alerts.losses import Loss
    from perfdb.analysis.regressions import Move
    from perfdb.analysis.splits import Split

_SPLIT_IN = 5_000  # newest sessions whose attributes are asked
_SWITCHES_IN = 500  # newest runs of a series that are asked whether they come and go between two levels
_MOST_VALUES = 50  # of an attribute whose sessions are looked at by themselves


def regressions(
    connection: Connection | None,
    *,
    step: str | None,
    better: bool,
    measure: Measure = DURATION,
    mode_attributes: Sequence[str] | None = None,
    **filters: Unpack[Chosen],
) -> pd.DataFrame:
    """Return where the levels moved among the sessions that fit, what explains it, and the alert of it.

    Args:
        connection: of any role.
        step: only this step.
        better: moves for the better instead.
        measure: whose levels.
        mode_attributes: what makes the modes, see ``differs_by``; None: not of the values of attributes.
        filters: choose sessions; but ``since`` and ``last`` choose among the moves, by their first session:
            what was before is read too.
    """
    from perfdb.alerts.events import with_causes
    from perfdb.alerts.losses import losses_of
    from perfdb.alerts.moves import is_of_whole_series, moves_of
    from perfdb.alerts.places import alert_of, placed, with_kept_figures
    from perfdb.analysis.rows import Regression, frame_from
    from perfdb.store.alerts import read_alerts

    rows: list[dict[str, Any]] = []
    window, of_history = filters, without_window(filters)
    since = window.get("since")
    if connection is not None:

        def told_of(found: Sequence[Move] | Sequence[Loss]) -> list[Alert]:
            about = {each.runs.name for each in found}
            return read_alerts(connection, "all", of_any=about) if about else []

        def moved() -> tuple[list[Move], list[Alert]]:
            newest, found = together(
                connection,
                lambda: window.get("last") and extent.first_start(connection, **window),
                lambda: moves_of(
                    connection, better=better, looking_back=True, step=step, measure=measure, **of_history
                ),
            )
            first = max(since or -math.inf, newest or -math.inf)
            found = [move for move in found if first <= move.since_time]
            alerts = told_of(found)
            moves = with_causes(
                connection, [placed(move, alerts) for move in found], measure=measure, **of_history
            )
            if is_of_whole_series(of_history):
                moves = [with_kept_figures(move, alerts) for move in moves]
            return moves, alerts

        def split() -> list[dict[str, Any]]:
            if better or step is not None or mode_attributes is None or not measure.is_duration:
                return []
            asked: dict[str, Any] = {**window, "last": window.get("last") or _SPLIT_IN}
            splits = _splits(connection, mode_attributes, **asked)
            return for_each(connection, lambda each: _split_row(connection, each, of_history), splits)

        def lost() -> tuple[list[Loss], list[Alert]]:
            if better:
                return [], []
            without_since: dict[str, Any] = {**window, "since": None}
            losses = losses_of(connection, step=step, measure=measure, **without_since)
            return losses, told_of(losses)

        (moves, of_moves), of_splits, (losses, of_losses) = together(connection, moved, split, lost)
        rows = [_move_row(move, alert_of(move, of_moves)) for move in moves]
        rows += [*of_splits, *(_loss_row(loss, of_losses) for loss in losses)]
        for row in rows:
            row |= {"measure": measure.name, "unit": measure.unit}
            row |= {"difference": row["difference_s"], "total_difference": row.get("total_s")}
            if measure.unit != "s":
                row |= {"difference_s": None, "total_s": None}
        rows.sort(key=lambda row: (row["since_time"], row["pipeline"], row["mode"], row["step_name"] or ""))
    return frame_from(rows, Regression)


def regressions_by(
    connection: Connection | None,
    by: str,
    *,
    step: str | None,
    better: bool,
    measure: Measure = DURATION,
    **filters: Unpack[Chosen],
) -> pd.DataFrame:
    """Return the regressions of the sessions with each value of an attribute, with the ``value``.

    Raises:
        UsageError: no session has it, or it has too many values.
    """
    import pandas as pd

    values: list[Any] = []
    if connection is not None:
        whole: Chosen = {**filters, "since": None}  # what was before is read too
        for attributes in frames.sessions_frame(connection, **whole)["attributes"]:
            value = attributes.get(by)
            if isinstance(value, str | int | float) and not any(
                value == each and type(value) is type(each) for each in values
            ):
                values.append(value)
            if len(values) > _MOST_VALUES:
                raise UsageError(f"{by} has more than {_MOST_VALUES} values: choose some with --attribute")
        if not values:
            raise UsageError(f"no session that fits has the attribute {by!r}; see: perfdb sessions --json")

    def of_value(value: Any) -> pd.DataFrame:
        asked: Chosen = {**filters, "attribute": {**(filters.get("attribute") or {}), by: value}}
        frame = regressions(connection, step=step, better=better, measure=measure, **asked)
        frame.insert(0, "value", pd.Series([value] * len(frame), dtype=object))
        return frame

    found = [] if connection is None else for_each(connection, of_value, values)
    if not found:
        frame = regressions(connection, step=step, better=better, measure=measure, **filters)
        frame.insert(0, "value", pd.Series([], dtype=object))
        return frame
    kept = [frame for frame in found if len(frame)] or found[:1]
    return pd.concat(kept, ignore_index=True)


def differs_by(
    connection: Connection | None, mode_attributes: Sequence[str], **filters: Unpack[Chosen]
) -> pd.DataFrame:
    """Return what ``analysis.splits`` finds among the sessions that fit."""
    import pandas as pd

    from perfdb.analysis.rows import TEXT, of_types

    splits = [] if connection is None else _splits(connection, mode_attributes, **filters)
    rows = [
        (
            each.pipeline,
            each.mode,
            each.attribute,
            each.value,
            each.move.since_session_id,
            each.move.since_time,
            each.move.change.before_median,
            each.move.change.after_median,
            each.move.change.effect_percent,
        )
        for each in splits
    ]
    types = {
        "pipeline": TEXT, "mode": TEXT, "attribute": TEXT, "value": "object", "since_session_id": TEXT,
        "since_time": "float64", "before_median": "float64", "after_median": "float64", "effect": "float64",
    }  # fmt: skip
    return of_types(pd.DataFrame(rows, columns=list(types)), types)


def _splits(
    connection: Connection, mode_attributes: Sequence[str], *, since: float | None = None, **filters: Any
) -> list[Split]:
    from perfdb.analysis.splits import find_splits

    passed = [*mode_attributes, *(filters.get("attribute") or {})]
    splits = find_splits(frames.counted_rows(connection, **filters), passed_over=passed)
    return [each for each in splits if since is None or each.move.since_time >= since]


def _split_row(connection: Connection, split: Split, filters: Chosen) -> dict[str, Any]:
    """Return the row of a move that one value of an attribute shows, with the steps that made it."""
    from perfdb.alerts.events import with_causes

    among: dict[str, Any] = {
        **filters,
        "attribute": {**(filters.get("attribute") or {}), split.attribute: split.value},
    }
    (move,) = with_causes(connection, [split.move], **among)
    row = _move_row(move, None)
    said = f"only with {split.attribute} = {split.value}"
    suspect = {"name": split.attribute, "before": None, "after": split.value, "offset": 0}
    row["suspects"] = [{**suspect, "share_before": None, "share_after": None}, *row["suspects"]]
    row["cause"] = f"{said}; {row['cause']}" if row["cause"] else said
    return row | {"attribute": split.attribute, "attribute_value": split.value}


def switches(connection: Connection | None, *, step: str | None = None, **filters: Any) -> pd.DataFrame:
    """Return the series among the sessions that fit which switch between two known levels."""
    import pandas as pd

    from perfdb.alerts.causes import facts_before
    from perfdb.analysis.course import levels_of
    from perfdb.analysis.rows import TEXT, of_types
    from perfdb.store.series import days_before, read_past

    rows = []
    if connection is not None:
        past = days_before(connection)
        read = read_past(connection, step=step, last_of_all=True, **filters)
        found = [levels for runs in read if (levels := levels_of(runs, _SWITCHES_IN, past)).modes is not None]
        places = dict.fromkeys(
            (levels.runs.pipeline, levels.runs.mode, levels.runs.start_times[-1]) for levels in found
        )
        known = for_each(
            connection, lambda at: facts_before(connection, at[0], at[1], at[2], _SWITCHES_IN), places
        )
        facts_at = dict(zip(places, known, strict=True))
        for levels in found:
            runs, modes = levels.runs, levels.modes
            by = levels.explained_by(facts_at[runs.pipeline, runs.mode, runs.start_times[-1]])
            explained = (None, None, None) if by is None else (by.name, by.low, by.high)
            if modes is not None:
                rows.append((*runs.name, modes.low, modes.high, modes.switches, len(runs), *explained))
    types = {
        "pipeline": TEXT, "step_name": "object", "mode": TEXT, "low_median": "float64",
        "high_median": "float64", "switches": "int64", "n": "int64", "attribute": "object",
        "low_value": "object", "high_value": "object",
    }  # fmt: skip
    return of_types(pd.DataFrame(rows, columns=list(types)), types)


def _move_row(move: Move, alert: Alert | None) -> dict[str, Any]:
    runs, change, cause = move.runs, move.change, move.cause
    first, last = move.between
    own = cause.part_of(runs.step_name) if cause is not None and runs.step_name is not None else None
    return {
        "pipeline": runs.pipeline,
        "step_name": runs.step_name,
        "mode": runs.mode,
        "against": "level",
        "since_session_id": move.since_session_id,
        "since_time": move.since_time,
        "before_median": change.before_median,
        "after_median": change.after_median,
        "difference_s": change.after_median - change.before_median,
        "effect": change.effect_percent,
        "before_n": change.before_n,
        "after_n": change.after_n,
        "without_wave": change.without_wave,
        "nearest_only": change.nearest_only,
        "p_value": change.p_value,
        "first_session_id": first,
        "last_session_id": last,
        "lasts": move.lasts,
        "event_session_id": move.event_session_id,
        "total_s": None if cause is None else cause.total_s,
        "total_before_n": None if cause is None or cause.sides is None else cause.sides[0],
        "total_after_n": None if cause is None or cause.sides is None else cause.sides[1],
        "total_without_wave": cause is not None and cause.without_wave,
        "contributes_percent": None if own is None else own.percent,
        "parts": [] if cause is None else [part.as_dict() for part in cause.parts],
        "suspects": [] if cause is None else [asdict(suspect) for suspect in cause.suspects],
        "cause": "" if cause is None else cause.sentence,
        "confounded": cause is not None and cause.confounded,
        "alert_id": None if alert is None else alert.id,
        "alert_state": None if alert is None else alert.state,
    }


def _loss_row(loss: Loss, alerts: Sequence[Alert]) -> dict[str, Any]:
    runs, pin, verdict = loss.runs, loss.pin, loss.verdict
    series = (runs.pipeline, runs.step_name, runs.mode, "pinned")
    alert = next(
        (
            each
            for each in alerts
            if each.is_open
            and each.metric == runs.metric
            and (each.pipeline, each.step_name, each.mode, each.kind) == series
        ),
        None,
    )
    value = pin.value if verdict.value is None else verdict.value
    return {
        "pipeline": runs.pipeline,
        "step_name": runs.step_name,
        "mode": runs.mode,
        "against": "pinned",
        "since_session_id": runs.session_ids[verdict.since],
        "since_time": runs.start_times[verdict.since],
        "before_median": pin.value,
        "after_median": value,
        "difference_s": value - pin.value,
        "effect": verdict.effect,
        "before_n": pin.n,
        "after_n": verdict.n,
        "without_wave": False,
        "nearest_only": False,
        "first_session_id": pin.since_session_id,
        "last_session_id": pin.until_session_id,
        "lasts": True,
        "event_session_id": runs.session_ids[verdict.since],
        "total_before_n": None,
        "total_after_n": None,
        "total_without_wave": False,
        "parts": [],
        "suspects": [],
        "cause": "",
        "confounded": False,
        "alert_id": None if alert is None else alert.id,
        "alert_state": None if alert is None else alert.state,
    }
