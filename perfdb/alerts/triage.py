"""Alerts for somebody who looks at them and decides about them; what `perfdb alerts` and `check` do.

Reading changes nothing; a decision is one transaction with its event, and holds for all the alerts that
the one it is about speaks for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from perfdb.alerts.config import AlertSettings, Channel, read_alert_settings
from perfdb.analysis.rules import TABLE, Rule
from perfdb.errors import NotFoundError, UsageError
from perfdb.filters import Filters, checked_filters
from perfdb.recording.redaction import redact
from perfdb.records import Alert
from perfdb.text import counted, mode_text, shortened, step_label
from perfdb.vocabulary import EXPECTED, FIRING, HISTORIC, SEVERITIES, WARNING, recorded_name

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from perfdb.alerts.against import Against
    from perfdb.alerts.explain import AlertExplanation
    from perfdb.alerts.hindsight import Replayed
    from perfdb.analysis.rules import Verdict
    from perfdb.measures import Measure
    from perfdb.settings import Settings
    from perfdb.store.alerts import AlertEvent, Silence
    from perfdb.store.baselines import Pin
    from perfdb.store.windows import SessionRef

    class Source(Protocol):
        """A database and the settings that named it: what a ``History`` hands over."""

        @property
        def settings(self) -> Settings:
            """Where its rules and channels stand."""

        def _measure(self, connection: Connection | None, name: str) -> Measure:
            """Return the measure of this name, or raise that nothing is called so."""

        def _reading(self) -> AbstractContextManager[Connection | None]:
            """Give a connection that reads; None where nothing is recorded yet."""

        def _recorded(self) -> AbstractContextManager[Connection]:
            """Give a connection that reads, or raise what ``_nothing_recorded`` returns."""

        def _writing(self) -> AbstractContextManager[Connection]:
            """Give a connection inside one write transaction."""

        def _nothing_recorded(self) -> NotFoundError:
            """Return the error that says so."""


REPLAY_S = 60.0
MOST_PLACES = 500  # pipelines and modes that are judged now: each takes some milliseconds
MOST_JUDGED, MOST_SEARCHED = 2_000, 200  # verdicts in hindsight; where a search is made for each, some ms
MOST_SHARES = 8  # pipelines and modes that share them


@dataclass(frozen=True, slots=True)
class Story:
    """An alert, the alerts it speaks for, and what happened to it."""

    alert: Alert
    group: tuple[Alert, ...]
    events: tuple[AlertEvent, ...]


@dataclass(frozen=True, slots=True)
class Pinned:
    """Baselines that were pinned, and the names of the series that have too few runs."""

    pins: tuple[Pin, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LiveVerdict:
    """What a rule says of the newest run of a series, now."""

    rule: Rule
    pipeline: str
    mode: str
    step_name: str | None
    session_id: str
    at: float  # epoch s, when that run began
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule with what it has done so far.

    ``state``: ``firing``, ``quiet``, ``too little history`` or ``no data``; ``precision``: share of its
    alerts that nobody called false, None without alerts; ``last_at``: epoch s of the newest run it evaluated;
    ``historic``: its alerts of old data, which are in none of these.
    """

    rule: Rule
    state: str
    series: int
    alerts: int
    false_alarms: int
    precision: float | None
    last_at: float | None
    historic: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer of a check: the alerts that fail it, those that were let pass with the reason, and notes.

    ``historic``: how many alerts of old data there are, which never fail it. ``against``: what came of the
    comparison with another branch, where that was asked.
    """

    failing: tuple[Alert, ...]
    passed: tuple[tuple[Alert, str], ...]
    enough: bool  # some statistical rule had enough history for a verdict
    longest: int  # runs in the longest series
    historic: int = 0
    against: Against | None = None

    @property
    def doubt(self) -> str:
        """Why a quiet answer may say little; empty where it does not."""
        runs = counted(self.longest, "run")
        return "" if self.enough else f"too little history to judge: {runs}; a baseline needs 15"


@dataclass(frozen=True, slots=True)
class Replay:
    """How often each rule would have rung over a history, and what became of that.

    ``sessions``: that were looked at, ``of`` so many; ``left_out``: pipelines and modes without time left.
    """

    rules: tuple[Replayed, ...]
    sessions: int
    of: int
    left_out: int


class Triage:
    """Alerts of one history, for somebody who decides about them."""

    def __init__(self, history: Source) -> None:
        self._history = history

    @property
    def settings(self) -> AlertSettings:
        """The rules and channels of the settings that named the history."""
        return read_alert_settings(self._history.settings.alerts, reading=True)

    def channel(self, name: str) -> Channel:
        """Return a channel, ready to be used.

        Raises:
            NotFoundError: there is none of this name.
            UsageError: it is off, because a variable of its is not set.
        """
        settings = read_alert_settings(self._history.settings.alerts)
        channels = settings.channels + settings.channels_off
        found = next((channel for channel in channels if channel.name == name), None)
        if found is None:
            known = ", ".join(channel.name for channel in channels) or "none"
            raise NotFoundError(
                f"there is no channel {name!r}; configured: {known}. "
                "Channels are [[alerts.channels]] in perfdb.toml"
            )
        if found.off:
            raise UsageError(found.off)
        return found

    def alerts(self, state: str = "open") -> list[Alert]:
        """Return alerts as ``History.alerts`` does, as records."""
        from perfdb.store.alerts import read_alerts

        with self._history._reading() as connection:
            return [] if connection is None else read_alerts(connection, state)

    def story(self, alert_id: int) -> Story:
        """Return all that is known of an alert.

        Raises:
            NotFoundError: there is none of this number.
        """
        from perfdb.store.alerts import events_of, read_alert, spoken_for_by

        with self._history._recorded() as connection:
            alert = read_alert(connection, alert_id)
            return Story(
                alert, tuple(spoken_for_by(connection, [alert_id])), tuple(events_of(connection, alert_id))
            )

    def explanation(self, alert_id: int) -> AlertExplanation:
        """Return what an alert rests on, looked at anew.

        Raises:
            NotFoundError: there is none of this number.
        """
        from perfdb.alerts.explain import explain_alert
        from perfdb.store.alerts import read_alert

        with self._history._recorded() as connection:
            return explain_alert(connection, read_alert(connection, alert_id))

    def decide(self, alert_id: int, state: str, note: str | None = None) -> list[Alert]:
        """Acknowledge an alert, or close it as expected or as a false alarm, with its group.

        ``expected`` also makes the level that it found the new baseline.

        Raises:
            NotFoundError: there is none of this number.
            UsageError: it is closed already.
        """
        from perfdb.alerts.lifecycle import decide
        from perfdb.store import alerts as store

        now, note = time.time(), _redacted(note)
        with self._history._writing() as connection:
            store.take_turn(connection)
            decided = []
            head = store.read_alert(connection, alert_id)
            for alert in (head, *store.spoken_for_by(connection, [alert_id])):
                try:
                    changed, events = decide(alert, state, now, head=head.id)
                except ValueError as error:
                    if alert is head:
                        raise UsageError(f"{error}; see: perfdb alerts show {alert_id}") from None
                    continue
                store.save_alert(connection, changed)
                for event in events:
                    store.add_event(connection, alert.id, event, now, note=note)
                if state == EXPECTED:
                    store.accept_baseline(connection, alert, now)
                decided.append(changed)
        return decided

    def undo(self, alert_id: int, note: str | None = None) -> list[Alert]:
        """Take the last decision about an alert and its group back; return them as they were before it.

        A baseline that ``expected`` made is gone; what is over by now is resolved.

        Raises:
            NotFoundError: there is none of this number.
            UsageError: nobody has decided about it.
        """
        from perfdb.alerts.lifecycle import decided_with, undo
        from perfdb.store import alerts as store

        now, note = time.time(), _redacted(note)
        with self._history._writing() as connection:
            store.take_turn(connection)
            asked = store.read_alert(connection, alert_id)
            head = decided_with(asked)
            group = [
                each
                for each in store.read_alerts(connection, "all")
                if each.id != asked.id and each.state == asked.state and decided_with(each) == head
            ]
            restored = []
            for alert in (asked, *group):
                try:
                    changed, events = undo(alert, now)
                except ValueError as error:
                    raise UsageError(f"{error}; see: perfdb alerts show {alert_id}") from None
                store.forget_accepted(connection, alert.id)
                store.save_alert(connection, changed)
                for event in events:
                    store.add_event(connection, alert.id, event, now, note=note)
                restored.append(changed)
        return restored

    def silence(
        self,
        seconds: float,
        *,
        alert_id: int | None = None,
        rule: str | None = None,
        pipeline: str | None = None,
        step: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Tell nobody of what fits all that is given, for so long; return the silence's number.

        Raises:
            NotFoundError: there is no such alert.
            UsageError: nothing is given to fit.
        """
        from perfdb.store import alerts as store

        if rule is not None and all(each.rule != rule for each in self.alerts("all")):
            _rule_of(self.settings, rule)
        if alert_id is None and rule is None and pipeline is None and step is None:
            raise UsageError("say what to silence: an alert's number, --rule, --pipeline or --step")
        now, reason = time.time(), _redacted(reason)
        rule, pipeline, step = _named(rule), _named(pipeline), _named(step)
        with self._history._writing() as connection:
            if alert_id is not None:
                store.read_alert(connection, alert_id)
                store.add_event(connection, alert_id, "silenced", now, note=reason)
            return store.add_silence(
                connection,
                now=now,
                expires_at=now + seconds,
                rule=rule,
                pipeline=pipeline,
                step_name=step,
                alert_id=alert_id,
                reason=reason,
            )

    def unsilence(self, *, silence_id: int | None = None, alert_id: int | None = None) -> int:
        """End a silence, or all those of an alert; return how many there were."""
        from perfdb.store import alerts as store

        now = time.time()
        with self._history._writing() as connection:
            ended = store.end_silences(connection, silence_id=silence_id, alert_id=alert_id, now=now)
            if alert_id is not None and ended:
                store.add_event(connection, alert_id, "unsilenced", now)
            return ended

    def silences(self) -> list[Silence]:
        """Return the silences in force."""
        from perfdb.store.alerts import silences_in_force

        with self._history._reading() as connection:
            return [] if connection is None else silences_in_force(connection, time.time())

    def pin_baseline(
        self,
        *,
        step: str | None = None,
        measure: str = "duration",
        last: int | None = 50,
        before: str | None = None,
        first: str | None = None,
        to: str | None = None,
        note: str | None = None,
        **filters: Unpack[Filters],
    ) -> Pinned:
        """Pin what past runs were like, as ``History.pin`` says."""
        from perfdb.alerts.pins import pin, pins_of_past
        from perfdb.analysis.baselines import LEAST_RUNS
        from perfdb.store.reading import find_session_id, read_session

        chosen: dict[str, Any] = dict(checked_filters(None, filters))
        for name, session_id in (("until", before), ("since", first), ("until", to)):
            if session_id is not None:
                if chosen[name] is not None:
                    raise UsageError(f"the sessions of the baseline are limited twice by {name!r}")
                with self._history._recorded() as connection:
                    moment = read_session(connection, find_session_id(connection, session_id)).start_time
                chosen[name] = math.nextafter(moment, math.inf) if session_id is to else moment
        del chosen["last"]  # of each series, not of all together
        now, note = time.time(), _redacted(note)
        with self._history._recorded() as connection:
            of = self._history._measure(connection, measure)
            made, short = pins_of_past(connection, now, of, last=last, note=note, step=step, **chosen)
        if not made:
            most = max((len(past) for past in short), default=0)
            raise UsageError(
                f"nothing to pin: a baseline needs {LEAST_RUNS} runs that count, and no selected series "
                f"has more than {most}; see: perfdb trends"
            )
        with self._history._writing() as connection:
            pin(connection, made, now)
        left_out = [
            f"{step_label(past.step_name)} ({mode_text(past.mode) or past.pipeline})" for past in short
        ]
        return Pinned(tuple(made), tuple(left_out))

    def unpin_baseline(
        self,
        baseline_ids: Sequence[int] = (),
        *,
        pipeline: str | None = None,
        step: str | None = None,
        everything: bool = False,
    ) -> list[Pin]:
        """Forget pinned baselines: these, or all that fit; alerts that were judged by them are closed.

        Raises:
            NotFoundError: there is none of these numbers, or none fits.
            UsageError: nothing says which.
        """
        from perfdb.alerts.pins import unpin
        from perfdb.store.baselines import pinned

        if not baseline_ids and pipeline is None and step is None and not everything:
            raise UsageError(
                "choose what to unpin: numbers from perfdb baseline list, --pipeline, --step, or --all"
            )
        pipeline, step = _named(pipeline), _named(step)
        with self._history._writing() as connection:
            known = pinned(connection, pipeline)
            missing = set(baseline_ids) - {pin.id for pin in known}
            if missing:
                raise NotFoundError(f"no baseline {min(missing)} is pinned; see: perfdb baseline list")
            gone = [
                pin
                for pin in known
                if (not baseline_ids or pin.id in baseline_ids) and step in (None, pin.step_name)
            ]
            if not gone:
                raise NotFoundError("no pinned baseline matches; see: perfdb baseline list")
            unpin(connection, gone, time.time())
        return gone

    def verdicts(self, rule_name: str | None = None) -> list[LiveVerdict]:
        """Evaluate the rules on the newest run that counts of every pipeline and mode, changing nothing.

        Raises:
            NotFoundError: there is no rule of this name.
        """
        settings = self.settings
        rules: Sequence[Rule] = settings.rules
        if rule_name is not None:
            rules = (_rule_of(settings, rule_name),)
        with self._history._reading() as connection:
            return [] if connection is None else list(_evaluate_now(connection, rules))

    def rule_with(self, name: str, changes: Mapping[str, float]) -> Rule:
        """Return a rule of the settings with other numbers, as it would be tried.

        Raises:
            NotFoundError: there is no rule of this name.
            UsageError: rules of its kind have no such number, or it is outside of what one can be.
        """
        rule = _rule_of(self.settings, name)
        known = TABLE[rule.kind].settings
        for key, value in changes.items():
            if key not in known:
                raise UsageError(f"a rule of kind '{rule.kind}' has no '{key}'")
            least, most = known[key]
            if not least <= value <= most:
                raise UsageError(f"{key} is from {least:g} to {most:g}, not {value:g}")
        return replace(rule, **changes, default=False) if changes else rule  # type: ignore[arg-type]

    def would_have_flagged(
        self,
        rule_name: str | Rule,
        *,
        last: int = 50,
        fits: Callable[[LiveVerdict], bool] | None = None,
        seconds: float = math.inf,
    ) -> tuple[int, list[LiveVerdict]]:
        """Evaluate a rule on the last sessions of every pipeline and mode, each as if it were the newest.

        Open alerts are left out of it: every run is evaluated afresh, and 2,000 at most (200 of a rule that
        searches for changes), the newest of each pipeline and mode, so that it is quick.

        Args:
            rule_name: of the settings; or a rule, see ``rule_with``.
            last: so many of the newest sessions of each pipeline and mode.
            fits: chooses the runs that are asked about; all of them without.
            seconds: after which no further run is judged.

        Returns:
            How many runs had enough history for a verdict, and the verdicts that hit, the newest first.

        Raises:
            NotFoundError: there is no rule of this name.
        """
        rule = rule_name if isinstance(rule_name, Rule) else _rule_of(self.settings, rule_name)
        until = time.monotonic() + seconds
        with self._history._reading() as connection:
            past = () if connection is None else _evaluate_past(connection, rule, last)
            timely = takewhile(lambda each: time.monotonic() < until, past)
            found = [each for each in timely if each.verdict.enough and (fits is None or fits(each))]
        hits = sorted((each for each in found if each.verdict.hit), key=lambda each: -each.at)
        return len(found), hits

    def replay(self, *, last: int = 1_000, seconds: float = REPLAY_S) -> Replay:
        """Let every configured rule ring again over the newest sessions of every pipeline and mode.

        Nothing is written; silences and what people decided play no part.

        Args:
            last: so many of the newest sessions of each pipeline and mode.
            seconds: after which no further series is looked at, those that ran last being first.
        """
        from perfdb.alerts.hindsight import Replayed, replay
        from perfdb.store.extent import count_sessions
        from perfdb.store.windows import newest_sessions

        rules = self.settings.rules
        found = {rule.name: Replayed(rule) for rule in rules}
        until = time.monotonic() + seconds
        looked_at = left_out = of = 0
        with self._history._reading() as connection:
            newest = [] if connection is None else newest_sessions(connection)
            of = 0 if connection is None else count_sessions(connection)
            for session in sorted(newest, key=lambda session: -session.start_time):
                if connection is None or (looked_at and time.monotonic() > until):
                    left_out += 1
                    continue
                own, sessions = replay(connection, session, rules, last, until)
                looked_at += sessions
                for each in own:
                    found[each.rule.name].runs += each.runs
                    found[each.rule.name].outcomes += each.outcomes
        return Replay(tuple(found.values()), looked_at, of, left_out)

    def rules(self) -> list[RuleState]:
        """Return every configured rule with its state."""
        return self._states(self.settings.rules)[0]

    def rule(self, name: str) -> tuple[RuleState, list[LiveVerdict]]:
        """Return one rule with its state, and its verdicts as ``verdicts`` does.

        Raises:
            NotFoundError: there is no rule of this name.
        """
        states, verdicts = self._states((_rule_of(self.settings, name),))
        return states[0], verdicts

    def _states(self, rules: Sequence[Rule]) -> tuple[list[RuleState], list[LiveVerdict]]:
        from perfdb.store.alerts import historic_counts, precision, read_alerts, rule_counts
        from perfdb.vocabulary import FALSE_ALARM

        with self._history._reading() as connection:
            counts: Mapping[str, Mapping[str, int]] = {}
            verdicts: list[LiveVerdict] = []
            firing: set[str] = set()
            historic: Mapping[str, int] = {}
            if connection is not None:
                counts, historic = rule_counts(connection), historic_counts(connection)
                verdicts = list(_evaluate_now(connection, rules))
                firing = {alert.rule for alert in read_alerts(connection, FIRING)}
        states = []
        for rule in rules:
            own = [each for each in verdicts if each.rule is rule]
            judged = [each for each in own if each.verdict.enough]
            state = "no data" if not own else "quiet" if judged else "too little history"
            count = counts.get(rule.name, {})
            states.append(
                RuleState(
                    rule=rule,
                    state=FIRING if rule.name in firing else state,
                    series=len(own),
                    alerts=sum(count.values()),
                    false_alarms=count.get(FALSE_ALARM, 0),
                    precision=precision(count),
                    last_at=max((each.at for each in own), default=None),
                    historic=historic.get(rule.name, 0),
                )
            )
        return states, verdicts

    def check(
        self,
        *,
        fail_on: str = WARNING,
        since: float | None = None,
        confirm: int = 1,
        pipeline: str | None = None,
        state: str = FIRING,
    ) -> Checked:
        """Say whether anything fires that should stop a release.

        Args:
            fail_on: the least severity that fails.
            since: only what a session that began at or after it (epoch s) confirmed.
            confirm: how many sessions must have seen it.
            pipeline: only what fires in it.
            state: alerts in this state fail, as in ``alerts``.

        Raises:
            NotFoundError: nothing is recorded.
        """
        from perfdb.store.alerts import historic_counts, read_alerts

        settings = self.settings
        known = {rule.name for rule in settings.rules}
        with self._history._recorded() as connection:
            wanted = read_alerts(connection, state)
            if state != HISTORIC:
                wanted = [each for each in wanted if each.inhibited_by is None]
            ids = {alert.id for alert in wanted}
            found = wanted + [each for each in read_alerts(connection, "open") if each.id not in ids]
            historic = sum(historic_counts(connection).values())
            verdicts = list(_evaluate_now(connection, settings.rules))
        if not verdicts and not found:
            raise self._history._nothing_recorded()
        if (only := _named(pipeline)) is not None:
            found = [alert for alert in found if alert.pipeline == only]
            verdicts = [each for each in verdicts if each.pipeline == only]
        failing: list[Alert] = []
        passed: list[tuple[Alert, str]] = []
        for alert in found:
            reason = None
            if alert.id not in ids:
                reason = alert.state
            elif SEVERITIES.index(alert.severity) < SEVERITIES.index(fail_on):
                reason = alert.severity
            elif alert.silenced:
                reason = "silenced"
            elif alert.rule not in known:
                reason = "its rule was removed"
            elif alert.hits < confirm:
                reason = f"seen by {alert.hits} of {confirm} sessions"
            elif since is not None and alert.last_time < since:
                reason = "not seen since"
            if reason is None:
                failing.append(alert)
            else:
                passed.append((alert, reason))
        statistical = [each for each in verdicts if TABLE[each.rule.kind].finds != "breach"]
        return Checked(
            failing=tuple(failing),
            passed=tuple(passed),
            enough=any(each.verdict.enough for each in statistical) or not statistical,
            longest=max((each.verdict.n for each in statistical), default=0),
            historic=historic,
        )

    def check_against(
        self,
        base: str,
        branch: str,
        *,
        fail_on: str = WARNING,
        since: float | None = None,
        confirm: int = 1,
        pipeline: str | None = None,
    ) -> Checked:
        """Say whether the newest runs of a branch are slower than the level of another one.

        Args:
            base: the branch whose level is expected.
            branch: the one that is judged.
            fail_on: the least severity that fails: what is slower is a warning.
            since: only runs that began at or after it (epoch s).
            confirm: how many runs must have shown it.
            pipeline: only this one.

        Raises:
            NotFoundError: nothing is recorded.
        """
        from perfdb.alerts.against import compare_branches
        from perfdb.analysis.branches import UNKNOWN

        with self._history._recorded() as connection:
            found = compare_branches(connection, branch, base, pipeline=_named(pipeline), since=since)
        failing: list[Alert] = []
        passed: list[tuple[Alert, str]] = []
        for alert in found.alerts():
            if SEVERITIES.index(alert.severity) < SEVERITIES.index(fail_on):
                passed.append((alert, alert.severity))
            elif alert.n < confirm:
                passed.append((alert, f"seen by {alert.n} of {confirm} sessions"))
            else:
                failing.append(alert)
        return Checked(
            failing=tuple(failing),
            passed=tuple(passed),
            enough=any(each.verdict != UNKNOWN for each in found.compared),
            longest=max((each.n + each.baseline_n for each in found.compared), default=0),
            against=found,
        )


