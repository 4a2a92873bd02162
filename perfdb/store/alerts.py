"""Alerts in the database: the open ones of a pipeline, what happened to each, silences, baselines.

Events are only ever added. Everything here runs in the caller's transaction.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Row,
    RowMapping,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)

from perfdb.errors import NotFoundError
from perfdb.records import ALERT_ROW, Alert
from perfdb.stopping import looking
from perfdb.store import dialects
from perfdb.store.ids import Ids
from perfdb.store.models import (
    LONGEST_TEXT,
    alert_events,
    alerts,
    baselines,
    series,
    silences,
    storable_name,
    storable_text,
)
from perfdb.store.reading import driver_rows
from perfdb.store.together import together
from perfdb.vocabulary import (
    ALERT_STATES,
    BIGGEST,
    CURRENT_STATES,
    FALSE_ALARM,
    FIRING,
    OPEN_STATES,
    SEVERITIES,
)

if TYPE_CHECKING:
    import pandas as pd

ALERT_COLUMNS = (
    *ALERT_ROW,
    "kind", "direction", "limit", "bound", "n", "baseline_n", "hits", "since_time", "last_session_id",
    "last_time", "opened_at", "updated_at", "closed_at", "notified_at", "silenced", "inhibited_by",
    "reopened", "headline", "details",
)  # fmt: skip

_MOST_NAMED = 1_000  # pipelines in a query: of more, all are read
_PIECE = 5_000  # alerts that are read at a time
_LOCK = 0x70657266_616C  # "perfal": one evaluation at a time per PostgreSQL database
_OF_SERIES = ("pipeline", "step_name", "mode")
_FIELDS = tuple(field.name for field in fields(Alert) if field.name not in (*_OF_SERIES, "id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Which alerts are silenced until ``expires_at``; None fits everything."""

    id: int
    rule: str | None
    pipeline: str | None
    step_name: str | None
    alert_id: int | None
    reason: str | None
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """What is silenced now: an alert is looked up, however many silences there are."""

    fitting: frozenset[tuple[str | None, str | None, str | None, int | None]]

    def holds(self, alert: Alert | Row[Any]) -> bool:
        """Say whether a silence fits an alert."""
        if not self.fitting:
            return False
        of_alert = (alert.rule, alert.pipeline, alert.step_name, alert.id)
        return not self.fitting.isdisjoint(product(*((each, None) for each in of_alert)))


@dataclass(frozen=True, slots=True)
class Baseline:
    """Where a person said: from here on this is normal."""

    since_time: float
    since_session_id: str
    value: float | None  # None: nothing was said about limits


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """Something that happened to an alert."""

    at: float
    event: str
    session_id: str | None
    note: str | None


def take_turn(connection: Connection) -> None:
    """Keep other processes from evaluating rules until this transaction ends; SQLite's BEGIN did that."""
    dialects.take_turn(connection, _LOCK)


def active_alerts(connection: Connection, pipeline: str, mode: str) -> list[Alert]:
    """Return the alerts that the next verdicts on a pipeline and mode look at."""
    found = connection.execute(_active(), {"wanted_pipeline": pipeline, "wanted_mode": mode})
    return [_alert_of(row) for row in found.mappings()]


def read_alert(connection: Connection, alert_id: int) -> Alert:
    """Return one alert.

    Raises:
        NotFoundError: there is none of this number.
    """
    found = _silenced_now(connection, _alerts().where(alerts.c.id == alert_id)) if _can_be(alert_id) else []
    if not found:
        raise NotFoundError(f"there is no alert {alert_id}; see: perfdb alerts list --state all")
    return found[0]


