"""Put records into the database: once, however often they are given.

A batch's rows and its journal's new offset share the caller's one transaction, and
natural keys (``session_id``; ``session_id, seq``) make every replay a no-op. Records
may come late, twice, or without the lines before them: one walk through a batch makes the rows of each,
gathered by session; these get their session's keys, and go to the driver. Errors: ``engine.is_transient``
tells a database that is away from a batch that is broken.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any, TypeGuard

from sqlalchemy import BigInteger, Connection, Table, bindparam, case, func, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from perfdb.errors import InvalidSessionIdError, NotFoundError
from perfdb.recording.finished import OF_PROCESS, records_of, span_as_step
from perfdb.records import Session
from perfdb.store import rows
from perfdb.store.dialects import insert_into, is_shared
from perfdb.store.ids import Ids, forget_ids
from perfdb.store.models import (
    INTERRUPTED_CODE,
    RUNNING_CODE,
    SOURCES,
    journals,
    samples,
    series,
    server_time,
    sessions,
    steps,
)
from perfdb.store.prepared import Prepared
from perfdb.store.rollups import day_of, spoil, spoil_sessions
from perfdb.store.rows import Record, Row
from perfdb.store.sessions import close_open_steps, counts, recount_session, tag_session
from perfdb.vocabulary import PROCESS_ENDED, check_session_id

_JOURNAL, IMPORT, ORPHAN, PROVISIONAL = range(len(SOURCES))
_REPLACED = (ORPHAN, PROVISIONAL)  # by a start that is more
_CHUNK = 200  # sessions per batch of an import
ANY_OFFSET = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a batch did. ``finished``: the sessions whose end it held, replayed ones too."""

    offset: int  # of the journal, as the database has it now; another process may be further than we are
    follows: bool = True  # false: the database is not where the batch begins, and took nothing
    finished: tuple[str, ...] = ()
    sessions: int = 0
    steps: int = 0
    samples: int = 0
    skipped: int = 0  # records of an unknown kind, or without a usable key


