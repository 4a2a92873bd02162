"""Entry points for recording: trackers, and the one worker per database that they share in this process."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from weakref import ref

from perfdb.errors import PerfdbError
from perfdb.guard import foreign, raise_foreign
from perfdb.recording import native
from perfdb.recording.console import Console, end_tickers, tickers_go_on
from perfdb.recording.context import (
    TOKEN_VARIABLE,
    Context,
    Scope,
    called_within,
    failed,
    find_current,
    health_of_ended,
    read_token,
    running,
)
from perfdb.recording.health import Health
from perfdb.recording.monitor import Monitor
from perfdb.recording.step import Step
from perfdb.recording.tracker import Joined, Tracker
from perfdb.settings import Settings, load, trust_for
from perfdb.surroundings import variable
from perfdb.toml import Table, parse
from perfdb.worker.thread import EXIT_WAIT_S, IMPORT_S, SHORTEST_WAIT_S, WAIT_BEFORE_FORK_S, Worker

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack

    from perfdb.records import Session

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T", bound=Tracker)

    class Options(TypedDict, total=False):
        """What ``create_tracker`` takes beside the name of the pipeline."""

        home: str | Path | None
        database_url: str | None
        report_dir: str | Path | None
        console: bool | None
        monitor: bool | None
        strict: bool | None
        settings: Settings | None


_workers: dict[tuple[Path, str], Worker] = {}
_monitor = Monitor()
# Their trackers may go on. No weak dictionary: its callbacks hide what a signal handler raises there.
_resting: dict[tuple[Path, str], ref[Worker]] = {}
_lock = native.RLock()
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


def prepare(pipeline: str | None = None, **options: Unpack[Options]) -> None:
    """Do at a server's start what its first session would wait for: imports, and the database's tables.

    Takes what ``create_tracker`` takes. Everything that it opened is closed when it returns, so that a server
    may fork afterwards; in an async program, ``await asyncio.to_thread(perfdb.prepare)``. A database that is
    away now, or any failure of perfdb's own, is logged, and the sessions are recorded all the same.

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range.
    """
    tracker = create_tracker(pipeline, **options)
    worker = tracker._writer
    if not isinstance(worker, Worker):  # nothing is recorded
        return
    try:
        from perfdb.recording import report, snapshot  # noqa: F401

        if tracker._monitor is not None:
            tracker._monitor.prepare()
        worker.prepare()
    except Exception as error:
        raise_foreign(error)
        tracker._health.failed("preparing", error)


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
        self._pipeline = pipeline
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
        self._options = {
            "home": home,
            "database_url": database_url,
            "report_dir": report_dir,
            "console": console,
            "monitor": monitor,
            "strict": strict,
            "settings": settings,
        }
        self._tracker: Tracker | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew, of the same arguments, in a process that is sent a decorated function."""
        options: dict[str, Any] = {**self._options, **self._attributes}
        return partial(track, self._pipeline, fast_mode=self._fast_mode, **options), ()

    def __enter__(self) -> Tracker:
        live_lines = self._settings.console is True
        tracker = _tracker(self._settings, self._health, live_lines=live_lines, fast_mode=None, kind=Tracker)
        self._tracker = tracker
        try:
            tracker.start_pipeline(self._fast_mode, **self._attributes)
        except BaseException as error:  # of the host's, just before or after: nobody will call `__exit__`
            tracker._break_off(error)
            raise
        return tracker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            try:
                tracker._surely_end(error=error)
            except BaseException:  # of the host's, perhaps before anything was done
                tracker._surely_end(error=error)
                raise
            tracker.save_performance_report()

    async def __aenter__(self) -> Tracker:
        try:
            tracker = self.__enter__()
        except BaseException as error:  # as above
            if self._tracker is not None:
                self._tracker._break_off(error)
            raise
        return tracker

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.__exit__(kind, error, trace)
        except BaseException:  # as above
            self.__exit__(kind, error, trace)
            raise

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
    token = variable(TOKEN_VARIABLE) if token is None else token
    if not token:
        return _Nothing()
    session_id, seq, trace = read_token(token)
    health = Health(strict=bool(strict))
    settings = settings or _load(
        health, home=home, database_url=database_url, console=console, strict=strict, monitor=False
    )
    joined = _tracker(settings, health, live_lines=settings.console is True, fast_mode=None, kind=Joined)
    try:
        joined.join(session_id, seq, {"traceparent": Context(token).traceparent} if trace else {})
    except BaseException as error:  # of the host's: nobody will leave it
        joined._break_off(error)
        raise
    return joined


