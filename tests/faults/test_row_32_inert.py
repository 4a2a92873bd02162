"""Row 32: what was recorded is shown, never obeyed: by a browser, a terminal, a spreadsheet, a database."""

from __future__ import annotations

import csv
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import perfdb
from perfdb.cli import main
from perfdb.cli.render import Column, print_table
from perfdb.text import inert, one_line

EVIL = "<script>alert(1)</script>\x1b[31mred\u202egnp.exe\r\n=fake line"
FORMULAS = [
    "=1+1", "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", " =1", "\uff1d1", "\n=1",
    'load;=1+1;"', "load\t+1", "load\n-1", "load;  @SUM(1)", "load\r\n\uff1d1",
    'load;"=1+1;"', "load;     =1", "\u200b=1", "\ufeff+1", "\u2060@SUM(1)", "\xad=1", "load;\u200b=1",
    "\u1680=1",
]  # fmt: skip
UNSEEN = " \u1680\t\r\n\u200b\ufeff\u2060\xad"  # some programs leave them out
INJECTIONS = [
    "' OR 1=1 --",
    "'; DROP TABLE steps; --",
    '" OR ""="',
    "%",
    "_",
    "\\",
    "x') OR ('1'='1",
    "$.a",
    'a"b',
]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Give a function that runs a command and returns its data."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        assert not re.search("[\x1b\u202e\x7f]", said.err)
        return said.out

    return run


class HostsError(Exception):
    """An error of the pipeline's own."""


def record(name: str) -> None:
    """Record a session that failed, with the name wherever one may stand."""
    tracker = perfdb.create_tracker("etl", console=False, monitor=False)
    tracker.start_pipeline(**{name: name})
    tracker.event(name, data=name)
    step = tracker.step(name, given=name).start()
    step.event(name)
    step.stop(error=HostsError(name))
    tracker.end_pipeline(success=False, error=name)


def test_no_screen_obeys_a_name(say: Callable[..., str], home: Path) -> None:
    record(EVIL)
    with perfdb.track("etl", fast_mode=True) as run, run.step(EVIL):
        pass
    for command in (
        "sessions", "steps", "show", "show --data", "show last~1 --data", "bottlenecks", "trends",
        "violations", "alerts", "rules",
    ):  # fmt: skip
        screen = say(*command.split())
        assert not re.search("[\x1b\u202e\x7f\r]", screen), command
        assert not any(line.lstrip().startswith("=fake line") for line in screen.splitlines()), command


def test_no_title_of_a_table_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column(EVIL), Column(f"::{EVIL}", right=True)], [("a", "b")])
    screen = capsys.readouterr().out
    assert "red" in screen
    assert not re.search("[\x1b\u202e\x7f\r]", screen)
    assert len(screen.splitlines()) == 2


def test_no_screen_obeys_a_file_of_others(
    say: Callable[..., str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_CONFIG", str(tmp_path / "rules.toml"))
    (tmp_path / "rules.toml").write_text('[[alerts.rules]]\nname = "r"\nkind = "max"\nlimit = 1e-9\n')
    for _ in range(4):
        with perfdb.track("etl", console=False, monitor=False) as run, run.step("x"):
            pass
    record("x")
    evil = tmp_path / "evil.sqlite3"
    say("backup", str(evil))
    with closing(sqlite3.connect(evil)) as connection, connection:
        for table, column in (
            ("sessions", "session_id"), ("alerts", "last_session_id"), ("alerts", "since_session_id"),
            ("alerts", "message"), ("alert_events", "event"), ("alert_events", "session_id"),
        ):  # fmt: skip
            connection.execute(f'UPDATE "{table}" SET "{column}" = "{column}" || ?', (EVIL,))
    for command in (
        "sessions", "show", "explain last", "compare last last~1", "alerts", "alerts show 1",
        "alerts explain 1", "failures", "regressions",
    ):  # fmt: skip
        assert not re.search("[\x1b\u202e\x7f\r]", say(*command.split(), "-d", str(evil))), command
    with pytest.raises(SystemExit):
        main(["check", "--format", "github", "-d", str(evil)])


@pytest.mark.parametrize(
    "command", ["show", "config", "report -o x", "archive", "lake info", "nothing", "export -o x"]
)
def test_no_screen_obeys_an_argument(
    command: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A pattern of the shell hands over names of files that others made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFDB_HOME", "a\x1b]0;b")
    record("x")
    evil = EVIL.replace("/", "")
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), evil, evil])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert not re.search("[\x1b\u202e\x7f\r]", said.out + said.err)


