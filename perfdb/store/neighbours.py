"""Read the sessions on both sides of a moment: the critical seconds of each step, and facts.

Few queries along the indexes, for the sessions that count; plain values, because the worker asks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, Select, func, literal_column, select, union_all

from perfdb.critical_path import Span, critical_seconds, deepest_first, resolved_parents, since, with_inside
from perfdb.records import ENVIRONMENT
from perfdb.store.dialects import is_shared
from perfdb.store.filters import choose_sessions
from perfdb.store.models import COMPLETED_CODE, environments, from_json, series, sessions, steps
from perfdb.store.reading import driver_rows, driver_rows_in_turn
from perfdb.store.together import together

MOST_STEPS = 20_000  # read at once; sessions of more steps have fewer neighbours


@dataclass(slots=True)
class Neighbour:
    """A session that counts.

    ``seconds``: critical seconds per top-level step, and of no step under None, which add up to the total;
    ``inside``: those that a step inside of it held up by itself, by both names;
    ``facts``: attributes, environment, and the data of its steps as ``model of Vision Analysis``.
    """

    session_id: str
    start_time: float
    total_duration: float
    seconds: dict[str | None, float] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    inside: dict[tuple[str, str], float] = field(default_factory=dict)


def read_neighbours(
    connection: Connection,
    pipeline: str,
    mode: str,
    moment: float,
    *,
    before: int,
    after: int,
    since: float | None = None,
    until: float | None = None,
    timed: bool = True,
    **filters: Any,
) -> tuple[list[Neighbour], int]:
    """Return the sessions around a moment, oldest first, and how many of them began before it.

    Args:
        connection: of any role.
        pipeline: theirs.
        mode: theirs.
        moment: epoch s.
        before: how many that began before the moment, at most.
        after: how many that began at it or later, at most.
        since: none that began before it (epoch s).
        until: none that began at it or later.
        timed: with the seconds of their steps.
        filters: only sessions that fit, see ``filters.choose_sessions``.
    """
    around = _sessions().where(
        series.c.pipeline == pipeline, series.c.mode == mode, series.c.step_name.is_(None)
    )
    if since is not None:
        around = around.where(sessions.c.start_time >= since)
    if until is not None:
        around = around.where(sessions.c.start_time < until)
    if any(value is not None for value in filters.values()):
        around = around.where(sessions.c.id.in_(choose_sessions(connection, counted=True, **filters)))
    older = around.where(sessions.c.start_time < moment).order_by(
        sessions.c.start_time.desc(), sessions.c.id.desc()
    )
    newer = around.where(sessions.c.start_time >= moment).order_by(sessions.c.start_time, sessions.c.id)
    of_one = _steps_of_one(pipeline, mode, moment)
    rows_of_steps: Iterable[Any]
    if is_shared(connection):
        per_session = func.greatest(1, of_one.scalar_subquery())
        fewer = func.greatest(10, literal_column(str(MOST_STEPS // 2)) / per_session, type_=Integer)
        older, newer = older.limit(func.least(before, fewer)), newer.limit(func.least(after, fewer))
        pks = [select(query.subquery().c.id) for query in (older, newer)]
        chosen = steps.c.session_pk.in_(union_all(*pks))
        before_it, since_then, rows_of_steps = together(
            connection,
            lambda: connection.execute(older).all(),
            lambda: connection.execute(newer).all(),
            lambda: driver_rows(connection, _steps_in(chosen, timed=timed)),
        )
    else:
        each: int = connection.execute(of_one).scalar_one()
        most = max(10, MOST_STEPS // (2 * max(1, each)))
        before_it = connection.execute(older.limit(min(before, most))).all()
        since_then = connection.execute(newer.limit(min(after, most))).all()
        numbers = [row.id for row in (*before_it, *since_then)]
        rows_of_steps = driver_rows_in_turn(
            connection, _steps_in(steps.c.session_pk.in_(numbers), timed=timed)
        )
    found = {
        row.id: Neighbour(row.session_id, row.start_time, row.total_duration, {}, _facts(row))
        for row in (*before_it[::-1], *since_then)
    }
    _add_steps(rows_of_steps, found, timed=timed)
    return list(found.values()), len(before_it)


def _steps_of_one(pipeline: str, mode: str, moment: float) -> Select[Any]:
    """Return a query for how many steps a session near the moment has."""
    near = (
        select(sessions.c.id)
        .join(series, series.c.id == sessions.c.series_id)
        .where(series.c.pipeline == pipeline, series.c.mode == mode, sessions.c.start_time >= moment)
        .order_by(sessions.c.start_time)
        .limit(1)
        .scalar_subquery()
    )
    return select(func.count()).select_from(steps).where(steps.c.session_pk == near)


def _facts(row: Any) -> dict[str, object]:
    facts = dict(row.attributes or {})
    facts.pop("events", None)  # what happened, with times: never the same twice
    if row.fast_mode is not None:
        facts["fast_mode"] = row.fast_mode
    return facts | {name: value for name in ENVIRONMENT if (value := getattr(row, name)) is not None}


def _steps_in(chosen: ColumnElement[bool], *, timed: bool) -> Select[Any]:
    """Return a query for the steps of sessions; without their times only for those that have data."""
    found = select(
        steps.c.session_pk,
        steps.c.seq,
        steps.c.parent_seq,
        steps.c.start_time,
        steps.c.duration,
        steps.c.additional_data,
        series.c.step_name,
    ).join(series, series.c.id == steps.c.series_id)
    having = () if timed else (steps.c.additional_data.is_not(None),)
    return found.where(chosen, *having).order_by(steps.c.session_pk, steps.c.seq)


class _Ran(NamedTuple):
    """A step that ran: its name, its data and when."""

    name: str
    data: Any
    span: Span


def _add_steps(rows_of_steps: Iterable[Any], found: Mapping[int, Neighbour], *, timed: bool) -> None:
    of_session: dict[int, list[_Ran]] = {}
    for pk, seq, parent_seq, start, duration, data, name in rows_of_steps:
        end = None if duration is None else start + duration
        of_session.setdefault(pk, []).append(_Ran(name, from_json(data), Span(seq, parent_seq, start, end)))
    for pk, neighbour in found.items():
        rows = of_session.get(pk, [])
        neighbour.facts.update(_step_facts((name, data) for name, data, _ in rows))
        if not timed:
            continue
        names, spans = [name for name, *_ in rows], [span for *_, span in rows]
        seconds, inside = _seconds_of(names, since(neighbour.start_time, spans), neighbour.total_duration)
        neighbour.seconds.update(seconds)
        neighbour.inside.update(inside)


def _seconds_of(
    names: list[str], spans: list[Span], wall: float
) -> tuple[dict[str | None, float], dict[tuple[str, str], float]]:
    """Return the critical seconds of each top-level step with all below it, and of no step; of those below.

    Of a step that holds all others the answer has the steps within it, and what it did itself.
    """
    parents = resolved_parents(spans)
    exclusive = critical_seconds(spans, 0.0, wall, parents=parents)
    inclusive = with_inside(exclusive, parents)
    name_of = {span.seq: name for name, span in zip(names, spans, strict=True)}
    seconds: dict[str | None, float] = {None: inclusive[None]}
    level = [seq for seq, parent in parents.items() if parent is None]
    while len(level) == 1:
        within = [seq for seq, parent in parents.items() if parent == level[0]]
        if not within:
            break
        name = name_of[level[0]]
        seconds[name] = seconds.get(name, 0.0) + exclusive[level[0]]
        level = within
    for seq in level:
        seconds[name_of[seq]] = seconds.get(name_of[seq], 0.0) + inclusive[seq]
    inside: dict[tuple[str, str], float] = {}
    top = {seq: seq for seq in level}
    for seq in reversed(list(deepest_first(parents))):  # a parent before what is inside of it
        parent = parents[seq]
        above = None if parent is None else top.get(parent)
        if above is not None and seq not in top:
            top[seq] = above
            key = name_of[above], name_of[seq]
            inside[key] = inside.get(key, 0.0) + exclusive[seq]
    return seconds, inside


def _step_facts(rows: Iterable[tuple[str, Any]]) -> dict[str, object]:
    """Return the data of the steps that ran once; a repeated step has several values."""
    seen: set[str] = set()
    facts: dict[str, object] = {}
    for step_name, data in rows:
        for key, value in (data or {}).items():
            if not isinstance(value, str | bool | int | float):
                continue
            name = f"{key} of {step_name}"
            if name in seen and facts.get(name) != value:
                facts.pop(name, None)
            elif name not in seen:
                facts[name] = value
            seen.add(name)
    return facts


def _sessions() -> Select[Any]:
    return (
        select(
            sessions.c.id,
            sessions.c.session_id,
            sessions.c.start_time,
            sessions.c.total_duration,
            sessions.c.fast_mode,
            sessions.c.attributes,
            *(environments.c[name] for name in ENVIRONMENT),
        )
        .join(series, series.c.id == sessions.c.series_id)
        .outerjoin(environments, environments.c.id == sessions.c.environment_id)
        .where(
            sessions.c.counted.is_(True),
            sessions.c.status == COMPLETED_CODE,
            sessions.c.total_duration.is_not(None),
        )
    )
