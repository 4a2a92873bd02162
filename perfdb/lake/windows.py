"""Make a database of the window of a lake that a question needs: its answers are those of a database.

What a window holds is chosen by DuckDB from the files of the days concerned, and by SQLite as always once it
is there. A small lake is one window. Of a large one a question that does not say which sessions looks at the
newest of each pipeline; of what exceeds the limit the newest are taken, which is said.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.filters import Chosen, Either
from perfdb.lake import engine, rollups
from perfdb.lake.changes import changed, read_changes
from perfdb.lake.engine import File
from perfdb.lake.place import Place
from perfdb.lake.rows import DAY_US, conformed, schema
from perfdb.stopping import notes
from perfdb.vocabulary import STATUSES

if TYPE_CHECKING:
    import pyarrow as pa

    from perfdb.lake.following import Annotated

logger = logging.getLogger("perfdb")

SMALL = 100_000  # rows that are one window
MOST = 1_000_000  # rows of a window
NEWEST = 1_000  # sessions of each pipeline, where nobody said which


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question is about.

    Args:
        filters: which sessions; ``last`` is of each pipeline.
        sessions: or these: ids, beginnings of ids, ``last`` and ``last~1``; and sessions around them.
    """

    filters: Chosen | None = None
    sessions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Share:
    """What of a pipeline lies on a day."""

    day: date
    sessions: int
    rows: int


def read(place: Place, table: Any, asked: Asked) -> tuple[pa.Table, bool]:
    """Return the rows that a question needs, and whether they are the whole lake.

    Args:
        place: of the lake.
        table: its history at some version.
        asked: the question.
    """
    files = engine.files_of(table)
    whole = sum(file.rows for file in files) <= SMALL
    changes = [each for listed in read_changes(place).values() for each in listed]
    if whole:
        sql = f"SELECT * FROM h LIMIT {SMALL + 1}"
        rows = engine.ask(place, files, sql, whole=True) if files else None
        if rows is not None and len(rows) > SMALL:
            raise StoreError(f"{place.shown} cannot be read: its files hold more rows than its log says")
    else:
        rows = _chosen(place, files, asked)
    rows = schema().empty_table() if rows is None else conformed(rows)
    return changed(rows, changes), whole


def _chosen(place: Place, files: Sequence[File], asked: Asked) -> pa.Table | None:
    import pyarrow as pa

    extents = place.once("extents", frozenset(file.path for file in files), lambda: _extents(place, files))
    if asked.sessions:
        named = _named(place, files, extents, asked.sessions)
    else:
        named = _fitting(place, files, extents, asked.filters or {"last": NEWEST})
    if named is None or not len(named):
        return None
    days = set(named.column("day").to_pylist())
    began = named.column("began_us")
    low, high = pa.compute.min(began).as_py(), pa.compute.max(began).as_py()
    pipelines = ", ".join(
        engine.text(each) for each in pa.compute.unique(named.column("pipeline")).to_pylist()
    )
    sql = "SELECT h.* FROM h SEMI JOIN chosen USING (session_id)"
    where = f"pipeline IN ({pipelines}) AND began_us BETWEEN {low} AND {high}"
    some = [file for file in files if file.day in days]
    chosen = {"chosen": named.select(["session_id"])}
    return engine.ask(place, some, sql, whole=True, where=where, tables=chosen)


# --- which sessions ----------------------------------------------------------------------------------------


def _extents(place: Place, files: Sequence[File]) -> dict[str, list[_Share]]:
    """Return how much each pipeline has on each day, the newest day first."""
    own, _, rest = rollups.current(place, files)
    days = {file.day for file in files}
    found: list[tuple[str, date, int, int]] = []
    for some, count in ((own.files, "rows"), (rest, "1")):
        if some:
            sql = (
                f"SELECT pipeline, day, coalesce(sum({count}) FILTER (step_name IS NULL), 0)::BIGINT, "
                f"sum({count})::BIGINT FROM h GROUP BY ALL"
            )
            part = own.ask(place, sql) if count == "rows" else engine.ask(place, rest, sql)
            found += zip(*(part.column(n).to_pylist() for n in range(4)), strict=True)
    extents: dict[str, list[_Share]] = {}
    for pipeline, day, sessions, rows in sorted(found, key=lambda each: each[1], reverse=True):
        if day in days:
            extents.setdefault(pipeline, []).append(_Share(day, sessions, rows))
    return extents