def read_alerts(
    connection: Connection,
    state: str | Collection[str] = "open",
    *,
    of_series: tuple[str, str | None, str] | None = None,
    of_any: Collection[tuple[str, str | None, str]] | None = None,
    of_session: str | None = None,
    rule: str | None = None,
    pipeline: str | None = None,
    mode: str | None = None,
    step: str | None = None,
    metric: str | None = None,
    since: float | None = None,
    until: float | None = None,
    after: tuple[float, int] | None = None,
    limit: int | None = None,
) -> list[Alert]:
    """Return alerts, the newest first; of the open ones the most severe first.

    Args:
        connection: of any role.
        state: ``open`` (pending, firing or acknowledged, and not spoken for by another), one of
            ``ALERT_STATES`` or several of them, or ``all``.
        of_series: only those of this pipeline, step name (None: the total) and mode.
        of_any: only those of one of these series.
        of_session: only those that this session opened or confirmed last.
        rule: only those that the rule of this name raised.
        pipeline: only those of this pipeline.
        mode: only those of this mode.
        step: only those of this step.
        metric: only those of this measure.
        since: only those of a move since then, or that were confirmed since (epoch s).
        until: only those of a move before (epoch s).
        after: only those that follow one with this ``opened_at`` and ``id``.
        limit: so many at most.

    Raises:
        ValueError: it is none of these states.
    """
    keys: list[Any] = [alerts.c.opened_at, alerts.c.id]
    if state == "open":
        ranks = ((alerts.c.severity == name, rank) for rank, name in enumerate(SEVERITIES))
        keys.insert(0, case(*ranks, else_=0))
    most = None if limit is None else min(limit, BIGGEST)
    query = _alerts().order_by(*(key.desc() for key in keys)).limit(most)
    if state == "open":
        query = query.where(_is_open())
    elif not isinstance(state, str):
        query = query.where(alerts.c.state.in_(state))
    elif state in ALERT_STATES:
        query = query.where(alerts.c.state == state)
    elif state != "all":
        raise ValueError(f"state is open, all, {', '.join(ALERT_STATES)}, not {state!r}")
    if of_series is not None:
        pipeline, step_name, mode = of_series
        same = series.c.step_name.is_(None) if step_name is None else series.c.step_name == step_name
        query = query.where(same)
    if of_any is not None and len(of_any) < _MOST_NAMED:
        query = query.where(series.c.pipeline.in_({name for name, _, _ in of_any}))
    if rule is not None:
        query = query.where(alerts.c.rule == rule)
    if metric is not None:
        query = query.where(alerts.c.metric == metric)
    query = _of_series(query, pipeline, mode, None if step is None else storable_name(step))
    query = _between(query, since, until)
    if of_session is not None:
        query = query.where(
            or_(alerts.c.since_session_id == of_session, alerts.c.last_session_id == of_session)
        )
    if after is not None:
        place: tuple[Any, ...] = after
        if state == "open":
            severity = connection.execute(select(alerts.c.severity).where(alerts.c.id == after[1])).scalar()
            place = (SEVERITIES.index(severity) if severity in SEVERITIES else 0, *after)
        query = query.where(tuple_(*keys) < tuple_(*place))
    return _silenced_now(connection, query, of_any)


def _silenced_now(
    connection: Connection, query: Select[Any], of_any: Collection[tuple[str, str | None, str]] | None = None
) -> list[Alert]:
    """Return alerts as the silences of this moment have it; the rows know those of the last verdict."""
    rows, quiet = together(
        connection,
        lambda: connection.execute(query).mappings().all(),
        lambda: what_is_quiet(connection, time.time()),
    )
    found = [
        _alert_of(row)
        for row in looking(rows)
        if of_any is None or (row.pipeline, row.step_name, row.mode) in of_any
    ]
    return [
        alert if alert.silenced == quiet.holds(alert) else replace(alert, silenced=not alert.silenced)
        for alert in found
    ]


