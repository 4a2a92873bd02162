"""Rules: what each watches, how well, and what it would have flagged."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal

from perfdb.alerts.config import rule_lines
from perfdb.alerts.judging import LiveVerdict, RuleState, so_far
from perfdb.alerts.messages import amounts, verdict_text
from perfdb.alerts.triage import Triage
from perfdb.analysis.rows import Severity
from perfdb.analysis.rules import EVERY, TABLE
from perfdb.filters import DAY_S, moment_of
from perfdb.history.access import side_by_side
from perfdb.history.names import require_names
from perfdb.history.queries.measured import measure_named
from perfdb.measures import configured, named
from perfdb.store.alerts import alert_counts, newest_of_rules, read_alerts
from perfdb.store.series import runs_of_series
from perfdb.store.together import for_each
from perfdb.web.answers.trends import MOST_POINTS
from perfdb.web.queries import AlertsOfRules, RuleQuery, RulesQuery
from perfdb.web.schemas import AlertRow, Answer, SeriesName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfdb.analysis.series import Series
    from perfdb.records import Alert
    from perfdb.web.served import ServedHistory

MOST_HITS = 50
MOST_DRAWN = 200  # runs of a series that a rule which searches has judged
MOST_RAISED = 20  # of its alerts, for a page
MOST_CHARTED, MOST_WEEKS, WEEK_S = 1_000, 13, 7 * DAY_S  # alerts, and the weeks that they are counted by
JUDGING_S = 2.0  # of the time that one answer may take


class RuleRow(Answer):
    """A rule with what it has done so far."""

    rule: str
    kind: str
    severity: Severity
    pipeline: str | None
    step_name: str | None
    everything: bool  # it watches the total and every step
    metric: str
    mode: dict[str, Any] | None
    limit: float | None
    limit_text: str  # with its unit: of the metric, a share or a percentage; empty where there is no limit
    percent: float | None
    default: bool
    state: Literal["firing", "quiet", "too little history", "no data"]
    series: int
    alerts: int
    false_alarms: int
    historic: int  # alerts of old data, which are in none of these
    precision: float | None
    last_evaluated_run_at: float | None


class RulesAnswer(Answer):
    """Every configured rule."""

    rows: list[RuleRow]


@dataclass(frozen=True, slots=True)
class Weeks:
    """How many alerts of each rule are of moves in each of some weeks, the oldest first."""

    begin: float
    end: float
    of: dict[str, list[int]]


class RuleVerdict(SeriesName):
    """What a rule says of the newest run of a series."""

    session_id: str
    start_time: float
    hit: bool
    enough: bool
    value_text: str  # what was judged, and what the past makes one expect: empty without
    baseline_text: str
    arithmetic: str


class RuleHit(Answer):
    """A run that a rule would have flagged."""

    session_id: str
    start_time: float
    pipeline: str
    step_name: str | None
    mode: str
    value: float
    value_text: str
    arithmetic: str


class RuleSeries(SeriesName):
    """The last runs of a series as a rule would have judged them."""

    judged: int
    flagged: int
    first_at: float | None  # epoch s, when the first of those that it flags began
    last_at: float | None  # and the newest
    values: list[float]  # what was judged, the oldest run first
    places: list[int]  # of those among them that it flags
    limit: float | None  # that the newest was held against, in the same unit


class RuleNumber(Answer):
    """A number of a rule that can be tried: the one that is judged with, and what it can be."""

    name: str
    value: float | None
    least: float
    most: float


class RuleAnswer(Answer):
    """One rule: what it says of the newest runs, and what it would have flagged among the last ones."""

    rule: RuleRow
    numbers: list[RuleNumber]
    tried: bool  # ``toml``, ``judged``, ``flagged`` and ``hits`` are of numbers that are not configured
    toml: str  # as it stands in perfdb.toml, or would
    verdicts: list[RuleVerdict]
    judged: int  # runs that were judged for ``flagged``
    flagged: int
    hits: list[RuleHit]  # the newest of them
    series: list[RuleSeries]  # with all of them, the most flagged first


def rules(history: ServedHistory, query: RulesQuery) -> RulesAnswer:
    """Return the configured rules that watch what is asked about, with their alerts of that time.

    Raises:
        NotFoundError: nothing was ever recorded under the pipeline's name, or the measure's.
        UsageError: the measure never was a number.
    """
    require_names(history, pipeline=query.pipeline, mode=query.mode)
    states = Triage(history).rules(pipeline=query.pipeline, mode=query.mode)
    if query.measure is not None:
        with history.reading() as connection:
            metric = measure_named(
                connection, query.measure, configured(history.settings.measures), where=history.database
            ).name
        states = [each for each in states if each.rule.metric == metric]
    if query.model_fields_set - {"measure"}:
        states = _within(history, query, states)
    return RulesAnswer(rows=[_row(each) for each in states])


def _within(history: ServedHistory, query: AlertsOfRules, states: list[RuleState]) -> list[RuleState]:
    since, until = _window(query)
    counts: dict[str, Counter[str]] = {}
    with history.reading() as connection:
        if connection is not None:
            counts = alert_counts(connection, query.pipeline, query.mode, since=since, until=until)
    return [replace(each, **so_far(counts.get(each.rule.name, Counter()))) for each in states]


def _alerts_of(
    history: ServedHistory, query: AlertsOfRules, most: int, rule: str | None = None
) -> list[Alert]:
    """Return the newest alerts that fit, of one rule or of all."""
    since, until = _window(query)
    with history.reading() as connection:
        if connection is None:
            return []
        return read_alerts(
            connection,
            "all",
            rule=rule,
            pipeline=query.pipeline,
            mode=query.mode,
            since=since,
            until=until,
            limit=most,
        )


def weeks(history: ServedHistory, query: RulesQuery) -> Weeks | None:
    """Return the weeks until the newest alert, with how many of each rule began in them; None without any."""
    found = _alerts_of(history, query, MOST_CHARTED)
    if not found:
        return None
    end = max(each.since_time for each in found)
    begin = end - MOST_WEEKS * WEEK_S
    of: dict[str, list[int]] = {}
    for each in found:
        ago = int((end - each.since_time) // WEEK_S)
        if ago < MOST_WEEKS:
            of.setdefault(each.rule, [0] * MOST_WEEKS)[-1 - ago] += 1
    return Weeks(begin, end, of)


def newest(history: ServedHistory, query: RulesQuery) -> dict[str, tuple[int, float]]:
    """Return the newest alert of each rule that raised one: its number, and since when."""
    since, until = _window(query)
    with history.reading() as connection:
        if connection is None:
            return {}
        return newest_of_rules(connection, query.pipeline, query.mode, since=since, until=until)


def _window(query: AlertsOfRules) -> tuple[float | None, float | None]:
    since, until = (
        None if each is None else moment_of(each, zone=UTC) for each in (query.since, query.until)
    )
    return since, until


def raised(history: ServedHistory, name: str, query: RuleQuery) -> list[AlertRow]:
    """Return the alerts that a rule raised, the newest first."""
    return [AlertRow.from_records(each) for each in _alerts_of(history, query, MOST_RAISED, name)]


def judged_runs(
    history: ServedHistory, metric: str, verdicts: Sequence[RuleVerdict], begun: Sequence[float | None]
) -> list[Series]:
    """Return runs of the series of some verdicts, some hundred of each, of the first some thousand.

    Where a moment is given they are from as long before it as has passed since, else the newest.
    """
    measure = named(metric, configured(history.settings.measures))
    with history.reading() as connection:
        if connection is None:
            return []

        def read(place: int) -> Series:
            of, moment = verdicts[place], begun[place]
            name, last = (of.pipeline, of.step_name, of.mode), MOST_DRAWN if place else MOST_POINTS
            if moment is None:
                return runs_of_series(connection, *name, last=MOST_DRAWN, measure=measure)
            since = moment - max(0.0, of.start_time - moment)
            return runs_of_series(connection, *name, last=last, since=since, measure=measure, thinned=True)

        return for_each(connection, read, range(len(verdicts)))


def rule(history: ServedHistory, name: str, query: RuleQuery, *, searches: bool = True) -> RuleAnswer:
    """Return one rule: its verdicts on the newest runs, and what it would have flagged among the last.

    Args:
        history: to ask.
        name: of the rule.
        query: which runs, and the numbers to try.
        searches: flag runs also where each takes a search for changes, some milliseconds: so few of them
            are looked at that the alerts say more.

    Raises:
        NotFoundError: there is no rule of this name, or no pipeline of that one.
        UsageError: a number is tried that it has not, or cannot be.
    """
    require_names(history, pipeline=query.pipeline, mode=query.mode)
    since, until = _window(query)

    def is_of(each: LiveVerdict) -> bool:
        return query.pipeline in (None, each.pipeline) and query.mode in (None, each.mode)

    def fits(each: LiveVerdict) -> bool:
        return is_of(each) and (since is None or each.at >= since) and (until is None or each.at < until)

    triage = Triage(history)
    rule = triage.rule_with(name, query.tried())
    (state, verdicts), past = side_by_side(
        history,
        lambda: triage.rule(name, pipeline=query.pipeline, mode=query.mode),
        lambda: (
            triage.judged_past(rule, last=query.last, fits=fits, seconds=JUDGING_S)
            if searches or not TABLE[rule.kind].by_change_points
            else []
        ),
    )
    hits = sorted((each for each in past if each.verdict.hit), key=lambda each: -each.at)
    return RuleAnswer(
        rule=_row(state),
        numbers=[
            RuleNumber(
                name=name,
                value=getattr(rule, name),
                least=max(least, -sys.float_info.max),
                most=min(most, sys.float_info.max),
            )
            for name, (least, most) in TABLE[rule.kind].settings.items()
        ],
        tried=rule != state.rule,
        toml=rule_lines(rule),
        verdicts=[
            RuleVerdict.from_records(
                each,
                each.verdict,
                start_time=each.at,
                arithmetic=verdict_text(each.rule, each.verdict),
                value_text=_in_words(each, each.verdict.value),
                baseline_text=_in_words(each, each.verdict.baseline),
            )
            for each in verdicts
        ],
        judged=len(past),
        flagged=len(hits),
        hits=[
            RuleHit.from_records(
                each,
                each.verdict,
                start_time=each.at,
                arithmetic=verdict_text(each.rule, each.verdict),
                value=each.verdict.value or 0.0,
                value_text=_in_words(each, each.verdict.value or 0.0),
            )
            for each in hits[:MOST_HITS]
        ],
        series=_by_series(past),
    )


def _by_series(past: Sequence[LiveVerdict]) -> list[RuleSeries]:
    of: dict[tuple[str, str | None, str], list[LiveVerdict]] = {}
    for each in sorted(past, key=lambda each: each.at):
        of.setdefault((each.pipeline, each.step_name, each.mode), []).append(each)
    found = []
    for (pipeline, step_name, mode), runs in of.items():
        flagged = [each.at for each in runs if each.verdict.hit]
        drawn = [each.verdict for each in runs if each.verdict.value is not None]
        found.append(
            RuleSeries(
                pipeline=pipeline,
                step_name=step_name,
                mode=mode,
                judged=len(runs),
                flagged=len(flagged),
                first_at=flagged[0] if flagged else None,
                last_at=flagged[-1] if flagged else None,
                values=[each.value for each in drawn if each.value is not None],
                places=[place for place, each in enumerate(drawn) if each.hit],
                limit=runs[-1].verdict.limit,
            )
        )
    return sorted(found, key=lambda each: -each.flagged)


def _in_words(each: LiveVerdict, value: float | None) -> str:
    return "" if value is None else TABLE[each.rule.kind].value_text(value, amounts(each.rule))


def _row(each: RuleState) -> RuleRow:
    rule = each.rule
    everything = rule.step == EVERY
    return RuleRow.from_records(
        rule,
        each,
        rule=rule.name,
        step_name=None if everything else rule.step,
        everything=everything,
        mode=None if rule.mode is None else dict(rule.mode),
        limit_text=TABLE[rule.kind].limit_text(rule, amounts(rule)),
        percent=rule.percent if "percent" in TABLE[rule.kind].settings else None,
        last_evaluated_run_at=each.last_at,
    )
