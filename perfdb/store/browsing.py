"""What pages ask for: sessions page by page along a key, which series there are, what runs now.

No query here grows with the history: pages go by key, never by OFFSET, and counting stops at a limit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, or_, select, text, tuple_

from perfdb.filters import DAY_S
from perfdb.records import Session
from perfdb.stopping import seconds_left
from perfdb.store.attribute_digests import Searched, hours_with, search
from perfdb.store.dialects import among, as_text, has_key, interrupted_after, is_shared, starts_with
from perfdb.store.filters import choose_sessions
from perfdb.store.models import (
    environments,
    series,
    session_tags,
    sessions,
    steps,
    storable_name,
    storable_text,
)
from perfdb.store.reading import driver_rows, read_session, session_of
from perfdb.store.together import for_each, together
from perfdb.vocabulary import STATUSES

Sort = Literal["newest", "oldest", "slowest", "fastest"]

MOST_SERIES = 2_000
_MOST_OF_ALL = 100_000
_MOST_SORTED = 5_000  # that are looked at before all that fit are
_COUNTING_S = 5.0  # of all sessions: a hostile file may have its pages many times
PLACES = ("host", "git_commit", "git_branch", "python_version")
"""What is known of where a session ran, that can stand beside it in a list."""

_SORTS: dict[str, tuple[Any, bool]] = {
    "newest": (sessions.c.start_time, True),
    "oldest": (sessions.c.start_time, False),
    "slowest": (sessions.c.total_duration, True),
    "fastest": (sessions.c.total_duration, False),
}


class Key(NamedTuple):
    """Where a page begins or ends: the value that it is sorted by, and the session's number."""

    value: float
    pk: int


@dataclass(frozen=True, slots=True)
class Page:
    """Sessions without their steps, in the order asked for; the keys are None at the ends."""

    sessions: list[Session]
    after: Key | None
    before: Key | None


def session_page(
    connection: Connection,
    *,
    sort: Sort = "newest",
    after: Key | None = None,
    before: Key | None = None,
    limit: int = 50,
    prefix: str | None = None,
    found: Collection[int] | None = None,
    named: Collection[str] | None = None,
    with_places: bool = False,
    **filters: Any,
) -> Page:
    """Return a page of the sessions that fit.

    Args:
        connection: of any role.
        sort: by start, or by total duration; what has no total is left out there.
        after: the page that follows this key.
        before: instead, the page that ends before this key.
        limit: sessions on a page.
        prefix: of their ids.
        found: of these, which ``search_text`` found by the same filters.
        named: of these ids.
        with_places: with host, commit and the like, too.
        filters: see ``filters.choose_sessions``.
    """
    column, falling = _SORTS[sort]
    backwards = before is not None
    key = before if before is not None else after
    query = _fitting(connection, prefix, found, filters).with_only_columns(
        sessions, series.c.pipeline, series.c.mode
    )
    query = query.join(series, series.c.id == sessions.c.series_id)
    if with_places:
        query = query.add_columns(*(environments.c[name] for name in PLACES))
        query = query.outerjoin(environments, environments.c.id == sessions.c.environment_id)
    if named is not None:
        query = query.where(sessions.c.session_id.in_(named))
    bounds: list[ColumnElement[bool]] = []
    if column is sessions.c.total_duration:
        bounds.append(column.is_not(None))
    falls = falling != backwards
    if key is not None:
        place = tuple_(column, sessions.c.id)
        bound = tuple_(key.value, key.pk)
        bounds.append(place < bound if falls else place > bound)
    order = (column.desc(), sessions.c.id.desc()) if falls else (column, sessions.c.id)
    query = query.where(*bounds).order_by(*order).limit(limit + 1)
    if is_shared(connection):
        rows, tags = together(
            connection,
            lambda: list(connection.execute(query)),
            lambda: _tags_of(connection, query.with_only_columns(sessions.c.id)),
        )
    else:
        rows = []
        if column is sessions.c.total_duration and any(value is not None for value in filters.values()):
            # An index knows the first of all in this order, most pages are of these; else SQLite sorts.
            first = select(sessions.c.id).where(*bounds).order_by(*order).limit(_MOST_SORTED)
            rows = list(connection.execute(query.where(sessions.c.id.in_(first))))
        if len(rows) <= limit:
            rows = list(connection.execute(query))
        tags = _tags_of(connection, [row.id for row in rows[:limit]])
    more = len(rows) > limit
    rows = rows[:limit]
    if backwards:
        rows.reverse()
    keys = [Key(getattr(row, column.name), row.id) for row in rows]
    return Page(
        [session_of(row, tags.get(row.id, [])) for row in rows],
        after=keys[-1] if keys and (more or backwards) else None,
        before=keys[0] if keys and (more if backwards else after is not None) else None,
    )


