"""Put records into the database: once, however often they are given.

A batch's rows and its journal's new offset share the caller's one transaction, and
natural keys (``session_id``; ``session_id, seq``) make every replay a no-op. Records
may come late, twice, or without the lines before them. Errors: ``engine.is_transient``
tells a database that is away from a batch that is broken.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any, TypeGuard

from sqlalchemy import Connection, Table, bindparam, case, delete, func, select, text, update
from sqlalchemy.exc import IntegrityError

from perfdb.errors import InvalidSessionIdError, NotFoundError
from perfdb.recording.redaction import REDACTED, redact
from perfdb.records import INTERRUPTED, RUNNING, Session, check_session_id, counts, is_cached
from perfdb.store import rows
from perfdb.store.dialects import insert_into, is_shared
from perfdb.store.filters import UNCOUNTED
from perfdb.store.ids import Ids, forget_ids
from perfdb.store.models import (
    COMPLETED_CODE,
    INTERRUPTED_CODE,
    RUNNING_CODE,
    SOURCES,
    journals,
    samples,
    series,
    server_time,
    session_tags,
    sessions,
    steps,
)
from perfdb.store.prepared import Prepared
from perfdb.store.rows import Record
from perfdb.vocabulary import MAX_SEQ, PROCESS_ENDED

_JOURNAL, IMPORT, ORPHAN = range(len(SOURCES))
_CHUNK = 200  # sessions per batch of an import; ids per statement of a delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a batch did. ``finished``: the sessions whose end it held, replayed ones too."""

    offset: int  # of the journal, after the batch; another process may be further than we are
    finished: tuple[str, ...] = ()
    sessions: int = 0
    steps: int = 0
    samples: int = 0
    skipped: int = 0  # records of an unknown kind, or without a usable key


@dataclass(slots=True)
class _Batch:
    """What one batch says about one session."""

    start: Record | None = None
    end: Record | None = None
    opened: dict[int, Record] = field(default_factory=dict)
    steps: dict[int, Record] = field(default_factory=dict)
    samples: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class _Placed:
    """A session that has its row."""

    pk: int
    pipeline: str
    mode: str
    status: int
    counted: bool
    is_new: bool
    has_ended: bool = True  # its end is known; what is interrupted without one was taken for dead


def apply_records(
    connection: Connection, header: Record, records: Sequence[Record], *, offset: int, quarantined: int = 0
) -> Applied:
    """Write a journal's records and its new offset in the transaction that ``connection`` is in.

    Args:
        connection: of a writer's engine, in a transaction that the caller commits.
        header: the journal's first record.
        records: any of ``start``, ``open``, ``step``, ``samples``, ``end``, in the order of the file.
        offset: bytes of the journal that are in the database once this batch is.
        quarantined: lines before ``offset``, since the last batch, that could not be read.

    Raises:
        sqlalchemy.exc.DBAPIError: see ``engine.is_transient``; nothing is kept after the roll-back.
    """
    batches, skipped = _by_session(records)
    try:
        journal_pk, reached = _save_journal(connection, header, offset, quarantined)
        written = _apply(connection, batches, dict.fromkeys(batches, header), journal_pk, _JOURNAL)
    except IntegrityError:
        forget_ids(connection)  # rows that we knew are gone: the next try looks for them again
        raise
    return Applied(
        offset=reached,
        finished=tuple(session_id for session_id, batch in batches.items() if batch.end is not None),
        sessions=len(batches),
        steps=written[0],
        samples=written[1],
        skipped=skipped,
    )


def journal_offset(connection: Connection, journal_id: str) -> int:
    """Return how many bytes of the journal are in this database; 0 when it does not know it."""
    found = _prepared(connection, "offset").one(connection, {"wanted": _journal_name(journal_id)})
    return int(found[0]) if found else 0


def set_quarantined(connection: Connection, journal_id: str, number: int) -> None:
    """Note how many lines of a journal are still put aside."""
    of_journal = update(journals).where(journals.c.journal_id == _journal_name(journal_id))
    connection.execute(of_journal.values(quarantined=number))


