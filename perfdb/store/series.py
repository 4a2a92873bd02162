"""Read the past of series: the whole of what counts, the last runs of each, or those of one.

Few queries and no frames: 100,000 sessions with their steps pass in seconds.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import CTE, Connection, ScalarSelect, Select, case, func, select

from perfdb.analysis.series import WAVE_DAYS, Past, Series, SeriesName, calm
from perfdb.measures import DURATION, Measure
from perfdb.store import measuring
from perfdb.store.dialects import is_shared
from perfdb.store.filters import UNCOUNTED, choose_sessions
from perfdb.store.models import COMPLETED_CODE, FAILED_CODE, series, sessions, steps, storable_name
from perfdb.store.reading import driver_rows, driver_rows_in_turn
from perfdb.store.together import for_each, together

if TYPE_CHECKING:
    from perfdb.analysis.waves import Wave

USUAL_OF = 20  # newest sessions, whose median is what is usual of late
_NEVER = 1e18  # epoch s
RUNS_FOR_WAVE = 2_000  # of all days together, about
MOST_STEPS = 20_000  # read for the last runs of one pipeline and mode


@dataclass(slots=True)
class _Making:
    """A series while it is read."""

    pipeline: str
    step_name: str | None
    mode: str
    metric: str = "duration"
    session_ids: list[str] = field(default_factory=list)
    start_times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    counted: list[bool] = field(default_factory=list)
    failed: list[bool] = field(default_factory=list)
    calm: list[float] = field(default_factory=list)  # of read_past: see Series
    began: list[float] = field(default_factory=list)  # of steps

    @property
    def has_values(self) -> bool:
        return not all(map(math.isnan, self.values))

    def add_all(self, runs: Iterable[tuple[Any, ...]]) -> None:
        """Add runs, unless they neither count nor failed.

        Args:
            runs: session, its start, duration, whether it counts, status; of steps also their own start.
        """
        kept = [run for run in runs if run[2] is not None and (run[3] or run[4] == FAILED_CODE)]
        if not kept:
            return
        session_ids, starts, durations, _, statuses, *began = zip(*kept, strict=True)
        failed = [status == FAILED_CODE for status in statuses]
        self.session_ids += session_ids
        self.start_times += starts
        self.values += durations
        self.counted += [not each for each in failed]
        self.failed += failed
        for each in began:
            self.began += each

    def made(self) -> Series:
        return Series(**{name: getattr(self, name) for name in self.__slots__})


def read_past(
    connection: Connection,
    *,
    step: str | None = None,
    measure: Measure = DURATION,
    last_of_all: bool = False,
    only_totals: bool = False,
    **filters: Any,
) -> Iterator[Series]:
    """Yield the runs that count of every series of the sessions that fit, totals first.

    Args:
        connection: of any role.
        step: only this step, without the totals.
        measure: what the values are of; runs without it are left out.
        last_of_all: ``last`` takes the newest of all sessions, as tables do, not of those that count.
        only_totals: without the steps.
        filters: choose sessions, see ``filters.choose_sessions``. A step that ran several times in a
            session counts once, with its mean.

    Raises:
        ValueError: a filter has a value that cannot be meant.
    """
    fitting = choose_sessions(connection, **filters, counted=None if last_of_all else True)
    if last_of_all:
        fitting = select(sessions.c.id).where(sessions.c.id.in_(fitting), sessions.c.counted.is_(True))
    chosen = fitting.cte("chosen")
    query = (
        select(
            sessions.c.id,
            sessions.c.series_id,
            sessions.c.session_id,
            sessions.c.start_time,
            sessions.c.total_duration,
            sessions.c.cpu_wait_s,
        )
        .join(chosen, chosen.c.id == sessions.c.id)
        .where(sessions.c.status == COMPLETED_CODE, sessions.c.total_duration.is_not(None))
        .order_by(sessions.c.start_time, sessions.c.id)
    )
    mean = _means(connection, measure, chosen, step)

    def values_of_sessions() -> dict[int, float] | None:
        if step is not None or measure.is_duration:
            return None
        return measuring.of_sessions(connection, measure, fitting)

    if is_shared(connection):
        kinds, ran, values, means = together(
            connection,
            lambda: connection.execute(select(series)).all(),
            lambda: driver_rows(connection, query),
            values_of_sessions,
            lambda: [] if only_totals else driver_rows(connection, mean),
        )
    else:
        kinds, ran = connection.execute(select(series)).all(), driver_rows_in_turn(connection, query)
        values, means = values_of_sessions(), [] if only_totals else driver_rows_in_turn(connection, mean)
    named = {row.id: row for row in kinds}
    places: dict[int, tuple[int, str, float]] = {}
    totals: dict[int, _Making] = {}
    for place, (pk, series_id, session_id, start, duration, wait) in enumerate(ran):
        places[pk] = (place, session_id, start)
        if values is not None:
            duration = values.get(pk)
            if duration is None:
                continue
        past = totals.get(series_id)
        if past is None:
            past = totals[series_id] = _begun(named[series_id], measure)
        past.session_ids.append(session_id)
        past.start_times.append(start)
        past.values.append(duration)
        past.calm.append(calm(duration, wait) if measure.is_duration else duration)
    if step is None:
        yield from map(_all_counted, totals.values())
    found: dict[int, list[tuple[int, str, float, float, float]]] = {}
    for series_id, pk, amount, wait in means:
        if pk in places and amount is not None:
            quiet = calm(float(amount), float(wait)) if measure.is_duration else float(amount)
            found.setdefault(series_id, []).append((*places[pk], float(amount), quiet))
    for series_id, rows in found.items():
        rows.sort()
        past = _begun(named[series_id], measure)
        _, past.session_ids, past.start_times, past.values, past.calm = map(list, zip(*rows, strict=True))
        yield _all_counted(past)


def _means(connection: Connection, measure: Measure, chosen: CTE, step: str | None) -> Select[Any]:
    value = measuring.of_steps(connection, measure)
    mean = (
        select(
            steps.c.series_id,
            steps.c.session_pk,
            func.avg(value),
            func.avg(func.coalesce(steps.c.cpu_wait_s, 0.0)),
        )
        .join(chosen, chosen.c.id == steps.c.session_pk)
        .where(steps.c.counted.is_(True))
        .group_by(steps.c.session_pk, steps.c.series_id)
    )
    if step is None:
        return mean
    return mean.where(
        steps.c.series_id.in_(select(series.c.id).where(series.c.step_name == storable_name(step)))
    )


def kinds_of(connection: Connection, session_ids: Sequence[str]) -> Counter[tuple[str, str]]:
    """Return how many of these sessions each pipeline and mode has."""
    found: Counter[tuple[str, str]] = Counter()
    for first in range(0, len(session_ids), 500):
        query = (
            select(series.c.pipeline, series.c.mode, func.count())
            .join(sessions, sessions.c.series_id == series.c.id)
            .where(sessions.c.session_id.in_(session_ids[first : first + 500]))
            .group_by(series.c.pipeline, series.c.mode)
        )
        for pipeline, mode, count in connection.execute(query):
            found[pipeline, mode] += count
    return found


def usual_seconds(
    connection: Connection, pipeline: str, mode: str, at: float | None = None
) -> dict[str | None, float]:
    """Return the median seconds of the total (None) and of each step in the newest sessions that ended.

    Args:
        connection: of any role.
        pipeline: theirs.
        mode: theirs.
        at: when a session began (epoch s), if what is usual at that hour and weekday is asked.
    """
    found, wave = together(
        connection,
        lambda: last_runs(connection, _total_of(pipeline, mode), last=USUAL_OF),
        lambda: None if at is None else wave_of(connection, pipeline, mode, at),
    )
    usual = {runs.step_name: median(runs.good.values) for runs in found if runs.good.values}
    if at is None or wave is None or None not in usual:
        return usual
    share = wave.usual_at(at) / usual[None]
    return {step_name: share * seconds for step_name, seconds in usual.items()}


def wave_of(connection: Connection, pipeline: str, mode: str, until: float) -> Wave | None:
    """Return the wave in the totals of the days until a moment; None where they have none."""
    from perfdb.analysis.waves import find_wave

    past = days_before(connection)(SeriesName(pipeline, None, mode), until).good
    return find_wave(past.start_times, past.values) if len(past) else None


def last_runs(
    connection: Connection,
    series_id: int | ScalarSelect[int],
    *,
    last: int,
    since: float | None = None,
    until: float | None = None,
    most_steps: int = MOST_STEPS,
) -> list[Series]:
    """Return the runs of a total's series and of its steps in its newest ``last`` ended sessions.

    Runs that are tagged ``warmup`` or ``ignore`` are left out, and sessions that did not start between two
    moments.
    """
    ended = _between(_ended(series_id, last), since, until)
    own, others = series.alias(), series.alias()
    of_kind = (own.c.id == series_id) & (others.c.pipeline == own.c.pipeline) & (others.c.mode == own.c.mode)
    chosen = ended.cte("chosen")
    query = _steps_in(chosen).limit(most_steps)
    newest_first, of_steps, kinds = for_each(
        connection, partial(driver_rows, connection), (ended, query, select(others).join(own, of_kind))
    )
    if not newest_first:
        return []
    names = {number: step_name for number, _, step_name, _ in kinds}
    _, pipeline, _, mode = kinds[0]
    total = _Making(pipeline, None, mode)
    oldest_first = newest_first[::-1]
    total.add_all(row[1:] for row in oldest_first)
    made = [total]
    for number, runs in _by_series(oldest_first, of_steps).items():  # of all names few ran in these sessions
        made.append(_Making(pipeline, names[number], mode))
        made[-1].add_all(runs)
    return [runs.made() for runs in made if runs is total or runs.values]


def _steps_in(chosen: CTE) -> Select[Any]:
    """Return a query for the steps of sessions, as ``_by_series`` takes them."""
    return (
        select(
            steps.c.session_pk,
            steps.c.series_id,
            steps.c.duration,
            steps.c.counted,
            steps.c.status,
            steps.c.start_time,
        )
        .select_from(chosen)
        .join(steps, steps.c.session_pk == chosen.c.id)
    )


def _by_series(
    oldest_first: Iterable[tuple[Any, ...]], of_steps: Iterable[tuple[Any, ...]]
) -> dict[int, list[tuple[Any, ...]]]:
    """Return by the number of their series the runs of steps, in the order of their sessions.

    Args:
        oldest_first: sessions, which begin with their number, their id and their start.
        of_steps: number of the session, of the series, then what ``add_all`` takes of a step.
    """
    of_session: dict[int, list[tuple[Any, ...]]] = {}
    for row in of_steps:
        of_session.setdefault(row[0], []).append(row)
    found: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for pk, session_id, start, *_ in oldest_first:
        for _, number, duration, counted, status, began in of_session.get(pk, ()):
            found[number].append((session_id, start, duration, counted, status, began))
    return found


def runs_of_series(
    connection: Connection,
    pipeline: str,
    step_name: str | None,
    mode: str,
    *,
    last: int,
    since: float | None = None,
    until: float | None = None,
    measure: Measure = DURATION,
    thinned: bool = False,
) -> Series:
    """Return the runs of one series in the newest ``last`` ended sessions between two moments.

    Runs that are tagged ``warmup`` or ``ignore`` are left out, and those without the measure; but where some
    have it, failed ones without have the value NaN. Thinned, about ``last`` sessions come from all of the
    time between the two moments.
    """
    runs = _Making(pipeline, step_name, mode, measure.name)
    total = _total_of(pipeline, mode)
    ended = _between(_ended(total, last), since, until)
    if thinned:
        ended = _thinned(ended, total, last, since, until)
    if step_name is None:
        newest_first, values = together(
            connection,
            lambda: driver_rows(connection, ended),
            lambda: (
                None
                if measure.is_duration
                else measuring.of_sessions(connection, measure, ended.with_only_columns(sessions.c.id))
            ),
        )
        rows: list[Any] = [
            (session_id, at, own if values is None else values.get(pk), *more)
            for pk, session_id, at, own, *more in newest_first[::-1]
        ]
    else:
        number = select(series.c.id).where(
            series.c.pipeline == pipeline, series.c.mode == mode, series.c.step_name == step_name
        )
        chosen = ended.cte("chosen")
        query = (
            select(
                chosen.c.session_id,
                chosen.c.start_time,
                measuring.of_steps(connection, measure),
                steps.c.counted,
                steps.c.status,
                steps.c.start_time,
            )
            .join(steps, steps.c.session_pk == chosen.c.id)
            .where(steps.c.series_id == number.scalar_subquery())
            .order_by(chosen.c.start_time, chosen.c.id, steps.c.seq)
        )
        rows = list(driver_rows(connection, query))
    if not measure.is_duration:
        rows = [
            (session_id, at, math.nan if value is None and more[1] == FAILED_CODE else value, *more)
            for session_id, at, value, *more in rows
        ]
    runs.add_all(rows)
    has_it = measure.is_duration or runs.has_values
    return runs.made() if has_it else Series(pipeline, step_name, mode, measure.name)


def days_before(connection: Connection, measure: Measure = DURATION) -> Past:
    """Return what reads the days until a moment, which know the wave of the day better than a few hours."""

    def read(name: SeriesName, newest: float) -> Series:
        return runs_of_series(
            connection,
            *name,
            last=RUNS_FOR_WAVE,
            since=newest - WAVE_DAYS * 86_400,
            until=math.nextafter(newest, math.inf),
            measure=measure,
            thinned=True,
        )

    return read


def usual_past(connection: Connection, last: int, measure: Measure = DURATION) -> Past:
    """Return what reads the ``last`` runs that count before a moment: they tell what is usual then."""

    def read(name: SeriesName, newest: float) -> Series:
        some = 2 * last  # of which some failed
        good = runs_of_series(connection, *name, last=some, until=newest, measure=measure).good
        return good.between(max(0, len(good) - last))

    return read


def days_of_each(connection: Connection, wanted: Mapping[SeriesName, float]) -> dict[SeriesName, Series]:
    """Return what ``days_before`` reads of durations, of many series until a moment of each.

    Those of one pipeline and mode until the same moment are read at once: their sessions are the same.
    """
    groups: dict[tuple[str, str, float], list[str | None]] = {}
    for (pipeline, step_name, mode), newest in wanted.items():
        groups.setdefault((pipeline, mode, newest), []).append(step_name)
    found = for_each(connection, lambda group: _days_of_kind(connection, group, groups[group]), groups)
    return {runs.name: runs for of_kind in found for runs in of_kind}


def newest_of_each(
    connection: Connection, wanted: Iterable[SeriesName], *, last: int, until: float | None
) -> dict[SeriesName, Series]:
    """Return what ``runs_of_series`` gives of durations, of many: those of one kind are read at once."""
    kinds: dict[tuple[str, str], list[str | None]] = {}
    for pipeline, step_name, mode in wanted:
        kinds.setdefault((pipeline, mode), []).append(step_name)

    def read(kind: tuple[str, str]) -> list[Series]:
        ended = _between(_ended(_total_of(*kind), last), None, until)
        return _runs_of_kind(connection, kind, kinds[kind], ended)

    return {runs.name: runs for of_kind in for_each(connection, read, kinds) for runs in of_kind}


def _days_of_kind(
    connection: Connection, group: tuple[str, str, float], step_names: Sequence[str | None]
) -> list[Series]:
    pipeline, mode, newest = group
    since, until = newest - WAVE_DAYS * 86_400, math.nextafter(newest, math.inf)
    total = _total_of(pipeline, mode)
    ended = _between(_ended(total, RUNS_FOR_WAVE), since, until)
    ended = _thinned(ended, total, RUNS_FOR_WAVE, since, until)
    return _runs_of_kind(connection, (pipeline, mode), step_names, ended)


def _total_of(pipeline: str, mode: str) -> ScalarSelect[int]:
    return (
        select(series.c.id)
        .where(series.c.pipeline == pipeline, series.c.mode == mode, series.c.step_name.is_(None))
        .scalar_subquery()
    )


def _runs_of_kind(
    connection: Connection, kind: tuple[str, str], step_names: Sequence[str | None], ended: Select[Any]
) -> list[Series]:
    """Return the runs of a total (None) and of steps in sessions of its, which ``_ended`` chose."""
    pipeline, mode = kind
    names = select(series.c.id, series.c.step_name).where(
        series.c.pipeline == pipeline,
        series.c.mode == mode,
        series.c.step_name.in_([name for name in step_names if name is not None]),
    )
    chosen = ended.with_only_columns(sessions.c.id).cte("chosen")
    query = _steps_in(chosen).where(steps.c.series_id.in_(names.with_only_columns(series.c.id)))
    newest_first, of_steps, named = for_each(
        connection, partial(driver_rows, connection), (ended, query, names)
    )
    oldest_first = newest_first[::-1]
    of_series = _by_series(oldest_first, of_steps)
    runs = {name: of_series.get(number, []) for number, name in named}
    runs[None] = [row[1:] for row in oldest_first]
    made = []
    for name in step_names:
        made.append(_Making(pipeline, name, mode))
        made[-1].add_all(runs.get(name, ()))
    return [each.made() for each in made]


def runs_beside(
    connection: Connection,
    pipeline: str,
    step_name: str | None,
    mode: str,
    moment: float,
    *,
    since: float | None,
    until: float | None,
    most: int,
    measure: Measure = DURATION,
) -> tuple[Series, Series, Series]:
    """Return the runs that count before a moment, those after it, and what comes then.

    They are of one series, of ``most`` sessions on either side between two other moments, one point for each.
    """
    name = connection, pipeline, step_name, mode
    further = (
        select(sessions.c.session_id, sessions.c.start_time)
        .where(sessions.c.series_id == _total_of(pipeline, mode), sessions.c.start_time >= moment)
        .order_by(sessions.c.start_time)
        .limit(1)
        .offset(most)
    )
    ends = [further]
    if until is not None:  # or what comes then is the first of the next level
        ends.append(further.offset(0).where(sessions.c.start_time >= until))
    # the one beyond is sought there and then: to ask for it first takes an exchange more
    beyond = further.with_only_columns(sessions.c.start_time).correlate(None).scalar_subquery()
    end: Any = func.coalesce(beyond, _NEVER)
    if until is not None:
        end = case((end < until, end), else_=until)
    before, after, *firsts = together(
        connection,
        lambda: runs_of_series(*name, last=most, since=since, until=moment, measure=measure),
        lambda: runs_of_series(*name, last=most, since=moment, until=end, measure=measure),
        *(partial(_first, connection, each) for each in ends),
    )
    found = min((each for each in firsts if each is not None), key=lambda each: each.start_time, default=None)
    later = _Making(pipeline, step_name, mode)
    if found is not None:
        later.add_all([(found.session_id, found.start_time, 0.0, True, COMPLETED_CODE)])
    return before.good.per_session()[0], after.good.per_session()[0], later.made()


def _first(connection: Connection, query: Select[Any]) -> Any:
    return connection.execute(query).first()


def _begun(row: Any, measure: Measure) -> _Making:
    return _Making(row.pipeline, row.step_name, row.mode, measure.name)


def _all_counted(past: _Making) -> Series:
    past.counted, past.failed = [True] * len(past.values), [False] * len(past.values)
    if past.calm == past.values:
        past.calm = []
    return past.made()


def _between(query: Select[Any], since: float | None, until: float | None) -> Select[Any]:
    if since is not None:
        query = query.where(sessions.c.start_time >= since)
    return query if until is None else query.where(sessions.c.start_time < until)


def _thinned(
    query: Select[Any], total: ScalarSelect[int], about: int, since: float | None, until: float | None
) -> Select[Any]:
    """Return a query for about so many of the sessions of a total's series between two moments."""
    # all of them, which the index counts alone: that a few do not count makes no difference
    every = func.coalesce(func.nullif((2 * func.count() + about) // (2 * about), 0), 1)
    began = _between(select(every).where(sessions.c.series_id == total), since, until)
    # hardly ever the same ones of pipelines and modes that take turns
    return query.where(sessions.c.id * 40_503 // 1_024 % began.scalar_subquery() == 0).limit(None)


def _ended(series_id: int | ScalarSelect[int], last: int) -> Select[Any]:
    return (
        select(
            sessions.c.id,
            sessions.c.session_id,
            sessions.c.start_time,
            sessions.c.total_duration,
            sessions.c.counted,
            sessions.c.status,
        )
        .where(
            sessions.c.series_id == series_id,
            sessions.c.status.in_((COMPLETED_CODE, FAILED_CODE)),
            ~UNCOUNTED,
        )
        .order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
        .limit(last)
    )
