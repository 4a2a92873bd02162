"""Read sessions as records: the one that a person means, those before it, and what is usual.

Nothing here imports pandas: the worker and the live views ask too.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, Unpack

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from perfdb.errors import NotFoundError
from perfdb.filters import Chosen
from perfdb.measures import NAMES, measured
from perfdb.records import FURTHER_OF_SESSION, FURTHER_OF_STEP, Attempt, Event, Sample, Session, Step
from perfdb.stopping import look, looking
from perfdb.store.dialects import is_shared
from perfdb.store.filters import choose_sessions
from perfdb.store.models import (
    COMPLETED_CODE,
    FAILED_CODE,
    INTERRUPTED_CODE,
    LONGEST_TEXT,
    environments,
    from_json,
    samples,
    series,
    session_tags,
    sessions,
    steps,
    storable_text,
)
from perfdb.store.together import together
from perfdb.vocabulary import COMPLETED, MAX_SESSION_ID, STATUSES

_TOGETHER = 300  # sessions, of at most so many steps
_STEPS_TOGETHER = 5_000
_ROWS_TOGETHER = 1_000
_FURTHER = (*NAMES, *FURTHER_OF_STEP)
_FROM_IDS = 1 << 32  # numbers of steps from here on are made of random bits, or of the ids of spans

Key = TypeVar("Key", int, str)


def success_of(status: int, duration: float | None) -> bool | None:
    """Return whether a step went well; None while nobody knows, False also when it was called off."""
    if status == COMPLETED_CODE:
        return True
    return False if status == FAILED_CODE or is_called_off(status, duration) else None


def is_called_off(status: int, duration: float | None) -> bool:
    """Return whether a step was interrupted and has ended; without an end its writer died in it."""
    return status == INTERRUPTED_CODE and duration is not None


def usual_durations(connection: Connection, pipeline: str, mode: str, last: int = 20) -> dict[str, float]:
    """Return the median seconds of each step over the last sessions of a pipeline and mode."""
    chosen = choose_sessions(connection, pipeline=pipeline, mode=mode, counted=True, last=last).cte("chosen")
    query = (
        select(series.c.step_name, steps.c.duration)
        .select_from(chosen)
        .join(steps, steps.c.session_pk == chosen.c.id)
        .join(series, series.c.id == steps.c.series_id)
        .where(steps.c.counted.is_(True))
    )
    durations: dict[str, list[float]] = {}
    for step_name, duration in connection.execute(query):
        durations.setdefault(step_name, []).append(duration)
    return {step_name: statistics.median(values) for step_name, values in durations.items()}


def find_known(connection: Connection, session_ids: Sequence[str]) -> set[str]:
    """Return those of some hundred ids that are in the database."""
    known = select(sessions.c.session_id).where(sessions.c.session_id.in_(session_ids))
    return set(connection.execute(known).scalars())


def find_session_id(connection: Connection, wanted: str) -> str:
    """Return the id that a person means: a whole id, a prefix of one, ``last`` or ``last~1``.

    ``last`` is the session that started last, running or not.

    Raises:
        NotFoundError: none fits, or several do; the message says what to type next.
    """
    if (back := _place_from_last(wanted)) is not None:
        found = connection.execute(_newest(sessions.c.session_id, back)).scalar()
        if found is None:
            there = connection.execute(select(func.count(sessions.c.id))).scalar_one()
            if not there:
                raise NotFoundError("no session is recorded yet; try: perfdb demo")
            raise NotFoundError(f"there is no {wanted}: the history has {there} so far; see: perfdb sessions")
        return str(found)
    # A much longer one is an error of LIKE.
    if not wanted.isascii() or not wanted.isprintable() or not 0 < len(wanted) <= MAX_SESSION_ID:
        raise NotFoundError(f"no session is called {wanted[:MAX_SESSION_ID]!r}; `perfdb sessions` lists them")
    exact = connection.execute(select(sessions.c.session_id).where(sessions.c.session_id == wanted)).scalar()
    if exact is not None:
        return str(exact)
    starts_so = sessions.c.session_id.startswith(wanted, autoescape=True)
    query = select(sessions.c.session_id).where(starts_so).order_by(sessions.c.start_time.desc())
    # LIKE of SQLite does not tell a from A.
    fitting = [each for each in connection.execute(query).scalars() if each.startswith(wanted)]
    if not fitting:
        raise NotFoundError(f"no session id begins with {wanted!r}; `perfdb sessions` lists them")
    if len(fitting) > 1:
        some = ", ".join(fitting[:4]) + (", …" if len(fitting) > 4 else "")
        raise NotFoundError(f"{len(fitting)} session ids begin with {wanted!r}: {some}; give more of the id")
    return str(fitting[0])


def _place_from_last(wanted: str) -> int | None:
    """Return how many sessions began after the one that ``last`` or ``last~1`` means; None of an id."""
    name, tilde, back = wanted.partition("~")
    if name == "last" and (not tilde or (back.isascii() and back.isdigit() and len(back) < 10)):
        return int(back or 0)
    return None


def _newest(column: ColumnElement[Any], back: int) -> Select[Any]:
    return select(column).order_by(sessions.c.start_time.desc(), sessions.c.id.desc()).offset(back).limit(1)


def status_of(connection: Connection, session_id: str) -> str:
    """Return the status of one session.

    Raises:
        NotFoundError: there is none with exactly this id.
    """
    query = select(sessions.c.status).where(sessions.c.session_id == storable_text(session_id))
    code = connection.execute(query).scalar()
    if code is None:
        raise NotFoundError(f"there is no session {session_id!r}; `perfdb sessions` lists them")
    return STATUSES[code]


def read_session(connection: Connection, session_id: str) -> Session:
    """Return one session with its steps and samples.

    Raises:
        NotFoundError: there is none with exactly this id.
    """
    (found,) = _read_together(connection, [session_id])
    return found


def find_session(connection: Connection, wanted: str) -> Session:
    """Return the session that a person means, as ``find_session_id`` does; a whole id is read at once.

    Raises:
        NotFoundError: as ``find_session_id``.
    """
    if (back := _place_from_last(wanted)) is not None:
        newest = _newest(sessions.c.id, back).scalar_subquery()
        for session in _read(connection, sessions.c.id == newest).values():
            return session
    if not is_shared(connection):
        return read_session(connection, find_session_id(connection, wanted))

    def of_this_name() -> Session | None:
        try:
            return read_session(connection, wanted)
        except NotFoundError:
            return None

    session_id, session = together(connection, lambda: find_session_id(connection, wanted), of_this_name)
    if session is None or session.session_id != session_id:
        session = read_session(connection, session_id)
    found: Session = session
    return found


def keys_in_turn(
    connection: Connection, key: ColumnElement[Key], most: int, **filters: Unpack[Chosen]
) -> Iterator[Sequence[Key]]:
    """Yield a column of the sessions that fit, oldest first, so many at a time: there may be millions."""
    # Ordered where they are chosen: SQLite goes along an index then, and keeps none of them for an order.
    chosen = choose_sessions(connection, **filters).add_columns(key.label("key"), sessions.c.start_time)
    of_chosen = chosen.subquery()
    query = select(of_chosen.c.key).order_by(of_chosen.c.start_time, of_chosen.c.id)
    with connection.execute(query) as found:
        yield from found.scalars().partitions(most)


def read_sessions(connection: Connection, **filters: Unpack[Chosen]) -> Iterator[Session]:
    """Yield the sessions that fit as ``read_session`` does, oldest first; small ones are read together."""
    for ids in keys_in_turn(connection, sessions.c.session_id, _TOGETHER, **filters):
        look()
        number = select(func.count()).select_from(steps).join(sessions, sessions.c.id == steps.c.session_pk)
        of_ids = sessions.c.session_id.in_([storable_text(one) for one in ids])
        if connection.execute(number.where(of_ids)).scalar_one() <= _STEPS_TOGETHER:
            yield from _read_together(connection, ids)
        else:
            yield from (read_session(connection, one) for one in ids)


def _read_together(connection: Connection, session_ids: Sequence[str]) -> Iterator[Session]:
    wanted = [storable_text(one) for one in session_ids]
    found = _read(connection, sessions.c.session_id.in_(wanted))
    for session_id, stored in zip(session_ids, wanted, strict=True):
        if stored not in found:
            raise NotFoundError(f"there is no session {session_id!r}; `perfdb sessions` lists them")
        yield found[stored]


def _read(connection: Connection, wanted: ColumnElement[bool]) -> dict[str, Session]:
    """Return the sessions for which a condition holds, by their ids."""
    query = (
        select(sessions, series.c.pipeline, series.c.mode, environments)
        .join(series, series.c.id == sessions.c.series_id)
        .outerjoin(environments, environments.c.id == sessions.c.environment_id)
        .where(wanted)
    )
    pks = select(sessions.c.id).where(wanted)
    rows, tags, taken, found = together(
        connection,
        lambda: connection.execute(query).all(),
        lambda: _tags_of(connection, pks),
        lambda: _samples_of(connection, pks),
        lambda: _steps_of(connection, pks),
    )
    return {
        row.session_id: session_of(
            row, sorted(tags.get(row.id, ())), found.get(row.id, ()), tuple(taken.get(row.id, ()))
        )
        for row in rows
    }


def _tags_of(connection: Connection, pks: Select[tuple[int]]) -> dict[int, list[str]]:
    tags: dict[int, list[str]] = {}
    for row in connection.execute(select(session_tags).where(session_tags.c.session_pk.in_(pks))):
        tags.setdefault(row.session_pk, []).append(row.name)
    return tags


def _samples_of(connection: Connection, pks: Select[tuple[int]]) -> dict[int, list[Sample]]:
    taken: dict[int, list[Sample]] = {}
    in_order = select(samples).where(samples.c.session_pk.in_(pks)).order_by(samples.c.time)
    for row in connection.execute(in_order):
        taken.setdefault(row.session_pk, []).append(
            Sample(time=row.time, cpu_percent=row.cpu_percent or 0.0, rss_bytes=row.rss_bytes or 0)
        )
    return taken


def session_of(
    row: Row[Any], tags: Iterable[str], steps: tuple[Step, ...] = (), samples: tuple[Sample, ...] = ()
) -> Session:
    """Return what a row of ``sessions``, with its series' ``pipeline`` and ``mode``, says of a session."""
    named = row._asdict()  # to ask a row for what it has not takes an exception each time
    further: dict[str, Any] = {name: named.get(name) for name in FURTHER_OF_SESSION}
    return Session(
        session_id=row.session_id,
        pipeline=row.pipeline,
        start_time=row.start_time,
        total_duration=row.total_duration,
        status=STATUSES[row.status],
        fast_mode=row.fast_mode,
        success=row.success,
        product_count=row.product_count,
        error_message=row.error_message and row.error_message[:LONGEST_TEXT],
        mode=row.mode,
        attributes=row.attributes or {},
        tags=tuple(tags),
        steps=steps,
        samples=samples,
        utc_offset=row.utc_offset,
        **measured(row),
        **further,
    )