def mark_interrupted(connection: Connection, journal_id: str) -> int:
    """Close the running sessions of a journal whose writer is dead; return how many there were.

    A late end undoes it: the writer was alive after all, or its last lines turn up.
    """
    # The literal lets the partial index of running sessions answer.
    running = select(sessions.c.id).where(
        text("sessions.status = 0"),
        sessions.c.journal_pk
        == select(journals.c.id).where(journals.c.journal_id == _journal_name(journal_id)).scalar_subquery(),
    )
    pks = connection.execute(running).scalars().all()
    for pk in pks:
        connection.execute(
            update(sessions).where(sessions.c.id == pk).values(status=INTERRUPTED_CODE, counted=False)
        )
        _close_open_steps(connection, pk)
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


def insert_sessions(
    connection: Connection, found: Iterable[Session], *, source: str = "import"
) -> tuple[int, int]:
    """Add finished sessions; return how many were added and how many were known already.

    A session that was saved while it ran is added as interrupted.
    """
    added = known = 0
    iterator = iter(found)
    while chunk := list(islice(iterator, _CHUNK)):
        named = {session.session_id: session for session in chunk}
        wanted = select(sessions.c.session_id).where(sessions.c.session_id.in_(list(named)))
        for session_id in connection.execute(wanted).scalars().all():
            del named[session_id]
        insert_rows_of(connection, list(named.values()), SOURCES.index(source))
        for session in named.values():
            for name in session.tags:
                tag_session(connection, session.session_id, name)
        added += len(named)
        known += len(chunk) - len(named)
    return added, known


def insert_rows_of(
    connection: Connection, found: Iterable[Session], source: int, *, with_end: bool = True
) -> None:
    """Add the rows of finished sessions, but their tags; ``with_end`` false: their own row is there."""
    named = {session.session_id: session for session in found}
    records = [
        record
        for session in named.values()
        for record in _records_of(session)
        if with_end or record["type"] not in ("start", "end")
    ]
    headers: dict[str, Record] = {session_id: _header_of(session) for session_id, session in named.items()}
    _apply(connection, _by_session(records)[0], headers, None, source)


def delete_sessions(connection: Connection, session_ids: Iterable[str]) -> int:
    """Delete the sessions with all that belongs to them; return how many there were."""
    deleted = 0
    iterator = iter(session_ids)
    while chunk := list(islice(iterator, _CHUNK)):
        deleted += connection.execute(delete(sessions).where(sessions.c.session_id.in_(chunk))).rowcount
    return deleted


def tag_session(connection: Connection, session_id: str, name: str, *, with_steps: bool = True) -> None:
    """Tag a session; ``UNCOUNTED_TAGS`` take it out of baselines and trends.

    Without its steps the caller brings these up to that (see ``large.count_steps``).

    Raises:
        NotFoundError: there is no such session.
        ValueError: the name is empty or longer than 64 characters.
    """
    name = _told_tag(name)
    if not 1 <= len(name) <= 64:
        raise ValueError(f"a tag has 1 to 64 characters, not {len(name)}")
    pk = _pk_of(connection, session_id)
    row = {"session_pk": pk, "name": rows.text(name)}
    connection.execute(insert_into(connection, session_tags).values(**row).on_conflict_do_nothing())
    recount_session(connection, pk, with_steps=with_steps)


def untag_session(connection: Connection, session_id: str, name: str, *, with_steps: bool = True) -> bool:
    """Take a tag away, as ``tag_session`` gives it; return whether it was there.

    Raises:
        NotFoundError: there is no such session.
    """
    pk = _pk_of(connection, session_id)
    gone = delete(session_tags).where(
        session_tags.c.session_pk == pk, session_tags.c.name == rows.text(_told_tag(name))
    )
    removed = connection.execute(gone).rowcount > 0
    recount_session(connection, pk, with_steps=with_steps)
    return removed


def _told_tag(name: str) -> str:
    """Return a tag without credentials, no longer than it was allowed to be."""
    name = name.strip()
    told = redact(name)
    return name if told == name else told[: max(len(name), len(REDACTED))].strip()


# --- records, gathered by session ---------------------------------------------------------------------


def _by_session(records: Iterable[Record]) -> tuple[dict[str, _Batch], int]:
    batches: dict[str, _Batch] = {}
    skipped = 0
    for record in records:
        session_id, kind = record.get("session_id"), record.get("type")
        seq = rows.integer(record.get("seq")) if kind in ("open", "step") else None
        if (
            kind not in ("start", "open", "step", "samples", "end")
            or (kind in ("open", "step") and (seq is None or not 0 <= seq <= MAX_SEQ))
            or (kind == "samples" and not isinstance(record.get("rows"), (list, tuple)))
            or not _is_session_id(session_id)
        ):
            skipped += 1
            continue
        batch = batches.setdefault(session_id, _Batch())
        if kind == "start":
            batch.start = batch.start or record
        elif seq is not None:
            (batch.steps if kind == "step" else batch.opened).setdefault(seq, record)
        elif kind == "samples":
            batch.samples.extend(record["rows"])
        else:
            batch.end = record
    return batches, skipped


