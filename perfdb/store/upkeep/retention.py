"""Take old sessions out of the database, in pieces so short that a writer hardly waits.

What to delete is looked for without the write lock; under it rows that are already known go
one by one, until the time is up. Sessions that run, have a tag, or are named by an open
alert or a pinned baseline are kept, which is asked again in the deleting transaction.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Table,
    and_,
    delete,
    exists,
    func,
    null,
    or_,
    select,
    tuple_,
    union,
    update,
)

from perfdb.errors import StoreError
from perfdb.measures import NAMES
from perfdb.store.daily_measures import of_session, of_step
from perfdb.store.dialects import commit_at_leisure, deleted_at_once, take_free_turn
from perfdb.store.engine import ALL_ERRORS, connected, reason_of, shown_url
from perfdb.store.models import (
    FAILED_CODE,
    RUNNING_CODE,
    alerts,
    baselines,
    outbox,
    samples,
    series,
    session_tags,
    sessions,
    steps,
    storable_text,
)
from perfdb.store.prepared import Prepared
from perfdb.store.rollups import Gone, PrunedRuns
from perfdb.vocabulary import OPEN_STATES, SENT

_LOCK = 0x70657266_7072  # "perfpr": one automatic pruning at a time per PostgreSQL database
CANDIDATES = 1_000  # sessions that one look brings
_AT_ONCE = 100  # steps and samples of a session
_FEW = 20  # rows per statement, between two looks at the clock


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


@dataclass(slots=True)
class Doomed:
    """A session that may go."""

    pk: int
    session_id: str
    start_time: float
    rows: int  # steps and samples that go with it

    @property
    def is_large(self) -> bool:
        """Whether its steps and samples go before it, some at a time."""
        return self.rows > _AT_ONCE


@contextmanager
def clear_errors(url: str) -> Iterator[None]:
    """Turn the driver's errors into a StoreError that names the database."""
    try:
        yield
    except ALL_ERRORS as error:
        raise StoreError(
            f"{shown_url(url)} accepts no changes now: {reason_of(error)}; "
            "run the same command again to continue"
        ) from error


@contextmanager
def sole_claim(url: str) -> Iterator[bool]:
    """Keep others from pruning a PostgreSQL database by their settings; False: somebody else is at it.

    The lock lasts as long as a transaction, so that poolers of connections respect it; one that has
    written nothing keeps no row from being vacuumed.
    """
    with connected(url, role="migration") as connection, connection.begin():
        yield take_free_turn(connection, _LOCK)


def find_shares(
    connection: Connection, *, until: float | None, keep_last: int | None, pipeline: str | None = None
) -> list[Share]:
    """Return what a policy leaves to be pruned, per pipeline and mode that has such sessions.

    Args:
        connection: of any role.
        until: only sessions that began before it (epoch s).
        keep_last: the newest so many of each pipeline and mode stay in any case.
        pipeline: only this one.
    """
    of_series = sessions.c.series_id == series.c.id
    oldest = select(func.min(sessions.c.start_time)).where(of_series).scalar_subquery()
    last_kept = select(sessions.c.start_time).where(of_series).order_by(sessions.c.start_time.desc())
    nth = last_kept.limit(1).offset(keep_last - 1).scalar_subquery() if keep_last else null()
    totals = select(series.c.id, series.c.pipeline, series.c.mode, oldest, nth)
    totals = totals.where(series.c.step_name.is_(None))
    if pipeline is not None:
        totals = totals.where(series.c.pipeline == storable_text(pipeline))
    shares = []
    for series_id, name, mode, first, kept in connection.execute(
        totals.order_by(series.c.pipeline, series.c.mode)
    ).all():
        before = math.inf if until is None else until
        if keep_last:
            before = -math.inf if kept is None else min(before, kept)
        if first is not None and first < before:
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
    query = select(sessions.c.id, sessions.c.session_id, sessions.c.start_time).where(_in(share), ~_kept())
    if after is not None:
        query = query.where(tuple_(sessions.c.start_time, sessions.c.id) > (after.start_time, after.pk))
    found = connection.execute(query.order_by(sessions.c.start_time, sessions.c.id).limit(CANDIDATES)).all()
    rows = dict.fromkeys((pk for pk, _, _ in found), 0)
    for table in (steps, samples):
        owner = table.c.session_pk
        counts = select(owner, func.count()).where(owner.in_(list(rows))).group_by(owner)
        for pk, number in connection.execute(counts).all():
            rows[pk] += number
    return [Doomed(*row, rows[row.id]) for row in found]


def made_of_steps(connection: Connection, pk: int) -> dict[str, Any] | None:
    """Return the attributes of a session with the measures that only its steps have; None if it has all."""
    own = select(sessions.c.attributes, sessions.c.product_count).where(sessions.c.id == pk)
    found = connection.execute(own).first()
    if found is None:
        return None
    query = select(steps.c.start_time, steps.c.seq, steps.c.additional_data, steps.c.attempts)
    nothing = (None,) * len(NAMES)
    within = (
        (start, seq, of_step(nothing, *documents))
        for start, seq, *documents in connection.execute(query.where(steps.c.session_pk == pk))
    )
    attributes = found.attributes or {}
    made = dict(of_session(nothing, attributes, found.product_count, within))
    more = {name: value for name, value in made.items() if name not in (*attributes, "product_count")}
    return {**attributes, **more} if more else None


