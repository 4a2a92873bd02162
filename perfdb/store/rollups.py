"""What the runs of a series and a day were together, kept so that long histories are answered at a glance.

Whoever changes the runs of a day marks it as stale in the same transaction, which costs a batch one small
row; a stale day is read from its runs. Days that are over are rolled up by an idle worker. It claims a stale
day, reads it, and writes its figures only if its claim still stands; who writes to the day meanwhile leaves
it stale. Sessions that are pruned leave figures of their own, which are added.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Integer, bindparam, cast, delete, false, func, select, text

from perfdb.measures import DURATION
from perfdb.store.attribute_digests import digests_of_day
from perfdb.store.buckets import Figures, Packed, unpacked
from perfdb.store.database import Database
from perfdb.store.dialects import insert_into, is_file, is_shared, marking, take_day
from perfdb.store.models import (
    FAILED_CODE,
    daily_values,
    rollups,
    series,
    sessions,
    stale_days,
)
from perfdb.store.prepared import Prepared
from perfdb.store.rows import SECONDS_A_DAY
from perfdb.store.together import for_each, together
from perfdb.vocabulary import UNCOUNTED_TAGS

_OF_RUNS = ("n", "failures", "total", "low", "high", "buckets")  # the order of Packed
_TAGS = ", ".join(f"'{tag}'" for tag in UNCOUNTED_TAGS)
NOT_TAGGED = f"NOT EXISTS (SELECT 1 FROM session_tags t WHERE t.session_pk = {{}} AND t.name IN ({_TAGS}))"
# CROSS JOIN has SQLite ask series by series, along the index; conditions are spelt as the partial ones are.
_STEPS = (
    "SELECT p.series_id, p.day, p.duration FROM series s CROSS JOIN steps p "
    "WHERE p.series_id = s.id AND p.counted AND p.day IN ({days}) AND {chosen}"
)
_FAILED_STEPS = (
    "SELECT p.series_id, p.day, count(*) FROM series s CROSS JOIN steps p "
    f"WHERE p.series_id = s.id AND p.status = 2 AND p.day IN ({{days}}) AND {{chosen}} "
    f"AND {NOT_TAGGED.format('p.session_pk')} GROUP BY p.series_id, p.day"
)
_TOTALS = (
    "SELECT series_id, start_time, total_duration, status FROM sessions "
    "WHERE ({ranges}) AND {chosen} AND total_duration IS NOT NULL "
    f"AND (status = 2 OR status = 1 AND counted) AND {NOT_TAGGED.format('sessions.id')}"
)
_FEW_SERIES = 20  # of which the others are not read

# Of steps the conditions of two indexes, which answer alone.
_ALL_DAYS = (
    "SELECT DISTINCT day FROM steps WHERE counted",
    "SELECT DISTINCT day FROM steps WHERE status = 2",
    "SELECT DISTINCT day FROM rollups",
)


class Runs(NamedTuple):
    """The runs of a series within a day: the values that count, and how many failed."""

    values: list[float]
    failures: int

    def packed(self) -> Packed:
        """Return what they are together."""
        figures = Figures()
        figures.add(self.values, self.failures)
        return figures.packed()


NO_RUNS = Runs([], 0)


def day_of(moment: float) -> int:
    """Return the day of a moment, counted from 1970, UTC."""
    return int(moment // SECONDS_A_DAY)


# --- days that are stale --------------------------------------------------------------------------------


def spoil(connection: Connection, days: Collection[int]) -> None:
    """Say that the runs of these days change in this transaction."""
    dialect: Any = type(connection.dialect)
    if days and is_shared(connection):
        _spoiling(dialect).one(connection, {"days": sorted(days)})
    elif days:
        _spoiling(dialect).many(connection, [{"day": day} for day in days])


def spoil_sessions(connection: Connection, pks: Iterable[int]) -> None:
    """Say so of the days of sessions that are about to change, and of their steps."""
    dialect: Any = type(connection.dialect)
    statement = _days_of(dialect)
    spoil(connection, {int(day) for pk in pks for (day,) in statement.all(connection, {"pk": pk})})


@cache
def _spoiling(dialect: Any) -> Prepared:
    made = dialect()
    return Prepared(marking(made), made, ["days"] if is_shared(made) else ["day"])


@cache
def _days_of(dialect: Any) -> Prepared:
    query = (
        f"SELECT start_time / {SECONDS_A_DAY}.0 FROM sessions WHERE id = :pk "
        "UNION SELECT day FROM steps WHERE session_pk = :pk"
    )
    return Prepared(text(query).bindparams(bindparam("pk")), dialect(), ["pk"])


def stale(connection: Connection) -> list[int]:
    """Return the days that are to be read from their runs, in order."""
    query = select(stale_days.c.day).distinct().order_by(stale_days.c.day)
    return list(connection.execute(query).scalars())


# --- what is kept ---------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """The figures of a series and a day; of a day that is stale, and of today, the runs themselves."""

    series_id: int
    day: int
    figures: Packed
    runs: Runs | None


def known(connection: Connection) -> tuple[int, bool]:
    """Return how many runs have figures, and whether some of these runs were pruned."""
    n, pruned = connection.execute(_KNOWN).one()
    return int(n or 0), bool(pruned)


def daily_figures(connection: Connection, chosen: Collection[int]) -> Iterator[Kept]:
    """Yield the figures of these series by day, whichever way they are known; of a day there may be two."""
    few = chosen if len(chosen) <= _FEW_SERIES else None
    figures = _FIGURES if few is None else _FIGURES.where(rollups.c.series_id.in_(few))
    of_stale, kept = together(
        connection, lambda: stale(connection), lambda: connection.execute(figures).cursor.fetchall()
    )
    stale_ones = set(of_stale)
    for series_id, day, pruned, *row in kept:
        if series_id in chosen and (pruned or day not in stale_ones):
            yield Kept(series_id, day, tuple(row), None)
    for (series_id, day), runs in runs_of(connection, stale_ones, few).items():
        if series_id in chosen:
            yield Kept(series_id, day, runs.packed(), runs)


_KNOWN = select(func.sum(rollups.c.n + rollups.c.failures), func.max(cast(rollups.c.pruned, Integer))).where(
    rollups.c.measure == DURATION.name
)
_FIGURES = select(
    rollups.c.series_id,
    rollups.c.day,
    rollups.c.pruned,
    *(rollups.c[name] for name in _OF_RUNS),
).where(rollups.c.measure == DURATION.name)


_WITHOUT_LETTERS = select(daily_values.c.day).where(daily_values.c.letters.is_(None))  # of an older perfdb


# --- rolling up -----------------------------------------------------------------------------------------


def roll_up(database: Database, *, until: float | None = None) -> Iterator[int]:
    """Roll up the stale days that are over, the newest first; yield each.

    Args:
        database: that is written to.
        until: days before the day of this moment; None: of now.
    """
    before = day_of(time.time() if until is None else until)
    with database.reading() as connection:
        older = connection.execute(_WITHOUT_LETTERS).scalars()
        due = [day for day in sorted({*stale(connection), *older}) if day < before]
    for day in reversed(due):
        if roll_up_day(database, day):
            yield day


def roll_up_day(database: Database, day: int) -> bool:
    """Roll up one day; return False where somebody wrote to it or claimed it meanwhile: it stays stale."""
    claim = secrets.randbits(62) | 1
    of_day = stale_days.c.day == day
    with database.writing() as connection:
        if not take_day(connection, day):
            return False
        marks = connection.execute(delete(stale_days).where(of_day)).rowcount
        if (
            not marks
            and connection.execute(_WITHOUT_LETTERS.where(daily_values.c.day == day)).first() is None
        ):
            return False
        connection.execute(stale_days.insert().values(day=day, claim=claim))
    with database.reading() as connection:
        runs = runs_of(connection, [day])
        digests, letters = digests_of_day(connection, day)
    made = [_row(series_id, day, each.packed()) for (series_id, _), each in runs.items()]
    with database.writing() as connection:
        if not connection.execute(delete(stale_days).where(of_day, stale_days.c.claim == claim)).rowcount:
            return False
        of_runs = rollups.c.measure == DURATION.name, rollups.c.pruned == false(), rollups.c.day == day
        every = rollups.c.series_id.in_(select(series.c.id))  # by the key, which begins with it
        connection.execute(delete(rollups).where(every, *of_runs))
        if made:
            connection.execute(rollups.insert(), made)
        connection.execute(delete(daily_values).where(daily_values.c.day == day))
        connection.execute(daily_values.insert().values(day=day, digests=digests, letters=letters))
    return True


def runs_of(
    connection: Connection, days: Collection[int], chosen: Collection[int] | None = None
) -> dict[tuple[int, int], Runs]:
    """Return the runs of days per series, of totals and of steps, and day; of chosen series, or of all."""
    found: dict[tuple[int, int], list[float]] = {}
    failed: dict[tuple[int, int], int] = {}
    if not days:
        return {}
    listed = ", ".join(str(day) for day in sorted(days))
    ranges = " OR ".join(
        f"start_time >= {day * SECONDS_A_DAY}.0 AND start_time < {(day + 1) * SECONDS_A_DAY}.0"
        for day in sorted(days)
    )
    among = "IS NOT NULL" if chosen is None else f"IN ({', '.join(map(str, chosen)) or 'NULL'})"
    own, of_steps = f"+series_id {among}", f"s.id {among}"  # +: totals are found by their moments
    totals, succeeded, failures = for_each(
        connection,
        partial(_rows, connection),
        (
            _TOTALS.format(ranges=ranges, chosen=own),
            _STEPS.format(days=listed, chosen=of_steps),
            _FAILED_STEPS.format(days=listed, chosen=of_steps),
        ),
    )
    for series_id, start, duration, status in totals:
        key = series_id, day_of(start)
        if status == FAILED_CODE:
            failed[key] = failed.get(key, 0) + 1
        else:
            found.setdefault(key, []).append(duration)
    for series_id, day, duration in succeeded:
        found.setdefault((series_id, day), []).append(duration)
    for series_id, day, count in failures:
        failed[series_id, day] = count
    return {key: Runs(found.get(key, []), failed.get(key, 0)) for key in {**found, **failed}}


def _rows(connection: Connection, sql: str) -> Sequence[tuple[Any, ...]]:
    rows: Sequence[tuple[Any, ...]] = connection.exec_driver_sql(sql).cursor.fetchall()
    return rows


def _row(series_id: int, day: int, figures: Packed, *, pruned: bool = False) -> dict[str, Any]:
    return {
        "series_id": series_id,
        "measure": DURATION.name,
        "pruned": pruned,
        "day": day,
        **dict(zip(_OF_RUNS, figures, strict=True)),
    }


def spoil_all(database: Database) -> int:
    """Mark every day that has runs, or figures, as stale; return how many days these are."""
    with database.reading() as connection:
        days = {day for query in _ALL_DAYS for (day,) in _rows(connection, query)}
        starts = select(sessions.c.start_time).order_by(sessions.c.start_time).limit(1)
        newest: float | None = -1.0
        while (
            newest := connection.execute(starts.where(sessions.c.start_time >= newest)).scalar()
        ) is not None:
            days.add(day_of(newest))
            newest = (day_of(newest) + 1.0) * SECONDS_A_DAY
    with database.writing() as connection:
        spoil(connection, days)
    return len(days)


def wrong_days(connection: Connection, *, most: int) -> list[int]:
    """Return which of the newest ``most`` days have figures that are not those of their runs."""
    of_runs = rollups.c.measure == DURATION.name, rollups.c.pruned == false()
    days = select(rollups.c.day).where(*of_runs, rollups.c.day.not_in(select(stale_days.c.day))).distinct()
    newest = list(connection.execute(days.order_by(rollups.c.day.desc()).limit(most)).scalars())
    here = {key: runs.packed() for key, runs in runs_of(connection, newest).items()}
    there = {
        (series_id, day): tuple(row)
        for series_id, day, pruned, *row in connection.execute(_FIGURES.where(rollups.c.day.in_(newest)))
        if not pruned
    }
    return sorted({day for _, day in {*here, *there} if not _are_same(day, here, there)})


def _are_same(day: int, here: Mapping[tuple[int, int], Any], there: Mapping[tuple[int, int], Any]) -> bool:
    for key in {*here, *there}:
        if key[1] == day:
            one, other = here.get(key), there.get(key)
            if one is None or other is None or one[:2] != other[:2]:
                return False
            if not math.isclose(one[2], other[2], rel_tol=1e-9):
                return False
            if unpacked(*one).counts != unpacked(*other).counts:
                return False
    return True


# --- sessions that are pruned ---------------------------------------------------------------------------


class PrunedRuns:
    """The runs that one transaction prunes: their days keep the figures of what went."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect: Any = type(connection.dialect)
        self._gone: dict[tuple[int, int], list[tuple[float | None, bool]]] = {}

    def of_sessions(self, pks: Sequence[int]) -> dict[int, list[tuple[int, int, float | None, bool]]]:
        """Return the runs of sessions that are about to go, for ``took``: (series, day, value, failed)."""
        found: dict[int, list[tuple[int, int, float | None, bool]]] = {}
        for pk in pks:
            runs = found[pk] = []
            for series_id, moment, value, failed in _runs_of(self._dialect).all(self._connection, {"pk": pk}):
                runs.append((series_id, int(moment), value, bool(failed)))
        return found

    def took(self, runs: Iterable[tuple[int, int, float | None, bool]]) -> None:
        """Note that these runs go."""
        for series_id, day, value, failed in runs:
            self._gone.setdefault((series_id, day), []).append((value, failed))

    def keep(self) -> None:
        """Add them to the figures of what went before."""
        spoil(self._connection, {day for _, day in self._gone})
        find, save = _kept(self._dialect)
        made = []
        for (series_id, day), runs in sorted(self._gone.items()):
            figures = Figures()
            figures.add(
                [value for value, failed in runs if not failed and value is not None],
                sum(failed for _, failed in runs),
            )
            key = {"series_id": series_id, "measure": DURATION.name, "pruned": True, "day": day}
            before = find.one(self._connection, key)
            if before is not None:
                figures.merge(unpacked(*before))
            made.append(_row(series_id, day, figures.packed(), pruned=True))
        if made:
            save.many(self._connection, made)


