"""What holds for every command that has an option, whatever it is: read from the tree of commands.

A hostile value is answered with a sentence and exit 2, a name that nothing has with what is near, a cell of
CSV is never a formula; nothing ends in a traceback or in 1, which means that something was found.

Of: cli/archive.py, cli/options.py, cli/regressions.py, cli/sorting.py.
"""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import click
import pytest

from perfdb.cli import cli
from perfdb.recording.report import to_report, write_report
from perfdb.records import ALERT_ROW, Session
from tests.commands import Perfdb, copied_once, make_session
from tests.once import Run

pytestmark = pytest.mark.long  # hundreds of cases

SERVED = {
    ("serve",),
    ("mcp",),
    ("watch",),
    ("demo",),
    ("design",),
}  # they go on, or record, when nothing is wrong


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def having(option: str) -> list[tuple[str, ...]]:
    """Return the commands that take an option."""
    return [
        path
        for path, command in commands()
        if any(option in each.opts for each in command.params if isinstance(each, click.Option))
    ]


TABLES = ("sessions", "bottlenecks", "trends", "failures", "violations", "thresholds", "compare")
REQUIRED = {
    "chart": ("trend", "-o", "x.svg"),
    "hits": ("1767270480",),
    "report": ("-o", "x.html"),
    "export": ("--format", "json"),
    "delete": ("last", "--yes"),
    "tag": ("last", "x"),
    "untag": ("last", "x"),
    "import": ("reports",),
    "backup": ("copy.sqlite3",),
    "restore": ("performance_tracking/perfdb.sqlite3",),
    "prune": ("--keep-last", "1000"),
    "compare": ("--by", "fast_mode"),
    "annotate": ("deploy 1.4",),
    "annotations remove": ("1",),
    "archive": ("lake",),
    "alerts ack": ("1",),
    "alerts expected": ("1",),
    "alerts false-alarm": ("1",),
    "alerts undo": ("1",),
    "alerts show": ("1",),
    "alerts silence": ("--pipeline", "design"),
    "alerts test": ("team",),
    "baseline unpin": ("--all",),
    "db copy": ("performance_tracking/perfdb.sqlite3", "other.sqlite3"),
}


def called(path: tuple[str, ...], *more: str) -> tuple[str, ...]:
    """Return the words that call a command with what it needs and more."""
    return (*path, *REQUIRED.get(" ".join(path), ()), *more)


def of(option: str, values: list[str]) -> list[object]:
    """Return every command that has the option, with every value."""
    return [
        pytest.param(path, option, value, id=f"{' '.join(path)} {option}={value[:20]}")
        for path in having(option)
        for value in values
    ]


NO_MOMENTS = ["9999-12-31", "0001-01-01", "soon", "", "1e999d", "nand", "\ud800"]
NO_PAIRS = ["k=[1]", "k={}", "k", "=1", "k=" + "[" * 20_000]
NO_DATABASES = [
    ".", "", "postgresql://h1:5432,h2:5432/db", "postgresql://h:abc/db", "postgresql://h/db?port=abc",
    "postgresql+asyncpg://h/db", "postgresql+psycopg2://h/db", "mysql://h/db", "sqlite://", "x://", "://",
    "postgresql://[::1/db", "nosuch.sqlite3", "reports",
]  # fmt: skip
NAMES = ["nosuch", "a\nb", "x" * 5_000, "\u202eabc", "=1+1"]


@pytest.mark.parametrize(
    ("path", "option", "value"),
    [
        *of("--since", NO_MOMENTS),
        *of("--until", NO_MOMENTS),
        *of("--attribute", NO_PAIRS),
        *of("--step", NAMES),
        *of("--pipeline", NAMES),
        *of("--tag", NAMES),
        *of("--rule", NAMES),
        *of("--last", ["0", "-1", "1.5", "x", ""]),
        *of("--for", NO_MOMENTS),
        *of("--older-than", NO_MOMENTS),
    ],
)
def test_what_cannot_be_meant_is_a_sentence_and_2(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...], option: str, value: str
) -> None:
    answer = perfdb(*called(path, option, value))
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    told = answer.err.splitlines()[-1]
    assert told.startswith(("perfdb: ", "Error: ")), answer.err
    assert len(told) < 800


