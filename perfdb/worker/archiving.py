"""The timer of ``[archive]``: a worker has a process of its own push to the lake, now and then.

What a push imports would hold up the threads of a host. The process gets the addresses in its environment,
where ``ps`` does not show them.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from perfdb.errors import StoreError
from perfdb.filters import parse_age
from perfdb.recording.health import Health
from perfdb.recording.native import monotonic, signals_as_usual
from perfdb.sharing import share
from perfdb.toml import Table

STAMP = ".archived"  # when a worker last pushed, in the home
LAKE = "PERFDB_ARCHIVE"  # what tells the process which lake
_LEAST_S, _USUAL_S = 60.0, 600.0
_COMMAND = "from perfdb.cli import main; main(['archive'])"


def read_archive(table: Table) -> tuple[str, float] | None:
    """Return the lake of ``[archive]`` and every how many seconds it is pushed to; None without one.

    Raises:
        SettingsError: a key or value that perfdb does not know.
    """
    found = table.read({"lake": _text, "every": _age})
    return (found["lake"], found.get("every", _USUAL_S)) if "lake" in found else None


def _text(value: object) -> str:
    if isinstance(value, str) and ("://" in value or os.path.isabs(value)):
        return value  # programs of one home have different working folders
    raise ValueError("must be an absolute path or an address such as s3://bucket/lake")


def _age(value: object) -> float:
    try:
        if isinstance(value, str) and (seconds := parse_age(value)) >= _LEAST_S:
            return seconds
    except ValueError:
        pass
    raise ValueError("must be an age of at least a minute, such as 10m")


class Archiving:
    """Pushing on behalf of a worker. Never raises.

    Args:
        home: holds the stamp of the last time.
        database_url: what is pushed.
        lake: where to.
        every_s: between two pushes of all programs of the home.
        health: where failures are counted.
    """

    def __init__(self, home: Path, database_url: str, lake: str, every_s: float, health: Health) -> None:
        self._home, self._url, self._lake, self._every_s = home, database_url, lake, every_s
        self._health = health
        self._process: subprocess.Popen[str] | None = None
        self._look_again = 0.0  # monotonic

    def turn(self) -> None:
        """Start a push when it is time, or look what became of the last one."""
        try:
            if self._process is not None:
                self._end()
            elif monotonic() >= self._look_again:
                self._look_again = monotonic() + min(self._every_s, _LEAST_S)
                if self._claim():
                    self._start()
        except Exception as error:
            self._health.delayed("pushing to the lake of [archive] waits", error)

    def after_fork_in_child(self) -> None:
        """Leave the push to the parent."""
        self._process = None

    def _claim(self) -> bool:
        """Note the time if nobody else did so lately."""
        path = self._home / STAMP
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            share(descriptor, path)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            last = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            now = time.time()
            if last.isdecimal() and 0 <= now - int(last) < self._every_s:
                return False
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % now, 0)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)

    def _start(self) -> None:
        environment = {**os.environ, LAKE: self._lake, "PERFDB_DATABASE_URL": self._url}
        with signals_as_usual():
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _COMMAND],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def _end(self) -> None:
        process = self._process
        if process is None or process.poll() is None:
            return
        self._process = None
        _, said = process.communicate()
        if process.returncode:
            raise StoreError(said.strip().splitlines()[-1] if said.strip() else f"exit {process.returncode}")
