"""Take the pieces of the inbox into the history, once each, however many do so; and keep it in order.

A commit says of each source how far it went (Delta's application transactions): of two sealers that take
the same piece one is refused, and looks again. A session that the history has is left out, whoever sends it.
A sealer that dies leaves files that no commit names, which ``vacuum`` removes, or pieces that were taken in,
which the next one removes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.lake import engine, rollups
from perfdb.lake.archive import bounds_of, note_of, pieces_in, sealed_of
from perfdb.lake.changes import (
    Change,
    alters,
    by_day,
    changed,
    deleted,
    keep_deleted,
    read_changes,
    settle,
    without,
)
from perfdb.lake.pieces import read_piece, room_of, state_of
from perfdb.lake.place import HISTORY, INBOX, ROLLUPS, SOURCES, Place
from perfdb.lake.rows import in_order, lean
from perfdb.lake.writing import commit

if TYPE_CHECKING:
    import pyarrow as pa

_ROOM = 256 << 20  # bytes that the pieces of one commit take in memory, about
_TRIES = 20
_CONFLICT_S = 0.05


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was done."""

    pieces: int
    sessions: int
    steps: int
    days: int  # that were put in order
    waiting: int  # pieces before which another one is missing


def seal(
    place: Place,
    *,
    now: float | None = None,
    today: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Sealed:
    """Take in what waits, put the days that are over in order, and bring the roll-ups up to date.

    Args:
        place: of the lake.
        now: epoch s; the clock when None.
        today: put the day that goes on in order, too.
        progress: is told what is done.

    Raises:
        StoreError: the lake cannot be reached.
    """
    place.require()
    for name in (HISTORY, ROLLUPS):
        place.require_own(name)
        place.require_plain(name)
    with place.in_words("sealed"):
        return _seal(place, time.time() if now is None else now, today, progress)


def _seal(place: Place, moment: float, today: bool, progress: Callable[[str], None]) -> Sealed:
    pieces = sessions = steps = 0
    changes = read_changes(place)  # before the pieces: what they change is in the history then
    while True:
        taken = _taken_in(place)
        if taken is None:
            break
        pieces, sessions, steps = pieces + taken[0], sessions + taken[1], steps + taken[2]
        progress(f"{sessions:,} sessions")
    until = date.max if today else datetime.fromtimestamp(moment, UTC).date()
    days = put_in_order(place, until=until, changes=changes, progress=progress)
    rollups.bring_up_to_date(place)
    return Sealed(pieces, sessions, steps, days, len(place.names(INBOX)))


def _taken_in(place: Place) -> tuple[int, int, int] | None:
    """Take in some pieces; return how many, and their new sessions and steps; None where nothing is to do."""
    for attempt in range(_TRIES):
        with place.in_words("sealed"):
            table = place.open(HISTORY)
            ready = _ready(place, table)
            if not ready:
                return None
            found = [
                (name, rows)
                for name, seen in ready.items()
                if (rows := read_piece(place, name, seen)) is not None
            ]
            if len(found) < len(ready):
                continue  # another sealer was faster, or somebody has exchanged one
            new = _new(place, table, [rows for _, rows in found])
            before = {source: _reached(table, source) for source, _, _ in map(bounds_of, ready)}
            reached = dict(before)
            for source, _, last in map(bounds_of, ready):
                reached[source] = max(last, reached[source])
            is_news = len(new) > 0 or reached != before  # else a sealer took them in that has died
            if is_news and not commit(place, table, new, reached=reached):
                time.sleep(_CONFLICT_S * (attempt + 1))
                continue
        with place.in_words("sealed"):
            for name, _ in found:
                _finish(place, name)
        sessions = new.column("step_name").null_count
        return len(found), sessions, len(new) - sessions
    raise StoreError(f"{place.shown} cannot be sealed: others commit to it all the time; try again later")


def _ready(place: Place, table: Any) -> dict[str, tuple[int, ...] | None]:
    """Return the pieces that follow what is committed, not more than a commit takes, and their states.

    The states are those of before they were looked at. A piece that ends before what is committed is among
    them: its name alone does not tell that the history has its sessions.
    """
    ready: dict[str, tuple[int, ...] | None] = {}
    reached: dict[str, int] = {}
    room = 0
    for name in pieces_in(place):
        source, first, last = bounds_of(name)
        if source not in reached:
            reached[source] = _reached(table, source)
        known = reached[source]
        if first <= known and room < _ROOM:
            seen = state_of(place, name)
            needed = room_of(place, name)
            if needed is not None:
                ready[name] = seen
                reached[source] = max(last, known)
                room += needed
    return ready


def _reached(table: Any, source: str) -> int:
    """Return how far a source went by what is committed."""
    return (table.transaction_version(source) or 0) if table is not None else 0


def _new(place: Place, table: Any, pieces: list[pa.Table]) -> pa.Table:
    """Return the rows of sessions that the history has not, each of them once, sorted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts: list[pa.Table] = []
    known = set(deleted(place))
    days = {day for rows in pieces for day in pc.unique(rows.column("day")).to_pylist()}
    if table is not None and (files := engine.files_of(table, days=days)):
        query = "SELECT session_id FROM h WHERE step_name IS NULL"
        known.update(engine.ask(place, files, query).column(0).to_pylist())
    for rows in pieces:
        named = rows.filter(rows.column("step_name").is_null()).column("session_id").to_pylist()
        rows = without(rows, known.intersection(named))
        known.update(named)
        parts.append(rows)
    together = pa.concat_tables(parts, promote_options="default") if len(parts) > 1 else parts[0]
    return in_order(together) if len(parts) > 1 else together


def _finish(place: Place, piece: str) -> None:
    """Remove a piece that was taken in, once it is noted where its source stands."""
    source, _, last = bounds_of(piece)
    name = source.rpartition("-")[0]
    sealed = sealed_of(place, name)
    note = note_of(place, piece)
    if note and (sealed is None or sealed["generation"] != note["generation"] or sealed["to"] < last):
        place.write(json.dumps(note).encode(), SOURCES, f"{name}.json")
    place.remove(INBOX, piece)


# --- the daily pass ---------------------------------------------------------------------------------------


def put_in_order(
    place: Place,
    *,
    until: date,
    changes: Mapping[str, Sequence[Change]] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> int:
    """Write the days before ``until`` anew that are in several files or have changes; return how many.

    Each becomes one sorted file, with the tags and without the sessions that the changes name.

    Args:
        place: of the lake.
        until: the first day that is left as it is, but for changes.
        changes: that were there before the last pieces were taken in; those that are there now when None.
        progress: is told each day.
    """
    noted = read_changes(place) if changes is None else changes
    keep_deleted(place, noted)
    wait = bool(pieces_in(place))  # looked at before the history, which then has what is gone from the inbox
    table = place.open(HISTORY)
    if table is None:
        return 0
    files = rollups.by_day(engine.files_of(table))
    of_days = by_day(noted)
    applied: set[str] = set()
    done = 0
    for day, of_day in sorted(files.items()):
        wanted = of_days.get(str(day), ())
        found = _named(place, of_day, {each["session_id"] for each in wanted})
        if not (alters(found, wanted) or (len(of_day) > 1 and day < until)):
            applied |= found.keys()
            continue
        try:
            _rewrite(place, day)
        except engine.TooLargeError:  # it stays in several files, and its changes wait: answers apply them
            wait = True
            continue
        applied |= found.keys()
        done += 1
        progress(f"{day}")
    settle(place, noted, applied, wait=wait)
    return done


def _named(place: Place, files: Sequence[engine.File], session_ids: set[str]) -> dict[str, list[str]]:
    """Return those of the sessions that are in the files, and their tags."""
    import pyarrow as pa

    if not session_ids:
        return {}
    wanted = {"wanted": pa.table({"session_id": sorted(session_ids)})}
    sql = "SELECT session_id, tags FROM h SEMI JOIN wanted USING (session_id) WHERE step_name IS NULL"
    found = engine.ask(place, files, sql, tables=wanted)
    return {name: json.loads(tags or "[]") for name, tags in zip(*found.to_pydict().values(), strict=True)}


def _rewrite(place: Place, day: date) -> None:
    for attempt in range(_TRIES):
        with place.in_words("put in order"):
            table = place.open(HISTORY)
            # As they are now: what another sealer applied and removed meanwhile is not applied to its work.
            changes = by_day(read_changes(place)).get(str(day), ())
            gone = deleted(place)
            files = engine.files_of(table, days={day})
            rows = lean(engine.ask(place, files, "SELECT * FROM h", whole=True))
            rows = in_order(without(changed(_once(rows), changes), gone))
            if len(rows) == 0:
                table.delete(f"day = '{day}'")
                return
            if commit(place, table, rows, instead_of=day):
                return
        time.sleep(_CONFLICT_S * (attempt + 1))
    raise StoreError(f"{place.shown}: {day} cannot be put in order while others commit; try again later")


def _once(rows: pa.Table) -> pa.Table:
    """Return the rows with each step of a session once: two sources may have sent it at the same moment."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    names = rows.filter(rows.column("step_name").is_null()).column("session_id")
    if pc.count_distinct(names).as_py() == len(names):
        return rows
    keys = rows.select(["session_id", "seq"]).append_column("place", pa.array(np.arange(len(rows))))
    first = keys.group_by(["session_id", "seq"]).aggregate([("place", "min")])
    return rows.take(first.column("place_min").sort())


# --- retention and vacuum -----------------------------------------------------------------------------------


def drop_days(place: Place, before: date) -> int:
    """Drop the days before one from the history, whole partitions; the roll-ups stay. Return how many."""
    place.require_plain(HISTORY)
    table = place.open(HISTORY)
    if table is None:
        return 0
    days = {file.day for file in engine.files_of(table) if file.day < before}
    if days:
        with place.in_words("cut"):
            table.delete(f"day < '{before}'")
    return len(days)


def vacuum(place: Place, *, older_than: timedelta) -> int:
    """Remove the files that no version of the tables needs any more, those of dead sealers too.

    Args:
        place: of the lake.
        older_than: of files; answers and sealers that work on them now are younger.
    """
    hours = int(older_than.total_seconds() // 3600)
    removed = 0
    for name in (HISTORY, ROLLUPS):
        table = place.open(name)
        if table is None:
            continue
        place.require_own(name)  # the library would remove what a link leads to
        with place.in_words("vacuumed"):
            removed += len(
                table.vacuum(
                    retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=True
                )
            )
    return removed
