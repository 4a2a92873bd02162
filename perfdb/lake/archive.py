"""Push what a database has to a lake's inbox: sessions that have ended, each piece in one file.

A piece is named by its source and by which of the sessions that it pushed are in it:
``inbox/SOURCE.FROM-TO.parquet``. Where a source stands is read from its newest piece that waits, or else from
what sealing noted of it. Whoever loses track sends again; sealing leaves out what the lake has.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.lake.following import announce, follow, follow_annotations
from perfdb.lake.pieces import UnfitError, allowed_room, said_of
from perfdb.lake.place import INBOX, SOURCES, Place
from perfdb.lake.rows import DAY_US, conformed, lean
from perfdb.store.annotations import read_annotations
from perfdb.store.database import Database
from perfdb.store.engine import shown_url, sqlite_path
from perfdb.store.upkeep.archiving import (
    Columns,
    Extent,
    find_closed,
    is_same,
    read_columns,
    sole_archiver,
)

if TYPE_CHECKING:
    import pyarrow as pa

_SESSIONS = 20_000  # in one piece
_PIECE = re.compile(r"\w{1,64}-\w{1,64}\.\d{1,18}-\d{1,18}\.parquet", re.ASCII)
_NOTED = {"generation": str, "to": int, "last": int, "name": str, "held": list}
_GENERATION = re.compile(r"\w{1,64}", re.ASCII)
_MOST = 100_000_000_000_000_000  # of what is counted; a piece is named by numbers of 18 digits at most
_NOTE = b"perfdb"  # in a piece's metadata: where its source stands


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was pushed."""

    pieces: int
    sessions: int
    steps: int
    held: int  # sessions that still run
    tags: int = 0  # that earlier ones got or lost since


@dataclass(frozen=True, slots=True)
class _Standing:
    generation: str
    at: int  # sessions that were pushed
    extent: Extent


def push(place: Place, database: Database, *, sessions: int = _SESSIONS) -> Pushed:
    """Push the sessions that have ended since the last time, and what changed in earlier ones.

    Args:
        place: of the lake, which is made if it is none.
        database: to read.
        sessions: in a piece at most.

    Raises:
        StoreError: the lake or the database cannot be reached.
    """
    source = source_of(database.url)
    pieces = pushed = steps = 0
    # One at a time: who is overtaken would take back what the other said of tags.
    with place.in_words("pushed to"), sole_archiver(database.url), database.reading() as connection:
        place.create()  # only now: without a database there is nothing to make a lake for
        standing = _standing(place, source)
        told = announce(place, source, connection)
        is_lost = bool(told.before)  # where this knows of nothing
        if standing is None or not is_same(connection, standing.extent):
            standing = _Standing(os.urandom(4).hex(), 0, Extent(0, ""))
        else:
            is_lost = False
        extent, at = standing.extent, standing.at
        while True:
            closed, reached = find_closed(connection, extent, time.time(), sessions)
            if closed:
                of_sessions, of_steps = read_columns(connection, closed)
                table = to_arrow(of_sessions, of_steps)
                note: dict[str, Any] = {
                    "generation": standing.generation,
                    "to": at + len(closed),
                    "last": reached.last,
                }
                note |= {"name": reached.name, "held": reached.held, "missing": reached.missing}
                content = _written(table, note)
                if sessions > 1 and 2 * lean(table).nbytes > allowed_room(len(content)):
                    sessions //= 2  # their texts repeat so much that sealing would leave the piece out
                    continue
                name = f"{source}-{standing.generation}.{at}-{at + len(closed)}.parquet"
                place.write(content, INBOX, name)
                at += len(closed)
                pieces, pushed, steps = pieces + 1, pushed + len(closed), steps + len(table) - len(closed)
            if reached.last == extent.last:
                break
            extent = reached
        before = standing.extent
        late = {*before.held, *before.missing}

        def is_sent(number: int) -> bool:
            return not is_lost and (number > before.last or number in late)

        tags = follow(place, source, connection, told, reached, is_sent)
        follow_annotations(place, source, read_annotations(connection))
        return Pushed(pieces, pushed, steps, len(reached.held), tags)


def source_of(url: str) -> str:
    """Return the name of a database as a source: of a file that of its host, too."""
    path = sqlite_path(url)
    named = f"{socket.gethostname()}:{path.resolve()}" if path is not None else shown_url(url)
    return hashlib.sha256(named.encode()).hexdigest()[:12]


def note_of(place: Place, piece: str) -> dict[str, Any] | None:
    """Return where its source stands after a piece of the inbox; None when it is gone, or none."""
    try:
        note = json.loads(said_of(place, piece).get(_NOTE, b"{}"))
    except (FileNotFoundError, UnfitError, ValueError, RecursionError):
        return None
    return note if _is_note(note) else None


def sealed_of(place: Place, name: str) -> dict[str, Any] | None:
    """Return where a source stands by what sealing noted; None where that is nothing, or damaged."""
    try:
        note = place.document(SOURCES, f"{name}.json")
    except StoreError:
        return None
    return note if _is_note(note) else None


