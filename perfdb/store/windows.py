"""Read the last runs of each series of a session: what the rules look at.

Two queries along the indexes, bounded by the number of runs: the time does not depend on how long
the history is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, exists, func, select

from perfdb.records import COMPLETED, FAILED, STATUSES
from perfdb.store.models import (
    COMPLETED_CODE,
    FAILED_CODE,
    UNCOUNTED_TAGS,
    from_json,
    series,
    session_tags,
    sessions,
    steps,
)

MOST_SERIES = 500  # a session with a number in its step names has as many series as steps
MOST_STEPS = 40_000  # read for one session's rules; more steps a session make a shorter window

Triple = tuple[float, float, float]
"""Mean, highest and lowest of a metric within one session; a step may run several times."""


@dataclass(frozen=True, slots=True)
class Place:
    """A session and where it stands in the history."""

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


@dataclass(slots=True)
class Window:
    """The last runs of one series, oldest first; the lists have an entry per session.

    ``numbers`` holds per metric what its counted runs took, None where a run does not count.
    """

    series_id: int
    step_name: str | None
    session_ids: list[str] = field(default_factory=list)
    start_times: list[float] = field(default_factory=list)
    failed: list[bool] = field(default_factory=list)
    numbers: dict[str, list[Triple | None]] = field(default_factory=dict)


def find_place(connection: Connection, session_id: str) -> Place | None:
    """Return where a session stands; None when it is not there."""
    row = connection.execute(_PLACE, {"wanted": session_id}).first()
    if row is None:
        return None
    return Place(
        row.id, session_id, row.pipeline, row.mode, row.start_time, STATUSES[row.status], row.series_id
    )


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


def runs_since(connection: Connection, place: Place, since: float) -> int:
    """Return how many sessions of a session's pipeline and mode ended, from one moment until that session."""
    return int(connection.execute(_SINCE, _since(place, since)).scalar_one())


def place_after(connection: Connection, place: Place, since: float, runs: int) -> Place:
    """Return the session that is so many after the first since a moment; the given one if that is earlier."""
    found = connection.execute(_AFTER, _since(place, since) | {"runs": runs}).scalar()
    return place if found is None else find_place(connection, found) or place


def _since(place: Place, since: float) -> dict[str, float]:
    return {"series_id": place.total_series, "since": since, "until": place.start_time}


def newest_places(connection: Connection, pipeline: str | None = None) -> list[Place]:
    """Return the newest ended session of each pipeline and mode."""
    query = select(series.c.id, series.c.pipeline).where(series.c.step_name.is_(None))
    found = []
    for series_id, of_pipeline in connection.execute(query).all():
        if pipeline is not None and of_pipeline != pipeline:
            continue
        session_id = connection.execute(_NEWEST, {"series_id": series_id}).scalar()
        place = find_place(connection, session_id) if session_id is not None else None
        if place is not None:
            found.append(place)
    return sorted(found, key=lambda place: (place.pipeline, place.mode))


def last_error(connection: Connection, place: Place, step_name: str | None) -> str | None:
    """Return why a session failed, or one of its steps."""
    if step_name is None:
        query = select(sessions.c.error_message).where(sessions.c.id == place.pk)
    else:
        query = (
            select(steps.c.error_message)
            .join(series, series.c.id == steps.c.series_id)
            .where(steps.c.session_pk == place.pk, series.c.step_name == step_name)
            .where(steps.c.error_message.is_not(None), steps.c.status == FAILED_CODE)
            .order_by(steps.c.seq)
            .limit(1)
        )
    found = connection.execute(query).scalar()
    return None if found is None else str(found)


