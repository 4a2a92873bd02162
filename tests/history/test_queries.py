"""History's answers on a real database: the same from its indexes and from its rows.

Of: history/answers.py, history/comparisons.py, analysis/regressions.py, analysis/rows.py,
analysis/splits.py.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import perfdb
from perfdb.analysis.regressions import find_move
from perfdb.analysis.series import Series
from perfdb.filters import DAY_S
from perfdb.history.values import rows_of
from perfdb.recorder import create_tracker
from perfdb.records import Session, Step
from perfdb.stopping import limited
from perfdb.store.database import Database
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.rollups import roll_up
from perfdb.store.schema import ensure_schema
from perfdb.testing import make_history, make_session
from perfdb.web.answers.trends import trend
from perfdb.web.queries import TrendQuery
from perfdb.web.served import ServedHistory

NOON = 1_767_268_800.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default home of an empty working directory."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "performance_tracking"


@pytest.fixture
def history(home: Path) -> perfdb.History:
    """Sixty sessions, every five hours: each has a failed, fast or tagged neighbour now and then."""
    sessions = []
    rng = np.random.default_rng(11)
    for number, (load, save) in enumerate(rng.lognormal(size=(60, 2)).round(6).tolist()):
        start, failed, fast = NOON + number * 5 * 3600, number % 13 == 5, number % 4 == 1
        steps = (
            Step(step_name="load", start_time=start, duration=load, success=True, seq=0),
            Step(step_name="save", start_time=start + load, duration=save, success=not failed, seq=1),
        )
        session = Session(
            session_id=f"run-{number:02d}", pipeline="etl", start_time=start, total_duration=load + save,
            status="failed" if failed else "completed", success=not failed, fast_mode=fast, steps=steps,
            mode=f'{{"fast_mode":{str(fast).lower()}}}', tags=("warmup",) if number in (0, 18) else (),
        )  # fmt: skip
        sessions.append(session)
    url = perfdb.History().url
    ensure_schema(url)
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, sessions)
    engine.dispose()
    return perfdb.History()


@pytest.mark.parametrize("by", ["all", "day", "week"])
def test_the_indexes_and_the_rows_give_the_same_trends(history: perfdb.History, by: Any) -> None:
    by_index, by_rows = history.trends(by=by), history.trends(by=by, since=0)
    assert by_index["failures"].sum() == 2 * 4, "the fifth is a warm-up"
    pd.testing.assert_frame_equal(by_index, by_rows, rtol=1e-12, check_dtype=True)


def test_the_whole_history_is_the_last_of_all_its_sessions(history: perfdb.History) -> None:
    columns = ["pipeline", "step_name", "mode", "n", "failures", "mean", "p50", "p90", "p95"]
    ever, last = history.trends(by="all")[columns], history.trends(last=60)[columns]
    pd.testing.assert_frame_equal(ever, last, rtol=1e-12)


def test_what_counts_adds_up_over_all_sessions_of_a_mode(history: perfdb.History) -> None:
    found = history.bottlenecks(fast_mode=True)
    sessions = history.sessions(fast_mode=True, status="completed")
    assert found["critical_s"].sum() == pytest.approx(sessions["total_duration"].mean())
    assert found["sessions"].unique().tolist() == [len(sessions)]


def test_explain_looks_at_the_past_of_its_own_kind(history: perfdb.History) -> None:
    found = history.explain("run-40", last=10)
    assert found.n == 10
    assert found.excess_s == pytest.approx(found.frame["excess_s"].sum())
    assert history.explain("run-57").mode == '{"fast_mode":true}'


def test_violations_come_from_the_rules_in_the_settings(history: perfdb.History, tmp_path: Path) -> None:
    assert history.violations().empty
    rule = '[[alerts.rules]]\nname = "slow"\nkind = "max"\nstep = "load"\nlimit = 2.0\n'
    (tmp_path / "perfdb.toml").write_text(rule)
    found = perfdb.History().violations(fast_mode=False)
    steps = history.steps(step="load", fast_mode=False, status="completed")
    steps = steps[~steps["session_id"].isin(["run-00", "run-18"])]
    assert sorted(found["value"]) == sorted(steps[steps["duration"] > 2.0]["duration"])


def test_compare_takes_sessions_or_an_attribute(history: perfdb.History) -> None:
    assert history.compare("run-01", "run-02").b == "run-02"
    assert history.compare(by="fast_mode").frame["mode"].unique().tolist() == ["{}"]
    with pytest.raises(perfdb.UsageError, match="give two sessions"):
        history.compare("run-01")  # type: ignore[call-overload]
    with pytest.raises(perfdb.UsageError, match="region"):
        history.compare(by="region")


def test_a_running_session_has_no_answer_yet() -> None:
    tracker = create_tracker("etl", console=False)
    tracker.start_pipeline()
    with tracker.step("load"):
        pass
    tracker.end_pipeline()
    tracker.start_pipeline()
    running = perfdb.History()
    if running.session("last").status == "running":
        with pytest.raises(perfdb.UsageError, match="running"):
            running.explain("last")
    tracker.end_pipeline()


def test_an_unknown_filter_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="no filter 'customer'"):
        perfdb.History().bottlenecks(customer="acme")
    with pytest.raises(ValueError, match="'month'"):
        perfdb.History().trends(by="month")  # type: ignore[arg-type]


def test_a_home_without_a_database_gives_empty_answers() -> None:
    history = perfdb.History()
    assert history.bottlenecks().empty
    assert all(history.trends(by=by).empty for by in ("last", "all", "day", "week"))  # type: ignore[arg-type]
    assert history.violations().empty
    assert history.suggest_thresholds().empty
    with pytest.raises(perfdb.NotFoundError, match="nothing is recorded"):
        history.explain()
    with pytest.raises(perfdb.NotFoundError, match="nothing is recorded"):
        history.compare("last~1", "last")


def test_days_and_the_moments_that_bound_them_stand_on_one_footing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_DATABASE_URL", f"sqlite:///{tmp_path}/zones.sqlite3")
    ensure_schema(f"sqlite:///{tmp_path}/zones.sqlite3")
    midnight = 1_761_609_600.0  # 2025-10-28, UTC; in Berlin it is 01:00
    engine = open_engine(f"sqlite:///{tmp_path}/zones.sqlite3", role="writer")
    with engine.begin() as connection:
        insert_sessions(
            connection,
            [
                Session(
                    session_id=f"s{hour:02}", pipeline="p", start_time=midnight + 3_600 * hour,
                    total_duration=1.0, status="completed", success=True,
                )
                for hour in range(-2, 26)
            ],
        )  # fmt: skip
    engine.dispose()

    def days(**options: Any) -> list[tuple[str, int]]:
        frame = perfdb.History().trends(by="day", **options)
        assert frame["period"].tolist() == [pd.Timestamp(day, tz=zone_of(options)) for day in dates(frame)]
        return list(zip(dates(frame), frame["n"], strict=True))

    def dates(frame: pd.DataFrame) -> list[str]:
        return [row["period"] for row in rows_of(frame)]

    def zone_of(options: dict[str, Any]) -> Any:
        zone = options.get("zone", "UTC")
        return "tzlocal()" if zone == "local" else zone

    for local in ("Europe/Berlin", "America/New_York"):
        monkeypatch.setenv("TZ", local)
        time.tzset()
        assert days(since="2025-10-28") == [("2025-10-28", 24), ("2025-10-29", 2)]
        assert days(since="2025-10-28", zone="Europe/Berlin") == [("2025-10-28", 24), ("2025-10-29", 3)]
    assert days(zone="Europe/Berlin") == [("2025-10-27", 1), ("2025-10-28", 24), ("2025-10-29", 3)]
    assert days(zone="local") == [("2025-10-27", 6), ("2025-10-28", 22)]
    monkeypatch.undo()
    time.tzset()
    with pytest.raises(ValueError, match="time zone"):
        perfdb.History(f"sqlite:///{tmp_path}/zones.sqlite3").trends(by="day", zone="Mars/Olympus")


def test_the_last_sessions_of_bottlenecks_are_those_of_each_pipeline(history: perfdb.History) -> None:
    add(history, *(one(f"often-{number}", NOON * 1.01 + number) for number in range(40)))  # newer
    found = history.bottlenecks(last=20)
    assert found.groupby("pipeline")["sessions"].first().to_dict()["often"] == 20
    own = history.bottlenecks(last=20, pipeline="etl")
    pd.testing.assert_frame_equal(found[found["pipeline"] == "etl"].reset_index(drop=True), own)


def test_trends_say_where_the_level_moved_by_session_day_and_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/moved.sqlite3"
    ensure_schema(url)
    rng = np.random.default_rng(4)
    begun = 1_767_571_200.0  # a Monday
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(
            connection,
            [
                Session(
                    session_id=f"s{number:04}", pipeline="p", start_time=begun + 86_400 * number / 10,
                    total_duration=float((8.5 if number >= 600 else 4.9) * rng.lognormal(0, 0.2)),
                    status="completed", success=True,
                )
                for number in range(900)
            ],
        )  # fmt: skip
    engine.dispose()
    history = perfdb.History(url)
    for by, options in (("last", {"since": begun}), ("day", {}), ("week", {}), ("week", {"since": begun})):
        frame = history.trends(by=by, **options)  # type: ignore[arg-type]
        newest = frame.iloc[-1]
        assert newest["effect"] == pytest.approx(73, abs=12), by
        assert newest["since_time"] == pytest.approx(begun + 60 * 86_400, abs=3 * 86_400), by
    assert history.trends(by="last", since=begun)["n"].tolist() == [900], "a window is not cut"
    assert history.trends()["n"].tolist() == [200]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (None, None, ("etl-1", "etl-3")),  # the newest of all, and the one before of its pipeline and mode
        (None, "etl-1", ("etl-0", "etl-1")),
        ("etl-0", None, ("etl-0", "etl-3")),
        ("web-1", None, ("web-0", "web-1")),  # it is the newest itself: beside the one before
        (None, "fast-0", "before fast-0"),
        ("web-0", "etl-3", ("web-0", "etl-3")),  # what is named is taken as it is
    ],
)
def test_a_usual_pair_is_of_one_pipeline_and_mode(
    history: perfdb.History, a: str | None, b: str | None, expected: tuple[str, str] | str
) -> None:
    names = ["etl-0", "web-0", "etl-1", "web-1", "fast-0", "etl-3"]
    modes = {"fast-0": '{"fast_mode":true,"x":1}'}
    found = (one(name, NOON * 1.01 + at, mode=modes.get(name, "{}")) for at, name in enumerate(names))
    add(history, *found)
    if isinstance(expected, str):
        with pytest.raises(perfdb.UsageError, match=expected):
            history.usual_pair(a, b)
    else:
        assert history.usual_pair(a, b) == expected


def test_one_customers_regression_is_found_by_the_attribute_that_splits_the_series(
    history: perfdb.History,
) -> None:
    rng = np.random.default_rng(3)
    customers = ["acme", "umbrella", "initech", "hooli"]
    runs = []
    for number, noise in enumerate(rng.lognormal(0.0, 0.05, size=240)):
        name, start = customers[number % 4], NOON * 1.01 + 60.0 * number
        seconds = float(noise) * (1.7 if name == "acme" and number >= 120 else 1.0)
        runs.append(one(f"c-{number}", start, seconds=seconds, customer=name, odd=number))
    add(history, *runs)
    mixed = history.regressions(pipeline="c", fast_mode=False)
    (split,) = rows_of(history.differs_by(pipeline="c"))
    assert (split["attribute"], split["value"]) == ("customer", "acme")
    assert split["effect"] == pytest.approx(70, abs=15)
    (row,) = rows_of(mixed[mixed["attribute"].notna()])
    assert (row["attribute"], row["attribute_value"]) == ("customer", "acme")
    assert row["since_session_id"] == split["since_session_id"]
    assert row["cause"].startswith("only with customer = acme")
    by = history.regressions(by="customer", pipeline="c")
    assert set(by["value"]) == {"acme"}
    assert by["since_session_id"].tolist() == [split["since_session_id"]]
    assert by["effect"].tolist() == [pytest.approx(split["effect"])]
    assert list(by.columns) == ["value", *mixed.columns]
    assert history.differs_by(pipeline="c", attribute={"customer": "acme"}).empty  # it does not differ within
    assert history.regressions(by="customer", pipeline="c", since=NOON * 2).empty
    with pytest.raises(perfdb.UsageError, match="more than 50 values"):
        history.regressions(by="odd")
    with pytest.raises(perfdb.UsageError, match="'colour'"):
        history.regressions(by="colour")


def one(name: str, start: float, *, seconds: float = 1.0, mode: str = "{}", **attributes: Any) -> Session:
    return Session(
        session_id=name, pipeline=name.partition("-")[0].replace("fast", "etl"), start_time=start,
        total_duration=seconds, status="completed", success=True, mode=mode, fast_mode=False,
        attributes=attributes,
    )  # fmt: skip


def add(history: perfdb.History, *sessions: Session) -> None:
    engine = open_engine(history.url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, list(sessions))
    engine.dispose()


@pytest.mark.parametrize("is_rolled_up", [True, False])
@pytest.mark.parametrize("by", ["all", "day", "week"])
def test_a_whole_history_with_a_sample_says_so(history: perfdb.History, by: Any, is_rolled_up: bool) -> None:
    """One of its sessions stands for twenty, another for nobody else."""
    shares = [{"sampled": 1.0}, {"sampled": 0.05}, {"sampled": "0.01"}, {"sampling_probability": 0.5}]
    made = [make_session(90_000 + n, {"load": 1.0}, pipeline="web") for n in range(4)]
    add(history, *(replace(each, attributes=share) for each, share in zip(made, shares, strict=True)))
    if is_rolled_up:
        with Database(history.url) as database:
            assert list(roll_up(database, until=made[-1].start_time + 2 * DAY_S))
    with limited() as notes:
        history.trends(by=by)
    said = "Sessions stand for a sample, of 5 % at least: counts and shares are of what was kept."
    assert notes == [said]
    with limited() as notes:
        history.trends(by=by, pipeline="design")
    assert notes == []


@pytest.mark.parametrize("by", ["all", "day", "week"])
def test_daily_figures_answer_as_the_runs_do(
    history: perfdb.History, monkeypatch: pytest.MonkeyPatch, by: Any
) -> None:
    """Days that are rolled up and one that is not; percentiles within half a percent, the rest the same."""
    exact = history.trends(by=by)
    with Database(history.url) as database:
        list(roll_up(database, until=NOON + 7 * DAY_S))
    monkeypatch.setattr("perfdb.store.statistics.EXACT_RUNS", -1)
    with limited() as notes:
        found = history.trends(by=by)
    assert notes == [found.attrs["note"]]
    assert "0.5 %" in notes[0]
    whole = ["pipeline", "step_name", "mode", "period", "n", "failures"]
    pd.testing.assert_frame_equal(found[whole], exact[whole])
    pd.testing.assert_series_equal(found["mean"], exact["mean"])
    percentiles = ["p50", "p90", "p95", "p99"]
    pd.testing.assert_frame_equal(found[percentiles], exact[percentiles], rtol=0.005)
    assert len(history.trends(by=by, step="load")) == (exact["step_name"] == "load").sum()


def test_the_slope_of_a_step_is_over_the_moments_of_its_sessions(tmp_path: Path) -> None:
    """As in the series that pages read: the step itself begins when those before it have ended."""
    made = [make_session(n, {"load": 1.0 + n**2, "work": 2.0 + n}, every_s=9_000.0) for n in range(40)]
    history = make_history(tmp_path, made)
    found = history.trends(step="work").iloc[0]
    one = trend(ServedHistory(history, limit_s=60.0), TrendQuery.model_validate({"step": "work"}))
    assert found["slope_percent_per_day"] == one.slope_percent_per_day
    assert found["p_value"] == one.p_value


@pytest.mark.parametrize("by", ["day", "week"])
def test_a_step_over_midnight_is_of_one_day_by_the_index_and_by_the_rows(tmp_path: Path, by: Any) -> None:
    start = 1_767_571_140.0  # a minute before the end of a Sunday
    made = [make_session(day, {"load": 90.0, "work": 30.0}, start=start, every_s=DAY_S) for day in range(20)]
    history = make_history(tmp_path, made)
    whole = ["step_name", "period", "n", "p50"]
    by_index, by_rows = history.trends(by=by), history.trends(by=by, status="completed")
    pd.testing.assert_frame_equal(by_rows[whole], by_index[whole])


def test_what_the_runs_of_a_long_past_do_not_show_is_no_move() -> None:
    def part(first: int, level: float) -> Series:  # the wave of the day is larger than the move
        values = [level * (1 + 0.5 * math.sin(number / 23)) for number in range(first, first + 1_000)]
        starts = [NOON + 600.0 * number for number in range(first, first + 1_000)]
        return Series("p", None, "{}", "duration", list(map(str, starts)), starts, values)

    later = part(2_000, 1.0).between(0, 0)
    assert find_move(part(0, 1.0), part(1_000, 1.06), later, lasts=True) is None
    assert find_move(part(0, 1.0), part(1_000, 1.6), later, lasts=True) is not None


def test_moves_of_a_long_history_are_found_by_its_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, by daily figures, as from all runs; two moves at a day's first run, and runs that fail or
    repeat a step."""
    rng = np.random.default_rng(3)
    sessions = []
    for number, noise in enumerate(rng.lognormal(0, 0.05, 360).tolist()):
        level = 1.0 if number < 123 else 1.5 if number < 243 else 2.5
        steps = [Step(step_name=name, start_time=0.0, duration=level * noise, success=True, seq=seq)
                 for seq, name in enumerate(("load", "load"))]  # fmt: skip
        made = make_session(
            number, steps, every_s=DAY_S / 6, status="failed" if number % 50 == 9 else "completed"
        )
        placed = [replace(step, start_time=made.start_time) for step in steps]
        sessions.append(replace(made, steps=tuple(placed), total_duration=level * noise + 1))
    history = make_history(f"sqlite:///{tmp_path}/long.sqlite3", sessions)
    with Database(history.url) as database:
        list(roll_up(database, until=NOON + 1_000 * DAY_S))
    monkeypatch.setattr("perfdb.analysis.trend_view.MOST_RUNS", 100)
    by_runs = history.regressions()
    monkeypatch.setattr("perfdb.store.statistics.EXACT_RUNS", -1)
    by_days = history.regressions()
    assert len(by_days) == 4
    for name in ("step_name", "since_session_id", "event_session_id", "lasts", "before_n", "after_n"):
        assert by_days[name].tolist() == by_runs[name].tolist(), name
    assert by_days["effect"].tolist() == pytest.approx(by_runs["effect"].tolist())
    assert len(history.regressions(step="load")) == 2
    assert history.regressions(better=True).empty


