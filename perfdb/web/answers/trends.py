"""One series over time: its runs, percentiles by period, and all that is to be marked on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from perfdb.alerts.config import read_alert_settings
from perfdb.analysis import find_change_points
from perfdb.analysis import trends as analysis
from perfdb.analysis.rules.limits import MAX
from perfdb.analysis.series import PERCENTILES, Series, percentile
from perfdb.filters import parse_instant
from perfdb.history.plain import plain
from perfdb.records import SEVERITIES
from perfdb.store import browsing
from perfdb.store.alerts import read_alerts
from perfdb.store.series import runs_of_series
from perfdb.text import counted, duration_text, inert, local_time
from perfdb.web.queries import TrendQuery
from perfdb.web.schemas import AlertRow, Change, Limit, Period, Points, SeriesName, TrendAnswer

if TYPE_CHECKING:
    from perfdb.web.served import ServedHistory

MOST_POINTS = 2_000
MOST_ALERTS = 100
MOST_FOR_CHANGES = 2_000  # more runs would take a noticeable time


def trend(history: ServedHistory, query: TrendQuery) -> TrendAnswer:
    """Return how long the runs of a series took, and where that is going."""
    since, until = (None if each is None else parse_instant(each) for each in (query.since, query.until))
    with history.reading() as connection:
        names, hidden = ([], 0) if connection is None else browsing.series_names(connection, step=query.step)
        recent = [] if connection is None else browsing.total_series(connection, most=1_000)
        chosen = _chosen(query, names, recent)
        runs, found = None, []
        if connection is not None and chosen is not None:
            runs = runs_of_series(connection, *chosen, last=query.last, since=since, until=until)
            found = read_alerts(connection, "all", of_series=chosen, limit=MOST_ALERTS)
    choices = [_named(*name) for name in names]
    if runs is None or chosen is None or not runs.start_times:
        return _empty(query, choices, hidden, None if chosen is None else _named(*chosen))
    series = _named(*chosen)
    whole = _statistics(runs)
    changes = _changes(runs)
    alerts = [
        alert
        for alert in found
        if alert.metric == "duration" and (alert.is_open or alert.since_time >= runs.start_times[0])
    ]
    return TrendAnswer(
        series=series,
        choices=choices,
        hidden_choices=hidden,
        sentence=_sentence(series, whole, changes),
        **{name: whole[name] for name in _STATISTICS},
        points=points(runs),
        periods=_periods(runs, query.period),
        period=query.period,
        limits=_limits(history, runs),
        changes=changes,
        alerts=[AlertRow.from_records(each) for each in alerts],
    )


_STATISTICS = (
    "n", "failures", "mean", "p50", "p90", "p95", "p99", "slope_percent_per_session",
    "slope_percent_per_day", "p_value",
)  # fmt: skip


def _chosen(
    query: TrendQuery, names: Sequence[tuple[str, str | None, str]], recent: Sequence[tuple[int, str, str]]
) -> tuple[str, str | None, str] | None:
    """Return the series that is meant: of what is left open, the one that ran last."""
    fitting = {
        (pipeline, mode)
        for pipeline, step_name, mode in names
        if query.pipeline in (None, pipeline)
        and query.mode in (None, mode)
        and query.step in (None, step_name)
    }
    for _, pipeline, mode in recent:
        if (pipeline, mode) in fitting:
            return pipeline, query.step, mode
    return None


def _named(pipeline: str, step_name: str | None, mode: str) -> SeriesName:
    return SeriesName(pipeline=pipeline, step_name=step_name, mode=mode)


def _empty(
    query: TrendQuery, choices: list[SeriesName], hidden: int, series: SeriesName | None
) -> TrendAnswer:
    nothing: dict[str, Any] = dict.fromkeys(_STATISTICS) | {"n": 0, "failures": 0}
    return TrendAnswer(
        series=series,
        choices=choices,
        hidden_choices=hidden,
        sentence="No run matches. Choose another series or a longer time."
        if choices
        else "Nothing recorded yet. Record a run with perfdb.track(...), or try: perfdb demo",
        **nothing,
        points=Points(session_id=[], start_time=[], duration=[], failed=[], of=0),
        periods=[],
        period=query.period,
        limits=[],
        changes=[],
        alerts=[],
    )


def points(runs: Series) -> Points:
    """Return the runs as points; of too many, the fastest and the slowest of each of 1,000 equal parts."""
    places = kept_places(runs.values, MOST_POINTS)
    return Points(
        session_id=[runs.session_ids[place] for place in places],
        start_time=[runs.start_times[place] for place in places],
        duration=[runs.values[place] for place in places],
        failed=[not runs.counted[place] for place in places],
        of=len(runs.values),
    )


def kept_places(values: Sequence[float], most: int) -> list[int]:
    """Return the places of at most ``most`` values: of each of equal parts the least and the greatest."""
    if len(values) <= most:
        return list(range(len(values)))
    parts = most // 2
    kept: list[int] = []
    for part in range(parts):
        inside = range(part * len(values) // parts, (part + 1) * len(values) // parts)
        ends = {min(inside, key=values.__getitem__), max(inside, key=values.__getitem__)}
        kept += sorted(ends)
    return kept


def _statistics(runs: Series) -> dict[str, Any]:
    """Return what ``analysis.trends`` says of one series, without the price of frames."""
    good = [place for place, counted in enumerate(runs.counted) if counted]
    values = np.sort(np.array([runs.values[place] for place in good]))
    of_session: dict[str, list[int]] = {}
    for place in good:
        of_session.setdefault(runs.session_ids[place], []).append(place)
    starts = np.array([runs.start_times[places[0]] for places in of_session.values()])
    middles = np.array([median(runs.values[place] for place in places) for places in of_session.values()])
    per_session, per_day, p_value = analysis.slopes(starts, middles)
    return {
        "n": len(good),
        "failures": len(runs.counted) - len(good),
        "mean": float(values.mean()) if good else None,
        **{name: percentile(values, name) for name in PERCENTILES},
        "slope_percent_per_session": plain(per_session),
        "slope_percent_per_day": plain(per_day),
        "p_value": plain(p_value),
    }


def _periods(runs: Series, by: str) -> list[Period]:
    of_period: dict[int, list[int]] = {}
    for place, start in enumerate(runs.start_times):
        day = int(start // 86_400)
        of_period.setdefault(analysis.week_of(day) if by == "week" else day, []).append(place)
    found = []
    for day, places in sorted(of_period.items()):
        values = np.sort(np.array([runs.values[place] for place in places if runs.counted[place]]))
        found.append(
            Period(
                start_time=86_400.0 * day,
                n=values.size,
                failures=len(places) - values.size,
                p50=percentile(values, "p50"),
                p95=percentile(values, "p95"),
            )
        )
    return found


def _changes(runs: Series) -> list[Change]:
    good = [place for place, counted in enumerate(runs.counted) if counted]
    if len(good) > MOST_FOR_CHANGES:
        return []
    return [
        Change(
            session_id=runs.session_ids[good[each.index]],
            start_time=runs.start_times[good[each.index]],
            before_median=each.before_median,
            after_median=each.after_median,
            before_n=each.before_n,
            after_n=each.after_n,
            effect_percent=plain(each.effect_percent),
            p_value=plain(each.p_value),
        )
        for each in find_change_points([runs.values[place] for place in good])
    ]


def _limits(history: ServedHistory, runs: Series) -> list[Limit]:
    """Return the ``max`` rules on the duration of this series, the gravest first."""
    found = [
        Limit.from_records(
            rule,
            rule=rule.name,
            over=sum(
                value > rule.limit for value, good in zip(runs.values, runs.counted, strict=True) if good
            ),
        )
        for rule in read_alert_settings(history.settings.alerts, reading=True).rules
        if rule.kind == MAX.name
        and rule.limit is not None
        and rule.metric == "duration"
        and rule.is_about(runs)
    ]
    return sorted(found, key=lambda each: -SEVERITIES.index(each.severity))


def _sentence(series: SeriesName, whole: Mapping[str, Any], changes: Sequence[Change]) -> str:
    what = f"A run of {inert(series.pipeline)}" if series.step_name is None else inert(series.step_name)
    if changes:
        newest = changes[-1]
        percent = newest.effect_percent or 0.0
        return (
            f"{what} is {abs(percent):.0f} % {'slower' if percent > 0 else 'faster'} since "
            f"{local_time(newest.start_time)}: {duration_text(newest.before_median)} before, "
            f"{duration_text(newest.after_median)} after."
        )
    if not whole["n"]:
        return f"{what} failed in {counted(whole['failures'], 'run')} and succeeded in none."
    sentence = f"{what} takes {duration_text(whole['p50'])} in the median of {counted(whole['n'], 'run')}"
    slope, p_value = whole["slope_percent_per_session"], whole["p_value"]
    if slope is not None and p_value is not None and p_value < 0.01:
        percent = slope * whole["n"]
        return f"{sentence}, and drifts: {percent:+.0f} % over these runs."
    return f"{sentence}; its level did not move."