def count_all(connection: Connection) -> int:
    """Return how many sessions there are."""
    with interrupted_after(connection, min(seconds_left(), _COUNTING_S)):
        return int(connection.execute(select(func.count()).select_from(sessions)).scalar_one())


def count_sessions(
    connection: Connection,
    *,
    most: int,
    prefix: str | None = None,
    **filters: Any,
) -> tuple[int, bool]:
    """Return how many sessions fit, and whether that is all of them.

    Counting stops at ``most``. Without a filter more are counted: all of a file, in its smallest index, and
    up to 100,000 of a server, which reads each.
    """
    if prefix is None and all(value is None for value in filters.values()):
        if not is_shared(connection):
            return count_all(connection), True
        most = max(most, _MOST_OF_ALL)
    fitting = _fitting(connection, prefix, None, filters).limit(most + 1).subquery()
    count = int(connection.execute(select(func.count()).select_from(fitting)).scalar_one())
    return min(count, most), count <= most


class Fitting(NamedTuple):
    """Sessions that fit, as counting needs them: a column each, in one order."""

    start_times: Sequence[float] = ()
    statuses: Sequence[str] = ()
    pipelines: Sequence[str] = ()
    modes: Sequence[str] = ()
    branches: Sequence[str | None] = ()


def newest_fitting(
    connection: Connection,
    *,
    most: int,
    with_attributes: int,
    prefix: str | None = None,
    found: Collection[int] | None = None,
    **filters: Any,
) -> tuple[Fitting, list[Mapping[str, Any]]]:
    """Return the newest sessions that fit, so many at most, and the attributes of the first of them."""
    chosen = _fitting(connection, prefix, found, filters)
    newest = (sessions.c.start_time.desc(), sessions.c.id.desc())
    columns = (
        sessions.c.start_time, sessions.c.status, series.c.pipeline, series.c.mode, environments.c.git_branch,
    )  # fmt: skip
    query = (
        chosen.with_only_columns(*columns)
        .join(series, series.c.id == sessions.c.series_id)
        .outerjoin(environments, environments.c.id == sessions.c.environment_id)
        .order_by(*newest)
        .limit(most)
    )
    by_column: list[Any] = list(zip(*driver_rows(connection, query), strict=True))
    if by_column:
        by_column[1] = [STATUSES[code] for code in by_column[1]]
    fitting = Fitting(*by_column)
    own = chosen.with_only_columns(sessions.c.attributes).order_by(*newest).limit(with_attributes)
    return fitting, [each for each in connection.execute(own).scalars() if isinstance(each, dict)]


_NEVER = -1e300  # before all times: the two databases sort NULL apart


def total_series(connection: Connection, *, most: int) -> list[tuple[int, str, str]]:
    """Return (number, pipeline, mode) of what ran last, the newest first."""
    own = select(func.max(sessions.c.start_time)).where(sessions.c.series_id == series.c.id)
    newest = func.coalesce(own.scalar_subquery(), _NEVER).label("newest")
    query = (
        select(series.c.id, series.c.pipeline, series.c.mode, newest)
        .where(series.c.step_name.is_(None))
        .order_by(newest.desc(), series.c.id)
        .limit(most)
    )
    rows = connection.execute(query)
    return [(number, pipeline, mode) for number, pipeline, mode, began in rows if began > _NEVER]


def runs_of_newest_day(connection: Connection, number: int, *, most: int) -> int | None:
    """Return how many runs of a total's series began in the day until its newest one.

    None where none is older than that, and where there are ``most`` or more.
    """
    began = sessions.c.start_time
    of_series = sessions.c.series_id == number
    day_before = select(func.max(began) - DAY_S).where(of_series).scalar_subquery()
    counted = select(began).where(of_series, began > day_before).limit(most).subquery()
    query = select(
        select(func.count()).select_from(counted).scalar_subquery(),
        select(func.min(began)).where(of_series).scalar_subquery() <= day_before,
    )
    n, has_older = connection.execute(query).one()
    return n if has_older and n < most else None