@cache
def _runs_of(dialect: Any) -> Prepared:
    query = (
        f"SELECT series_id, floor(start_time / {SECONDS_A_DAY}), total_duration, status = 2 FROM sessions "
        "WHERE id = :pk AND (status = 2 OR status = 1 AND counted) AND total_duration IS NOT NULL UNION ALL "
        "SELECT series_id, day, duration, status = 2 FROM steps "
        "WHERE session_pk = :pk AND (counted OR status = 2)"
    )
    made = dialect()
    if is_file(made):  # old versions of SQLite have no floor, and nothing began before 1970
        query = query.replace("floor(", "(")
    return Prepared(text(query).bindparams(bindparam("pk")), made, ["pk"])


@cache
def _kept(dialect: Any) -> tuple[Prepared, Prepared]:
    made = dialect()
    figures = [rollups.c[name] for name in _OF_RUNS]
    key = list(rollups.primary_key)
    where = [column == bindparam(column.name, type_=column.type) for column in key]
    insert = insert_into(made, rollups)
    save = insert.on_conflict_do_update(
        index_elements=[column.name for column in key],
        set_={column.name: insert.excluded[column.name] for column in figures},
    )
    columns = [column.name for column in rollups.c]
    find = select(*figures).where(*where)
    if is_shared(made):
        find = find.with_for_update()
    return Prepared(find, made, [column.name for column in key]), Prepared(save, made, columns)
