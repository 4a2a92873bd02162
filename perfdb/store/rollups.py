"""What the runs of a series and a day were together, kept so that long histories are answered at a glance.

Whoever changes the runs of a day marks it as stale in the same transaction, which costs a batch one small
row; a stale day is read from its runs. Days that are over are rolled up by an idle worker. It claims a stale
day, reads it, and writes its figures only if its claim still stands; who writes to the day meanwhile leaves
it stale. Sessions that are pruned leave figures of their own, which are added. The same of every measure
beside the duration, of which a day may keep few: see ``daily_measures``.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    cast,
    delete,
    false,
    func,
    or_,
    select,
    text,
    true,
)

from perfdb.measures import DURATION, KEPT, NAMES, Measure, named
from perfdb.store import daily_measures
from perfdb.store.attribute_digests import digests_of_day
from perfdb.store.buckets import Figures, Packed, unpacked
from perfdb.store.database import Database
from perfdb.store.dialects import insert_into, is_file, is_shared, marking, number_in, take_day
from perfdb.store.filters import NOT_TAGGED
from perfdb.store.models import (
    FAILED_CODE,
    daily_values,
    rollups,
    series,
    sessions,
    stale_days,
    storable_name,
)
from perfdb.store.prepared import Prepared
from perfdb.store.rows import SECONDS_A_DAY
from perfdb.store.together import for_each, together

_OF_RUNS = ("n", "failures", "total", "low", "high", "buckets")  # the order of Packed
# CROSS JOIN has SQLite ask series by series, along the index; conditions are spelt as the partial ones are.
_STEPS = (
    "SELECT p.series_id, p.day, p.duration FROM series s CROSS JOIN steps p "
    "WHERE p.series_id = s.id AND p.counted AND p.day {days} AND {chosen}"
)
_FAILED_STEPS = (
    "SELECT p.series_id, p.day, count(*) FROM series s CROSS JOIN steps p "
    f"WHERE p.series_id = s.id AND p.status = 2 AND p.day {{days}} AND {{chosen}} "
    f"AND {NOT_TAGGED.format('p.session_pk')} GROUP BY p.series_id, p.day"
)
_TOTALS = (
    "SELECT series_id, start_time, total_duration, status FROM sessions "
    "WHERE ({ranges}) AND {chosen} AND total_duration IS NOT NULL "
    f"AND (status = 2 OR status = 1 AND counted) AND {NOT_TAGGED.format('sessions.id')}"
)
_FEW_SERIES = 20  # of which the others are not read
_DAYS_OF_MEASURES = 1  # that are looked at for what is wrong
_EVERY = rollups.c.series_id.in_(select(series.c.id))  # by the key, which begins with it

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


def knows(measure: Measure, *, of_totals: bool) -> bool:
    """Say whether figures by day tell of a measure: its totals may be made otherwise than they are kept."""
    return measure.name in KEPT or not of_totals or measure.total == named(measure.name).total


def daily_figures(
    connection: Connection,
    chosen: Collection[int],
    measure: Measure = DURATION,
    of_stale: Collection[int] | None = None,
) -> Iterator[Kept]:
    """Yield the figures of these series by day, whichever way they are known; of a day there may be several.

    Series that never had the measure are left out. ``of_stale`` is what ``stale`` gives, if it was asked.
    """
    if not measure.is_duration:
        yield from _daily_figures_of(connection, chosen, measure)
        return
    few = chosen if len(chosen) <= _FEW_SERIES else None
    figures = _FIGURES.where(_EVERY if few is None else rollups.c.series_id.in_(few), _OF_DURATION)
    stale_ones = set(stale(connection) if of_stale is None else of_stale)
    kept, of_runs = together(
        connection,
        lambda: connection.execute(figures).cursor.fetchall(),
        lambda: runs_of(connection, stale_ones, few),
    )
    for series_id, day, pruned, *row in kept:
        if series_id in chosen and (pruned or day not in stale_ones):
            yield Kept(series_id, day, tuple(row), None)
    for (series_id, day), runs in of_runs.items():
        if series_id in chosen:
            yield Kept(series_id, day, runs.packed(), runs)


def smallest_share(
    connection: Connection, names: Collection[str], pipeline: str | None = None
) -> float | None:
    """Return the smallest number between 0 and 1 that these attributes have in sessions; None: none has one.

    Daily figures tell of it, and the sessions of the days that are stale.
    """
    totals = select(series.c.id).where(series.c.step_name.is_(None))
    if pipeline is not None:
        totals = totals.where(series.c.pipeline == storable_name(pipeline))
    is_current = or_(rollups.c.pruned.is_(True), rollups.c.day.not_in(select(stale_days.c.day)))
    of_totals = rollups.c.series_id.in_(totals), rollups.c.measure.in_(names)
    queries = [
        select(func.min(rollups.c.low)).where(*of_totals, is_current, rollups.c.low > 0, rollups.c.low < 1)
    ]
    if days := stale(connection):
        begun = text(f"({daily_measures.moments_in(days)})")
        for value in (number_in(connection, sessions.c.attributes, name) for name in names):
            is_share = sessions.c.series_id.in_(totals), value > 0, value < 1
            queries.append(select(func.min(value)).where(begun, *is_share))
    found = for_each(connection, lambda query: connection.execute(query).scalar_one(), queries)
    return min((share for share in found if share is not None), default=None)


def _daily_figures_of(connection: Connection, chosen: Collection[int], measure: Measure) -> Iterator[Kept]:
    few = chosen if len(chosen) <= _FEW_SERIES else None
    of_these = _EVERY if few is None else rollups.c.series_id.in_(few)
    figures = _FIGURES.where(of_these, rollups.c.measure == measure.name)
    failures = _FIGURES.where(of_these, _OF_DURATION, rollups.c.failures > 0)
    of_stale, without, kept, failed, waiting = together(
        connection,
        lambda: stale(connection),
        lambda: daily_measures.days_without(connection, measure.name),
        lambda: connection.execute(figures).cursor.fetchall(),
        lambda: connection.execute(failures).cursor.fetchall(),
        lambda: daily_measures.noted(connection)[1],
    )
    stale_ones = set(of_stale)
    read = stale_ones | set(without)
    values, of_runs = together(
        connection,
        lambda: daily_measures.values_of(connection, measure, read, few),
        lambda: failures_of(connection, stale_ones, few),
    )
    missed: dict[tuple[int, int], int] = dict(of_runs)
    for series_id, day, pruned, _, number, *_ in failed:
        if pruned or day not in stale_ones:
            missed[series_id, day] = missed.get((series_id, day), 0) + number
    found = [
        Kept(series_id, day, (n, 0, *row), None)
        for series_id, day, pruned, n, _, *row in kept
        if pruned or day not in read
    ]
    for (series_id, day, name), each in waiting.items():
        if name == measure.name:
            each.failures = 0
            found.append(Kept(series_id, day, each.packed(), None))
    having = {each.series_id for each in found} | {series_id for series_id, _ in values}
    for (series_id, day), of_day in values.items():
        runs = Runs(of_day.values, missed.pop((series_id, day), 0))
        found.append(Kept(series_id, day, runs.packed(), runs))
    for (series_id, day), number in missed.items():
        if series_id in having:
            found.append(Kept(series_id, day, Runs([], number).packed(), None))
    yield from (each for each in found if each.series_id in chosen and (each.figures[0] or each.figures[1]))


_OF_DURATION = rollups.c.measure == DURATION.name
_KNOWN = select(func.sum(rollups.c.n + rollups.c.failures), func.max(cast(rollups.c.pruned, Integer))).where(
    _EVERY, _OF_DURATION
)
_FIGURES = select(
    rollups.c.series_id,
    rollups.c.day,
    rollups.c.pruned,
    *(rollups.c[name] for name in _OF_RUNS),
)


_OF_OLDER = select(daily_values.c.day).where(
    or_(daily_values.c.letters.is_(None), daily_values.c.measures.is_(None))
)


# --- rolling up -----------------------------------------------------------------------------------------


def roll_up(database: Database, *, until: float | None = None) -> Iterator[int]:
    """Roll up the stale days that are over, the newest first; yield each.

    Args:
        database: that is written to.
        until: days before the day of this moment; None: of now.
    """
    before = day_of(time.time() if until is None else until)
    add_pruned(database)
    with database.reading() as connection:
        older = connection.execute(_OF_OLDER).scalars()
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
        if not marks and connection.execute(_OF_OLDER.where(daily_values.c.day == day)).first() is None:
            return False
        connection.execute(stale_days.insert().values(day=day, claim=claim))
    with database.reading() as connection:
        runs = runs_of(connection, [day])
        digests, letters = digests_of_day(connection, day)
        kept, measures = daily_measures.chosen_of(*daily_measures.figures_of_day(connection, day))
        before = _rows_of_measures(connection, day)
    made = [_row(series_id, day, each.packed()) for (series_id, _), each in runs.items()]
    made += [_row(series_id, day, figures, name) for (series_id, name), figures in kept.items()]
    with database.writing() as connection:
        if not connection.execute(delete(stale_days).where(of_day, stale_days.c.claim == claim)).rowcount:
            return False
        connection.execute(delete(rollups).where(_EVERY, _OF_DURATION, *_of_day(day)))
        if before:
            key = rollups.c.series_id == bindparam("series"), rollups.c.measure == bindparam("name")
            gone = [{"series": series_id, "name": name} for series_id, name, *_ in before]
            connection.execute(delete(rollups).where(*key, *_of_day(day)), gone)
        if made:
            connection.execute(rollups.insert(), made)
        connection.execute(delete(daily_values).where(daily_values.c.day == day))
        connection.execute(
            daily_values.insert().values(day=day, digests=digests, letters=letters, measures=measures)
        )
    return True


def _of_day(day: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return rollups.c.pruned == false(), rollups.c.day == day


def _rows_of_measures(connection: Connection, day: int) -> Sequence[Any]:
    """Return (series, measure, figures) of the measures that a day keeps now, of runs that are there."""
    said = connection.execute(select(daily_values.c.measures).where(daily_values.c.day == day)).scalar()
    names = [name for name, is_kept in daily_measures.said_of(said or "{}").items() if is_kept]
    if not names:
        return []
    figures = (rollups.c[name] for name in _OF_RUNS)
    query = select(rollups.c.series_id, rollups.c.measure, *figures)
    return connection.execute(query.where(_EVERY, rollups.c.measure.in_(names), *_of_day(day))).all()


def failures_of(
    connection: Connection, days: Collection[int] | None, chosen: Collection[int] | None
) -> dict[tuple[int, int], int]:
    """Return how many runs failed, as ``runs_of`` does, of some days or of all: they are few."""
    if days is not None and not days:
        return {}
    listed, ranges, among = _spelt(days, chosen)
    failed: dict[tuple[int, int], int] = {}
    totals, of_steps = for_each(
        connection,
        partial(_rows, connection),
        (
            f"{_TOTALS.format(ranges=ranges, chosen=f'+series_id {among}')} AND status = 2",
            _FAILED_STEPS.format(days=listed, chosen=f"s.id {among}"),
        ),
    )
    for series_id, start, *_ in totals:
        key = series_id, day_of(start)
        failed[key] = failed.get(key, 0) + 1
    failed |= {(series_id, day): count for series_id, day, count in of_steps}
    return failed


def _spelt(days: Collection[int] | None, chosen: Collection[int] | None) -> tuple[str, str, str]:
    """Return SQL for these days, for moments that are within them, and for numbers of the series."""
    among = "IS NOT NULL" if chosen is None else f"IN ({', '.join(map(str, chosen)) or 'NULL'})"
    if days is None:
        return "IS NOT NULL", "start_time IS NOT NULL", among
    listed = ", ".join(str(day) for day in sorted(days))
    return f"IN ({listed})", daily_measures.moments_in(days), among


def runs_of(
    connection: Connection, days: Collection[int], chosen: Collection[int] | None = None
) -> dict[tuple[int, int], Runs]:
    """Return the runs of days per series, of totals and of steps, and day; of chosen series, or of all."""
    found: dict[tuple[int, int], list[float]] = {}
    failed: dict[tuple[int, int], int] = {}
    if not days:
        return {}
    listed, ranges, among = _spelt(days, chosen)
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


def _row(
    series_id: int, day: int, figures: Packed, measure: str = DURATION.name, *, pruned: bool = False
) -> dict[str, Any]:
    return {
        "series_id": series_id,
        "measure": measure,
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
    of_runs = _EVERY, _OF_DURATION, rollups.c.pruned == false()
    days = select(rollups.c.day).where(*of_runs, rollups.c.day.not_in(select(stale_days.c.day))).distinct()
    newest = list(connection.execute(days.order_by(rollups.c.day.desc()).limit(most)).scalars())
    here: dict[int, dict[Any, Packed]] = {day: {} for day in newest}
    there: dict[int, dict[Any, Packed]] = {day: {} for day in newest}
    for (series_id, day), runs in runs_of(connection, newest).items():
        here[day][series_id, DURATION.name] = runs.packed()
    figures = _FIGURES.where(*of_runs, rollups.c.day.in_(newest))
    for series_id, day, _, *row in connection.execute(figures):
        there[day][series_id, DURATION.name] = tuple(row)
    for day in newest[:_DAYS_OF_MEASURES]:
        for series_id, name, *row in _rows_of_measures(connection, day):
            there[day][series_id, name] = tuple(row)
        kept = {name for _, name in there[day]}
        for key, each in daily_measures.figures_of_day(connection, day)[0].items():
            if key[1] in kept:
                here[day][key] = each.packed()
    return sorted(day for day in newest if not _are_same(here[day], there[day]))


def _are_same(here: Mapping[Any, Packed], there: Mapping[Any, Packed]) -> bool:
    if here.keys() != there.keys():
        return False
    for key, one in here.items():
        other = there[key]
        if one[:2] != other[:2] or not math.isclose(one[2], other[2], rel_tol=1e-9, abs_tol=1e-9):
            return False
        if unpacked(*one).counts != unpacked(*other).counts:
            return False
    return True


# --- sessions that are pruned ---------------------------------------------------------------------------


class Gone(NamedTuple):
    """A run that goes, and what its measures are worth."""

    series_id: int
    day: int
    duration: float | None
    failed: bool
    worth: daily_measures.Worth


class PrunedRuns:
    """The runs that one transaction prunes: their days keep the figures of what went."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect: Any = type(connection.dialect)
        self._gone: dict[tuple[int, int], list[tuple[float | None, bool]]] = {}
        self._worth: dict[tuple[int, int, str], list[list[float]]] = {}  # of those that count, and failed

    def of_sessions(self, pks: Sequence[int]) -> dict[int, list[Gone]]:
        """Return the runs of sessions that are about to go, for ``took``."""
        statement = _runs_of(self._dialect)
        found: dict[int, list[Gone]] = {}
        for pk in pks:
            runs = found[pk] = []
            within = []
            for of_steps, series_id, moment, value, failed, counts, start, seq, *measured in statement.all(
                self._connection, {"pk": pk}
            ):
                *columns, document, more = measured  # of a step its attempts, of a session its products
                if of_steps:
                    worth = daily_measures.of_step(columns, document, more)
                    within.append((start, seq, worth))
                else:  # the last one
                    count = None if more is None else int(more)
                    worth = daily_measures.of_session(columns, document, count, within)
                if counts or failed:
                    runs.append(Gone(series_id, int(moment), value, bool(failed), worth))
        return found

    def took(self, runs: Iterable[Gone]) -> None:
        """Note that these runs go."""
        for series_id, day, value, failed, worth in runs:
            self._gone.setdefault((series_id, day), []).append((value, failed))
            for name, amount in daily_measures.first_of(worth):
                self._worth.setdefault((series_id, day, name), [[], []])[failed].append(amount)

    def keep(self) -> None:
        """Add them to the figures of what went before; ``add_pruned`` does so with their measures."""
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
        worth = {key: daily_measures.Values(good, len(bad)) for key, (good, bad) in self._worth.items()}
        daily_measures.note_gone(self._connection, worth)