def past_sessions(
    connection: Connection, session: Session, *, last: int, with_data: bool = False
) -> list[Session]:
    """Return the newest ``last`` sessions of the same pipeline and mode that count and began before one.

    Oldest first, with what is measured of their steps: without samples, attributes, data and events, but
    ``with_data`` with attributes and data.
    """
    chosen = choose_sessions(
        connection,
        pipeline=session.pipeline,
        mode=session.mode,
        counted=True,
        status=COMPLETED,
        until=session.start_time,
        last=last,
    ).with_only_columns(
        sessions.c.id,
        sessions.c.session_id,
        sessions.c.start_time,
        sessions.c.total_duration,
        sessions.c.success,
        *(sessions.c[name] for name in NAMES),
        sessions.c.product_count,
        *([sessions.c.attributes] if with_data else []),
    )
    query = (
        select(
            steps.c.session_pk,
            steps.c.seq,
            steps.c.series_id,
            steps.c.start_time,
            steps.c.duration,
            steps.c.status,
            steps.c.parent_seq,
            steps.c.lane,
            steps.c.attempts,
            *(steps.c[name] for name in NAMES),
            *([steps.c.additional_data] if with_data else []),
        )
        .where(steps.c.session_pk.in_(chosen.with_only_columns(sessions.c.id)))
        .order_by(steps.c.session_pk, steps.c.seq)
    )
    named = select(series.c.id, series.c.step_name).where(
        series.c.pipeline == session.pipeline, series.c.mode == session.mode
    )
    newest_first, kinds, of_steps = together(
        connection,
        lambda: connection.execute(chosen).all(),
        lambda: driver_rows(connection, named),
        lambda: driver_rows(connection, query),
    )
    found, names = newest_first[::-1], dict(kinds)
    of_session: dict[int, list[Step]] = {}
    for pk, seq, number, start, duration, status, parent, lane, attempts, *measures in of_steps:
        step = Step(
            step_name=names[number],
            start_time=start,
            duration=duration,
            success=success_of(status, duration),
            interrupted=is_called_off(status, duration),
            seq=seq,
            parent_seq=parent,
            lane=lane,
            attempts=tuple(_known(Attempt, each) for each in _document(attempts) or ()),
            additional_data=(_document(measures[-1]) or {}) if with_data else {},
            **dict(zip(NAMES, measures, strict=not with_data)),
        )
        of_session.setdefault(pk, []).append(step)
    return [
        Session(
            session_id=row.session_id,
            pipeline=session.pipeline,
            mode=session.mode,
            start_time=row.start_time,
            total_duration=row.total_duration,
            status=COMPLETED,
            success=row.success,
            steps=tuple(of_session.get(row.id, ())),
            product_count=row.product_count,
            attributes=(row.attributes or {}) if with_data else {},
            **measured(row),
        )
        for row in found
    ]


