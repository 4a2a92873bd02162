"""Daily figures are those of the runs, whatever happens to these, on both databases.

Of: store/attribute_digests.py, store/buckets.py, store/daily_measures.py, worker/rolling.py.
"""

from __future__ import annotations

import itertools
import random
import shutil
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from sqlalchemy import Text, cast, select
from sqlalchemy.exc import IntegrityError

from perfdb.analysis import measuring
from perfdb.analysis.series import quantile
from perfdb.errors import StoreError
from perfdb.measures import DURATION, Measure, named
from perfdb.records import Session, Step, is_cached
from perfdb.store import browsing, daily_measures, frames, ingest, reading, sessions, statistics
from perfdb.store import models as tables
from perfdb.store.buckets import (
    ERROR_PERCENT,
    Figures,
    Packed,
    Together,
    _small_content,
    percentiles_of_each,
    unpacked,
)
from perfdb.store.database import Database
from perfdb.store.dialects import as_text
from perfdb.store.models import daily_values, rollups, stale_days
from perfdb.store.rollups import roll_up, roll_up_day, runs_of, spoil, spoil_all, wrong_days
from perfdb.store.upkeep.portable import DERIVED
from perfdb.store.upkeep.pruning import Policy, find_shares, prune
from perfdb.store.upkeep.reindexing import reindex
from perfdb.testing import NOON, make_session
from perfdb.vocabulary import UNCOUNTED_TAGS

DAY = 86_400.0
FAR = NOON + 100 * DAY
_numbers = itertools.count()

MEASURED = (DURATION, named("cpu_s"), named("profit"))  # of each, of some, and of both signs

Runs = dict[tuple[str, str | None, str, int], tuple[list[float], int]]


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    with Database(migrated_url) as opened:
        yield opened


def recorded(database: Database) -> Runs:
    """Recompute: what the views say of each series and day."""
    with database.reading() as connection:
        totals = connection.exec_driver_sql(
            "SELECT r.pipeline, NULL, r.mode, s.start_time / 86400, s.total_duration, s.status "
            "FROM sessions s JOIN series r ON r.id = s.series_id WHERE s.total_duration IS NOT NULL "
            "AND (s.status = 2 OR s.status = 1 AND s.counted) AND s.id NOT IN "
            "(SELECT session_pk FROM session_tags WHERE name IN ('ignore', 'warmup'))"
        ).all()
        steps = connection.exec_driver_sql(
            "SELECT r.pipeline, r.step_name, r.mode, p.day, p.duration, p.status FROM steps p "
            "JOIN series r ON r.id = p.series_id WHERE p.counted OR p.status = 2 AND p.session_pk NOT IN "
            "(SELECT session_pk FROM session_tags WHERE name IN ('ignore', 'warmup'))"
        ).all()
    found: dict[tuple[str, str | None, str, int], list[tuple[float, bool]]] = defaultdict(list)
    for pipeline, name, mode, day, value, status in [*totals, *steps]:
        found[pipeline, name, mode, int(day)].append((value, status == 2))
    return {
        key: (sorted(value for value, failed in runs if not failed), sum(failed for _, failed in runs))
        for key, runs in found.items()
    }


def of_measure(database: Database, measure: Measure) -> Runs:
    return recorded(database) if measure.is_duration else recorded_of(database, measure)


