"""How long things take and what they cost: bottlenecks, trends, failures, violations, baselines, limits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from perfdb.filters import Chosen, OfSeries, fits_series, step_of, without_window
from perfdb.history.queries.limits import most_of, note_what_was_sampled_of_all, sessions_and_steps
from perfdb.history.queries.measured import with_measure
from perfdb.measures import DURATION, Measure, named
from perfdb.stopping import most_steps, notes
from perfdb.store import extent, statistics
from perfdb.store.database import garbage_collected_later
from perfdb.store.dialects import is_shared
from perfdb.store.series import days_before
from perfdb.store.together import for_each, together, when_needed
from perfdb.vocabulary import recorded_name

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from perfdb.alerts.long_moves import Days
    from perfdb.analysis.rules import Rule
    from perfdb.analysis.series import Percentile, SeriesName, Statistics
    from perfdb.analysis.trends import By, Row, Told
    from perfdb.records import Alert

_MOST_ALERTS = 10_000
_MOST_PIPELINES = 50  # that are looked at one by one
_BY_INDEX = {"pipeline"}  # filters that the statistics of the whole history know
FROM_DAYS = "Percentiles are within 0.5 %: they come from daily figures."


def _said(frame: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return the frame with what its values are of."""
    return frame.assign(measure=measure.name, unit=measure.unit).astype({"measure": object, "unit": object})


@garbage_collected_later()
def bottlenecks(
    connection: Connection | None, *, measure: Measure = DURATION, **filters: Unpack[Chosen]
) -> pd.DataFrame:
    """Return what ``analysis.bottlenecks`` finds among those that fit, the ``last`` of each pipeline."""
    import pandas as pd

    from perfdb.analysis.bottlenecks import OF_SESSIONS, columns_for
    from perfdb.analysis.bottlenecks import bottlenecks as find
    from perfdb.store.browsing import pipelines
    from perfdb.store.frames import SESSION_COLUMNS

    names = [filters.get("pipeline")]
    if connection is not None and names == [None] and filters.get("last") is not None:
        each = list(pipelines(connection))
        if _fit_together(connection, each, filters):
            names = [*each] or names  # else one that runs often would leave no room for others

    columns = columns_for(measure)
    of_sessions = OF_SESSIONS if measure.is_duration else SESSION_COLUMNS

    def of_pipeline(name: str | None) -> pd.DataFrame:
        asked: Chosen = {**filters, "pipeline": name}
        read = sessions_and_steps(connection, of_sessions=of_sessions, of_steps=columns, **asked)
        return find(*read, measure)

    found = list(map(of_pipeline, names) if connection is None else for_each(connection, of_pipeline, names))
    kept = [frame for frame in found if len(frame)] or found[:1]
    return pd.concat(kept, ignore_index=True) if len(kept) > 1 else kept[0]


