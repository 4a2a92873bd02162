"""`perfdb chart` and `perfdb report`: every kind from a recorded history, else a clear answer.

Of: cli/report.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perfdb.history.charts import CHARTS


@pytest.mark.parametrize("kind", CHARTS)
def test_every_kind_of_chart_is_written(perfdb: Any, recorded: Any, folder: Path, kind: str) -> None:
    given = {
        "compare": ["20260100", "20260101"],
        "pareto": ["--by", "fast_mode", "--measure", "cpu_s"],  # of models, where there are any
    }.get(kind, [])
    answer = perfdb("chart", kind, *given, "-o", "chart.png")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.splitlines()[-1] == "Wrote chart.png"
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert CHARTS[kind].summary in perfdb("chart", "--help").out


@pytest.mark.parametrize("kind", CHARTS)
def test_what_a_chart_shows_is_printed_too(perfdb: Any, recorded: Any, folder: Path, kind: str) -> None:
    """The same runs, bars or points, as CSV and as JSON, and no picture beside them."""
    before = sorted(folder.rglob("*"))
    given = {"compare": ["20260100", "20260101"], "pareto": ["--by", "fast_mode", "--measure", "cpu_s"]}
    rows = perfdb("chart", kind, *given.get(kind, []), "--json").rows
    printed = perfdb("chart", kind, *given.get(kind, []), "--csv").out.splitlines()
    assert len(printed) == 1 + len(rows)
    assert kind in ("resources", "pareto") or printed[0].split(",") == list(rows[0])
    if kind == "trend":
        assert [(row["value"], row["failed"]) for row in rows] == [(4.0, False), (None, True)]
    elif kind == "steps":
        assert sum(row["value"] for row in rows) == pytest.approx(4.0), "the parts add up to the run"
    elif kind == "waterfall":
        assert {row["step_name"] for row in rows} == {"Vision Analysis", "Product Search"}
        assert sum(row["critical_s"] for row in rows) <= 6.0
    for flags in (["--json", "-o", "x.png"], ["--csv", "--format", "png"], ["--json", "--csv"], []):
        assert perfdb("chart", kind, *given.get(kind, []), *flags).code == 2
    new = [each for each in sorted(folder.rglob("*")) if each not in before and "sqlite3-" not in each.name]
    assert new == []


def test_a_chart_may_be_svg_and_of_one_step(perfdb: Any, recorded: Any, folder: Path) -> None:
    assert perfdb("chart", "trend", "--step", "Vision Analysis", "--by", "time", "-o", "x.SVG").code == 0
    assert b"<svg" in (folder / "x.SVG").read_bytes()


def test_groups_are_compared_by_an_attribute(perfdb: Any, recorded: Any, folder: Path) -> None:
    assert perfdb("chart", "compare", "--by", "fast_mode", "-o", "c.png").code == 0
    answer = perfdb("chart", "compare", "--by", "colour", "-o", "d.png")
    assert answer.code == 2
    assert "colour" in answer.err
    assert not (folder / "d.png").exists()


def test_a_chart_of_an_empty_history_says_so_in_the_picture(perfdb: Any, folder: Path) -> None:
    assert perfdb("chart", "trend", "-o", "empty.png").code == 0
    assert (folder / "empty.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("chart", "trend", "-o", "x.gif"), "must end with .png or .svg"),
        (("chart", "pie", "-o", "x.png"), "'pie' is not one of"),
        (("chart", "trend", "20260100", "-o", "x.png"), "shows many sessions"),
        (("chart", "trend", "--by", "mood", "-o", "x.png"), "'session' or by 'time'"),
        (("chart", "compare", "last", "-o", "x.png"), "takes two sessions"),
        (("chart", "waterfall", "-o", "no/x.png"), "cannot be written"),
        (("report", "-o", "x.pdf"), "must end with .html"),
        (("report", "last", "--last", "2", "-o", "x.html"), "not both"),
        (("report", "nobody", "-o", "x.html"), "no session id begins with 'nobody'"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_nothing_is_left(
    perfdb: Any, recorded: Any, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = sorted(folder.rglob("*"))
    answer = perfdb(*arguments)
    assert answer.code == 2
    assert said in answer.err
    assert [
        path for path in sorted(folder.rglob("*")) if path not in before and "sqlite3-" not in path.name
    ] == []


def test_a_report_is_written_and_read_back(perfdb: Any, recorded: Any, folder: Path) -> None:
    assert perfdb("report", "-o", "one.html").code == 0
    assert perfdb("report", "--last", "3", "-o", "three.html").code == 0
    answer = perfdb("import", "one.html", "three.html", "-d", "sqlite:///other.sqlite3", "--json")
    assert [(row["added"], row["known"], row["error"]) for row in answer.rows] == [(1, 0, None), (2, 1, None)]
