"""What the rules say now, and would have said of the past; what they have done so far.

Nothing is changed: of each pipeline and mode the newest run that counts is judged, or those before it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from perfdb.alerts.config import AlertSettings, read_alert_settings
from perfdb.analysis.rules import EVERY, TABLE, Rule
from perfdb.errors import NotFoundError, UsageError
from perfdb.filters import OfSeries
from perfdb.recording.redaction import redact
from perfdb.text import shortened
from perfdb.vocabulary import FALSE_ALARM, FIRING, HISTORIC, PENDING, recorded_name

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from perfdb.alerts.hindsight import Replayed
    from perfdb.analysis.rules import Verdict
    from perfdb.measures import Measure
    from perfdb.settings import Settings
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
class LiveVerdict:
    """What a rule says of the newest run of a series, now."""

    rule: Rule
    pipeline: str
    mode: str
    step_name: str | None
    session_id: str
    at: float  # epoch s, when that run began
    verdict: Verdict

    @property
    def metric(self) -> str:
        """What the rule looks at."""
        return self.rule.metric


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
class Replay:
    """How often each rule would have rung over a history, and what became of that.

    ``sessions``: that were looked at, ``of`` so many; ``left_out``: pipelines and modes without time left.
    """

    rules: tuple[Replayed, ...]
    sessions: int
    of: int
    left_out: int


class Judging:
    """The rules of one history as they judge it now, and as they would have judged its past."""

    def __init__(self, history: Source) -> None:
        self._history = history

    @property
    def settings(self) -> AlertSettings:
        """The rules and channels of the settings that named the history."""
        return read_alert_settings(self._history.settings.alerts, reading=True)

    def verdicts(self, rule_name: str | None = None) -> list[LiveVerdict]:
        """Evaluate the rules on the newest run that counts of every pipeline and mode, changing nothing.

        Raises:
            NotFoundError: there is no rule of this name.
        """
        settings = self.settings
        rules: Sequence[Rule] = settings.rules
        if rule_name is not None:
            rules = (rule_of(settings, rule_name),)
        with self._history._reading() as connection:
            return [] if connection is None else evaluate_now(connection, rules)

    def rule_with(self, name: str, changes: Mapping[str, float]) -> Rule:
        """Return a rule of the settings with other numbers, as it would be tried.

        Raises:
            NotFoundError: there is no rule of this name.
            UsageError: rules of its kind have no such number, or it is outside of what one can be.
        """
        rule = rule_of(self.settings, name)
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
        """Return how many runs ``judged_past`` has, and its verdicts that hit, the newest first."""
        found = self.judged_past(rule_name, last=last, fits=fits, seconds=seconds)
        hits = sorted((each for each in found if each.verdict.hit), key=lambda each: -each.at)
        return len(found), hits

    def judged_past(
        self,
        rule_name: str | Rule,
        *,
        last: int = 50,
        fits: Callable[[LiveVerdict], bool] | None = None,
        seconds: float = math.inf,
    ) -> list[LiveVerdict]:
        """Evaluate a rule on the last sessions of every pipeline and mode, each as if it were the newest.

        Open alerts are left out of it: every run is evaluated afresh, and 2,000 at most (200 of a rule that
        searches for changes), the newest of each pipeline and mode, so that it is quick.

        Args:
            rule_name: of the settings; or a rule, see ``rule_with``.
            last: so many of the newest sessions of each pipeline and mode.
            fits: chooses the runs that are asked about; all of them without.
            seconds: after which no further run is judged.

        Returns:
            The verdicts on the runs that had enough history for one, the newest of each series first.

        Raises:
            NotFoundError: there is no rule of this name.
        """
        rule = rule_name if isinstance(rule_name, Rule) else rule_of(self.settings, rule_name)
        until = time.monotonic() + seconds
        with self._history._reading() as connection:
            past = () if connection is None else _evaluate_past(connection, rule, last)
            timely = takewhile(lambda each: time.monotonic() < until, past)
            return [each for each in timely if each.verdict.enough and (fits is None or fits(each))]

    def replay(self, *, last: int = 1_000, seconds: float = REPLAY_S, **of: Unpack[OfSeries]) -> Replay:
        """Let every configured rule ring again over the newest sessions of every pipeline and mode.

        Nothing is written; silences and what people decided play no part.

        Args:
            last: so many of the newest sessions of each pipeline and mode.
            seconds: after which no further series is looked at, those that ran last being first.
            of: only of this ``pipeline``, ``step``, ``mode`` or ``measure``, and only rules that watch it.
        """
        from perfdb.alerts.hindsight import Replayed, replay
        from perfdb.store.extent import count_sessions
        from perfdb.store.together import for_each, together
        from perfdb.store.windows import newest_sessions

        meant = self._meant(of)
        pipeline, step, mode = meant["pipeline"], meant["step"], meant["mode"]
        rules = [rule if step is None else replace(rule, step=step) for rule in self._watching(meant)]
        found = {rule.name: Replayed(rule) for rule in rules}
        until = time.monotonic() + seconds
        looked_at = left_out = count = 0
        with self._history._reading() as connection:
            if connection is None:
                return Replay(tuple(found.values()), 0, 0, 0)
            newest, count = together(
                connection,
                lambda: newest_sessions(connection, pipeline),
                lambda: count_sessions(connection, pipeline=pipeline, mode=mode),
            )

            def replayed(session: SessionRef) -> tuple[list[Replayed], int] | None:
                nonlocal looked_at
                if looked_at and time.monotonic() > until:
                    return None
                own, sessions = replay(connection, session, rules, last, until)
                looked_at += sessions
                return own, sessions

            lately = sorted(newest, key=lambda session: -session.start_time)
            lately = [session for session in lately if mode in (None, session.mode)]
            for of_kind in for_each(connection, replayed, lately):
                if of_kind is None:
                    left_out += 1
                    continue
                for each in of_kind[0]:
                    found[each.rule.name].runs += each.runs
                    found[each.rule.name].outcomes += each.outcomes
        return Replay(tuple(found.values()), looked_at, count, left_out)

    def rules(self, **of: Unpack[OfSeries]) -> list[RuleState]:
        """Return every configured rule with its state; of a series those that watch it, and what they say."""
        meant = self._meant(of)
        pipeline, step, mode = meant["pipeline"], meant["step"], meant["mode"]
        return self._states(self._watching(meant), pipeline, mode, step, judges_all=step is not None)[0]

    def _watching(self, of: OfSeries) -> list[Rule]:
        pipeline, step, measure = of["pipeline"], of["step"], of.get("measure")
        return [
            rule
            for rule in self.settings.rules
            if pipeline in (None, rule.pipeline or pipeline)
            and (step is None or rule.step in (EVERY, step))
            and measure in (None, rule.metric)
            and rule.is_of_mode(of.get("mode"))
        ]

    def _meant(self, of: OfSeries) -> OfSeries:
        """Return the series that are meant by their names as they are recorded.

        Raises:
            NotFoundError: no measure is called so.
        """
        meant: OfSeries = {
            "pipeline": recorded(of.get("pipeline")), "step": recorded(of.get("step")), "mode": of.get("mode")
        }  # fmt: skip
        if (measure := of.get("measure")) is not None:
            with self._history._reading() as connection:
                meant["measure"] = self._history._measure(connection, measure).name
        return meant

    def rule(
        self, name: str, *, pipeline: str | None = None, mode: str | None = None
    ) -> tuple[RuleState, list[LiveVerdict]]:
        """Return one rule with its state, and its verdicts as ``verdicts`` does.

        Raises:
            NotFoundError: there is no rule of this name.
        """
        states, verdicts = self._states((rule_of(self.settings, name),), pipeline, mode)
        return states[0], verdicts

    def _states(
        self,
        rules: Sequence[Rule],
        pipeline: str | None,
        mode: str | None,
        step: str | None = None,
        *,
        judges_all: bool = True,
    ) -> tuple[list[RuleState], list[LiveVerdict]]:
        """Return states and verdicts; a state needs one verdict of each rule, the others cost much."""
        from perfdb.store.alerts import alert_counts

        with self._history._reading() as connection:
            counts: Mapping[str, Counter[str]] = {}
            verdicts: list[LiveVerdict] = []
            if connection is not None:
                from perfdb.store.together import together

                counts, verdicts = together(
                    connection,
                    lambda: alert_counts(connection, pipeline, mode, step),
                    lambda: evaluate_now(
                        connection, rules, pipeline, mode, told=None if judges_all else set()
                    ),
                )
                verdicts = [each for each in verdicts if step in (None, each.step_name)]
        states = []
        for rule in rules:
            own = [each for each in verdicts if each.rule is rule]
            judged = [each for each in own if each.verdict.enough]
            state = "no data" if not own else "quiet" if judged else "too little history"
            count = counts.get(rule.name, Counter())
            states.append(
                RuleState(
                    rule=rule,
                    state=FIRING if count[FIRING] else state,
                    series=len(own),
                    last_at=max((each.at for each in own), default=None),
                    **so_far(count),
                )
            )
        return states, verdicts


def so_far(counts: Counter[str]) -> dict[str, Any]:
    """Return what became of a rule's alerts, of how many there are in each state; pending is none yet."""
    from perfdb.store.alerts import precision

    told = Counter({state: n for state, n in counts.items() if state not in (HISTORIC, PENDING)})
    return {
        "alerts": sum(told.values()),
        "false_alarms": told[FALSE_ALARM],
        "precision": precision(told),
        "historic": counts[HISTORIC],
    }