def errors_since(
    connection: Connection, place: Place, step_name: str | None, since: float, most: int = 200
) -> list[str]:
    """Return what the newest failures said of a session's series, or of one of its steps, the newest first.

    Args:
        connection: of any role.
        place: the last session that is looked at.
        step_name: None is the session's total.
        since: of sessions that began then or later (epoch s).
        most: how many at most.
    """
    of_session = (
        sessions.c.series_id == place.total_series,
        sessions.c.start_time.between(since, place.start_time),
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
    newest = query.order_by(sessions.c.start_time.desc(), sessions.c.id.desc()).limit(most)
    return [str(text or "") for text in connection.execute(newest).scalars()]


def read_windows(
    connection: Connection,
    place: Place,
    runs: int,
    *,
    metrics: Collection[str] = ("duration",),
    attributes: Mapping[str | None, Collection[str]] | None = None,
) -> list[Window]:
    """Return a window for the total and for each step name of a session, up to that session.

    Args:
        connection: of any role.
        place: the session; sessions that began later are not looked at.
        runs: how many sessions at most: completed or failed ones, and none of those tagged as not to count.
        metrics: of ``duration``, ``cpu_s`` and ``rss_peak_bytes``.
        attributes: numeric attributes to read, by step name; None is the session.
    """
    if place.status not in (COMPLETED, FAILED):
        return []
    named = connection.execute(_STEP_NAMES, {"pk": place.pk}).all()
    count = sum(each.times for each in named)
    runs = max(1, min(runs, max(40, MOST_STEPS // max(1, count))))
    with_facts = bool((attributes or {}).get(None))
    found = connection.execute(
        _sessions_query(with_facts),
        {"series_id": place.total_series, "until": place.start_time, "runs": runs},
    ).all()[::-1]
    if not found or found[-1].id != place.pk:
        found = [each for each in found if each.id != place.pk]  # of the same instant, or tagged: out
        own = connection.execute(_own_session(with_facts), {"pk": place.pk}).all()
        if not own:
            return []
        found += own
    order = {each.id: each for each in found}
    windows = [_total_window(place.total_series, order, metrics, attributes)]
    by_series = {each.series_id: Window(each.series_id, each.step_name) for each in named}
    for window in by_series.values():
        for metric in metrics:
            window.numbers[metric] = []
    if by_series:
        rows = connection.execute(
            _steps_query(tuple(sorted(metrics))), {"pks": list(order), "wanted": list(by_series)}
        )
        grouped: dict[int, list[Any]] = {}
        for row in rows:
            grouped.setdefault(row[0], []).append(row)
        for pk, session in order.items():
            for row in grouped.get(pk, ()):
                if row[2] is None:  # called off or cut off each time: neither a good run nor a failure
                    continue
                window = by_series[row[1]]
                window.session_ids.append(session.session_id)
                window.start_times.append(session.start_time)
                window.failed.append(bool(row[2]))
                for place_of, metric in enumerate(sorted(metrics)):
                    triple = row[3 + 3 * place_of : 6 + 3 * place_of]
                    window.numbers[metric].append(
                        None if triple[0] is None else (float(triple[0]), float(triple[1]), float(triple[2]))
                    )
        _add_attributes(connection, by_series, list(order), attributes or {})
    return [*windows, *by_series.values()]


def _total_window(
    series_id: int,
    order: Mapping[int, Any],
    metrics: Collection[str],
    attributes: Mapping[str | None, Collection[str]] | None,
) -> Window:
    window = Window(series_id, None)
    wanted = (attributes or {}).get(None, ())
    for metric in (*metrics, *wanted):
        window.numbers[metric] = []
    for row in order.values():
        window.session_ids.append(row.session_id)
        window.start_times.append(row.start_time)
        window.failed.append(row.status == FAILED_CODE)
        own = {
            "duration": row.total_duration,
            "cpu_s": row.cpu_s,
            "rss_peak_bytes": row.rss_peak_bytes,
        }
        given = {"product_count": row.product_count, **(row.attributes or {})} if wanted else {}
        for metric in metrics:
            value = own[metric] if row.counted else None
            window.numbers[metric].append(None if value is None else (float(value),) * 3)
        for name in wanted:
            value = _number(given.get(name)) if row.counted else None
            window.numbers[name].append(None if value is None else (value,) * 3)
    return window


def _add_attributes(
    connection: Connection,
    windows: Mapping[int, Window],
    pks: list[int],
    attributes: Mapping[str | None, Collection[str]],
) -> None:
    """Read numeric attributes out of the JSON of those steps whose rules name one."""
    for window in windows.values():
        names = {*attributes.get(window.step_name, ()), *attributes.get("*", ())}
        if not names:
            continue
        query = select(sessions.c.session_id, steps.c.additional_data).join(
            sessions, sessions.c.id == steps.c.session_pk
        )
        query = query.where(
            steps.c.session_pk.in_(pks), steps.c.series_id == window.series_id, steps.c.counted.is_(True)
        )
        given: dict[str, list[Mapping[str, Any]]] = {}
        for session_id, data in connection.execute(query):
            given.setdefault(session_id, []).append(from_json(data) or {})
        for name in names:
            window.numbers[name] = [
                _triple([_number(data.get(name)) for data in given.get(session_id, ())])
                for session_id in window.session_ids
            ]


def _triple(values: list[float | None]) -> Triple | None:
    known = [value for value in values if value is not None]
    return (sum(known) / len(known), max(known), min(known)) if known else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None


# --- statements: built once, so that SQLAlchemy compiles them once ------------------------------------

_PLACE = (
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
_TAGGED = exists().where(session_tags.c.session_pk == sessions.c.id, session_tags.c.name.in_(UNCOUNTED_TAGS))
_ENDED = (
    select(
        sessions.c.id,
        sessions.c.session_id,
        sessions.c.start_time,
        sessions.c.status,
        sessions.c.counted,
        sessions.c.total_duration,
        sessions.c.cpu_s,
        sessions.c.rss_peak_bytes,
        sessions.c.product_count,
    )
    .where(sessions.c.status.in_((COMPLETED_CODE, FAILED_CODE)))
    .where(~_TAGGED)
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
_NEWEST = (
    select(sessions.c.session_id)
    .where(sessions.c.series_id == bindparam("series_id"))
    .where(sessions.c.status.in_((COMPLETED_CODE, FAILED_CODE)))
    .order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
    .limit(1)
)
_COLUMNS = {
    "duration": steps.c.duration,
    "cpu_s": steps.c.cpu_s,
    "rss_peak_bytes": steps.c.rss_peak_bytes,
}


@cache
def _ended(with_facts: bool) -> Select[Any]:
    return _ENDED.add_columns(sessions.c.attributes) if with_facts else _ENDED


@cache
def _sessions_query(with_facts: bool) -> Select[Any]:
    return (
        _ended(with_facts)
        .where(sessions.c.series_id == bindparam("series_id"), sessions.c.start_time <= bindparam("until"))
        .order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
        .limit(bindparam("runs"))
    )


@cache
def _own_session(with_facts: bool) -> Select[Any]:
    return _ended(with_facts).where(sessions.c.id == bindparam("pk"))


@cache
def _steps_query(metrics: tuple[str, ...]) -> Select[Any]:
    wanted: list[Any] = [
        steps.c.session_pk,
        steps.c.series_id,
        func.max(case((steps.c.status == FAILED_CODE, 1), (steps.c.status == COMPLETED_CODE, 0))),
    ]
    for metric in metrics:
        counted = case((steps.c.counted, _COLUMNS[metric]))
        wanted += [func.avg(counted), func.max(counted), func.min(counted)]
    return (
        select(*wanted)
        .where(
            steps.c.session_pk.in_(bindparam("pks", expanding=True)),
            steps.c.series_id.in_(bindparam("wanted", expanding=True)),
        )
        .group_by(steps.c.session_pk, steps.c.series_id)
    )
