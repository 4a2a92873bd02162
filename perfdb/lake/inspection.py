"""What a lake holds, and what is not as it should be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from perfdb.lake import engine, rollups
from perfdb.lake.archive import bounds_of, pieces_in
from perfdb.lake.changes import read_changes
from perfdb.lake.pieces import why_unfit
from perfdb.lake.place import CHANGES, HISTORY, INBOX, ROLLUPS, Place

_LONG_S = 86_400.0  # that a piece may wait
_MANY_FILES = 20  # of a day


def status(place: Place) -> list[tuple[str, Any]]:
    """Return what the lake holds: names and numbers."""
    place.require()
    with place.in_words("read"):
        table = place.open(HISTORY)
        files = engine.files_of(table) if table is not None else []
        _, answered, rest = rollups.current(place, files)
        waiting, changes = place.names(INBOX), place.names(CHANGES)
    days = sorted({file.day for file in files})
    rows = sum(file.rows for file in files)
    size = sum(file.size for file in files)
    return [
        ("lake", place.shown),
        ("version", None if table is None else table.version()),
        ("rows", rows),
        ("bytes", size),
        ("bytes_per_row", round(size / rows, 1) if rows else None),
        ("files", len(files)),
        ("days", len(days)),
        ("first_day", str(days[0]) if days else None),
        ("last_day", str(days[-1]) if days else None),
        ("days_summed_up", len(answered)),
        ("days_to_sum_up", len({file.day for file in rest})),
        ("pieces_waiting", len(waiting)),
        ("changes_waiting", len(changes)),
    ]


def examine(place: Place, *, now: float | None = None) -> Iterator[tuple[str, str, str | None]]:
    """Yield (what was looked at, what was found, what to do); nothing to do means that it is well."""
    place.require()
    moment = time.time() if now is None else now
    for name in (HISTORY, ROLLUPS):
        place.require_own(name)
    with place.in_words("read"):
        table = place.open(HISTORY)
        files = engine.files_of(table) if table is not None else []
        yield "history", f"{sum(file.rows for file in files):,} rows in {len(files):,} files", None
        gone = sorted(set(_paths(files)) - set(_there(place, HISTORY)))
        if gone:
            yield (
                "files",
                f"{len(gone)} files of the history are missing, {gone[0]} first",
                "restore them, or archive the sources again",
            )
        orphans = set(_there(place, HISTORY)) - set(_paths(files))
        if orphans:
            yield (
                "orphans",
                f"{len(orphans)} files are of older versions or dead sealers",
                "perfdb lake vacuum " + place.shown,
            )
        twice = _twice(place, files)
        if twice:
            yield "doubled", f"{twice:,} sessions are there twice", f"perfdb lake seal --all {place.shown}"
        many = [day for day, number in Counter(file.day for file in files).items() if number > _MANY_FILES]
        if many:
            yield (
                "order",
                f"{len(many)} days are in more than {_MANY_FILES} files",
                f"perfdb lake seal {place.shown}",
            )
        _, _, rest = rollups.current(place, files)
        days = {file.day for file in rest}
        if days:
            yield "roll-ups", f"{len(days)} days are not summed up", f"perfdb lake seal {place.shown}"
        yield from _inbox(place, table, moment)


def _inbox(place: Place, table: Any, now: float) -> Iterator[tuple[str, str, str | None]]:
    changes = [name for name in place.names(CHANGES) if name not in read_changes(place)]
    if changes:
        yield "changes", f"{len(changes)} files are no changes, {changes[0]!r} first", "remove them"
    pieces = pieces_in(place)
    strange = dict.fromkeys(sorted(set(place.names(INBOX)).difference(pieces)), "its name is none of a piece")
    strange |= {name: reason for name in pieces if (reason := why_unfit(place, name)) is not None}
    if strange:
        name, reason = next(iter(strange.items()))
        problem = f"{len(strange)} files are no pieces, {name!r} first: {reason}"
        yield "pieces", problem, "keep copies elsewhere, and remove them"
    names = [name for name in pieces if name not in strange]
    if not names:
        yield "inbox", "nothing waits", None
        return
    oldest = min((each.mtime.timestamp() for each in place.listed(INBOX) if each.mtime), default=now)
    advice = f"perfdb lake seal {place.shown}" if now - oldest > _LONG_S else None
    yield "inbox", f"{len(names)} pieces wait, the oldest for {(now - oldest) / 3600:.1f} h", advice
    reached: dict[str, int] = {}
    for name in names:
        source, first, last = bounds_of(name)
        known = reached.setdefault(
            source, (table.transaction_version(source) or 0) if table is not None else 0
        )
        if first > known:
            yield "gap", f"{name} waits for what is between {known} and {first}", "perfdb archive on its host"
        reached[source] = max(known, last)


def _paths(files: list[engine.File]) -> list[str]:
    return [file.path for file in files]


def _there(place: Place, table: str) -> list[str]:
    root = place.path(table) + "/"
    return [
        each.path.removeprefix(root)
        for each in place.listed(table, recursive=True)
        if each.path.endswith(".parquet") and "/_delta_log/" not in each.path
    ]


def _twice(place: Place, files: list[engine.File]) -> int:
    if not files:
        return 0
    sql = (
        "SELECT count(*)::BIGINT AS n FROM (SELECT session_id FROM h WHERE step_name IS NULL "
        "GROUP BY session_id HAVING count(*) > 1)"
    )
    return int(engine.ask(place, files, sql).column(0).to_pylist()[0])