def test_a_move_of_a_long_history_is_at_its_run_beside_the_wave_of_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By daily figures: the move is two hours into a day, and the day before was a little slow already."""
    rng = np.random.default_rng(3)
    hours, moved = 24 * 40, 24 * 25 + 14  # made sessions begin at noon
    sessions = []
    for number, noise in enumerate(rng.lognormal(0, 0.1, hours).tolist()):
        wave = 1 + 0.35 * math.sin((number + 4) / 24 * 2 * math.pi)
        level = 1.25 if number >= moved else 1.05 if number >= moved - 26 else 1.0
        value = level * wave * noise
        made = make_session(number, [], every_s=3_600.0)
        sessions.append(replace(made, total_duration=value))
    history = make_history(f"sqlite:///{tmp_path}/long.sqlite3", sessions)
    with Database(history.url) as database:
        list(roll_up(database, until=NOON + 1_000 * DAY_S))
    monkeypatch.setattr("perfdb.analysis.trend_view.MOST_RUNS", 100)
    monkeypatch.setattr("perfdb.store.statistics.EXACT_RUNS", -1)
    (move,) = history.regressions().to_dict("records")
    places = {session.session_id: number for number, session in enumerate(sessions)}
    assert abs(places[move["since_session_id"]] - moved) <= 2
    assert (move["before_n"] + move["after_n"], bool(move["lasts"])) == (hours, True)
    assert move["effect"] == pytest.approx(25, abs=4)
    assert history.regressions(better=True).empty
