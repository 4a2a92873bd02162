"""What the measures beside the duration were worth per series and day: see ``rollups``, which keeps that.

Of every number that was recorded. A day keeps as many measures as fit in ``_BYTES_A_SESSION``, those that
take little first, and says which do not: these are read from its runs, of which there are few. A measure of a
session that only its steps have is made of these as ``measures.named`` says; where the settings say
otherwise, runs answer.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import Boolean, ColumnElement, Connection, false, literal_column, not_, select, text

from perfdb.errors import StoreError
from perfdb.measures import HUGE, KEPT, LAST, MAX, NAMES, OF_ATTEMPTS, SPENT, SUM, Measure, named, number
from perfdb.store import measuring
from perfdb.store.buckets import Figures, Packed
from perfdb.store.dialects import is_shared
from perfdb.store.filters import NOT_TAGGED
from perfdb.store.models import (
    FAILED_CODE,
    LONGEST_TEXT,
    daily_values,
    from_json,
    pruned_measures,
    series,
    sessions,
    stale_days,
    steps,
    storable_name,
)
from perfdb.store.prepared import Prepared
from perfdb.store.reading import driver_rows
from perfdb.store.together import together
from perfdb.vocabulary import remembered

_BYTES_A_SESSION = 80  # of the measures of a day
_ROW_BYTES = 40  # of a row of figures, but its buckets
_TOGETHER = 50_000  # values that are added to figures at once
_MOST_NOTED_BYTES = 16 << 20  # of what one transaction prunes
_MOST_MEASURES = 24  # that are kept of a run that is pruned
_PARTS = {each.name: part for each, part in zip(OF_ATTEMPTS, ("duration", "wait"), strict=True)}
_FIRST = {name: place for place, name in enumerate((*NAMES, *_PARTS, *SPENT))}  # and then by name

_ALTERNATIVES = 100
_DAY_S = 86_400
_ENDED = (
    "total_duration IS NOT NULL AND (sessions.status = 2 OR sessions.status = 1 AND sessions.counted) "
    f"AND {NOT_TAGGED.format('sessions.id')}"
)
_COLUMNS = ", ".join(f"p.{name}" for name in NAMES)
_DOCUMENTS = "CAST(p.additional_data AS TEXT), CAST(p.attempts AS TEXT)"
# CROSS JOIN has SQLite ask series by series, along the index; conditions are spelt as the partial ones are.
_STEPS_OF_DAY = tuple(
    f"SELECT p.series_id, p.status, {_COLUMNS}, {_DOCUMENTS} FROM series s CROSS JOIN steps p "
    f"WHERE p.series_id = s.id AND p.day = {{day}} AND {condition}"
    for condition in ("p.counted", f"p.status = 2 AND {NOT_TAGGED.format('p.session_pk')}")
)
_SESSIONS_OF_DAY = (
    f"SELECT id, series_id, status, {_COLUMNS.replace('p.', '')}, CAST(attributes AS TEXT), product_count "
    "FROM sessions WHERE start_time >= {day} * 86400.0 AND start_time < ({day} + 1) * 86400.0 "
    f"AND {_ENDED}"
)
_WITHIN_SESSIONS_OF_DAY = (
    f"SELECT p.session_pk, p.start_time, p.seq, {_DOCUMENTS} FROM sessions s CROSS JOIN steps p "
    "WHERE s.start_time >= {day} * 86400.0 AND s.start_time < ({day} + 1) * 86400.0 AND p.session_pk = s.id "
    "AND (p.additional_data IS NOT NULL OR p.attempts IS NOT NULL)"
)

Worth = Sequence[tuple[str, float]]
"""What measures, by name, are worth in one run."""
Key = tuple[int, str]  # series, measure


class Values(NamedTuple):
    """What a measure was worth in the runs of a series that count, and how many failed ones have a value."""

    values: list[float]
    failures: int


# --- what a run is worth --------------------------------------------------------------------------------


def of_step(columns: Sequence[Any], data: Any, attempts: Any) -> Worth:
    """Return what measures are worth in a step: of its columns, in the order of ``NAMES``, and documents."""
    found = [(name, float(value)) for name, value in zip(NAMES, columns, strict=True) if value is not None]
    if attempts is not None:
        tried = dict(_of_attempts(attempts))
        found += tried.items()
        found += [each for each in _of_document(data) if each[0] not in tried]
    elif data is not None:
        found += _of_document(data)
    return found


def of_session(
    columns: Sequence[Any],
    attributes: Any,
    product_count: int | None,
    within: Iterable[tuple[float, int, Worth]],
) -> Worth:
    """Return what measures are worth in a session: what it has itself, and what its steps make together.

    Args:
        columns: in the order of ``NAMES``.
        attributes: its document.
        product_count: of its row.
        within: of each step that has something its start, its number and what it is worth.
    """
    own = {name: float(value) for name, value in zip(NAMES, columns, strict=True) if value is not None}
    own.update(_of_document(attributes))
    if product_count is not None:
        own.setdefault("product_count", float(product_count))
    made: dict[str, float] = {}
    newest: dict[str, tuple[float, int]] = {}
    for start, seq, worth in within:
        for name, value in worth:
            if name in own or name in KEPT:
                continue
            total = _total_of(name)
            if name not in made:
                made[name], newest[name] = value, (start, seq)
            elif total == SUM:
                made[name] += value
            elif total == MAX:
                made[name] = max(made[name], value)
            elif total == LAST and newest[name] < (start, seq):
                made[name], newest[name] = value, (start, seq)
    return [*own.items(), *((name, value) for name, value in made.items() if abs(value) < HUGE)]


@cache
def _total_of(name: str) -> str:
    return named(name).total


def _of_document(document: Any) -> Worth:
    if isinstance(document, str):
        return _of_text(document)
    return _numbers_in(document)


@remembered(512, LONGEST_TEXT)  # the runs of a day often have the same
def _of_text(document: str) -> Worth:
    return _numbers_in(from_json(document))


def _numbers_in(document: Any) -> Worth:
    if not isinstance(document, dict):
        return ()
    found = ((name, number(value)) for name, value in document.items() if name not in KEPT)
    return [(name, value) for name, value in found if value is not None]


def _of_attempts(document: Any) -> Worth:
    tries = from_json(document)
    if not isinstance(tries, list):
        return ()
    found = []
    for name, part in _PARTS.items():
        spent = [number(each.get(part)) for each in tries if isinstance(each, dict)]
        known = [value for value in spent if value is not None]
        if known:
            found.append((name, sum(known)))
    return found


# --- the runs of a day, of all measures -----------------------------------------------------------------


class _Adding:
    """Figures that values are added to, many at once."""

    def __init__(self) -> None:
        self.figures: dict[Key, Figures] = {}
        self._values: dict[Key, list[float]] = {}
        self._held = 0

    def add(self, series_id: int, worth: Worth, *, failed: bool) -> None:
        for name, value in worth:
            key = series_id, name
            if failed:
                self.figures.setdefault(key, Figures()).failures += 1
            else:
                self._values.setdefault(key, []).append(value)
        self._held += len(worth)
        if self._held > _TOGETHER:
            self.finish()

    def finish(self) -> dict[Key, Figures]:
        for key, values in self._values.items():
            self.figures.setdefault(key, Figures()).add(values)
        self._values, self._held = {}, 0
        return self.figures


def figures_of_day(connection: Connection, day: int) -> tuple[dict[Key, Figures], int]:
    """Return what each measure was in the runs of each series on a day, and how many totals there are.

    Their ``failures`` are the failed runs that have a value: such a series has the measure.
    """
    adding = _Adding()
    for query in _STEPS_OF_DAY:
        for series_id, status, *columns, data, attempts in _rows(connection, query.format(day=day)):
            adding.add(series_id, of_step(columns, data, attempts), failed=status == FAILED_CODE)
    within: dict[int, list[tuple[float, int, Worth]]] = {}
    for pk, start, seq, data, attempts in _rows(connection, _WITHIN_SESSIONS_OF_DAY.format(day=day)):
        if worth := of_step((None,) * len(NAMES), data, attempts):
            within.setdefault(pk, []).append((start, seq, worth))
    totals = 0
    for pk, series_id, status, *row in _rows(connection, _SESSIONS_OF_DAY.format(day=day)):
        *columns, attributes, count = row
        worth = of_session(columns, attributes, count, within.get(pk, ()))
        adding.add(series_id, worth, failed=status == FAILED_CODE)
        totals += 1
    return adding.finish(), totals


def _rows(connection: Connection, sql: str) -> Any:
    return connection.exec_driver_sql(sql).cursor


def chosen_of(figures: Mapping[Key, Figures], totals: int) -> tuple[dict[Key, Packed], str]:
    """Return what of a day's figures is kept, and which measures are, and which are not: ``measures``."""
    packed: dict[str, dict[Key, Packed]] = {}
    sizes: dict[str, int] = {}
    for key, each in figures.items():
        row = packed.setdefault(key[1], {})[key] = each.packed()
        sizes[key[1]] = sizes.get(key[1], 0) + _ROW_BYTES + len(key[1]) + len(row[5] or b"")
    left = _BYTES_A_SESSION * totals
    kept: dict[Key, Packed] = {}
    said: dict[str, bool] = {}
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        left -= sizes[name]
        said[name] = left >= 0
        if left >= 0:
            kept |= packed[name]
    return kept, json.dumps(said, separators=(",", ":"), ensure_ascii=False)