def alerts_in_pieces(
    connection: Connection, state: str = "open", *, last: int | None = None, **asked: Any
) -> Iterator[Alert]:
    """Yield what ``read_alerts`` returns, read some thousand at a time: a storm leaves a hundred thousand."""
    after: tuple[float, int] | None = None
    left = math.inf if last is None else last
    while left > 0:
        piece = int(min(left, _PIECE))
        found = read_alerts(connection, state, after=after, limit=piece, **asked)
        yield from found
        if len(found) < piece:
            return
        left -= piece
        after = found[-1].opened_at, found[-1].id


def state_counts(connection: Connection) -> dict[str, int]:
    """Return how many alerts are in each state."""
    query = select(alerts.c.state, func.count().label("n")).group_by(alerts.c.state)
    return {row.state: row.n for row in connection.execute(query)}


def count_by_series(connection: Connection, state: str) -> Sequence[Row[Any]]:
    """Return how many alerts are in a state (``n``), by pipeline, step, mode and metric."""
    names = (series.c.pipeline, series.c.step_name, series.c.mode, alerts.c.metric)
    query = select(*names, func.count().label("n")).join_from(
        alerts, series, series.c.id == alerts.c.series_id
    )
    return connection.execute(query.where(alerts.c.state == state).group_by(*names)).all()


def open_count(connection: Connection) -> tuple[int, int | None]:
    """Return how many of the open alerts fire, and the number of the newest open one."""
    fires = case((alerts.c.state == FIRING, 1), else_=0)
    query = select(func.coalesce(func.sum(fires), 0), func.max(alerts.c.id)).where(_is_open())
    firing, newest = connection.execute(query).one()
    return int(firing), newest


def firing_now(connection: Connection, now: float) -> Counter[tuple[str, str]]:
    """Return how many open alerts fire and are not silenced, by rule and severity."""
    query = (
        select(alerts.c.id, alerts.c.rule, alerts.c.severity, series.c.pipeline, series.c.step_name)
        .join(series, series.c.id == alerts.c.series_id)
        .where(alerts.c.state == FIRING, alerts.c.inhibited_by.is_(None))
    )
    rows, quiet = together(
        connection, lambda: connection.execute(query).all(), lambda: what_is_quiet(connection, now)
    )
    return Counter((row.rule, row.severity) for row in looking(rows) if not quiet.holds(row))


def _is_open() -> ColumnElement[bool]:
    return and_(alerts.c.state.in_(list(CURRENT_STATES)), alerts.c.inhibited_by.is_(None))


def alert_row(alert: Alert) -> dict[str, Any]:
    """Return an alert as a row of plain values, as ``perfdb alerts --json`` prints it; times in whole µs."""
    row = {name: getattr(alert, name) for name in ALERT_COLUMNS} | {"details": dict(alert.details)}
    for name, value in row.items():
        if isinstance(value, float):
            row[name] = (
                None
                if not math.isfinite(value)
                else round(value * 1e6) / 1e6
                if name.endswith("_at")
                else value
            )
    return row


def alerts_frame(found: Sequence[Alert]) -> pd.DataFrame:
    """Return alerts as a frame, with ``ALERT_COLUMNS``."""
    import numpy as np
    import pandas as pd

    from perfdb.store.frames import instants

    floats = {"value", "baseline", "effect", "limit", "bound", "since_time", "last_time"}
    columns: dict[str, Any] = {}
    for name in ALERT_COLUMNS:
        values = [getattr(alert, name) for alert in found]
        if name in floats:
            columns[name] = pd.Series(values, dtype="float64")
        elif name.endswith("_at"):
            columns[name] = instants(np.array(values, dtype="float64"))
        elif name == "inhibited_by":
            columns[name] = pd.array(values, dtype="Int64")
        elif name in ("id", "n", "baseline_n", "hits", "reopened"):
            columns[name] = pd.Series(values, dtype="int64")
        else:
            columns[name] = pd.Series(values, dtype="bool" if name == "silenced" else "object")
    return pd.DataFrame(columns)


