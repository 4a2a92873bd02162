"""Settings: where they come from, which wins, and how a mistake is named.

Of: search.py, toml.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfdb.errors import SettingsError
from perfdb.settings import load, load_for_reading, number, shown_path, text, whole
from perfdb.toml import line_numbers


def write(folder: Path, content: str, name: str = "perfdb.toml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def refused(folder: Path, content: str = "", environ: dict[str, str] | None = None, **overrides: Any) -> str:
    if content:
        write(folder, content)
    with pytest.raises(SettingsError) as caught:
        load(environ=environ or {}, cwd=folder, **overrides)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_settings_everything_lies_in_performance_tracking(folder: Path) -> None:
    settings = load(environ={}, cwd=folder)
    assert settings.home == settings.report_dir == folder / "performance_tracking"
    assert settings.database_url == f"sqlite:///{folder}/performance_tracking/perfdb.sqlite3"
    assert (settings.pipeline, settings.mode_attributes, settings.wait_s) == ("design", ("fast_mode",), 2.0)
    assert (settings.console, settings.monitor, settings.strict, settings.fsync) == (None, True, False, False)
    assert settings.config_file is None


def test_a_report_path_is_shown_as_in_the_seed(folder: Path) -> None:
    report = load(environ={}).report_dir / "performance_report_20250730_143022.json"
    assert shown_path(report) == "performance_tracking/performance_report_20250730_143022.json"


def test_a_path_outside_of_the_working_directory_is_shown_whole(folder: Path) -> None:
    assert shown_path(folder.parent / "elsewhere") == str(folder.parent / "elsewhere")


def test_arguments_win_over_the_environment_and_that_over_the_file(folder: Path) -> None:
    write(folder, 'pipeline = "file"\nwait_s = 1\nfsync = true\n')
    environ = {"PERFDB_PIPELINE": "environment", "PERFDB_WAIT_S": "2.5"}
    settings = load(environ=environ, cwd=folder, pipeline="argument", wait_s=None)
    assert (settings.pipeline, settings.wait_s, settings.fsync) == ("argument", 2.5, True)
    assert settings.config_file == folder / "perfdb.toml"


def test_every_variable_is_understood(folder: Path) -> None:
    environ = {
        "PERFDB_HOME": "h",
        "PERFDB_DATABASE_URL": "postgresql://user:pw@host/name",
        "PERFDB_REPORT_DIR": "/r",
        "PERFDB_PIPELINE": "etl",
        "PERFDB_MODE_ATTRIBUTES": "fast_mode, model",
        "PERFDB_CONSOLE": "off",
        "PERFDB_MONITOR": "0",
        "PERFDB_STRICT": "YES",
        "PERFDB_WAIT_S": "0.5",
        "PERFDB_FSYNC": "true",
        "PERFDB_DISABLED": "1",
        "PERFDB_REDACT": "iban,patient",
        "PERFDB_CONFIG": "",
    }
    settings = load(environ=environ, cwd=folder)
    assert (settings.home, settings.report_dir) == (folder / "h", Path("/r"))
    assert settings.database_url == "postgresql://user:pw@host/name"
    assert (settings.console, settings.monitor, settings.strict) == (False, False, True)
    assert (settings.fsync, settings.disabled, settings.wait_s) == (True, True, 0.5)
    assert (settings.mode_attributes, settings.redact) == (("fast_mode", "model"), ("iban", "patient"))


def test_an_empty_variable_counts_as_unset(folder: Path) -> None:
    assert load(environ={"PERFDB_WAIT_S": "", "PERFDB_HOME": " "}, cwd=folder).wait_s == 2.0


def test_the_nearest_file_upwards_is_read_and_its_paths_are_relative_to_it(folder: Path) -> None:
    write(folder, 'home = "data"\nreport_dir = "reports"\ndatabase_url = "sqlite:///db/x.sqlite3"')
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    settings = load(environ={}, cwd=below)
    assert (settings.home, settings.report_dir) == (folder / "data", folder / "reports")
    assert settings.database_url == f"sqlite:///{folder}/db/x.sqlite3"


def test_paths_of_variables_and_arguments_are_relative_to_the_working_directory(folder: Path) -> None:
    write(folder, "")
    below = folder / "below"
    below.mkdir()
    environ = {"PERFDB_HOME": "h", "PERFDB_DATABASE_URL": "sqlite:///x.db"}
    settings = load(environ=environ, cwd=below, report_dir=Path("r"))
    assert (settings.home, settings.report_dir) == (below / "h", below / "r")
    assert settings.database_url == f"sqlite:///{below}/x.db"


def test_a_pyproject_without_our_table_is_passed_by(folder: Path) -> None:
    write(folder, '[tool.perfdb]\npipeline = "outer"', "pyproject.toml")
    below = folder / "below"
    below.mkdir()
    write(below, '[project]\ndependencies = ["perfdb"]', "pyproject.toml")
    assert load(environ={}, cwd=below).pipeline == "outer"


def test_perfdb_toml_wins_over_pyproject_in_the_same_folder(folder: Path) -> None:
    write(folder, '[tool.perfdb]\npipeline = "pyproject"', "pyproject.toml")
    write(folder, 'pipeline = "own"')
    assert load(environ={}, cwd=folder).pipeline == "own"


def test_perfdb_config_names_the_file(folder: Path) -> None:
    write(folder, 'pipeline = "near"')
    named = write(folder, 'pipeline = "named"', "other.toml")
    settings = load(environ={"PERFDB_CONFIG": "other.toml"}, cwd=folder)
    assert (settings.pipeline, settings.config_file) == ("named", named)


def test_a_named_file_that_does_not_exist_is_an_error(folder: Path) -> None:
    assert "is not a file" in refused(folder, environ={"PERFDB_CONFIG": "missing.toml"})


def test_a_named_pyproject_without_our_table_is_an_error(folder: Path) -> None:
    write(folder, "[project]", "pyproject.toml")
    assert "has no [tool.perfdb]" in refused(folder, environ={"PERFDB_CONFIG": "pyproject.toml"})


def test_a_reader_finds_the_home_of_a_parent_folder(folder: Path) -> None:
    home = folder / "performance_tracking"
    notebooks = folder / "project" / "notebooks"
    notebooks.mkdir(parents=True)
    (folder / "project" / "performance_tracking").mkdir()  # no database in it: not a home
    home.mkdir()
    (home / "perfdb.sqlite3").touch()
    assert load_for_reading(environ={}, cwd=notebooks).home == home
    assert load(environ={}, cwd=notebooks).home == notebooks / "performance_tracking"
    assert load_for_reading(environ={"PERFDB_HOME": "x"}, cwd=notebooks).home == notebooks / "x"


def test_an_unknown_key_names_file_line_and_the_nearest_key(folder: Path) -> None:
    message = refused(folder, '# perfdb\npipeline = "x"\nmoniter = false\n')
    assert message == "perfdb.toml, line 3: unknown setting 'moniter'; did you mean 'monitor'?"


def test_in_pyproject_the_table_is_named_too(folder: Path) -> None:
    write(folder, "[project]\nname = 'x'\n\n[tool.perfdb]\nwait-s = 3", "pyproject.toml")
    expected = "pyproject.toml, line 5: unknown setting 'wait-s' in [tool.perfdb]; did you mean 'wait_s'?"
    assert refused(folder) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("monitor = 1", "'monitor' must be true or false, not 1"),
        ("monitor = 'yes'", "'monitor' must be true or false, not 'yes'"),
        ("wait_s = true", "'wait_s' must be a number from 0 to 3600, not true"),
        ("wait_s = -1", "'wait_s' must be a number from 0 to 3600, not -1"),
        ("wait_s = nan", "'wait_s' must be a number from 0 to 3600, not nan"),
        ("pipeline = ''", "'pipeline' must be a text of one line, not ''"),
        ('pipeline = "a\\nb"', "'pipeline' must be a text of one line, not 'a\\nb'"),
        ("mode_attributes = 'fast_mode'", "'mode_attributes' must be an array of texts"),
        ("redact = [1]", "'redact' must be a text"),
        ("home = 3", "'home' must be the path of a folder, not 3"),
        ("database_url = 'x.db'", "'database_url' must be a database URL such as sqlite:///"),
        ("database_url = 'sqlite://'", "'database_url' must name a database file"),
        ("database_url = 'sqlite://x.db'", "'database_url' must have three slashes"),
        (
            "database_url = 'mysql://h/x'",
            "'database_url' must start with sqlite:/// or postgresql://, not 'mysql://…'",
        ),
        ("alerts = 3", "'alerts' must be a table, not 3"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(folder: Path, line: str, reason: str) -> None:
    assert refused(folder, f"\n{line}\n").startswith(f"perfdb.toml, line 2: {reason}")


def test_a_password_in_a_refused_url_is_not_shown(folder: Path) -> None:
    assert "hunter2" not in refused(folder, environ={"PERFDB_DATABASE_URL": "mysql://me:hunter2@host/x"})
    settings = load(environ={"PERFDB_DATABASE_URL": "postgresql://me:hunter2@host/x"}, cwd=folder / "none")
    assert "hunter2" not in repr(settings)


def test_a_syntax_error_is_named_with_its_line(folder: Path) -> None:
    assert refused(folder, "a = 1\nb = = 2\n").startswith("perfdb.toml, line 2: not valid TOML: ")


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50_000 + "b = 1",
        "x = {" + '"a" . ' * 50_000 + "b = 1}",
        "wait_s = " + "9" * 5_000,
        "#" * 2_000_000,
    ],
)
def test_a_text_that_would_take_minutes_or_a_wrong_number_is_refused(folder: Path, text: str) -> None:
    assert refused(folder, text).startswith("perfdb.toml: not valid TOML")


def test_dots_of_a_comment_or_a_value_are_no_name(folder: Path) -> None:
    (folder / "perfdb.toml").write_text(f"# {'.' * 2_000}\npipeline = '{'.'.join('a' * 40)}'\n")
    assert load(environ={}, cwd=folder).pipeline == ".".join("a" * 40)


def test_bytes_that_are_not_utf_8_are_named_with_their_line(folder: Path) -> None:
    (folder / "perfdb.toml").write_bytes(b"\n\npipeline = '\xff'")
    assert refused(folder) == "perfdb.toml, line 3: not valid TOML: not UTF-8"


def test_unknown_variables_are_one_warning_that_names_the_nearest(folder: Path) -> None:
    settings = load(environ={"PERFDB_MONITER": "1", "PERFDB_PORT_80_TCP": "tcp://10.0.0.1:80"}, cwd=folder)
    (warning,) = settings.warnings
    assert warning == (
        "environment: unknown and ignored: "
        "PERFDB_MONITER (did you mean 'PERFDB_MONITOR'?), PERFDB_PORT_80_TCP"
    )


def test_the_variable_of_a_channel_may_begin_as_ours_do(folder: Path) -> None:
    write(folder, '[[alerts.channels]]\nname = "team"\nkind = "webhook"\nurl_env = "PERFDB_TEAM_HOOK"\n')
    environ = {"PERFDB_TEAM_HOOK": "https://hooks.example.org/x", "PERFDB_CONTEXT": "", "PERFDB_HOST": "h"}
    assert load(environ=environ, cwd=folder).warnings == ()


def test_a_wrong_variable_is_named(folder: Path) -> None:
    message = refused(folder, environ={"PERFDB_WAIT_S": "soon"})
    assert message == "environment: PERFDB_WAIT_S must be a number from 0 to 3600, not 'soon'"


def test_a_wrong_argument_is_named(folder: Path) -> None:
    assert refused(folder, moniter=True) == "unknown setting 'moniter'; did you mean 'monitor'?"
    assert refused(folder, wait_s="1") == "'wait_s' must be a number from 0 to 3600, not '1'"


def test_a_table_reads_its_own_keys_with_the_same_errors(folder: Path) -> None:
    write(folder, "[pathway]\nvision_model = 'gpt-4o'\nworkers = 9\n")
    table = load(environ={}, cwd=folder).pathway
    assert table.read({"vision_model": text, "workers": whole(1, 16)}) == dict(table)
    with pytest.raises(SettingsError) as unknown:
        table.read({"visionModel": text})
    assert str(unknown.value).startswith(
        "perfdb.toml, line 2: unknown setting 'vision_model' in [pathway]; did you"
    )
    with pytest.raises(SettingsError) as wrong:
        table.read({"vision_model": text, "workers": whole(1, 8)})
    assert str(wrong.value) == (
        "perfdb.toml, line 3: 'workers' in [pathway] must be a whole number from 1 to 8, not 9"
    )


def test_each_rule_knows_its_lines(folder: Path) -> None:
    content = """