def _is_note(note: object) -> bool:
    """Tell whether a note is one: whoever pushes writes some, and all others read them.

    The name of the next piece is made of it.
    """
    if not isinstance(note, dict) or any(type(note.get(key)) is not kind for key, kind in _NOTED.items()):
        return False
    missing = note.get("missing", [])
    if not isinstance(missing, list) or _GENERATION.fullmatch(note["generation"]) is None:
        return False
    return all(
        type(each) is int and 0 <= each < _MOST
        for each in (note["to"], note["last"], *note["held"], *missing)
    )


def pieces_in(place: Place) -> list[str]:
    """Return the names of the pieces that wait, those of a source in their order."""
    return sorted((name for name in place.names(INBOX) if _PIECE.fullmatch(name)), key=bounds_of)


def bounds_of(piece: str) -> tuple[str, int, int]:
    """Return the source of a piece, from where and to where it goes."""
    source, _, rest = piece.removesuffix(".parquet").rpartition(".")
    first, _, last = rest.partition("-")
    return source, int(first), int(last)


def to_arrow(of_sessions: Columns, of_steps: Columns) -> pa.Table:
    """Return the rows of a lake, sorted by pipeline and time."""
    import pyarrow as pa

    from perfdb.lake.rows import in_order, series_of

    began = _us(of_sessions.get("start_time", ()))
    total = {
        **{
            name: of_sessions[name]
            for name in of_sessions
            if name not in ("start_time", "total_duration", "attributes")
        },
        "began_us": began,
        "start_us": began,
        "start_exact": _exact(of_sessions["start_time"]),
        "duration_us": _us(of_sessions["total_duration"]),
        "duration_exact": _exact(of_sessions["total_duration"]),
        "data": of_sessions["attributes"],
    }
    places = of_steps["place"]
    step = {
        **{
            name: of_steps[name]
            for name in of_steps
            if name not in ("start_time", "duration", "additional_data", "place")
        },
        "session_id": [of_sessions["session_id"][place] for place in places],
        "excluded": [of_sessions["excluded"][place] for place in places],
        "began_us": [began[place] for place in places],
        "start_us": _us(of_steps["start_time"]),
        "duration_us": _us(of_steps["duration"]),
        "start_exact": _exact(of_steps["start_time"]),
        "duration_exact": _exact(of_steps["duration"]),
        "data": of_steps["additional_data"],
    }
    both = pa.concat_tables([_table(total), _table(step)])
    day = pa.array([us // DAY_US for us in both.column("began_us").to_pylist()], pa.int32()).cast(pa.date32())
    both = both.set_column(both.schema.get_field_index("day"), "day", day)
    names = zip(*(both.column(name).to_pylist() for name in ("pipeline", "step_name", "mode")), strict=True)
    series = pa.array([series_of(*each) for each in names], pa.int64())
    both = both.set_column(both.schema.get_field_index("series"), "series", series)
    return in_order(both)


def _table(columns: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    from perfdb.lake.rows import schema

    known = {field.name: field.type for field in schema()}
    arrays = {
        name: pa.array(_booleans(values, known.get(name)), known.get(name))
        for name, values in columns.items()
    }
    return conformed(pa.table(arrays))


def _booleans(values: Any, kind: Any) -> Any:
    """Return what SQLite keeps as 0 and 1 as what it means."""
    if str(kind) != "bool":
        return values
    return [None if each is None else bool(each) for each in values]


def _us(seconds: Any) -> list[int | None]:
    return [None if each is None else round(each * 1e6) for each in seconds]


def _exact(seconds: Any) -> list[float | None]:
    """Return what whole microseconds do not hold; nothing of what perfdb recorded itself."""
    return [None if each is None or round(each * 1e6) / 1e6 == each else each for each in seconds]


def _standing(place: Place, source: str) -> _Standing | None:
    """Return where a source stands: after its newest piece that waits, or after what was sealed."""
    note: dict[str, Any] | None = None
    sealed: dict[str, Any] | None = None
    waiting = [name for name in pieces_in(place) if name.startswith(f"{source}-")]
    for piece in sorted(waiting, key=lambda name: bounds_of(name)[2], reverse=True):
        if note := note_of(place, piece):
            break
    sealed = sealed_of(place, source)  # read after the inbox: see sealing
    note = note or sealed
    if note is None:
        return None
    extent = Extent(note["last"], note["name"], tuple(note["held"]), tuple(note.get("missing", ())))
    return _Standing(note["generation"], note["to"], extent)


def _written(table: pa.Table, note: dict[str, Any]) -> bytes:
    import pyarrow.parquet as pq

    content = io.BytesIO()
    marked = table.replace_schema_metadata({_NOTE: json.dumps(note).encode()})
    pq.write_table(marked, content, compression="zstd", compression_level=1)
    return content.getvalue()