def save_alert(connection: Connection, alert: Alert) -> int:
    """Write an alert and return its number; one that has none yet gets one."""
    row = _row_of(alert)
    if alert.id:
        connection.execute(_update(), {**row, "wanted_id": alert.id})
        return alert.id
    row["series_id"] = Ids(connection).of_series((alert.pipeline, alert.mode, alert.step_name))
    return int(connection.execute(_insert(), row).scalar_one())


def save_alerts(connection: Connection, changed: Iterable[Alert]) -> None:
    """Write alerts that have their numbers."""
    found = [{**_row_of(alert), "wanted_id": alert.id} for alert in changed]
    if found:
        connection.execute(_update(), found)


def look_up_series(connection: Connection, pipeline: str, mode: str, changed: Iterable[Alert]) -> None:
    """Find the series of alerts that have no numbers yet, all at once."""
    names = [alert.step_name for alert in changed if not alert.id and alert.step_name is not None]
    Ids(connection).look_up(pipeline, mode, names)


def _row_of(alert: Alert) -> dict[str, Any]:
    row = {name: getattr(alert, name) for name in _FIELDS}
    for name in ("headline", "message"):
        row[name] = storable_text(row[name])
    row["details"] = dict(alert.details) or None
    return row


def add_event(
    connection: Connection,
    alert_id: int,
    event: str,
    at: float,
    *,
    session_id: str | None = None,
    note: str | None = None,
) -> None:
    """Note what happened to an alert."""
    add_events(connection, [(alert_id, event, note)], at, session_id=session_id)


def add_events(
    connection: Connection,
    happened: Iterable[tuple[int, str, str | None]],
    at: float,
    *,
    session_id: str | None = None,
) -> None:
    """Note what happened to alerts, in this order: number, event and note of each."""
    rows = [
        {
            "alert_id": alert_id,
            "event": event,
            "at": at,
            "session_id": session_id,
            "note": None if note is None else storable_text(note),
        }
        for alert_id, event, note in happened
    ]
    if rows:
        connection.execute(_insert_event(), rows)


def events_of(connection: Connection, alert_id: int) -> list[AlertEvent]:
    """Return what happened to an alert, oldest first."""
    found = connection.execute(
        select(alert_events).where(alert_events.c.alert_id == alert_id).order_by(alert_events.c.id)
    )
    return [AlertEvent(row.at, row.event, row.session_id, row.note) for row in found]


def alert_counts(
    connection: Connection,
    pipeline: str | None = None,
    mode: str | None = None,
    step: str | None = None,
    *,
    since: float | None = None,
    until: float | None = None,
) -> dict[str, Counter[str]]:
    """Return per rule how many of its alerts are in each state; ``since`` and ``until`` as in read_alerts."""
    query = (
        select(alerts.c.rule, alerts.c.state, func.count().label("n"))
        .join(series, series.c.id == alerts.c.series_id)
        .group_by(alerts.c.rule, alerts.c.state)
    )
    counts: dict[str, Counter[str]] = {}
    for row in connection.execute(_between(_of_series(query, pipeline, mode, step), since, until)):
        counts.setdefault(row.rule, Counter())[row.state] = int(row.n)
    return counts


def newest_of_rules(
    connection: Connection,
    pipeline: str | None = None,
    mode: str | None = None,
    *,
    since: float | None = None,
    until: float | None = None,
) -> dict[str, tuple[int, float]]:
    """Return per rule its newest alert: the number, and since when it moved; the window as in read_alerts."""
    newest_first = (alerts.c.opened_at.desc(), alerts.c.id.desc())
    place = func.row_number().over(partition_by=alerts.c.rule, order_by=newest_first)
    query = select(alerts.c.rule, alerts.c.id, alerts.c.since_time, place.label("place")).join(
        series, series.c.id == alerts.c.series_id
    )
    ranked = _between(_of_series(query, pipeline, mode), since, until).subquery()
    chosen = select(ranked.c.rule, ranked.c.id, ranked.c.since_time).where(ranked.c.place == 1)
    return {rule: (number, since_time) for rule, number, since_time in connection.execute(chosen)}


