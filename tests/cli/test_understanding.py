"""The verbs that say what is slow and why: what a person sees, and what a program gets.

Of: cli/alerts.py, cli/bottlenecks.py, cli/common.py, cli/compare.py, cli/explain.py, cli/failures.py,
cli/thresholds.py, cli/trends.py, cli/violations.py.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfdb.alerts.config import read_alert_settings
from perfdb.alerts.evaluation import after_session
from perfdb.cli.measures import MOST
from perfdb.history.history import History
from perfdb.recording.report import to_report, write_report
from perfdb.records import Session, Step
from perfdb.testing import make_history, make_session
from tests.commands import copied_once
from tests.once import Run

Perfdb = Callable[..., Any]
NOON = 1_767_268_800.0
VERBS = (
    ("bottlenecks",),
    ("trends",),
    ("explain",),
    ("compare",),
    ("compare", "--by", "model"),
    ("failures",),
    ("violations",),
    ("thresholds", "suggest"),
)


@pytest.fixture
def history(perfdb: Perfdb, folder: Path, run_of_tests: Run) -> None:
    """Twenty-four normal sessions an hour apart; the last one has a slow search, and another model began."""
    copied_once(run_of_tests, folder, "twenty-four sessions", lambda: _record(perfdb, Path.cwd()))


def _record(perfdb: Perfdb, folder: Path) -> None:
    for number in range(24):
        search = 1.0 + number / 100 if number < 23 else 4.0
        start = NOON + 3600 * number
        steps = (
            Step(step_name="Vision Analysis", start_time=start, duration=2.0, success=True, seq=0),
            Step(step_name="Product Search", start_time=start + 2, duration=search, success=True, seq=1),
        )
        session = Session(
            session_id=f"20260101_1200{number:02d}_00000000",
            pipeline="design",
            start_time=start,
            total_duration=2.5 + search,
            status="completed",
            success=True,
            fast_mode=False,
            mode='{"fast_mode":false}',
            attributes={"model": "new" if number % 2 else "old"},
            steps=steps,
        )
        write_report(to_report(session), folder / "reports")
    assert perfdb("import", "reports").code == 0


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_an_empty_history_says_what_to_do_next(perfdb: Perfdb, verb: tuple[str, ...]) -> None:
    answer = perfdb(*verb)
    assert answer.out == ""
    assert "perfdb demo" in answer.err or "thresholds suggest" in answer.err
    assert answer.code == (2 if verb[0] in ("explain", "compare") else 0)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_speaks_json_and_csv(perfdb: Perfdb, history: None, verb: tuple[str, ...]) -> None:
    assert isinstance(perfdb(*verb, "--json").rows, list)
    rows = list(csv.reader(io.StringIO(perfdb(*verb, "--csv").out)))
    assert "step_name" in rows[0]
    assert all(len(row) == len(rows[0]) for row in rows)


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS if verb not in (("explain",), ("compare",))], ids=" ".join
)
def test_filters_that_nothing_fits(perfdb: Perfdb, history: None, verb: tuple[str, ...]) -> None:
    answer = perfdb(*verb, "--since", "2200-01-01")
    assert answer.out == ""
    assert answer.err.count("\n") >= 2, "the database, and a sentence"
    assert answer.code == (2 if verb[0] == "compare" else 0)
    nobody = perfdb(*verb, "--pipeline", "another")
    assert (nobody.code, nobody.out) == (2, "")
    assert "is called 'another'" in nobody.err


@pytest.mark.parametrize(
    "command",
    [
        "compare --split 2026-01-02T00:00",
        "compare --by model",
        "common --slowest 25",
        "hits 2026-01-02T00:00",
        "alerts",
        "alerts explain change_point",
    ],
)
def test_an_answer_fits_a_terminal_of_80_columns(command: str, folder: Path) -> None:
    """Tables give up columns, which is said once of each, and sentences are wrapped."""
    name = "Write the quarantine table for records that no customer could be found for"
    facts = [
        {"model": f"a-model-of-a-long-name-{place % 2}", "customer": f"c{place % 3}"} for place in range(40)
    ]
    runs = [
        replace(
            make_session(place, {name: 1.1 + place / 50, "load": 0.012}, pipeline="etl", every_s=3600),
            attributes=each,
            mode='{"fast_mode":false}',
        )
        for place, each in enumerate(facts)
    ]
    make_history("performance_tracking", runs)
    ours, theirs = pty.openpty()
    wide = os.environ | {"COLUMNS": "80", "TERM": "xterm", "PAGER": "cat"}
    program = [sys.executable, "-c", "from perfdb.cli import main; main()", *command.split()]
    with subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, env=wide) as running:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # EIO: nobody writes any more
            while piece := os.read(ours, 1 << 16):
                said += piece
    os.close(ours)
    text = re.sub("\x1b\\[[0-9;]*m", "", said.decode()).replace("\r", "")
    assert running.returncode == 0, text
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert all(text.count(title) == 1 for title in re.findall("A wider terminal shows as well: .*", text))


def test_bottlenecks_rank_the_steps(perfdb: Perfdb, history: None) -> None:
    headline, _, *lines = perfdb("bottlenecks").out.splitlines()
    assert headline.startswith("design, normal mode: Vision Analysis takes 2.00 s of ")
    assert [line.split("  ")[0] for line in lines] == ["Vision Analysis", "Product Search", "Other"]
    rows = perfdb("bottlenecks", "--json").rows
    assert sum(row["share_percent"] for row in rows) == pytest.approx(100)
    assert rows[2]["gain_x2_s"] is None


def test_a_trend_and_its_alert_tell_a_move_once() -> None:
    from perfdb.cli.trends import _trend

    row = {"since_time": NOON, "effect": 113.0, "drift_percent": None, "p_value": 1e-9}
    alert = {"id": 2, "effect": 118.0, "since_time": NOON, "inhibited_by": None}
    words = [
        _trend(row, alert | changes, "UTC", wide=False)
        for changes in ({}, {"effect": -20.0}, {"since_time": NOON + 9e4}, {"id": 3, "inhibited_by": 2})
    ]
    since = "+113 % since 01 Jan; alert"
    assert [each.removeprefix(since) for each in words] == [" 2", " 2: -20 %", " 2: +118 %", " 3 (with 2)"]
    assert _trend(row | {"since_time": None}, alert, "UTC", wide=False) == "alert 2: +118 %"


def test_trends_show_percentiles_that_have_their_runs(perfdb: Perfdb, history: None) -> None:
    out = perfdb("trends").out
    assert "p95" in out
    assert "p99" not in out
    search = next(line for line in out.splitlines() if line.startswith("Product Search"))
    assert "% a session (p " in search
    rows = perfdb("trends", "--by", "day", "--step", "Product Search", "--json").rows
    assert [row["period"] for row in rows] == ["2026-01-01", "2026-01-02"]
    assert sum(row["n"] for row in rows) == 24
    filtered = perfdb(
        "trends", "--by", "day", "--step", "Product Search", "--since", "2025-01-01", "--json"
    ).rows
    assert filtered == [pytest.approx(row) for row in rows], "indexes and frames give the same"


def test_explain_says_it_in_a_sentence_first(perfdb: Perfdb, history: None) -> None:
    out = perfdb("explain").out.splitlines()
    assert out[0].startswith("Session 20260101_120023_00000000 took 6.50 s, 2.89 s longer than usual")
    (row,) = perfdb("explain", "--json").rows
    assert sum(step["excess_s"] for step in row["steps"]) == pytest.approx(row["excess_s"])
    assert row["steps"][0]["step_name"] == "Product Search"
    assert row["n"] == 23


def test_compare_takes_the_last_two_sessions_or_two_groups(perfdb: Perfdb, history: None) -> None:
    (row,) = perfdb("compare", "--json").rows
    assert (row["a"][:15], row["b"][:15]) == ("20260101_120022", "20260101_120023")
    (row,) = perfdb("compare", "--by", "model", "--json").rows
    assert (row["a"], row["b"], row["by"]) == ("old", "new", "model")
    assert perfdb("compare", "new", "old", "--by", "model", "--json").rows[0]["a"] == "new"
    assert "no filter" in perfdb("compare", "--pipeline", "design").err
    wrong = perfdb("compare", "--by", "region")
    assert (wrong.code, wrong.out) == (2, "")
    assert "has the attribute 'region'" in wrong.err


def test_thresholds_are_written_on_request_and_then_hold(perfdb: Perfdb, history: None, folder: Path) -> None:
    (folder / "perfdb.toml").write_text("# mine\nmonitor = false")
    assert "no run" in perfdb("thresholds", "suggest").out
    assert (folder / "perfdb.toml").read_text() == "# mine\nmonitor = false"
    answer = perfdb("thresholds", "suggest", "--write")
    assert "Wrote 3 rules to perfdb.toml" in answer.err
    written = (folder / "perfdb.toml").read_text()
    assert written.startswith("# mine\nmonitor = false\n\n[[alerts.rules]]")
    assert 'step = "Product Search"\n' in written
    assert "mode = { fast_mode = false }" in written
    assert "Kept as they were" in perfdb("thresholds", "suggest", "--write").err
    assert (folder / "perfdb.toml").read_text() == written
    rows = perfdb("violations", "--json").rows
    assert [row["rule"] for row in rows] == ["product-search-slow", "design-total-slow"]
    assert {row["session_id"] for row in rows} == {"20260101_120023_00000000"}
    assert "+" in perfdb("violations").out.splitlines()[1]


def test_a_settings_file_that_cannot_take_rules_is_left_as_it_was(
    perfdb: Perfdb, history: None, folder: Path
) -> None:
    before = "[alerts]\nrules = []\n"
    (folder / "perfdb.toml").write_text(before)
    answer = perfdb("thresholds", "suggest", "--write")
    assert answer.code == 2
    assert "perfdb.toml" in answer.err
    assert (folder / "perfdb.toml").read_text() == before


def test_what_the_settings_say_of_a_measure_holds_in_every_answer(perfdb: Perfdb, folder: Path) -> None:
    (folder / "perfdb.toml").write_text(
        '[measures.score]\nunit = "points"\nlabel = "quality"\nbetter = "higher"\ntotal = "last"\n'
        '[[alerts.rules]]\nname = "bad"\nkind = "min"\nmetric = "score"\nlimit = 40\n'
    )
    for number in range(8):
        start, score = NOON + number, 70.0 if number < 5 else 30.0
        steps = tuple(
            Step(
                step_name=name, start_time=start, duration=0.1, success=True, seq=seq,
                additional_data={"score": score + seq},
            )
            for seq, name in enumerate(("ask", "rate"))
        )  # fmt: skip
        session = Session(
            session_id=f"run-{number}", pipeline="bot", start_time=start, steps=steps, total_duration=0.5,
            status="completed", success=True,
        )  # fmt: skip
        write_report(to_report(session), folder / "reports")
    assert perfdb("import", "reports").code == 0
    assert "rate has the most quality" in perfdb("bottlenecks", "--measure", "score").out
    violations = perfdb("violations", "--measure", "score").out
    assert "31 points" in violations
    assert "40 points" in violations
    history = History()
    with history._writing() as connection:
        after_session(connection, "run-7", read_alert_settings(history.settings.alerts), NOON + 8)
    (found,) = history.alerts(state="all").to_dict("records")
    assert history.explain_alert(found["id"]).values[-1] == 31.0, "the last step's, no sum"
    story = perfdb("alerts", "explain", str(found["id"])).out
    for said in (found["message"], story):
        assert "quality of bot (total) is at 31 points, under the limit of 40 points" in said
        assert "(figures in points)" in said
    assert "40 points" in perfdb("rules").out
    assert "quality of bot" in perfdb("alerts").out


def test_a_limit_is_shown_beside_the_worst_run(perfdb: Perfdb, folder: Path) -> None:
    (folder / "perfdb.toml").write_text('[measures.score]\nbetter = "higher"\n')
    for number in range(20):
        start, told = NOON + number, {"score": 80.0 + number % 3, "rows": 5 + number % 2}
        step = Step(step_name="rate", start_time=start, duration=0.1, success=True, additional_data=told)
        session = Session(
            session_id=f"run-{number}", pipeline="bot", start_time=start, steps=(step,), total_duration=0.5,
            status="completed", success=True,
        )  # fmt: skip
        write_report(to_report(session), folder / "reports")
    assert perfdb("import", "reports").code == 0
    shown = {
        measure: perfdb("thresholds", "suggest", "--measure", measure, "--step", "rate", "--write").out
        for measure in ("duration", "rows", "score")
    }
    for measure, worst in (("duration", "slowest"), ("rows", "highest"), ("score", "lowest")):
        assert worst in shown[measure]
    assert shown["score"].splitlines()[-1].split()[4] == "80"
    assert "p50 81, lowest 80\n" in (folder / "perfdb.toml").read_text()


def test_names_are_printed_inert(perfdb: Perfdb, folder: Path) -> None:
    hostile = "load\x1b[2J"
    for number in range(24):
        step = Step(step_name=hostile, start_time=NOON + number, duration=1.0 + number, success=True)
        session = Session(
            session_id=f"run-{number}", pipeline=hostile, start_time=NOON + number, steps=(step,),
            total_duration=1.0 + number, status="completed", success=True, attributes={"x": number % 2},
        )  # fmt: skip
        write_report(to_report(session), folder / "reports")
    assert perfdb("import", "reports").code == 0
    for verb in (*VERBS, ("compare", "--by", "x")):
        answer = perfdb(*verb)
        assert "\x1b" not in answer.out + answer.err


def test_failures_count_what_differs_only_in_an_id_as_one(perfdb: Perfdb, folder: Path) -> None:
    for number in range(3):
        step = Step(
            step_name="call",
            start_time=NOON + number,
            duration=1.0,
            success=False,
            error_message=f"CancelledError: Cancelled via cancel scope 7f5e1c2b3a4{number}",
            interrupted=number < 2,
        )
        session = Session(
            session_id=f"s{number}",
            pipeline="served",
            start_time=NOON + number,
            total_duration=1.0,
            status="completed",
            success=True,
            steps=(step,),
        )
        write_report(to_report(session), folder / "reports")
    assert perfdb("import", "reports").code == 0
    rows = perfdb("failures", "--json").rows
    reason = "CancelledError: Cancelled via cancel scope …"
    assert [(row["status"], row["n"], row["reason"]) for row in rows] == [
        ("failed", 1, reason),
        ("interrupted", 2, reason),
    ]
    assert rows[1]["last_message"].endswith("7f5e1c2b3a41")
    said = perfdb("failures", "--step", "call").out
    assert said.startswith("served\n")
    assert " call  " in said
    answer = perfdb("failures", "--step", "other")
    assert (answer.code, "no step in" in answer.err) == (2, True)


@pytest.fixture
def many(perfdb: Perfdb, folder: Path) -> None:
    """2,100 sessions, one a minute; the first hundred ran on another commit, one in a hundred failed."""
    sessions = []
    for number in range(2_100):
        status = "failed" if number % 100 == 99 else "completed"
        commit = "aaaa" if number < 100 else "bbbb"
        step = Step(step_name="load", start_time=NOON, duration=1.0, success=True, seq=0)
        made = make_session(number, [step] if number >= 1_990 else [], every_s=60.0, status=status)
        sessions.append(replace(made, total_duration=1.0 + number % 7, attributes={"build": commit}))
    make_history(f"sqlite:///{folder}/performance_tracking/perfdb.sqlite3", sessions)


def test_a_verb_says_of_how_many_of_the_newest_sessions_it_is(perfdb: Perfdb, many: None) -> None:
    for verb, words in {
        ("failures",): "Of the newest 1,000 sessions;",
        ("measures",): "Of the newest 1,000 sessions;",
        ("thresholds", "suggest"): "Of the newest 1,000 sessions;",
        ("common",): "Of the newest 2,000 sessions;",
        ("bottlenecks",): "Of the newest 100 sessions of each pipeline;",
    }.items():
        assert words in perfdb(*verb).err, verb
        assert words not in perfdb(*verb, "--last", "50").err, verb
    assert "newest 2,000 of 2,100 sessions of this window" in perfdb("common", "--since", "2026-01-01").err


@pytest.mark.parametrize("by", ["last", "day"])
@pytest.mark.parametrize("since", [(), ("--since", "2026-01-01")])
def test_a_zone_that_is_none_is_named(perfdb: Perfdb, many: None, by: str, since: tuple[str, ...]) -> None:
    found = perfdb("trends", "--by", by, *since, "--zone", "Mars/Phobos")
    assert (found.code, found.out) == (2, "")
    assert "'Mars/Phobos' is not a time zone: say UTC, local or a name as Europe/Berlin" in found.err


def test_figures_of_a_sample_say_that_they_are(perfdb: Perfdb, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sampled.sqlite3"
    kept = [{"sampled": 0.05}, {"sampled": 1.0}, {"sampling_probability": 0.125}, {}, {"sampled": "0.5"}]
    made = [make_session(n, {"load": 1.0}, status="failed" if n % 2 else "completed") for n in range(20)]
    make_history(url, [replace(each, attributes=kept[n % 5]) for n, each in enumerate(made)])
    for verb in ("trends", "failures", "bottlenecks", "measures"):
        found = perfdb(verb, "-d", url)
        assert "8 sessions stand for a sample of 5 % to 12.5 %: counts and shares are of" in found.err, verb
    whole = f"sqlite:///{tmp_path}/whole.sqlite3"
    make_history(whole, made)
    for by in ("last", "day", "week", "all"):
        assert "stand for" not in perfdb("trends", "--by", by, "-d", whole).err


def test_thousands_of_measures_are_listed_in_part(perfdb: Perfdb, folder: Path) -> None:
    numbers = {f"m{number}": number for number in range(MOST + 100)}
    write_report(to_report(replace(make_session(), attributes=numbers)), folder / "reports")
    assert perfdb("import", "reports").code == 0
    answer = perfdb("measures")
    assert f"The first {MOST:,} of 2,10" in answer.err
    assert answer.out.count("\n") < MOST + 10
    assert perfdb("measures", "--csv").out.count("\n") > MOST + 100


def test_of_each_measure_the_steps_with_most_are_listed(perfdb: Perfdb, folder: Path) -> None:
    steps = {f"step {number}": 1.0 + number for number in range(8)}
    url = f"sqlite:///{folder}/performance_tracking/perfdb.sqlite3"
    make_history(url, [make_session(1, steps)])
    answer = perfdb("measures")
    durations = [line for line in answer.out.splitlines() if line.startswith("duration ")]
    named = [re.search(r"Total|step \d", line) for line in durations]
    assert [each and each[0] for each in named] == ["Total", "step 7", "step 6", "step 5"]
    assert "the total and the 3 steps with most" in answer.err
    assert "step 0" in perfdb("measures", "--measure", "duration").out
    assert "step 0" in perfdb("measures", "--sort", "median").out


def test_groups_and_periods_are_sought_where_they_are(perfdb: Perfdb, many: None) -> None:
    """The newest thousand sessions are all on one side, and all of one value."""
    (found,) = perfdb("compare", "--split", str(NOON + 100 * 60), "--json").rows
    assert (found["steps"][0]["a_n"], found["steps"][0]["b_n"]) == (99, 891)
    answer = perfdb("compare", "--by", "build")
    assert answer.code == 2
    assert 'all sessions that were looked at have build = "bbbb"' in answer.err