def _fitting(
    place: Place, files: Sequence[File], extents: Mapping[str, list[_Share]], filters: Chosen
) -> pa.Table | None:
    """Return session_id, day, pipeline and began_us of the sessions that fit, the newest of too many."""
    import pyarrow as pa

    last, pipeline = filters.get("last"), filters.get("pipeline")
    asked = {name: shares for name, shares in extents.items() if pipeline is None or name == pipeline}
    conditions = _conditions(filters)
    first, final = _days(filters)
    parts: list[pa.Table] = []
    most, is_cut = MOST // max(len(asked), 1), False
    for name, shares in asked.items():
        within = [each for each in shares if first <= each.day <= final]
        found = 0
        place_of = 0
        step = last if last is not None else 1 << 62
        rows = 0
        while place_of < len(within):
            chunk: list[_Share] = []
            number = 0
            while place_of < len(within) and (number < step or not chunk) and rows < most:
                chunk.append(within[place_of])
                number += within[place_of].sessions
                rows += within[place_of].rows
                place_of += 1
            if not chunk:
                is_cut = True
                break
            days = {each.day for each in chunk}
            limit = f"LIMIT {last - found}" if last is not None else ""
            sql = (
                f"SELECT session_id, day, pipeline, began_us FROM h WHERE step_name IS NULL AND pipeline = "
                f"{engine.text(name)} AND {conditions} ORDER BY began_us DESC {limit}"
            )
            part = engine.ask(place, [file for file in files if file.day in days], sql)
            parts.append(part)
            found += len(part)
            if last is not None and found >= last:
                break
            step = min(step * 4, 1 << 62)
            if conditions != "TRUE":
                rows = 0 if found == 0 else rows  # what does not fit takes no room
    if is_cut:
        said = f"Used only the newest sessions of the lake: a window has at most about {MOST:,} rows."
        notes().append(said)
        logger.warning("%s", said)
    return pa.concat_tables(parts) if parts else None


def _days(filters: Chosen) -> tuple[date, date]:
    """Return the first and the last day that filters leave."""
    since, until = filters.get("since"), filters.get("until")
    return (
        date.min if since is None else _day(since * 1e6),
        date.max if until is None else _day(until * 1e6),
    )