def test_the_console_of_the_recording_obeys_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = perfdb.create_tracker("etl", console=True, monitor=False)
    tracker.start_pipeline()
    with pytest.raises(HostsError), tracker.step(EVIL):
        raise HostsError(EVIL)
    tracker.end_pipeline(success=False, error=EVIL)
    tracker.print_summary()
    said = capsys.readouterr().out
    assert "<script>" in said
    assert not re.search("[\x1b\u202e\x7f\r]", said)
    assert "\n=fake line" not in said


def test_no_element_of_a_page_comes_from_a_name(say: Callable[..., str], home: Path) -> None:
    record(EVIL)
    say("report", "-o", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    data = page.index('<script type="application/json"')
    assert re.findall(r"<script\b[^>]*>", page) == ['<script type="application/json" id="perfdb-sessions">']
    assert "<" not in page[data + 1 : page.index("</script>", data)].partition(">")[2]
    assert "\u202e" not in page[:data]
    assert "script-src" in page or "default-src 'none'" in page


@pytest.mark.parametrize("rows", ["sessions", "steps"])
def test_no_cell_of_csv_is_a_formula(rows: str, say: Callable[..., str]) -> None:
    for formula in FORMULAS:
        record(formula)
    say("export", "--format", "csv", "--rows", rows, "-o", "out.csv")
    with open("out.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(FORMULAS)
    for row in table:
        for column, cell in row.items():
            assert not cell.lstrip(UNSEEN).startswith(("=", "+", "@", "\uff1d")), (column, cell)
            assert not re.match(r"-[^\d.]|-[\d.]+[^\d.e+-]", cell), (column, cell)
            for part in re.split(r"[;\t\r\n]", cell)[1:]:  # cells and rows of their own to some spreadsheets
                assert not part.lstrip(UNSEEN + '"').startswith(("=", "+", "-", "@", "\uff1d")), (
                    column,
                    cell,
                )
    column = "error_message" if rows == "sessions" else "step_name"  # a step's error begins with its type
    assert any(row[column] == "'=1+1" for row in table)


def test_no_cell_of_alerts_is_a_formula(say: Callable[..., str]) -> None:
    rule = '[[alerts.rules]]\nname = "=1+1"\nkind = "max"\nstep = "*"\nlimit = 0.0\n'
    Path("perfdb.toml").write_text(f"wait_s = 20.0\n{rule}")
    with perfdb.track("etl") as run, run.step("=2+2"):
        pass
    (row,) = csv.DictReader(say("alerts", "--csv").splitlines())
    assert row["rule"] == "'=1+1"


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_filter_is_sql(text: str, recorded_url: str) -> None:
    with perfdb.track("etl", kind="plain") as run, run.step("load"):
        pass
    with perfdb.track(text, **{text: text, "kind": text}) as run, run.step(text):
        pass
    history = perfdb.History(recorded_url)
    assert len(history.sessions()) == 2
    for filters in (
        {"pipeline": text}, {"attribute": {text: text}}, {"attribute": {"kind": text}},
    ):  # fmt: skip
        assert list(history.sessions(**filters)["pipeline"]) == [text], filters
    assert list(history.steps(step=text)["step_name"]) == [text]
    for filters in ({"tag": text}, {"attribute": {text: "none"}}, {"attribute": {"none": text}}):
        assert history.sessions(**filters).empty, filters
    with pytest.raises(ValueError, match="status"):
        history.sessions(status=text)
    assert len(history.steps()) == 2


@pytest.mark.parametrize(
    "name",
    [
        "::add-mask::a",
        "  ::stop-commands::x",
        "##[command]x",
        "a ##vso[task.setvariable variable=PATH]/x",
        "##teamcity[x]",
    ],
)
def test_no_log_of_a_build_obeys_a_name(name: str) -> None:
    for shown in (inert(name), one_line(name), one_line(f"{name}\nsecond")):
        assert not shown.strip().startswith("::")
        assert "##" not in shown
    assert inert("std::vector") == "std::vector"
    assert inert("## heading") == "## heading"


@pytest.mark.parametrize("before", ["", "a " * 17, "x" * 59, "x" * 80, "x/" * 60, "x-" * 44])
def test_no_folded_line_begins_with_what_the_log_of_a_build_obeys(
    before: str, home: Path, say: Callable[..., str]
) -> None:
    words = f"{before}{'::set-output name=a::b ' * 12}".strip()
    for _ in range(12):
        with pytest.raises(HostsError), perfdb.track("etl", customer=words) as run, run.step(words):
            raise HostsError(words)
    for arguments in (("show", "last"), ("explain", "last"), ("failures",), ("alerts", "explain", "1")):
        lines = say(*arguments).splitlines()
        assert not [line for line in lines if re.match(r"\s*::[a-z-]+[ :]", line)], arguments
