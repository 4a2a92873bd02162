"""Answer the questions about the past: read what an analysis needs, and hand it over.

A connection goes in, a finding comes out; None stands for a home in which nothing is recorded yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from perfdb.errors import UsageError
from perfdb.filters import Chosen, step_of
from perfdb.measures import DURATION, FIXED, Measure, named
from perfdb.records import Alert, Session
from perfdb.stopping import most_steps, notes
from perfdb.store import extent, frames, measuring, reading, statistics
from perfdb.store.series import days_before
from perfdb.text import counted, inert, mode_text
from perfdb.vocabulary import BIGGEST, COMPLETED, recorded_name

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from perfdb.alerts.backfill import Loss
    from perfdb.analysis.common import Common
    from perfdb.analysis.compare import GroupComparison, SessionComparison
    from perfdb.analysis.explain import Explanation
    from perfdb.analysis.regressions import Move
    from perfdb.analysis.rules import Rule
    from perfdb.analysis.splits import Split
    from perfdb.analysis.trends import By

_MOST_PIPELINES = 50  # that are looked at one by one
_MOST_LOOKED_AT = 1_000  # newest sessions, for the names of measures when one is not known
_MOST_CANDIDATES = 20  # that are looked at for the newest that has one before it
_SPLIT_IN = 5_000  # newest sessions whose attributes are asked
_SWITCHES_IN = 500  # newest runs of a series that are asked whether they come and go between two levels
_MOST_VALUES = 50  # of an attribute whose sessions are looked at by themselves
_BY_INDEX = {"pipeline"}  # filters that the statistics of the whole history know
FROM_DAYS = "Percentiles are within 0.5 %: they come from daily figures."
_COST_OF_A_NAME = 5  # a step with a name of its own takes so much longer than one more of the same


def measure_named(
    connection: Connection | None, name: str, configured: Mapping[str, Measure], *, where: str
) -> Measure:
    """Return the measure that a person names: as it was recorded, whenever that was.

    Args:
        connection: of any role.
        name: of a measure or an attribute.
        configured: what the settings say of measures.
        where: which database, in words.

    Raises:
        NotFoundError: nothing is called so; it says what is near.
        UsageError: it is an attribute that never was a number.
    """
    from perfdb.analysis.measuring import names_in
    from perfdb.history.names import unknown

    measure = named(recorded_name(name), configured)
    if connection is None or measure.name in FIXED or measuring.is_recorded(connection, measure):
        return measure
    known, others = names_in(*sessions_and_steps(connection, last=_MOST_LOOKED_AT))
    if measure.name in others:
        owner = others[measure.name]
        raise UsageError(
            f"the attribute {measure.name!r} of {inert(owner)} never was a number, so that nothing can be "
            f"measured by it; compare its values with: perfdb compare --by {measure.name}"
        )
    if not known:
        return measure
    raise unknown("measure", measure.name, {*known, DURATION.name}, where)


def measures(
    connection: Connection | None, configured: Mapping[str, Measure], **filters: Unpack[Chosen]
) -> pd.DataFrame:
    """Return what ``analysis.measuring`` finds recorded among the sessions that fit."""
    from perfdb.analysis.measuring import recorded

    return recorded(*sessions_and_steps(connection, **filters), configured)


def _measured(
    connection: Connection | None, measure: Measure, **filters: Unpack[Chosen]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    from perfdb.analysis.measuring import measured

    return measured(*sessions_and_steps(connection, **filters), measure)


def _said(frame: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return the frame with what its values are of."""
    return frame.assign(measure=measure.name, unit=measure.unit).astype({"measure": object, "unit": object})