@remembered(512, LONGEST_TEXT)
def said_of(measures: str) -> Mapping[str, bool]:
    """Return the measures of a day, and whether each is kept: the column ``measures`` of ``daily_values``."""
    found: dict[str, bool] = from_json(measures)
    if isinstance(found, dict):
        return found
    raise StoreError(
        f"daily_values.measures is {measures[:40]!r}, which perfdb never writes; restore a backup (perfdb "
        "restore), or delete such rows"
    )


def days_without(connection: Connection, name: str) -> list[int]:
    """Return the days that are rolled up, but not of this measure, which they have or may have."""
    found = connection.execute(select(daily_values.c.day, daily_values.c.measures)).cursor.fetchall()
    return [day for day, said in found if said is None or said_of(said).get(name) is False]


def is_recorded(connection: Connection, measure: Measure) -> bool:
    """Say whether a measure was ever recorded.

    The days that are rolled up tell of the sessions that count or failed, and of all their steps; only the
    others are looked through.
    """
    if measuring.is_recorded_lately(connection, measure):
        return True
    current = daily_values.c.measures.is_not(None), daily_values.c.day.not_in(select(stale_days.c.day))
    known = driver_rows(connection, select(daily_values.c.day, daily_values.c.measures).where(*current))
    name = storable_name(measure.name)
    if any(name in said_of(measures) for _, measures in known):
        return True
    is_told: ColumnElement[bool] = false()
    if known and name not in KEPT:
        days = moments_in([day for day, _ in known])
        is_told = literal_column(f"({_ENDED} AND ({days}))", Boolean)
    return measuring.is_recorded_among(connection, measure, not_(is_told))