def _day(us: float) -> date:
    try:
        return date(1970, 1, 1) + timedelta(days=int(us // DAY_US))
    except OverflowError:
        return date.min if us < 0 else date.max


def _conditions(filters: Chosen) -> str:
    """Return what filters say in DuckDB's SQL; SQLite looks again at what fits."""
    found = []
    if (since := filters.get("since")) is not None:
        found.append(f"began_us >= {round(since * 1e6)}")
    if (until := filters.get("until")) is not None:
        found.append(f"began_us < {round(until * 1e6)}")
    if (fast := filters.get("fast_mode")) is not None:
        found.append(f"fast_mode IS {str(bool(fast)).upper()}")
    if (status := filters.get("status")) is not None:
        found.append(f"status = {STATUSES.index(status)}")
    if (tag := filters.get("tag")) is not None:
        found.append(f"contains(tags, {engine.text(json.dumps(tag, ensure_ascii=False))})")
    if (branch := filters.get("branch")) is not None:
        found.append(f"git_branch = {engine.text(branch)}")
    if (mode := filters.get("mode")) is not None:
        found.append(f"mode = {engine.text(mode)}")
    for key, value in (filters.get("attribute") or {}).items():
        any_of = value if isinstance(value, Either) else (value,)
        found.append(f"({' OR '.join(_has(key, each) for each in any_of)})")
    return " AND ".join(found) or "TRUE"


def _has(key: str, value: Any) -> str:
    pointer = engine.text("/" + key.replace("~", "~0").replace("/", "~1"))
    kind, read = f"json_type(data, {pointer})", f"json_extract_string(data, {pointer})"
    if value is None:
        return f"{kind} = 'NULL'"
    if isinstance(value, bool):
        return f"({kind} = 'BOOLEAN' AND {read} = '{str(value).lower()}')"
    if isinstance(value, (int, float)):
        kinds = "('UBIGINT', 'BIGINT', 'DOUBLE', 'HUGEINT')"
        return f"({kind} IN {kinds} AND try_cast({read} AS DOUBLE) = {float(value)!r})"
    return f"({kind} = 'VARCHAR' AND {read} = {engine.text(str(value))})"


def _named(
    place: Place, files: Sequence[File], extents: Mapping[str, list[_Share]], sessions: Sequence[str]
) -> pa.Table | None:
    """Return the sessions of these names, with those before them and the newest of their pipelines."""
    import pyarrow as pa

    parts: list[pa.Table] = []
    seen: set[tuple[str, int]] = set()
    for name in sessions:
        word, _, back = name.partition("~")
        if word == "last" and (not back or back.isdecimal()):
            newest = _fitting(place, files, extents, {"last": min(int(back or 0) + 1, NEWEST)})
            found = (
                newest.sort_by([("began_us", "descending")]).slice(0, int(back or 0) + 1) if newest else None
            )
        else:
            sql = (
                "SELECT session_id, day, pipeline, began_us FROM h WHERE step_name IS NULL "
                f"AND starts_with(session_id, {engine.text(name)})"
            )
            found = _on_its_day(place, files, name, sql)
            if found is None or not len(found):
                found = engine.ask(place, files, f"{sql} LIMIT 10")
        if found is None or not len(found):
            continue
        parts.append(found)
        for pipeline, began in zip(
            found.column("pipeline").to_pylist(), found.column("began_us").to_pylist(), strict=True
        ):
            seen.add((pipeline, began))
    for pipeline, began in sorted(seen)[:4]:
        for asked in ({"until": (began + 1) / 1e6, "last": NEWEST}, {"last": 50}):
            some = _fitting(place, files, extents, {"pipeline": pipeline, **asked})  # type: ignore[typeddict-item]
            if some is not None:
                parts.append(some)
    return pa.concat_tables(parts) if parts else None


def _on_its_day(place: Place, files: Sequence[File], name: str, sql: str) -> pa.Table | None:
    """Look on the day, and those beside it, that an id of ours begins with."""
    try:
        day = date.fromisoformat(f"{name[:4]}-{name[4:6]}-{name[6:8]}")
    except ValueError:
        return None
    near = {day + timedelta(days=n) for n in (-1, 0, 1)}
    some = [file for file in files if file.day in near]
    return engine.ask(place, some, sql) if some else None


# --- into a database ----------------------------------------------------------------------------------------


def fill_from(url: str, rows: pa.Table, annotated: Sequence[Annotated] = ()) -> None:
    """Put the rows of a lake, and annotations, into a database that is empty but for its tables."""
    import pyarrow.compute as pc

    from perfdb.store.engine import connected
    from perfdb.store.upkeep.archiving import fill

    is_session = pc.is_null(rows.column("step_name"))
    order = [("began_us", "ascending"), ("session_id", "ascending"), ("seq", "ascending")]
    of_sessions = rows.filter(is_session).sort_by(order)
    of_steps = rows.filter(pc.invert(is_session)).sort_by(order)
    names = of_sessions.column("session_id").to_pylist()
    places = {name: place for place, name in enumerate(names)}
    sessions: dict[str, Sequence[Any]] = {
        name: of_sessions.column(name).to_pylist() for name in of_sessions.column_names
    }
    sessions |= {
        "start_time": _seconds(sessions, "start"),
        "total_duration": _seconds(sessions, "duration"),
        "attributes": sessions["data"],
    }
    steps: dict[str, Sequence[Any]] = {
        name: of_steps.column(name).to_pylist() for name in of_steps.column_names
    }
    steps |= {
        "start_time": _seconds(steps, "start"),
        "duration": _seconds(steps, "duration"),
        "additional_data": steps["data"],
        "place": [places[name] for name in steps["session_id"]],
    }
    with connected(url, role="writer") as connection, connection.begin():
        fill(connection, sessions, steps, annotated)


def _seconds(columns: Mapping[str, Sequence[Any]], name: str) -> list[float | None]:
    return [
        exact if exact is not None else None if us is None else us / 1e6
        for us, exact in zip(columns[f"{name}_us"], columns[f"{name}_exact"], strict=True)
    ]
