"""`perfdb demo` and `perfdb design` as a user runs them, in a process of their own.

Of: starting/demo.py, starting/design.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import perfdb
from perfdb.alerts.config import read_alert_settings
from perfdb.errors import SettingsError
from perfdb.pathway import ImageRefusedError
from perfdb.pathway.demo import _settings_apart, _settings_here, plans
from perfdb.pathway.standin.named import named
from perfdb.starting import demo, design

PERFDB = [sys.executable, "-c", "from perfdb.cli import main; main()"]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PERFDB, *arguments], capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def picture(home: Path, room: bytes) -> Path:
    path = home.parent / "my room.jpg"
    path.write_bytes(room)
    return path


def test_the_demo_has_48_normal_and_12_fast_designs_and_12_slower_ones() -> None:
    planned = list(plans())

    assert [sum(not plan.fast_mode for plan in planned), sum(plan.fast_mode for plan in planned)] == [48, 12]
    assert sum(plan.slower for plan in planned) == 12
    assert all(not plan.fast_mode for plan in planned if plan.slower)
    assert [plan.last for plan in planned].index(True) == 59
    assert planned[-1].slower


def test_ctrl_c_in_the_demo_keeps_what_was_recorded(home: Path) -> None:
    process = subprocess.Popen([*PERFDB, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    home = home.parent / "perfdb-demo" / "performance_tracking"
    deadline = time.monotonic() + 60
    while len(list(home.glob("performance_report_*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, talk = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "designs are recorded" in talk
    assert "Traceback" not in talk
    assert "cd perfdb-demo && perfdb sessions" in talk
    assert not (home.parent.parent / "performance_tracking").exists()
    statuses = set(perfdb.History(home=home).sessions()["status"])
    assert "completed" in statuses
    assert "running" not in statuses


def test_a_design_of_ones_own_picture(picture: Path) -> None:
    done = run("design", str(picture), "--stand-in", "--fast-mode", "--count", "2", cwd=picture.parent)

    assert done.returncode == 0, done.stderr
    assert "PERFORMANCE SUMMARY" in done.stdout
    assert "Design:  performance_tracking" in done.stdout
    assert len(perfdb.History().sessions()) == 2


def test_what_a_design_had_to_do_without_is_reported(
    picture: Path, standin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.faults.next("thumbnail", named("thumbnail", "not-found"))
    settings = standin.settings()
    monkeypatch.setattr("perfdb.pathway.settings.PathwaySettings.load", lambda: settings)

    done = CliRunner().invoke(design.command, [str(picture)])

    assert "Missing: 1 in Composite Creation: the shop answered 404" in done.stdout


def test_json_is_all_that_stdout_gets(picture: Path) -> None:
    done = CliRunner().invoke(design.command, [str(picture), "--stand-in", "--fast-mode", "--json"])

    answer = json.loads(done.stdout)
    assert answer["schema_version"] == 1
    assert answer["rows"][0]["success"] is True


def test_the_picture_goes_where_o_says(picture: Path) -> None:
    folder = picture.parent
    (folder / "target.png").write_bytes(b"old")
    (folder / "target.png").chmod(0o640)
    (folder / "link.png").symlink_to("target.png")
    os.mkfifo(folder / "fifo")
    design_it = ("design", str(picture), "--stand-in", "--fast-mode", "-o")

    piped = subprocess.run([*PERFDB, *design_it, "-"], capture_output=True, timeout=120, cwd=folder)
    with subprocess.Popen(["cat", "fifo"], cwd=folder, stdout=subprocess.PIPE) as reader:
        through_fifo = run(*design_it, "fifo", cwd=folder)
        read = reader.communicate(timeout=60)[0]
    linked = run(*design_it, "link.png", cwd=folder)
    new = run(*design_it, "new.png", cwd=folder)

    assert [each.returncode for each in (piped, through_fifo, linked, new)] == [0] * 4, linked.stderr
    made = {
        hashlib.sha256(each.read_bytes()).digest()
        for each in (folder / "performance_tracking").rglob("*.png")
    }
    for written in (
        piped.stdout,
        read,
        (folder / "target.png").read_bytes(),
        (folder / "new.png").read_bytes(),
    ):
        assert hashlib.sha256(written).digest() in made
    assert b"Design:" in piped.stderr
    assert (folder / "link.png").is_symlink()
    assert (folder / "target.png").stat().st_mode & 0o777 == 0o640
    assert (folder / "new.png").stat().st_mode & 0o777 == 0o600
    assert (folder / "fifo").is_fifo()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-o", "no/such/folder.png"), "its folder is not there"),
        (("-o", "."), "is a directory"),
        (("-o", "-", "--json"), "name a file with -o"),
        (("-o", "a.png", "--count", "2"), "leave out --count"),
        (("-o", "performance_tracking/perfdb.sqlite3"), "is a database"),
    ],
)
def test_an_output_that_cannot_be_costs_nothing(picture: Path, options: tuple[str, ...], said: str) -> None:
    with perfdb.track("other"):
        pass

    done = run("design", str(picture), "--stand-in", "--fast-mode", *options, cwd=picture.parent)

    assert done.returncode == 2
    assert said in done.stderr
    assert len(perfdb.History().sessions()) == 1


def test_without_keys_it_says_what_to_set(picture: Path) -> None:
    done = CliRunner().invoke(design.command, [str(picture)])

    assert isinstance(done.exception, SettingsError)
    assert "OPENAI_API_KEY and SERPAPI_API_KEY" in str(done.exception)
    assert "--stand-in" in str(done.exception)
    assert not (picture.parent / "performance_tracking").exists()


def test_a_picture_that_cannot_be_used_is_no_failed_design(home: Path) -> None:
    (home.parent / "room.jpg").write_text("no picture")

    done = CliRunner().invoke(design.command, ["room.jpg", "--stand-in"])

    assert isinstance(done.exception, ImageRefusedError)
    assert not home.exists()


def test_the_demo_does_not_run_with_recording_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFDB_DISABLED", "1")

    done = CliRunner().invoke(demo.command)

    assert isinstance(done.exception, SettingsError)
    assert "PERFDB_DISABLED" in str(done.exception)


def test_the_demo_meets_nothing_of_the_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = '[[alerts.channels]]\nname = "team"\nkind = "webhook"\nurl = "http://127.0.0.1:9/x"\n'
    Path("perfdb.toml").write_text(f'home = "mine"\npipeline = "mine"\n{channel}')
    monkeypatch.setenv("PERFDB_HOME", str(home))

    apart, here = _settings_apart(), _settings_here()

    assert apart.home == Path("perfdb-demo/performance_tracking").absolute()
    assert apart.database_url.endswith("/perfdb-demo/performance_tracking/perfdb.sqlite3")
    assert apart.pipeline == "design"
    assert not read_alert_settings(apart.alerts).channels
    assert here.home == home
    assert not read_alert_settings(here.alerts).channels
    monkeypatch.delenv("PERFDB_HOME")
    monkeypatch.chdir("perfdb-demo")
    assert perfdb.History().settings.home == apart.home, "cd perfdb-demo, and every command works"
