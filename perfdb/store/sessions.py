"""Change recorded sessions: interrupt, revive, tag and delete them; and decide whether they count."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from sqlalchemy import Connection, bindparam, delete, select, text, update

from perfdb.errors import NotFoundError
from perfdb.recording.redaction import redact
from perfdb.records import counts as session_counts
from perfdb.records import is_cached
from perfdb.store import rows
from perfdb.store.dialects import insert_into
from perfdb.store.filters import UNCOUNTED
from perfdb.store.models import (
    COMPLETED_CODE,
    INTERRUPTED_CODE,
    RUNNING_CODE,
    journals,
    series,
    session_tags,
    sessions,
    steps,
)
from perfdb.store.rollups import spoil_sessions
from perfdb.vocabulary import LONGEST_TAG

_CHUNK = 200  # ids per statement of a delete


def mark_interrupted(connection: Connection, journal_id: str) -> int:
    """Close the running sessions of a journal whose writer is dead; return how many there were.

    A late end undoes it: the writer was alive after all, or its last lines turn up.
    """
    # The literal lets the partial index of running sessions answer.
    named = journals.c.journal_id == rows.journal_name(journal_id)
    of_journal = select(journals.c.id).where(named).scalar_subquery()
    running = select(sessions.c.id).where(
        text("sessions.status = 0"),
        sessions.c.journal_pk == of_journal,
    )
    pks = connection.execute(running).scalars().all()
    for pk in pks:
        connection.execute(
            update(sessions).where(sessions.c.id == pk).values(status=INTERRUPTED_CODE, counted=False)
        )
        close_open_steps(connection, pk)
        _recount_steps(connection, pk, counted=False)
    return len(pks)


def revive_session(connection: Connection, pk: int) -> None:
    """Let a session run again that was taken for dead; its writer knows that it does."""
    connection.execute(update(sessions).where(sessions.c.id == pk).values(status=RUNNING_CODE))
    cut_off = update(steps).where(
        steps.c.session_pk == pk, steps.c.status == INTERRUPTED_CODE, steps.c.duration.is_(None)
    )
    connection.execute(cut_off.values(status=RUNNING_CODE))
    recount_session(connection, pk)


def delete_sessions(connection: Connection, session_ids: Iterable[str]) -> int:
    """Delete the sessions with all that belongs to them; return how many there were."""
    deleted = 0
    iterator = iter(session_ids)
    while chunk := list(islice(iterator, _CHUNK)):
        found = select(sessions.c.id).where(sessions.c.session_id.in_(chunk))
        spoil_sessions(connection, connection.execute(found).scalars().all())
        deleted += connection.execute(delete(sessions).where(sessions.c.session_id.in_(chunk))).rowcount
    return deleted


def tag_session(connection: Connection, session_id: str, name: str, *, with_steps: bool = True) -> None:
    """Tag a session; ``UNCOUNTED_TAGS`` take it out of baselines and trends.

    Without its steps the caller brings these up to that (see ``large.count_steps``).

    Raises:
        NotFoundError: there is no such session.
        ValueError: the name is empty or longer than 64 characters.
    """
    name = _redacted_tag(name)
    if not 1 <= len(name) <= LONGEST_TAG:
        raise ValueError(f"a tag has 1 to {LONGEST_TAG} characters, not {len(name)}")
    pk = _pk_of(connection, session_id)
    spoil_sessions(connection, [pk])  # a failure that is tagged is none
    row = {"session_pk": pk, "name": rows.text(name)}
    connection.execute(insert_into(connection, session_tags).values(**row).on_conflict_do_nothing())
    recount_session(connection, pk, with_steps=with_steps)


def untag_session(connection: Connection, session_id: str, name: str, *, with_steps: bool = True) -> bool:
    """Take a tag away, as ``tag_session`` gives it; return whether it was there.

    Raises:
        NotFoundError: there is no such session.
    """
    pk = _pk_of(connection, session_id)
    spoil_sessions(connection, [pk])
    gone = delete(session_tags).where(
        session_tags.c.session_pk == pk, session_tags.c.name == rows.text(_redacted_tag(name))
    )
    removed = connection.execute(gone).rowcount > 0
    recount_session(connection, pk, with_steps=with_steps)
    return removed


def _redacted_tag(name: str) -> str:
    """Return a tag without credentials, which may make it longer, but no longer than a tag may be."""
    name = name.strip()
    redacted = redact(name)
    return name if redacted == name else redacted[:LONGEST_TAG].strip()


# --- what counts in baselines -------------------------------------------------------------------------


def counts(status: int, success: bool | None, attributes: object, mode: str) -> bool:
    """Say whether a session counts, but for its tags."""
    return status in (RUNNING_CODE, COMPLETED_CODE) and session_counts(success, attributes, mode)


def recount_session(connection: Connection, pk: int, *, with_steps: bool = True) -> bool:
    """Bring ``counted`` of a session and its steps up to its status and tags; return it.

    Without its steps the caller brings these up to it (see ``large.count_steps``).
    """
    row = connection.execute(_COUNT_SESSION, {"pk": pk}).one()
    counted = counts(row.status, row.success, row.attributes, row.mode) and not row.tagged
    if counted != row.counted or row.status != RUNNING_CODE:
        if counted != row.counted:
            spoil_sessions(connection, [pk])
        connection.execute(update(sessions).where(sessions.c.id == pk).values(counted=counted))
        if with_steps:
            _recount_steps(connection, pk, counted=counted)
    return counted


def _recount_steps(connection: Connection, pk: int, *, counted: bool) -> None:
    ripe = (steps.c.status == COMPLETED_CODE) & steps.c.duration.is_not(None)
    change = update(steps).where(steps.c.session_pk == pk)
    if counted:
        left_out = select(steps.c.seq, steps.c.additional_data).where(
            steps.c.session_pk == pk, ripe, steps.c.counted.is_(False)
        )
        found = [row.seq for row in connection.execute(left_out) if not is_cached(row.additional_data)]
        if not found:
            return
        change = change.where(steps.c.seq.in_(found))
    else:
        change = change.where(steps.c.counted.is_(True))
    if connection.execute(change.values(counted=counted)).rowcount:
        spoil_sessions(connection, [pk])


def close_open_steps(connection: Connection, pk: int) -> None:
    """Close what was open when its session ended; a step's own line, should it come, still fills it."""
    still_open = update(steps).where(steps.c.session_pk == pk, steps.c.status == RUNNING_CODE)
    connection.execute(still_open.values(status=INTERRUPTED_CODE))


def _pk_of(connection: Connection, session_id: str) -> int:
    pk = connection.execute(
        select(sessions.c.id).where(sessions.c.session_id == rows.text(session_id))
    ).scalar()
    if pk is None:
        raise NotFoundError(f"there is no session {session_id!r}; `perfdb sessions` lists them")
    return int(pk)


_COUNT_SESSION = (
    select(
        sessions.c.status,
        sessions.c.success,
        sessions.c.counted,
        sessions.c.attributes,
        series.c.mode,
        UNCOUNTED.label("tagged"),
    )
    .join(series, series.c.id == sessions.c.series_id)
    .where(sessions.c.id == bindparam("pk"))
)