def _steps_of(connection: Connection, pks: Select[tuple[int]]) -> dict[int, tuple[Step, ...]]:
    query = (
        select(
            steps.c.session_pk,
            series.c.step_name,
            steps.c.start_time,
            steps.c.duration,
            steps.c.status,
            steps.c.error_message,
            steps.c.additional_data,
            steps.c.seq,
            steps.c.parent_seq,
            steps.c.lane,
            steps.c.attempts,
            steps.c.events,
            *(steps.c[name] for name in _FURTHER),
        )
        .join(series, series.c.id == steps.c.series_id)
        .where(steps.c.session_pk.in_(pks))
        .order_by(steps.c.session_pk, steps.c.seq)
    )
    of_session: dict[int, list[Step]] = {}
    # in places: to ask a row by names takes most of the time of a session of many steps
    for pk, name, start, duration, status, error, data, seq, parent, lane, attempts, events, *more in looking(
        connection.execute(query).all()
    ):
        step = Step(
            step_name=name,
            start_time=start,
            duration=duration,
            success=success_of(status, duration),
            interrupted=is_called_off(status, duration),
            error_message=error and error[:LONGEST_TEXT],
            additional_data=data or {},
            seq=seq,
            parent_seq=parent,
            lane=lane,
            attempts=tuple(_known(Attempt, each) for each in attempts or ()),
            events=tuple(_known(Event, each) for each in events or ()),
            **dict(zip(_FURTHER, more, strict=True)),
        )
        of_session.setdefault(pk, []).append(step)
    for found in of_session.values():
        if found[-1].seq >= _FROM_IDS:  # they do not say the order of the starts
            found.sort(key=lambda step: (step.start_time, step.seq))
    return {pk: tuple(found) for pk, found in of_session.items()}


def _known(kind: Any, values: Mapping[str, Any]) -> Any:
    """Build an Attempt or Event; a field of a later perfdb is passed over."""
    return kind(**{name: value for name, value in values.items() if name in kind.__dataclass_fields__})


def _document(value: Any) -> Any:
    """Parse a cell of a JSON column, if the driver has not."""
    return from_json(value) if isinstance(value, str) else value


def driver_rows(
    connection: Connection, query: Select[Any], parameters: Mapping[str, Any] | None = None
) -> Sequence[tuple[Any, ...]]:
    """Return the driver's own tuples: SQLAlchemy's rows double the time of a large frame."""
    result = connection.execute(query, parameters)
    rows: Sequence[tuple[Any, ...]] = result.cursor.fetchall()
    result.close()
    return rows


def driver_rows_in_turn(connection: Connection, query: Select[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield ``driver_rows`` while they are read, and ask when the first is wanted: there may be millions."""
    result = connection.execute(query)
    while rows := result.cursor.fetchmany(_ROWS_TOGETHER):
        yield from rows
    result.close()