def most_run(
    connection: Connection, *, last: int, since: float | None = None, until: float | None = None
) -> list[tuple[str, str]]:
    """Return (pipeline, mode) of what ran most often among so many of the newest sessions of a window."""
    newest = select(sessions.c.series_id, sessions.c.start_time).order_by(sessions.c.start_time.desc())
    if since is not None:
        newest = newest.where(sessions.c.start_time >= since)
    if until is not None:
        newest = newest.where(sessions.c.start_time < until)
    own = newest.limit(last).subquery()
    query = (
        select(series.c.pipeline, series.c.mode)
        .join(own, own.c.series_id == series.c.id)
        .group_by(series.c.id, series.c.pipeline, series.c.mode)
        .order_by(func.count().desc(), func.max(own.c.start_time).desc(), series.c.id)
    )
    return [(pipeline, mode) for pipeline, mode in connection.execute(query)]


def pipelines(connection: Connection) -> list[str]:
    """Return the names of all pipelines, sorted."""
    query = select(series.c.pipeline).where(series.c.step_name.is_(None)).distinct()
    return sorted(connection.execute(query).scalars())


def pipelines_with(connection: Connection, step: str) -> list[str]:
    """Return the names of the pipelines that have a step of this name, sorted."""
    query = select(series.c.pipeline).where(series.c.step_name == storable_name(step)).distinct()
    return sorted(connection.execute(query).scalars())


_NAMES = {
    "pipeline": series.c.pipeline,
    "mode": series.c.mode,
    "step": series.c.step_name,
    "tag": session_tags.c.name,
    "branch": environments.c.git_branch,
}


def has_name(connection: Connection, kind: str, name: str) -> bool:
    """Say whether something of this kind was ever called so, such as a tag; of deleted sessions too."""
    column = _NAMES[kind]
    return (
        connection.execute(select(column).where(column == storable_name(name)).limit(1)).first() is not None
    )


def names_of(connection: Connection, kind: str, *, most: int = 10_000) -> list[str]:
    """Return the names that pipelines, steps, tags, branches or modes have."""
    column = _NAMES[kind]
    query = select(column).where(column.is_not(None)).distinct().limit(most)
    return list(connection.execute(query).scalars())


def has_attribute_called(
    connection: Connection, name: str, *, of_steps: bool = False, most: int = 100_000
) -> bool:
    """Say whether a session may have an attribute of this name, or a step where that is asked, too.

    Only the newest are looked through: in a history that has more, the others may have it.
    """
    key = storable_name(name)
    newest = [select(sessions.c.attributes.label("document")).order_by(sessions.c.start_time.desc())]
    if of_steps:
        newest.append(select(steps.c.additional_data.label("document")).order_by(steps.c.session_pk.desc()))
    for query in newest:
        looked = query.limit(most).subquery()
        has_it = select(looked.c.document).where(has_key(connection, looked.c.document, key)).exists()
        if connection.execute(select(or_(has_it, query.offset(most).limit(1).exists()))).scalar_one():
            return True
    return False


def attributes_called(connection: Connection, *, of_steps: bool = False, most: int = 1_000) -> list[str]:
    """Return the names of the attributes of the newest sessions, or of the newest steps, too."""
    newest = [select(sessions.c.attributes).order_by(sessions.c.start_time.desc()).limit(most)]
    if of_steps:
        newest.append(select(steps.c.additional_data).order_by(steps.c.session_pk.desc()).limit(most))
    found = (each for query in newest for each in connection.execute(query).scalars())
    return sorted({name for document in found if isinstance(document, dict) for name in document})


