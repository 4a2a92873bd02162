"""Add finished sessions in pieces, so that a large one does not hold the write lock for long.

A small session goes in at once. A large one has its row first, then its tags, steps and samples; until the
last piece it is marked as an orphan without a journal, so that the next import goes on where a kill ended
this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, select, update

from perfdb.records import Session
from perfdb.store.dialects import insert_into
from perfdb.store.ingest import IMPORT, ORPHAN, insert_rows_of
from perfdb.store.models import session_tags, sessions
from perfdb.store.rollups import spoil_sessions
from perfdb.store.rows import text
from perfdb.store.sessions import recount_session

Row = TypeVar("Row")

ROWS = 200  # of a piece: a few milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Whole sessions, or a part of a large one."""

    sessions: list[Session]  # whole ones; of a part: one that holds only what the part brings
    part: str | None = None  # "first", "more" or "last"


def pieces_of(found: Iterable[Session]) -> Iterator[Piece]:
    """Yield the sessions in pieces of some ``ROWS`` rows, in order."""
    whole: list[Session] = []
    number = 0
    for session in found:
        size = 1 + len(session.steps) + len(session.tags) + len(session.samples)
        if whole and number + size > ROWS:
            yield Piece(sessions=whole)
            whole, number = [], 0
        if size > ROWS:
            yield from _parts_of(session)
        else:
            whole.append(session)
            number += size
    if whole:
        yield Piece(sessions=whole)


def _parts_of(session: Session) -> Iterator[Piece]:
    bare = replace(session, tags=(), steps=(), samples=())
    yield Piece(sessions=[bare], part="first")
    for tags in _batched(session.tags, ROWS):
        yield Piece(sessions=[replace(bare, tags=tags)], part="more")
    for steps in _batched(session.steps, ROWS):
        yield Piece(sessions=[replace(bare, steps=steps)], part="more")
    for samples in _batched(session.samples, ROWS):
        yield Piece(sessions=[replace(bare, samples=samples)], part="more")
    yield Piece(sessions=[bare], part="last")


def _batched(rows: tuple[Row, ...], size: int) -> Iterator[tuple[Row, ...]]:
    iterator = iter(rows)
    while piece := tuple(islice(iterator, size)):
        yield piece


class Inserting:
    """The sessions of one file on their way into the database."""

    def __init__(self) -> None:
        self.added = 0
        self.known = 0
        self.came_before: list[str] = []  # of the known ones, those that an earlier import brought
        self._skips = False  # the large session in hand is known

    def insert(self, connection: Connection, piece: Piece) -> None:
        """Add a piece, in the transaction that ``connection`` is in."""
        if piece.part in ("more", "last") and self._skips:
            return
        if piece.part is None:
            self._insert_whole(connection, piece.sessions)
            return
        (session,) = piece.sessions
        if piece.part == "first":
            self._skips = bool(self._note_known(connection, [session.session_id]))
            self.known += self._skips
            if self._skips:
                return
        if piece.part != "last":
            insert_rows_of(connection, [session], ORPHAN, with_end=piece.part == "first")
            add_tags(connection, session)
            return
        of_session = sessions.c.session_id == text(session.session_id)
        connection.execute(update(sessions).where(of_session).values(source=IMPORT))
        self.added += 1

    def _insert_whole(self, connection: Connection, given: list[Session]) -> None:
        named = {session.session_id: session for session in given}
        for session_id in self._note_known(connection, list(named)):
            del named[session_id]
        insert_rows_of(connection, list(named.values()), IMPORT)
        for session in named.values():
            add_tags(connection, session)
        self.added += len(named)
        self.known += len(given) - len(named)

    def _note_known(self, connection: Connection, session_ids: list[str]) -> list[str]:
        """Return which of these sessions the database has, but for those of an import that was cut off."""
        wanted = select(sessions.c.session_id, sessions.c.source).where(
            sessions.c.session_id.in_(session_ids),
            ~((sessions.c.source == ORPHAN) & sessions.c.journal_pk.is_(None)),
        )
        found = connection.execute(wanted).all()
        self.came_before += [row.session_id for row in found if row.source == IMPORT]
        return [row.session_id for row in found]


def add_tags(connection: Connection, session: Session) -> None:
    """Add the tags of a session that is there."""
    names = dict.fromkeys(name for tag in session.tags if (name := str(text(tag.strip()))[:64]))
    if not names:
        return
    found = select(sessions.c.id).where(sessions.c.session_id == text(session.session_id))
    pk = connection.execute(found).scalar_one()
    spoil_sessions(connection, [pk])
    added = insert_into(connection, session_tags).on_conflict_do_nothing()
    connection.execute(added, [{"session_pk": pk, "name": name} for name in names])
    recount_session(connection, pk)
