"""Take old sessions out of the database, in pieces so small that a writer hardly waits.

What to delete is looked for without the write lock; under it only rows that are already
known go. Sessions that run, have a tag, or are named by an open alert or a pinned baseline
are kept, which is asked again in the deleting statement itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    true,
    tuple_,
    union,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from perfdb.errors import StoreError
from perfdb.records import OPEN_STATES
from perfdb.store.engine import is_busy, open_engine, shown_url
from perfdb.store.models import (
    RUNNING_CODE,
    alerts,
    baselines,
    environments,
    journals,
    outbox,
    samples,
    series,
    session_tags,
    sessions,
    steps,
    storable_text,
)

_CANDIDATES = 1_000  # sessions that one look brings
_CHUNK = 500  # ids per statement
_TRIES = 5  # to find a moment in which nobody else writes
_MOST_ORPHANS = 200  # series per prune on PostgreSQL, which looks through all steps for each of them
_KEPT_JOURNAL_S = 30 * 86400.0  # a process may be idle for weeks and go on in the same journal


@dataclass(frozen=True, slots=True)
class Share:
    """The sessions of one pipeline and mode that began before ``before`` (epoch s)."""

    series_id: int
    pipeline: str
    mode: str
    before: float


@dataclass(frozen=True, slots=True)
class Counted:
    """What a prune would do to a share; the reasons to keep a session may overlap."""

    pruned: int
    kept: int
    tagged: int
    named: int  # by an open alert or a pinned baseline
    running: int
    oldest: float | None  # start of the first and last that would go, epoch s
    newest: float | None


@dataclass(frozen=True, slots=True)
class Doomed:
    """A session that may go, with the number of rows that go with it."""

    pk: int
    start_time: float
    rows: int


@contextmanager
def clear_errors(url: str) -> Iterator[None]:
    """Turn the driver's errors into a StoreError that names the database."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(
            f"{shown_url(url)} takes no changes now: {cause}; the same command goes on where it ended"
        ) from error


def find_shares(
    connection: Connection, *, until: float | None, keep_last: int | None, pipeline: str | None = None
) -> list[Share]:
    """Return what a policy leaves to be pruned, per pipeline and mode.

    Args:
        connection: of any role.
        until: only sessions that began before it (epoch s).
        keep_last: the newest so many of each pipeline and mode stay in any case.
        pipeline: only this one.
    """
    totals = select(series.c.id, series.c.pipeline, series.c.mode).where(series.c.step_name.is_(None))
    if pipeline is not None:
        totals = totals.where(series.c.pipeline == storable_text(pipeline))
    shares = []
    for series_id, name, mode in connection.execute(totals.order_by(series.c.pipeline, series.c.mode)).all():
        before = math.inf if until is None else until
        if keep_last:
            newest = sessions.c.start_time.desc()
            of_series = select(sessions.c.start_time).where(sessions.c.series_id == series_id)
            last_kept = connection.execute(of_series.order_by(newest).limit(1).offset(keep_last - 1)).scalar()
            before = -math.inf if last_kept is None else min(before, last_kept)
        if before > -math.inf:
            shares.append(Share(series_id, name, mode, min(before, 1e300)))
    return shares


def count(connection: Connection, share: Share) -> Counted:
    """Count what would go and what would stay of a share."""
    kept = _kept()
    row = connection.execute(
        select(
            func.count().filter(~kept),
            func.count().filter(kept),
            func.count().filter(_tagged()),
            func.count().filter(_named()),
            func.count().filter(_running()),
            func.min(sessions.c.start_time).filter(~kept),
            func.max(sessions.c.start_time).filter(~kept),
        ).where(_in(share))
    ).one()
    return Counted(*row)


def find_doomed(connection: Connection, share: Share, after: Doomed | None) -> list[Doomed]:
    """Return the next sessions of a share that may go, oldest first; empty when there are no more."""
    query = select(sessions.c.id, sessions.c.start_time).where(_in(share), ~_kept())
    if after is not None:
        query = query.where(tuple_(sessions.c.start_time, sessions.c.id) > (after.start_time, after.pk))
    found = connection.execute(query.order_by(sessions.c.start_time, sessions.c.id).limit(_CANDIDATES)).all()
    rows = dict.fromkeys((pk for pk, _ in found), 1)
    for table in (steps, samples):
        owner = table.c.session_pk
        counts = select(owner, func.count()).where(owner.in_(list(rows))).group_by(owner)
        for pk, number in connection.execute(counts).all():
            rows[pk] += number
    return [Doomed(pk, start, rows[pk]) for pk, start in found]


def delete_sessions(connection: Connection, pks: Sequence[int]) -> list[str]:
    """Delete those of the sessions that may still go, with all that is theirs; return their ids."""
    return list(connection.execute(_deletion(), {"pks": list(pks)}).scalars().all())


