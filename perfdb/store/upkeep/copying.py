"""Copy a history into another database: what is missing there is added, what went on is brought on.

The source is only read, all of it as of one moment, while others may write to it. Rows go over in
transactions of some hundred rows, so that the target's other writers hardly wait: sessions whole with
their steps, a large one in several. A copy that was cut off is simply made again. Nothing in the target goes
back: what it knows better, it keeps. Every batch is read again from both databases and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Table, func, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from perfdb.errors import StoreError
from perfdb.store.alerts import take_turn
from perfdb.store.database import garbage_collected_later
from perfdb.store.dialects import insert_into, is_shared
from perfdb.store.engine import connected, open_engine, shown_url, sqlite_path
from perfdb.store.ingest import finish_step
from perfdb.store.models import (
    INTERRUPTED_CODE,
    RUNNING_CODE,
    alert_events,
    alerts,
    annotated,
    baselines,
    environments,
    journals,
    outbox,
    rollups,
    samples,
    series,
    server_time,
    session_tags,
    sessions,
    silences,
    steps,
)
from perfdb.store.rollups import NO_RUNS, day_of, pruned_rows, runs_of, spoil, spoil_sessions
from perfdb.store.schema import ensure_schema, require_schema
from perfdb.store.sessions import recount_session
from perfdb.store.upkeep.comparing import Copied, Digests, digests
from perfdb.store.upkeep.inspection import cut_short, find_damage, unreadable, unreadable_on_server
from perfdb.store.upkeep.portable import (
    Key,
    Names,
    key_reader,
    references,
    renumbered,
    tables,
)
from perfdb.store.upkeep.space import measure_tables
from perfdb.vocabulary import WAITING

_SESSIONS = 200  # that are looked at together
_PIECE = 120  # rows per transaction, 12 ms; on a busy machine twice as long
_ALERTS = 25  # per transaction, 30 ms
_JOURNALS = 50
_ROWS = 2_000  # per statement
_CHILDREN = (steps, samples, session_tags)
_NAMED = (series, environments, journals)
_ADDED = (alert_events, outbox, silences, baselines, annotated)

_Row = TypeVar("_Row")
Progress = Callable[[int, int], None]  # sessions so far, of how many


def copy_history(source_url: str, target_url: str, progress: Progress | None = None) -> list[Copied]:
    """Copy all tables; make those of the target where it has none.

    Messages that wait for delivery stay where they are: the source's programs send them, once.

    Returns:
        One entry per table. The caller looks at ``wrong``.

    Raises:
        SchemaError: the source is of an older perfdb.
        NewerSchemaError: one of the two is of a newer perfdb.
        StoreError: one of the two cannot be opened, or was lost; what has been copied stays. The source holds
            what perfdb never writes; nothing is copied.
    """
    try:
        with connected(source_url, role="reader") as source:
            if damage := find_damage(source):  # pages that stand in it twice might never end
                raise StoreError(f"{shown_url(source_url)} is damaged ({damage[0]}); run: perfdb doctor")
            require_schema(source)
            _require_readable(source, source_url, for_server=sqlite_path(target_url) is None)
            ensure_schema(target_url)
            writer, witness = (open_engine(target_url, role=role) for role in ("writer", "reader"))
            try:
                return _Copy(source, writer, witness, progress or (lambda done, total: None)).run()
            finally:
                writer.dispose()
                witness.dispose()
    except SQLAlchemyError as error:
        raise StoreError(
            f"the copy from {shown_url(source_url)} into {shown_url(target_url)} was cut off: "
            f"{getattr(error, 'orig', None) or error}; what has arrived is whole: run it again"
        ) from error


def _require_readable(source: Connection, url: str, *, for_server: bool) -> None:
    """Refuse what would make readers refuse all of the target, what was there before as well.

    And what a server does not keep: it would cut the copy off wherever it stands.

    Raises:
        StoreError: it holds such a value.
    """
    driver: Any = source.connection.driver_connection
    wrong = next(unreadable_on_server(source) if is_shared(source) else unreadable(driver), None)
    if wrong is None and for_server and not is_shared(source):
        wrong = next(cut_short(driver), None)
    if wrong is not None:
        raise StoreError(f"{shown_url(url)} is not copied: {wrong}; restore a backup, or delete such rows")


class _Copy:
    """One copy: the names of rows on both sides, and what became of each table."""

    def __init__(self, source: Connection, target: Engine, witness: Engine, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._witness = witness  # reads what was written
        self._progress = progress
        self._here: dict[str, dict[int, Key]] = {}  # names of rows in the source, per table
        self._there: dict[str, dict[int, Key]] = {}  # and in the target
        self._numbers: dict[str, dict[Key, int]] = {}  # of rows in the target, by name
        self._copied = {name: Copied(name) for name in tables()}

    def run(self) -> list[Copied]:
        """Copy one table after the other, those that others refer to first."""
        for table in _NAMED:
            self._copy_named(table)
        self._copy_sessions()
        self._look_up(series)  # others may have brought some meanwhile
        self._copy_alerts()
        self._copy_pruned()
        added = {table.name: self._copy_rows(table) for table in _ADDED}
        for batch in _batches(self._source.execute(select(journals)).all(), _JOURNALS):
            with garbage_collected_later(), self._target.begin() as target:
                self._advance_journals(target, batch)
        with self._target.begin() as target:
            measure_tables(target)
        with self._witness.connect() as target:
            for table in (series, environments, journals):
                self._compare(target, table, written=self._here[table.name].values())
            self._compare(target, alerts, written=self._alerts_written)
            for table in _ADDED:
                self._compare(target, table, written=added[table.name])
        return list(self._copied.values())

    # -- series, environments, journals -----------------------------------------------------------------

    def _copy_named(self, table: Table) -> None:
        rows = self._source.execute(select(table)).all()
        key_of = key_reader(table, {})
        self._here[table.name] = {row.id: key_of(row) for row in rows}
        self._look_up(table)
        missing = [row for row in rows if key_of(row) not in self._numbers[table.name]]
        if table is journals:
            self._new_journals = {key_of(row) for row in missing}
        self._copied[table.name].added = len(missing)
        for batch in _batches(missing, _PIECE):
            with garbage_collected_later(), self._target.begin() as target:
                given = [self._values(table, row) for row in batch]
                if table is journals:
                    # Up to where it was read is true only once all its rows are there.
                    given = [{**values, "byte_offset": 0, "quarantined": 0} for values in given]
                target.execute(insert_into(target, table).on_conflict_do_nothing(), given)
        self._look_up(table)

    def _look_up(self, table: Table) -> None:
        key_of = key_reader(table, {})
        with self._witness.connect() as target:
            self._there[table.name] = {row.id: key_of(row) for row in target.execute(select(table))}
        self._numbers[table.name] = {key: number for number, key in self._there[table.name].items()}

    def _advance_journals(self, target: Connection, rows: Iterable[Row[Any]]) -> None:
        """Say that the source's journals are read so far: all their rows are here now."""
        heard = {"seen_at": server_time()} if is_shared(target) else {}
        for row in rows:
            behind = journals.c.journal_id == row.journal_id, journals.c.byte_offset < row.byte_offset
            read = {name: row._mapping[name] for name in ("byte_offset", "quarantined", "updated_at")}
            moved = target.execute(update(journals).where(*behind).values(**read, **heard)).rowcount
            if (row.journal_id,) not in self._new_journals:
                self._copied["journals"].updated += moved

    # -- sessions with their steps, samples and tags -------------------------------------------------------

    def _copy_sessions(self) -> None:
        total = self._source.execute(select(func.count()).select_from(sessions)).scalar_one()
        done = last = 0
        while rows := self._source.execute(
            select(sessions).where(sessions.c.id > last).order_by(sessions.c.id).limit(_SESSIONS)
        ).all():
            for piece in self._pieces(rows):
                self._here["sessions"] = {row.id: (row.session_id,) for row in piece}
                with garbage_collected_later(), self._target.connect() as target:
                    target.begin()
                    written = self._write_sessions(target, piece)
                    target.commit()
                with self._witness.connect() as target:
                    self._compare_sessions(target, piece, written)
            last, done = rows[-1].id, done + len(rows)
            self._progress(done, total)

    def _pieces(self, rows: Sequence[Row[Any]]) -> Iterator[list[Row[Any]]]:
        """Yield the sessions in groups of some rows; a large one is alone."""
        named = {row.id: (row.session_id,) for row in rows}
        sizes = [_sizes(self._source, table, named) for table in _CHILDREN]
        piece: list[Row[Any]] = []
        number = 0
        for row in rows:
            size = 1 + sum(each.get((row.session_id,), 0) for each in sizes)
            if piece and number + size > _PIECE:
                yield piece
                piece, number = [], 0
            piece.append(row)
            number += size
        if piece:
            yield piece

    def _write_sessions(self, target: Connection, rows: Sequence[Row[Any]]) -> set[Key]:
        """Write what is missing of these sessions; return those that were written."""
        named = [row.session_id for row in rows]
        wanted = select(sessions.c.session_id, sessions.c.status, sessions.c.total_duration)
        wanted = wanted.where(sessions.c.session_id.in_(named))
        known = {row.session_id: _how_far(row) for row in target.execute(wanted).all()}
        new = [row for row in rows if row.session_id not in known]
        if new:
            target.execute(
                insert_into(target, sessions).on_conflict_do_nothing(),
                [self._values(sessions, row) for row in new],
            )
        found = select(sessions.c.id, sessions.c.session_id).where(sessions.c.session_id.in_(named))
        self._there["sessions"] = {row.id: (row.session_id,) for row in target.execute(found)}
        self._numbers["sessions"] = {key: number for number, key in self._there["sessions"].items()}
        further = [row for row in rows if row.session_id in known and _how_far(row) > known[row.session_id]]
        spoil(target, {day_of(row.start_time) for row in (*new, *further)})
        spoil_sessions(target, [self._numbers["sessions"][(row.session_id,)] for row in further])
        for row in further:
            place = sessions.c.id == self._numbers["sessions"][(row.session_id,)]
            target.execute(update(sessions).where(place).values(self._values(sessions, row)))
        self._copied["sessions"].added += len(new)
        self._copied["sessions"].updated += len(further)
        written = {(row.session_id,) for row in (*new, *further)}
        behind = self._behind(target, [(row.session_id,) for row in rows if (row.session_id,) not in written])
        for table in _CHILDREN:
            self._copy_children(target, table, written | behind)
        spoil_sessions(target, [self._numbers["sessions"][key] for key in behind])  # their tags may be new
        for key in {(row.session_id,) for row in further} | behind:
            recount_session(target, self._numbers["sessions"][key])
        return written

    def _behind(self, target: Connection, keys: Collection[Key]) -> set[Key]:
        """Return the sessions that have fewer steps, samples or tags there than here."""
        if not keys:
            return set()
        found: set[Key] = set()
        for table in _CHILDREN:
            here = _sizes(self._source, table, self._here["sessions"])
            there = _sizes(target, table, self._there["sessions"])
            found |= {key for key in keys if here.get(key, 0) > there.get(key, 0)}
        return found

    def _copy_children(self, target: Connection, table: Table, of: Collection[Key]) -> None:
        numbers = [number for number, key in self._here["sessions"].items() if key in of]
        if not numbers:
            return
        before = self._count(target, table, of)
        insert = insert_into(target, table)
        statement = finish_step(insert) if table is steps else insert.on_conflict_do_nothing()
        began = select(sessions.c.id, sessions.c.start_time).where(sessions.c.id.in_(numbers))
        days = {pk: day_of(start) for pk, start in self._source.execute(began)}
        for batch in _stream(self._source, table, numbers):
            for first in range(0, len(batch), _PIECE):
                if first or len(batch) > _PIECE:
                    target.commit()  # of a large session: it goes on where it was cut off
                    target.begin()
                piece = batch[first : first + _PIECE]
                if table is steps:
                    spoil(target, {row.day for row in piece} | {days[row.session_pk] for row in piece})
                target.execute(statement, [self._values(table, row) for row in piece])
        self._copied[table.name].added += self._count(target, table, of) - before

    def _count(self, target: Connection, table: Table, of: Collection[Key]) -> int:
        numbers = [self._numbers["sessions"][key] for key in of]
        return int(target.execute(select(func.count()).where(table.c.session_pk.in_(numbers))).scalar_one())

    def _compare_sessions(self, target: Connection, rows: Sequence[Row[Any]], written: set[Key]) -> None:
        # What still runs goes on: its programs may have brought more to the target meanwhile.
        sure = written - {(row.session_id,) for row in rows if row.status == RUNNING_CODE}
        key_of = key_reader(sessions, self._here)
        here = digests(sessions, self._here, rows, key_of)
        numbers = list(self._there["sessions"])
        found = target.execute(select(sessions).where(sessions.c.id.in_(numbers)))
        there = digests(sessions, self._there, found, key_of)
        self._copied["sessions"].compare(here, there, sure)
        for table in _CHILDREN:
            here = self._child_digests(self._source, table, self._here)
            there = self._child_digests(target, table, self._there)
            self._copied[table.name].compare(here, there, sure)

    def _child_digests(self, connection: Connection, table: Table, names: Names) -> Digests:
        """Return the digests of all rows of each session together."""
        named = names["sessions"]
        rows = (row for batch in _stream(connection, table, list(named)) for row in batch)
        return digests(table, names, rows, lambda row: named[row.session_pk])

    def _copy_pruned(self) -> None:
        """Copy the figures of runs that were pruned, unless the target has these runs still."""
        for batch in _batches(pruned_rows(self._source), _PIECE):
            days = {row["day"] for row in batch}
            here = runs_of(self._source, days)
            with self._target.begin() as target:
                there = runs_of(target, days)
                for row in batch:
                    values = self._renumbered(rollups, row)
                    runs = there.get((values["series_id"], row["day"]), NO_RUNS)
                    if len(runs.values) <= len(here.get((row["series_id"], row["day"]), NO_RUNS).values):
                        target.execute(insert_into(target, rollups).on_conflict_do_nothing(), values)

    # -- alerts and what belongs to them ---------------------------------------------------------------------

    def _copy_alerts(self) -> None:
        """Copy the alerts in pieces, each of which a copy that is cut off leaves whole."""
        key_here = key_reader(alerts, self._here)
        key_there = key_reader(alerts, self._there)
        rows = self._source.execute(select(alerts).order_by(alerts.c.id)).all()
        self._here["alerts"] = {row.id: key_here(row) for row in rows}
        numbers = self._numbers["alerts"] = {}
        self._alerts_written: set[Key] = set()
        # Numbers keep the order of the source: an alert may be copied before the one that inhibits it.
        waiting = [row for row in rows if row.inhibited_by is not None and row.inhibited_by > row.id]
        newest = -1

        def look(target: Connection) -> None:
            nonlocal newest
            for found in _since(target, alerts, newest):
                numbers[key_there(found)] = newest = found.id

        with self._witness.connect() as target:  # nobody waits meanwhile
            look(target)
        for piece in _batches(rows, _ALERTS):
            with garbage_collected_later(), self._target.begin() as target:
                take_turn(target)
                look(target)
                self._alerts_written |= {
                    self._here["alerts"][row.id] for row in piece if self._copy_alert(target, row)
                }
                waiting = [row for row in waiting if not self._hang_on_head(target, row)]
        self._there["alerts"] = {number: key for key, number in numbers.items()}
        # What hung on an alert that was left out hangs on none.
        self._here["alerts"] = {row: key for row, key in self._here["alerts"].items() if key in numbers}

    def _copy_alert(self, target: Connection, row: Row[Any]) -> bool:
        """Add an alert, or bring it on; return whether there was anything to do."""
        key, numbers = self._here["alerts"][row.id], self._numbers["alerts"]
        head = numbers.get(self._here["alerts"].get(row.inhibited_by, ()))
        values = {**self._values(alerts, row), "inhibited_by": head}
        number = numbers.get(key)
        if number is None:
            statement = insert_into(target, alerts).on_conflict_do_nothing().returning(alerts.c.id)
            number = target.execute(statement.values(values)).scalar()
            if number is None:  # the target has an open alert of its own for the same
                return False
            numbers[key] = number
            if (message := renumbered(row.message, number)) != row.message:
                target.execute(update(alerts).where(alerts.c.id == number).values(message=message))
            self._copied["alerts"].added += 1
            return True
        values["message"] = renumbered(row.message, number)
        is_older = (alerts.c.id == number) & (alerts.c.updated_at < row.updated_at)
        if not _try(target, update(alerts).where(is_older).values(values)):
            return False
        self._copied["alerts"].updated += 1
        return True

    def _hang_on_head(self, target: Connection, row: Row[Any]) -> bool:
        """Name the alert that inhibits this one, once both are there; return whether they are."""
        numbers = self._numbers["alerts"]
        number = numbers.get(self._here["alerts"][row.id])
        head = numbers.get(self._here["alerts"].get(row.inhibited_by, ()))
        if number is None or head is None:
            return False
        same = (alerts.c.id == number) & (alerts.c.updated_at == row.updated_at)
        target.execute(update(alerts).where(same, alerts.c.inhibited_by.is_(None)).values(inhibited_by=head))
        return True

    def _copy_rows(self, table: Table) -> set[Key]:
        """Add what is missing of a table that nothing refers to; return the keys of what was added."""
        key_there = key_reader(table, self._there)
        rows = list(self._rows_here(table))
        known: set[Key] = set()
        added: set[Key] = set()
        newest = -1

        def look(target: Connection) -> None:
            nonlocal newest
            for found in _since(target, table, newest):
                known.add(key_there(found))
                newest = found.id

        with self._witness.connect() as target:  # nobody waits meanwhile
            look(target)
        for piece in _batches(rows, _PIECE):
            with garbage_collected_later(), self._target.begin() as target:
                look(target)
                missing = {key: row for key, row in piece if key not in known and key not in added}
                if missing:
                    given = [self._values(table, row) for row in missing.values()]
                    target.execute(insert_into(target, table), given)
            added |= missing.keys()
        self._copied[table.name].added = len(added)
        return added

    def _rows_here(self, table: Table) -> Iterator[tuple[Key, Row[Any]]]:
        key_of = key_reader(table, self._here)
        for row in self._source.execute(select(table)):
            if table is outbox and row.state == WAITING:
                continue
            if table in (alert_events, silences) and row.alert_id not in (None, *self._here["alerts"]):
                continue
            yield key_of(row), row

    # -- comparing -------------------------------------------------------------------------------------------

    def _compare(self, target: Connection, table: Table, written: Iterable[Key]) -> None:
        if table in _ADDED:
            rows: Iterable[Row[Any]] = (row for _, row in self._rows_here(table))
        else:
            rows = self._source.execute(select(table))
        here = digests(table, self._here, rows, key_reader(table, self._here))
        found = target.execute(select(table))
        there = digests(table, self._there, found, key_reader(table, self._there))
        self._copied[table.name].compare(here, there, set(written))

    def _values(self, table: Table, row: Row[Any]) -> dict[str, Any]:
        """Return a row of the source as it goes into the target."""
        return self._renumbered(table, dict(row._mapping))

    def _renumbered(self, table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(row)
        values.pop("id", None)
        values.pop("seen_at", None)
        for column, other in references(table).items():
            if values[column] is not None:
                values[column] = self._numbers[other].get(self._here[other].get(values[column], ()))
        return values


def _how_far(session: Any) -> int:
    """Return 0 for a row of a session that runs, 1 when it was taken for dead, 2 when it has an end."""
    if session.status == INTERRUPTED_CODE and session.total_duration is None:
        return 1
    return 0 if session.status == RUNNING_CODE else 2


def _sizes(connection: Connection, table: Table, named: Mapping[int, Key]) -> dict[Key, int]:
    """Return how many rows of a table each session has."""
    query = (
        select(table.c.session_pk, func.count())
        .where(table.c.session_pk.in_(list(named)))
        .group_by(table.c.session_pk)
    )
    return {named[number]: count for number, count in connection.execute(query)}


def _stream(connection: Connection, table: Table, numbers: Sequence[int]) -> Iterator[Sequence[Row[Any]]]:
    """Yield the rows of some sessions, a batch at a time."""
    query = select(table).where(table.c.session_pk.in_(numbers))
    with connection.execute(query, execution_options={"yield_per": _ROWS}) as found:
        yield from found.partitions()


def _since(connection: Connection, table: Table, newest: int) -> Iterator[Row[Any]]:
    """Yield the rows of a table that came after one, in order."""
    yield from connection.execute(select(table).where(table.c.id > newest).order_by(table.c.id))


def _batches(rows: Sequence[_Row], size: int) -> Iterator[Sequence[_Row]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _try(target: Connection, statement: Any) -> bool:
    """Run an update that the target may refuse because it knows better; return whether a row was changed."""
    try:
        with target.begin_nested():
            return bool(target.execute(statement).rowcount)
    except IntegrityError:
        return False
