"""Test a pipeline that perfdb records: a clock that the test moves, made-up runs, a history of its own.

Example::

    def test_the_nightly_run_loads_before_it_transforms(tmp_path):
        with perfdb.testing.recording(tmp_path) as history:
            nightly.main()
        assert list(history.session("last").step_durations) == ["load", "transform"]
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

from perfdb import recorder
from perfdb.history.history import History
from perfdb.recording.tracker import Tracker
from perfdb.records import Session, Step
from perfdb.settings import absolute
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.vocabulary import COMPLETED

NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC


class ManualClock:
    """A clock that only the test moves.

    Args:
        start: the first time of its wall clock, in epoch seconds (noon of 1 January 2026, UTC).
    """

    def __init__(self, start: float = NOON) -> None:
        self._start = start
        self._begun = perf_counter()
        self._set_by = 0.0
        self.passed = 0.0

    def time(self) -> float:
        """Return epoch seconds."""
        return self._start + self.passed + self._set_by

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return self._begun + self.passed

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self.passed += seconds

    def set_by(self, seconds: float) -> None:
        """Change the wall clock only, as an operator or NTP does."""
        self._set_by += seconds

    def drive(self, tracker: Tracker) -> Tracker:
        """Make a tracker use this clock from its next session on; return the tracker."""
        tracker._clock = self
        return tracker


def make_session(
    number: int = 0,
    steps: Mapping[str, float] | Iterable[Step] = (),
    *,
    every_s: float = 60.0,
    start: float = NOON,
    **changes: Any,
) -> Session:
    """Return a completed session whose steps follow one another.

    Args:
        number: its number in the pipeline's history; the id (``run-0007``) and the start time come from it.
        steps: seconds by step name, or complete steps.
        every_s: seconds between the starts of two sessions.
        start: epoch seconds at which session 0 starts.
        changes: other fields of ``perfdb.Session``. ``fast_mode`` also sets ``mode``.
    """
    begun = start + number * every_s
    if isinstance(steps, Mapping):
        made, at = [], begun
        for seq, (name, seconds) in enumerate(steps.items()):
            made.append(Step(step_name=name, start_time=at, duration=seconds, success=True, seq=seq))
            at += seconds
        steps = made
    steps = tuple(steps)
    session = Session(
        session_id=f"run-{number:04d}",
        pipeline="design",
        start_time=begun,
        total_duration=max((each.end_time or begun for each in steps), default=begun) - begun,
        status=COMPLETED,
        success=True,
        steps=steps,
    )
    if "fast_mode" in changes and "mode" not in changes:
        changes["mode"] = json.dumps({"fast_mode": changes["fast_mode"]}, separators=(",", ":"))
    return replace(session, **changes)


def make_history(place: str | os.PathLike[str], sessions: Iterable[Session]) -> History:
    """Write sessions to a database and return its history.

    Args:
        place: a database URL, or a folder for a SQLite file.
        sessions: finished sessions; those already in the database are left unchanged.

    Raises:
        StoreError: the database cannot be opened.
    """
    history = History(place) if "://" in str(place) else History(home=place)
    if not history.is_explicit:
        absolute(place).mkdir(parents=True, exist_ok=True)
    with Database(history.url) as database, database.writing() as connection:
        insert_sessions(connection, sessions)
    return history


@contextmanager
def recording(
    home: str | os.PathLike[str], *, config: str | os.PathLike[str] | None = None
) -> Iterator[History]:
    """Record everything inside the block to a folder of its own; yield the history of that folder.

    This holds for the process and for the programs that it starts: until the block ends, ``PERFDB_HOME`` and
    ``PERFDB_CONFIG`` are set and all other ``PERFDB_*`` variables are removed. When it has ended, everything
    that was recorded can be read. All threads share the setting, so tests that run at the same time need
    separate processes, as with pytest-xdist.

    Args:
        home: the folder, such as pytest's ``tmp_path``; it is created if it does not exist.
        config: a settings file. Without one the defaults apply, so that a test sends nothing to the alert
            channels of the project around it.
    """
    folder = absolute(home)
    folder.mkdir(parents=True, exist_ok=True)
    if config is None:
        config = folder / ".no-settings.toml"  # a perfdb.toml may be there already
        config.write_text("")
    outside = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PERFDB_")}
    os.environ |= {"PERFDB_HOME": str(folder), "PERFDB_CONFIG": str(absolute(config))}
    try:
        yield History(home=folder)
    finally:
        recorder.close()
        for name in [name for name in os.environ if name.startswith("PERFDB_")]:
            del os.environ[name]
        os.environ |= outside