@pytest.mark.parametrize(("path", "option", "value"), of("--database", NO_DATABASES))
def test_a_database_that_cannot_be_is_a_sentence_and_2(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...], option: str, value: str
) -> None:
    if path == ("doctor",):
        return  # that is what it finds
    if path == ("config",):
        return  # it opens none: see test_config.py
    if path in (("import",), ("db", "upgrade"), ("restore",)) and value == "nosuch.sqlite3":
        return  # they wait for it, or make it
    answer = perfdb(*called(path, option, value))
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    assert answer.err.splitlines()[-1].startswith(("perfdb: ", "Error: ")), answer.err


@pytest.mark.parametrize("path", [path for path in having("--last") if path not in SERVED], ids=" ".join)
@pytest.mark.parametrize("value", ["99999999999999999999", "1" + "0" * 400])
def test_more_than_there_can_be_is_everything(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...], value: str
) -> None:
    answer = perfdb(*called(path, "--last", value))
    assert "Traceback" not in answer.err
    assert answer.code in (0, 2)


@pytest.mark.parametrize("path", [path for path, each in commands() if any(
    isinstance(one, click.Argument) and isinstance(one.type, click.types.IntParamType) for one in each.params
)], ids=" ".join)  # fmt: skip
@pytest.mark.parametrize("number", ["0", "-1", str(1 << 63), "1" + "0" * 29, "x", "²"])
def test_a_number_of_nothing_is_a_sentence_and_2(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...], number: str
) -> None:
    answer = perfdb(*path, "--", number)
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("path", having("--step"), ids=" ".join)
def test_a_misspelt_step_is_answered_with_the_right_one(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...]
) -> None:
    answer = perfdb(*called(path, "--step", "vison analysis"))
    assert answer.code == 2
    assert "'Vision Analysis'" in answer.err
    assert not Path("x.svg").exists()


@pytest.mark.parametrize("path", having("--mode"), ids=" ".join)
def test_a_mode_that_nothing_has_is_answered_with_those_there_are(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...]
) -> None:
    mode = ("--mode", '{"turbo_mode": 9}')
    answer = perfdb(*(("delete", *mode) if path == ("delete",) else called(path, *mode)))
    assert answer.code == 2
    assert '{"fast_mode":false}' in answer.err
    assert not Path("x.svg").exists()


@pytest.mark.parametrize("path", having("--attribute"), ids=" ".join)
def test_a_misspelt_attribute_is_answered_with_the_right_one(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...]
) -> None:
    pair = ("--attribute", "custmer=acme")
    answer = perfdb(*(("delete", *pair) if path == ("delete",) else called(path, *pair)))
    assert answer.code == 2
    assert "no attribute in" in answer.err
    assert not Path("x.svg").exists()


def test_a_known_name_without_runs_is_an_answer(perfdb: Perfdb, recorded: list[Session]) -> None:
    for command in ("trends", "steps", "failures", "regressions"):
        assert perfdb(command, "--step", "Vision Analysis", "--until", "2020-01-01").code == 0


def test_a_misspelt_rule_is_answered_with_the_right_one(perfdb: Perfdb, recorded: list[Session]) -> None:
    for command in (("alerts", "explain", "fast_shfit"), ("alerts", "silence", "--rule", "fast_shfit")):
        answer = perfdb(*command)
        assert answer.code == 2
        assert "'fast_shift'" in answer.err