@dataclass(slots=True)
class _Batch:
    """What one batch says about one session: its start and end, and rows that want their session's keys."""

    start: Record | None = None
    end: Record | None = None
    own: list[Record] = field(default_factory=list)  # the spans whose session it was said to be
    opened: dict[int, Row] = field(default_factory=dict)
    steps: dict[int, Row] = field(default_factory=dict)
    samples: list[Row] = field(default_factory=list)

    def take(self, record: Record) -> bool:
        """Take a record in; return whether it is one."""
        kind = record.get("type")
        if kind in ("step", "open"):
            seq = rows.step_number(record)
            if seq is None:
                return False
            of_kind = self.steps if kind == "step" else self.opened
            if seq not in of_kind:
                of_kind[seq] = rows.step_row(record, seq)
        elif kind == "samples":
            if not isinstance(record.get("rows"), (list, tuple)):
                return False
            self.samples += filter(None, map(rows.sample_row, record["rows"]))
        elif kind == "start":
            if isinstance(own := record.get("own_step"), dict):
                self.own.append(own)
            if self.start is None or (self.start.get("provisional") and not record.get("provisional")):
                self.start = record  # of provisional ones the first, whose end it keeps, too
        elif kind == "end":
            if self.end is None or not record.get("provisional"):
                self.end = record
        else:
            return False
        return True

    def take_own(self, besides: int | None) -> None:
        """Take in the spans that are steps, since the session is another one's: that with this number."""
        for own in self.own:
            seq = rows.step_number(own)
            if seq is not None and seq != besides:
                self.steps.setdefault(seq, rows.step_row(own, seq))

    def lift(self, seq: int | None) -> None:
        """Let what is inside of the session's own span be inside of the session."""
        for row in self.step_rows() if seq is not None else ():
            if row["parent_seq"] == seq:
                row["parent_seq"] = None

    def step_rows(self) -> Iterator[Row]:
        """Yield the row of each step once."""
        yield from (row for seq, row in self.opened.items() if seq not in self.steps)
        yield from self.steps.values()

    def earliest(self) -> float | None:
        """Return the first instant that it names."""
        instants = [row["start_time"] for row in self.step_rows()] + [row["time"] for row in self.samples]
        return min((instant for instant in instants if instant), default=None)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The records of a batch by session, to be written once."""

    batches: dict[str, _Batch]
    skipped: int


@dataclass(slots=True)
class _Placed:
    """A session that has its row."""

    pk: int
    start_time: float
    pipeline: str
    mode: str
    status: int
    counted: bool
    is_new: bool
    has_ended: bool = True  # its end is known; what is interrupted without one was taken for dead


def apply_records(
    connection: Connection,
    header: Record,
    records: Iterable[Record] | Gathered,
    *,
    offset: int,
    since: int = ANY_OFFSET,
    quarantined: int = 0,
) -> Applied:
    """Write a journal's records and its new offset in the transaction that ``connection`` is in.

    Args:
        connection: of a writer's engine, in a transaction that the caller commits.
        header: the journal's first record.
        records: any of ``start``, ``open``, ``step``, ``samples``, ``end``, in the order of the file; or what
            was gathered of them.
        offset: bytes of the journal that are in the database once this batch is.
        since: those that must be there for the batch to follow. Where others are, no record is written, and
            the answer's ``offset`` says which.
        quarantined: lines before ``offset``, since the last batch, that could not be read.

    Raises:
        sqlalchemy.exc.DBAPIError: see ``engine.is_transient``; nothing is kept after the roll-back.
    """
    gathered = records if isinstance(records, Gathered) else gather(records)
    batches = gathered.batches
    try:
        journal_pk, reached = _save_journal(connection, header, offset, since, quarantined)
        if journal_pk is None:
            return Applied(offset=reached, follows=False)
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
        skipped=gathered.skipped,
    )


def journal_offset(connection: Connection, journal_id: str) -> int:
    """Return how many bytes of the journal are in this database; 0 when it does not know it."""
    found = _prepared(connection, "offset").one(connection, {"wanted": rows.journal_name(journal_id)})
    return int(found[0]) if found else 0


def set_quarantined(connection: Connection, journal_id: str, number: int) -> None:
    """Note how many lines of a journal are still put aside."""
    of_journal = update(journals).where(journals.c.journal_id == rows.journal_name(journal_id))
    connection.execute(of_journal.values(quarantined=number))


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
    connection: Connection,
    found: Iterable[Session],
    source: int,
    *,
    with_end: bool = True,
    provisional: bool = False,
) -> None:
    """Add the rows of finished sessions, but their tags; ``with_end`` false: their own row is there.

    Rows that are there stay; a provisional session gives way to one that is not.
    """
    named = {session.session_id: session for session in found}
    records = [
        record
        for session in named.values()
        for record in records_of(session, provisional=provisional)
        if with_end or record["type"] not in ("start", "end")
    ]
    headers: dict[str, Record] = {
        session_id: {name: getattr(session, name) for name in OF_PROCESS}
        for session_id, session in named.items()
    }
    _apply(connection, gather(records).batches, headers, None, source)


# --- records, gathered by session ---------------------------------------------------------------------


def gather(records: Iterable[Record]) -> Gathered:
    """Make the rows of records, apart from their keys: it needs no database, and so no lock."""
    batches: dict[str, _Batch] = {}
    skipped = 0
    for record in records:
        session_id = record.get("session_id")
        known = batches.get(session_id) if isinstance(session_id, str) else None
        if known is not None:
            skipped += not known.take(record)
        elif _is_session_id(session_id) and (first := _Batch()).take(record):
            batches[session_id] = first
        else:
            skipped += 1
    return Gathered(batches, skipped)


def _is_session_id(value: object) -> TypeGuard[str]:
    try:
        check_session_id(value)
    except InvalidSessionIdError:
        return False
    return True


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
    opened: list[Row] = []
    ended: list[Row] = []
    sampled: list[Row] = []
    left_open: list[int] = []
    changed: set[int] = set()
    for session_id, batch in batches.items():
        placed = _place_session(connection, ids, session_id, batch, headers[session_id], journal_pk, source)
        step_rows = list(batch.step_rows())
        ids.look_up(placed.pipeline, placed.mode, [row["step_name"] for row in step_rows])
        if batch.end is not None or placed.is_new or placed.status != RUNNING_CODE:
            changed.add(day_of(placed.start_time))
        for row in step_rows:
            changed.add(row["day"])
            row["session_pk"] = placed.pk
            row["series_id"] = ids.of_series((placed.pipeline, placed.mode, row.pop("step_name")))
            if row["status"] == RUNNING_CODE != placed.status:
                row["status"] = INTERRUPTED_CODE
            row["counted"] = row["counted"] and placed.counted
            (ended if row["seq"] in batch.steps else opened).append(row)
        for row in batch.samples:
            row["session_pk"] = placed.pk
        sampled += batch.samples
        if batch.end is not None and not placed.is_new:
            left_open.append(placed.pk)
    spoil(connection, changed)
    for name, found in (("open step", opened), ("step", ended), ("sample", sampled)):
        if found:
            _prepared(connection, name).many(connection, found)
    for pk in left_open:
        close_open_steps(connection, pk)
    return len(opened) + len(ended), len(sampled)


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
            start: Record = {"start_time": batch.earliest()}
            source = ORPHAN
        else:
            return _end_session(connection, placed, batch.end)
    else:
        start = batch.start
        header = {**header, **start}  # a session of another machine says so itself
        source = PROVISIONAL if start.get("provisional") else source
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
    row["counted"] = counts(row["status"], row["success"], row["attributes"], mode)
    added = _prepared(connection, "session").one(connection, row)
    if batch.own and added is not None:
        own = rows.step_number(start["own_step"]) if "own_step" in start else None
        batch.take_own(own)
        batch.lift(own)
    if added is not None:
        return _Placed(
            added[0], row["start_time"], pipeline, mode, row["status"], row["counted"], is_new=True
        )
    placed, stored_source = _find_session(connection, session_id)
    if placed is None:
        raise NotFoundError(f"session {session_id} was deleted in the middle of a batch")
    if stored_source == PROVISIONAL or batch.own:
        _take_spans(connection, placed.pk, batch, stored_source, source)
    if stored_source in _REPLACED and source not in _REPLACED:
        placed = replace(_adopt(connection, ids, placed, row, pipeline, mode), has_ended=False)
    return _end_session(connection, placed, batch.end)


def _take_spans(connection: Connection, pk: int, batch: _Batch, stored: int, source: int) -> None:
    """Let the spans that sessions were made of, where there was no beginning, be steps where there is one."""
    own = seq = None
    if stored == PROVISIONAL:
        own = span_as_step(connection.execute(_SPAN_OF_SESSION, {"wanted": pk}).one())
        seq = None if own is None else rows.step_number(own)
    if stored == PROVISIONAL == source:  # there is none yet: the span that came first stays the session
        batch.take_own(seq)
        batch.lift(seq)
        return
    batch.take_own(None)
    if own is not None and seq is not None:
        inside = (steps.c.session_pk == pk) & steps.c.parent_seq.is_(None)
        connection.execute(update(steps).where(inside).values(parent_seq=seq))
        batch.steps.setdefault(seq, rows.step_row(own, seq))


def _find_session(connection: Connection, session_id: str) -> tuple[_Placed | None, int]:
    row = connection.execute(_FIND_SESSION, {"wanted": session_id}).first()
    if row is None:
        return None, _JOURNAL
    has_ended = row.status != RUNNING_CODE and not (row.status == INTERRUPTED_CODE and row.unended)
    placed = _Placed(
        row.id, row.start_time, row.pipeline, row.mode, row.status, row.counted, False, has_ended
    )
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
    spoil_sessions(connection, [placed.pk])
    values = {column: row[column] for column in said}
    values["attributes"] = func.coalesce(
        sessions.c.attributes, bindparam("given", row["attributes"], type_=sessions.c.attributes.type)
    )
    connection.execute(update(sessions).where(sessions.c.id == placed.pk).values(**values))
    move_steps(connection, ids, placed.pk, pipeline, mode)
    return replace(placed, start_time=row["start_time"], pipeline=pipeline, mode=mode)


def move_steps(
    connection: Connection, ids: Ids, pk: int, pipeline: str, mode: str, *, most: int | None = None
) -> int:
    """Give the steps of a session the series of this pipeline and mode; return how many have it now anew.

    Args:
        connection: a writer's.
        ids: of this transaction.
        pk: the session.
        pipeline: what all of its steps are of then.
        mode: and their mode.
        most: only so many of those that are of another.
    """
    old = series.alias()
    elsewhere = (
        select(steps.c.seq, old.c.step_name)
        .join(old, old.c.id == steps.c.series_id)
        .where(steps.c.session_pk == pk, (old.c.pipeline != pipeline) | (old.c.mode != mode))
    )
    found = connection.execute(elsewhere.limit(most)).all()
    if not found:
        return 0
    names = dict.fromkeys(row.step_name for row in found)
    ids.look_up(pipeline, mode, names)
    for step_name in names:
        ids.of_series((pipeline, mode, step_name))
    new = (
        select(series.c.id)
        .join(old, old.c.step_name == series.c.step_name)
        .where(series.c.pipeline == pipeline, series.c.mode == mode, old.c.id == steps.c.series_id)
    )
    change = update(steps).where(steps.c.session_pk == pk).values(series_id=new.scalar_subquery())
    if most is not None:
        change = change.where(steps.c.seq.in_([row.seq for row in found]))
    connection.execute(change)
    return len(found)


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
    return replace(placed, status=values["status"], counted=counted, has_ended=True)


# --- statements: built once, so that SQLAlchemy compiles them once ------------------------------------

_FIND_SESSION = (
    select(
        sessions.c.id,
        sessions.c.start_time,
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


_SPAN_OF_SESSION = (
    select(
        sessions.c.start_time,
        sessions.c.total_duration,
        sessions.c.success,
        sessions.c.error_message,
        sessions.c.attributes,
        series.c.pipeline,
    )
    .join(series, series.c.id == sessions.c.series_id)
    .where(sessions.c.id == bindparam("wanted"))
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
            added = insert_into(made, steps).on_conflict_do_nothing()
            return Prepared(added, made, _columns(steps), as_json=True)
        case "step":
            return Prepared(finish_step(insert_into(made, steps)), made, _columns(steps), as_json=True)
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
    since, reached, more = (
        bindparam(name, type_=BigInteger) for name in ("since", "reached", "more_quarantined")
    )
    further = reached > journals.c.byte_offset  # never back: another process may be ahead
    advance = insert.on_conflict_do_update(
        index_elements=["journal_id"],
        set_={
            "byte_offset": case((further, reached), else_=journals.c.byte_offset),
            "quarantined": journals.c.quarantined + case((further, more), else_=0),
            "updated_at": given.updated_at,
            **heard,
        },
        where=or_(since < 0, since == journals.c.byte_offset),
    ).returning(journals.c.id, journals.c.byte_offset)
    return Prepared(advance, dialect, _columns(journals, "id", "seen_at"))


def _save_journal(
    connection: Connection, header: Record, offset: int, since: int, quarantined: int
) -> tuple[int | None, int]:
    """Advance a journal that is at ``since``; return its number, None when it is not, and where it is."""
    is_first = since <= 0
    row = {
        "journal_id": rows.journal_name(header.get("journal_id")),
        "byte_offset": offset if is_first else 0,  # of a row that is made now
        "quarantined": quarantined if is_first else 0,
        "since": since,
        "reached": offset,
        "more_quarantined": quarantined,
        "host": rows.text(header.get("host")),
        "pid": rows.integer(header.get("pid")),
        "created_at": rows.instant(header.get("created")),
        "updated_at": time.time(),
    }
    saved = _prepared(connection, "journal").one(connection, row)
    if saved is None:
        return None, journal_offset(connection, str(row["journal_id"]))
    return (saved[0], saved[1]) if is_first or saved[1] else (None, 0)
