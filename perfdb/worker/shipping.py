"""Move a live journal to the database, one batch of its lines after the other.

Rows and the offset up to which they were read go in one transaction, so that any process may read a journal
again at any time, and a kill at any point neither loses nor duplicates a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from perfdb.errors import NotFoundError
from perfdb.recording.health import Health
from perfdb.recording.journal import Journal, Line
from perfdb.recording.quarantine import put_aside
from perfdb.store.database import MOST_ROWS, Database
from perfdb.vocabulary import COMPLETED

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

BATCH_BYTES = 512 << 10
LONG_JOURNAL = 256 << 10  # bytes behind which an end may be that of a large session


class Batch:
    """Complete lines of a journal, read before the database is asked for its lock.

    It ends with a session where one ends near its end: a part of one takes further statements.
    """

    def __init__(self, journal: Journal, offset: int, limit: int) -> None:
        self.offset = self.end = offset
        self.good: list[Line] = []
        self.bad: list[Line] = []
        ended, cut = None, False
        for number, line in enumerate(journal.lines(offset)):
            if cut := (number >= limit or self.end - offset > BATCH_BYTES):
                break
            (self.bad if line.record is None else self.good).append(line)
            self.end = line.end
            if line.record is not None and line.record["type"] == "end":
                ended = len(self.good), len(self.bad), line.end
        if cut and ended is not None and ended[0] + ended[1] >= limit // 2:
            self.good, self.bad, self.end = self.good[: ended[0]], self.bad[: ended[1]], ended[2]

    @property
    def lines(self) -> int:
        """How many there are."""
        return len(self.good) + len(self.bad)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield those of its good lines."""
        return (line.record for line in self.good if line.record is not None)

    def refuse(self) -> None:
        """Count all its lines as bad."""
        self.good, self.bad = [], self.good + self.bad


def move_batch(
    database: Database, journal: Journal, health: Health, offset: int = 0
) -> tuple[int, int, tuple[str, ...]]:
    """Move the next records of a journal.

    Args:
        database: where to.
        journal: where from; this process holds its lock.
        health: counts what is put aside.
        offset: up to where the database is believed to have it; it is asked.

    Returns:
        how many lines were moved, the offset behind the last, the ids of sessions that ended.

    Raises:
        Exception: the database takes nothing now. A record that it refuses for good is put
            aside beside the journal instead, and counted.
    """
    from perfdb.store.engine import is_transient

    try:
        limit = database.pace.rows
        batch = Batch(journal, offset, limit)
        if batch.offset > LONG_JOURNAL:
            _uncount_ahead(database, batch)
        return _move(database, journal, health, batch, limit)
    except Exception as error:
        if is_transient(error):
            raise
    return _move_singly(database, journal, health, offset)


def _uncount_ahead(database: Database, batch: Batch) -> None:
    """Mark the steps of large failing sessions as not counted, before their ends are written.

    In one transaction with the ends they would hold the lock for long. A kill in between leaves the session
    running; its end is still in the journal.
    """
    failed = [
        str(line.record.get("session_id"))
        for line in batch.good
        if line.record is not None
        and line.record["type"] == "end"
        and (line.record.get("status") != COMPLETED or line.record.get("success") is False)
    ]
    if not failed:
        return
    from perfdb.store import large

    for session_id in failed:
        with database.reading() as connection:
            try:
                pk, is_large = large.find(connection, session_id)
            except NotFoundError:
                continue
        if is_large:
            large.close_steps(database, pk)
            large.count_steps(database, pk, counted=False)


def _move_singly(
    database: Database, journal: Journal, health: Health, offset: int
) -> tuple[int, int, tuple[str, ...]]:
    from perfdb.store.engine import is_transient

    moved = 0
    finished: tuple[str, ...] = ()
    while True:
        line = Batch(journal, offset, 1)
        try:
            count, offset, ended = _move(database, journal, health, line, 1)
        except Exception as error:
            if is_transient(error):
                raise
            line.refuse()
            count, offset, ended = _move(database, journal, health, line, 1)
        moved, finished = moved + count, finished + ended
        if not count or moved >= MOST_ROWS:
            return moved, offset, finished


def pricing_of(database: Database, health: Health) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what adds their cost to the records for a database."""
    from perfdb.worker.pricing import Pricing

    if database.pricing is None:
        database.pricing = Pricing(database.prices, health)
    return database.pricing


def _move(
    database: Database, journal: Journal, health: Health, batch: Batch, limit: int
) -> tuple[int, int, tuple[str, ...]]:
    from perfdb.store.ingest import apply_records, gather, journal_offset

    price = partial(map, pricing_of(database, health))
    gathered = gather(price(batch.records()))  # while others may have the lock
    with database.writing() as connection:
        begun = time.monotonic()
        if not batch.lines:
            batch = Batch(journal, journal_offset(connection, str(journal.header["journal_id"])), limit)
            gathered = gather(price(batch.records()))
        while batch.lines:
            applied = apply_records(
                connection,
                journal.header,
                gathered,
                offset=batch.end,
                since=batch.offset,
                quarantined=len(batch.bad),
            )
            if applied.follows:
                break
            batch = Batch(journal, applied.offset, limit)  # somebody moved some, or it is another database
            gathered = gather(price(batch.records()))
        else:
            return 0, batch.offset, ()
        # before the commit: better twice than lost
        put_aside(journal.path, journal.header, [line.raw for line in batch.bad])
    try:
        database.pace.note(len(batch.good), time.monotonic() - begun)
    except Exception as error:  # the rows are in
        health.failed("measuring how long a batch takes", error)
    health.count("quarantined", len(batch.bad), f"damaged lines of {journal.path} were put aside")
    return batch.lines, batch.end, applied.finished
