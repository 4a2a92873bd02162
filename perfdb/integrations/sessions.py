"""Sessions of what a server or a queue runs: many at once, each current in its own thread or task.

Web middleware and task queues begin and end one for each request or task. Their ends wait for no database,
and no reports are written. A session may be held back: its lines stay in memory until it is released under
its final name, or dropped.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from perfdb.guard import raise_foreign
from perfdb.recorder import create_tracker, prepare
from perfdb.recording.console import Console
from perfdb.recording.health import Health
from perfdb.recording.live import LiveSession
from perfdb.recording.native import RLock, localtime, strftime
from perfdb.recording.tracker import Tracker
from perfdb.recording.values import clean_name
from perfdb.settings import Settings, load
from perfdb.worker.thread import Worker

_process = itertools.count(0)  # of ids; another object in a forked child


def _begin_process() -> None:
    global _process
    _process = itertools.count(int.from_bytes(os.urandom(5), "big"))


_begin_process()
os.register_at_fork(after_in_child=_begin_process)


@lru_cache(2)
def _stamp(instant: int) -> str:
    return strftime("%Y%m%d_%H%M%S", localtime(instant))


MOST_HELD = 10_000  # lines of a session that waits; with more it is released as it is


class Sessions:
    """Begins sessions with the same settings.

    Args:
        home: folder of database and journals, as for ``perfdb.create_tracker``.
        database_url: another database.
        settings: complete settings instead of the above.

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range.
    """

    def __init__(
        self,
        *,
        home: str | Path | None = None,
        database_url: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or load(home=home, database_url=database_url, console=False, monitor=False)
        self.health = Health()
        self._console = Console()
        self._first: Tracker | None = None  # what makes one finds the worker

    def prepare(self) -> None:
        """Do what the first session would wait for; a fork may follow."""
        prepare(settings=self.settings)

    def new(self, *, held: bool = False) -> Recording:
        """Return what records a session once it begins: who holds it can end it, whatever comes between."""
        if self._first is None:
            try:
                self._first = create_tracker(settings=self.settings)
                self.health.share_what_was_said(self._first._health)
            except Exception as error:
                raise_foreign(error)
                self.health.failed("preparing a tracker", error)
        worker = self._first._writer if self._first is not None else None
        recording = Recording(
            self.settings,
            None if held else worker,
            health=self.health,
            console=self._console,
            live_lines=False,
            monitor=None,
            fast_mode=None,
        )
        recording._measures = not held
        recording._held_back_from = worker if held and isinstance(worker, Worker) else None
        return recording


class CalledOffError(GeneratorExit):
    """What runs was called off: no failure."""


class Recording(Tracker):
    """A session of many; its end does not wait for the database."""

    held: _Held | None = None
    cause: Exception | None = None  # of an answer that is a failure
    _held_back_from: Worker | None = None

    def begin(self, pipeline: str, attributes: dict[str, Any]) -> None:
        """Begin, and become current here."""
        self.pipeline = pipeline
        try:
            self.start_pipeline(**attributes)
            if self._held_back_from is not None and self._live is not None:
                self.held = _Held(self._held_back_from, self._live)
                self._writer = self.held
        except BaseException as error:  # of the host's, just before or after
            self._break_off(error)
            raise

    def _new_session_id(self) -> str:
        """Return a new id, without asking the machine for random bits for each of thousands."""
        return f"{_stamp(int(self._clock.time()))}_{next(_process) & 0xFF_FFFF_FFFF:010x}"

    def _wait_for(self, live: LiveSession) -> None:
        """Leave it to ``wait``."""

    def wait(self) -> None:
        """Wait until the database has it, at most ``wait_s``, before a process that ends at once."""
        if self._live is not None:
            super()._wait_for(self._live)

    def name(self, pipeline: str) -> None:
        """Give a session that is held back its name."""
        self.pipeline = pipeline
        if self._live is not None:
            self._live.pipeline = clean_name(pipeline)

    def is_answered(self, error: BaseException | None) -> None:
        """Note an exception that the framework makes an answer of, so that it never comes here."""
        if isinstance(error, Exception):
            self.cause = error

    def end(self, error: BaseException | str | None = None, *, interrupted: bool = False) -> None:
        """End it; a text is the reason of a failure, or of an interruption."""
        success = error is None and not interrupted
        if interrupted and not isinstance(error, BaseException):
            error = CalledOffError(error)
        try:
            self._surely_end(success, error=error)
        except BaseException:  # of the host's, perhaps before anything was done
            self._surely_end(success, error=error)
            raise


class _Held:
    """Stands for the worker and for the journal of a session that is held back."""

    path = Path(os.devnull)
    is_closed = False

    def __init__(self, worker: Worker, live: LiveSession) -> None:
        self.header: dict[str, Any] = {}
        self.keeps = True  # what becomes of it at its end
        self.find_name: Callable[[], str | None] | None = None  # once it is known, nothing is held back
        self._worker = worker
        self._live = live
        self._is_released = False
        self._lines: list[bytes] = []
        self._lock = RLock()
        self._process = _process
        live._open_journal = self.journal
        live.journal = self  # type: ignore[assignment]
        worker.held_back.add(self)

    def write(self, body: bytes) -> bool:
        """Keep a line; False once it is to be written."""
        with self._lock:
            if self.is_closed:
                return False
            if self.keeps:
                self._lines.append(body)
            if not self._is_released and self._is_to_be_written():
                self.release()
            return True

    def _is_to_be_written(self) -> bool:
        return self._take_name() or len(self._lines) > MOST_HELD

    def _take_name(self) -> bool:
        if self.find_name is None or (name := self.find_name()) is None:
            return False
        self._live.pipeline, self.find_name = clean_name(name), None
        return True

    def release(self) -> None:
        """Write what was held back; what follows is written at once. At an exit the worker asks for it."""
        live = self._live
        with self._lock:
            is_ours = self._process is _process  # a forked child's copy is not its to write
            if self.is_closed or not self.keeps or not is_ours:
                return
            self._is_released = True
            self._take_name()
            if not live.begun:
                live.begin()
                self._lines.insert(0, self._lines.pop())
            self._worker.started(live)
            live.journal = journal = self._worker.journal()
            self._let_go(live)
            lines, self._lines = self._lines, []
            if journal is None or not journal.write_all(lines):
                for line in lines:
                    live.write(line)

    def drop(self) -> None:
        """Keep nothing of it, its end neither."""
        with self._lock:
            if not self.is_closed:
                self.keeps, self._lines = False, []
                self._live.begun = self._live.finished = True  # as far as lines go

    def journal(self) -> Any:
        """Return what takes lines now."""
        with self._lock:
            return self._worker.journal() if self.is_closed else self

    def _let_go(self, live: LiveSession) -> None:
        """Take no further lines, and hold each other no more: what is freed at once is not looked for."""
        self.is_closed = True
        self._worker.held_back.discard(self)
        live._open_journal = self._worker.journal

    def started(self, session: LiveSession) -> None:
        """Leave it to the release."""

    def ended(self, session: LiveSession) -> None:
        """Bring it to the database, or drop it."""
        if not self.is_closed and not self.keeps:
            self._let_go(session)
            self._lines = []
            session.ended, session.journal = True, None
            return
        self.release()
        self._worker.ended(session, soon=False)

    def left_to_wait(self, session: LiveSession, until: float) -> float:
        """Wait for nothing."""
        return 0.0

    def usual(self, session: LiveSession) -> Any:
        """Return what the worker knows."""
        return self._worker.usual(session)

    def status(self) -> dict[str, Any]:
        """Return the worker's."""
        return self._worker.status()