class Intake:
    """Records sessions that were measured elsewhere: by a test runner, an OpenTelemetry SDK, a collector.

    Args:
        home: folder of database and journals, as for ``create_tracker``.
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
        self._health = Health()
        self._settings = settings or _load(self._health, home=home, database_url=database_url)
        # a tracker that never starts a session: what makes one is what this needs
        self._tracker = _tracker(self._settings, self._health, live_lines=False, fast_mode=None, kind=Tracker)

    def record(self, session: Session, *, provisional: bool = False) -> bool:
        """Record a finished session, without its credentials; return whether the journal has it.

        Recorded again, it changes nothing; steps that it did not have before are added. A provisional one was
        made without its beginning: what is recorded of it later takes its place. A failure of perfdb's own is
        counted in ``health()``.
        """
        worker = self._tracker._writer
        if not isinstance(worker, Worker):
            return False
        try:
            from perfdb.recording.finished import plain, prepared

            session = prepared(session, self._settings)
            try:
                return worker.take(session, provisional=provisional)
            except (TypeError, ValueError, RecursionError) as error:  # it holds what JSON cannot say
                raise_foreign(error)
                return worker.take(plain(session), provisional=provisional)
        except Exception as error:
            raise_foreign(error)
            self.failed("recording a session", error)
            return False

    def failed(self, doing: str, error: Exception) -> None:
        """Count a failure of what hands sessions over."""
        self._health.failed(doing, error)

    def flush(self, wait_s: float = EXIT_WAIT_S) -> bool:
        """Wait until the database has all that was recorded; return whether it has."""
        worker = self._tracker._writer
        return not isinstance(worker, Worker) or worker.bring_in(wait_s)

    def health(self) -> dict[str, Any]:
        """Return what ``Tracker.health()`` does."""
        return self._tracker.health()


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
    try:
        if (ended := health_of_ended()) is not None:
            message = (
                f"{what} of perfdb.current() was called after the end of its session and is not recorded"
            )
            ended.count("lost", 1, f"{message}: give it a session of its own, or end that one later")
            return
        for session in list(running):
            session.lost(what)
    except Exception as error:
        failed("counting what is lost", error)


def current() -> Step | Tracker | _Nothing:
    """Return the innermost open step, else the session's tracker, else an object that does nothing.

    Library code may use it without knowing whether somebody records: ``perfdb.current().set(rows=3)``.
    """
    node = find_current()
    if isinstance(node, Scope):
        try:
            found = node.innermost_step()  # of a generator that was resumed in another context
        except Exception as error:
            failed("finding the step that is open", error)
            found = None
        return found or node.tracker or _Nothing()
    return node if isinstance(node, Step) else _Nothing()


def usage(response: R) -> R:
    """Put model, tokens and images of an answer on the current step, or on the session; return the answer.

    ``answer = perfdb.usage(client.chat.completions.create(...))``: it takes what the SDKs of OpenAI (chat,
    responses, images, embeddings) and Anthropic return, their streams too and what ``with_raw_response``
    gives, messages of LangChain, or the same as JSON; ``await perfdb.usage(call)`` is ``perfdb.usage(await
    call)``. Several answers of one step add up. A stream that is read after its step has ended counts where
    it is read. What it is given is not changed; where nothing is recorded it does nothing. An answer in
    which it finds nothing is named in the ``warnings`` of ``health()``.
    """
    try:
        native.load("perfdb.recording.usage")
        import perfdb.recording.usage as used  # `from` runs code that hides exceptions

        node = current()
        if isinstance(node, _Nothing):
            node.set()
            return response

        def put(found: dict[str, Any]) -> None:
            to = current() if isinstance(node, Step) and not node.is_open else node
            before = to.data if isinstance(to, Step) else getattr(to, "_attributes", {})
            to.set(**used.added(before, found))

        if used.is_awaitable(response):
            return _usage_of(response)  # type: ignore[return-value]
        if used.is_manager(response):
            return used.Manager(response, put)  # type: ignore[return-value]
        if used.is_stream(response):
            return used.Stream(response, put)  # type: ignore[return-value]
        if not used.is_raw(response):
            found = used.used_in(response)
            if not found:
                tracker = node._tracker if isinstance(node, Step) else node
                tracker._health.warn(used.unknown(response))
            put(found)
        elif used.was_read(response):
            put(used.used_in_raw(response))
        else:
            return used.Raw(response, put)  # type: ignore[return-value]
    except Exception as error:
        failed("reading what a model used", error)
    return response


async def _usage_of(response: Any) -> Any:
    """Return the answer that is awaited, once what it used is put."""
    return usage(await response)


def _load(health: Health, **overrides: Any) -> Settings:
    """Return the settings; when perfdb itself fails at them, such that nothing is recorded."""
    try:
        return load(parse=_parse_apart, **overrides)
    except PerfdbError:  # a mistake is said now, to who made it
        raise
    except Exception as error:
        raise_foreign(error)
        _cannot_record(health, "reading the settings", error)
        nowhere = Path(os.devnull)
        return Settings(home=nowhere, database_url="", report_dir=nowhere, disabled=True)


def _parse_apart(text: str, *, source: str) -> Table:
    """Parse TOML, and import what looks at it, where no signal handler runs: both hide what one raises."""

    def read() -> Table:
        import perfdb.measures  # noqa: F401

        return parse(text, source=source)

    return native.apart(read)


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
        monitor=_monitor if settings.monitor and worker is not None and native.may_have_threads() else None,
        fast_mode=fast_mode,
    )


def _warn(settings: Settings, health: Health) -> None:
    """Check the rules and channels, and say what was passed by in settings and environment."""
    warnings = list(settings.warnings)
    if settings.prices:
        native.load("perfdb.worker.pricing")
        from perfdb.worker.pricing import read_prices

        read_prices(settings.prices)
    if settings.alerts:
        native.load("perfdb.alerts.config")
        from perfdb.alerts.config import read_alert_settings

        warnings += [each.off for each in read_alert_settings(settings.alerts).channels_off if each.off]
    for each in warnings:
        health.warn(each)


def _worker_for(settings: Settings) -> Worker:
    with _lock:
        key = (settings.home, settings.database_url)
        worker = _workers.get(key) or _rested(key)
        if worker is None:
            _join_process()
            worker = Worker(
                settings.home,
                settings.database_url,
                health=Health(),
                fsync=settings.fsync,
                alerts=settings.alerts,
                retention=settings.retention,
                archive=settings.archive,
                prices=settings.prices,
                trust=trust_for(settings),
                find_folders=lambda: _picture_folders(settings),
            )
            worker.rests = lambda worker: _rest(key, worker)
            worker.wakes = lambda worker: _workers.update({key: worker})
        _workers[key] = worker
        worker.alerting.use(settings.alerts)
        return worker


def _picture_folders(settings: Settings) -> list[Path]:
    from perfdb.store.session_files import folders_for

    return folders_for(settings, settings.database_url)


def _rest(key: tuple[Path, str], worker: Worker) -> None:
    if _workers.get(key) is worker:
        for gone in [other for other, each in list(_resting.items()) if each() is None]:
            _resting.pop(gone, None)
        _resting[key] = ref(worker)
        del _workers[key]


def _rested(key: tuple[Path, str]) -> Worker | None:
    found = _resting.get(key)
    return found() if found is not None else None


def _all_workers() -> list[Worker]:
    resting = [(key, worker) for key in list(_resting) if (worker := _rested(key)) is not None]
    return list({**dict(resting), **_workers}.values())


def close(wait_s: float = EXIT_WAIT_S) -> None:
    """Bring everything to the databases and let go of them; trackers can still be used and open them anew."""
    until = native.monotonic() + wait_s
    passing: BaseException | None = None
    for workers, closing in (  # one that rests wakes when it has the rows of a session that was held back
        (_all_workers, Worker.end_sessions),
        (lambda: _workers.values(), lambda worker: worker.close(until - native.monotonic())),
    ):
        for worker in list(workers()):
            try:
                closing(worker)
            except BaseException as error:
                other = foreign(error)
                if other is None:
                    worker.health.failed("closing", error)
                passing = passing or other  # once all others are closed, too
    if passing is not None:
        raise passing


def _close_at_exit() -> None:
    """End all threads, too: one that the interpreter stops at its very end may abort the process.

    Exit handlers that were registered before ours come after it: they bring in themselves what they record.
    """
    until = native.monotonic() + EXIT_WAIT_S + _LAST_WAIT_S
    native.begin_exit()
    close()
    native.start_no_more()
    _monitor.end_thread()
    _monitor.wait_for_end(max(SHORTEST_WAIT_S, until - native.monotonic()))
    native.wait_until_gone(max(SHORTEST_WAIT_S, until - native.monotonic()))


_joined = False


def _join_process() -> None:
    """Register for the ends of this process, once."""
    global _joined
    if not _joined:
        _joined = True
        # Its fork handler takes the lock of all loggers. One that was registered later would run before ours,
        # which then waits for an import in the worker's thread that waits for this lock.
        native.load("logging")

        atexit.register(_close_at_exit)
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )


_forking = native.RLock()  # one fork at a time
_held: list[Any] = []  # locks
_ignored: object = None  # the filter of warnings of forks
_LAST_WAIT_S = 0.4  # of an exit, beyond what it waits for databases, for threads to end


def _before_fork() -> None:
    """End our threads: a child that is forked while one imports or talks to SQLite may hang for ever.

    CPython 3.12 and later warn a host that forks beside any thread.
    """
    if _forking.acquire(timeout=IMPORT_S):
        _held.append(_forking)
    workers = _all_workers()
    if workers:  # a thread of the host may be importing these: its child would wait for it for ever
        native.load("perfdb.recording.report", "perfdb.recording.snapshot")
    with native.quick_switching():
        end_tickers()
        _monitor.end_thread()
        for worker in workers:
            worker.end_thread()
        _monitor.wait_for_end(IMPORT_S)
        for worker in workers:
            ended = worker.wait_for_end(IMPORT_S)
            # a thread of the host may be in there too, which shows the usual durations
            if worker.turn_lock.acquire(timeout=WAIT_BEFORE_FORK_S if ended else 0.0):
                _held.append(worker.turn_lock)
        native.wait_until_gone()
    _warn_of_fork(not native.is_alone())


def _warn_of_fork(beside_threads: bool) -> None:
    """Let CPython say that the process was forked beside threads only when it was.

    3.13 counts threads after our handlers, when ours run again. The next fork decides anew.
    """
    if sys.version_info < (3, 13):
        return
    global _ignored
    native.load("warnings")
    import warnings

    if _ignored in warnings.filters:
        if beside_threads:
            warnings.filters.remove(_ignored)
    elif not beside_threads:
        message = rf"This process \(pid={os.getpid()}\) is multi-threaded, use of "
        warnings.filterwarnings("ignore", message, DeprecationWarning)
        _ignored = warnings.filters[0]


def _after_fork_in_parent() -> None:
    workers = _all_workers()
    forking = _forking in _held
    for lock in reversed(_held[1:] if forking else _held):
        lock.release()
    _held.clear()
    with native.quick_switching():
        for worker in workers:
            worker.look_for_dead()
            worker.go_on()
        _monitor.go_on()
        tickers_go_on()
    if forking:
        _forking.release()


def _after_fork_in_child() -> None:
    global _forking, _lock
    _forking, _lock = native.RLock(), native.RLock()
    held = list(_held)
    _held.clear()
    native.after_fork_in_child()
    _monitor.after_fork_in_child()
    for worker in _all_workers():
        worker.after_fork_in_child(is_still=worker.turn_lock in held)
