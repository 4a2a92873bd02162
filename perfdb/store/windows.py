"""Read the last runs of each series of a session: what the rules look at.

Two queries along the indexes, bounded by the number of runs: the time does not depend on how long
the history is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from statistics import fmean
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from perfdb.analysis.series import DAY_S, Series, SeriesName, Spent, calm, day_sums
from perfdb.measures import METRICS, NAMES, Measure
from perfdb.store import measuring
from perfdb.store.dialects import is_shared
from perfdb.store.filters import UNCOUNTED
from perfdb.store.models import (
    COMPLETED_CODE,
    FAILED_CODE,
    alerts,
    environments,
    series,
    sessions,
    steps,
)
from perfdb.store.reading import driver_rows
from perfdb.store.together import for_each, together
from perfdb.vocabulary import COMPLETED, FAILED, STATUSES

MOST_SERIES = 500  # a session with a number in its step names has as many series as steps
MOST_STEPS = 40_000  # read for one session's rules; more steps a session make a shorter window
_MOST_ERRORS = 200
_AT_ONCE = 10_000  # sessions that a statement names


@dataclass(frozen=True, slots=True)
class SessionRef:
    """A session of the history: its keys, its series and when it began."""

    pk: int
    session_id: str
    pipeline: str
    mode: str
    start_time: float
    status: str
    total_series: int


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that completed or failed."""

    session_id: str
    series_id: int  # of its total: pipeline and mode
    start_time: float  # epoch s
    total_duration: float | None  # s
    status: str

    @property
    def end_time(self) -> float:
        """When it ended: epoch s."""
        return self.start_time + (self.total_duration or 0.0)


def _session_ref(row: Any) -> SessionRef:
    """Return what a row with the columns of ``_OF_REF`` says."""
    return SessionRef(
        row.id, row.session_id, row.pipeline, row.mode, row.start_time, STATUSES[row.status], row.series_id
    )


def find_session_ref(connection: Connection, session_id: str) -> SessionRef | None:
    """Return what the queries need to know of a session; None when it is not there."""
    row = connection.execute(_SESSION_REF, {"wanted": session_id}).first()
    if row is None:
        return None
    return SessionRef(
        row.id, session_id, row.pipeline, row.mode, row.start_time, STATUSES[row.status], row.series_id
    )


