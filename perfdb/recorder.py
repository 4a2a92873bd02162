"""The write door: trackers, and the one worker per database that they share in this process."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from perfdb.errors import PerfdbError
from perfdb.guard import raise_foreign
from perfdb.recording.console import Console
from perfdb.recording.context import (
    TOKEN_VARIABLE,
    Scope,
    called_within,
    open_from,
    read_token,
    running,
)
from perfdb.recording.context import current as current_node
from perfdb.recording.health import Health
from perfdb.recording.monitor import Monitor
from perfdb.recording.step import Step
from perfdb.recording.tracker import Joined, Tracker
from perfdb.settings import Settings, load, trust_for
from perfdb.worker import Worker

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T", bound=Tracker)

_workers: dict[tuple[Path, str], Worker] = {}
_monitor = Monitor()
_lock = threading.Lock()
_said_without_worker = Health()


def create_tracker(
    pipeline: str | None = None,
    *,
    home: str | Path | None = None,
    database_url: str | None = None,
    report_dir: str | Path | None = None,
    console: bool | None = None,
    monitor: bool | None = None,
    strict: bool | None = None,
    settings: Settings | None = None,
) -> Tracker:
    """Return a tracker; arguments win over ``PERFDB_*`` variables, those over the settings file.

    Args:
        pipeline: name of what is tracked ("design").
        home: folder of database, reports and journals (``performance_tracking``).
        database_url: another database, as SQLAlchemy names it.
        report_dir: folder of the JSON reports (the home).
        console: print a line as each step starts and ends (True).
        monitor: read CPU and memory while sessions run (True).
        strict: let perfdb's own failures out, for tests (False).
        settings: complete settings instead of all the above.

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range.
    """
    health = Health(strict=bool(strict))
    settings = settings or _load(
        health,
        pipeline=pipeline,
        home=home,
        database_url=database_url,
        report_dir=report_dir,
        console=console,
        monitor=monitor,
        strict=strict,
    )
    live_lines = settings.console is not False
    return _tracker(settings, health, live_lines=live_lines, fast_mode=False, kind=Tracker)


class track:  # noqa: N801 (reads as a verb: with perfdb.track("nightly-etl") as run)
    """Record one session of any pipeline, in one line; also a decorator.

    The report is saved at exit, and an exception ends the session as failed and passes.
    A cancellation, or an exception of ``expected=(SomeError,)``, ends it as interrupted.
    Keywords that ``create_tracker`` knows configure it, all others are attributes.
    """

    def __init__(
        self,
        pipeline: str,
        /,
        *,
        fast_mode: bool | None = None,
        home: str | Path | None = None,
        database_url: str | None = None,
        report_dir: str | Path | None = None,
        console: bool | None = None,
        monitor: bool | None = None,
        strict: bool | None = None,
        settings: Settings | None = None,
        **attributes: Any,
    ) -> None:
        self._health = Health(strict=bool(strict))
        self._settings = settings or _load(
            self._health,
            pipeline=pipeline,
            home=home,
            database_url=database_url,
            report_dir=report_dir,
            console=console,
            monitor=monitor,
            strict=strict,
        )
        self._fast_mode = fast_mode
        self._attributes = attributes
        self._tracker: Tracker | None = None

    def __enter__(self) -> Tracker:
        live_lines = self._settings.console is True
        tracker = _tracker(self._settings, self._health, live_lines=live_lines, fast_mode=None, kind=Tracker)
        self._tracker = tracker
        tracker.start_pipeline(self._fast_mode, **self._attributes)
        return tracker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            if tracker.running:
                tracker.end_pipeline(error=error)
            tracker.save_performance_report()

    async def __aenter__(self) -> Tracker:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function of any kind: each call is a session, that of a generator until it is closed."""
        return called_within(self._again, function)

    def _again(self) -> track:
        return track(
            self._settings.pipeline, fast_mode=self._fast_mode, settings=self._settings, **self._attributes
        )


def join(
    token: str | None = None,
    *,
    home: str | Path | None = None,
    database_url: str | None = None,
    console: bool | None = None,
    strict: bool | None = None,
    settings: Settings | None = None,
) -> Tracker | _Nothing:
    """Record further steps of a session that runs in another process, and return what records them.

    Also a context manager: ``with perfdb.join() as run: ...``. The session is current from now on, and its
    steps are inside of the step that was current where the token was made. Its end is for the process that
    began it.

    Args:
        token: what ``perfdb.context()`` returned there; that of the variable ``PERFDB_CONTEXT`` when None. An
            empty one says that nobody records there, and so does nobody here.
        home: folder of database and journals, as for ``create_tracker``; the same one as there.
        database_url: another database.
        console: print a line as each step starts and ends (False).
        strict: let perfdb's own failures out, for tests (False).
        settings: complete settings instead of all the above.

    Raises:
        UsageError: the text is no token.
        SettingsError: a setting is unknown, of the wrong type or out of range.
    """
    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    if not token:
        return _Nothing()
    session_id, seq = read_token(token)
    health = Health(strict=bool(strict))
    settings = settings or _load(
        health, home=home, database_url=database_url, console=console, strict=strict, monitor=False
    )
    joined = _tracker(settings, health, live_lines=settings.console is True, fast_mode=None, kind=Joined)
    joined.join(session_id, seq)
    return joined


