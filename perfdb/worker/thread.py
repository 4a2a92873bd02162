"""In the background: move journals to the database.

One thread per process and database tries again and again. A database that is locked, full, away or broken
delays the rows; the journal keeps them. The thread ends when there is nothing to do, and before the process
forks or ends; the next call that has work for it starts another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from perfdb.errors import AbsentError, StoreError
from perfdb.guard import raise_foreign
from perfdb.recording import secret_shapes
from perfdb.recording.health import Health, debugging
from perfdb.recording.journal import Journal, encode, journals_in
from perfdb.recording.judged import note_unjudged
from perfdb.recording.live import LiveSession
from perfdb.recording.native import (
    Flag,
    RLock,
    Thread,
    apart,
    is_exiting,
    leave_signals_to_the_host,
    monotonic,
    prepare_greenlets,
    sleep,
    wait_for_imports,
)
from perfdb.search import doubt_about_home
from perfdb.store.database import Database, EndingError
from perfdb.toml import Table
from perfdb.vocabulary import INTERRUPTED, PROCESS_ENDED
from perfdb.worker.alerting import Alerting, Ended
from perfdb.worker.journals import Journals, waiting_text
from perfdb.worker.outage import Outage, is_away, is_locked
from perfdb.worker.rolling import Rolling

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any, Protocol

    from perfdb.records import Session
    from perfdb.trust import Trust
    from perfdb.worker.archiving import Archiving
    from perfdb.worker.upkeep import Upkeep

    class HeldBack(Protocol):
        """A session whose lines are kept in memory for a while."""

        def release(self) -> None:
            """Begin it here, and write them."""


TICK_S = 1.0
ANNOUNCE_AFTER_S = 1.0
IDLE_S = 2.0  # the thread ends, and the files are closed, when nothing happened for so long
QUIET_S = 0.2  # the same once another database is in use: there may be one per test or customer
REST_S = 0.025  # between two pieces of a pruning, which take 2 ms, or two of evaluations
MOVE_S = 0.5  # of a turn, for moving rows while further ones come: those that came are to be evaluated, too
EVALUATE_S = 0.1  # of a turn, for evaluation, while rows wait
EXIT_PRUNE_S = 0.5  # of an exit's waiting is for pruning, so that short programs do their share
EXIT_WAIT_S = 2.0  # an exiting process waits so long for a database that does nothing
EXIT_ANSWERED_S = 3.0  # and so much longer for one that answers
LOOK_FOR_DEAD_S = 60.0
MOST_WAITING = 10_000  # ended sessions that the database does not have yet; the journal has all of them
# Short, because a fork of the host waits for the turn in hand; the thread tries again for ever.
BUSY_TIMEOUT_S = 0.04
SHARED_BUSY_TIMEOUT_S = 0.25
WAIT_BEFORE_FORK_S = 1.0
SHARED_WAIT_BEFORE_FORK_S = 0.25  # a thread that waits for a server holds nothing that a child needs
MIGRATING_WAIT_S = 5.0  # on a busy machine a new database takes seconds; an old one may take minutes
IMPORT_S = 30.0  # a fork or an exit waits so long for an import: who imports afterwards would hang for ever
SHORTEST_WAIT_S = 0.1  # at an exit, for a thread to end at its next safe point
LOOK_S = 0.05  # between two checks whether it is in vain to wait for a session
LOG_LIMIT_BYTES = 64 << 20  # SQLite keeps its write-ahead log at some 4 MB, unless a reader holds it open
_LOG_TOO_LONG = (
    "the write-ahead log beside the database has outgrown its limit: a reader holds it open, and it shrinks "
    "when that reader ends"
)


_MIGRATING = "perfdb.store.migrating"

_newest: Worker | None = None  # the one that was used last


class Worker:
    """The journals of this process on their way to one database; what a tracker knows as its Writer."""

    def __init__(
        self,
        home: Path,
        database_url: str,
        *,
        health: Health,
        fsync: bool = False,
        alerts: Table | None = None,
        retention: Table | None = None,
        archive: Table | None = None,
        prices: Table | None = None,
        trust: Trust | None = None,
        find_folders: Callable[[], list[Path]] = list,
    ) -> None:
        self.folder = home.joinpath("journal")
        self._trust = trust  # None when somebody named the home
        self.health = health
        timeout_s = BUSY_TIMEOUT_S if database_url.startswith("sqlite") else SHARED_BUSY_TIMEOUT_S
        self._database = Database(database_url, timeout_s, health, ends=self._must_end, prices=prices)
        self._journals = Journals(self.folder, health, fsync=fsync)
        self._noted_beside: Path | None = None  # the journal with a note of sessions to be evaluated
        self._sessions: list[LiveSession] = []  # those that run
        self.held_back: set[HeldBack] = set()  # those of which no line is written yet
        self._waiting: deque[Ended] = deque(maxlen=MOST_WAITING)  # those that the database is to get
        self._done: list[Ended] = []  # in the database, their hosts may go on
        self._moved = 0  # records, in the turn in hand
        self._moved_at = float("-inf")  # when the last ones came
        self._thread: Thread | None = None
        self._wake = Flag()
        self._ends = False  # the thread is to end, and no other one to begin
        self.rests: Callable[[Worker], None] | None = None  # called when it lets go of all
        self.wakes: Callable[[Worker], None] | None = None
        self._turns = 0
        self._outage = Outage(self._database, health)
        self._log_problem: str | None = None
        self._looked_for_dead = float("-inf")
        self._heard_of = monotonic()
        self._reset_locks()
        self.alerting = Alerting(
            alerts or Table({}), self._database, self.turn_lock, health, self._delivery_rests
        )
        self._upkeep: Upkeep | None = None
        self._evaluates = self._prunes = False  # there is more to do soon
        self._rolling = Rolling(self._database, health)
        if retention:
            from perfdb.store.upkeep.pruning import read_policy
            from perfdb.worker.upkeep import Upkeep

            self._upkeep = Upkeep(home, read_policy(retention), self._database, health, find_folders)
        self._archiving: Archiving | None = None
        if archive:
            from perfdb.worker.archiving import Archiving, read_archive

            if (found := read_archive(archive)) is not None:
                self._archiving = Archiving(home, database_url, *found, health)

    def _reset_locks(self) -> None:
        self.turn_lock = RLock()  # held while the thread imports or is in a batch
        self._lock = RLock()
        self._starting = RLock()  # held for a moment only: a fork asks for it beside busy threads

    # -- called by trackers --------------------------------------------------------

    def journal(self) -> Journal | None:
        """Return the journal for new sessions; None while there can be none."""
        with self._lock:
            journal = self._journals.current(self._sessions, self._doubt)
        if journal is not None:
            self._ensure_thread()
        return journal

    def started(self, session: LiveSession) -> None:
        """Take note of a session that runs."""
        with self._lock:
            self._sessions.append(session)
        self._ensure_thread()

    def ended(self, session: LiveSession, *, soon: bool = True) -> None:
        """Bring a session to the database; a second call changes nothing.

        Args:
            session: which has ended.
            soon: somebody waits for it; otherwise it is gathered with others of the same moment, because a
                turn for each of many would compete with their hosts.
        """
        if session.journal is None or session.inherited:
            self._forget(session)
            return
        with self._lock:
            if session in self._sessions:  # of an outage there may be thousands: their steps may go
                self._waiting.append(Ended(session))
                self._sessions.remove(session)
        self._ensure_thread()
        if soon:
            self._wake.set()

    def take(self, session: Session, *, provisional: bool = False) -> bool:
        """Write a session that was measured elsewhere; return whether the journal has it, whole.

        Given again, it changes nothing; what is new in it is added.
        """
        from perfdb.recording.finished import records_of

        lines = [
            encode(record) for record in records_of(session, with_environment=True, provisional=provisional)
        ]
        with self._lock:
            journal = self._journals.current(self._sessions, self._doubt)
            if journal is None:
                return False
            if not journal.write_all(lines):
                self.health.count("refused", 1, f"the disk refuses records ({journal.path}): free some space")
                return False
            self._waiting.append(Ended(session))
        self._ensure_thread()
        return True

    def left_to_wait(self, session: LiveSession, until: float) -> float:
        """Return the seconds to wait before asking again; 0 when the database has it, or is away.

        An exiting process has no thread that would bring it in: it is brought in here.
        """
        if session.journal is None or session.inherited:
            return 0.0
        if is_exiting():
            self.close(min(until - monotonic(), EXIT_WAIT_S))
            return 0.0
        if session.in_database.is_set() or self._outage.is_known or not (self._ends or self._is_at_work()):
            return 0.0
        return min(until - monotonic(), LOOK_S)

    def usual(self, session: LiveSession) -> Mapping[str, float]:
        """Return the usual seconds per step of such sessions; asked by the live line of a terminal."""
        if session.usual is None:
            session.usual = {}
            if self._doubt() is not None:
                return session.usual
            with self.turn_lock:  # imports, and a fork must not happen meanwhile
                ask = partial(usual_durations, self._database.url, session.pipeline, session.mode)
                session.usual = apart(ask)  # SQLAlchemy takes a handler's exception for one of its own
        return session.usual

    def prepare(self) -> None:
        """Import what the thread will need, make or upgrade the database, and let go of it."""
        deadline: float | None = None  # what was imported before took no turn of the lock
        while (error := self._prepare()) is not None:
            deadline = deadline or monotonic() + MIGRATING_WAIT_S
            if not is_locked(error) or monotonic() > deadline:
                self._outage.say(error, has_rows=bool(self._backlog()))
                return
            sleep(0.01)  # another process of the same server makes the tables

    def _prepare(self) -> Exception | None:
        """Try to prepare; return why the database is away."""
        with self.turn_lock:  # a fork must not happen meanwhile
            secret_shapes.prepare()
            try:
                from perfdb.store import ingest, leases  # noqa: F401
                from perfdb.worker import pricing, recovery, shipping  # noqa: F401

                with self._database.writing():
                    pass
                self.alerting.prepare()
            except Exception as error:
                if not is_away(error):
                    raise
                return error
            finally:
                if not self._is_at_work():
                    self._database.forget()
        return None

    def status(self) -> dict[str, Any]:
        """Return the counters, ``database_error`` and the ``backlog_bytes`` that wait in journals."""
        known = self.health.as_dict()
        return {
            **known,
            "ok": known["ok"] and self._outage.problem is None and self._log_problem is None,
            "last_error": self._outage.problem or self._log_problem or known["last_error"],
            "database_error": self._outage.problem,
            "backlog_bytes": self._backlog(),
        }

    def _doubt(self) -> str | None:
        return doubt_about_home(self.folder.parent, self._trust)

    def _forget(self, session: LiveSession) -> None:
        with self._lock:
            self._sessions = [other for other in self._sessions if other is not session]

    def _backlog(self) -> int:
        return self._journals.backlog()

    # -- the thread ------------------------------------------------------------------

    def _is_at_work(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive

    def _must_end(self) -> bool:
        thread = self._thread
        return self._ends and thread is not None and thread.is_current

    def _ensure_thread(self) -> None:
        global _newest
        _newest = self
        if self._is_at_work():
            return
        with self._starting:
            if self._ends or self._is_at_work():
                return
            thread = self._thread = Thread(self._run)
            if self.wakes is not None:
                self.wakes(self)
        try:
            prepare_greenlets()
            thread.start()
        except RuntimeError as error:  # the next session tries again, and the exit
            raise_foreign(error)
            if not is_exiting():
                self.health.delayed("no thread can be started, the journal keeps the rows", error)

    def _run(self) -> None:
        leave_signals_to_the_host()
        try:
            self._work()
        except Exception as error:  # the next session starts another thread
            self.health.failed("working in the background", error)

    def _work(self) -> None:
        busy_at = monotonic()
        moved_at: float | None = busy_at
        while not self._ends:
            self._wake.wait(self._time_to_next_turn())
            if self._ends:
                return
            with self.turn_lock:
                moved = self.turn()
                secret_shapes.prepare()
            if moved or self._is_needed():
                busy_at = monotonic()
            elif monotonic() - busy_at > (IDLE_S if _newest is self else QUIET_S) and self._rest():
                return
            if moved or self._outage.is_known:
                moved_at = monotonic()
            elif moved_at is not None and monotonic() - moved_at > IDLE_S and self._database.is_shared:
                moved_at = None  # a server's connection is not held through a step of hours
                with self.turn_lock:
                    self._database.rest()

    def _time_to_next_turn(self) -> float:
        if self._outage.pause_s:
            return self._outage.pause_s
        return REST_S if self._evaluates or self._prunes else TICK_S if self._sessions else QUIET_S

    def _is_needed(self) -> bool:
        return bool(
            self._sessions or self._backlog() or self.alerting.waits or self._log_problem or self._prunes
        )

    def _rest(self) -> bool:
        """Let go of files and connections; return whether the thread may end: no work came meanwhile."""
        with self.turn_lock:
            with self._lock:
                if self._is_needed():
                    return False
                journals = self._journals.take_all()
            whole = [self._let_go(journal, remove=True) for journal in journals]
            self._database.forget()
            with self._lock:
                if not all(whole) or self._is_needed() or self._journals:
                    return False
                self._waiting.clear()
                if self.rests is not None and not self.alerting.delivers:
                    self.rests(self)
                if self._thread is not None:
                    self._thread.leave()
                return True

    def _delivery_rests(self, ends: bool) -> None:
        """Let go of the database that a message was read from while all else rests."""
        with self.turn_lock, self._starting:
            if not self._is_at_work():
                self._database.forget()
                if ends and self.rests is not None and not self.alerting.delivers:
                    self.rests(self)

    def _let_go(self, journal: Journal, *, remove: bool) -> bool:
        """Close a journal, and remove it when the database has all of it; return whether that is so."""
        if self._journals.let_go(journal, remove=remove):
            return True
        self.look_for_dead()  # it is one of them now
        return False

    def turn(self) -> int:
        """Move what waits and return how many records that were; never raises.

        A bug in one part does not stop the others. A database that is away ends the turn: each further part
        would wait for it again.
        """
        self._moved = 0
        if not self._journals and self._doubt() is not None:  # said when a journal was to be made
            return 0
        failure: Exception | None = None
        try:
            for part in (
                self._announce_open_steps,
                self._move,
                self._retire,
                self._recover_dead,
                self._be_heard_of,
                self._evaluate,
                self._prune,
                self._watch_log,
            ):
                try:
                    part()
                except Exception as error:
                    if isinstance(error, EndingError):
                        break
                    failure = failure or error
                    if part != self._announce_open_steps and is_away(error):
                        failure = error
                        break
                if self._ends:
                    break
            if failure is not None:
                self._outage.note(failure, has_rows=bool(self._backlog()))
            elif not self._ends:
                self._outage = Outage(self._database, self.health)  # if there was one, it is over
        finally:
            self._turns += 1
            # at the very end: what is done after it would run beside the host's next steps
            done, self._done = self._done, []
            for each in done:
                session = each.session()
                if session is not None:
                    session.in_database.set()
        return self._moved

    def look_for_dead(self) -> None:
        """Look for journals of dead processes at the next turn: a child may have ended."""
        self._looked_for_dead = float("-inf")

    def end_thread(self) -> None:
        """Have the thread end at the next safe point, never in an import or a batch; none begins."""
        self._ends = True
        self._wake.set()
        self.alerting.end_thread()

    def wait_for_end(self, import_s: float) -> bool:
        """Wait for that, but not for a thread that only waits for a server; return whether it has ended.

        Args:
            import_s: how long to wait for an import; on a busy machine one takes seconds.
        """
        thread = self._thread
        if thread is not None and thread.is_current:
            return True
        wait_s = SHARED_WAIT_BEFORE_FORK_S if self._database.is_shared else WAIT_BEFORE_FORK_S
        begun = now = monotonic()
        until = begun + wait_s
        ended = thread is None
        while thread is not None and not ended and now < until:
            ended = thread.join(min(0.02, until - now))
            now = monotonic()
            if not ended and now - begun < self._longer_wait_s(thread, import_s):
                until = now + wait_s
        return ended and self.alerting.wait_for_end(wait_s)

    def go_on(self) -> None:
        """Let threads begin again, and begin one when there is something to do."""
        self._ends = False
        if is_exiting():
            return
        if self._is_needed() or self._waiting:
            self._ensure_thread()
        self.alerting.go_on()

    def _longer_wait_s(self, thread: Thread, import_s: float) -> float:
        """Return how long a fork waits for what the thread is in: an import, or making the tables."""
        if thread.is_importing:
            return import_s
        makes_tables = _MIGRATING in [frame.f_globals.get("__name__") for frame in thread.frames]
        return min(import_s, MIGRATING_WAIT_S) if makes_tables else 0.0

    def _watch_log(self) -> None:
        """Keep SQLite's write-ahead log short, and say so when a reader does not let us."""
        size = self._database.shrink_log(LOG_LIMIT_BYTES)
        if size <= LOG_LIMIT_BYTES:
            self._log_problem = None
            return
        if self._log_problem is None:
            self.health.delayed("the database cannot be tidied", StoreError(_LOG_TOO_LONG))
        self._log_problem = f"{_LOG_TOO_LONG} ({size / 1e6:.0f} MB)"

    def _announce_open_steps(self) -> None:
        for session in list(self._sessions):
            if not session.inherited:
                for step in list(session.open_steps.values()):
                    if not step.announced and session.monotonic() - step.begun > ANNOUNCE_AFTER_S:
                        session.announce(step)

    def _move(self) -> None:
        if self._outage.busy_since is not None:  # journals are not read again for a lock that is still held
            with self._database.writing():
                pass
        until = monotonic() + MOVE_S
        for journal in self._journals.all():
            if journal.is_whole():
                self._drain(journal, until)
            else:  # it cannot be opened again: it is one of the dead now
                with self._lock:
                    self._journals.remove(journal)
                self.look_for_dead()

    def _recover_dead(self) -> None:
        if monotonic() - self._looked_for_dead > LOOK_FOR_DEAD_S:
            from perfdb.worker.recovery import recover_dead

            self._looked_for_dead = monotonic()
            found = recover_dead(
                self.folder, self._database, self.health, self.alerting.evaluate_left, trust=self._trust
            )
            if found.finished:
                self.alerting.evaluate_historic(found.finished)

    def _evaluate(self) -> None:
        """Evaluate what has come, but for a moment only: rows go first."""
        self.alerting.watch(list(self._sessions))
        is_idle = monotonic() - self._moved_at >= QUIET_S  # a turn may find nothing in the midst of a loop
        self._evaluates = self.alerting.evaluate_waiting(idle=is_idle, seconds=EVALUATE_S)
        self.alerting.tell_after_silence()
        if not self.alerting.waits:
            self._journals.note_judged()
            if self._noted_beside is not None:
                note_unjudged(self._noted_beside, ())
                self._noted_beside = None

    def _prune(self) -> None:
        self._prunes = self._upkeep is not None and self._upkeep.turn(idle=not self._moved)
        self._prunes |= self._rolling.turn(moved=self._moved)
        if self._archiving is not None:
            self._archiving.turn()

    def _be_heard_of(self) -> None:
        """Renew the leases of our sessions: other hosts cannot see the locks of our journals."""
        if not self._database.is_shared:
            return
        from perfdb.store.leases import RENEW_S, renew

        running = [each.session_id for each in list(self._sessions) if not (each.ended or each.inherited)]
        if running and monotonic() - self._heard_of > RENEW_S:
            with self._database.writing() as connection:
                renew(connection, [str(each.header["journal_id"]) for each in self._journals.all()], running)
            self._heard_of = monotonic()

    def _drain(self, journal: Journal, until: float) -> None:
        from perfdb.worker.shipping import move_batch

        while journal.size > (known := self._journals.read_to(journal)):
            records, end, finished = move_batch(self._database, journal, self.health, known)
            self._journals.note_read(journal, end)
            if (debug := debugging()) is not None:
                debug("%d records of %s are in the database, %d bytes so far", records, journal.name, end)
            self._moved += records
            self._moved_at = monotonic()
            self._note_finished(set(finished))
            if not records or monotonic() > until:
                break

    def _note_finished(self, finished: set[str]) -> None:
        if not finished:
            return
        with self._lock:
            early = [each for each in self._sessions if each.session_id in finished and each.ended]
            self._sessions = [each for each in self._sessions if each not in early]
            done = []
            while self._waiting and self._waiting[0].session_id in finished:  # as they mostly come
                done.append(self._waiting.popleft())
            if len(done) + len(early) < len(finished):
                done += [each for each in self._waiting if each.session_id in finished]
                left = (each for each in self._waiting if each.session_id not in finished)
                self._waiting = deque(left, MOST_WAITING)
        done += map(Ended, early)
        self._done += done
        self.alerting.add(done)

    def _retire(self) -> None:
        """Remove journals that are not needed any more; sessions yet to evaluate are noted beside another."""
        with self._lock:
            spent = self._journals.spent(self._sessions)
        if spent and (waiting := self.alerting.unjudged()):
            beside = self._journals.all()[-1].path
            if not note_unjudged(beside, waiting):
                return
            self._noted_beside = beside
        for journal in spent:
            with self._lock:
                self._journals.remove(journal)
            self._let_go(journal, remove=True)

    # -- the ends of a process -----------------------------------------------------------

    def close(self, wait_s: float = EXIT_WAIT_S) -> None:
        """Bring everything to the database if it can be had in time, end the thread, let go of files."""
        until = self._bring_in(monotonic() + wait_s)
        self._say_what_waits()
        if not self._outage.is_known:
            self._finish_alerts(until, leaves=True)
        self._go_on_pruning(min(until, monotonic() + EXIT_PRUNE_S))
        self.end_thread()
        try:
            thread = self._thread
            if thread is not None:
                thread.join(max(SHORTEST_WAIT_S, until - monotonic()))
                if is_exiting():
                    wait_for_imports(IMPORT_S)
            self.alerting.wait_for_end(until - monotonic())
            if self.turn_lock.acquire(timeout=max(0.0, until - monotonic())):
                try:
                    self._close_files()
                finally:
                    self.turn_lock.release()
        finally:
            self.go_on()

    def end_sessions(self) -> None:
        """End what runs as interrupted; what exit handlers record later still belongs to it, its end too."""
        for held in list(self.held_back):
            held.release()
        for session in list(self._sessions):
            if not session.finished and not session.inherited:
                for step in list(session.open_steps.values()):
                    session.announce(step)
                session.finish(
                    INTERRUPTED,
                    product_count=None,
                    error=PROCESS_ENDED,
                    attributes=session.attributes,
                )
                if is_exiting():
                    session.go_on()

    def bring_in(self, wait_s: float) -> bool:
        """Have what waits brought in and evaluated, within the time; return whether all of it came in."""
        until = monotonic() + wait_s
        self._bring_in(until)
        if not self._outage.is_known:
            self._finish_alerts(until)
        return not self._backlog()

    def _bring_in(self, until: float) -> float:
        """Move all rows within the time, which is returned; a database that is away is tried once more.

        An exit goes on while libraries are imported or tables are made, and a moment longer than usual while
        a server answers: programs that are all so short would never bring anything in.
        """
        begun = prepared_at = monotonic()
        # two more turns, because that in hand may have begun before the end
        last_turn = self._turns + 2 if self._outage.is_known else None
        while self._backlog():
            if self._is_at_work():
                self._outage.pause_s = min(self._outage.pause_s, 0.05)
                self._wake.set()
            elif self.turn_lock.acquire(
                timeout=max(0.0, until - monotonic())
            ):  # who sends messages may have it
                try:
                    self.turn()
                finally:
                    self.turn_lock.release()
            now = monotonic()
            if is_exiting() and not self._outage.is_known and self._outage.busy_since is None:
                if now - begun < IMPORT_S and self._is_preparing():
                    prepared_at = now
                quiet_since = max(prepared_at, min(self._database.heard_at, prepared_at + EXIT_ANSWERED_S))
                if quiet_since > begun:
                    until = max(until, quiet_since + EXIT_WAIT_S)
            if now >= until or (last_turn and self._outage.is_known and self._turns >= last_turn):
                break
            if self._backlog():
                sleep(0.005)
        return until

    def _is_preparing(self) -> bool:
        """Tell whether the thread imports, or makes the tables."""
        thread = self._thread
        return thread is not None and thread.is_alive and self._longer_wait_s(thread, IMPORT_S) > 0

    def _say_what_waits(self) -> None:
        """Say at an exit that the rows stay in the journal, unless the reason was said before."""
        if is_exiting() and self._outage.problem is None and self._backlog():
            waiting = {each.session_id for each in self._waiting}
            waiting.update(each.session_id for each in self._sessions)
            self.health.count("delays", 1, waiting_text(max(1, len(waiting)), self.folder))

    def _close_files(self) -> None:
        for journal in self._journals.all():
            try:
                self._let_go(journal, remove=not self.alerting.waits)
            except OSError as error:
                raise_foreign(error)
                self.health.failed(f"closing {journal.path}", error)
        self._journals.take_all()
        self._sessions = [each for each in self._sessions if is_exiting() and not each.ended]
        self._waiting.clear()
        if not journals_in(self.folder):  # nobody else records: who does may wait for a turn
            self.alerting.leave_turns()
        self._database.forget()

    def _finish_alerts(self, until: float, *, leaves: bool = False) -> None:
        """Evaluate the sessions of the turn in hand, then those put off, and let messages be sent."""
        left = 1.0
        while left > 0 and self.turn_lock.acquire(timeout=max(0.0, until - monotonic())):
            left = until - monotonic()
            try:
                self.alerting.evaluate_waiting(idle=True, seconds=left, leaves=leaves)
            finally:
                self.turn_lock.release()
            if not self.alerting.lets_another:
                break
            sleep(0.005)
        self.alerting.finish(until - monotonic())

    def _go_on_pruning(self, until: float) -> None:
        while self._prunes and self._is_at_work() and monotonic() < until:
            sleep(0.01)

    def after_fork_in_child(self, *, is_still: bool = True) -> None:
        """Start afresh: own journal, connection and thread; the parent's sessions get only further steps.

        Args:
            is_still: no thread was using the database.
        """
        self._reset_locks()
        self._wake, self._thread, self._ends = Flag(), None, False
        self._journals.after_fork_in_child()
        self._noted_beside = None
        self._database.after_fork_in_child(is_still=is_still)
        self.health.after_fork_in_child()
        self.alerting.after_fork_in_child(self.turn_lock)
        if self._upkeep is not None:
            self._upkeep.after_fork_in_child()
            self._prunes = False
        self._rolling.after_fork_in_child()
        if self._archiving is not None:
            self._archiving.after_fork_in_child()
        self._waiting.clear()
        self.held_back.clear()
        sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.after_fork_in_child()


def usual_durations(database_url: str, pipeline: str, mode: str) -> dict[str, float]:
    """Return the median seconds per step of the last sessions; nothing where there is no history."""
    from perfdb.store import reading

    with Database(database_url, migrates=False) as database:
        try:
            with database.reading(checked=False) as connection:
                return reading.usual_durations(connection, pipeline, mode)
        except AbsentError:
            return {}