def _fit_together(connection: Connection, pipelines: Sequence[str], filters: Chosen) -> bool:
    """Say whether one answer may read the sessions of each pipeline; else the newest of all are looked at."""
    if len(pipelines) > _MOST_PIPELINES:
        return False
    if most_steps() is None:
        return True

    def fits(pipeline: str) -> bool:
        asked: Chosen = {**filters, "pipeline": pipeline}
        most, weights = together(
            connection, lambda: most_of(connection, pipeline), lambda: extent.weights(connection, **asked)
        )
        kept, count = extent.within(weights, most // len(pipelines))
        return kept == count

    if is_shared(connection):
        return all(for_each(connection, fits, pipelines))
    return all(map(fits, pipelines))


def failures(connection: Connection | None, *, step: str | None, **filters: Unpack[Chosen]) -> pd.DataFrame:
    """Return what ``analysis.failures`` counts among the sessions that fit."""
    from perfdb.analysis.failures import OF_STEPS
    from perfdb.analysis.failures import failures as find

    return find(*sessions_and_steps(connection, of_steps=OF_STEPS, **filters), step=step_of(step))


class Trends(NamedTuple):
    """What ``History.trends`` answers: rows without the measure, the measure, and what is to be known."""

    rows: list[Row]
    measure: Measure
    note: str | None = None

    def as_rows(self) -> list[dict[str, Any]]:
        """Return them as ``history.values.rows_of`` does a frame."""
        said = {"measure": self.measure.name, "unit": self.measure.unit}
        return [row | said for row in self.rows]

    def frame(self, zone: tzinfo | None) -> pd.DataFrame:
        """Return them as a frame, with periods of a zone."""
        from perfdb.analysis.trends import frame_of

        found = frame_of(self.rows, zone)
        if self.note is not None:
            found.attrs["note"] = self.note
        return _said(found, self.measure)


def trends(
    connection: Connection | None,
    *,
    by: By,
    step: str | None,
    zone: tzinfo | None = UTC,
    measure: Measure = DURATION,
    **filters: Unpack[Chosen],
) -> Trends:
    """Return what ``analysis.trends`` finds; a whole history is answered from its indexes."""
    from perfdb.alerts.long_moves import days_of
    from perfdb.alerts.moves import is_whole
    from perfdb.analysis import trends as analysis

    step = step_of(step)
    given = {name for name, value in filters.items() if value is not None}
    by_index = by != "last" and given <= _BY_INDEX and zone is UTC
    if connection is not None and by_index and not measure.is_duration and most_steps() is not None:
        by_index = statistics.is_of_days(connection, measure, step=step)  # else it would read all steps
    if connection is not None and by_index:
        pipeline = filters.get("pipeline")
        read = partial(_statistics, connection, step=step, pipeline=pipeline, measure=measure)
        return _of_statistics(read, by, partial(for_each, connection), measure, connection, pipeline)
    from perfdb.analysis.runs import OF_STEPS, runs_of  # with pandas

    of_history = without_window(filters)
    alerts, days, frames = together(
        connection,
        lambda: _newest_alerts(connection, filters.get("pipeline")),
        lambda: when_needed(
            connection,
            lambda: (
                days_of(
                    connection,
                    step=step,
                    pipeline=filters.get("pipeline"),
                    until=filters.get("until"),
                    measure=measure,
                )
                if connection is not None and is_whole(of_history)
                else {}
            ),
        ),
        lambda: with_measure(connection, measure, of_steps=OF_STEPS, **filters),
    )
    runs = runs_of(*frames, of_days=by in ("day", "week"))
    runs = runs if step is None else [series for series in runs if series.step_name == step]
    if connection is None:
        return Trends(analysis.trend_rows(runs, by=by, zone=zone), measure)
    told = _newest_moves(connection, alerts, days, measure, of_history)
    past, spread = days_before(connection, measure), partial(for_each, connection)
    rows = analysis.trend_rows(runs, by=by, zone=zone, past=past, told=told, spread=spread)
    return Trends(rows, measure)


def _newest_alerts(connection: Connection | None, pipeline: str | None) -> list[Alert]:
    """Return the alerts that say where levels moved, but of a flood only the newest."""
    from perfdb.store.alerts import read_alerts

    return [] if connection is None else read_alerts(connection, "all", pipeline=pipeline, limit=_MOST_ALERTS)


def _newest_moves(
    connection: Connection,
    alerts: Sequence[Alert],
    days: Callable[[], Mapping[SeriesName, Days]],
    measure: Measure,
    of_history: Chosen,
) -> Told:
    """Return what says when and how far a series moved last within a window: in its whole history."""
    from perfdb.alerts.events import beside_moves
    from perfdb.alerts.moves import told_in

    beside = beside_moves(connection, of_history)
    asked: dict[str, Any] = {"newest": True, "measure": measure, "beside": beside, **of_history}

    def newest(name: SeriesName, window: tuple[float, float], moved: bool) -> tuple[float, float] | None:
        moves = told_in(connection, name, window, alerts, lambda: days().get(name, []), moved=moved, **asked)
        return (moves[0].since_time, moves[0].change.effect_percent) if moves else None

    return newest


def is_of_everything(by: By, zone: tzinfo | None, measure: str, filters: Chosen) -> bool:
    """Tell whether trends are of all sessions, or all of a pipeline, by days of UTC."""
    given = {name for name, value in filters.items() if value is not None}
    return by != "last" and recorded_name(measure) == DURATION.name and given <= _BY_INDEX and zone is UTC


def trends_of_everything(
    read: Callable[..., list[Statistics]], *, by: By, step: str | None, pipeline: str | None
) -> Trends:
    """Return what ``trends`` does of everything, when a whole lake gives the statistics."""
    asked = {"step": step_of(step), "pipeline": pipeline}
    return _of_statistics(lambda by, percentiles: (read(percentiles, by=by, **asked), False), by)


def _of_statistics(
    read: Callable[[By, Sequence[Percentile]], tuple[list[Statistics], bool]],
    by: By,
    spread: Callable[..., Iterable[Any]] = map,
    measure: Measure = DURATION,
    connection: Connection | None = None,
    pipeline: str | None = None,
) -> Trends:
    from perfdb.alerts.long_moves import days_in
    from perfdb.analysis import trends as analysis
    from perfdb.analysis.series import PERCENTILES

    percentiles = list(PERCENTILES.values())
    asked: list[Callable[[], Any]] = [
        partial(read, by, percentiles),
        lambda: read("day", percentiles[:1])[0] if by == "week" else (),
        lambda: _newest_alerts(connection, pipeline) if by != "all" else [],
        partial(note_what_was_sampled_of_all, connection, pipeline),
    ]
    (rows, from_days), days, alerts, _ = spread(lambda ask: ask(), asked)
    told: Told | None = None
    if by != "all" and connection is not None:
        known = days_in(days or rows) if from_days else {}
        told = _newest_moves(connection, alerts, lambda: known, measure, {})
    found = analysis.of_statistics(rows, days=days, told=told, spread=spread)
    if from_days:
        notes().append(FROM_DAYS)
    return Trends(found, measure, FROM_DAYS if from_days else None)


def _statistics(
    connection: Connection,
    by: By,
    percentiles: Sequence[Percentile],
    *,
    step: str | None,
    pipeline: str | None,
    measure: Measure,
) -> tuple[list[Statistics], bool]:
    """Return the rows, and whether they come from daily figures."""
    asked: dict[str, Any] = {"by": by, "step": step, "pipeline": pipeline, "measure": measure}
    found = statistics.by_days(connection, percentiles, **asked)
    if found is not None:
        return found, True
    return statistics.by_runs(connection, percentiles, **asked), False


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


def baselines(
    connection: Connection | None, configured: Mapping[str, Measure], **of: Unpack[OfSeries]
) -> pd.DataFrame:
    """Return the pinned baselines of the series meant, with how the newest runs since then compare."""
    from perfdb.analysis.baselines import distance
    from perfdb.analysis.series import SeriesName
    from perfdb.store import baselines as store
    from perfdb.store.series import read_past

    pins = [] if connection is None else store.pinned(connection)
    pins = [pin for pin in pins if fits_series(pin, of)]
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
    from perfdb.analysis.runs import OF_STEPS, runs_of
    from perfdb.analysis.thresholds import suggest_thresholds as suggest

    runs = runs_of(*with_measure(connection, measure, of_steps=OF_STEPS, **filters))
    return _said(suggest(runs, higher_is_better=measure.direction == "down"), measure)
