"""Settings, homes and journals of another user: ignored and named, and nothing of ours goes there.

Of: trust.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfdb.settings import load, load_for_reading

SOMEBODY, OUR_USER = 60_001, os.geteuid()
RECORD = """
import json
import perfdb
for _ in range(2):
    with perfdb.track(PIPELINE, monitor=False) as run:
        with run.step("work"):
            pass
print(json.dumps([run.pipeline, run.health()]))
"""
HOSTILE = """
pipeline = "theirs"
home = "theirs"
database_url = "postgresql://evil.example.org/x"
disabled = true
"""

pytestmark = pytest.mark.skipif(OUR_USER != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def commons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder where everybody may write, as /tmp; we are in our own folder below it."""
    monkeypatch.delenv("PERFDB_HOME")
    folder = tmp_path / "commons"
    (folder / "ours").mkdir(parents=True)
    folder.chmod(0o1777)
    monkeypatch.chdir(folder / "ours")
    return folder


def given_away(path: Path) -> Path:
    for each in (path, *path.rglob("*")):
        os.lchown(each, SOMEBODY, SOMEBODY)
    return path


def theirs(path: Path, content: str = HOSTILE) -> Path:
    path.write_text(content)
    return given_away(path)


def run(code: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def record(pipeline: str = "ours", **environ: str) -> tuple[dict[str, Any], str]:
    done = run(RECORD.replace("PIPELINE", repr(pipeline)), **environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[1], done.stderr


def cli(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run("import sys; from perfdb.cli import main; main(sys.argv[1:])", *arguments, **environ)


def seen(**environ: str) -> set[str]:
    done = cli("sessions", "--json", **environ)
    assert done.returncode == 0, done.stderr
    return {row["pipeline"] for row in json.loads(done.stdout)["rows"]}


def their_history(folder: Path) -> Path:
    """Make a home of somebody else's in a folder, everything open to all."""
    made = folder / "performance_tracking"
    record("theirs", PERFDB_HOME=str(made))
    for each in (made, *made.rglob("*")):
        each.chmod(0o777 if each.is_dir() else 0o666)
    return given_away(made)


@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["open", "sticky"])
@pytest.mark.parametrize("name", ["perfdb.toml", "pyproject.toml", "a link"])
def test_row_46_settings_of_somebody_above_us(commons: Path, name: str, mode: int) -> None:
    commons.chmod(mode)
    if name == "pyproject.toml":
        path = theirs(commons / name, "[tool.perfdb]\n" + HOSTILE)
    elif name == "a link":  # somebody chooses which of root's files it is
        (commons.parent / "elsewhere.toml").write_text(HOSTILE)
        path = commons / "perfdb.toml"
        path.symlink_to(commons.parent / "elsewhere.toml")
        given_away(path)
    else:
        path = theirs(commons / name)
    health, said = record()
    (warning,) = health["warnings"]
    assert warning.startswith(f"{path} is ignored: it belongs to uid {SOMEBODY}")
    assert said == f"perfdb: {warning}\n"
    shown = cli("sessions", "--json")
    assert (health["ok"], {row["pipeline"] for row in json.loads(shown.stdout)["rows"]}) == (True, {"ours"})
    assert not (commons / "theirs").exists()
    assert f"{path} is ignored" in shown.stderr
    doctor = json.loads(cli("doctor", "--json").stdout)["rows"]
    assert any(each["state"] == "warning" and str(path) in each["found"] for each in doctor)


@pytest.mark.parametrize("here", [False, True], ids=["above", "here"])
def test_row_46_not_even_an_error(commons: Path, here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else wrote cannot stop us, nor what cannot be read, nor what would hang."""
    if here:
        monkeypatch.chdir(commons)
        os.chown(commons, SOMEBODY, SOMEBODY)
    theirs(commons / "perfdb.toml", "= = =").chmod(0)
    os.mkfifo(commons / "pyproject.toml")
    os.lchown(commons / "pyproject.toml", SOMEBODY, SOMEBODY)
    health, said = record()
    assert (health["ok"], said.count("perfdb.toml is ignored")) == (True, 1)


def test_row_46_their_channel_hears_nothing(commons: Path) -> None:
    rules = '[[alerts.rules]]\nname = "all"\nkind = "max"\nlimit = 0.0\n'
    tell = '[[alerts.channels]]\nname = "evil"\nkind = "console"\n'
    theirs(commons / "perfdb.toml", rules + tell)
    health, said = record()
    assert health["ok"]
    assert "alert" not in said


def test_row_46_a_home_of_somebody_above_us(commons: Path) -> None:
    home = their_history(commons)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    done = cli("sessions", "--json")
    assert (done.returncode, json.loads(done.stdout)["rows"]) == (0, [])
    assert f"{home} is ignored: it belongs to uid {SOMEBODY}" in done.stderr
    assert cli("check").returncode == 2
    record()
    assert seen() == {"ours"}
    after = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    assert after == before


def test_row_46_a_home_of_somebody_here(commons: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(commons)
    home = their_history(commons)
    before = sorted(home.rglob("*"))
    health, said = record()
    assert not health["ok"]
    assert said.count(f"performance_tracking is not used: it belongs to uid {SOMEBODY}") == 1
    assert sorted(home.rglob("*")) == before
    for verb in (["sessions"], ["check"], ["recover"], ["import", "x.json"], ["serve", "--port", "0"]):
        done = cli(*verb)
        assert (done.returncode, done.stdout) == (2, ""), verb
        assert f"performance_tracking is not used: it belongs to uid {SOMEBODY}" in done.stderr
    assert cli("doctor").returncode == 1
    assert seen(PERFDB_HOME=str(home)) == {"theirs"}, "named, it is believed"


def test_row_46_a_home_that_somebody_makes_first(commons: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(commons)
    code = f"""
    import os, perfdb
    tracker = perfdb.create_tracker(console=False, monitor=False)
    os.mkdir("performance_tracking", 0o777)
    os.chown("performance_tracking", {SOMEBODY}, {SOMEBODY})
    tracker.start_pipeline()
    with tracker.step("work"):
        pass
    tracker.end_pipeline()
    print(tracker.save_performance_report(), tracker.health()["ok"])
    """
    done = run("if True:" + code)
    assert done.stdout == "None False\n"
    assert list((commons / "performance_tracking").iterdir()) == []


def test_row_46_a_journal_of_somebody_in_our_home(commons: Path) -> None:
    record("theirs", PERFDB_HOME=str(commons / "made"), PERFDB_DATABASE_URL="postgresql://127.0.0.1:1/x")
    (journal,) = (commons / "made" / "journal").iterdir()
    record()
    put = Path("performance_tracking/journal") / journal.name
    shutil.copy(journal, put)
    given_away(put).chmod(0o666)
    done = cli("sessions", "--json")
    assert {row["pipeline"] for row in json.loads(done.stdout)["rows"]} == {"ours"}
    assert f"{put.name} is ignored: it belongs to uid {SOMEBODY}" in done.stderr
    record()
    assert put.exists()
    assert seen() == {"ours"}
    assert seen(PERFDB_HOME=str(put.parent.parent)) == {"ours", "theirs"}, "named, all of it is believed"


def test_row_46_what_others_could_exchange(tmp_path: Path) -> None:
    """Our own file is ignored where others could put another one into its place, though they did not."""
    project = tmp_path / "commons" / "project"
    below = project / "a" / "b"
    below.mkdir(parents=True)
    (project / "perfdb.toml").write_text('pipeline = "set"')
    for folder, mode, said in (
        (project, 0o755, None),
        (project, 0o775, None),  # of our own primary group
        (project, 0o777, f"everybody may write to {project}"),
        (project, 0o1777, None),
        (project / "a", 0o777, f"everybody may write to {project / 'a'}"),
        (project.parent, 0o777, f"everybody may write to {project.parent}"),
        (project.parent, 0o1777, None),
        (below, 0o777, None),  # ours to give away; nothing of it is above us
    ):
        folder.chmod(mode)
        settings = load(environ={}, cwd=below)
        assert (settings.pipeline == "set") is (said is None), (folder, oct(mode))
        assert all(str(said) in warning for warning in settings.warnings)
        folder.chmod(0o755)
    os.chown(project, 0, SOMEBODY)
    project.chmod(0o775)
    assert load(environ={}, cwd=below).pipeline == "design", "another group than ours"
    project.chmod(0o755)
    (project / "perfdb.toml").chmod(0o666)
    assert load(environ={}, cwd=below).pipeline == "design", "everybody may write the file"


def test_row_46_what_is_named_is_believed(commons: Path) -> None:
    path = theirs(commons / "perfdb.toml", 'pipeline = "named"')
    assert load(environ={}).pipeline == "design"
    named = load(environ={"PERFDB_CONFIG": str(path)})
    assert (named.pipeline, named.warnings) == ("named", ())
    assert load(environ={"PERFDB_HOME": "x"}).home_named


def test_row_46_our_own_working_folder_is_believed(commons: Path) -> None:
    Path("perfdb.toml").write_text('pipeline = "mine"')
    settings = load(environ={})
    assert (settings.pipeline, settings.warnings) == ("mine", ())


def test_row_46_who_calls_root_by_sudo_is_believed(commons: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = commons.parent / "user"
    (home / "below").mkdir(parents=True)
    (home / "perfdb.toml").write_text('pipeline = "user"')
    given_away(home)
    assert load(environ={}, cwd=home / "below").pipeline == "design"
    monkeypatch.setenv("SUDO_UID", str(SOMEBODY))
    assert load(environ={}, cwd=home / "below").pipeline == "user"


def test_row_46_a_group_that_was_named_is_believed(tmp_path: Path) -> None:
    """Files of its members and folders where they may write."""
    pwd, grp = pytest.importorskip("pwd"), pytest.importorskip("grp")
    member = next((each for each in pwd.getpwall() if each.pw_uid and each.pw_gid), None)
    if member is None:
        pytest.skip("there is nobody but root")
    group = grp.getgrgid(member.pw_gid).gr_name
    below = tmp_path / "team" / "below"
    below.mkdir(parents=True)
    (tmp_path / "team" / "perfdb.toml").write_text('pipeline = "team"')
    for each in (tmp_path / "team", tmp_path / "team" / "perfdb.toml"):
        os.chown(each, member.pw_uid, member.pw_gid)
    (tmp_path / "team").chmod(0o2775)
    assert load(environ={}, cwd=below).pipeline == "design"
    for name in (group, str(member.pw_gid)):
        assert load(environ={"PERFDB_SHARED_GROUP": name}, cwd=below).pipeline == "team"
    assert load(environ={"PERFDB_SHARED_GROUP": "54321"}, cwd=below).pipeline == "design"


@pytest.fixture
def shared() -> Iterator[Path]:
    """Give a folder that every user may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize(
    ("owner", "group", "mode", "believed"),
    [
        (0, 0, 0o644, True),
        (SOMEBODY, SOMEBODY, 0o644, True),
        (SOMEBODY, SOMEBODY, 0o664, True),  # one's own primary group
        (SOMEBODY, 60_009, 0o664, False),
        (SOMEBODY, SOMEBODY, 0o666, False),
        (60_002, SOMEBODY, 0o644, False),
    ],
)
def test_row_46_what_a_user_believes(shared: Path, owner: int, group: int, mode: int, believed: bool) -> None:
    (shared / "project" / "below").mkdir(parents=True)
    file = shared / "project" / "perfdb.toml"
    file.write_text('pipeline = "set"')
    file.chmod(mode)
    for path in (file, file.parent):
        os.chown(path, owner, group)
    file.parent.chmod(mode | 0o111)
    os.setegid(SOMEBODY)
    os.seteuid(SOMEBODY)
    assert (load(environ={}, cwd=file.parent / "below").pipeline == "set") is believed


def test_row_46_a_reader_finds_a_home_above_that_is_ours(tmp_path: Path) -> None:
    home = tmp_path / "performance_tracking"
    home.mkdir()
    (home / "perfdb.sqlite3").touch()
    (tmp_path / "notebooks").mkdir()
    assert load_for_reading(environ={}, cwd=tmp_path / "notebooks").home == home
    home.chmod(0o777)
    assert load_for_reading(environ={}, cwd=tmp_path / "notebooks").home != home