@cache
def _deletion() -> Any:
    """Return the statement that runs under the write lock, built once."""
    chosen = sessions.c.id.in_(bindparam("pks", expanding=True))
    return delete(sessions).where(chosen, ~_kept()).returning(sessions.c.session_id)


def trim_session(connection: Connection, pk: int, rows: int) -> int:
    """Delete up to so many steps and samples of one session that is too large to go at once."""
    if connection.execute(select(sessions.c.id).where(sessions.c.id == pk, ~_kept())).first() is None:
        return 0
    for table, key in ((steps, steps.c.seq), (samples, samples.c.time)):
        of_session = table.c.session_pk == pk
        first = select(key).where(of_session).order_by(key).limit(rows)
        if deleted := connection.execute(delete(table).where(of_session, key.in_(first))).rowcount:
            return deleted
    return 0


def delete_told(connection: Connection, until: float) -> int:
    """Delete messages that reached their channel before ``until``; return how many."""
    told = delete(outbox).where(outbox.c.state == "sent", outbox.c.created_at < until)
    return connection.execute(told).rowcount


# --- rows that nothing refers to any more -------------------------------------------------------------


def delete_orphans(url: str, now: float) -> int:
    """Delete series, environments and journals that no session needs; return how many.

    Finding them reads all steps, because no index knows every series. So the look and the delete are one
    transaction that takes the write lock late: it fails when anybody wrote in between, and is tried again
    a few times, then left to the next prune. A writer that remembers a deleted series is refused
    by its foreign key and makes the series anew.
    """
    engine = open_engine(url, role="migration")  # SQLite: without foreign keys, which would scan per row
    try:
        for _ in range(_TRIES):
            try:
                with engine.begin() as connection:
                    if connection.dialect.name == "sqlite":
                        connection.exec_driver_sql("ROLLBACK")  # of the BEGIN that took the lock at once
                        connection.exec_driver_sql("BEGIN")
                    return _delete_orphans(connection, now)
            except DBAPIError as error:
                if not is_busy(error):
                    raise
        return 0
    finally:
        engine.dispose()


def _delete_orphans(connection: Connection, now: float) -> int:
    orphans: list[tuple[Table, list[int]]] = [(series, _orphan_series(connection))]
    for table, used, may_go in (
        (environments, sessions.c.environment_id, true()),
        (journals, sessions.c.journal_pk, journals.c.updated_at < now - _KEPT_JOURNAL_S),
    ):
        in_use = select(used).where(used.is_not(None))
        orphaned = select(table.c.id).where(may_go, table.c.id.not_in(in_use))
        orphans.append((table, list(connection.execute(orphaned).scalars())))
    deleted = 0
    for table, ids in orphans:
        for first in range(0, len(ids), _CHUNK):
            gone = delete(table).where(table.c.id.in_(ids[first : first + _CHUNK]))
            deleted += connection.execute(gone).rowcount
    return deleted


def _orphan_series(connection: Connection) -> list[int]:
    def unused(column: Column[Any]) -> ColumnElement[bool]:
        return ~exists().where(column == series.c.id)

    counted = exists().where(steps.c.series_id == series.c.id, steps.c.counted)
    maybe = select(series.c.id).where(
        unused(sessions.c.series_id), unused(alerts.c.series_id), unused(baselines.c.series_id), ~counted
    )
    if connection.dialect.name == "postgresql":
        maybe = maybe.limit(_MOST_ORPHANS)
    ids = list(connection.execute(maybe).scalars())
    if not ids:
        return []
    still_used = set(connection.execute(select(steps.c.series_id).distinct()).scalars())
    return [series_id for series_id in ids if series_id not in still_used]


# --- conditions ---------------------------------------------------------------------------------------


def _in(share: Share) -> ColumnElement[bool]:
    return and_(sessions.c.series_id == share.series_id, sessions.c.start_time < share.before)


def _kept() -> ColumnElement[bool]:
    return or_(_running(), _tagged(), _named())


def _running() -> ColumnElement[bool]:
    return sessions.c.status == RUNNING_CODE


def _tagged() -> ColumnElement[bool]:
    return exists().where(session_tags.c.session_pk == sessions.c.id)


def _named() -> ColumnElement[bool]:
    """Say that an open alert or a baseline that a person pinned has the session's id."""
    is_open = alerts.c.state.in_(OPEN_STATES)
    return sessions.c.session_id.in_(
        union(
            select(alerts.c.since_session_id).where(is_open),
            select(alerts.c.last_session_id).where(is_open),
            select(baselines.c.since_session_id),
            select(baselines.c.until_session_id).where(baselines.c.until_session_id.is_not(None)),
        )
    )