def add_pruned(database: Database) -> None:
    """Add what measures were worth in runs that were pruned to the figures of what went before.

    In a transaction of its own, whose work is done before it begins; another one that adds them meanwhile
    leaves nothing to do.
    """
    with database.reading() as connection:
        pks, found = daily_measures.noted(connection)
        if not pks:
            return
        names, days = {name for *_, name in found}, {day for _, day, _ in found}
        before = rollups.c.measure.in_(names), rollups.c.day.in_(days)
        made = [row for row, is_new in _pruned_rows(connection, found, *before) if is_new]
    with database.writing() as connection:
        dialect: Any = type(connection.dialect)
        if daily_measures.take_noted(connection, pks) and made:
            _kept(dialect)[1].many(connection, made)


def pruned_rows(connection: Connection) -> list[dict[str, Any]]:
    """Return the rows of all runs that were pruned, with what is yet to be added to them."""
    _, found = daily_measures.noted(connection)
    return [row for row, _ in _pruned_rows(connection, found)]


def _pruned_rows(
    connection: Connection,
    noted: Mapping[tuple[int, int, str], Figures],
    *chosen: ColumnElement[bool],
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the rows of pruned runs that are chosen, and whether something is to be added to them."""
    known = set(connection.execute(select(series.c.id)).scalars())
    waiting = {key: each for key, each in noted.items() if key[0] in known}
    figures = (rollups.c[name] for name in _OF_RUNS)
    query = select(rollups.c.series_id, rollups.c.day, rollups.c.measure, *figures)
    for *key, n, failures, total, low, high, buckets in connection.execute(
        query.where(_EVERY, rollups.c.pruned == true(), *chosen)
    ):
        series_id, day, name = key
        row = n, failures, total, low, high, buckets
        more = waiting.pop((series_id, day, name), None)
        if more is not None:
            more.merge(unpacked(*row))
        yield _row(series_id, day, more.packed() if more else row, name, pruned=True), more is not None
    for (series_id, day, name), each in sorted(waiting.items()):
        yield _row(series_id, day, each.packed(), name, pruned=True), True


@cache
def _runs_of(dialect: Any) -> Prepared:
    """Return what asks for the runs of a session: first its steps, and at last its own."""
    measured = ", ".join(NAMES)
    query = (
        "SELECT of_steps, series_id, moment, duration, failed, counts, start_time, seq, "
        f"{measured}, document, more FROM ("
        "SELECT 1 AS of_steps, series_id, day AS moment, duration, status = 2 AS failed, counted AS counts, "
        f"start_time, seq, {measured}, CAST(additional_data AS TEXT) AS document, "
        "CAST(attempts AS TEXT) AS more FROM steps WHERE session_pk = :pk UNION ALL "
        f"SELECT 0, series_id, floor(start_time / {SECONDS_A_DAY}), total_duration, "
        "status = 2 AND total_duration IS NOT NULL, "
        "status = 1 AND counted AND total_duration IS NOT NULL, "
        f"start_time, 0, {measured}, CAST(attributes AS TEXT), "
        "CAST(product_count AS TEXT) FROM sessions WHERE id = :pk) runs ORDER BY of_steps DESC"
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
