"""A home that a group shares: two users record into one history and read it.

Of: surroundings.py.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from perfdb.settings import load
from perfdb.sharing import is_shared, share, share_home
from perfdb.surroundings import make_private_folder
from tests.commands import folder as folder  # no settings from outside

GROUP = 54_321  # a number is as good as a name
NAMES = ("daemon", "nobody")
PERFDB = ("-c", "from perfdb.cli import main; main()")
RECORD = """
import sys, perfdb
with perfdb.track(sys.argv[1]) as run:
    with run.step("work"):
        pass
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_in_a_shared_home_is_the_groups(tmp_path: Path) -> None:
    home = tmp_path / "shared"
    load(environ={"PERFDB_HOME": str(home), "PERFDB_SHARED_GROUP": str(os.getegid())}, cwd=tmp_path)
    make_private_folder(home / "journal")
    made, elsewhere = home / "file", tmp_path / "file"
    for path in (made, elsewhere):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        share(path, path)
    assert is_shared(made)
    assert not is_shared(elsewhere)
    assert not is_shared(tmp_path / "shared-not")
    assert (mode_of(home), mode_of(home / "journal"), mode_of(made)) == (0o2770, 0o2770, 0o660)
    assert mode_of(elsewhere) == 0o600


def test_a_home_that_nobody_shares_stays_private(tmp_path: Path) -> None:
    load(environ={"PERFDB_HOME": str(tmp_path / "own")}, cwd=tmp_path)
    make_private_folder(tmp_path / "own" / "journal")
    assert mode_of(tmp_path / "own") == mode_of(tmp_path / "own" / "journal") == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="root is a member of every group")
def test_what_cannot_be_given_to_the_group_stays_private(tmp_path: Path) -> None:
    share_home(tmp_path / "home", GROUP)
    make_private_folder(tmp_path / "home")
    assert mode_of(tmp_path / "home") == 0o700


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can enter and write to."""
    if os.geteuid() != 0:
        pytest.skip("only root can become two users of one group")
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o1777)
        answer = as_user(NAMES[0], Path(name), "-c", "import perfdb")
        if answer.returncode:
            pytest.skip(f"no process can become another user here: {answer.stderr[-200:]}")
        yield Path(name)


def as_user(name: str, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as another user, who is a member of the group beside the own one."""
    return run_as(name, place, arguments, group=GROUP)


def run_as(
    name: str, place: Path, arguments: Sequence[str], *, group: int
) -> subprocess.CompletedProcess[str]:
    """Run Python as another user; reading is free for where Python is root's alone, writing is not."""
    user = pwd.getpwnam(name)
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv to become another user")
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", f"--groups={group}"]
    if not _may_run_python(user.pw_uid):
        become += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
    return subprocess.run(
        [*become, sys.executable, *arguments],
        cwd=place,
        env=environment
        | {"PERFDB_HOME": str(place / "history"), "PERFDB_SHARED_GROUP": str(GROUP), "HOME": str(place)},
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )


def _may_run_python(user: int) -> bool:
    """Say whether another user can run this Python, with everything that it imports."""
    try:
        done = subprocess.run([sys.executable, "-c", "import perfdb"], user=user, check=False)
    except PermissionError:
        return False
    return done.returncode == 0


def test_two_users_of_a_group_share_one_history(place: Path) -> None:
    for name in NAMES:
        recorded = as_user(name, place, "-c", RECORD, f"of-{name}")
        assert recorded.returncode == 0, recorded.stderr
        assert "not recorded" not in recorded.stderr
        for reader in NAMES:
            read = as_user(reader, place, *PERFDB, "sessions")
            assert read.returncode == 0, read.stderr
            assert f"of-{name}" in read.stdout
    imported = as_user(NAMES[1], place, *PERFDB, "tag", "last~1", "seen")
    assert imported.returncode == 0, imported.stderr
    assert "of-daemon" in as_user(NAMES[0], place, *PERFDB, "sessions", "--tag", "seen").stdout
    for path in [place / "history", *(place / "history").rglob("*")]:
        assert path.stat().st_gid == GROUP, path
        assert mode_of(path) == (0o2770 if path.is_dir() else 0o660), path
    healthy = as_user(NAMES[1], place, *PERFDB, "doctor")
    assert "others may read" not in healthy.stdout + healthy.stderr
    assert "open to others" not in healthy.stdout + healthy.stderr


def test_what_a_dead_writer_left_is_read_by_the_other(place: Path) -> None:
    killed = "import os, perfdb\nwith perfdb.track('cut') as run:\n"
    killed += "    with run.step('a'):\n        pass\n    os.kill(os.getpid(), 9)\n"
    assert as_user(NAMES[0], place, "-c", killed).returncode == -9
    read = as_user(NAMES[1], place, *PERFDB, "show", "last")
    assert read.returncode == 0, read.stderr
    assert "interrupted" in read.stdout


def test_one_who_is_no_member_records_nothing_into_it(place: Path) -> None:
    assert as_user(NAMES[0], place, "-c", RECORD, "ours").returncode == 0
    told = run_as("bin", place, ["-c", RECORD, "theirs"], group=GROUP + 1)
    assert told.returncode == 0, told.stderr
    assert "not recorded" in told.stderr
    assert "theirs" not in as_user(NAMES[0], place, *PERFDB, "sessions").stdout
