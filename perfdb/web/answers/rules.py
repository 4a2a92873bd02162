"""Rules: what each watches, how well, and what it would have flagged."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from perfdb.alerts.messages import amount
from perfdb.alerts.triage import RuleState, Triage
from perfdb.analysis.rules import EVERY, TABLE
from perfdb.errors import NotFoundError
from perfdb.web.queries import RuleQuery
from perfdb.web.schemas import RuleAnswer, RuleHit, RuleRow, RulesAnswer, RuleVerdict

if TYPE_CHECKING:
    from perfdb.web.served import ServedHistory

MOST_HITS = 50


def rules(history: ServedHistory) -> RulesAnswer:
    """Return every configured rule with its state."""
    return RulesAnswer(rows=[_row(each) for each in Triage(history).rules()])


def rule(history: ServedHistory, name: str, query: RuleQuery) -> RuleAnswer:
    """Return one rule: its verdicts on the newest runs, and what it would have flagged among the last.

    Raises:
        NotFoundError: there is no rule of this name.
    """
    triage = Triage(history)
    verdicts = triage.verdicts(name)
    state = next((each for each in triage.rules() if each.rule.name == name), None)
    if state is None:
        raise NotFoundError(f"there is no rule {name!r}")
    judged, hits = triage.would_have_flagged(name, last=query.last)
    return RuleAnswer(
        rule=_row(state),
        verdicts=[RuleVerdict.from_records(each, each.verdict, start_time=each.at) for each in verdicts],
        judged=judged,
        flagged=len(hits),
        hits=[
            RuleHit.from_records(
                each,
                each.verdict,
                start_time=each.at,
                value=each.verdict.value or 0.0,
                value_text=TABLE[state.rule.kind].value_text(
                    each.verdict.value or 0.0, partial(amount, metric=state.rule.metric)
                ),
            )
            for each in hits[:MOST_HITS]
        ],
    )


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
        limit_text=TABLE[rule.kind].limit_text(rule, partial(amount, metric=rule.metric)),
        percent=rule.percent if "percent" in TABLE[rule.kind].settings else None,
        last_evaluated_run_at=each.last_at,
    )
