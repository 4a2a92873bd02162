"""The tracker: what a host calls to have a run recorded.

It times, writes the journal and notifies the worker; it knows no database. No call raises
into the host: perfdb's own failures and calls in a wrong order are counted in
``health()`` and logged once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from perfdb.guard import foreign, raise_foreign, to_its_end
from perfdb.recording.console import Console
from perfdb.recording.context import OfThisProcess, Scope, carry, current, open_from
from perfdb.recording.health import COUNTERS, Health
from perfdb.recording.journal import Journal
from perfdb.recording.live import LiveSession, SystemClock
from perfdb.recording.mapping import map_in_threads
from perfdb.recording.monitor import Monitor
from perfdb.recording.native import load, localtime, monotonic, strftime, wait_for
from perfdb.recording.outcomes import outcome_of, take_expected
from perfdb.recording.step import LEFT, Step
from perfdb.recording.values import MAX_ITEMS, clean_json, clean_name, is_true
from perfdb.search import doubt_about_home, short_path
from perfdb.settings import Settings, trust_for
from perfdb.vocabulary import INTERRUPTED, check_session_id, mode_of

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeVar

    from perfdb.recording.live import Clock
    from perfdb.recording.values import Cleaner
    from perfdb.records import Session

    Item = TypeVar("Item")
    Result = TypeVar("Result")

    class Writer(Protocol):
        """What a tracker needs to know of the part that brings journals to the database."""

        def journal(self) -> Journal | None:
            """Return the journal of this process; None when there can be none."""

        def started(self, session: LiveSession) -> None:
            """Take note of a session that runs."""

        def ended(self, session: LiveSession) -> None:
            """Bring a session to the database soon; a second call changes nothing."""

        def left_to_wait(self, session: LiveSession, until: float) -> float:
            """Return the seconds to wait before asking again; 0 when the database has it, or is away."""

        def usual(self, session: LiveSession) -> Mapping[str, float]:
            """Return the usual seconds per step name in the history of such sessions."""

        def status(self) -> dict[str, Any]:
            """Return its own counters, ``ok`` and ``last_error``, in the form of ``Health.as_dict``."""


class Tracker(OfThisProcess):
    """Records the sessions of one pipeline, one after the other.

    Made by ``perfdb.create_tracker`` and ``perfdb.track``. It may be shared by threads.
    """

    _measures = True  # CPU time and memory of its sessions

    def __init__(
        self,
        settings: Settings,
        writer: Writer | None,
        *,
        health: Health,
        console: Console,
        live_lines: bool,
        monitor: Monitor | None,
        fast_mode: bool | None = False,
        clock: Clock | None = None,
    ) -> None:
        self.pipeline = settings.pipeline
        self._settings = settings
        self._writer = writer
        self._health = health
        self._console = console
        self._live_lines = live_lines
        self._monitor = monitor
        self._fast_mode = fast_mode
        self._clock = clock or SystemClock()
        self._live: LiveSession | None = None
        self._scope: Scope | None = None
        self._attributes: dict[str, Any] = {}
        self._events: list[dict[str, Any]] = []  # of the session itself
        self._cleaner: Cleaner | None = None  # one bound for all of them

    # -- the session -------------------------------------------------------------

    def start_pipeline(
        self, fast_mode: bool | None = None, *, session_id: str | None = None, **attributes: Any
    ) -> str:
        """Begin a session and return its id; every further keyword becomes an attribute of it.

        ``expected=(SomeError,)`` names exceptions that make it, or one of its steps, interrupted
        and not failed.

        Raises:
            InvalidSessionIdError: ``session_id`` was given and must not become a file name.
        """
        if session_id is not None:
            check_session_id(session_id)
        try:
            session_id = session_id or self._new_session_id()
            self._start(session_id, self._fast_mode if fast_mode is None else is_true(fast_mode), attributes)
            return session_id  # in here, or an interrupt of just this line would leave a session that runs
        except BaseException as error:
            other = foreign(error)
            if other is not None:
                self._break_off(other)
                raise other  # noqa: B904 (as it came)
            self._health.failed("starting a session", error)
        return session_id or ""

    def end_pipeline(
        self,
        success: bool = True,
        product_count: int | None = None,
        *,
        error: BaseException | str | None = None,
    ) -> None:
        """End the session, and wait up to ``wait_s`` until the database has it.

        An exception says itself what became of it: one that calls work off, such as a cancellation, makes it
        interrupted, ``SystemExit(0)`` is a success, every other one a failure.
        Steps that are still open are closed as failed, or as interrupted with their session.
        In a thread with a running event loop it does not wait.
        """
        live = self._live
        if live is None or live.ended:
            when = "without start_pipeline()" if live is None else "twice"
            self._health.misused(f"end_pipeline() was called {when}: the call is ignored")
            return

        def end() -> None:
            status, message = outcome_of(is_true(success), error, live.expected, text_decides=False)
            self._end(live, status, _as_count(product_count), message)

        to_its_end(self._health, "ending a session", end)
        self._wait_for(live)

    def _surely_end(self, success: bool = True, *, error: BaseException | str | None = None) -> None:
        """End what runs, also when an exception of the host's comes before anything was done."""
        try:
            if self.running:
                self.end_pipeline(success, error=error)
        except BaseException:
            if self.running:
                self.end_pipeline(success, error=error)
            raise

    def _wait_for(self, live: LiveSession) -> None:
        """Wait outside of any ``except``: a time limit of the host's may end it at any moment."""
        writer = self._writer
        if writer is None:
            return
        may_wait = not self._known("whether a loop runs", _in_event_loop, True)
        until = monotonic() + (self._settings.wait_s if may_wait else 0.0)
        while (left := self._known("how long to wait", lambda: writer.left_to_wait(live, until), 0.0)) > 0:
            wait_for(live.in_database, left)

    def set(self, **attributes: Any) -> None:
        """Add attributes to the session; later values replace earlier ones."""
        self._attributes.update(attributes)

    def event(self, name: str, /, **data: Any) -> None:
        """Note that something happened, in the innermost open step or else in the session's ``events``."""
        try:
            step = open_from(current.get())
            if isinstance(step, Step) and step.session is self._live:
                step.event(name, **data)
            elif self._live is not None:
                self._note(self._live, name, data)
        except Exception as error:
            raise_foreign(error)
            self._health.failed("recording an event", error)

    def _note(self, live: LiveSession, name: str, data: dict[str, Any]) -> None:
        if self._cleaner is None:
            self._events, self._cleaner = [], live.cleaner()
        if len(self._events) >= MAX_ITEMS:
            return
        event = {"name": clean_name(name), "time": round(live.now(), 6)}
        self._events.append(event | ({"data": self._cleaner.clean(data)} if data else {}))

    def _start(self, session_id: str, fast_mode: bool | None, attributes: dict[str, Any]) -> None:
        if self._live is not None and not self._live.ended:
            self._health.misused(
                "start_pipeline() was called while a session runs: that one ends as interrupted"
            )
            self._end(self._live, INTERRUPTED, None, "another session was started on the same tracker")
        expected = take_expected(attributes)
        self._attributes, self._cleaner = dict(attributes), None
        cleaned, _ = clean_json(dict(attributes), self._settings.redact)
        live = self._live = LiveSession(
            session_id,
            clean_name(self.pipeline),
            fast_mode=fast_mode,
            mode=mode_of({**cleaned, "fast_mode": fast_mode}, self._settings.mode_attributes),
            attributes=cleaned,
            journal=self._writer.journal if self._writer is not None else _no_journal,
            health=self._health,
            clock=self._clock,
            console=self._console if self._live_lines else None,
            secret_words=self._settings.redact,
            measured=self._measures,
        )
        live.expected = expected
        self._enter(live)
        if self._writer is not None:
            live.begin()
            self._writer.started(live)
        if self._monitor is not None:
            self._monitor.watch(live)
        if self._live_lines:
            if (writer := self._writer) is not None:
                self._console.usual = lambda name: writer.usual(live).get(name)
            self._console.session_started(session_id, fast_mode)

    def _enter(self, live: LiveSession) -> None:
        """Make a session current here, inside of what is."""
        self._scope = Scope(self, live, self._health, open_from(current.get()))
        self._scope.enter()

    def _break_off(self, error: BaseException) -> None:
        """End a session whose start an exception of the host's interrupted, as it says: nobody else will."""
        live = self._live
        if live is None or live.ended:
            return

        def end() -> None:
            status, message = outcome_of(False, error, live.expected)
            self._end(live, status, None, message)

        to_its_end(self._health, "ending a session", end)

    def _end(self, live: LiveSession, status: str, product_count: int | None, error: str | None) -> None:
        """End a session; called again after an exception of the host's interrupted it, do the rest."""
        open_steps: list[Any] = sorted(live.open_steps.values(), key=lambda step: step.seq, reverse=True)
        called_off = status == INTERRUPTED  # the steps with their session
        left_open = []
        for step in open_steps:
            try:
                if step._was_left(live.lane_here()):
                    step._end_with_session(LEFT, called_off=called_off)
                else:
                    reason = "still open when the pipeline ended"
                    step._end_with_session(reason, called_off=called_off)
                    left_open.append(step)
            except Exception as problem:  # one bad step holds up no other
                raise_foreign(problem)
                live.open_steps.pop(step.seq, None)
                self._health.failed("recording a step", problem)
        if self._monitor is not None:
            self._monitor.unwatch(live)
        if not live.finished:
            live.finish(status, product_count=product_count, error=error, attributes=self._all_attributes())
        if self._scope is not None:
            self._scope.leave()
            self._scope = None
        if self._writer is not None:
            self._writer.ended(live)
        if left_open and status != INTERRUPTED:
            names = ", ".join(repr(step.name) for step in reversed(left_open))
            self._health.misused(f"end_pipeline() found steps still open and closed them as failed: {names}")

    def _all_attributes(self) -> dict[str, Any]:
        # a copy: others may change them meanwhile
        cleaned, _ = clean_json(self._attributes.copy(), self._settings.redact)
        return cleaned if self._cleaner is None else {**cleaned, "events": self._events}

    def _new_session_id(self) -> str:
        stamp = strftime("%Y%m%d_%H%M%S", localtime(self._clock.time()))
        return f"{stamp}_{os.urandom(5).hex()}"

    # -- steps -------------------------------------------------------------------

    def step(self, name: str, /, **data: Any) -> Step:
        """Return a step to enter with ``with`` or ``async with``, to decorate with, or to start and stop.

        It is inside the innermost step that is open where it begins; ``parent=step`` names another one, for
        code that hears of beginnings and ends in callbacks. Every further keyword becomes additional data.
        """
        if "parent" in data and isinstance(data["parent"], Step):
            parent = data.pop("parent")
            return Step(self, name, data, parent)
        return Step(self, name, data)

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, max_workers: int = 8
    ) -> list[Result]:
        """Call ``function`` for all items on worker threads and return the results in order.

        The function runs inside the caller's step and session, as with ``perfdb.carry``. The first
        exception, in the order of the items, is raised when the running calls are done.
        """
        waiting = list(items)
        return map_in_threads(carry(function), waiting, max_workers) if waiting else []

    # -- what is known -------------------------------------------------------------

    @property
    def session_id(self) -> str | None:
        """The id of the running or last session."""
        return self._live.session_id if self._live is not None else None

    @property
    def running(self) -> bool:
        """Whether a session was started and has not ended."""
        return self._live is not None and not self._live.ended

    @property
    def total_duration(self) -> float | None:
        """Seconds of the session, so far while it runs."""
        live = self._live
        if live is None:
            return None
        if live.total_duration is not None:
            return live.total_duration
        return self._known("the duration", lambda: live.monotonic() - live.started, None)

    @property
    def step_durations(self) -> dict[str, float]:
        """Seconds per step name, of the steps that have ended; repeated names add up."""
        return self._known("the durations", self._live.step_durations, {}) if self._live is not None else {}

    @property
    def usual_durations(self) -> dict[str, float]:
        """The usual seconds per step name of such sessions; the first time it asks the database.

        Empty when there is no history, or no session.
        """
        live, writer = self._live, self._writer
        if live is None or writer is None:
            return {}
        return self._known("what is usual", lambda: dict(writer.usual(live)), {})

    @property
    def session(self) -> Session | None:
        """The running or last session as a frozen record."""
        live = self._live
        return self._known("the session", lambda: _record(live), None) if live is not None else None

    @property
    def alerts(self) -> list[Any]:
        """Open alerts that the last session opened or confirmed."""
        return list(self._live.alerts) if self._live is not None else []

    def health(self) -> dict[str, Any]:
        """Return ``ok``, ``last_error`` and the counters of what went wrong inside perfdb.

        ``errors``, ``misuse`` (calls in a wrong order), ``refused`` (records that the disk did not
        take), ``quarantined`` (damaged records put aside), ``lost`` (what ``perfdb.current()`` was given
        in a thread that knew of no session), ``delays`` (times the database was not ready),
        ``backlog_bytes`` (what waits in the journal) and ``database_error``; ``replaced`` once the
        database file was deleted or replaced while it was in use. ``warnings``: what was passed by in
        settings and environment; everything works.
        """
        writer: dict[str, Any] = {}
        if self._writer is not None:
            writer = self._known("the state of the writer", self._writer.status, {})
        own = self._health.as_dict()
        return {
            **own,
            **writer,
            **{name: own[name] + writer.get(name, 0) for name in COUNTERS},
            "ok": own["ok"] and writer.get("ok", True),
            "last_error": own["last_error"] or writer.get("last_error"),
            "warnings": list(dict.fromkeys([*own["warnings"], *writer.get("warnings", ())])),
        }

    def _known(self, what: str, get: Callable[[], Result], otherwise: Result) -> Result:
        try:
            return get()
        except Exception as error:
            raise_foreign(error)
            self._health.failed(f"telling {what}", error)
            return otherwise

    # -- telling -------------------------------------------------------------------

    def save_performance_report(self, path: str | Path | None = None) -> str | None:
        """Write the JSON report of the session and return its path; None when that failed.

        Without ``path`` it is ``performance_report_<session_id>.json`` in the report folder.
        """
        if self._live is None:
            self._health.misused(
                "save_performance_report() was called before start_pipeline(): nothing to save"
            )
            return None
        if self._settings.disabled:
            return None
        try:
            load("perfdb.recording.report")
            from perfdb.recording.report import to_report, write_report

            report = to_report(_record(self._live))
            if self._live.steps_not_kept:
                report["steps_not_kept"] = self._live.steps_not_kept  # the database has them
            place = path or _report_folder(self._settings)
            if place is None:
                return None
            written = write_report(report, place)
            return short_path(written)
        except Exception as error:
            raise_foreign(error)
            self._health.failed("saving the report", error)
            return None

    def print_summary(self) -> None:
        """Print what the session took, step by step."""
        if self._live is None:
            self._health.misused("print_summary() was called before start_pipeline(): nothing to print")
            return
        if self._settings.disabled:
            return
        try:
            self._console.print_summary(_record(self._live), alerts=self.alerts)
        except Exception as error:
            raise_foreign(error)
            self._health.failed("printing the summary", error)