def test_a_misspelt_home_is_answered_with_the_right_one(
    perfdb: Perfdb, recorded: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_HOME", "performance_traking")
    answer = perfdb("sessions")
    assert answer.code == 2
    assert "did you mean performance_tracking?" in answer.err
    assert not Path("performance_traking").exists()


READING = [
    ("sessions",), ("steps",), ("show",), ("bottlenecks",), ("trends",), ("regressions",), ("explain",),
    ("compare",), ("failures",), ("violations",), ("thresholds", "suggest"), ("baseline",),
    ("baseline", "list"), ("alerts",), ("alerts", "list"), ("alerts", "show"), ("alerts", "explain"),
    ("rules",), ("check",),
]  # fmt: skip


@pytest.mark.parametrize("path", READING, ids=" ".join)
def test_every_reading_command_answers_in_either_form_but_not_in_both(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...]
) -> None:
    assert path in having("--json")
    assert path in having("--csv")
    for both in (("--json", "--csv"), ("--csv", "--json")):
        answer = perfdb(*called(path, *both))
        assert answer.code == 2
        assert "choose one" in answer.err


OF_SESSIONS = (
    "--last", "--pipeline", "--mode", "--status", "--since", "--until", "--attribute", "--session-attribute",
    "--tag", "--branch",
)  # fmt: skip
FLAGS = ("--json", "--csv", "--sort", *OF_SESSIONS, "--step", "--measure")
NO_TABLE = ("--json", "--csv", "--sort")
OF_A_SERIES = ("--attribute", "--session-attribute", "--tag", "--branch")
WITHOUT: dict[str, dict[str, tuple[str, ...]]] = {  # which verbs lack which flags, and why
    "it writes a file with its data; export writes these alone": {
        "report": (*NO_TABLE, "--step"),
        "export": (*NO_TABLE, "--step", "--measure"),
    },
    "it tells all that was recorded, every measure and step of it": {
        "sessions": ("--step", "--measure"),
        "steps": ("--measure",),
        "show": ("--last", "--step", "--measure"),
    },
    "it is about one session, beside those before it": {"explain": ("--step",)},
    "it is about two sessions or groups, with all of their steps": {"compare": ("--step",)},
    "it shares the whole out among the steps": {"bottlenecks": ("--step",)},
    "it is about what failed": {"failures": ("--measure",)},
    "a baseline is of a series, not of sessions, and holds until another is pinned": {
        "baseline": (*OF_A_SERIES, "--status", "--since", "--until"),
        "baseline list": (*OF_A_SERIES, "--status", "--since", "--until"),
    },
    "an alert is of a series, not of sessions; its status is its own": {
        "alerts": OF_A_SERIES, "alerts list": OF_A_SERIES
    },
    "it is about one alert, which its number names, or about one rule": {
        "alerts show": (*OF_SESSIONS, "--step", "--measure"),
        "alerts explain": (*OF_SESSIONS, "--step", "--measure"),
    },
    "it is about what holds now, of series": {
        "rules": (*OF_A_SERIES, "--status", "--since", "--until"),
        "check": ("--attribute", "--session-attribute", "--tag", "--until"),
    },
    "an annotation is of a pipeline or of all": {
        "annotations": (*OF_A_SERIES, "--status", "--mode", "--step", "--measure")
    },
    "settings are of no run": {"config": (*OF_SESSIONS, "--step", "--measure")},
}  # fmt: skip


def reading() -> list[tuple[str, ...]]:
    """Return the verbs that show what is recorded."""
    return [*having("--csv"), ("report",), ("export",)]


@pytest.mark.parametrize("path", reading(), ids=" ".join)
def test_a_reading_verb_has_every_flag_but_for_a_reason(path: tuple[str, ...]) -> None:
    lacking = {flag for verbs in WITHOUT.values() for flag in verbs.get(" ".join(path), ())}
    assert {flag for flag in FLAGS if path not in having(flag)} == lacking


def test_every_reason_is_of_a_verb_that_there_is() -> None:
    assert {verb for verbs in WITHOUT.values() for verb in verbs} <= {" ".join(path) for path in reading()}


@pytest.mark.parametrize("path", [("baseline",), ("alerts",), ("thresholds",)], ids=" ".join)
def test_a_group_without_a_command_takes_what_its_usual_command_takes(path: tuple[str, ...]) -> None:
    usual = (*path, "suggest" if path == ("thresholds",) else "list")
    flags = {flag for _, each in commands() for one in each.params for flag in one.opts}
    assert [flag for flag in flags if (path in having(flag)) != (usual in having(flag))] == []


