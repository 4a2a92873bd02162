"""Rules, alerts and delivery on behalf of the worker: after each session, and while one runs.

What goes wrong here is counted in ``health()`` and never touches recording. Everything heavier than this
file is imported by the worker's own thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from weakref import ref

from perfdb.guard import raise_foreign
from perfdb.recording.health import Health
from perfdb.recording.live import LiveSession
from perfdb.recording.native import monotonic
from perfdb.recording.values import clean_error
from perfdb.store.database import Database, EndingError
from perfdb.toml import Table
from perfdb.vocabulary import COMPLETED
from perfdb.worker.covering import MOST_REST_S, Covering, Turn
from perfdb.worker.outage import is_away, is_locked, is_mended

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

    from perfdb.alerts.config import AlertSettings
    from perfdb.alerts.delivery import Delivery
    from perfdb.alerts.settling import Outcome
    from perfdb.records import Session

LOOP_TIME_SHARE = 0.02  # at most, of a loop of short sessions: the time is the host's, and other writers'
LISTEN_S = 2.0  # between two looks for silences that have ended
MANY = 200  # sessions that wait: more come than can be evaluated
EACH = 5  # of those the 5th is, or so many in a hundred that some 200 are: rules look at the last 5 and more
SAMPLES_TIME_SHARE = 0.2  # at most, for these
MOST_UNJUDGED = 10_000  # newest sessions that wait for evaluation: as many as an outage may leave


class Ended:
    """What the rules need of an ended session, so that its tracker may free the session and its steps.

    ``session`` returns it while its host holds it, to be told of alerts; one measured elsewhere is None.
    """

    __slots__ = ("cpu_wait_s", "mode", "pipeline", "session", "session_id", "status", "total_duration")

    def __init__(self, session: LiveSession | Session) -> None:
        self.session_id = session.session_id
        self.pipeline = session.pipeline
        self.mode = session.mode
        self.status = session.status
        self.total_duration = session.total_duration
        self.cpu_wait_s = session.cpu_wait_s
        self.session: Callable[[], LiveSession | None] = (
            ref(session) if isinstance(session, LiveSession) else _nobody
        )


def _nobody() -> None:
    return None


def _of_nobody(_: float) -> None:
    return None


def _rest_after(begun: float) -> float:
    """Return the seconds without an evaluation after one that began then."""
    return min(MOST_REST_S, (monotonic() - begun) * (1 / LOOP_TIME_SHARE - 1))


class Alerting:
    """Evaluates the rules of the settings on sessions and has people notified.

    Args:
        table: ``Settings.alerts``.
        database: of the worker; used under ``lock`` only.
        lock: held while the database is used or something imported.
        health: where failures are counted.
        delivery_rests: called when the thread of the messages needs the database no more for a while.
    """

    def __init__(
        self,
        table: Table,
        database: Database,
        lock: AbstractContextManager[Any],
        health: Health,
        delivery_rests: Callable[[bool], None],
    ) -> None:
        self._table = table
        self._database = database
        self._lock = lock
        self._health = health
        self._delivery_rests = delivery_rests
        self._settings: AlertSettings | None = None
        self._delivery: Delivery | None = None
        self._waiting: deque[Ended] = deque(maxlen=MOST_UNJUDGED)  # in the database, oldest first
        self._postponed: dict[tuple[str, str], Ended] = {}  # newest session per pipeline and mode
        self._rest_until = self._sample_at = 0.0
        self._rests: dict[tuple[str, str], float] = {}  # until when, of those that another process evaluates
        self._passed: dict[tuple[str, str], int] = {}  # sessions since the last that was evaluated
        self._listens_at = 0.0
        self._notified_running: dict[str, set[str | None]] = {}
        self._covering = Covering()

    def use(self, table: Table) -> None:
        """Take the rules of other settings from now on."""
        if table != self._table:
            self._table, self._settings = table, None

    @property
    def delivers(self) -> bool:
        """Whether messages wait for their next try, on a thread of their own."""
        return self._delivery is not None and self._delivery.is_at_work()

    @property
    def waits(self) -> bool:
        """Whether a session of ours is not evaluated yet."""
        return bool(self._waiting or self._postponed)

    @property
    def lets_another(self) -> bool:
        """Whether one of them waits because another process evaluates; not for long."""
        return any(map(self._covering.waits, self._postponed))

    def unjudged(self) -> list[str]:
        """Return the ids of our sessions that are not evaluated yet, oldest first."""
        return [each.session_id for each in (*self._postponed.values(), *self._waiting)]

    def add(self, ended: Iterable[Ended]) -> None:
        """Queue sessions that have come to the database for evaluation, in this order."""
        for session in ended:
            self._notified_running.pop(session.session_id, None)
            self._waiting.append(session)

    def evaluate_waiting(self, *, idle: bool, seconds: float, leaves: bool = False) -> bool:
        """Evaluate waiting sessions for so long; return whether there is more to do at once. Never raises.

        Sessions of a few milliseconds are not evaluated one by one: the evaluation of the newest covers those
        before it, because the rules look at the history, which has them by then. When more of the others come
        than can be evaluated, every fifth is, or one of more where very many wait: a level that rose and fell
        again meanwhile is found. Where a rule limits single runs, each is evaluated.

        Args:
            idle: nothing has come for a while, or will come any more.
            seconds: at least one session is evaluated in any case. Where there are none left, nobody waits
                for other processes that evaluate.
            leaves: what another process will evaluate soon is left to it.
        """
        until = monotonic() + seconds
        while self._waiting:
            from perfdb.alerts.transactions import is_short

            session = self._waiting.popleft()
            kind = session.pipeline, session.mode
            is_long = not is_short(session.status, session.total_duration, session.cpu_wait_s)
            is_one_of_many = session.status == COMPLETED and len(self._waiting) > MANY
            if not is_long and not self._is_limited():  # the newest of them is evaluated
                self._postponed[kind] = session
                continue
            if is_one_of_many and monotonic() < self._rest_until:
                self._passed[kind] = passed = self._passed.get(kind, 0) + 1
                if passed < max(EACH, len(self._waiting) // MANY):
                    self._postponed[kind] = session
                    continue
                if monotonic() < self._sample_at:
                    self._passed[kind] -= 1
                    self._waiting.appendleft(session)
                    return True
            if not self._covering.promises(kind):  # else others may have left theirs to the one postponed
                self._postponed.pop(kind, None)
            self._passed.pop(kind, None)
            if not self._evaluate(session):
                self._waiting.appendleft(session)
                return False
            if monotonic() >= until:
                return bool(self._waiting)
        for kind, session in list(self._postponed.items()):
            is_due = idle or monotonic() >= max(self._rest_until, self._rests.get(kind, 0.0))
            if not is_due and (self._database.is_shared or self._covering.promises(kind)):
                continue
            done = self._evaluate_newest(session, idle=idle, patient=seconds > 0, leaves=leaves)
            if done is not None:
                del self._postponed[kind]
                self._passed.pop(kind, None)
                if not done:
                    self._waiting.append(session)
        return self.lets_another

    def _evaluate_newest(self, session: Ended, *, idle: bool, patient: bool, leaves: bool) -> bool | None:
        """Evaluate the newest session like this one, unless another process did so since this one is there.

        Returns:
            Whether the database was available; None: another process evaluates now, or has done so lately.
        """
        if self._database.is_shared:  # there, to ask for the newest costs exchanges
            return self._evaluate(session)
        try:
            from perfdb.alerts.transactions import newest_alike
            from perfdb.store.engine import sqlite_path

            file = sqlite_path(self._database.url) or Path()
            whose = session.pipeline, session.mode
            with self._covering.turn(file, whose, session.session_id, patient=patient) as turn:
                if turn is None:
                    return None
                newest, kind = newest_alike(self._database, session.session_id, self._ready())
                rests_until = max(self._rest_until, turn.rests_until(kind))
                is_covered = turn.covers(kind) or (leaves and turn.leave(kind, newest))
                if not is_covered and not idle and monotonic() < rests_until:
                    self._covering.promise(whose, kind)
                    self._rests[whose] = rests_until
                    return None
                self._covering.done(whose)
                self._rests.pop(whose, None)
                done = is_covered or self._evaluate(session, newest, partial(turn.note, kind))
                self._evaluate_left_to_the_dead(turn)
                return done
        except Exception as error:
            return not self._failed(error)

    def _evaluate_left_to_the_dead(self, turn: Turn) -> None:
        if left := turn.left():
            self.evaluate_left(list(left.values()))
            for kind in left:
                turn.forget_left(kind)

    def _evaluate(
        self, session: Ended, newest: str = "", note: Callable[[float], object] = _of_nobody
    ) -> bool:
        """Evaluate a session and give it its alerts; return whether the database was available.

        Args:
            session: one of ours.
            newest: the session whose evaluation covers it; itself when there is none.
            note: called when that has succeeded, with the time until when no other is due.
        """
        begun = monotonic()
        try:
            from perfdb.alerts.transactions import evaluate_session

            outcome = evaluate_session(self._database, newest or session.session_id, self._ready())
            note(monotonic() + _rest_after(begun))
            self._pass_on(outcome)
            live = session.session()
            if live is not None:
                live.alerts = list(outcome.of_session)
        except Exception as error:
            return not self._failed(error)
        finally:
            if not self._is_limited():
                ended = monotonic()
                self._sample_at = ended + (ended - begun) * (1 / SAMPLES_TIME_SHARE - 1)
                self._rest_until = ended + _rest_after(begun)
        return True

    def _is_limited(self) -> bool:
        """Say whether each session is to be evaluated, as where the settings cannot be read."""
        from perfdb.alerts.transactions import limits_single_runs

        try:
            return limits_single_runs(self._ready())
        except Exception as error:
            raise_foreign(error)
            self._failed(error)
            return True

    def evaluate_left(self, session_ids: list[str]) -> tuple[int, list[str]]:
        """Evaluate sessions of a dead process; return how many alerts fired, and which sessions are old.

        Raises:
            Exception: the database is not available now.
        """
        try:
            from perfdb.alerts.late import evaluate_left

            found, old = evaluate_left(self._database, session_ids, self._ready())
            for outcome in found:
                self._pass_on(outcome)
            return sum(len(outcome.fired) for outcome in found), old
        except Exception as error:
            if self._failed(error):
                raise
            return 0, []

    def evaluate_historic(self, session_ids: Iterable[str]) -> None:
        """Evaluate old sessions that came late, as ``historic``: nobody is notified. Never raises."""
        try:
            from perfdb.alerts.late import evaluate_historic

            evaluate_historic(self._database, session_ids, self._table)
        except Exception as error:
            self._failed(error)

    def tell_after_silence(self) -> None:
        """Notify of what fired during a silence that has ended since. Never raises."""
        if monotonic() < self._listens_at:
            return
        self._listens_at = monotonic() + LISTEN_S
        try:
            from perfdb.alerts.callbacks import registered
            from perfdb.alerts.transactions import tell_after_silence

            settings = self._ready()
            if settings.channels or registered():
                self._pass_on(tell_after_silence(self._database, settings))
        except Exception as error:
            self._failed(error)

    def watch(self, sessions: Iterable[LiveSession]) -> None:
        """Evaluate the ``max`` rules on running sessions. Never raises."""
        try:
            for session in sessions:
                if not session.inherited and not session.ended:
                    self._watch(session)
        except Exception as error:
            self._failed(error)

    def finish(self, seconds: float) -> None:
        """Give waiting messages so long to be sent, because the process ends."""
        if self._delivery is not None and seconds > 0:
            self._delivery.wait(seconds)

    def leave_turns(self) -> None:
        """Take away what this process and others noted of their evaluations, because it ends."""
        self._covering.leave()

    def prepare(self) -> None:
        """Import what an evaluation needs."""
        from perfdb.alerts import late, transactions  # noqa: F401
        from perfdb.analysis import change_points, modes, waves  # noqa: F401

        self._ready()
        self.tell_after_silence()

    def end_thread(self) -> None:
        """Have the thread of the messages end at the next safe point; none begins."""
        if self._delivery is not None:
            self._delivery.end_thread()

    def wait_for_end(self, seconds: float) -> bool:
        """Wait for that, but not for a notifier; return whether nothing of ours is in the database."""
        return self._delivery is None or self._delivery.wait_for_end(seconds)

    def go_on(self) -> None:
        """Let the thread begin again, and begin it when messages wait."""
        if self._delivery is not None:
            self._delivery.go_on()

    def after_fork_in_child(self, lock: AbstractContextManager[Any]) -> None:
        """Forget the parent's thread."""
        self._lock = lock
        self._waiting.clear()
        self._postponed, self._rests, self._passed, self._notified_running = {}, {}, {}, {}
        self._covering.after_fork_in_child()
        if self._delivery is not None:
            self._delivery.after_fork_in_child(lock)

    def _watch(self, session: LiveSession) -> None:
        from perfdb.alerts.evaluation import lowest_limits, while_running

        settings = self._ready()
        limits = lowest_limits(settings.rules, session.pipeline, session.mode)
        if not limits:
            return
        now = session.monotonic()
        elapsed: dict[str | None, float] = {None: now - session.started}
        for step in list(session.open_steps.values()):
            elapsed[step.name] = max(now - step.begun, elapsed.get(step.name, 0.0))
        notified = self._notified_running.setdefault(session.session_id, set())
        over = {
            name: seconds
            for name, seconds in elapsed.items()
            if name not in notified
            and seconds > min((limits[key] for key in (name, "*") if key in limits), default=float("inf"))
        }
        if over:
            with self._database.writing() as connection:
                found = while_running(connection, session.session_id, over, settings, time.time())
            notified.update(over)
            self._pass_on(found)

    def _ready(self) -> AlertSettings:
        if self._settings is None:
            from perfdb.alerts.config import read_alert_settings
            from perfdb.alerts.delivery import Delivery

            self._settings = read_alert_settings(self._table)
            if self._delivery is None:
                self._delivery = Delivery(
                    self._database.writing, self._lock, self._health, rests=self._delivery_rests
                )
            self._delivery.use(self._settings.channels)
            self._delivery.wake()  # what an earlier process could not send
        return self._settings

    def _pass_on(self, outcome: Outcome) -> None:
        if self._delivery is not None and (outcome.fired or outcome.messages):
            self._delivery.wake(outcome.fired)

    def _failed(self, error: Exception) -> bool:
        """Count a failure; return whether the database caused it, so that a later try may succeed."""
        if isinstance(error, EndingError) or is_mended(error):
            return True
        if is_away(error):
            if not is_locked(error):  # the worker says so when that lasts
                original = getattr(error, "orig", None) or error
                self._health.delayed("the rules wait for the database", original)
            return True
        # not through failed(): rules that break must not raise in a strict worker either
        self._health.count(
            "rule_errors", 1, f"evaluating the rules failed: {type(error).__name__}: {clean_error(error)}"
        )
        return False