class _Nothing:
    """Stands in for a step or a tracker where nothing is recorded: takes every call and does nothing.

    What would have been recorded although a session runs in this process is counted as lost.
    """

    def set(self, **data: Any) -> None:
        """Do nothing."""
        _lost("attributes")

    def event(self, name: str, /, **data: Any) -> None:
        """Do nothing."""
        _lost(f"event {name!r}")

    def stop(self, *, success: bool = True, error: BaseException | str | None = None) -> None:
        """Do nothing."""

    def step(self, name: str, /, **data: Any) -> _Nothing:
        """Return itself."""
        _lost(f"step {name!r}")
        return self

    def attempt(self) -> _Nothing:
        """Return itself."""
        return self

    def start(self) -> _Nothing:
        """Return itself."""
        return self

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def __aenter__(self) -> _Nothing:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function as it is."""
        return function


def _lost(what: str) -> None:
    for session in list(running):
        session.lost(what)


def current() -> Step | Tracker | _Nothing:
    """Return the innermost open step, else the session's tracker, else an object that does nothing.

    Library code may use it without knowing whether somebody records: ``perfdb.current().set(rows=3)``.
    """
    node = open_from(current_node.get())
    if isinstance(node, Scope):
        found = node.innermost_step()  # of a generator that was resumed in another context
        return found or node.tracker or _Nothing()
    return _Nothing() if node is None else node


def _load(health: Health, **overrides: Any) -> Settings:
    """Return the settings; when perfdb itself fails at them, such that nothing is recorded."""
    try:
        return load(**overrides)
    except PerfdbError:  # a mistake is said now, to who made it
        raise
    except Exception as error:
        raise_foreign(error)
        _cannot_record(health, "reading the settings", error)
        nowhere = Path(os.devnull)
        return Settings(home=nowhere, database_url="", report_dir=nowhere, disabled=True)


def _cannot_record(health: Health, doing: str, error: Exception) -> None:
    health.share_what_was_said(_said_without_worker)
    health.failed(f"{doing} (runs are not recorded)", error)


def _tracker(
    settings: Settings,
    health: Health,
    *,
    live_lines: bool,
    fast_mode: bool | None,
    kind: Callable[..., T],
) -> T:
    health.strict = settings.strict
    worker: Worker | None = None
    try:
        if not settings.disabled:
            _warn(settings, health)
            worker = _worker_for(settings)
            health.share_what_was_said(worker.health)
    except PerfdbError:
        raise
    except Exception as error:
        raise_foreign(error)
        _cannot_record(health, "preparing a tracker", error)
    return kind(
        settings,
        worker,
        health=health,
        console=Console(),
        live_lines=live_lines and not settings.disabled,
        monitor=_monitor if settings.monitor and worker is not None else None,
        fast_mode=fast_mode,
    )


def _warn(settings: Settings, health: Health) -> None:
    """Check the rules and channels, and say what was passed by in settings and environment."""
    warnings = list(settings.warnings)
    if settings.alerts:
        from perfdb.alerts.config import read_alert_settings

        warnings += [each.off for each in read_alert_settings(settings.alerts).channels_off if each.off]
    for each in warnings:
        health.warn(each)


def _worker_for(settings: Settings) -> Worker:
    with _lock:
        key = (settings.home, settings.database_url)
        worker = _workers.get(key)
        if worker is None:
            if not _workers:
                _join_process()
            worker = _workers[key] = Worker(
                settings.home,
                settings.database_url,
                health=Health(),
                fsync=settings.fsync,
                alerts=settings.alerts,
                retention=settings.retention,
                trust=trust_for(settings),
            )
        worker.alerting.use(settings.alerts)
        return worker


def close(wait_s: float = 2.0) -> None:
    """Bring everything to the databases and let go of them; trackers can still be used and open them anew."""
    with _lock:
        workers = list(_workers.values())
    for worker in workers:
        try:
            worker.close(wait_s)
        except Exception as error:
            worker.health.failed("closing", error)


_joined = False


def _join_process() -> None:
    """Register for the ends of this process, once."""
    global _joined
    if not _joined:
        _joined = True
        # Its fork handler takes the lock of all loggers. One that was registered later would run before ours,
        # which then waits for an import in the worker's thread that waits for this lock.
        import logging  # noqa: F401

        atexit.register(close)
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )


_held: list[Any] = []  # locks
_IMPORT_S = 30.0  # a fork waits so long for an import: its child would hang for ever


def _before_fork() -> None:
    # a child that is forked while a thread imports or talks to SQLite may hang for ever
    if _monitor.importing.acquire(timeout=_IMPORT_S):
        _held.append(_monitor.importing)
    for worker in list(_workers.values()):
        if worker.end_turn_for_fork(_IMPORT_S):
            _held.append(worker.turn_lock)


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().release()
    for worker in list(_workers.values()):
        worker.look_for_dead()


def _after_fork_in_child() -> None:
    _held.clear()
    _monitor.after_fork_in_child()
    for worker in _workers.values():
        worker.after_fork_in_child()