def _is_session_id(value: object) -> TypeGuard[str]:
    try:
        check_session_id(value)
    except InvalidSessionIdError:
        return False
    return True


def _records_of(session: Session) -> Iterator[dict[str, Any]]:
    """Say a finished session in the records of a journal, so that there is one way in."""
    key = {"session_id": session.session_id}
    yield {
        "type": "start",
        **key,
        "pipeline": session.pipeline,
        "start_time": session.start_time,
        "utc_offset": session.utc_offset,
        "fast_mode": session.fast_mode,
        "mode": session.mode,
        "attributes": dict(session.attributes),
    }
    for step in session.steps:
        called_off = {"status": INTERRUPTED} if step.interrupted else {}
        yield {"type": "step", **key, **asdict(step), **called_off}
    yield {"type": "samples", **key, "rows": [(s.time, s.cpu_percent, s.rss_bytes) for s in session.samples]}
    yield {
        "type": "end",
        **key,
        "total_duration": session.total_duration,
        "status": INTERRUPTED if session.status == RUNNING else session.status,
        "success": session.success,
        "product_count": session.product_count,
        "error_message": session.error_message,
        "attributes": dict(session.attributes),
        "cpu_s": session.cpu_s,
        "rss_peak_bytes": session.rss_peak_bytes,
        "rss_mean_bytes": session.rss_mean_bytes,
    }


def _header_of(session: Session) -> dict[str, Any]:
    return {name: getattr(session, name) for name in (*rows.ENVIRONMENT, "pid")}


# --- the rows -----------------------------------------------------------------------------------------


def _apply(
    connection: Connection,
    batches: dict[str, _Batch],
    headers: dict[str, Record],
    journal_pk: int | None,
    source: int,
) -> tuple[int, int]:
    """Write the batches; return how many steps and samples there were."""
    ids = Ids(connection)
    opened: list[dict[str, Any]] = []
    ended: list[dict[str, Any]] = []
    sampled: list[dict[str, Any]] = []
    left_open: list[int] = []
    for session_id, batch in batches.items():
        placed = _place_session(connection, ids, session_id, batch, headers[session_id], journal_pk, source)
        ids.look_up(placed.pipeline, placed.mode, _names(batch))
        for seq, step in batch.opened.items():
            if seq not in batch.steps:
                opened.append(_step_row(ids, placed, seq, step))
        for seq, step in batch.steps.items():
            ended.append(_step_row(ids, placed, seq, step))
        for sample in batch.samples:
            row = rows.sample_columns(sample)
            if row is not None:
                sampled.append({"session_pk": placed.pk, **row})
        if batch.end is not None and not placed.is_new:
            left_open.append(placed.pk)
    if opened:
        _prepared(connection, "open step").many(connection, opened)
    if ended:
        _prepared(connection, "step").many(connection, ended)
    if sampled:
        _prepared(connection, "sample").many(connection, sampled)
    for pk in left_open:
        _close_open_steps(connection, pk)
    return len(opened) + len(ended), len(sampled)


def _step_row(ids: Ids, placed: _Placed, seq: int, step: Record) -> dict[str, Any]:
    row = rows.step_columns(step, session_status=placed.status, session_counted=placed.counted)
    row["session_pk"] = placed.pk
    row["seq"] = seq
    row["series_id"] = ids.of_series((placed.pipeline, placed.mode, _name_of(step)))
    return row


def _names(batch: _Batch) -> list[str]:
    return [_name_of(step) for step in (*batch.opened.values(), *batch.steps.values())]


def _name_of(step: Record) -> str:
    return rows.name(step.get("step_name"), "unnamed")


