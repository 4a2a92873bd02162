"""What verdicts and people do to an alert.

Of: vocabulary.py.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.alerts.lifecycle import (
    LONG_AGO,
    Seen,
    advance,
    decide,
    frozen_of,
    group,
    is_due,
    is_stale,
    remove_unruled,
)
from perfdb.alerts.messages import message
from perfdb.analysis.rules import Rule, Verdict, evaluate
from perfdb.records import Alert
from perfdb.vocabulary import ACKNOWLEDGED, EXPECTED, FALSE_ALARM, FIRING, HISTORIC, PENDING, RESOLVED

RULE = Rule(name="slow", kind="max", limit=1.0)
HIT = Verdict(hit=True, value=2.0, baseline=1.0, effect=100.0, bound=0.95, n=1)
GOOD = Verdict(good=True, value=0.5, baseline=1.0, bound=0.95)
BETWEEN = Verdict(value=0.97, baseline=1.0, bound=0.95)
SILENCE = Verdict(enough=False)
DAY = 86400.0


def seen(number: int, **changes: object) -> Seen:
    values: dict[str, object] = {
        "session_id": f"s{number}", "start_time": float(number), "now": float(number), "pipeline": "p",
        "step_name": "x", "mode": "{}", "since_session_id": f"s{number}", "since_time": float(number),
        "distance": 0,
    }  # fmt: skip
    return Seen(**(values | changes))  # type: ignore[arg-type]


def lived(verdicts: str, rule: Rule = RULE, alert: Alert | None = None, start: int = 0) -> Alert | None:
    """Return the alert after a row of verdicts: h hit, g good, b between, . too little to judge."""
    kinds = {"h": HIT, "g": GOOD, "b": BETWEEN, ".": SILENCE}
    for number, letter in enumerate(verdicts, start=start):
        alert, _ = advance(alert, rule, kinds[letter], seen(number))
        if alert is not None and not alert.active:
            alert = None
        elif alert is not None and not alert.id:
            alert = replace(alert, id=1)
    return alert


def state(verdicts: str, rule: Rule = RULE) -> str | None:
    alert = lived(verdicts, rule)
    return None if alert is None else alert.state


def test_it_fires_at_its_first_hit_or_waits_for_as_many_as_the_rule_wants() -> None:
    assert state("h") == FIRING
    careful = replace(RULE, hits=2)
    assert state("h", careful) == PENDING
    assert state("hh", careful) == FIRING
    assert state("hg", careful) is None


def test_both_levels_that_runs_come_and_go_between_are_those_of_today() -> None:
    rule = Rule(name="switching", kind="switching", severity="info")
    first = Verdict(hit=True, value=0.085, baseline=0.062, effect=37.1, n=120, baseline_n=120)
    later = Verdict(hit=True, value=0.092, baseline=0.070, effect=31.4, n=200, baseline_n=200)
    alert, _ = advance(None, rule, first, seen(0))
    alert, _ = advance(alert, rule, later, seen(1))
    assert alert is not None
    assert (alert.baseline, alert.value, alert.effect) == (0.070, 0.092, 31.4)
    assert (alert.baseline_n, alert.n) == (200, 200)
    moved, _ = advance(replace(alert, kind="fast_shift"), replace(rule, kind="fast_shift"), first, seen(2))
    assert moved is not None
    assert moved.baseline == 0.070, "a level that was left stays what it was"


@pytest.mark.parametrize("kind", ["trend", "anomaly"])
def test_the_effect_is_that_of_the_two_figures_that_an_alert_tells(kind: str) -> None:
    rule = Rule(name=kind, kind=kind)
    alert, _ = advance(None, rule, HIT, seen(0))
    later = Verdict(hit=True, value=3.0, baseline=2.5, effect=20.0, n=1)  # the rule's window moved on
    alert, _ = advance(alert, rule, later, seen(1))
    assert alert is not None
    assert (alert.baseline, alert.value, alert.effect) == (1.0, 3.0, 200.0)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("hgg", FIRING),
        ("hggg", RESOLVED),
        ("hggbg", FIRING),
        ("hgghgg", FIRING),
        ("h....", FIRING),
        ("hbbbb", FIRING),
    ],
)
def test_three_good_runs_in_a_row_resolve_and_nothing_else_does(verdicts: str, expected: str) -> None:
    assert state(verdicts) == expected


def judged_run_by_run(kind: str, values: list[float], least: int) -> Alert:
    """Return the alert of a rule that has judged each run of a series, from so many on."""
    rule, alert = Rule(name=kind, kind=kind), None
    for n in range(least, len(values) + 1):
        verdict = evaluate(rule, values[:n], frozen_of(alert))
        alert, _ = advance(alert, rule, verdict, seen(n))
    assert alert is not None
    return alert


def test_the_end_of_a_drift_is_of_as_many_runs_as_its_message_says() -> None:
    values = [1.02**number for number in range(48)]
    alert = judged_run_by_run("trend", values, least=30)
    assert (alert.n, alert.baseline_n) == (48, 10)  # a third of the 30 runs at which it opened
    assert alert.value == median(values[-10:])
    assert "(median of the first 10 of 48 runs)" in message(alert)


def test_an_anomaly_that_became_the_level_ends_without_runs_under_a_bound() -> None:
    values = [1 + 0.01 * (number % 7) for number in range(30)] + [2.0] * 30
    alert = judged_run_by_run("anomaly", values, least=31)
    assert (alert.state, alert.value) == (RESOLVED, 2.0)
    assert "Resolved after 3 runs without it." in message(alert)
    assert "Resolved after 3 runs without it." in message(replace(alert, bound=1.5))  # as 0.1 kept it
    assert message(alert).endswith(f"Next: perfdb alerts explain {alert.id}")
    assert message(replace(alert, state=FIRING)).endswith(f"expected: perfdb alerts expected {alert.id}")


def test_the_baseline_stays_that_of_the_opening() -> None:
    alert = lived("h")
    later = replace(HIT, value=9.0, baseline=8.0, bound=7.0)
    changed, _ = advance(alert, RULE, later, seen(5))
    assert changed is not None
    assert (changed.baseline, changed.bound, changed.value) == (1.0, 0.95, 9.0)


def test_the_same_session_confirms_once() -> None:
    alert = lived("h")
    again, events = advance(alert, RULE, HIT, seen(0))
    assert again is not None
    assert (again.hits, events) == (1, ())


def test_what_came_back_soon_is_the_same_alert_and_in_the_end_held_open() -> None:
    came_back = lived("hggg" * 3 + "h")
    assert came_back is not None
    assert (came_back.state, came_back.reopened, came_back.id) == (FIRING, 3, 1)
    held = lived("g" * 9, alert=came_back, start=20)
    assert held is not None
    assert held.state == FIRING
    over = lived("g", alert=held, start=29)
    assert over is not None
    assert over.state == RESOLVED


def test_what_was_resolved_long_ago_is_forgotten() -> None:
    assert lived("hggg" + "g" * 30) is None


@pytest.mark.parametrize("decision", [EXPECTED, FALSE_ALARM])
def test_what_a_person_closed_stays_closed_until_it_was_gone_once(decision: str) -> None:
    alert = lived("h")
    assert alert is not None
    closed, _ = decide(alert, decision, 1.0)
    still = lived("hhhh", alert=closed, start=2)
    assert still is not None
    assert still.state == decision
    assert lived("g", alert=still, start=9) is None


def test_acknowledged_goes_on_and_resolves_by_itself() -> None:
    alert = lived("h")
    assert alert is not None
    known, _ = decide(alert, ACKNOWLEDGED, 1.0)
    assert not is_due(known, 9 * DAY, DAY)
    resolved = lived("hggg", alert=known, start=2)
    assert resolved is not None
    assert resolved.state == RESOLVED
    with pytest.raises(ValueError, match="resolved already"):
        decide(resolved, EXPECTED, 9.0)


def test_old_data_makes_historic_alerts_that_a_new_run_wakes() -> None:
    alert, _ = advance(None, RULE, HIT, seen(0, historic=True))
    assert alert is not None
    assert alert.state == HISTORIC
    assert not is_due(alert, 9 * DAY, DAY)
    woken, events = advance(replace(alert, id=1), RULE, HIT, seen(1))
    assert woken is not None
    assert (woken.state, events) == (FIRING, ("fired",))


def test_a_change_that_was_decided_is_matched_within_five_sessions() -> None:
    rule = replace(RULE, kind="change_point")
    alert, _ = advance(None, rule, HIT, seen(0))
    assert alert is not None
    closed, _ = decide(replace(alert, id=1), FALSE_ALARM, 0.5)
    same, _ = advance(closed, rule, HIT, seen(1, distance=5, since_time=3.0))
    other, _ = advance(closed, rule, HIT, seen(9, distance=6, since_time=9.0))
    assert same is not None
    assert same.active
    assert other is not None
    assert not other.active


def test_people_are_notified_once_a_day_or_when_it_gets_worse() -> None:
    alert = lived("h")
    assert alert is not None
    assert is_due(alert, 1.0, DAY)
    notified = replace(alert, notified_at=1.0, notified_severity="warning")
    assert not is_due(notified, 2.0, DAY)
    assert is_due(notified, 1.0 + DAY, DAY)
    assert is_due(replace(notified, severity="critical"), 2.0, DAY)
    assert not is_due(replace(alert, silenced=True), 1.0, DAY)
    assert not is_due(replace(alert, inhibited_by=7), 1.0, DAY)


def test_an_open_alert_without_runs_is_stale_and_stays_open() -> None:
    alert = lived("h")
    assert alert is not None
    assert not is_stale(alert, DAY, 14 * DAY)
    assert is_stale(alert, 15 * DAY, 14 * DAY)


def test_alerts_of_a_rule_that_is_gone_are_closed() -> None:
    alert = lived("h")
    assert alert is not None
    assert remove_unruled([alert], ["slow"], 1.0) == []
    (closed,) = remove_unruled([alert], ["other"], 1.0)
    assert (closed.state, closed.active) == (RESOLVED, False)


def firing(number: int, step: str | None, value: float, **changes: object) -> Alert:
    alert = lived("h")
    assert alert is not None
    return replace(alert, id=number, step_name=step, value=value, baseline=1.0, **changes)  # type: ignore[arg-type]


def heads(alerts: list[Alert], positions: dict[int, int] | None = None) -> dict[int, int | None]:
    return {alert.id: alert.inhibited_by for alert in group(alerts, positions or {})}


def test_the_step_that_moved_most_speaks_for_the_total_and_the_others() -> None:
    alerts = [firing(1, None, 9.0), firing(2, "a", 2.0), firing(3, "b", 7.0)]
    assert heads(alerts) == {1: 3, 2: 3, 3: None}


def test_the_step_inside_that_did_most_speaks_for_the_one_around_it() -> None:
    cause = {"parts": [{"step_name": "around", "seconds": 7.0, "percent": 99.0, "within": "inside"}]}
    alerts = [firing(1, None, 9.0), firing(2, "around", 8.1), firing(3, "inside", 8.0)]
    assert heads([replace(each, details={"cause": cause}) for each in alerts]) == {1: 3, 2: 3, 3: None}


def test_what_began_at_another_time_or_is_more_severe_speaks_for_itself() -> None:
    alerts = [firing(1, None, 9.0), firing(2, "a", 9.0)]
    assert heads(alerts, {1: 0, 2: 6}) == {1: None, 2: None}
    assert heads([replace(alerts[0], severity="critical"), alerts[1]]) == {1: None, 2: 1}


def test_a_group_that_was_notified_is_not_notified_again_by_another_head() -> None:
    total = firing(1, None, 9.0, notified_at=5.0, notified_severity="warning")
    head = group([total, firing(2, "a", 9.0)], {})[1]
    assert (head.inhibited_by, head.notified_at) == (None, 5.0)


def test_the_drift_and_the_blurred_total_of_a_step_are_its_alert() -> None:
    step = firing(1, "a", 7.0, kind="change_point")
    drift = firing(2, "a", 5.0, kind="trend", severity="info")
    total = firing(3, None, 8.0, kind="change_point")
    other = firing(4, "b", 9.0, kind="change_point")
    places = {1: 60, 2: 20, 3: 72, 4: 72}
    assert heads([step, drift, total], places) == {1: None, 2: 1, 3: 1}
    assert heads([step, other], places) == {1: None, 4: None}
    assert heads([step, replace(total, value=20.0)], places) == {
        1: None,
        3: None,
    }  # not most of it


def test_old_data_that_fails_together_is_one_alert_and_long_ago_stays_as_it_was() -> None:
    steps = [firing(1, None, 0.3, kind="error_rate"), firing(2, "a", 0.3, kind="error_rate")]
    old = [replace(each, state=HISTORIC) for each in steps]
    assert heads(old) == {1: 2, 2: None}
    levels = [firing(1, None, 9.0, since_session_id="s1"), firing(2, "a", 9.0, since_session_id="s2")]
    long_ago = {1: LONG_AGO, 2: LONG_AGO}
    assert heads(levels, long_ago) == {1: None, 2: None}
    assert heads([replace(levels[0], inhibited_by=2), levels[1]], long_ago) == {1: 2, 2: None}


@given(st.lists(st.sampled_from("hgb."), max_size=60), st.integers(1, 3))
def test_whatever_comes_the_states_hold(letters: list[str], hits: int) -> None:
    rule = replace(RULE, hits=hits)
    alert: Alert | None = None
    last_good = 0
    for number, letter in enumerate(letters):
        before = alert
        alert = lived(letter, rule, alert, start=number)
        last_good = last_good + 1 if letter == "g" else last_good if letter == "." else 0
        was_firing = before is not None and before.state == FIRING
        if was_firing and letter != "g":
            assert alert is not None
            assert alert.state == FIRING  # only a good run resolves
        if was_firing and alert is not None and alert.state == RESOLVED:
            assert last_good >= 3
        if letter == "h":
            assert alert is not None
            assert alert.is_open


def test_shares_of_steps_inside_of_each_other_are_not_told() -> None:
    def alert(number: int, step: str | None, before: float, now: float) -> Alert:
        return Alert(
            id=number, rule="slow", kind="max", severity="warning", state="firing", pipeline="etl",
            step_name=step, metric="duration", mode="{}", direction="up", value=now, baseline=before,
            since_session_id="x", since_time=0.0, last_session_id="x", last_time=0.0, opened_at=0.0,
            updated_at=0.0,
        )  # fmt: skip

    total, outer, inner = alert(1, None, 2.0, 4.0), alert(2, "outer", 1.0, 3.0), alert(3, "inner", 1.0, 2.5)
    assert "total's +2.00 s: outer +2.00 s, inner +1.50 s." in message(outer, [inner, total])
    assert "total's +2.00 s: outer +2.00 s (100 %)." in message(outer, [total])
