"""What happened around the runs: what somebody said (annotations), and what they show (switches).

A switch is the first run of a series with another commit, host, version or model than those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, or_, select

from perfdb.errors import NotFoundError
from perfdb.stopping import looking
from perfdb.store.dialects import text_in
from perfdb.store.models import annotated, environments, series, sessions, storable_text
from perfdb.store.together import for_each

KINDS = {
    "commit": environments.c.git_commit,
    "host": environments.c.host,
    "Python": environments.c.python_version,
    "perfdb": environments.c.perfdb_version,
}
"""What an environment tells; beside it these attributes are looked at."""

ATTRIBUTES = ("model", "version")
MOST_OF_A_KIND = 12  # of more the newest
_BEFORE = 50  # runs before a window whose values are no news in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """Something that somebody said happened at an instant (epoch s), to one pipeline or to all (None)."""

    id: int
    at: float
    text: str
    pipeline: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class Switch:
    """The first run with another value: ``kind`` is commit, host, Python, perfdb, model or version."""

    kind: str
    value: str
    at: float


def add_annotation(
    connection: Connection, text: str, at: float, created_at: float, pipeline: str | None = None
) -> Annotation:
    """Keep an annotation; return it with its number."""
    given = {"at": at, "text": storable_text(text), "pipeline": pipeline, "created_at": created_at}
    number = connection.execute(insert(annotated).values(**given).returning(annotated.c.id)).scalar_one()
    return Annotation(id=int(number), **given)  # type: ignore[arg-type]


def remove_annotation(connection: Connection, number: int) -> None:
    """Forget an annotation.

    Raises:
        NotFoundError: there is none of this number.
    """
    if (
        not 0 < number < 1 << 63
        or not connection.execute(delete(annotated).where(annotated.c.id == number)).rowcount
    ):
        raise NotFoundError(f"there is no annotation {number}; see: perfdb annotations")


def read_annotations(
    connection: Connection,
    *,
    pipeline: str | None = None,
    since: float | None = None,
    until: float | None = None,
    newest: int | None = None,
) -> list[Annotation]:
    """Return annotations, oldest first; of a pipeline also those of all; ``newest``: so many at most."""
    query = select(annotated).order_by(annotated.c.at.desc(), annotated.c.id.desc()).limit(newest)
    if pipeline is not None:
        query = query.where(or_(annotated.c.pipeline.is_(None), annotated.c.pipeline == pipeline))
    if since is not None:
        query = query.where(annotated.c.at >= since)
    if until is not None:
        query = query.where(annotated.c.at < until)
    return [Annotation(**row) for row in connection.execute(query).mappings()][::-1]


def annotated_at(connection: Connection, word: str) -> float | None:
    """Return when what was last annotated with such a text happened; None if nothing was."""
    query = select(annotated.c.at, annotated.c.text).order_by(annotated.c.at.desc(), annotated.c.id.desc())
    small = word.casefold()
    with connection.execute(query) as rows:
        return next((row.at for row in looking(rows) if small and small in row.text.casefold()), None)


def switches(connection: Connection, pipeline: str, mode: str, since: float, until: float) -> list[Switch]:
    """Return the switches among the sessions of a pipeline and mode between two moments, oldest first."""
    number = select(series.c.id).where(
        series.c.pipeline == pipeline, series.c.mode == mode, series.c.step_name.is_(None)
    )
    of_series = sessions.c.series_id == number.scalar_subquery()
    before = (
        select(sessions.c.id)
        .where(of_series, sessions.c.start_time < since)
        .order_by(sessions.c.start_time.desc())
        .limit(_BEFORE)
    )
    old, new = for_each(
        connection,
        partial(_first_runs, connection),
        (sessions.c.id.in_(before), of_series & sessions.c.start_time.between(since, until)),
    )
    found: list[Switch] = []
    for kind, firsts in new.items():
        known = set(old[kind])
        if not known and firsts:  # what the first run of all has is no switch
            known = {min(firsts, key=firsts.__getitem__)}
        fresh = [Switch(kind, value, at) for value, at in firsts.items() if value not in known]
        found += sorted(fresh, key=lambda each: each.at)[-MOST_OF_A_KIND:]
    return sorted(found, key=lambda each: (each.at, each.kind))


def _first_runs(connection: Connection, where: Any) -> dict[str, dict[str, float]]:
    """Return when each value of each kind was seen first among the sessions."""
    names = [*KINDS, *ATTRIBUTES]
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for *values, at in _rows(connection, where):
        for name, value in zip(names, values, strict=True):
            if value is not None and at < found[name].get(str(value), float("inf")):
                found[name][str(value)] = at
    return found


def _rows(connection: Connection, where: Any) -> Sequence[Any]:
    attributes = [text_in(connection, sessions.c.attributes, name).label(name) for name in ATTRIBUTES]
    firsts = (
        select(sessions.c.environment_id, *attributes, func.min(sessions.c.start_time).label("at"))
        .where(where)
        .group_by(sessions.c.environment_id, *attributes)
        .subquery()
    )
    query: Select[Any] = select(*KINDS.values(), *(firsts.c[name] for name in ATTRIBUTES), firsts.c.at)
    return connection.execute(
        query.select_from(firsts).outerjoin(environments, environments.c.id == firsts.c.environment_id)
    ).all()