[[alerts.rules]]
name = "one"
[[alerts.rules]]
name = "two"
limit = "high"
mode = { fast_mode = false }
"""
    write(folder, content)
    first, second = load(environ={}, cwd=folder).alerts.tables("rules")
    assert (first["name"], first.line(), second.line(), second.line("limit")) == ("one", 2, 4, 6)
    with pytest.raises(SettingsError) as wrong:
        second.read({"name": text, "limit": number(0), "mode": dict})
    assert str(wrong.value) == (
        "perfdb.toml, line 6: 'limit' in [[alerts.rules]] must be a number of at least 0, not 'high'"
    )


def test_an_absent_table_is_empty(folder: Path) -> None:
    settings = load(environ={}, cwd=folder)
    assert (len(settings.pathway), settings.alerts.tables("rules")) == (0, [])


def test_lines_are_found_whatever_the_values_look_like() -> None:
    content = '''a = """
b = 1
[c]
"""
"quoted key" = 'x # no comment' # [comment]
d.e = [
  "[f]", # ]
  { g = 1 },
]
[h.i]
[[j]]
k = \'\'\'
l = 2\'\'\'\'
[j.m]
n = "\\"]"
[[j]]
o = 1
'''
    lines = line_numbers(content)
    expected = {
        ("a",): 1, ("quoted key",): 5, ("d",): 6, ("d", "e"): 6, ("h", "i"): 10, ("j",): 11, ("j", 0): 11,
        ("j", 0, "k"): 12, ("j", 0, "m"): 14, ("j", 0, "m", "n"): 15, ("j", 1): 16, ("j", 1, "o"): 17,
    }  # fmt: skip
    assert lines == expected


def test_loading_without_a_file_imports_no_parser(folder: Path) -> None:
    code = "import sys, perfdb.settings as s; s.load(environ={}); print('tomllib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True
    )
    assert done.stdout.strip() == "False"