def keep_made(connection: Connection, pk: int, attributes: Mapping[str, Any]) -> None:
    """Let a session whose steps are about to go have itself what they make together."""
    connection.execute(update(sessions).where(sessions.c.id == pk).values(attributes=attributes))


def delete_sessions(connection: Connection, doomed: list[Doomed], seconds: float) -> list[str]:
    """Delete sessions for so long, with all that is theirs; return their ids.

    Every session that was looked at leaves ``doomed``, also one that may no longer be deleted. A session with
    many steps or samples loses these first, in as many transactions as it takes.
    """
    until = time.monotonic() + seconds
    commit_at_leisure(connection)
    dialect: Any = type(connection.dialect)
    names, deletion, few = _statements(dialect)
    pruned = PrunedRuns(connection)
    named = {session_id for (session_id,) in names.all(connection)}
    gone: list[str] = []
    while doomed:
        chosen = [each for each in doomed[:few] if each.session_id not in named]
        large = next((each for each in chosen if each.is_large), None)
        if large is not None and (trimmed := _trim(connection, large.pk, pruned)):
            large.rows -= trimmed
        else:
            if pks := [each.pk for each in chosen]:
                runs = pruned.of_sessions(pks)
                for session_id, pk in deletion.all(connection, {"pks": pks if few > 1 else pks[0]}):
                    pruned.took(runs[pk])
                    gone.append(session_id)
            del doomed[:few]
        if time.monotonic() > until:
            break
    pruned.keep()
    return gone


@cache
def _statements(dialect: Any) -> tuple[Prepared, Prepared, int]:
    """Return what runs under the write lock: who is named now, and the delete, with how many it takes."""
    made = dialect()
    few, pks = deleted_at_once(made)
    deletion = delete(sessions).where(sessions.c.id == pks, ~_running(), ~_tagged())
    deletion = deletion.returning(sessions.c.session_id, sessions.c.id)  # type: ignore[assignment]
    return Prepared(_names(), made), Prepared(deletion, made), few


def _trim(connection: Connection, pk: int, pruned: PrunedRuns) -> int:
    """Delete some steps or samples of a session that is too large to go at once, if it may still go."""
    may_go = and_(sessions.c.id == pk, ~_running(), ~_tagged())
    if connection.execute(select(sessions.c.id).where(may_go)).first() is None:
        return 0
    for table, key in ((steps, steps.c.seq), (samples, samples.c.time)):
        of_session = table.c.session_pk == pk
        first = select(key).where(of_session).order_by(key).limit(_AT_ONCE)
        gone = delete(table).where(of_session, key.in_(first))
        if table is steps:
            failed = steps.c.status == FAILED_CODE
            own = (*(steps.c[name] for name in NAMES), steps.c.additional_data, steps.c.attempts)
            rows = gone.returning(
                steps.c.series_id, steps.c.day, steps.c.duration, failed, steps.c.counted, *own
            )
            found = connection.execute(rows).all()
            pruned.took(
                Gone(row.series_id, row.day, row.duration, row[3], of_step(row[5:-2], row[-2], row[-1]))
                for row in found
                if row.counted or row[3]
            )
            deleted = len(found)
        else:
            deleted = connection.execute(gone).rowcount
        if deleted:
            return deleted
    return 0


def find_sent(connection: Connection, until: float) -> list[int]:
    """Return the keys of messages that reached their channel and were written before ``until``."""
    sent = select(outbox.c.id).where(outbox.c.state == SENT, outbox.c.created_at < until)
    return list(connection.execute(sent).scalars())


def delete_rows(
    connection: Connection, table: Table, ids: list[int], seconds: float, *, most: int | None = None
) -> int:
    """Delete rows by their keys for so long, and take these out of ``ids``; return how many were there.

    Args:
        connection: of a role that writes, in a transaction.
        table: whose rows.
        ids: the keys, in place.
        seconds: after which it ends.
        most: that go per statement, between two looks at the clock: few at first, more while there is time.
    """
    few = _FEW
    until = time.monotonic() + seconds
    commit_at_leisure(connection)
    deleted = 0
    while ids:
        gone = delete(table).where(table.c.id.in_(ids[-few:]))
        deleted += connection.execute(gone).rowcount
        del ids[-few:]
        if time.monotonic() > until:
            break
        few = min(2 * few, most or _FEW)
    return deleted


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
    return sessions.c.session_id.in_(_names())


def _names() -> CompoundSelect[tuple[str]]:
    """Return the ids of sessions that an open alert names, or a baseline that a person pinned."""
    is_open = or_(*(alerts.c.state == state for state in OPEN_STATES))  # Prepared takes no lists
    return union(
        select(alerts.c.since_session_id).where(is_open),
        select(alerts.c.last_session_id).where(is_open),
        select(baselines.c.since_session_id),
        select(baselines.c.until_session_id).where(baselines.c.until_session_id.is_not(None)),
    )
