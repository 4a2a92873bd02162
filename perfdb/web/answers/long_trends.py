"""The trend of a window with more runs than one answer reads: by what its days were together."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from perfdb.alerts.long_moves import days_of
from perfdb.alerts.moves import moves_of_series, near
from perfdb.analysis import trend_view as view
from perfdb.analysis.change_points import ChangePoint
from perfdb.analysis.course import drift
from perfdb.analysis.series import DAY_S, PERCENTILES, Series, SeriesName, monday
from perfdb.analysis.slopes import relative
from perfdb.analysis.trend_words import Taken, alert_words, finding, name_of, says_it_moved
from perfdb.history.values import to_builtin
from perfdb.measures import DURATION, Measure
from perfdb.records import Alert
from perfdb.store.alerts import read_alerts
from perfdb.store.buckets import ERROR_PERCENT, Together, percentiles_of_each
from perfdb.store.long_series import LongSeries, long_series
from perfdb.store.together import together
from perfdb.text import utc_time
from perfdb.vocabulary import CURRENT_STATES
from perfdb.web.queries import TrendQuery
from perfdb.web.schemas import AlertRow, Change, Limit, Mark, Period, Points, TrendAnswer
from perfdb.web.schemas import SeriesName as Named

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.analysis.regressions import Move

MOST_READ = 20_000  # runs of a window: of more its days tell
LEAST_DAYS = 10  # of fewer the hours are shown, and no day knows them
_SHORT_S = (LEAST_DAYS - 3) * DAY_S  # of which it begins and ends within a day, and a step on the next
_SHARES = [*PERCENTILES.values(), *((share, 1) for share in view.USUAL)]
_SAID = (
    f"counts are exact, percentiles within {ERROR_PERCENT} %: they come from daily figures; "
    "commits, models and hosts are marked where the level moved"
)


@dataclass(frozen=True, slots=True)
class LongTrend:
    """A long series, where its level moved, and its alerts."""

    of: LongSeries
    whole: Together
    shares: dict[int, list[float | None]]  # of each day, see _SHARES
    window: tuple[float, float]  # epoch s
    moves: list[Move]
    alerts: list[Alert]

    @property
    def around_moves(self) -> list[tuple[float, float]]:
        """From where to where the runs beside each move are, epoch s."""
        return [(move.runs.start_times[0], move.runs.start_times[-1]) for move in self.moves]

    @property
    def span(self) -> tuple[float, float]:
        """The first moment and the last one of its days, epoch s."""
        days = list(self.of.days)
        return float(DAY_S * days[0]), float(DAY_S * (days[-1] + 1))


def long_trend(
    connection: Connection,
    name: SeriesName,
    since: float,
    until: float | None,
    *,
    most_alerts: int,
    measure: Measure = DURATION,
) -> LongTrend | None:
    """Return a series between two moments if it is long there, and None if its runs can be read."""
    if (time.time() if until is None else until) - since <= _SHORT_S:
        return None
    found, alerts, of_days = together(
        connection,
        lambda: long_series(connection, name, since, until, most=MOST_READ, measure=measure),
        lambda: read_alerts(connection, "all", of_series=name, limit=most_alerts),
        lambda: days_of(connection, of=name, until=until, measure=measure),
    )
    if found is None or len(found.days) < LEAST_DAYS:
        return None
    shares = dict(zip(found.days, percentiles_of_each(found.days.values(), _SHARES), strict=True))
    window = since, DAY_S * (max(found.days) + 1.0) if until is None else until
    of_name = of_days.get(name, [])
    moves = moves_of_series(connection, name, of_name, measure=measure, newest=found.newest, until=until)
    whole = Together()
    for each in found.days.values():
        whole.merge(each)
    return LongTrend(found, whole, shares, window, near(moves, window), alerts)


def answer_of(
    trend: LongTrend,
    query: TrendQuery,
    choices: list[Named],
    hidden: int,
    marks: Sequence[Mark],
    limits: list[Limit],
    measure: Measure = DURATION,
) -> TrendAnswer:
    """Return what a page says and shows of it."""
    of, whole = trend.of, trend.whole
    p50, p90, p95, p99, *_ = whole.percentiles(_SHARES)
    longest = whole.high if whole.n else None
    by_day = {day: _period(day, each, trend.shares[day]) for day, each in of.days.items()}
    good = [(day, each.p50) for day, each in by_day.items() if each.p50 is not None]
    days = np.array([day for day, _ in good], dtype=float)
    slope = relative(days, np.array([each for _, each in good]))
    drifted = drift(days * DAY_S, math.nan, slope.per_x, slope.p_value, days.size)
    changes = [change_of(move.change, move.runs) for move in trend.moves]
    opened = [
        asdict(alert)
        for alert in trend.alerts
        if alert.state in CURRENT_STATES and alert.metric == measure.name
    ]
    top = _top(p95, longest, limits)
    sentence = finding(
        name_of(of.name.step_name, of.name.pipeline, measure),
        Taken(whole.n, p50 or math.nan, p95, longest or math.nan, whole.over),
        newest=changes[-1].model_dump() if changes else None,
        since=utc_time(changes[-1].start_time) if changes else "",
        alerts=[alert_words(alert) for alert in opened if says_it_moved(alert)],
        limits=[each.limit for each in limits],
        drifted=drifted,
        failures=whole.failures,
        measure=measure,
    )
    begins = [float(DAY_S * day) for day in by_day]
    unit = view.unit_of(begins)
    return TrendAnswer(
        series=Named(pipeline=of.name.pipeline, step_name=of.name.step_name, mode=of.name.mode),
        choices=choices,
        hidden_choices=hidden,
        sentence=f"{sentence}.",
        n=whole.n,
        failures=whole.failures,
        mean=whole.mean,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        longest=longest,
        slope_percent_per_session=None,
        slope_percent_per_day=to_builtin(slope.per_x),
        p_value=to_builtin(slope.p_value),
        drift_percent=drifted,
        points=_points(of, trend.shares, whole.n + whole.failures),
        top=top,
        beyond=_beyond(whole, top, measure.unit),
        pauses=[(begins[place - 1] + DAY_S, begins[place]) for place in view.pauses(begins)],
        shown_by=unit,
        cut=_SAID,
        periods=list(by_day.values()) if query.period == "day" else _weeks(of),
        period=query.period,
        bands_by=unit,
        bands=list(by_day.values()) if unit == "day" else _weeks(of),
        marks=list(marks),
        limits=limits,
        changes=changes,
        alerts=[
            AlertRow.from_records(alert)
            for alert in trend.alerts
            if alert.metric == measure.name and (alert.is_open or alert.since_time >= begins[0])
        ],
        measure=measure.name,
        unit=measure.unit,
        label=measure.words,
        better="higher" if measure.better == "higher" else "lower",
    )


def _period(day: int, figures: Together, shares: Sequence[float | None] | None = None) -> Period:
    p50, _, p95, *_ = shares or figures.percentiles(_SHARES)
    return Period(start_time=float(DAY_S * day), n=figures.n, failures=figures.failures, p50=p50, p95=p95)


def _weeks(of: LongSeries) -> list[Period]:
    weeks: dict[int, Together] = {}
    for day, each in of.days.items():
        weeks.setdefault(monday(day), Together()).merge(each)
    return [_period(first, each) for first, each in weeks.items()]


def change_of(change: ChangePoint, runs: Series) -> Change:
    """Return a change of these runs as an answer has it."""
    return Change.from_records(
        change,
        session_id=runs.session_ids[change.index],
        start_time=float(runs.start_times[change.index]),
        effect_percent=to_builtin(change.effect_percent),
        p_value=to_builtin(change.p_value),
    )


def _points(of: LongSeries, shares: Mapping[int, Sequence[float | None]], runs: int) -> Points:
    """Return the quickest and the slowest run of each day, with the line of the days where they are."""
    starts = [start for _, start, _ in of.outermost]
    known = {day: np.array(each, dtype=float) for day, each in shares.items() if each[0] is not None}
    middles = [DAY_S * (day + 0.5) for day in known]
    lines = [
        np.interp(starts, middles, [each[place] for each in known.values()]).tolist() if known else []
        for place in (0, len(PERCENTILES), len(PERCENTILES) + 1)
    ]
    return Points(
        session_id=[session_id for session_id, _, _ in of.outermost],
        start_time=starts,
        duration=[value for _, _, value in of.outermost],
        failed=[False] * len(starts),
        median=lines[0],
        low=lines[1],
        high=lines[2],
        of=runs,
    )


def _top(p95: float | None, longest: float | None, limits: Sequence[Limit]) -> float:
    """Return the scale of all runs, of which ``view.scale_top`` needs to know these two alone."""
    if longest is None:
        return 0.0
    runs = [longest] if p95 is None else [*[p95] * 99, longest]
    return view.scale_top(runs, [each.limit for each in limits])


def _beyond(whole: Together, top: float, unit: str) -> str:
    over = whole.over(top)
    return view.beyond_said(over, whole.high, unit) if over else ""