# --- the runs of some days, or of all, of one measure ---------------------------------------------------


def values_of(
    connection: Connection,
    measure: Measure,
    days: Collection[int] | None = None,
    chosen: Collection[int] | None = None,
) -> dict[tuple[int, int], Values]:
    """Return what a measure was in the runs of each series and day.

    Args:
        connection: of any role.
        measure: of which the duration is none.
        days: since 1970, UTC; None: all.
        chosen: the series; None: all.
    """
    found: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    if days is not None and not days:
        return {}
    if chosen is not None:
        of_series: Any = list(chosen)
    else:  # by the index, which begins with it
        of_series = select(series.c.id)
    value = measuring.of_steps(connection, measure)
    within: list[ColumnElement[bool]] = []
    if days is not None:
        listed = ", ".join(map(str, sorted(days)))
        within = [steps.c.series_id.in_(of_series), text(f"steps.day IN ({listed})")]  # type: ignore[list-item]
    elif chosen is not None:
        within = [steps.c.series_id.in_(of_series)]
    good, failed = (
        select(steps.c.series_id, steps.c.day, value).where(*within, text(condition))
        for condition in (
            "steps.counted",
            f"steps.status = 2 AND {NOT_TAGGED.format('steps.session_pk')}",
        )
    )
    begun = [text(_ENDED)]
    if days is not None:
        begun.append(text(f"({moments_in(days)})"))
    fits = [] if chosen is None else [sessions.c.series_id.in_(of_series)]
    totals = select(sessions.c.id).where(*begun, *fits)
    of_totals = totals.with_only_columns(
        sessions.c.id, sessions.c.series_id, sessions.c.start_time, sessions.c.status
    )
    worth, ran, counted, went_wrong = together(
        connection,
        lambda: measuring.of_sessions(connection, measure, totals),
        lambda: driver_rows(connection, of_totals),
        *(partial(driver_rows, connection, query) for query in (good, failed)),
    )
    for pk, series_id, start, status in ran:
        if pk in worth:
            of_day = found.setdefault((series_id, int(start // _DAY_S)), ([], []))
            of_day[1 if status == FAILED_CODE else 0].append(worth[pk])
    for place, rows in enumerate((counted, went_wrong)):
        for series_id, day, amount in rows:
            if amount is not None:
                found.setdefault((series_id, day), ([], []))[place].append(float(amount))
    return {key: Values(values, len(failures)) for key, (values, failures) in found.items()}


def moments_in(days: Collection[int]) -> str:
    """Return SQL for sessions that began on these days; of days that follow each other one range."""
    ranges: list[list[int]] = []
    for day in sorted(days):
        if ranges and ranges[-1][1] == day:
            ranges[-1][1] = day + 1
        else:
            ranges.append([day, day + 1])
    parts = [f"start_time >= {first * _DAY_S}.0 AND start_time < {end * _DAY_S}.0" for first, end in ranges]
    while len(parts) > _ALTERNATIVES:  # SQLite refuses a thousand in a row, but not in groups
        groups = (parts[at : at + _ALTERNATIVES] for at in range(0, len(parts), _ALTERNATIVES))
        parts = [f"({' OR '.join(group)})" for group in groups]
    return " OR ".join(parts)


# --- sessions that are pruned ---------------------------------------------------------------------------


def first_of(worth: Worth) -> Worth:
    """Return what is kept of the measures of a run that is pruned, of which somebody may have hundreds."""
    if len(worth) <= _MOST_MEASURES:
        return worth
    return sorted(worth, key=lambda each: (_FIRST.get(each[0], len(_FIRST)), each[0]))[:_MOST_MEASURES]


Gone = Mapping[tuple[int, int, str], Values]
"""What measures were worth in runs that went: by series, day and measure."""


def note_gone(connection: Connection, gone: Gone) -> None:
    """Keep what went until ``take_noted`` takes it: one row, because others wait meanwhile."""
    if gone:
        listed = [[*key, values, failures] for key, (values, failures) in gone.items()]
        content = zlib.compress(json.dumps(listed, separators=(",", ":")).encode(), 1)
        dialect: Any = type(connection.dialect)
        _noting(dialect).many(connection, [{"id": secrets.randbits(62), "content": content}])


@cache
def _noting(dialect: Any) -> Prepared:
    return Prepared(pruned_measures.insert(), dialect(), ["id", "content"])


def noted(connection: Connection) -> tuple[list[int], dict[tuple[int, int, str], Figures]]:
    """Return the numbers of all rows that wait, and what they hold."""
    pks: list[int] = []
    found: dict[tuple[int, int, str], Figures] = {}
    for pk, content in connection.execute(select(pruned_measures)).cursor.fetchall():
        pks.append(pk)
        for series_id, day, name, values, failures in read_noted(bytes(content)):
            found.setdefault((series_id, day, name), Figures()).add(values, failures)
    return pks, found


def read_noted(content: bytes) -> list[list[Any]]:
    """Return what a row of the measures of pruned runs holds.

    Raises:
        StoreError: perfdb never wrote it.
    """
    opened = zlib.decompressobj()
    try:
        found: list[list[Any]] = json.loads(opened.decompress(content, _MOST_NOTED_BYTES))
        if all(map(_is_noted, found)):
            return found
    except (zlib.error, ValueError, TypeError, RecursionError):
        pass
    raise StoreError(
        "a row of pruned_measures is none that perfdb wrote; restore a backup (perfdb restore), or delete it"
    )


def _is_noted(each: Any) -> bool:
    series_id, day, name, values, failures = each
    is_named = [type(part) for part in (series_id, day, name, failures)] == [int, int, str, int]
    return is_named and {int, float}.issuperset(map(type, values))


def take_noted(connection: Connection, pks: Sequence[int]) -> bool:
    """Delete rows whose content is kept in this transaction; False: somebody else has taken some of them.

    Who takes some takes all that there are, so that nobody adds to figures that another one is adding to.
    """
    of_these = f"FROM pruned_measures WHERE id IN ({', '.join(map(str, pks))})"
    locking = " FOR UPDATE" if is_shared(connection) else ""
    if len(_rows(connection, f"SELECT id {of_these}{locking}").fetchall()) < len(pks):
        return False
    connection.exec_driver_sql(f"DELETE {of_these}")
    return True