def bottlenecks(
    connection: Connection | None, *, measure: Measure = DURATION, **filters: Unpack[Chosen]
) -> pd.DataFrame:
    """Return what ``analysis.bottlenecks`` finds among those that fit, the ``last`` of each pipeline."""
    import pandas as pd

    from perfdb.analysis.bottlenecks import bottlenecks as find
    from perfdb.store.browsing import pipelines

    names = [filters.get("pipeline")]
    if connection is not None and names == [None] and filters.get("last") is not None:
        each = list(pipelines(connection))
        if _fit_together(connection, each, filters):
            names = [*each] or names  # else one that runs often would leave no room for others
    found = []
    for name in names:
        asked: Chosen = {**filters, "pipeline": name}
        found.append(find(*sessions_and_steps(connection, **asked), measure))
    kept = [frame for frame in found if len(frame)] or found[:1]
    return pd.concat(kept, ignore_index=True) if len(kept) > 1 else kept[0]


def _fit_together(connection: Connection, pipelines: Sequence[str], filters: Chosen) -> bool:
    """Say whether one answer may read the sessions of each pipeline; else the newest of all are looked at."""
    if len(pipelines) > _MOST_PIPELINES:
        return False
    for pipeline in pipelines:
        asked: Chosen = {**filters, "pipeline": pipeline}
        most = _most_steps(connection, pipeline)
        if most is not None:
            kept, count = extent.newest_within(connection, most // len(pipelines), **asked)
            if kept < count:
                return False
    return True


def failures(connection: Connection | None, *, step: str | None, **filters: Unpack[Chosen]) -> pd.DataFrame:
    """Return what ``analysis.failures`` counts among the sessions that fit."""
    from perfdb.analysis.failures import failures as find

    return find(*sessions_and_steps(connection, **filters), step=step_of(step))


def trends(
    connection: Connection | None,
    *,
    by: By,
    step: str | None,
    zone: tzinfo | None = UTC,
    measure: Measure = DURATION,
    **filters: Unpack[Chosen],
) -> pd.DataFrame:
    """Return what ``analysis.trends`` finds; a whole history is answered from its indexes."""
    from perfdb.analysis import trends as analysis
    from perfdb.analysis.runs import runs_of

    step = step_of(step)
    given = {name for name, value in filters.items() if value is not None}
    by_index = measure.is_duration and given <= _BY_INDEX and zone is UTC
    if connection is not None and by != "last" and by_index:
        pipeline = filters.get("pipeline")
        read = partial(_statistics, connection, step=step, pipeline=pipeline)
        return _of_statistics(read, by)
    runs = runs_of(*_measured(connection, measure, **filters))
    runs = runs if step is None else runs[runs["step_name"] == step]
    past = None if connection is None else days_before(connection, measure)
    return _said(analysis.trends(runs, by=by, zone=zone, past=past), measure)


def is_of_everything(by: By, zone: tzinfo | None, measure: str, filters: Chosen) -> bool:
    """Tell whether trends are of all sessions, or all of a pipeline, by days of UTC."""
    given = {name for name, value in filters.items() if value is not None}
    return by != "last" and recorded_name(measure) == DURATION.name and given <= _BY_INDEX and zone is UTC


def trends_of_everything(
    read: Callable[..., list[statistics.Row]], *, by: By, step: str | None, pipeline: str | None
) -> pd.DataFrame:
    """Return what ``trends`` does of everything, when a whole lake gives the statistics."""
    asked = {"step": step_of(step), "pipeline": pipeline}
    return _of_statistics(lambda by, percentiles: (read(percentiles, by=by, **asked), False), by)


def _of_statistics(
    read: Callable[[By, Sequence[statistics.Percentile]], tuple[list[statistics.Row], bool]], by: By
) -> pd.DataFrame:
    from perfdb.analysis import trends as analysis
    from perfdb.analysis.series import PERCENTILES

    percentiles = list(PERCENTILES.values())
    rows, from_days = read(by, percentiles)
    found = analysis.of_statistics(rows, days=read("day", percentiles[:1])[0] if by == "week" else ())
    if from_days:
        notes().append(FROM_DAYS)
        found.attrs["note"] = FROM_DAYS
    return _said(found, DURATION)


def _statistics(
    connection: Connection,
    by: By,
    percentiles: Sequence[statistics.Percentile],
    *,
    step: str | None,
    pipeline: str | None,
) -> tuple[list[statistics.Row], bool]:
    """Return the rows, and whether they come from daily figures."""
    found = statistics.by_days(connection, percentiles, by=by, step=step, pipeline=pipeline)
    if found is not None:
        return found, True
    return statistics.by_runs(connection, percentiles, by=by, step=step, pipeline=pipeline), False


def violations(
    connection: Connection | None, rules: Iterable[Rule], **filters: Unpack[Chosen]
) -> pd.DataFrame:
    """Return the runs among the sessions that fit which broke a ``max``, ``min`` or ``sum`` rule."""
    from perfdb.analysis.rules import TABLE
    from perfdb.analysis.violations import violations as find
    from perfdb.store.windows import offsets_of

    rules = list(rules)
    sessions, steps = sessions_and_steps(connection, **filters)
    offsets = None
    if connection is not None and any(TABLE[rule.kind].looks_at == "day" for rule in rules) and len(sessions):
        offsets = offsets_of(connection, float(sessions["start_time"].min()))
    return find(sessions, steps, rules, offsets)


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
        filters: choose sessions; but of ``since`` only moves whose first session began at or after it: what
            was before is read too.
    """
    from perfdb.alerts import backfill
    from perfdb.analysis.rows import Regression, frame_from
    from perfdb.store.alerts import read_alerts

    rows: list[dict[str, Any]] = []
    since = filters.pop("since", None)
    if connection is not None:
        moves = backfill.moves_of(
            connection, better=better, looking_back=True, step=step, measure=measure, **filters
        )
        moves = [move for move in moves if since is None or move.since_time >= since]
        alerts = read_alerts(connection, "all")
        moves = backfill.with_causes(connection, moves, measure=measure, **filters)
        rows = [_move_row(move, backfill.alert_of(move, alerts)) for move in moves]
        if measure.is_duration and not better and step is None and mode_attributes is not None:
            splits = _splits(
                connection,
                mode_attributes,
                since=since,
                **{**filters, "last": filters.get("last") or _SPLIT_IN},
            )
            rows += [row for split in splits for row in _split_rows(connection, split, filters)]
        if not better:
            losses = backfill.losses_of(connection, step=step, measure=measure, **filters)
            rows += [_loss_row(loss, alerts) for loss in losses]
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
    found = []
    for value in values:
        asked: Chosen = {**filters, "attribute": {**(filters.get("attribute") or {}), by: value}}
        frame = regressions(connection, step=step, better=better, measure=measure, **asked)
        frame.insert(0, "value", pd.Series([value] * len(frame), dtype=object))
        found.append(frame)
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
    columns = [
        "pipeline", "mode", "attribute", "value", "since_session_id", "since_time", "before_median",
        "after_median", "effect",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _splits(
    connection: Connection, mode_attributes: Sequence[str], *, since: float | None = None, **filters: Any
) -> list[Split]:
    from perfdb.analysis.runs import counted_sessions
    from perfdb.analysis.splits import find_splits
    from perfdb.history.values import rows_of

    sessions = counted_sessions(frames.sessions_frame(connection, **filters))
    names = ["session_id", "pipeline", "mode", "start_time", "total_duration", "attributes"]
    passed = [*mode_attributes, *(filters.get("attribute") or {})]
    splits = find_splits(rows_of(sessions[names]), passed_over=passed)
    return [each for each in splits if since is None or each.move.since_time >= since]


def _split_rows(connection: Connection, split: Split, filters: Chosen) -> Iterator[dict[str, Any]]:
    """Yield the row of a move that one value of an attribute shows, with the steps that made it."""
    from perfdb.alerts import backfill

    among: dict[str, Any] = {
        **filters,
        "attribute": {**(filters.get("attribute") or {}), split.attribute: split.value},
    }
    (move,) = backfill.with_causes(connection, [split.move], **among)
    row = _move_row(move, None)
    said = f"only with {split.attribute} = {split.value}"
    suspect = {"name": split.attribute, "before": None, "after": split.value, "offset": 0}
    row["suspects"] = [{**suspect, "share_before": None, "share_after": None}, *row["suspects"]]
    row["cause"] = f"{said}; {row['cause']}" if row["cause"] else said
    yield row | {"attribute": split.attribute, "attribute_value": split.value}


def switches(connection: Connection | None, *, step: str | None = None, **filters: Any) -> pd.DataFrame:
    """Return the series among the sessions that fit which switch between two known levels."""
    import pandas as pd

    from perfdb.alerts.causes import facts_before
    from perfdb.analysis.modes import explained_by, find_modes
    from perfdb.analysis.waves import without_wave
    from perfdb.store.series import read_past

    rows = []
    if connection is not None:
        for runs in read_past(connection, step=step, **filters):
            newest = runs.between(max(0, len(runs) - _SWITCHES_IN))
            calm = without_wave(newest.start_times, newest.values)
            levels = list(newest.values) if calm is None else calm.tolist()
            modes = find_modes(levels)
            if modes is None:
                continue
            facts = facts_before(connection, runs.pipeline, runs.mode, newest.start_times[-1], _SWITCHES_IN)
            of_session = dict(zip(newest.session_ids, levels, strict=True))
            by = explained_by(of_session, facts, runs.step_name)
            explained = (None, None, None) if by is None else (by.name, by.low, by.high)
            row = (runs.pipeline, runs.step_name, runs.mode, modes.low, modes.high, modes.switches)
            rows.append((*row, len(newest), *explained))
    columns = [
        "pipeline", "step_name", "mode", "low_median", "high_median", "switches", "n", "attribute",
        "low_value", "high_value",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _move_row(move: Move, alert: Alert | None) -> dict[str, Any]:
    runs, change, cause = move.runs, move.change, move.cause
    first, last = (runs.session_ids[place] for place in change.interval)
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
        "p_value": change.p_value,
        "first_session_id": first,
        "last_session_id": last,
        "lasts": move.lasts,
        "event_session_id": move.event_session_id,
        "total_s": None if cause is None else cause.total_s,
        "total_before_n": None if cause is None or cause.sides is None else cause.sides[0],
        "total_after_n": None if cause is None or cause.sides is None else cause.sides[1],
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
        "first_session_id": pin.since_session_id,
        "last_session_id": pin.until_session_id,
        "lasts": True,
        "event_session_id": runs.session_ids[verdict.since],
        "total_before_n": None,
        "total_after_n": None,
        "parts": [],
        "suspects": [],
        "cause": "",
        "confounded": False,
        "alert_id": None if alert is None else alert.id,
        "alert_state": None if alert is None else alert.state,
    }


def baselines(
    connection: Connection | None, configured: Mapping[str, Measure], *, measure: Measure | None = None
) -> pd.DataFrame:
    """Return the pinned baselines, with how the newest runs since then compare; only those of a measure."""
    from perfdb.analysis.baselines import distance
    from perfdb.analysis.series import SeriesName
    from perfdb.store import baselines as store
    from perfdb.store.series import read_past

    pins = [] if connection is None else store.pinned(connection)
    pins = [pin for pin in pins if measure is None or pin.metric == measure.name]
    frame = store.pins_frame(pins)
    now: list[tuple[float | None, int, float | None]] = []
    pasts = {}
    if connection is not None:
        for pipeline, metric in {(pin.pipeline, pin.metric) for pin in pins}:
            of_metric = named(metric, configured)
            for past in read_past(connection, pipeline=pipeline, measure=of_metric):
                pasts[past.name, metric] = past
    for pin in pins:
        since = pasts.get((SeriesName(pin.pipeline, pin.step_name, pin.mode), pin.metric))
        first = 0 if since is None else bisect_right(since.start_times, pin.until_time)
        now.append(distance(pin.value, [] if since is None else since.values[first:]))
    for name, kind, place in (("now", "float64", 0), ("now_n", "int64", 1), ("change_percent", "float64", 2)):
        frame[name] = [each[place] for each in now]
        frame[name] = frame[name].astype(kind)  # type: ignore[call-overload]
    frame["unit"] = [named(pin.metric, configured).unit for pin in pins]
    return frame.astype({"unit": object})


def suggest_thresholds(
    connection: Connection | None, *, measure: Measure = DURATION, **filters: Unpack[Chosen]
) -> pd.DataFrame:
    """Return what ``analysis.thresholds`` proposes after the sessions that fit."""
    from perfdb.analysis.runs import runs_of
    from perfdb.analysis.thresholds import suggest_thresholds as suggest

    runs = runs_of(*_measured(connection, measure, **filters))
    return _said(suggest(runs, higher_is_better=measure.direction == "down"), measure)


def usual_pair(connection: Connection, a: str | None, b: str | None) -> tuple[str, str]:
    """Return the two sessions to compare where not both are named: of one pipeline and mode.

    Raises:
        UsageError: there is no other session of that kind.
    """
    from perfdb.store.browsing import neighbours
    from perfdb.store.windows import newest_sessions, series_with_several

    if a is not None and b is not None:
        return a, b
    if a is not None or b is not None:
        named = reading.read_session(connection, reading.find_session_id(connection, str(a or b)))
        kind = named.pipeline, named.mode
        newest = next(
            (each for each in newest_sessions(connection, named.pipeline) if each.mode == named.mode), None
        )
        if a is not None and newest is not None and newest.session_id != named.session_id:
            return named.session_id, newest.session_id
        candidates = [named]
    else:
        newest_first = sorted(newest_sessions(connection), key=lambda place: -place.start_time)
        repeated = series_with_several(connection)
        ids = [place.session_id for place in newest_first if place.total_series in repeated]
        latest = newest_first[0].session_id if newest_first else reading.find_session_id(connection, "last")
        candidates = [reading.read_session(connection, each) for each in ids[:_MOST_CANDIDATES] or [latest]]
        kind = candidates[0].pipeline, candidates[0].mode
    for session in candidates:
        before = neighbours(connection, session)[0]
        if before is not None:
            return before, session.session_id
    named_kind = ", ".join(part for part in (inert(kind[0]), mode_text(kind[1])) if part)
    raise UsageError(
        f"no session of {named_kind} ended before {candidates[0].session_id}: name two to compare"
    )


def compare_sessions(
    connection: Connection, a: str, b: str, measure: Measure = DURATION
) -> SessionComparison:
    """Return how session ``b`` compares with ``a``; ids as in ``History.session``.

    Raises:
        UsageError: one of them has no total yet, or not this measure.
    """
    from perfdb.analysis.compare import compare_sessions as compare

    ids = [reading.find_session_id(connection, session_id) for session_id in (a, b)]
    check_extent(connection, *ids)
    sessions = [reading.read_session(connection, session_id) for session_id in ids]
    try:
        return compare(sessions[0], sessions[1], measure)
    except ValueError as error:
        raise UsageError(str(error)) from None


def compare_groups(
    connection: Connection | None,
    *,
    by: str,
    a: object,
    b: object,
    mode_attributes: Sequence[str],
    measure: Measure = DURATION,
    **filters: Unpack[Chosen],
) -> GroupComparison:
    """Return how the sessions with one value of an attribute compare with those of another.

    Raises:
        UsageError: there are not two such groups.
    """
    from perfdb.analysis.compare import compare_groups as compare
    from perfdb.analysis.compare import with_seconds
    from perfdb.analysis.measuring import measured

    sessions, steps = sessions_and_steps(connection, **filters)
    groups = partial(compare, by=by, mode_attributes=mode_attributes)
    try:
        found = groups(*measured(sessions, steps, measure), a=a, b=b, measure=measure)
        if measure.is_duration:
            return found
        return with_seconds(found, groups(sessions, steps, a=found.a, b=found.b))
    except ValueError as error:
        raise UsageError(str(error)) from None


def choices(
    connection: Connection | None,
    *,
    by: str,
    step: str | None,
    measure: Measure,
    mode_attributes: Sequence[str],
    **filters: Unpack[Chosen],
) -> pd.DataFrame:
    """Return what ``analysis.pareto`` finds: seconds against a measure, per value of an attribute.

    Raises:
        UsageError: nothing has the attribute.
    """
    from perfdb.analysis.pareto import choices as find
    from perfdb.analysis.rows import ChoiceRow, frame_from

    if connection is None:
        return frame_from([], ChoiceRow)
    try:
        read = sessions_and_steps(connection, **filters)
        modes = tuple(mode_attributes)
        return find(*read, by=by, step=step_of(step), measure=measure, mode_attributes=modes)
    except ValueError as error:
        raise UsageError(str(error)) from None


def compare_periods(
    connection: Connection | None,
    *,
    split: float,
    resume: float | None = None,
    mode_attributes: Sequence[str],
    measure: Measure = DURATION,
    **filters: Unpack[Chosen],
) -> GroupComparison:
    """Return how the sessions before a moment compare with those since then, or since ``resume``.

    Raises:
        UsageError: there are none on one of its sides.
    """
    import pandas as pd

    from perfdb.analysis.compare import PERIOD
    from perfdb.analysis.compare import compare_groups as compare

    sessions, steps = _measured(connection, measure, **filters)
    if resume is not None:
        starts = sessions["start_time"]
        sessions = sessions[(starts < split) | (starts >= resume)]
        steps = steps[steps["session_id"].isin(set(sessions["session_id"]))]
    sides = ["before" if start < split else "after" for start in sessions["start_time"]]
    counting = {side for side, counts in zip(sides, sessions["counted"], strict=True) if counts}
    if len(counting) < 2:
        where = "before" if "before" not in counting else "since"
        raise UsageError(
            f"no session that fits and counts began {where} then: choose a longer time, or another moment"
        )
    attributes = [{**own, PERIOD: side} for own, side in zip(sessions["attributes"], sides, strict=True)]
    return compare(
        sessions.assign(attributes=pd.Series(attributes, index=sessions.index, dtype=object)),
        steps,
        by=PERIOD,
        a="before",
        b="after",
        mode_attributes=mode_attributes,
        measure=measure,
    )


def common(
    connection: Connection | None,
    *,
    slow: Collection[str] | None,
    slowest: float,
    over: float | None,
    between: tuple[float, float] | None,
    step: str | None,
    **filters: Unpack[Chosen],
) -> Common:
    """Return what ``analysis.common`` finds among the sessions that fit and count.

    Raises:
        UsageError: they are too few, or all or none of them are slow.
    """
    from perfdb.analysis.common import common as find

    if not 0 < slowest <= 50:
        raise UsageError(f"slowest={slowest!r} is a percentage of up to 50")
    sessions = frames.empty_sessions_frame()
    if connection is not None:
        sessions = frames.sessions_frame(connection, **filters)
    sessions = sessions[sessions["counted"]]
    if step is None:
        seconds = sessions.set_index("session_id")["total_duration"]
    else:
        of_step = frames.empty_steps_frame()
        if connection is not None:
            of_step = frames.steps_frame(connection, step=step_of(step), **filters)
        seconds = of_step[of_step["counted"]].groupby("session_id")["duration"].mean()
    seconds = seconds.dropna()
    if slow is None and (over is not None or between is not None):
        fits = seconds > (-1.0 if over is None else over)
        if between is not None:
            starts = sessions.set_index("session_id")["start_time"].reindex(seconds.index)
            fits &= (starts >= between[0]) & (starts < between[1])
        slow = set(seconds.index[fits])
    try:
        return find(sessions, seconds, slow=slow, percent=slowest)
    except ValueError as error:
        raise UsageError(str(error)) from None


def explain(connection: Connection, session_id: str, last: int, measure: Measure = DURATION) -> Explanation:
    """Return why a session was slow, after the ``last`` sessions of its kind before it.

    Raises:
        UsageError: it has no total yet, or not this measure.
    """
    from perfdb.analysis.explain import explain as find

    found = reading.find_session_id(connection, session_id)
    check_extent(connection, found)
    session = reading.read_session(connection, found)
    try:
        past = past_within(connection, session, last=last, with_data=not measure.is_duration)
        return find(session, past, measure)
    except ValueError as error:
        raise UsageError(str(error)) from None


def past_within(
    connection: Connection, session: Session, *, last: int, with_data: bool = False
) -> list[Session]:
    """Return ``reading.past_sessions``, so many of the newest as an answer may read."""
    most, last = _most_steps(connection, session.pipeline), min(last, BIGGEST)
    if most is not None:
        kind: Chosen = {"pipeline": session.pipeline, "mode": session.mode, "counted": True}
        before: Chosen = {**kind, "status": COMPLETED, "until": session.start_time, "last": last}
        last, _ = extent.newest_within(connection, most, **before)
    if not last:
        return []
    return reading.past_sessions(connection, session, last=last, with_data=with_data)


def check_extent(connection: Connection, *session_ids: str) -> None:
    """Let sessions be read that have no more steps than an answer may read.

    Raises:
        UsageError: they have more.
    """
    most = most_steps()
    if most is None:
        return
    extents = [extent.extent_of(connection, session_id) for session_id in dict.fromkeys(session_ids)]
    count = sum(steps for steps, _ in extents)
    if sum(weight for _, weight in extents) > most:
        names = " and ".join(dict.fromkeys(session_ids))
        raise UsageError(
            f"{names}: {count:,} steps with their data exceed the limit of one answer, about {most:,}; "
            "perfdb export writes all of them"
        )


def _most_steps(connection: Connection, pipeline: str | None) -> int | None:
    """Return how many steps an answer may read: they take longer where most have a name of their own."""
    most = most_steps()
    if most is not None and extent.has_many_names(connection, pipeline):
        return most // _COST_OF_A_NAME
    return most


def within_limits(connection: Connection, *, times: int = 1, **filters: Unpack[Chosen]) -> Chosen:
    """Return the filters with ``last`` lowered to so many of the newest sessions as an answer may read.

    Args:
        connection: of any role.
        times: how often each step is read.
        filters: choose sessions.

    Raises:
        UsageError: the newest alone has more steps.
    """
    most = _most_steps(connection, filters.get("pipeline"))
    if most is None:
        return filters
    most //= times
    kept, count = extent.newest_within(connection, most, **filters)
    if kept == count:
        return filters
    if not kept:
        raise UsageError(
            f"the newest matching session exceeds the limit of one answer, about {most:,} steps; "
            "choose older sessions with --until, or write all with perfdb export"
        )
    notes().append(
        f"Used only the newest {kept:,} of {count:,} sessions: one answer reads at most about {most:,} steps."
    )
    return {**filters, "last": kept}


def _note_what_is_cut(connection: Connection, filters: Chosen) -> None:
    """Say how much of a window that was asked for is left out."""
    last, bounds = filters.get("last"), (filters.get("since"), filters.get("until"))
    if last is None or bounds == (None, None):
        return
    whole: Chosen = {**filters, "last": None}
    count = extent.count_sessions(connection, **whole)
    if count > last:
        of = f" of {inert(pipeline)}" if (pipeline := filters.get("pipeline")) is not None else ""
        notes().append(f"Used only the newest {last:,} of {counted(count, 'session')}{of} of this window.")


def sessions_and_steps(
    connection: Connection | None, **filters: Unpack[Chosen]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the frames of the sessions that fit and of their steps; of too many the newest."""
    if connection is None:
        return frames.empty_sessions_frame(), frames.empty_steps_frame()
    _note_what_is_cut(connection, filters)
    filters = within_limits(connection, **filters)
    return frames.sessions_frame(connection, **filters), frames.steps_frame(connection, **filters)