def test_what_is_about_a_series_is_chosen_by_it(perfdb: Perfdb, moved: None) -> None:
    step = ("--step", "Vision Analysis")
    for path in (("alerts", "--state", "all"), ("baseline",), ("violations",)):
        every, some = (perfdb(*path, *more, "--json").rows for more in ((), step))
        assert some == [row for row in every if row["step_name"] == "Vision Analysis"] != every
        assert perfdb(*path, *step, "--measure", "duration", "--json").rows == some
        assert perfdb(*path, "--measure", "nosuch").code == 2
    alerts = perfdb("alerts", "--state", "all", *step, "--json").rows
    for row in perfdb("rules", *step, "--json").rows:
        own = [each for each in alerts if each["rule"] == row["rule"] and each["state"] != "pending"]
        assert row["alerts"] + row["historic"] == len(own)
    assert perfdb("alerts", "--state", "all", "--until", "2020-01-01", "--json").rows == []
    assert perfdb("check", *step, "--status", "historic", "--json").rows == [
        {name: row[name] for name in ALERT_ROW} for row in alerts
        if row["state"] == "historic" and row["severity"] != "info" and row["inhibited_by"] is None
    ]  # fmt: skip


def test_n_is_last_wherever_there_is_last() -> None:
    assert set(having("-n")) - {("show",)} == set(having("--last"))  # of show it is steps


def test_json_and_csv_have_the_same_cells(perfdb: Perfdb, recorded: list[Session]) -> None:
    for path in (("sessions",), ("steps",), ("rules",), ("bottlenecks",), ("trends",)):
        rows = perfdb(*path, "--json").rows
        table = list(csv.DictReader(io.StringIO(perfdb(*path, "--csv").out)))
        assert [list(row) for row in table] == [list(row) for row in rows], path


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\uff1d1", " =1", "\ufeff=1"]


@pytest.fixture
def hostile(perfdb: Perfdb) -> None:
    """Forty sessions in which everything that has a name is called like a formula."""
    for number in range(40):
        name = HOSTILE[number % len(HOSTILE)]
        made = make_session(0)
        steps = tuple(
            type(step)(**{**{f: getattr(step, f) for f in step.__dataclass_fields__}, "step_name": name})
            for step in made.steps
        )
        failed = number % 3 == 0
        changes = {"status": "failed", "success": False, "error_message": name} if failed else {}
        session = make_session(
            0, session_id=f"s{number}", pipeline="=cmd", start_time=made.start_time + number, steps=steps,
            attributes={"=key": name, "model": name}, tags=("=tag",), **changes,
        )  # fmt: skip
        write_report(to_report(session), Path("hostile"))
    assert perfdb("import", "hostile").code == 0
    Path("perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "=rule"\nkind = "max"\nstep = "*"\nlimit = 0.0001\n', encoding="utf-8"
    )


def test_no_cell_of_any_csv_is_a_formula(perfdb: Perfdb, hostile: None) -> None:
    seen = 0
    for path in having("--csv"):
        needed = {"explain": ("s1",), "show": ("s1",)}.get(path[0], REQUIRED.get(" ".join(path), ()))
        if path[0] == "compare":
            needed = ("s1", "s2")
        answer = perfdb(*path, *needed, "--csv")
        if answer.code == 2:
            continue  # nothing to show: an alert that is not there
        for row in csv.reader(io.StringIO(answer.out)):
            for cell in row:
                seen += 1
                if not _is_number(cell):
                    assert not cell.lstrip(" \t\ufeff").startswith(("=", "+", "-", "@", "\uff1d")), (
                        path,
                        cell,
                    )
    assert seen > 100


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def in_json(path: tuple[str, ...]) -> bool:
    """Say whether the answer is a list of rows, not one object with parts."""
    return path not in {("show",), ("explain",), ("compare",), ("alerts", "show")}