def _of_series(
    query: Select[Any], pipeline: str | None, mode: str | None, step: str | None = None
) -> Select[Any]:
    for name, value in (("pipeline", pipeline), ("mode", mode), ("step_name", step)):
        if value is not None:
            query = query.where(series.c[name] == value)
    return query


def _between(query: Select[Any], since: float | None, until: float | None) -> Select[Any]:
    if since is not None:
        query = query.where(alerts.c.last_time >= since)
    if until is not None:
        query = query.where(alerts.c.since_time < until)
    return query


def precision(counts: Mapping[str, int]) -> float | None:
    """Return the share of a rule's alerts that nobody called a false alarm; None when it has none."""
    total = sum(counts.values())
    return None if not total else 1 - counts.get(FALSE_ALARM, 0) / total


# --- silences and baselines -----------------------------------------------------------------------------


def no_longer_silenced(connection: Connection, now: float) -> list[Alert]:
    """Return the active alerts that were silenced at their last verdict and would not be now."""
    rows = connection.execute(_alerts().where(text("alerts.active"), alerts.c.silenced)).mappings().all()
    quiet = what_is_quiet(connection, now) if rows else Quiet(frozenset())
    return [alert for alert in map(_alert_of, rows) if not quiet.holds(alert)]


def what_is_quiet(connection: Connection, now: float) -> Quiet:
    """Return what the silences fit that have not expired."""
    of_alert = (silences.c.rule, silences.c.pipeline, silences.c.step_name, silences.c.alert_id)
    query = select(*of_alert, silences.c.expires_at)  # without a moment, so that an answer asks it once
    rows = driver_rows(connection, query)
    return Quiet(
        frozenset([(rule, name, step, number) for rule, name, step, number, end in rows if end > now])
    )


def silences_in_force(
    connection: Connection, now: float, *, of: Alert | None = None, limit: int | None = None
) -> list[Silence]:
    """Return the silences that have not expired, in their order.

    Args:
        connection: of any role.
        now: epoch s.
        of: only those that fit this alert.
        limit: only so many, the newest.
    """
    query = select(silences).where(silences.c.expires_at > now).order_by(silences.c.id.desc()).limit(limit)
    if of is not None:
        for column, value in (
            (silences.c.rule, of.rule),
            (silences.c.pipeline, of.pipeline),
            (silences.c.step_name, of.step_name),
            (silences.c.alert_id, of.id),
        ):
            query = query.where(or_(column.is_(None), column == value))
    rows = connection.execute(query).mappings().all()
    return [Silence(**row) for row in looking(rows[::-1])]


def count_silences(connection: Connection, now: float) -> int:
    """Return how many silences have not expired."""
    query = select(func.count()).select_from(silences).where(silences.c.expires_at > now)
    return int(connection.execute(query).scalar_one())


def add_silence(
    connection: Connection,
    *,
    now: float,
    expires_at: float,
    rule: str | None = None,
    pipeline: str | None = None,
    step_name: str | None = None,
    alert_id: int | None = None,
    reason: str | None = None,
) -> int:
    """Silence what fits all that is given; return the silence's number."""
    row = {
        "rule": rule, "pipeline": pipeline, "step_name": step_name, "alert_id": alert_id, "reason": reason,
        "created_at": now, "expires_at": expires_at,
    }  # fmt: skip
    return int(connection.execute(insert(silences).values(**row).returning(silences.c.id)).scalar_one())


def end_silences(connection: Connection, *, silence_id: int | None, alert_id: int | None, now: float) -> int:
    """End a silence, or all those of an alert; return how many were in force."""
    wanted = or_(
        silences.c.id == silence_id if _can_be(silence_id) else text("false"),
        silences.c.alert_id == alert_id if _can_be(alert_id) else text("false"),
    )
    return connection.execute(delete(silences).where(wanted, silences.c.expires_at > now)).rowcount