def _place_session(
    connection: Connection,
    ids: Ids,
    session_id: str,
    batch: _Batch,
    header: Record,
    journal_pk: int | None,
    source: int,
) -> _Placed:
    """Find or make the session's row, and write what the batch says about its start and end."""
    if batch.start is None:
        placed, _ = _find_session(connection, session_id)
        if placed is None:
            # Its first line was lost, or is in a journal that comes later: a place for the rest.
            start: Record = {"start_time": _earliest(batch)}
            source = ORPHAN
        else:
            return _end_session(connection, placed, batch.end)
    else:
        start = batch.start
    pipeline, mode, _ = key = rows.series_key(start)
    row = {
        "session_id": session_id,
        "series_id": ids.of_series(key),
        "source": source,
        "environment_id": ids.of_environment(header),
        "journal_pk": journal_pk,
        **rows.start_columns(start, header),
        **rows.end_columns(batch.end),
    }
    if batch.end is not None:
        row["attributes"] = rows.document(batch.end.get("attributes")) or row["attributes"]
    row["counted"] = _counts(row["status"], row["success"], row["attributes"], mode)
    added = _prepared(connection, "session").one(connection, row)
    if added is not None:
        return _Placed(added[0], pipeline, mode, row["status"], row["counted"], is_new=True)
    placed, stored_source = _find_session(connection, session_id)
    if placed is None:
        raise NotFoundError(f"session {session_id} was deleted in the middle of a batch")
    if stored_source == ORPHAN and source != ORPHAN:
        placed = _adopt(connection, ids, placed, row, pipeline, mode)
    return _end_session(connection, placed, batch.end)


def _earliest(batch: _Batch) -> float | None:
    starts = [
        rows.instant(step.get("start_time")) for step in (*batch.steps.values(), *batch.opened.values())
    ]
    starts += [rows.instant(row[0]) for row in batch.samples if isinstance(row, (list, tuple)) and row]
    return min((start for start in starts if start is not None), default=None)


def _find_session(connection: Connection, session_id: str) -> tuple[_Placed | None, int]:
    row = connection.execute(_FIND_SESSION, {"wanted": session_id}).first()
    if row is None:
        return None, _JOURNAL
    has_ended = row.status != RUNNING_CODE and not (row.status == INTERRUPTED_CODE and row.unended)
    placed = _Placed(row.id, row.pipeline, row.mode, row.status, row.counted, False, has_ended)
    return placed, row.source


def _adopt(
    connection: Connection, ids: Ids, placed: _Placed, row: dict[str, Any], pipeline: str, mode: str
) -> _Placed:
    """Give an orphan what its start says, and its steps the right series."""
    said = (
        "series_id",
        "source",
        "environment_id",
        "journal_pk",
        "start_time",
        "fast_mode",
        "utc_offset",
        "pid",
    )
    values = {column: row[column] for column in said}
    values["attributes"] = func.coalesce(
        sessions.c.attributes, bindparam("given", row["attributes"], type_=sessions.c.attributes.type)
    )
    connection.execute(update(sessions).where(sessions.c.id == placed.pk).values(**values))
    of_session = steps.c.session_pk == placed.pk
    used = select(series.c.step_name).where(series.c.id.in_(select(steps.c.series_id).where(of_session)))
    names = connection.execute(used).scalars().all()
    ids.look_up(pipeline, mode, names)
    for step_name in names:
        ids.of_series((pipeline, mode, step_name))
    old = series.alias()
    new = (
        select(series.c.id)
        .join(old, old.c.step_name == series.c.step_name)
        .where(series.c.pipeline == pipeline, series.c.mode == mode, old.c.id == steps.c.series_id)
    )
    connection.execute(update(steps).where(of_session).values(series_id=new.scalar_subquery()))
    return replace(placed, pipeline=pipeline, mode=mode)


def _end_session(connection: Connection, placed: _Placed, end: Record | None) -> _Placed:
    """Finish a session that runs, or that was taken for dead."""
    if end is None or placed.has_ended:
        return placed
    values = rows.end_columns(end)
    attributes = rows.document(end.get("attributes"))
    if attributes is not None:
        values = {**values, "attributes": attributes}
    connection.execute(update(sessions).where(sessions.c.id == placed.pk).values(**values))
    counted = recount_session(connection, placed.pk)
    return _Placed(placed.pk, placed.pipeline, placed.mode, values["status"], counted, is_new=False)


# --- what counts in baselines -------------------------------------------------------------------------


def _counts(status: int, success: bool | None, attributes: object, mode: str) -> bool:
    return status in (RUNNING_CODE, COMPLETED_CODE) and counts(success, attributes, mode)