def newest_branch(connection: Connection, *, besides: str) -> str | None:
    """Return the branch of the newest session that ran on another one than this."""
    query = (
        select(environments.c.git_branch)
        .join(sessions, sessions.c.environment_id == environments.c.id)
        .where(environments.c.git_branch != besides)
        .order_by(sessions.c.start_time.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def newest_commits(connection: Connection, *, most: int) -> list[str]:
    """Return the commits that were seen last, the newest first: of the environments, which are few."""
    query = select(environments.c.git_commit).order_by(environments.c.id.desc()).limit(200)
    found = dict.fromkeys(commit for commit in connection.execute(query).scalars() if commit)
    return list(found)[:most]


def first_run_of_commit(connection: Connection, beginning: str) -> float | None:
    """Return when the first session ran on the commit that begins so; None if there is none."""
    if not beginning:
        return None
    places = select(environments.c.id).where(
        starts_with(connection, environments.c.git_commit, storable_text(beginning))
    )
    query = select(func.min(sessions.c.start_time)).where(sessions.c.environment_id.in_(places))
    return connection.execute(query).scalar()


def tags(connection: Connection, *, most: int = 100) -> list[str]:
    """Return the tags that were given to sessions, sorted."""
    query = select(session_tags.c.name).distinct().limit(most)
    return sorted(connection.execute(query).scalars())


def series_names(
    connection: Connection, *, step: str | None = None
) -> tuple[list[tuple[str, str | None, str]], int]:
    """Return (pipeline, step name, mode) of every series, totals first, and how many are left out.

    Of too many the totals stay, the series of ``step``, and the oldest of the others.
    """
    names = select(series.c.pipeline, series.c.step_name, series.c.mode).order_by(series.c.id)
    is_total = series.c.step_name.is_(None)
    wanted = [is_total, ~is_total] if step is None else [is_total, series.c.step_name == step, ~is_total]
    found: dict[tuple[str, str | None, str], None] = {}
    for rows in for_each(
        connection, lambda chosen: driver_rows(connection, names.where(chosen).limit(MOST_SERIES)), wanted
    ):
        found |= dict.fromkeys(tuple(row) for row in rows[: MOST_SERIES - len(found)])
    left_out = 0
    if len(found) == MOST_SERIES:
        left_out = connection.execute(select(func.count(series.c.id))).scalar_one() - len(found)
    return sorted(found, key=lambda row: (row[0], row[2], row[1] is not None, row[1] or "")), left_out


def running_sessions(connection: Connection, *, most: int) -> list[Session]:
    """Return the sessions that run now with their steps so far, the newest first."""
    # Sorted here: asked for an order, SQLite would rather go through all sessions than use the partial index.
    query = select(sessions.c.session_id, sessions.c.start_time).where(text("sessions.status = 0"))
    newest_first = sorted(connection.execute(query).all(), key=lambda row: -row.start_time)
    return for_each(connection, lambda row: read_session(connection, row.session_id), newest_first[:most])


def neighbours(connection: Connection, session_id: str, start_time: float) -> tuple[str | None, str | None]:
    """Return the ids of the ended sessions before and after one, of the same pipeline and mode."""
    number, of_series = (
        select(column).where(sessions.c.session_id == session_id).correlate(None).scalar_subquery()
        for column in (sessions.c.id, sessions.c.series_id)
    )
    place, here = tuple_(sessions.c.start_time, sessions.c.id), tuple_(start_time, number)
    alike = (
        select(sessions.c.session_id)
        .where(sessions.c.series_id == of_series, sessions.c.total_duration.is_not(None))
        .limit(1)
    )
    before = alike.where(place < here).order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
    after = alike.where(place > here).order_by(sessions.c.start_time, sessions.c.id)
    found = for_each(connection, lambda query: connection.execute(query).scalar(), (before, after))
    return found[0], found[1]


def search_text(
    connection: Connection, words: str, *, most: int, prefix: str | None = None, **filters: Any
) -> Searched:
    """Look for words in the pipeline's name, the error or the attributes of sessions, whatever their case.

    Args:
        connection: of any role.
        words: that stand there.
        most: sessions that are found: the newest.
        prefix: of their ids.
        filters: see ``filters.choose_sessions``.
    """
    wanted = storable_text(words)
    named = series.c.step_name.is_(None), series.c.pipeline.icontains(wanted, autoescape=True)
    kinds, hours = together(
        connection,
        lambda: list(connection.execute(select(series.c.id).where(*named)).scalars()),
        lambda: hours_with(connection, wanted, filters.get("since"), filters.get("until")),
    )
    inside = (sessions.c.error_message, as_text(connection, sessions.c.attributes))
    return search(
        connection,
        _fitting(connection, prefix, None, filters),
        or_(
            sessions.c.series_id.in_(kinds),
            *(cast(column, Text).icontains(wanted, autoescape=True) for column in inside),
        ),
        None if kinds else hours,
        most=most,
    )


def _fitting(
    connection: Connection,
    prefix: str | None,
    found: Collection[int] | None,
    filters: Mapping[str, Any],
) -> Select[Any]:
    if found is not None:
        return select(sessions.c.id).where(among(connection, sessions.c.id, found))
    query: Select[Any] = choose_sessions(connection, **filters)
    if filters.get("last") is not None:  # its order and limit are of the choice, not of a page
        query = select(sessions.c.id).where(sessions.c.id.in_(query))
    if prefix is not None:
        query = query.where(starts_with(connection, sessions.c.session_id, storable_text(prefix)))
    return query


def _tags_of(connection: Connection, pks: Any) -> dict[int, list[str]]:
    query = select(session_tags).where(session_tags.c.session_pk.in_(pks))
    found: dict[int, list[str]] = {}
    for pk, name in sorted(map(tuple, connection.execute(query))):  # each database sorts names its own way
        found.setdefault(pk, []).append(name)
    return found