def _rule_of(settings: AlertSettings, name: str) -> Rule:
    rule = settings.rule(name)
    if rule is not None:
        return rule
    known = [each.name for each in settings.rules]
    near = get_close_matches(name.casefold(), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise NotFoundError(
        f"there is no rule {shortened(name, 80)!r}{hint or ';'} configured: {', '.join(known)}"
    )


def _redacted(text: str | None) -> str | None:
    """Return what a person wrote without credentials."""
    return None if text is None else redact(text)


def _named(name: str | None) -> str | None:
    """Return a name as it was recorded."""
    return None if name is None else recorded_name(redact(name))


def _evaluate_now(connection: Any, rules: Sequence[Rule]) -> Iterator[LiveVerdict]:
    """Yield what rules say now: of durations the newest run that counts is judged, whatever failed since."""
    from perfdb.alerts.evaluation import evaluate_rules, fingerprint, pins_of, windows_of
    from perfdb.store import alerts as store
    from perfdb.store.windows import newest_sessions

    for good in (False, True):
        asked = [rule for rule in rules if (TABLE[rule.kind].looks_at != "failed") is good]
        for session in _most_lately(newest_sessions(connection, good=good), asked) if asked else ():
            accepted = store.accepted_baselines(connection, session.pipeline, session.mode)
            active = store.active_alerts(connection, session.pipeline, session.mode)
            by_fingerprint = {fingerprint(alert): alert for alert in active}
            pins = pins_of(connection, session.pipeline, session.mode)
            windows = windows_of(connection, session, asked)
            for found in evaluate_rules(session, windows, asked, accepted, by_fingerprint, pins, lately=True):
                newest = found.sessions[-1]
                yield LiveVerdict(
                    found.rule,
                    session.pipeline,
                    session.mode,
                    found.window.step_name,
                    found.window.session_ids[newest],
                    found.window.start_times[newest],
                    found.verdict,
                )


def _most_lately(newest: Sequence[SessionRef], rules: Sequence[Rule]) -> list[SessionRef]:
    """Return those of the pipelines and modes that ran lately, and of the pipelines that a rule names."""
    named = {rule.pipeline for rule in rules}
    lately = sorted(newest, key=lambda session: -session.start_time)[:MOST_PLACES]
    shown = {session.pk for session in lately}
    return [session for session in newest if session.pk in shown or session.pipeline in named]


def _evaluate_past(connection: Any, rule: Rule, last: int) -> Iterator[LiveVerdict]:
    from perfdb.alerts.hindsight import evaluate_past
    from perfdb.store import alerts as store
    from perfdb.store.windows import newest_sessions

    kind = TABLE[rule.kind]
    newest = newest_sessions(connection, good=kind.looks_at != "failed")
    newest = [session for session in newest if rule.is_of(session.pipeline, session.mode)]
    left = MOST_SEARCHED if kind.by_change_points else MOST_JUDGED
    share = math.ceil(left / max(1, min(len(newest), MOST_SHARES)))
    for session in sorted(newest, key=lambda session: -session.start_time):
        accepted = store.accepted_baselines(connection, session.pipeline, session.mode)
        past = evaluate_past(connection, session, rule, accepted, last)
        for found, index in islice(past, min(left, share)):
            left -= 1
            window = found.window
            yield LiveVerdict(
                rule,
                session.pipeline,
                session.mode,
                window.step_name,
                window.session_ids[index],
                window.start_times[index],
                found.verdict,
            )
        if left <= 0:
            return