def recount_session(connection: Connection, pk: int, *, with_steps: bool = True) -> bool:
    """Bring ``counted`` of a session and its steps up to its status and tags; return it.

    Without its steps the caller brings these up to it (see ``large.count_steps``).
    """
    row = connection.execute(_COUNT_SESSION, {"pk": pk}).one()
    counted = _counts(row.status, row.success, row.attributes, row.mode) and not row.tagged
    if counted != row.counted or row.status != RUNNING_CODE:
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
    connection.execute(change.values(counted=counted))


def _close_open_steps(connection: Connection, pk: int) -> None:
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


# --- statements: built once, so that SQLAlchemy compiles them once ------------------------------------

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
_FIND_SESSION = (
    select(
        sessions.c.id,
        sessions.c.status,
        sessions.c.counted,
        sessions.c.source,
        (sessions.c.total_duration.is_(None) | (sessions.c.error_message == PROCESS_ENDED)).label("unended"),
        series.c.pipeline,
        series.c.mode,
    )
    .join(series, series.c.id == sessions.c.series_id)
    .where(sessions.c.session_id == bindparam("wanted"))
)


@cache
def _compiled(name: str, dialect: Any) -> Prepared:
    """Return a statement of the hot path; each dialect compiles it once."""
    made = dialect()
    match name:
        case "offset":
            offset = select(journals.c.byte_offset).where(journals.c.journal_id == bindparam("wanted"))
            return Prepared(offset, made)
        case "journal":
            return _journal_statement(made)
        case "session":
            added = insert_into(made, sessions).on_conflict_do_nothing(index_elements=["session_id"])
            return Prepared(added.returning(sessions.c.id), made, _columns(sessions, "id"))
        case "open step":
            return Prepared(insert_into(made, steps).on_conflict_do_nothing(), made, _columns(steps))
        case "step":
            return Prepared(finish_step(insert_into(made, steps)), made, _columns(steps))
        case _:
            return Prepared(insert_into(made, samples).on_conflict_do_nothing(), made, _columns(samples))


def _prepared(connection: Connection, name: str) -> Prepared:
    dialect: Any = type(connection.dialect)
    return _compiled(name, dialect)


def _columns(table: Table, *without: str) -> list[str]:
    return [column.name for column in table.c if column.name not in without]


def finish_step(insert: Any) -> Any:
    """Insert a step, or fill the row that it has since it was announced."""
    filled = {column.name: insert.excluded[column.name] for column in steps.c if not column.primary_key}
    return insert.on_conflict_do_update(
        index_elements=["session_pk", "seq"],
        set_=filled,
        # Running, or cut off when its writer died; one that was called off has a duration, and stays.
        where=text("steps.status = 0 OR (steps.status = 3 AND steps.duration IS NULL)"),
    )


def _journal_statement(dialect: Any) -> Prepared:
    """Advance a journal; on a server that other hosts write to this is also a sign of life."""
    heard = {"seen_at": server_time()} if is_shared(dialect) else {}
    insert = insert_into(dialect, journals).values(heard)
    given = insert.excluded
    further = given.byte_offset > journals.c.byte_offset  # never back: another process may be ahead
    advance = insert.on_conflict_do_update(
        index_elements=["journal_id"],
        set_={
            "byte_offset": case((further, given.byte_offset), else_=journals.c.byte_offset),
            "quarantined": journals.c.quarantined + case((further, given.quarantined), else_=0),
            "updated_at": given.updated_at,
            **heard,
        },
    ).returning(journals.c.id, journals.c.byte_offset)
    return Prepared(advance, dialect, _columns(journals, "id", "seen_at"))


def _journal_name(journal_id: object) -> str:
    """Return the id of a journal as its row has it; by another its offset would be 0 for ever."""
    return rows.name(journal_id, "unnamed")


def _save_journal(connection: Connection, header: Record, offset: int, quarantined: int) -> tuple[int, int]:
    row = {
        "journal_id": _journal_name(header.get("journal_id")),
        "byte_offset": offset,
        "quarantined": quarantined,
        "host": rows.text(header.get("host")),
        "pid": rows.integer(header.get("pid")),
        "created_at": rows.instant(header.get("created")),
        "updated_at": time.time(),
    }
    saved = _prepared(connection, "journal").one(connection, row)
    assert saved is not None  # noqa: S101 (an upsert without a condition always returns its row)
    return saved[0], saved[1]