CHART = ("chart",)
SORTED = {  # a session with several steps, groups with several rows
    ("show",): ("last",), ("explain",): ("last",), ("compare",): ("last~1", "last"),
    ("alerts",): ("--state", "all"), ("alerts", "list"): ("--state", "all"),
    ("alerts", "show"): ("1",), ("alerts", "explain"): (), ("check",): (),
    CHART: ("trend",),
}  # fmt: skip


@pytest.fixture
def moved(perfdb: Perfdb, folder: Path, run_of_tests: Run) -> None:
    """Forty sessions, of which the newest are three times as slow; with alerts, a limit and a pin."""
    copied_once(run_of_tests, folder, "moved", lambda: _record_moved(perfdb))


def _record_moved(perfdb: Perfdb) -> None:
    Path("perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "limit"\nkind = "max"\nstep = "*"\nlimit = 5\n', encoding="utf-8"
    )
    for number in range(40):
        factor = 3.0 if number >= 28 else 1.0
        made = make_session(0)
        steps = tuple(
            replace(step, start_time=step.start_time + 60 * number, duration=step.duration * factor)
            for step in made.steps
        )
        failed = number % 9 == 0
        changes = {"status": "failed", "success": False, "error_message": f"no {number}"} if failed else {}
        session = replace(
            made, session_id=f"s{number:02}", start_time=made.start_time + 60 * number, steps=steps,
            total_duration=made.total_duration * factor, **changes,
        )  # fmt: skip
        write_report(to_report(session), Path("reports"))
    assert perfdb("import", "reports").code == 0
    assert perfdb("baseline", "pin", "--last", "10").code == 0


def test_baseline_alone_lists_those_of_a_measure(perfdb: Perfdb, moved: None) -> None:
    listed = perfdb("baseline", "--measure", "duration", "--csv").out
    assert len(listed.splitlines()) > 1
    assert listed == perfdb("baseline", "list", "--measure", "duration", "--csv").out
    assert len(perfdb("baseline", "--measure", "cpu_s", "--csv").out.splitlines()) <= 1


def of_each_kind(table: list[dict[str, str]], columns: Sequence[str]) -> list[str]:
    """Return a column of each kind of cells, the first and the last: one function sorts them all."""
    kinds: dict[object, str] = {}
    for column in columns:
        cells = [row[column] for row in table if row[column]]
        number = bool(cells) and all(map(_is_number, cells))
        kinds.setdefault((bool(cells), number, len(cells) < len(table), len(set(cells)) > 1), column)
    return list(dict.fromkeys([*kinds.values(), columns[0], columns[-1]]))


@pytest.mark.parametrize("path", having("--csv"), ids=" ".join)
def test_every_command_that_prints_a_table_sorts_it_by_any_column(
    perfdb: Perfdb, moved: None, path: tuple[str, ...]
) -> None:
    words = (*path, *SORTED.get(path, REQUIRED.get(" ".join(path), ())))
    answered = perfdb(*words, "--csv")
    reader = csv.DictReader(io.StringIO(answered.out))
    columns, table = list(reader.fieldnames or ["id"]), list(reader)
    for column in of_each_kind(table, columns):
        up, down = (perfdb(*words, "--csv", "--sort", f"{sign}{column}") for sign in ("", "-"))
        assert up.code == down.code == answered.code, up
        rows, reverse = (list(csv.DictReader(io.StringIO(each.out))) for each in (up, down))
        assert sorted(map(str, rows)) == sorted(map(str, reverse)) == sorted(map(str, table))
        cells, back = ([row[column] for row in each] for each in (rows, reverse))
        known, known_back = ([cell for cell in each if cell] for each in (cells, back))
        assert known_back == known[::-1], column
        assert cells == known + [""] * (len(cells) - len(known)), "what is unknown comes last"
        if known and all(map(_is_number, known)):
            assert [float(cell) for cell in known] == sorted(map(float, known)), column
    for column in {columns[0], columns[-1]}:  # data and the screen: the same function sorts the same rows
        if in_json(path):
            told = perfdb(*words, "--json", "--sort", f"-{column}").rows
            assert len(told) == len(table)
            first = [row[column] for row in told if isinstance(row.get(column), str)]
            assert first == sorted(first, reverse=True), column
        shown = perfdb(*words, "--sort", column)
        assert shown.code == (2 if path == CHART else answered.code)  # which shows a picture
        assert "Traceback" not in shown.err


