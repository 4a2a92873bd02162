"""Say in SQL which sessions are meant; values are always bound, never pasted in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, literal_column, or_, select

from perfdb.errors import FilterError
from perfdb.filters import Either
from perfdb.recording.redaction import redact
from perfdb.store.attribute_digests import sessions_with
from perfdb.store.dialects import has_attribute, is_file
from perfdb.store.models import (
    STATUS_CODES,
    environments,
    series,
    session_tags,
    sessions,
    steps,
    storable_name,
    storable_text,
)
from perfdb.vocabulary import FAILED, RUNNING, STATUSES, UNCOUNTED_TAGS

UNCOUNTED = exists().where(
    session_tags.c.session_pk == sessions.c.id, session_tags.c.name.in_(UNCOUNTED_TAGS)
)
"""That a session is tagged as not to count."""
_NAMES = ", ".join(f"'{tag}'" for tag in UNCOUNTED_TAGS)
NOT_TAGGED = f"NOT EXISTS (SELECT 1 FROM session_tags t WHERE t.session_pk = {{}} AND t.name IN ({_NAMES}))"
"""The contrary as text, of the session with this number."""


def choose_sessions(
    connection: Connection,
    *,
    pipeline: str | None = None,
    since: float | None = None,
    until: float | None = None,
    last: int | None = None,
    fast_mode: bool | None = None,
    status: str | None = None,
    attribute: Mapping[str, Any] | None = None,
    tag: str | None = None,
    branch: str | None = None,
    mode: str | None = None,
    counted: bool | None = None,
    step_attribute: Mapping[str, Any] | None = None,
) -> Select[tuple[int]]:
    """Return a query for the ids of the sessions that fit all filters.

    ``since`` and ``until`` are epoch seconds of the start, the second excluded; ``last`` takes the
    newest that fit. ``attribute`` compares JSON scalars, types included: 1 is 1.0, but neither "1" nor true;
    of an ``Either`` one value has to fit. With ``step_attribute`` the session or a step of it has each of
    them, as ``steps_with`` says of steps.

    Raises:
        FilterError: a filter has a value that cannot be meant.
    """
    wanted = select(sessions.c.id)
    if pipeline is not None or mode is not None:
        totals = select(series.c.id).where(series.c.step_name.is_(None))
        if pipeline is not None:
            totals = totals.where(series.c.pipeline == storable_name(pipeline))
        if mode is not None:
            totals = totals.where(series.c.mode == storable_text(mode))
        of_series: ColumnElement[int] = sessions.c.series_id
        if status == FAILED and is_file(connection):  # few, or SQLite goes through all of the series
            of_series = of_series + 0
        wanted = wanted.where(of_series.in_(totals))
    if since is not None:
        wanted = wanted.where(sessions.c.start_time >= since)
    if until is not None:
        wanted = wanted.where(sessions.c.start_time < until)
    if fast_mode is not None:
        wanted = wanted.where(sessions.c.fast_mode.is_(fast_mode))
    if counted is not None:
        wanted = wanted.where(sessions.c.counted.is_(counted))
    if status is not None:
        if status not in STATUS_CODES:
            raise FilterError(f"status is one of {', '.join(STATUSES)}, not {status!r}")
        # As the partial indexes spell it; what is bound does not imply their condition.
        has_status = sessions.c.status == literal_column(str(STATUS_CODES[status]))
        if status == RUNNING:  # a handful: in the order of an index SQLite would look for them among all
            has_status = sessions.c.id.in_(select(sessions.c.id).where(has_status))
        wanted = wanted.where(has_status)
    if tag is not None:
        tagged = select(session_tags.c.session_pk).where(session_tags.c.name == storable_name(redact(tag)))
        wanted = wanted.where(sessions.c.id.in_(tagged))
    if branch is not None:
        there = select(environments.c.id).where(environments.c.git_branch == storable_text(redact(branch)))
        wanted = wanted.where(sessions.c.environment_id.in_(there))
    for number, (key, value) in enumerate((attribute or {}).items()):
        fits = _has_attribute(connection, sessions.c.attributes, key, value, f"{number}")
        any_of = value if isinstance(value, Either) else (value,)
        few = sessions_with(connection, storable_name(key), any_of, fits)
        wanted = wanted.where(fits if few is None else sessions.c.id.in_(few))
    for number, (key, value) in enumerate((step_attribute or {}).items()):
        own = steps.alias()
        of_step = _has_attribute(connection, own.c.additional_data, key, value, f"of_step_{number}")
        of_session = _has_attribute(connection, sessions.c.attributes, key, value, f"of_session_{number}")
        has_step = exists().where(own.c.session_pk == sessions.c.id, of_step).correlate(sessions)
        wanted = wanted.where(or_(of_session, has_step))
    if last is not None:
        if last < 1:
            raise FilterError(f"last must be 1 or more, not {last}")
        wanted = wanted.order_by(sessions.c.start_time.desc(), sessions.c.id.desc()).limit(last)
    return wanted


def steps_with(connection: Connection, attribute: Mapping[str, Any]) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that steps have all these attributes, in their own data or from their session."""
    for number, (key, value) in enumerate(attribute.items()):
        of_step = _has_attribute(connection, steps.c.additional_data, key, value, f"own_{number}")
        above = sessions.alias()
        of_session = _has_attribute(connection, above.c.attributes, key, value, f"above_{number}")
        yield or_(of_step, steps.c.session_pk.in_(select(above.c.id).where(of_session)))


def _has_attribute(
    connection: Connection, document: ColumnElement[Any], key: str, value: Any, number: str
) -> ColumnElement[bool]:
    any_of = value if isinstance(value, Either) else (value,)
    if not all(isinstance(each, str | int | float | None) for each in any_of):
        raise FilterError(f"attribute {key!r} is compared with text, a number, true, false or null only")
    key = storable_name(key)
    return or_(
        *(has_attribute(connection, document, key, each, f"{number}_{n}") for n, each in enumerate(any_of))
    )
