"""Hand over the sessions that have ended, in columns; and make a database of such columns.

What goes out and what comes in are the values of the tables, with names in the place of numbers: a lake keeps
them between, and a database that is made of them gives the answers of the one that they are of.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from perfdb.errors import StoreError
from perfdb.records import ENVIRONMENT
from perfdb.store.dialects import as_text, is_shared, take_free_turn
from perfdb.store.engine import connected, shown_url, sqlite_path
from perfdb.store.ingest import ORPHAN, PROVISIONAL
from perfdb.store.models import (
    INTERRUPTED_CODE,
    RUNNING_CODE,
    environments,
    from_json,
    samples,
    series,
    session_tags,
    sessions,
    steps,
    to_json,
)
from perfdb.store.reading import driver_rows
from perfdb.store.rollups import day_of, spoil
from perfdb.store.rows import environment_columns
from perfdb.vocabulary import UNCOUNTED_TAGS

_DAY_S = 86_400
_CHUNK = 500
_LOCK = 0x70657266_6172  # "perfar": one archiver at a time per PostgreSQL database
_WAIT_S, _PAUSE_S = 60.0, 0.02
_IN_FLIGHT = 10_000  # numbers of sessions that transactions may have which are not committed yet
_OF_SESSION = [
    each for each in sessions.columns if each.name not in ("id", "series_id", "environment_id", "journal_pk")
]
_OF_STEP = [each for each in steps.columns if each.name not in ("session_pk", "series_id", "day")]
_DOCUMENTS = ("attributes", "additional_data", "attempts", "events")

Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Extent:
    """Which sessions of a database were looked at: up to a number, without those that were still open."""

    last: int
    name: str  # the session of that number, by which another database is noticed
    held: tuple[int, ...] = ()
    # Of a server, which commits numbers in another order than it gives them: those that may come yet.
    missing: tuple[int, ...] = ()


def find_closed(connection: Connection, since: Extent, now: float, most: int) -> tuple[list[int], Extent]:
    """Return the numbers of sessions that have ended, and how far that looked.

    One whose writer died may still get its end, and a trace its beginning: they are taken for ended a day
    after they began.

    Args:
        connection: of any role.
        since: how far the last look was.
        now: epoch s.
        most: sessions to look at.
    """
    may_change = or_(  # it may get its end, or its beginning
        and_(sessions.c.status == INTERRUPTED_CODE, sessions.c.total_duration.is_(None)),
        sessions.c.source.in_((ORPHAN, PROVISIONAL)),
    )
    is_open = or_(
        sessions.c.status == RUNNING_CODE, and_(may_change, sessions.c.start_time > now - _DAY_S)
    ).label("is_open")
    query = select(sessions.c.id, sessions.c.session_id, is_open)
    found = connection.execute(
        query.where(sessions.c.id > since.last).order_by(sessions.c.id).limit(most)
    ).all()
    awaited = (*since.held, *since.missing)
    before = connection.execute(query.where(sessions.c.id.in_(awaited))).all() if awaited else []
    held = tuple(row.id for row in (*before, *found) if row.is_open)
    closed = [row.id for row in (*before, *found) if not row.is_open]
    last, name = (found[-1].id, found[-1].session_id) if found else (since.last, since.name)
    missing: tuple[int, ...] = ()
    if is_shared(connection):
        first = max(since.last, last - _IN_FLIGHT) + 1
        late = {*since.missing, *range(first, last)}.difference(row.id for row in (*before, *found))
        missing = tuple(sorted(each for each in late if each > last - _IN_FLIGHT))
    return closed, Extent(last, name, held, missing)


def is_same(connection: Connection, since: Extent) -> bool:
    """Tell whether this is still the database that was looked at, and not one that took its place."""
    if not since.last:
        return True
    named = connection.execute(select(sessions.c.session_id).where(sessions.c.id == since.last)).scalar()
    if named is not None:
        return bool(named == since.name)
    return bool((connection.execute(select(func.max(sessions.c.id))).scalar() or 0) > since.last)


@contextmanager
def sole_archiver(url: str) -> Iterator[None]:
    """Keep others from handing over a database meanwhile; a process that dies lets go of it.

    A folder that cannot be locked, as of some file systems, is not.

    Raises:
        StoreError: somebody else is at it for longer than a minute.
    """
    path = sqlite_path(url)
    with ExitStack() as held:
        if path is not None:
            try:
                descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                yield
                return
            held.callback(os.close, descriptor)
            held.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)  # a forked child may hold it open

            def take() -> bool:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                except OSError:
                    pass
                return True

        else:
            connection = held.enter_context(connected(url, role="reader"))
            held.enter_context(connection.begin())

            def take() -> bool:
                return take_free_turn(connection, _LOCK)

        until = time.monotonic() + _WAIT_S
        while not take():
            if time.monotonic() > until:
                raise StoreError(f"another program archives {shown_url(url)}: try again later")
            time.sleep(_PAUSE_S)
        yield


def read_tags(connection: Connection) -> Iterator[tuple[int, str, float, list[str]]]:
    """Yield the number, the name, the start and the sorted tags of each session with tags, in order."""
    query = (
        select(sessions.c.id, sessions.c.session_id, sessions.c.start_time, session_tags.c.name)
        .join(sessions, sessions.c.id == session_tags.c.session_pk)
        .order_by(sessions.c.id)
    )
    for key, rows in groupby(driver_rows(connection, query), key=lambda row: row[:3]):
        yield (*key, sorted(row[3] for row in rows))


def starts_of(connection: Connection, session_ids: Sequence[str]) -> dict[str, float]:
    """Return when the sessions began (epoch s): those that the database has."""
    found: dict[str, float] = {}
    for first in range(0, len(session_ids), _CHUNK):
        some = sessions.c.session_id.in_(session_ids[first : first + _CHUNK])
        query = select(sessions.c.session_id, sessions.c.start_time).where(some)
        found.update((row[0], row[1]) for row in driver_rows(connection, query))
    return found


def read_columns(connection: Connection, numbers: Sequence[int]) -> tuple[Columns, Columns]:
    """Return the values of these sessions, and of their steps in the order of the sessions.

    Of sessions the names, the environment, ``tags`` (sorted) and ``samples`` (both JSON) are added; of
    steps ``pipeline``, ``mode``, ``step_name`` and ``place``, that of their session. Documents are text.
    """
    wanted = (
        select(
            sessions.c.id,
            series.c.pipeline,
            series.c.mode,
            *_texts(connection, _OF_SESSION),
            *(environments.c[name] for name in ENVIRONMENT),
        )
        .join(series, series.c.id == sessions.c.series_id)
        .outerjoin(environments, environments.c.id == sessions.c.environment_id)
        .where(sessions.c.id.in_(numbers))
        .order_by(sessions.c.id)
    )
    of_sessions = _columns(connection, wanted)
    places = {number: place for place, number in enumerate(of_sessions.pop("id"))}
    tags: list[list[str]] = [[] for _ in places]
    for pk, name in driver_rows(
        connection,
        select(session_tags.c.session_pk, session_tags.c.name).where(session_tags.c.session_pk.in_(numbers)),
    ):
        tags[places[pk]].append(name)
    of_sessions["tags"] = [json.dumps(sorted(each), ensure_ascii=False) if each else None for each in tags]
    of_sessions["excluded"] = [any(tag in UNCOUNTED_TAGS for tag in each) for each in tags]
    read: list[list[Any]] = [[] for _ in places]
    for pk, *sample in driver_rows(
        connection,
        select(samples)
        .where(samples.c.session_pk.in_(numbers))
        .order_by(samples.c.session_pk, samples.c.time),
    ):
        read[places[pk]].append(sample)
    of_sessions["samples"] = [json.dumps(each) if each else None for each in read]
    wanted = (
        select(
            steps.c.session_pk,
            series.c.pipeline,
            series.c.mode,
            series.c.step_name,
            *_texts(connection, _OF_STEP),
        )
        .join(series, series.c.id == steps.c.series_id)
        .where(steps.c.session_pk.in_(numbers))
        .order_by(steps.c.session_pk, steps.c.seq)
    )
    of_steps = _columns(connection, wanted)
    of_steps["place"] = [places[pk] for pk in of_steps.pop("session_pk")]
    return of_sessions, of_steps


def fill(
    connection: Connection,
    of_sessions: Columns,
    of_steps: Columns,
    annotations: Sequence[tuple[float, str, str | None, float]] = (),
) -> None:
    """Put the columns into an empty database of SQLite, the sessions numbered in their order.

    Args:
        connection: in a transaction of a writer.
        of_sessions: as ``read_columns`` returns them; a column that is missing is unknown.
        of_steps: the same.
        annotations: instant, text, pipeline, when it was said.
    """
    names: dict[tuple[str, str | None, str], int] = {}

    def numbered(columns: Columns, steps: Iterable[str | None]) -> list[int]:
        keys = zip(columns["pipeline"], steps, columns["mode"], strict=True)
        return [names.setdefault(key, len(names) + 1) for key in keys]

    count = len(of_sessions["session_id"])
    total_series = numbered(of_sessions, [None] * count)
    step_series = numbered(of_steps, of_steps["step_name"])
    known: dict[tuple[Any, ...], int | None] = {}
    rows_of: list[tuple[Any, ...]] = []
    environment: list[int | None] = []
    for key in zip(*(of_sessions[name] for name in ENVIRONMENT), strict=True):
        if key not in known:
            row = environment_columns(dict(zip(ENVIRONMENT, key, strict=True)))
            known[key] = None if row is None else len(rows_of) + 1
            if row is not None:
                rows_of.append((len(rows_of) + 1, row["digest"], *key))
        environment.append(known[key])
    numbers = range(1, count + 1)
    _insert(
        connection,
        "series",
        ("id", "pipeline", "step_name", "mode"),
        [(n, p, s, m) for (p, s, m), n in names.items()],
    )
    _insert(connection, "environments", ("id", "digest", *ENVIRONMENT), rows_of)
    columns = [each.name for each in _OF_SESSION if each.name in of_sessions]
    _insert(
        connection,
        "sessions",
        ("id", "series_id", "environment_id", *columns),
        zip(numbers, total_series, environment, *(of_sessions[name] for name in columns), strict=True),
    )
    columns = [each.name for each in _OF_STEP if each.name in of_steps]
    _insert(
        connection,
        "steps",
        ("session_pk", "series_id", "day", *columns),
        zip(
            [place + 1 for place in of_steps["place"]],
            step_series,
            [int(start // _DAY_S) for start in of_steps["start_time"]],
            *(of_steps[name] for name in columns),
            strict=True,
        ),
    )
    spoil(connection, {day_of(start) for start in (*of_sessions["start_time"], *of_steps["start_time"])})
    tags = [
        (n, tag)
        for n, text in zip(numbers, of_sessions["tags"], strict=True)
        if text
        for tag in from_json(text)
    ]
    _insert(connection, "session_tags", ("session_pk", "name"), tags)
    read = [
        (n, *each)
        for n, text in zip(numbers, of_sessions["samples"], strict=True)
        if text
        for each in from_json(text)
    ]
    _insert(connection, "samples", ("session_pk", "time", "cpu_percent", "rss_bytes"), read)
    _insert(connection, "annotations", ("at", "text", "pipeline", "created_at"), annotations)


def _insert(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    found = list(rows)
    if found:
        signs = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({signs})", found)


def _texts(connection: Connection, columns: Iterable[Any]) -> Iterator[Any]:
    """Yield the columns, documents as text where the driver would parse them."""
    for each in columns:
        is_parsed = each.name in _DOCUMENTS and is_shared(connection)
        yield as_text(connection, each).label(each.name) if is_parsed else each


def _columns(connection: Connection, query: Select[Any]) -> Columns:
    result = connection.execute(query)
    names = list(result.keys())
    rows = result.cursor.fetchall()
    result.close()
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    found = dict(zip(names, columns, strict=True))
    for name in _DOCUMENTS:
        if name in found:
            found[name] = [
                each if each is None or isinstance(each, str) else to_json(each) for each in found[name]
            ]
    return found
