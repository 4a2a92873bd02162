"""Give sessions the mode that the settings name now, in pieces so short that a writer hardly waits.

A session moves with all its steps at once; of one with many they go first, some at a time, and it last. Who
is interrupted begins again and finds what is left. Sessions that run stay: their writer knows their mode.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from perfdb.records import is_cached
from perfdb.store import large, rows
from perfdb.store.alerts import add_events, read_alert, save_alerts
from perfdb.store.database import Database
from perfdb.store.dialects import commit_at_leisure
from perfdb.store.ids import Ids, forget_ids
from perfdb.store.ingest import ORPHAN, move_steps
from perfdb.store.models import RUNNING_CODE, alerts, baselines, from_json, series, sessions, steps
from perfdb.store.reading import driver_rows
from perfdb.store.rollups import spoil_sessions
from perfdb.store.sessions import recount_session
from perfdb.store.upkeep.orphans import delete_orphans
from perfdb.store.upkeep.pruning import HELD_S, SHARED_HELD_S
from perfdb.vocabulary import PYTEST_MODE, RESOLVED, mode_of

_CANDIDATES = 500  # sessions that one look brings
_AT_ONCE = 100  # steps of a session


class _Kind(NamedTuple):
    """A pipeline and a mode, and the series of its totals."""

    series_id: int
    pipeline: str
    mode: str


_MOVABLE = (
    sessions.c.status != RUNNING_CODE,
    sessions.c.source != ORPHAN,  # what its start says comes with it
)


class _Waiting(NamedTuple):
    """A session that is to move."""

    pk: int
    mode: str
    steps: int
    is_recounted: bool


def stale_kinds(connection: Connection, mode_attributes: Collection[str]) -> list[_Kind]:
    """Return the pipelines and modes with sessions whose mode is of other attributes than these."""
    has_movable = select(sessions.c.id).where(sessions.c.series_id == series.c.id, *_MOVABLE).exists()
    return _of_others(connection, mode_attributes, has_movable)


def reindex(database: Database, mode_attributes: Sequence[str]) -> Iterator[int]:
    """Move the sessions of stale modes; yield after each short transaction how many went.

    Alerts and pinned baselines go along where all sessions of a mode have one mode now; else such an alert is
    resolved, because its series is no more.
    """
    seconds = SHARED_HELD_S if database.is_shared else HELD_S
    names = tuple(mode_attributes)
    with database.reading() as connection:
        kinds = _of_others(connection, names)
    for kind in kinds:
        last = 0
        while True:
            with database.reading() as connection:
                waiting = _look(connection, kind, last, names)
            if not waiting:
                break
            last = waiting[-1].pk
            yield 0
            while waiting:
                with database.writing() as connection:
                    moved, recounted = _move(connection, kind, waiting, seconds)
                for pk, counted in recounted:
                    large.count_steps(database, pk, counted=counted)
                yield moved
        with database.writing() as connection:
            _carry_over(connection, kind, names)
        yield 0
    if kinds:
        yield from (0 for _ in delete_orphans(database.url, time.time(), seconds))


def _of_others(
    connection: Connection, mode_attributes: Collection[str], *conditions: ColumnElement[bool]
) -> list[_Kind]:
    totals = select(series.c.id, series.c.pipeline, series.c.mode).where(series.c.step_name.is_(None))
    found = [_Kind(*row) for row in driver_rows(connection, totals.where(*conditions).order_by(series.c.id))]
    names = set(mode_attributes)
    others = {mode for mode in {kind.mode for kind in found} if _is_of_others(mode, names)}
    return [kind for kind in found if kind.mode in others]


def _is_of_others(mode: str, names: set[str]) -> bool:
    values = _values(mode)
    if values is None or set(values) == {"sha256"}:  # of a mode that is too long
        return False
    of_tests = "selection" in values and set(values) <= PYTEST_MODE
    return not of_tests and set(values) != names


def _values(mode: str) -> dict[str, Any] | None:
    try:
        values = json.loads(mode)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _movable(connection: Connection, kind: _Kind, after: int, most: int) -> list[Any]:
    query = select(sessions.c.id, sessions.c.fast_mode, sessions.c.attributes).where(
        sessions.c.series_id == kind.series_id,
        sessions.c.id > after,
        *_MOVABLE,
    )
    return list(connection.execute(query.order_by(sessions.c.id).limit(most)))


def _look(connection: Connection, kind: _Kind, after: int, names: tuple[str, ...]) -> list[_Waiting]:
    found = _movable(connection, kind, after, _CANDIDATES)
    owner = steps.c.session_pk
    of_these = select(owner, func.count()).where(owner.in_([row.id for row in found])).group_by(owner)
    counts: dict[int, int] = dict(map(tuple, connection.execute(of_these)))
    waiting = []
    for row in found:
        attributes = from_json(row.attributes) if isinstance(row.attributes, str) else row.attributes
        fast = None if row.fast_mode is None else bool(row.fast_mode)
        mode = mode_of({**(attributes or {}), "fast_mode": fast}, names)
        mode = rows.series_key({"pipeline": kind.pipeline, "mode": mode})[1]
        waiting.append(_Waiting(row.id, mode, counts.get(row.id, 0), is_cached(attributes)))
    return waiting


def _move(
    connection: Connection, kind: _Kind, waiting: list[_Waiting], seconds: float
) -> tuple[int, list[tuple[int, bool]]]:
    """Move sessions for so long, and take them out of the list; return how many went.

    And those whose steps are yet to count, or not: of many steps this takes transactions of its own.
    """
    until = time.monotonic() + seconds
    commit_at_leisure(connection)
    forget_ids(connection)  # the orphans that went with the last reindexing or pruning
    ids = Ids(connection)
    moved = 0
    recounted: list[tuple[int, bool]] = []
    while waiting:
        each = waiting[0]
        is_large = each.steps > _AT_ONCE
        if is_large:
            spoil_sessions(connection, [each.pk])
        if is_large and move_steps(connection, ids, each.pk, kind.pipeline, each.mode, most=_AT_ONCE):
            break
        spoil_sessions(connection, [each.pk])
        new = ids.of_series((kind.pipeline, each.mode, None))
        change = update(sessions).where(sessions.c.id == each.pk, sessions.c.status != RUNNING_CODE)
        still = change.where(sessions.c.series_id == kind.series_id)
        if connection.execute(still.values(series_id=new)).rowcount:
            moved += 1
            if not is_large:
                move_steps(connection, ids, each.pk, kind.pipeline, each.mode)
            if each.is_recounted:  # where cached makes a mode, answers from a cache count
                counted = recount_session(connection, each.pk, with_steps=not is_large)
                recounted += [(each.pk, counted)] * is_large
        del waiting[0]
        if time.monotonic() > until:
            break
    return moved, recounted


def _carry_over(connection: Connection, kind: _Kind, names: Collection[str]) -> None:
    """See to the alerts and the baselines of a mode that has no sessions any more."""
    left = select(sessions.c.id).where(sessions.c.series_id == kind.series_id).limit(1)
    if connection.execute(left).first() is not None:
        return
    of_kind = select(series.c.id, series.c.step_name).where(
        series.c.pipeline == kind.pipeline, series.c.mode == kind.mode
    )
    used: list[ColumnElement[bool]] = [
        series.c.id.in_(select(alerts.c.series_id)), series.c.id.in_(select(baselines.c.series_id))
    ]  # fmt: skip
    olds = list(connection.execute(of_kind.where(or_(*used))))
    if not olds:
        return
    target = _only_successor(connection, kind, set(names))
    taken = set()
    if target is not None:
        there = select(alerts.c.rule, alerts.c.metric, alerts.c.direction, series.c.step_name)
        active = there.join(series, series.c.id == alerts.c.series_id).where(
            alerts.c.active, series.c.pipeline == kind.pipeline, series.c.mode == target
        )
        taken = {tuple(row) for row in connection.execute(active)}
    now = time.time()
    of_olds = alerts.c.series_id.in_([old for old, _ in olds])
    ids_of_active = connection.execute(select(alerts.c.id).where(alerts.c.active, of_olds)).scalars().all()
    lost = [
        alert
        for alert in (read_alert(connection, alert_id) for alert_id in ids_of_active)
        if target is None or (alert.rule, alert.metric, alert.direction, alert.step_name) in taken
    ]
    closed = [alert for alert in lost if alert.is_open]
    save_alerts(connection, [_closed(alert, now) for alert in lost])
    note = "mode_attributes have changed: nothing has this mode any more"
    add_events(connection, [(alert.id, "resolved", note) for alert in closed], now)
    if target is not None:
        ids = Ids(connection)
        for old, step_name in olds:
            new = ids.of_series((kind.pipeline, target, step_name))
            for table in (alerts, baselines):
                connection.execute(update(table).where(table.c.series_id == old).values(series_id=new))


def _closed(alert: Any, now: float) -> Any:
    from dataclasses import replace

    if not alert.is_open:
        return replace(alert, active=False)
    return replace(alert, state=RESOLVED, active=False, closed_at=now, updated_at=now, inhibited_by=None)


def _only_successor(connection: Connection, kind: _Kind, names: set[str]) -> str | None:
    """Return the mode that all sessions of this one have now; None where there are several, or none."""
    old = _values(kind.mode) or {}
    totals = select(series.c.id, series.c.mode).where(
        series.c.step_name.is_(None),
        series.c.pipeline == kind.pipeline,
        select(sessions.c.id).where(sessions.c.series_id == series.c.id).exists(),
    )
    found = []
    for row in connection.execute(totals):
        new = _values(row.mode)
        if new is not None and set(new) == names and all(new[each] == old[each] for each in names & set(old)):
            found.append(str(row.mode))
    return found[0] if len(found) == 1 else None