def last_run_of(connection: Connection, alert_id: int) -> tuple[SessionRef, int] | None:
    """Return the session that confirmed an alert last, and how many runs there were from its move until then.

    None when retention took the session.
    """
    again = sessions.alias()
    since = (
        select(func.count())
        .select_from(again)
        .where(
            again.c.series_id == sessions.c.series_id,
            again.c.status.in_((COMPLETED_CODE, FAILED_CODE)),
            again.c.start_time.between(alerts.c.since_time, sessions.c.start_time),
        )
        .correlate(sessions, alerts)
        .scalar_subquery()
    )
    query = (
        select(*_OF_REF, since)
        .join(alerts, alerts.c.last_session_id == sessions.c.session_id)
        .join(series, series.c.id == sessions.c.series_id)
        .where(alerts.c.id == alert_id)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    return _session_ref(row), row[7]


def find_ended(connection: Connection, session_ids: Iterable[str]) -> list[EndedSession]:
    """Return those of these sessions that completed or failed, in the order in which they began."""
    wanted, found = list(session_ids), []
    for first in range(0, len(wanted), 500):
        query = select(
            sessions.c.session_id,
            sessions.c.series_id,
            sessions.c.start_time,
            sessions.c.total_duration,
            sessions.c.status,
        ).where(
            sessions.c.session_id.in_(wanted[first : first + 500]),
            sessions.c.status.in_((COMPLETED_CODE, FAILED_CODE)),
        )
        found += [EndedSession(*row[:4], STATUSES[row.status]) for row in connection.execute(query)]
    return sorted(found, key=lambda each: (each.start_time, each.session_id))


def runs_since(connection: Connection, session: SessionRef, since: float) -> int:
    """Return how many sessions of a session's pipeline and mode ended, from one moment until that session."""
    return int(connection.execute(_SINCE, _since(session, since)).scalar_one())


def session_after(connection: Connection, session: SessionRef, since: float, runs: int) -> SessionRef:
    """Return the session that many after the first one since a moment; the given one if that is earlier."""
    found = connection.execute(_AFTER, _since(session, since) | {"runs": runs}).scalar()
    return session if found is None else find_session_ref(connection, found) or session


def _since(session: SessionRef, since: float) -> dict[str, float]:
    return {"series_id": session.total_series, "since": since, "until": session.start_time}


def newest_sessions(
    connection: Connection, pipeline: str | None = None, *, good: bool = False
) -> list[SessionRef]:
    """Return the newest ended session of each pipeline and mode; with ``good`` the newest that counts."""
    newest = (_NEWEST_GOOD if good else _NEWEST).where(_AGAIN.c.series_id == series.c.id).correlate(series)
    query = (
        select(*_OF_REF)
        .select_from(series)
        .join(sessions, sessions.c.id == newest.scalar_subquery())
        .where(series.c.step_name.is_(None))
    )
    if pipeline is not None:
        query = query.where(series.c.pipeline == pipeline)
    found = map(_session_ref, connection.execute(query))
    return sorted(found, key=lambda session: (session.pipeline, session.mode))


def newest_alike(connection: Connection, session_id: str) -> tuple[SessionRef, list[int] | None] | None:
    """Return the newest run of a session's pipeline and mode, and the series of the steps of both.

    The session itself, without steps, where the newest run is older because this one is not to count, or ran
    other steps: between them others may have run those of the session. None when it is not in the database.
    A run that is not to begin yet, on a host whose clock is ahead, is not the newest of others.
    """
    session = find_session_ref(connection, session_id)
    if session is None:
        return None
    ran = _series_of_steps(connection, session.pk)
    wanted = {"series_id": session.total_series, "until": max(session.start_time, time.time()), "runs": 1}
    newest = connection.execute(_SESSIONS, wanted).first()
    if newest is not None and newest.id == session.pk:
        return session, ran
    if (
        newest is None
        or newest.start_time <= session.start_time
        or _series_of_steps(connection, newest.id) != ran
    ):
        return session, None
    return find_session_ref(connection, newest.session_id) or session, ran


def _series_of_steps(connection: Connection, pk: int) -> list[int]:
    return sorted(each.series_id for each in connection.execute(_STEP_NAMES, {"pk": pk}))


def hosts_since(connection: Connection, session: SessionRef, since: float) -> set[str | None]:
    """Return the hosts of a session's series from a moment until that session."""
    query = (
        select(environments.c.host)
        .select_from(sessions)
        .outerjoin(environments, environments.c.id == sessions.c.environment_id)
        .where(
            sessions.c.series_id == session.total_series,
            sessions.c.start_time.between(since, session.start_time),
        )
        .distinct()
    )
    return set(connection.execute(query).scalars())


def series_with_several(connection: Connection) -> set[int]:
    """Return the series of totals that have more than one session with a duration."""
    ended = select(sessions.c.id).where(
        sessions.c.series_id == series.c.id, sessions.c.total_duration.is_not(None)
    )
    second = ended.limit(1).offset(1).correlate(series).scalar_subquery()  # to count all takes all of them
    several = select(series.c.id).where(series.c.step_name.is_(None), second.is_not(None))
    return set(connection.execute(several).scalars())


def last_error(connection: Connection, session: SessionRef, step_name: str | None) -> str | None:
    """Return why a session failed, or one of its steps."""
    if step_name is None:
        query = select(sessions.c.error_message).where(sessions.c.id == session.pk)
    else:
        query = (
            select(steps.c.error_message)
            .join(series, series.c.id == steps.c.series_id)
            .where(steps.c.session_pk == session.pk, series.c.step_name == step_name)
            .where(steps.c.error_message.is_not(None), steps.c.status == FAILED_CODE)
            .order_by(steps.c.seq)
            .limit(1)
        )
    found = connection.execute(query).scalar()
    return None if found is None else str(found)


def errors_since(
    connection: Connection, session: SessionRef, step_name: str | None, since: float
) -> list[str]:
    """Return what the newest failures said of a session's series, or of one of its steps, the newest first.

    Of more than 200 the others are not read.

    Args:
        connection: of any role.
        session: the last session that is looked at.
        step_name: None is the session's total.
        since: of sessions that began then or later (epoch s).
    """
    of_session = (
        sessions.c.series_id == session.total_series,
        sessions.c.start_time.between(since, session.start_time),
    )
    if step_name is None:
        query = select(sessions.c.error_message).where(*of_session, sessions.c.status == FAILED_CODE)
    else:
        query = (
            select(steps.c.error_message)
            .join(sessions, sessions.c.id == steps.c.session_pk)
            .join(series, series.c.id == steps.c.series_id)
            .where(*of_session, steps.c.status == FAILED_CODE, series.c.step_name == step_name)
        )
    newest = query.order_by(sessions.c.start_time.desc(), sessions.c.id.desc()).limit(_MOST_ERRORS)
    return [str(text or "") for text in connection.execute(newest).scalars()]


def read_windows(
    connection: Connection,
    session: SessionRef,
    runs: int,
    *,
    metrics: Collection[str] = ("duration",),
    attributes: Mapping[str | None, Collection[Measure]] | None = None,
    only: SeriesName | None = None,
    most_steps: int = MOST_STEPS,
) -> list[Series]:
    """Return the last runs of the total and of each step name of a session, up to that session.

    Of each metric there is a series, that of the total's duration first. A step that runs several times in a
    session has the mean of its runs, and the highest and lowest beside it.

    Args:
        connection: of any role.
        session: the one that ended; sessions that began later are not looked at.
        runs: how many sessions at most: completed or failed ones, and none of those tagged as not to count.
        metrics: of ``duration``, ``cpu_s`` and ``rss_peak_bytes``.
        attributes: other measures to read, by step name; None is the session's total.
        only: of the steps only that of this series, so that more sessions can be read.
        most_steps: more of them in so many sessions make it fewer sessions.
    """
    if session.status not in (COMPLETED, FAILED):
        return []
    attributes = attributes or {}
    ran, found = _steps_and_sessions(connection, session, runs, only, most_steps)
    if not found:
        return []
    order = {each.id: each for each in found}
    names = {each.series_id: each.step_name for each in ran}
    ordered, of_session = sorted(metrics), list(attributes.get(None, ()))
    wanted_of = {
        number: list({each.name: each for of in (step_name, "*") for each in attributes.get(of, ())}.values())
        for number, step_name in names.items()
    }
    pks = list(order)
    pieces = [pks[first : first + _AT_ONCE] for first in range(0, len(pks), _AT_ONCE)]

    def values_of(measure: Measure) -> dict[int, float]:
        chosen = (select(sessions.c.id).where(sessions.c.id.in_(piece)) for piece in pieces)
        return {
            pk: value
            for each in chosen
            for pk, value in measuring.of_sessions(connection, measure, each).items()
        }

    def steps_of(piece: list[int]) -> Sequence[_Step]:
        return driver_rows(connection, _steps_query(tuple(ordered)), {"pks": piece, "wanted": list(names)})

    def attributes_of(number: int) -> dict[str, Sequence[float | None]]:
        measures = wanted_of[number]
        found: dict[str, Sequence[float | None]] = {}
        for piece in pieces if measures else ():
            found |= _attributes_of(connection, number, piece, measures)
        return found

    of_sessions, rows, of_steps = together(
        connection,
        lambda: for_each(connection, values_of, of_session),
        lambda: chain.from_iterable(for_each(connection, steps_of, pieces if names else ())),
        lambda: for_each(connection, attributes_of, wanted_of),
    )
    further = {each.name: values for each, values in zip(of_session, of_sessions, strict=True)}
    made = _total_series(session, found, metrics, further)
    grouped: dict[int, list[_Step]] = {number: [] for number in names}
    for row in rows:
        grouped[row[1]].append(row)
    place = {pk: at for at, pk in enumerate(order)}
    for (number, step_name), given in zip(names.items(), of_steps, strict=True):
        runs_of = _by_run(sorted(grouped[number], key=lambda row: place[row[0]]))
        # called off or cut off each time: neither a good run nor a failure
        runs_of = [row for row in runs_of if row[2] in (COMPLETED_CODE, FAILED_CODE)]
        ids = [order[row[0]].session_id for row in runs_of]
        starts = [order[row[0]].start_time for row in runs_of]
        failed = [row[2] == FAILED_CODE for row in runs_of]
        lists = _lists_by_metric(runs_of, ordered) | _lists_of(given, ids, wanted_of[number])
        made += _series_of(session, step_name, ids, starts, failed, lists)
    return made


def _steps_and_sessions(
    connection: Connection, session: SessionRef, runs: int, only: SeriesName | None, most_steps: int
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the names of a session's steps, and the last sessions up to it, the oldest first.

    There are no sessions where it is gone, and fewer of many steps; see ``read_windows``.
    """
    wanted = {"series_id": session.total_series, "until": session.start_time}
    if is_shared(connection):  # one exchange, though of sessions of many steps too many runs are looked at
        ran, newest_first = together(
            connection,
            lambda: connection.execute(_STEP_NAMES, {"pk": session.pk}).all(),
            lambda: connection.execute(_SESSIONS, wanted | {"runs": runs}).all(),
        )
    else:
        ran, newest_first = connection.execute(_STEP_NAMES, {"pk": session.pk}).all(), None
    if only is not None:
        ran = [each for each in ran if each.step_name == only.step_name]
    count = sum(each.times for each in ran)
    runs = max(1, min(runs, max(40, most_steps // max(1, count))))
    if newest_first is None:
        newest_first = connection.execute(_SESSIONS, wanted | {"runs": runs}).all()
    found = newest_first[:runs][::-1]
    if not found or found[-1].id != session.pk:
        found = [each for each in found if each.id != session.pk]  # of the same instant, or tagged: out
        last = connection.execute(_OWN_SESSION, {"pk": session.pk}).all()
        return ran, [*found, *last] if last else []
    return ran, found


def _lists_by_metric(runs_of: Sequence[Any], metrics: Sequence[str]) -> dict[str, _Lists]:
    """Return the values of a step's runs, three columns a metric: mean, highest and lowest."""
    found = {}
    for first, metric in zip(range(5, 5 + 3 * len(metrics), 3), metrics, strict=True):
        mean, high, low = ([row[at] if row[3] else None for row in runs_of] for at in range(first, first + 3))
        waits = [row[4] for row in runs_of] if metric == "duration" else []
        found[metric] = _lists(mean, high, low, waits)
    return found


def with_day_sums(connection: Connection, window: Series, measure: Measure) -> Series:
    """Return a window of ``read_windows`` with what the day of each run had come to when it ended.

    Every session of the pipeline and mode counts, however it ended and whatever its tags: it was paid for.

    Args:
        connection: of any role.
        window: of a step name, or of the total.
        measure: what the window is of.
    """
    if not window.start_times:
        return window
    # of a day that began elsewhere, and of those that began later and ended earlier
    since, until = window.start_times[0] - 2 * DAY_S, window.start_times[-1] + DAY_S
    of_series = (
        sessions.c.series_id.in_(
            select(series.c.id).where(
                series.c.pipeline == window.pipeline,
                series.c.step_name.is_(None),
                series.c.mode == window.mode,
            )
        ),
        sessions.c.start_time.between(since, until),
    )
    chosen = select(sessions.c.id).where(*of_series)

    def values_of() -> dict[int, float]:
        if window.step_name is None:
            return measuring.of_sessions(connection, measure, chosen)
        value = func.sum(measuring.of_steps(connection, measure))
        query = (
            select(steps.c.session_pk, value)
            .join(series, series.c.id == steps.c.series_id)
            .where(steps.c.session_pk.in_(chosen), series.c.step_name == window.step_name)
            .group_by(steps.c.session_pk)
        )
        return {pk: float(found) for pk, found in connection.execute(query) if found is not None}

    columns = (
        sessions.c.id, sessions.c.session_id, sessions.c.start_time, sessions.c.total_duration,
        sessions.c.utc_offset,
    )  # fmt: skip
    values, ran = together(
        connection, values_of, lambda: driver_rows(connection, select(*columns).where(*of_series))
    )
    sums = day_sums(
        Spent(session_id, start, start + (duration or 0.0), offset, values[pk])
        for pk, session_id, start, duration, offset in ran
        if pk in values
    )
    return replace(window, of_day=[sums.get(each, math.nan) for each in window.session_ids])


def offsets_of(connection: Connection, since: float) -> dict[str, int]:
    """Return the offset of the local time, in s, of the sessions that began since a moment."""
    query = select(sessions.c.session_id, sessions.c.utc_offset).where(sessions.c.start_time >= since)
    return dict(driver_rows(connection, query))


_Step = tuple[Any, ...]
"""Session, series, status, whether it counts, wait for a CPU, and of each metric mean, highest and lowest."""


@dataclass(frozen=True, slots=True)
class _Lists:
    """The values of one metric; NaN where a run does not count."""

    values: list[float]
    highest: list[float]
    lowest: list[float]
    calm: list[float]
    counted: list[bool]


def _lists(
    mean: Sequence[float | None],
    highest: Sequence[float | None] | None = None,
    lowest: Sequence[float | None] | None = None,
    waits: Sequence[float | None] = (),
) -> _Lists:
    """Return the values of runs, with the highest and lowest of each where they are others."""
    values = _floats(mean)
    without = values
    if any(waits):
        without = [calm(value, wait) for value, wait in zip(values, waits, strict=True)]
    high, low = (values if column is None else _floats(column) for column in (highest, lowest))
    return _Lists(values, high, low, without, [each is not None for each in mean])


def _floats(column: Iterable[float | None]) -> list[float]:
    return [math.nan if each is None else float(each) for each in column]


def _by_run(rows: list[_Step]) -> list[_Step]:
    """Return one row for each run of steps, in the order in which runs are; most steps run once."""
    if len({row[0] for row in rows}) == len(rows):
        return rows
    return [_together(list(several)) for _, several in groupby(rows, key=itemgetter(0))]


def _together(rows: list[_Step]) -> _Step:
    """Return several steps of a run as one: once failed is failed."""
    if len(rows) == 1:
        return rows[0]
    statuses = [row[2] for row in rows]
    status = next((code for code in (FAILED_CODE, COMPLETED_CODE) if code in statuses), statuses[0])
    counting = [row for row in rows if row[3]]
    wait = fmean(row[4] or 0.0 for row in counting) if counting else None
    made: list[float | None] = []
    for at in range(5, len(rows[0]), 3):
        values = [row[at] for row in counting if row[at] is not None]
        made += [fmean(values), max(values), min(values)] if values else [None] * 3
    return (*rows[0][:2], status, bool(counting), wait, *made)


def _total_series(
    session: SessionRef,
    found: Sequence[Any],
    metrics: Collection[str],
    further: Mapping[str, Mapping[int, float]],
) -> list[Series]:
    ids = [row.session_id for row in found]
    starts = [row.start_time for row in found]
    failed = [row.status == FAILED_CODE for row in found]
    lists: dict[str, _Lists] = {}
    for metric in [*sorted(metrics, key=lambda metric: metric != "duration"), *further]:
        if metric in further:
            column = [further[metric].get(row.id) if row.counted else None for row in found]
        else:
            own = attrgetter("total_duration" if metric == "duration" else metric)
            column = [own(row) if row.counted else None for row in found]
        waits = [row.cpu_wait_s for row in found] if metric == "duration" else []
        lists[metric] = _lists(column, waits=waits)
    return _series_of(session, None, ids, starts, failed, lists)


def _series_of(
    session: SessionRef,
    step_name: str | None,
    ids: list[str],
    starts: list[float],
    failed: list[bool],
    lists: Mapping[str, _Lists],
) -> list[Series]:
    """Return the series of a step, or of the total, one for each metric."""
    return [
        Series(
            session.pipeline,
            step_name,
            session.mode,
            metric,
            ids,
            starts,
            each.values,
            each.counted,
            failed,
            each.highest,
            each.lowest,
            each.calm,
        )
        for metric, each in lists.items()
    ]


def _attributes_of(
    connection: Connection,
    number: int,
    pks: list[int],
    measures: Collection[Measure],
) -> dict[str, Sequence[float | None]]:
    """Read the further measures of the steps of a series: mean, highest and lowest of each, by session."""
    query = select(sessions.c.session_id).join(steps, sessions.c.id == steps.c.session_pk)
    query = query.where(steps.c.session_pk.in_(pks), steps.c.series_id == number, steps.c.counted.is_(True))
    for each in measures:
        value = measuring.of_steps(connection, each)
        query = query.add_columns(func.avg(value), func.max(value), func.min(value))
    return {row[0]: row[1:] for row in connection.execute(query.group_by(sessions.c.session_id))}


def _lists_of(
    given: Mapping[str, Sequence[float | None]], session_ids: Sequence[str], measures: Collection[Measure]
) -> dict[str, _Lists]:
    none = (None,) * (3 * len(measures))
    runs = [given.get(session_id, none) for session_id in session_ids]
    columns = [[run[at] for run in runs] for at in range(len(none))]
    return {each.name: _lists(*columns[3 * at : 3 * at + 3]) for at, each in enumerate(measures)}


# --- statements: built once, so that SQLAlchemy compiles them once ------------------------------------

_SESSION_REF = (
    select(
        sessions.c.id,
        sessions.c.series_id,
        sessions.c.start_time,
        sessions.c.status,
        series.c.pipeline,
        series.c.mode,
    )
    .join(series, series.c.id == sessions.c.series_id)
    .where(sessions.c.session_id == bindparam("wanted"))
)
_STEP_NAMES = (
    select(steps.c.series_id, series.c.step_name, func.count().label("times"))
    .join(series, series.c.id == steps.c.series_id)
    .where(steps.c.session_pk == bindparam("pk"))
    .group_by(steps.c.series_id, series.c.step_name)
    .order_by(func.max(steps.c.duration).desc())
    .limit(MOST_SERIES)
)
_ENDED = (
    select(
        sessions.c.id,
        sessions.c.session_id,
        sessions.c.start_time,
        sessions.c.status,
        sessions.c.counted,
        sessions.c.total_duration,
        *(sessions.c[name] for name in NAMES),
    )
    .where(sessions.c.status.in_((COMPLETED_CODE, FAILED_CODE)))
    .where(~UNCOUNTED)
)
_OF_SERIES = (
    sessions.c.series_id == bindparam("series_id"),
    sessions.c.status.in_((COMPLETED_CODE, FAILED_CODE)),
    sessions.c.start_time.between(bindparam("since"), bindparam("until")),
)
_SINCE = select(func.count()).select_from(sessions).where(*_OF_SERIES)
_AFTER = (
    select(sessions.c.session_id)
    .where(*_OF_SERIES)
    .order_by(sessions.c.start_time, sessions.c.id)
    .limit(1)
    .offset(bindparam("runs"))
)
_OF_REF = (
    sessions.c.id, sessions.c.session_id, series.c.pipeline, series.c.mode, sessions.c.start_time,
    sessions.c.status, sessions.c.series_id,
)  # fmt: skip
_AGAIN = sessions.alias()
_NEWEST = (
    select(_AGAIN.c.id)
    .where(_AGAIN.c.status.in_((COMPLETED_CODE, FAILED_CODE)))
    .order_by(_AGAIN.c.start_time.desc(), _AGAIN.c.id.desc())
    .limit(1)
)
_NEWEST_GOOD = _NEWEST.where(_AGAIN.c.status == COMPLETED_CODE, _AGAIN.c.counted.is_(True))
_COLUMNS = {name: steps.c[name] for name in METRICS}


_SESSIONS = (
    _ENDED.where(sessions.c.series_id == bindparam("series_id"), sessions.c.start_time <= bindparam("until"))
    .order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
    .limit(bindparam("runs"))
)
_OWN_SESSION = _ENDED.where(sessions.c.id == bindparam("pk"))


@cache
def _steps_query(metrics: tuple[str, ...]) -> Select[Any]:
    """Return the query of the steps themselves: to group them here costs a third of what it costs there."""
    return select(
        steps.c.session_pk,
        steps.c.series_id,
        steps.c.status,
        steps.c.counted,
        steps.c.cpu_wait_s,
        *(_COLUMNS[metric] for metric in metrics for _ in range(3)),
    ).where(
        steps.c.session_pk.in_(bindparam("pks", expanding=True)),
        steps.c.series_id.in_(bindparam("wanted", expanding=True)),
    )