def _can_be(number: int | None) -> bool:
    return number is not None and abs(number) <= BIGGEST


def accepted_baselines(
    connection: Connection, pipeline: str, mode: str
) -> dict[tuple[str | None, str], Baseline]:
    """Return per (step name, metric) of a pipeline and mode the accepted baseline that begins last.

    A drift that is accepted with a move began before it; the runs in between are of the level before.
    """
    rows = connection.execute(_baselines(), {"wanted_pipeline": pipeline, "wanted_mode": mode})
    found: dict[tuple[str | None, str], Baseline] = {}
    for row in rows:
        key = (row.step_name, row.metric)
        before = found.get(key)
        value = row.value if row.value is not None or before is None else before.value
        found[key] = Baseline(row.since_time, row.since_session_id, value)
    return found


def accept_baseline(connection: Connection, alert: Alert, now: float) -> None:
    """Take the level that an alert found as normal from its first session on; its total follows."""
    value = alert.value if alert.kind not in ("error_rate", "budget") else None
    _add_baseline(connection, alert, alert.step_name, value, now)
    if alert.step_name is not None:
        _add_baseline(connection, alert, None, None, now)


def forget_accepted(connection: Connection, alert_id: int) -> None:
    """Forget the baselines that a decision about an alert made."""
    connection.execute(delete(baselines).where(baselines.c.alert_id == alert_id, ~baselines.c.pinned))


def _add_baseline(
    connection: Connection, alert: Alert, step_name: str | None, value: float | None, now: float
) -> None:
    row = {
        "series_id": Ids(connection).of_series((alert.pipeline, alert.mode, step_name)),
        "metric": alert.metric,
        "since_session_id": alert.since_session_id,
        "since_time": alert.since_time,
        "value": value,
        "alert_id": alert.id,
        "created_at": now,
    }
    connection.execute(insert(baselines).values(**row))


# --- rows ------------------------------------------------------------------------------------------------


@cache
def _active() -> Select[Any]:
    return _alerts().where(
        text("alerts.active"),
        series.c.pipeline == bindparam("wanted_pipeline"),
        series.c.mode == bindparam("wanted_mode"),
    )


# Made once: a storm writes a hundred alerts at a time, and every other writer waits meanwhile.
@cache
def _insert() -> Executable:
    return insert(alerts).returning(alerts.c.id)


@cache
def _update() -> Executable:
    changed: dict[str, Any] = {name: bindparam(name) for name in _FIELDS}
    return update(alerts).where(alerts.c.id == bindparam("wanted_id")).values(changed)


@cache
def _insert_event() -> Executable:
    return insert(alert_events)


@cache
def _baselines() -> Select[Any]:
    return (
        select(baselines, series.c.step_name)
        .join(series, series.c.id == baselines.c.series_id)
        .where(
            baselines.c.pinned.is_(False),
            series.c.pipeline == bindparam("wanted_pipeline"),
            series.c.mode == bindparam("wanted_mode"),
        )
        .order_by(baselines.c.since_time, baselines.c.id)
    )


def _alerts() -> Select[Any]:
    return select(alerts, series.c.pipeline, series.c.step_name, series.c.mode).join(
        series, series.c.id == alerts.c.series_id
    )


def _alert_of(row: RowMapping) -> Alert:
    values: dict[str, Any] = {
        name: value[:LONGEST_TEXT] if isinstance(value := row[name], str | bytes) else value
        for name in (*_FIELDS, *_OF_SERIES, "id")
    }
    values["details"] = values["details"] or {}
    return Alert(**values)


def spoken_for_by(connection: Connection, alert_ids: Iterable[int]) -> list[Alert]:
    """Return the alerts for which these speak."""
    query = _alerts().where(alerts.c.inhibited_by.in_(list(alert_ids)), alerts.c.state.in_(OPEN_STATES))
    return [_alert_of(row) for row in connection.execute(query).mappings()]