class Joined(Tracker):
    """Records further steps of a session that another process began, and will end; see ``perfdb.join``."""

    def join(self, session_id: str, root_seq: int | None, attributes: dict[str, Any]) -> None:
        """Make the session current here, and its step ``root_seq`` the parent of what has none."""
        try:
            live = self._live = LiveSession(
                session_id,
                clean_name(self.pipeline),
                fast_mode=None,
                mode="{}",
                attributes=attributes,
                journal=self._writer.journal if self._writer is not None else _no_journal,
                health=self._health,
                clock=self._clock,
                console=self._console if self._live_lines else None,
                secret_words=self._settings.redact,
            )
            live.join(root_seq)
            self._enter(live)
            if self._writer is not None:
                self._writer.started(live)
        except Exception as error:
            raise_foreign(error)
            self._health.failed("joining a session", error)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._surely_end()
        except BaseException:  # of the host's, perhaps before anything was done
            self._surely_end()
            raise

    async def __aenter__(self) -> Tracker:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            self.__exit__()
        except BaseException:  # as above
            self.__exit__()
            raise


def _report_folder(settings: Settings) -> Path | None:
    """Return where reports go; None in a home of others, which was reported when recording began."""
    in_home = settings.report_dir == settings.home
    if in_home and doubt_about_home(settings.home, trust_for(settings)) is not None:
        return None
    return settings.report_dir


def _no_journal() -> None:
    return None


def _as_count(value: Any) -> int | None:
    try:
        count = int(value) if value is not None else None
    except (TypeError, ValueError, OverflowError) as error:
        raise_foreign(error)
        return None
    return count if count is not None and abs(count) < 1 << 63 else None


def _in_event_loop() -> bool:
    """Tell whether this thread runs a loop of asyncio or trio (anyio is one of the two): it must not wait."""
    # without the function while another thread, the worker perhaps, is in the middle of importing it
    running_loop = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    if running_loop is not None and running_loop() is not None:
        return True
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    if lowlevel is None:
        return False
    in_task = getattr(lowlevel, "in_trio_task", None)
    if in_task is not None:
        return bool(in_task())
    try:  # an older trio
        lowlevel.current_task()
    except RuntimeError as error:
        raise_foreign(error)
        return False
    return True


def _record(live: LiveSession) -> Session:
    load("perfdb.recording.snapshot")
    from perfdb.recording.snapshot import snapshot  # records cost more to import than a run to record

    return snapshot(live)