@pytest.mark.parametrize("path", having("--sort"), ids=" ".join)
def test_an_unknown_column_is_answered_with_what_is_near(
    perfdb: Perfdb, moved: None, path: tuple[str, ...]
) -> None:
    words = (*path, *SORTED.get(path, REQUIRED.get(" ".join(path), ())))
    for column in ("nosuch", "", "-", "a\nb", "x" * 5_000) if path == ("sessions",) else ("nosuch",):
        answer = perfdb(*words, "--sort", column, *(["--csv"] if path == CHART else ()))
        assert answer.code == 2, answer
        assert "--sort: no column is called" in answer.err
        assert "Traceback" not in answer.err
        assert len(answer.err) < 2_000


def test_a_column_that_is_nearly_right_is_named(perfdb: Perfdb, moved: None) -> None:
    assert "'total_duration'" in perfdb("sessions", "--sort", "-duration").err
    assert "'severity'" in perfdb("alerts", "--sort", "severty").err
    assert perfdb("sessions", "--pipeline", "design", "--until", "2020-01-01", "--sort", "no").code == 2


def test_the_table_has_the_order_that_was_asked_for(perfdb: Perfdb, moved: None) -> None:
    rows = perfdb("sessions", "--sort", "session_id").out.splitlines()[1:]
    assert [row.split()[1] for row in rows] == [f"s{number:02}" for number in range(20, 40)]
    shown = perfdb("show", "last", "--sort", "duration").out
    assert shown.index("Product Search") < shown.index("Vision Analysis")


def test_every_table_can_be_sorted() -> None:
    assert set(having("--csv")) == set(having("--sort"))


@pytest.mark.parametrize("path", [("show",), ("explain",)], ids=" ".join)
def test_the_last_session_is_that_of_the_filters(perfdb: Perfdb, moved: None, path: tuple[str, ...]) -> None:
    assert "s36" in perfdb(*path, "--status", "failed").out
    assert "s27" in perfdb(*path, "last~1", "--status", "failed").out
    assert "s27" in perfdb(*path, "--until", perfdb("show", "s28", "--json").rows[0]["timestamp"]).out
    assert perfdb(*path, "--pipeline", "design").code == 0
    for refused in (
        ("s01", "--status", "failed"), ("last", "--status", "running"), ("last~5", "--status", "failed"),
        ("--pipeline", "desing"), ("last~x", "--status", "failed"),
    ):  # fmt: skip
        answer = perfdb(*path, *refused)
        assert answer.code == 2, answer
        assert answer.err.splitlines()[-1].startswith("perfdb: ")


def test_alerts_are_chosen_by_state_pipeline_and_number(perfdb: Perfdb, moved: None) -> None:
    every = perfdb("alerts", "--state", "all", "--json").rows
    assert len(every) > 1
    assert perfdb("alerts", "list", "--status", "all", "--json").rows == every
    assert perfdb("alerts", "--state", "all", "-n", "1", "--json").rows == every[:1]
    assert perfdb("alerts", "--state", "all", "--pipeline", "design", "--json").rows == every


@pytest.mark.parametrize("path", having("--database"), ids=" ".join)
def test_what_changes_rows_says_that_it_writes(
    perfdb: Perfdb, recorded: list[Session], path: tuple[str, ...]
) -> None:
    if path in SERVED:
        pytest.skip("it goes on")
    before = rows_of_database()
    said = perfdb(*called(path)).err
    assert "Write " in said or rows_of_database() == before, said
    if path in (("tag",), ("annotate",), ("delete",)):  # these do change rows
        assert rows_of_database() != before
        assert "Read " not in said


def rows_of_database() -> list[str]:
    with closing(sqlite3.connect("performance_tracking/perfdb.sqlite3")) as connection:
        return list(connection.iterdump())