def recorded_of(database: Database, measure: Measure) -> Runs:
    """Recompute: what the records say of a measure."""
    found: dict[tuple[str, str | None, str, int], list[tuple[float | None, bool]]] = defaultdict(list)
    with database.reading() as connection:
        for session in reading.read_sessions(connection):
            if not set(UNCOUNTED_TAGS).isdisjoint(session.tags):
                continue
            worth = measuring.of_session(session, measure)
            if session.total_duration is not None and (session.counted or session.status == "failed"):
                key = session.pipeline, None, session.mode, int(session.start_time // DAY)
                found[key].append((worth, session.status == "failed"))
            for step in session.steps:
                counts = session.counted and step.success and not is_cached(step.additional_data)
                if counts or step.failed:
                    key = session.pipeline, step.step_name, session.mode, int(step.start_time // DAY)
                    found[key].append((measuring.of_step(step, measure), step.failed))
    having = {key[:3] for key, runs in found.items() if any(worth is not None for worth, _ in runs)}
    made = {
        key: (
            sorted(worth for worth, failed in runs if worth is not None and not failed),
            sum(failed for _, failed in runs),
        )
        for key, runs in found.items()
        if key[:3] in having
    }
    return {key: runs for key, runs in made.items() if any(runs)}


def assert_right(database: Database, pruned: Mapping[str, Runs]) -> None:
    """What is answered is what was recorded, and what was before it was pruned."""
    for measure in MEASURED:
        assert_right_of(database, measure, pruned.get(measure.name, {}))


def assert_right_of(database: Database, measure: Measure, pruned: Runs) -> None:
    expected = of_measure(database, measure)
    for key, (values, failures) in pruned.items():
        more = expected.get(key, ([], 0))
        expected[key] = (sorted(more[0] + values), more[1] + failures)
    shares = [(0.5, 1), (0.9, 3), (1.0, 1)]
    with database.reading() as connection:
        answered = statistics.by_days(connection, shares, by="day", measure=measure)
    if answered is None:
        assert not expected
        return
    assert {(*row.name, row.first_day) for row in answered} == set(expected)
    for name, day, n, failures, mean, (p50, p90, highest) in answered:
        values, failed = expected[*name, day]  # type: ignore[index]
        assert (n, failures) == (len(values), failed)
        if values:
            assert mean == pytest.approx(sum(values) / n)
            assert highest == pytest.approx(values[-1])
            slack = ERROR_PERCENT / 100 * max(map(abs, values))  # of values of both signs
            rel = {"abs": slack} if values[0] < 0 else {"rel": ERROR_PERCENT / 100 + 1e-9}
            assert p50 == pytest.approx(quantile(values, 0.5), **rel)
        assert (p90 is None) == (n < 3)


class Past:
    """A history that things happen to."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ids: list[str] = []
        self.pruned: dict[str, Runs] = {measure.name: {} for measure in MEASURED}
        self.offset = 0

    def record(self, day: int, value: float, kind: str) -> None:
        number = next(_numbers)
        start = NOON + day * DAY + number % 40_000
        session = make_session(
            number, {"load": value, "late": 2 * value}, start=start, every_s=0.0, fast_mode=bool(number % 2),
            attributes={"model": f"m{day}"},
        )  # fmt: skip
        if kind == "failed":
            session = make_session(
                number,
                session.steps,
                start=start,
                every_s=0.0,
                status="failed",
                success=False,
                fast_mode=False,
            )
        session = replace(
            session,
            cpu_s=3 * value,
            steps=tuple(
                replace(step, cpu_s=value if step.seq else None, additional_data={"profit": value - step.seq})
                for step in session.steps
            ),
        )
        records = list(ingest.records_of(session))
        header = {"journal_id": f"j{number}", "host": "here", "pid": 1}
        halves = [records] if kind != "late" else [records[1:2], records[:1], records[2:-1], records[-1:]]
        for place, half in enumerate(halves):
            self._write(header, half, place + 1)
            if kind == "late":
                self.roll(day)
        self.ids.append(session.session_id)

    def _write(self, header: dict[str, object], records: list[ingest.Record], offset: int) -> None:
        try:
            with self.database.writing() as connection:
                ingest.apply_records(connection, header, records, offset=offset)
        except IntegrityError:  # the series was nobody's, and went: the next try makes it anew
            with self.database.writing() as connection:
                ingest.apply_records(connection, header, records, offset=offset)

    def again(self, day: int, value: float, kind: str) -> None:
        self.record(day, value, kind)
        with self.database.writing() as connection:
            ingest.insert_sessions(connection, [make_session(int(self.ids[-1][4:]), {"load": 9.0})])

    def roll(self, *_: object) -> None:
        list(roll_up(self.database, until=FAR))

    def delete(self, day: int, *_: object) -> None:
        if self.ids:
            with self.database.writing() as connection:
                sessions.delete_sessions(connection, [self.ids.pop(day % len(self.ids))])

    def tag(self, day: int, value: float, kind: str) -> None:
        if self.ids:
            change = sessions.untag_session if kind == "late" else sessions.tag_session
            with self.database.writing() as connection:
                change(connection, self.ids[day % len(self.ids)], "ignore")

    def reindex(self, day: int, *_: object) -> None:
        list(reindex(self.database, ["model"] if day % 2 else ["fast_mode"]))
        self._forget_gone()

    def prune(self, day: int, *_: object) -> None:
        befores = {measure.name: of_measure(self.database, measure) for measure in MEASURED}
        shares = find_shares(self.database, Policy(older_than_s=FAR - NOON - day * DAY), FAR)
        gone = {each for piece in prune(self.database, shares, FAR) for each in piece}
        self.ids = [each for each in self.ids if each not in gone]
        for measure in MEASURED:
            pruned, after = self.pruned[measure.name], of_measure(self.database, measure)
            for key, (values, failures) in befores[measure.name].items():
                kept, failed = after.get(key, ([], 0))
                left = list(values)
                for value in kept:
                    left.remove(value)
                known, more = pruned.get(key, ([], 0))
                pruned[key] = (known + left, more + failures - failed)
        self._forget_gone()

    def _forget_gone(self) -> None:
        """Forget what few pruned runs were that nothing else is of: no trend is kept of them."""
        with self.database.reading() as connection:
            left = connection.exec_driver_sql("SELECT pipeline, step_name, mode FROM series").all()
        known = set(map(tuple, left))
        for name, pruned in self.pruned.items():
            self.pruned[name] = {key: runs for key, runs in pruned.items() if key[:3] in known and any(runs)}

    def empty(self) -> None:
        with self.database.writing() as connection:
            for table in (*DERIVED, "sessions", "journals"):
                connection.exec_driver_sql(f"DELETE FROM {table}")


_HAPPENS: list[Callable[..., None]] = [
    Past.record, Past.record, Past.roll, Past.again, Past.delete, Past.tag, Past.reindex, Past.prune
]  # fmt: skip
_events = st.tuples(
    st.sampled_from(_HAPPENS),
    st.integers(0, 4),
    st.floats(1e-3, 1e3),
    st.sampled_from(["whole", "late", "failed"]),
)


def test_figures_are_those_of_the_runs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "EXACT_RUNS", -1)

    @settings(max_examples=12 if database.is_shared else 25)
    @given(st.lists(_events, min_size=3, max_size=12))
    def holds(events: list[tuple[Callable[..., None], int, float, str]]) -> None:
        past = Past(database)
        past.empty()
        for happens, day, value, kind in events:
            if value > 1:  # what is rolled up can be wrong
                past.roll()
            happens(past, day, value, kind)
            assert_right(database, past.pruned)
        spoil_all(database)
        past.roll()
        assert_right(database, past.pruned)

    holds()


def test_a_day_that_is_written_to_while_it_is_rolled_up_stays_stale(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = Past(database)
    past.empty()
    past.record(0, 1.0, "whole")
    day = int(NOON // DAY)

    def read_then_written(connection: object, days: list[int]) -> object:
        found = runs_of(connection, days)  # type: ignore[arg-type]
        monkeypatch.undo()
        with Database(database.url) as other, other.writing() as writer:
            spoil(writer, [day])
        return found

    monkeypatch.setattr("perfdb.store.rollups.runs_of", read_then_written)
    assert roll_up_day(database, day)
    with database.reading() as connection:
        assert list(connection.execute(select(stale_days.c.day)).scalars()) == [day]
    assert roll_up_day(database, day)
    assert not roll_up_day(database, day)
    with database.reading() as connection:
        assert connection.execute(select(rollups)).all()
        assert not connection.execute(select(stale_days)).all()


@pytest.mark.parametrize(
    "listed",
    [
        b"[" + b" " * (1 << 27),
        b"[[1, 2, 3]]",
        b'[[1, 2, "cpu_s", ["x"], 0]]',
        b"5",
        b'[[[], 2, "a", [], 0]]',
        None,
    ],
    ids=["much", "short", "text", "number", "list", "no archive"],
)
def test_a_foreign_row_of_what_was_pruned_is_refused_in_words(
    database: Database, listed: bytes | None
) -> None:
    content = zlib.compress(listed, 9) if listed is not None else b"\x00"
    with database.writing() as connection:
        connection.execute(tables.pruned_measures.insert().values(id=1, content=content))
    with database.reading() as connection, pytest.raises(StoreError, match="pruned_measures"):
        daily_measures.noted(connection)
    with pytest.raises(StoreError, match=r"daily_values\.measures"):
        daily_measures.said_of("[1]")


def test_runs_that_another_program_changed_are_found_and_their_day_is_made_anew(database: Database) -> None:
    past = Past(database)
    past.record(0, 1.0, "whole")
    past.record(1, 2.0, "whole")
    past.roll()
    with database.reading() as connection:
        assert wrong_days(connection, most=7) == []
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE steps SET duration = 7 WHERE duration = 1")
    day = int(NOON // DAY)
    for most, expected in ((7, [day]), (1, [])):
        with database.reading() as connection:
            assert wrong_days(connection, most=most) == expected
    assert spoil_all(database) == 2
    past.roll()
    with database.reading() as connection:
        assert wrong_days(connection, most=7) == []


def test_sessions_with_a_value_are_found_by_the_digests_of_days(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(value: object) -> list[str]:
        with database.reading() as connection:
            return [row["session_id"] for row in frames.session_rows(connection, attribute={"model": value})]

    past = Past(database)
    for day in (0, 1, 3, 3):
        past.record(day, 1.0, "whole")
    past.roll()
    past.record(1, 1.0, "whole")  # of a day that is stale
    some = {value: found(value) for value in ("m0", "m1", "m3", "m9", 3, None)}
    assert [len(ids) for ids in some.values()] == [1, 2, 2, 0, 0, 0]
    past.roll()
    assert {value: found(value) for value in some} == some
    monkeypatch.setattr("perfdb.store.attribute_digests._MOST_HOURS", 0)  # looked for among all
    assert {value: found(value) for value in some} == some


_TEXTS = st.text('aAbB\u00e9\u00c9\u0130\u212a"%_', min_size=1, max_size=7)


def one_with(kind: str, name: str, number: int) -> Session:
    """Return a session, of a day of its own, which has ``name`` somewhere."""
    own = {name: 1.5}
    step = Step(step_name="a", start_time=NOON + number * DAY, duration=1.0, success=True, seq=0)
    changes: dict[str, Mapping[str, Any]] = {
        "of its own": {"attributes": own},
        "of a step": {"steps": (replace(step, additional_data=own),)},
        "of a step that failed": {"steps": (replace(step, success=False, additional_data=own),)},
        "of a step from a cache": {"steps": (replace(step, additional_data={"cached": True, **own}),)},
        "of the next day": {"steps": (replace(step, start_time=step.start_time + DAY, additional_data=own),)},
        "failed": {"status": "failed", "success": False, "attributes": own},
        "without success": {"success": False, "steps": (replace(step, additional_data=own),)},
        "interrupted": {"status": "interrupted", "success": None, "attributes": own},
        "ignored": {"tags": ("ignore",), "steps": (replace(step, additional_data=own),)},
        "no number": {"attributes": {name: "1.5"}},
    }
    return make_session(number, every_s=DAY, session_id=kind.replace(" ", "-"), **changes[kind])


KINDS = (
    "of its own", "of a step", "of a step that failed", "of a step from a cache", "of the next day", "failed",
    "without success", "interrupted", "ignored", "no number",
)  # fmt: skip


def test_what_was_ever_recorded_is_known_whatever_became_of_the_run(database: Database) -> None:
    names = {f'the "{kind}"': kind for kind in KINDS}
    blank = [make_session(number, {"a": 1.0}, start=NOON + 60 * DAY) for number in range(120)]
    with database.writing() as connection:
        ingest.insert_sessions(connection, blank)
        made = [one_with(kind, name, 4 * number) for number, (name, kind) in enumerate(names.items())]
        ingest.insert_sessions(connection, made)

    def known() -> set[str]:
        with database.reading() as connection:
            found = {name for name in names if daily_measures.is_recorded(connection, named(name))}
            assert not daily_measures.is_recorded(connection, named("nothing"))
        return {names[name] for name in found}

    expected = set(KINDS) - {"no number"}
    assert known() == expected
    for _ in roll_up(database, until=NOON + 14 * DAY):
        pass
    assert known() == expected
    for _ in roll_up(database, until=FAR):
        pass
    assert known() == expected
    with database.writing() as connection:
        sessions.delete_sessions(connection, [each.session_id for each in made if each.status != "failed"])
    assert known() == {"failed"}


def test_a_run_every_other_day_of_many_years_is_looked_through_as_well(database: Database) -> None:
    rows = [{"day": day, "digests": b"", "measures": "{}"} for day in range(10_000, 16_000, 2)]
    runs = [
        make_session(number, start=day * DAY, attributes={"n": 1}) for number, day in ((0, 10_000), (1, 9))
    ]
    with database.writing() as connection:
        ingest.insert_sessions(connection, runs[:1])
        ingest.insert_sessions(connection, [make_session(n, {"a": 1.0}, start=NOON) for n in range(2, 120)])
        connection.execute(daily_values.insert(), rows)
        connection.execute(stale_days.delete())
    with database.writing() as connection:
        assert not daily_measures.is_recorded(connection, named("n"))  # the day says so
        ingest.insert_sessions(connection, runs[1:])
        assert daily_measures.is_recorded(connection, named("n"))


def test_what_was_never_recorded_is_known_without_a_look_at_every_run(
    migrated_file: Path, tmp_path: Path
) -> None:
    with Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path)}") as database:
        step = Step(
            step_name="a", start_time=NOON, duration=1.0, success=True, seq=0, additional_data={"n": 1}
        )
        made = [make_session(number, (step,), every_s=3600, attributes={"b": 1}) for number in range(500)]
        with database.writing() as connection:
            ingest.insert_sessions(connection, made)
        assert list(roll_up(database, until=FAR))
        looked_at = 0

        def read(document: str | None, path: str) -> str | None:
            nonlocal looked_at
            looked_at += 1
            return None

        with database.reading() as connection:
            connection.connection.driver_connection.create_function("json_type", 2, read)
            assert not daily_measures.is_recorded(connection, named("nothing"))
        assert looked_at == 200  # a step and the session, of the newest hundred


@pytest.mark.parametrize("bytes_a_session", [10_000, 0], ids=["letters", "no-letters"])
def test_a_text_is_found_wherever_it_stands(
    database: Database, monkeypatch: pytest.MonkeyPatch, bytes_a_session: int
) -> None:
    monkeypatch.setattr("perfdb.store.attribute_digests._BYTES_A_SESSION", bytes_a_session)
    monkeypatch.setattr("perfdb.store.attribute_digests._MOST_LOOKED_THROUGH", 2)

    def search(words: str, until: float | None) -> tuple[set[str], float | None]:
        with database.reading() as connection:
            found = browsing.search_text(connection, words, most=3, until=until)
            page = browsing.session_page(connection, found=found.ids)
        return {session.session_id for session in page.sessions}, found.since

    @settings(max_examples=8 if database.is_shared else 20)
    @given(
        st.lists(st.tuples(st.integers(0, 3), _TEXTS, st.booleans(), st.booleans()), min_size=1, max_size=9),
        st.lists(_TEXTS, min_size=1, max_size=4),
    )
    def holds(runs: list[tuple[int, str, bool, bool]], wanted: list[str]) -> None:
        past = Past(database)
        past.empty()
        for place, (day, words, is_error, rolls) in enumerate(runs):
            failed = {"status": "failed", "success": False, "error_message": words}
            session = make_session(
                place,
                {"load": 1.0},
                start=NOON + day * DAY + 4_000.0 * place,
                every_s=0.0,
                **(failed if is_error else {"attributes": {"said": words}}),
            )
            with database.writing() as connection:
                ingest.insert_sessions(connection, [session])
            if rolls:
                past.roll()
        for words in [*wanted, *(run[1] for run in runs)]:
            with database.reading() as connection:
                like = browsing.sessions.c.error_message.icontains(words, autoescape=True)
                document = as_text(connection, browsing.sessions.c.attributes)
                like |= cast(document, Text).icontains(words, autoescape=True)
                expected = set(
                    connection.execute(select(browsing.sessions.c.session_id).where(like)).scalars()
                )
            found: set[str] = set()
            until: float | None = None
            for _ in range(len(runs) + 1):
                some, until = search(words, until)
                found |= some
                if until is None:
                    break
            assert (found, until) == (expected, None)

    holds()


def test_days_that_an_older_perfdb_rolled_up_get_their_letters(database: Database) -> None:
    past = Past(database)
    past.record(0, 1.0, "whole")
    past.roll()
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE daily_values SET letters = NULL, measures = NULL")
    assert len(list(roll_up(database, until=FAR))) == 1
    with database.reading() as connection:
        assert list(connection.execute(select(daily_values.c.letters)).scalars()) == [b""]  # too few sessions
        assert wrong_days(connection, most=1) == []
    assert not list(roll_up(database, until=FAR))


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60), st.integers(1, 59))
def test_buckets_are_within_half_a_percent(values: list[float], cut: int) -> None:
    one, other = Figures(), Figures()
    one.add(values[:cut], 1)
    other.add(values[cut:], 2)
    together = Together()
    together.add(one.packed())
    together.add(other.packed())
    merged = unpacked(*one.packed())
    merged.merge(unpacked(*other.packed()))
    alone = Together()
    alone.add(merged.packed())
    shares = [(0.0, 1), (0.3, 1), (0.5, 1), (1.0, 1), (0.5, 100)]
    assert together.percentiles(shares) == alone.percentiles(shares)
    assert (together.n, together.failures) == (len(values), 3)
    ordered = sorted(values)
    for (share, _), found in zip(shares[:-1], together.percentiles(shares)[:-1], strict=True):
        low = int(share * (len(values) - 1))
        near = ordered[low], ordered[min(low + 1, len(values) - 1)]
        assert found is not None
        slack = ERROR_PERCENT / 100 * max(map(abs, near)) + 1e-300
        assert near[0] - slack <= found <= near[1] + slack


@pytest.mark.parametrize("limit", [0.5, 1.0, 1.3, 40.0])
def test_what_is_above_a_limit_is_counted_within_a_bucket(limit: float) -> None:
    values = [0.01 * number for number in range(1, 400)]
    figures, merged = Figures(), Together()
    figures.add(values[::2])
    more = Together()
    more.add(figures.packed())
    merged.merge(more)
    rest = Figures()
    rest.add(values[1::2])
    merged.add(rest.packed())
    assert merged.n == len(values)
    around = [sum(value > limit * share for value in values) for share in (1.011, 0.989)]
    assert around[0] <= merged.over(limit) <= around[1]


def test_percentiles_are_the_same_whether_a_day_is_one_row_or_several() -> None:
    shares = [(share, 1) for share in (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0)]
    draw = random.Random(5)
    for number in (1, 2, 3, 4, 50, 700):
        values = [draw.choice((0.0, -1.0, draw.lognormvariate(1, 1))) for _ in range(number)]
        together, apart = Together(), Together()
        for into, parts in ((together, [values]), (apart, [values[: number // 2], values[number // 2 :]])):
            for part in parts:
                figures = Figures()
                figures.add(part)
                into.add(figures.packed())
        assert together.percentiles(shares) == apart.percentiles(shares)
        assert together.over(2.0) == apart.over(2.0)


def test_percentiles_of_many_days_are_those_of_each() -> None:
    shares = [(0.0, 1), (0.5, 1), (0.95, 20), (1.0, 1)]
    draw = random.Random(7)
    days, known = [], []
    for number in range(1_200):  # more than are in memory at once
        rows = [[draw.lognormvariate(number % 9, 1) for _ in range(draw.choice((0, 1, 3, 40)))] for _ in "ab"]
        days.append(Together())
        for row in rows[: 1 + number % 2]:
            figures = Figures()
            figures.add(row)
            days[-1].add(figures.packed())
        known.append(sorted(value for row in rows[: 1 + number % 2] for value in row))
    found = percentiles_of_each(days, shares)
    assert found == [each.percentiles(shares) for each in days]
    for values, (least, middle, high, most) in zip(known, found, strict=True):
        assert (least, most) == ((values[0], values[-1]) if values else (None, None))
        assert (middle is None, high is None) == (not values, len(values) < 20)
        if middle is not None:
            assert middle == pytest.approx(median(values), rel=ERROR_PERCENT / 100 + 1e-9)


def _percentiles_of(row: Packed) -> list[float | None]:
    together = Together()
    together.add(row)
    return together.percentiles([(0.5, 1)])


@pytest.mark.parametrize(
    "content",
    [b"", b"seven b", struct.pack("<4i", 1 << 30, 1 << 30, 1, 1), struct.pack("<2i", 199_999, 3)],
    ids=["nothing", "a part", "no key", "a key of no number"],
)
def test_buckets_that_perfdb_never_packed_are_named(content: bytes) -> None:
    for _ in range(2):  # what was opened once is kept
        with pytest.raises(StoreError, match="none that perfdb wrote"):
            _percentiles_of((3, 0, 3.0, 1.0, 1.0, zlib.compress(content)))


def test_buckets_of_any_size_are_read() -> None:
    values = [1.05**number for number in range(-400, 400)]
    figures = Figures()
    figures.add(values)
    assert _percentiles_of(figures.packed())[0] == pytest.approx(median(values), rel=0.01)


def test_large_buckets_are_not_kept() -> None:
    keys = random.Random(1).sample(range(100_000, 150_000), 2_000)
    row = Figures(2_000, 0, 1.0, 1.0, 2.0, dict.fromkeys(keys, 1)).packed()
    kept = _small_content.cache_info().currsize
    _percentiles_of(row)
    assert _small_content.cache_info().currsize == kept