def recorded(name: str | None) -> str | None:
    """Return a name as it was recorded."""
    return None if name is None else recorded_name(redact(name))


def rule_of(settings: AlertSettings, name: str) -> Rule:
    """Return a rule.

    Raises:
        NotFoundError: there is none of this name.
    """
    rule = settings.rule(name)
    if rule is not None:
        return rule
    known = [each.name for each in settings.rules]
    near = get_close_matches(name.casefold(), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise NotFoundError(
        f"there is no rule {shortened(name, 80)!r}{hint or ';'} configured: {', '.join(known)}"
    )


def evaluate_now(
    connection: Connection,
    rules: Sequence[Rule],
    pipeline: str | None = None,
    mode: str | None = None,
    *,
    told: set[str] | None = None,
) -> list[LiveVerdict]:
    """Return what rules say now: of durations the newest run that counts is judged, whatever failed since.

    ``told`` is as in ``evaluate_rules``.
    """
    from perfdb.alerts.evaluation import WAVE_RUNS
    from perfdb.alerts.verdicts import evaluate_rules, fingerprint, pins_of, windows_of
    from perfdb.store import alerts as store
    from perfdb.store.together import for_each, together
    from perfdb.store.windows import newest_sessions

    def judged(session: SessionRef, asked: list[Rule]) -> list[LiveVerdict]:
        of = connection, session.pipeline, session.mode
        accepted, active, pins, windows = together(
            connection,
            lambda: store.accepted_baselines(*of),
            lambda: store.active_alerts(*of),
            lambda: pins_of(*of),
            lambda: windows_of(connection, session, asked),
        )
        by_fingerprint = {fingerprint(alert): alert for alert in active}
        longer = cache(lambda: windows_of(connection, session, asked, most=WAVE_RUNS))
        verdicts = evaluate_rules(
            session, windows, asked, accepted, by_fingerprint, pins, lately=True, longer=longer, told=told
        )
        return [
            LiveVerdict(
                found.rule,
                session.pipeline,
                session.mode,
                found.window.step_name,
                found.window.session_ids[found.sessions[-1]],
                found.window.start_times[found.sessions[-1]],
                found.verdict,
            )
            for found in verdicts
        ]

    def of_those(good: bool) -> list[LiveVerdict]:
        asked = [rule for rule in rules if (TABLE[rule.kind].looks_at != "failed") is good]
        ran = newest_sessions(connection, pipeline, good=good) if asked else []
        places = _most_lately([each for each in ran if mode in (None, each.mode)], asked)
        verdicts = for_each(connection, lambda session: judged(session, asked), places)
        return [each for of_session in verdicts for each in of_session]

    return [each for verdicts in for_each(connection, of_those, (False, True)) for each in verdicts]


def _most_lately(newest: Sequence[SessionRef], rules: Sequence[Rule]) -> list[SessionRef]:
    """Return those of the pipelines and modes that ran lately, and of the pipelines that a rule names."""
    named = {rule.pipeline for rule in rules}
    lately = sorted(newest, key=lambda session: -session.start_time)[:MOST_PLACES]
    shown = {session.pk for session in lately}
    return [session for session in newest if session.pk in shown or session.pipeline in named]


def _evaluate_past(connection: Any, rule: Rule, last: int) -> Iterator[LiveVerdict]:
    from perfdb.alerts.hindsight import evaluate_past
    from perfdb.store import alerts as store
    from perfdb.store.dialects import is_shared
    from perfdb.store.together import for_each
    from perfdb.store.windows import newest_sessions

    kind = TABLE[rule.kind]
    newest = newest_sessions(connection, good=kind.looks_at != "failed")
    newest = [session for session in newest if rule.is_of(session.pipeline, session.mode)]
    left = MOST_SEARCHED if kind.by_change_points else MOST_JUDGED
    share = math.ceil(left / max(1, min(len(newest), MOST_SHARES)))

    def judged(session: SessionRef) -> list[Any]:
        accepted = store.accepted_baselines(connection, session.pipeline, session.mode)
        return list(islice(evaluate_past(connection, session, rule, accepted, last), share))

    lately = sorted(newest, key=lambda session: -session.start_time)
    at_once = MOST_SHARES if is_shared(connection) else 1
    pasts = (
        pair
        for place in range(0, len(lately), at_once)
        for some in [lately[place : place + at_once]]
        for pair in zip(some, for_each(connection, judged, some), strict=True)
    )
    for session, past in pasts:
        for found, index in past[:left]:
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
