"""`perfdb sessions`, `steps` and `show`: what a person sees, and what a program gets.

Of: cli/render.py, cli/show.py, cli/steps.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from perfdb.cli.render import Column, print_table
from perfdb.recording.report import to_report, write_report
from perfdb.records import Session, Step
from tests.commands import NOON, make_session


def test_an_empty_history_says_what_to_do_next(perfdb: Callable[..., Any], folder: Path) -> None:
    answer = perfdb("sessions")
    assert (answer.code, answer.out) == (0, "")
    assert "perfdb demo" in answer.err
    assert list(folder.iterdir()) == [], "reading makes no files"


def test_reading_says_which_database_it_read(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    assert "Read performance_tracking/perfdb.sqlite3\n" in perfdb("sessions").err


def test_sessions_come_newest_first(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    rows = perfdb("sessions", "--json").rows
    assert [row["session_id"] for row in rows] == [session.session_id for session in reversed(recorded)]
    assert (
        rows[0] | {"status": "failed", "error_message": "SerpAPI said no", "total_duration": 6.0} == rows[0]
    )
    assert rows[0]["attributes"] == {"model": "gpt-4o", "number": 2}


def test_the_table_of_sessions_shows_status_mode_and_error(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    title, failed, fast, normal = perfdb("sessions").out.splitlines()
    assert title.split() == ["session", "started", "pipeline", "duration", "note"]
    assert failed.startswith("✗ ")
    assert "SerpAPI said no" in failed
    assert "design (fast)" in fast
    assert "4.00 s" in normal
    assert "6 products" in normal


def test_more_sessions_than_shown_are_mentioned(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    answer = perfdb("sessions", "--last", "2")
    assert len(answer.out.splitlines()) == 3
    assert "there are more" in answer.err
    assert "there are more" not in perfdb("sessions", "--last", "3").err


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (["--fast-mode"], [1]),
        (["--normal-mode"], [2, 0]),
        (["--mode", '{ "fast_mode": true }'], [1]),
        (["--status", "failed"], [2]),
        (["--attribute", "number=1"], [1]),
        (["--attribute", "model=gpt-4o", "--attribute", "number=0"], [0]),
        (["--since", "1767268860"], [2, 1]),
        (["--until", "2026-01-01T12:01:00+00:00"], [0]),
        (["--pipeline", "design", "--status", "running"], []),
    ],
)
def test_filters(
    perfdb: Callable[..., Any], recorded: list[Session], filters: list[str], numbers: list[int]
) -> None:
    rows = perfdb("sessions", "--json", *filters).rows
    assert [row["attributes"]["number"] for row in rows] == numbers


def test_no_session_that_fits_is_an_answer(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    answer = perfdb("sessions", "--pipeline", "design", "--status", "running")
    assert answer.code == 0
    assert "No session matches" in answer.err
    answer = perfdb("sessions", "--pipeline", "another")
    assert answer.code == 2
    assert "is called 'another'; there are 'design'" in answer.err


@pytest.mark.parametrize("verb", ["bottlenecks", "regressions"])
def test_sessions_of_which_none_counts_are_said_to_be_there(
    perfdb: Callable[..., Any], recorded: list[Session], verb: str
) -> None:
    answer = perfdb(verb, "--status", "failed")
    assert answer.code == 0
    assert "No session matches" not in answer.err
    assert "permanently" not in answer.err


@pytest.mark.parametrize("mode", ["fast", "[1]", "[" * 100_000, "{"])
def test_a_mode_that_is_none_is_named(perfdb: Callable[..., Any], mode: str) -> None:
    answer = perfdb("sessions", "--mode", mode)
    assert answer.code == 2
    assert "is no mode" in answer.err
    assert '{"fast_mode":false}' in answer.err


def test_a_moment_that_is_none_is_named(perfdb: Callable[..., Any]) -> None:
    answer = perfdb("sessions", "--since", "yesterday-ish")
    assert answer.code == 2
    assert "'yesterday-ish'" in answer.err
    assert "7d" in answer.err


def test_steps_of_one_name(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    rows = perfdb("steps", "--step", "Vision Analysis", "--json").rows
    assert [row["duration"] for row in rows] == [4.0, 3.0, 2.0]
    assert {row["step_name"] for row in rows} == {"Vision Analysis"}


def test_steps_follow_the_order_of_their_session(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    names = [row["step_name"] for row in perfdb("steps", "--last", "2", "--json").rows]
    assert names == ["Vision Analysis", "Product Search"] * 2


def test_show_draws_the_last_session(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    answer = perfdb("show")
    assert answer.code == 0
    assert recorded[2].session_id in answer.out
    assert "SerpAPI said no" in answer.out
    assert "66.7 %" in answer.out
    assert "2 attempts, 500 ms waiting between them" in answer.out


def test_show_gives_the_report_as_json(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    (row,) = perfdb("show", "last~1", "--json").rows
    assert row["session_id"] == recorded[1].session_id
    assert [step["step_name"] for step in row["steps"]] == ["Vision Analysis", "Product Search"]
    assert row["steps"][1]["attempts"][1]["wait"] == 0.5


def test_an_id_may_be_cut_short_when_it_stays_clear(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    assert perfdb("show", "20260101", "--json").rows[0]["session_id"] == recorded[1].session_id
    ambiguous = perfdb("show", "2026")
    assert ambiguous.code == 2
    assert "20260100_120000_00000000" in ambiguous.err


@pytest.mark.parametrize("unknown", ["nothing-like-it", "last~9", "%"])
def test_an_unknown_id_is_one_line_and_exit_2(
    perfdb: Callable[..., Any], recorded: list[Session], unknown: str
) -> None:
    answer = perfdb("show", unknown)
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    assert answer.err.startswith("Read ")
    assert len(answer.err.splitlines()) == 2


def test_show_of_nothing_names_the_next_command(perfdb: Callable[..., Any]) -> None:
    answer = perfdb("show")
    assert answer.code == 2
    assert "perfdb demo" in answer.err


def test_a_missing_database_is_said_and_not_made(perfdb: Callable[..., Any], folder: Path) -> None:
    answer = perfdb("sessions", "--database", "gone.sqlite3")
    assert answer.code == 2
    assert "gone.sqlite3" in answer.err
    assert not (folder / "gone.sqlite3").exists()


def test_the_home_is_found_from_a_folder_below(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "notebooks").mkdir()
    monkeypatch.chdir(folder / "notebooks")
    assert len(perfdb("sessions", "--json").rows) == 3


def test_no_line_is_longer_than_the_screen(
    perfdb: Callable[..., Any], recorded: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in (["sessions"], ["steps"], ["show", "--data"]):
        assert max(map(len, perfdb(*command).out.splitlines())) <= 80, command


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_what_a_row_is_about_is_read_on_every_screen(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step in another is not taken for the outer one, and what has no space is left out, which is said."""
    monkeypatch.setenv("COLUMNS", str(columns))
    table = [Column("step", flexible=True, least=26)]
    table += [Column(f"figure {number}", right=True, optional=number > 3) for number in range(8)]
    names = ("Deduplicate", "Deduplicate › Fuzzy match", "Candidate generation of a kind › Fuzzy match")
    print_table(table, [(name, *["1.23 ms"] * 8) for name in names])
    printed = capsys.readouterr()
    title, *lines = printed.out.splitlines()
    assert max(map(len, [title, *lines])) <= columns
    assert ["Fuzzy match" in line for line in lines] == [False, True, True]
    left_out = [column.title for column in table[1:] if column.title not in title]
    assert all(title in printed.err for title in left_out)
    assert bool(left_out) == (columns < 120)


def test_the_mode_and_the_reason_are_read_at_80_columns(
    perfdb: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells two rows apart is not what a long name pushes off the screen."""
    monkeypatch.setenv("COLUMNS", "80")
    pipeline = "nightly-etl-customer-analytics-warehouse-eu-central"
    modes = ({"fast_mode": True}, {"fast_mode": False}, {"fast_mode": None, "on": "a"})
    for number, mode in enumerate([*modes] * 20):
        made = make_session(
            number, mode=json.dumps(mode, separators=(",", ":")), fast_mode=mode["fast_mode"],
            total_duration=2.0 if number >= 40 else 1.0, pipeline=pipeline,
            status="failed" if number < 9 else "completed", success=number >= 9,
            error_message="TimeoutError: deadline exceeded" if number < 9 else None, steps=(),
        )  # fmt: skip
        write_report(to_report(made), folder / "reports")
    perfdb("import", "reports")
    assert all("nightly-etl-cust" in line for line in perfdb("sessions").out.splitlines()[1:])
    for command in (["sessions"], ["alerts", "list", "--state", "all"]):
        lines = perfdb(*command).out.splitlines()[1:]
        assert max(map(len, lines)) <= 80
        for mode in ("fast)", "on=a)"):
            assert [line for line in lines if mode in line], (command, mode, lines)
    assert "TimeoutError: deadline" in perfdb("failures").out
    headlines = [line for line in perfdb("bottlenecks").out.splitlines() if line.startswith("nightly")]
    assert sorted(headlines) == [f"{pipeline}, {mode}:" for mode in ("fast mode", "normal mode", "on=a")]


def test_steps_are_indented_by_what_they_are_in(perfdb: Callable[..., Any], folder: Path) -> None:
    steps = [("outer", 0, None), ("inner", 1, 0), ("innermost", 2, 1), ("next", 3, None)]
    made = tuple(
        Step(step_name=name, start_time=NOON, duration=1.0, success=True, seq=seq, parent_seq=parent)
        for name, seq, parent in steps
    )
    write_report(to_report(make_session(1, steps=made)), folder / "reports")
    perfdb("import", "reports")
    lines = perfdb("steps").out.splitlines()[2:]
    indents = [re.split(r"\d\d:\d\d:\d\d  ", line)[1] for line in lines]
    assert [len(text) - len(text.lstrip()) for text in indents] == [0, 2, 4, 0]


def test_nothing_of_a_session_is_cut_above_its_waterfall(
    perfdb: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    message = "OperationalError: could not connect to " + "warehouse.example.com " * 5 + "(10.2.3.4)"
    made = make_session(
        1, host="worker-b.internal.example.com", git_commit="fa35e19212ab", python_version="3.11.7",
        cpu_s=0.2, rss_peak_bytes=8 * 10**8, status="failed", success=False,
        error_message=message, product_count=1,
    )  # fmt: skip
    write_report(to_report(made), folder / "reports")
    perfdb("import", "reports")
    shown = perfdb("show").out
    assert max(map(len, shown.splitlines())) <= 60
    for fact in (message, "worker-b.internal.example.com", "commit fa35e19212ab", "800 MB", "1 product "):
        assert fact in " ".join(f"{shown} ".split()) + " ", fact


def test_what_a_wider_terminal_shows_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = [Column("step"), Column("first", optional=True), Column("second", optional=True)]
    with click.Context(click.Command("bottlenecks")):
        for cell in ("x" * 40, "y" * 40, "z" * 50):
            print_table(table, [("load", "0", cell)])
    assert capsys.readouterr().err.splitlines() == ["A wider terminal shows as well: second"]
